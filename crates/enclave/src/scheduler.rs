//! Which job runs when. A run starts at the beginning of a step of its policy's time grid, and a slot is free again
//! at the beginning of the step after its run ended: so neither start nor waiting time of one job tells when another
//! one ended within a step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::v1::Reason;
use lifecycle::State;
use release::envelope::Envelope;
use release::path::{ReviewedCode, SignedRequest};
use release::refusal::Refusal;
use release::site::Site;
use release::value::Timestamp;
use tokio::sync::mpsc;

use crate::admission::{has_data, reason_of};
use crate::code_review;
use crate::devices::Held;
use crate::grid::Grid;
use crate::recovery;
use crate::room::Room;
use crate::run;
use crate::space;
use crate::store::jobs::{self, Job, Move};
use crate::store::{StoreError, code_reviews, reports};
use crate::sweep;
use crate::wall::{self, Slot};

/// How long the scheduler sleeps at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A place for one job at a time, and the devices that the job in it holds. They are free when it is.
#[derive(Debug)]
struct Place {
    usage: Use,
    devices: Held,
}

/// When a slot can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// A job runs in it.
    Busy,
    /// From this beginning of a step of this grid.
    FreeFrom(Grid, Timestamp),
}

/// Starts jobs until the room stops, and returns once the last run has ended.
pub async fn schedule(room: Arc<Room>) {
    let epoch = Timestamp::from_seconds(0).expect("1970 is a moment");
    let free = || Place { usage: Use::FreeFrom(Grid::new(1), epoch), devices: Held::new() };
    let mut slots: Vec<Place> = (0..room.configuration.slots.max(1)).map(|_| free()).collect();
    let (ended, mut endings) = mpsc::channel::<(usize, Use)>(slots.len());
    let mut changes = room.store.changes();
    let mut recovered = false;
    while !room.stop.is_raised() {
        // Before lost runs are charged anew: code that was refused meanwhile does not run again.
        let may_start = end_refused(&room).await;
        recovered = recovered || (may_start && recover(&room).await);
        if recovered && may_start {
            start_all(&room, &mut slots, &ended).await;
        }
        let sleep = until_next_second(LONGEST_SLEEP);
        tokio::select! {
            Some((slot, free)) = endings.recv() => slots[slot].usage = free,
            _ = changes.changed() => {}
            () = tokio::time::sleep(sleep) => {}
            () = room.stopping() => {}
        }
    }
    while slots.iter().any(|place| place.usage == Use::Busy) {
        let Some((slot, free)) = endings.recv().await else { return };
        slots[slot].usage = free;
    }
}

/// Steps begin on whole seconds; a sleep that ends just after one starts a run in time.
fn until_next_second(most: Duration) -> Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let left = 1_000_000_000 - u64::from(since.subsec_nanos());
    Duration::from_nanos(left + 2_000_000).min(most + Duration::from_millis(2))
}

/// Runs that an earlier process left behind are lost. They can be charged anew only once a site is there.
async fn recover(room: &Arc<Room>) -> bool {
    if room.site.current().is_none() {
        return false;
    }
    let of = room.clone();
    match tokio::task::spawn_blocking(move || recovery::lost_runs(&of)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            room.journal.error("lost runs are not written down").own_error(&error).write();
            false
        }
        Err(_) => false,
    }
}

/// Ends jobs whose code was refused in the site directory; false if that failed, and nothing may start.
async fn end_refused(room: &Arc<Room>) -> bool {
    let of = room.clone();
    let ended = tokio::task::spawn_blocking(move || code_review::end_refused(&of));
    match ended.await {
        Ok(Ok(ended)) => {
            if ended {
                let of = room.clone();
                let _ = tokio::task::spawn_blocking(move || sweep::sweep_and_tell(&of)).await;
            }
            true
        }
        Ok(Err(error)) => {
            room.journal.error("refusals of code are not taken").own_error(&error).write();
            false
        }
        Err(_) => false,
    }
}

async fn start_all(room: &Arc<Room>, slots: &mut [Place], ended: &mpsc::Sender<(usize, Use)>) {
    let now = room.now();
    // Also those whose run has ended within this step, or the wait of the next job would tell that it has.
    let is_free = |usage: &Use| matches!(*usage, Use::FreeFrom(grid, moment) if grid.has_come(moment, now));
    let keeps = |place: &&Place| !is_free(&place.usage);
    let mut taken = slots.iter().filter(keeps).count();
    let mut held: Held = slots.iter().filter(keeps).flat_map(|place| &place.devices).copied().collect();
    for (index, place) in slots.iter_mut().enumerate() {
        if !is_free(&place.usage) {
            continue;
        }
        let (of, beside) = (room.clone(), held.clone());
        match tokio::task::spawn_blocking(move || start_next(&of, taken, &beside)).await {
            Ok(Ok(Some((job, devices)))) => {
                taken += 1;
                held.extend(&devices);
                *place = Place { usage: Use::Busy, devices: devices.clone() };
                run_in(room.clone(), index, job, devices, ended.clone());
            }
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                room.journal.error("the queue cannot be read").own_error(&error).write();
                return;
            }
            Err(_) => return,
        }
    }
}

/// Runs a job on a thread of its own, which lives until the job's last process is dead.
fn run_in(room: Arc<Room>, index: usize, job: Job, devices: Held, ended: mpsc::Sender<(usize, Use)>) {
    tokio::task::spawn_blocking(move || {
        let slot = Slot(u32::try_from(index).unwrap_or(u32::MAX));
        // A panic must not take the slot away; the row stays RUNNING and is lost at the next start.
        let run = std::panic::AssertUnwindSafe(|| run::run(&room, slot, &job, &devices));
        let outcome = std::panic::catch_unwind(run);
        if outcome.is_err() {
            room.journal.error("a run panicked").digest("job", job.request.as_bytes()).write();
            if let Err(error) = crate::retry::lost(&room, &job) {
                room.journal.error("the end of a run is not written down").own_error(&error).write();
            }
        }
        // Nobody listens any more only when the process is ending.
        let _ = ended.blocking_send((index, Use::FreeFrom(job.grid, free_from(&room, &job))));
    });
}

/// The beginning of the step at which the slot is free: the one at which the end of its run is shown. Freed by the time
/// at which everything is cleared away, it would tell whether a run ended just before a step did.
fn free_from(room: &Room, job: &Job) -> Timestamp {
    let (request, now) = (job.request, room.now());
    let shown = room.store.read(move |connection| reports::last_due(connection, &request)).ok().flatten();
    let next = job.grid.after(now);
    // More than a step ahead is no beginning that anyone waits for: see `Grid::has_come`.
    shown.filter(|shown| *shown <= next).unwrap_or(next)
}

/// Takes the first job whose step has begun out of the queue, if the disk has room for it beside those that keep a slot.
/// Jobs that the site covers no more are refused, and those whose devices are held wait, while others go on. Whoever comes
/// later takes no device of a kind that an earlier job waits for, or one that needs several would wait for ever.
fn start_next(room: &Room, beside: usize, taken: &Held) -> Result<Option<(Job, Held)>, StoreError> {
    let now = room.now();
    let queued = room.store.read(move |connection| jobs::queued(connection, now))?;
    if queued.is_empty() {
        return Ok(None);
    }
    if !space::is_there_for_a_run(room, beside) {
        room.journal.warning("jobs wait: too little disk is free").write();
        return Ok(None);
    }
    // A grant that was revoked a moment ago covers nothing.
    room.site.look(&room.store, &room.key, room.journal)?;
    let Some(site) = room.site.current() else { return Ok(None) };
    // Past the expiry of roles or revocation nothing starts; jobs wait for newer ones.
    if site.fresh(now).is_err() {
        return Ok(None);
    }
    let mut awaited = BTreeSet::new();
    for job in queued {
        let request = job.request;
        let approvals = room.store.read(move |connection| code_reviews::approvals(connection, &request))?;
        match may_start(room, &site, &job, &approvals, now) {
            Ok(asked) => {
                let asked = &asked.request().devices;
                let is_awaited = asked.keys().any(|kind| awaited.contains(kind));
                let devices = room.devices.choose(asked, taken).filter(|_| !is_awaited);
                let Some(devices) = devices else {
                    awaited.extend(asked.keys().cloned());
                    continue;
                };
                let started = start(room, &job, now)?;
                if started {
                    return Ok(Some((job, devices)));
                }
            }
            Err(reason) => {
                let request = job.request;
                room.store.change(move |transaction| {
                    jobs::make_move(transaction, &request, &Move::new(State::Refused, reason), now)
                })?;
            }
        }
    }
    Ok(None)
}

/// Between admission and start a grant can be revoked or replaced, or a snapshot withdrawn.
fn may_start(
    room: &Room,
    site: &Site,
    job: &Job,
    approvals: &[Envelope],
    now: Timestamp,
) -> Result<SignedRequest, Reason> {
    let covered = || -> Result<SignedRequest, Refusal> {
        let envelope = Envelope::parse(&job.envelope).map_err(|error| error.refusal())?;
        let request = SignedRequest::verify(&envelope, site)?;
        let grant = site.grant_in_force(&request.request().grant, now)?;
        site.policy_in_force(&grant.statement().policy, now)?;
        // Of the code, too: a steward may have been revoked since, or have refused it in the site directory.
        ReviewedCode::still(approvals, &request, site, now)?;
        Ok(request)
    };
    let request = covered().map_err(reason_of)?;
    // The box may have been given another wall since the job was admitted: code that was let in for a stronger one never
    // runs behind a weaker.
    if request.least_wall() > wall::name(room.jobs.wall()) {
        return Err(Reason::Wall);
    }
    // And fewer devices.
    if !room.devices.has(&request.request().devices) {
        return Err(Reason::Limits);
    }
    if has_data(room, &request) { Ok(request) } else { Err(Reason::Data) }
}

fn start(room: &Room, job: &Job, now: Timestamp) -> Result<bool, StoreError> {
    let (request, run) = (job.request, job.run);
    // The run was charged when it was queued. A crash after this commit leaves a RUNNING row without a process: a
    // lost run.
    room.store.change(move |transaction| {
        let current = jobs::find(transaction, &request)?;
        let queued = current.is_some_and(|job| job.state == State::Queued && job.run == run);
        if queued {
            jobs::had_its_turn(transaction, &request)?;
            jobs::make_move(transaction, &request, &Move::new(State::Running, Reason::Unspecified), now)?;
        }
        Ok(queued)
    })
}
