//! One run of a job: unpack the bundle, run the code behind the wall, look at what it wrote, make the verdict. The run
//! was charged before.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::v1::Reason;
use egress::Policy;
use lifecycle::State;
use release::envelope::Envelope;
use release::path::SignedRequest;
use release::refusal::Refusal;
use release::site::Site;
use release::statement::Catalogue;
use sandbox::{Cancel, Ended, LaunchError, Outcome, SpecificationError, Stdin};

use crate::files;
use crate::outputs::{Outputs, OutputsError};
use crate::retry;
use crate::room::{Places, Room, RoomError};
use crate::store::StoreError;
use crate::store::jobs::{self, Job, Move};
use crate::sweep;
use crate::verdict::{self, LookedAt, VerdictError};
use crate::wall::{self, Child, ChildError, JobView, Program, Slot, freeze};

/// The box's fault in a run. The job goes back to the queue, or is lost.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// No site is in force, or it no longer covers the job.
    #[error("no site covers the job any more")]
    Site,
    /// The request is no longer accepted.
    #[error("the request is not accepted any more: {0}")]
    Request(Refusal),
    /// The wall could not be built.
    #[error("the wall could not be built")]
    Launch(#[from] LaunchError),
    /// Outputs could not be looked at.
    #[error("the outputs could not be looked at")]
    Outputs(#[from] OutputsError),
    /// No verdict.
    #[error("no verdict could be made")]
    Verdict(#[from] VerdictError),
    /// The room.
    #[error("the room failed")]
    Room(#[from] RoomError),
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Room(error.into())
    }
}

/// How a run ended.
enum Finished {
    /// A verdict was made.
    Judged,
    /// By the job's own fault.
    Failed(Reason),
    /// The room is stopping. The row stays RUNNING, which the next start counts as a lost run.
    Stopped,
}

/// Runs a job that is RUNNING to whatever end, and writes that end down.
pub fn run(room: &Room, slot: Slot, job: &Job) {
    let work = room.places.work.join(Places::run_name(&job.request, job.run));
    let event = room.journal.info("run begins").digest("job", job.request.as_bytes()).number("run", job.run);
    event.write();
    let finished = attempt(room, slot, job, &work);
    let written = match finished {
        Ok(Finished::Judged) => Ok("judged"),
        Ok(Finished::Stopped) => Ok("stopped"),
        Ok(Finished::Failed(reason)) => fail(room, job, reason).map(|()| "failed"),
        Err(error) => {
            tell_fault(room, job, &error);
            retry::lost(room, job).map(|()| "lost")
        }
    };
    match written {
        Ok(end) => {
            let event = room.journal.info("run ends").digest("job", job.request.as_bytes());
            event.number("run", job.run).word("end", end).write();
        }
        Err(error) => room.journal.error("the end of a run is not written down").own_error(&error).write(),
    }
    // A crash before this line leaves a directory of a run that is over, which the next start removes.
    if let Err(error) = files::remove_tree(&work) {
        room.journal.warning("a work directory is not removed").own_error(&error.kind()).write();
    }
    sweep::sweep_and_tell(room);
}

fn fail(room: &Room, job: &Job, reason: Reason) -> Result<(), StoreError> {
    let (request, at) = (job.request, room.now());
    // A crash before the commit leaves the row RUNNING: a lost run, charged anew.
    room.store.change(move |transaction| {
        jobs::make_move(transaction, &request, &Move::new(State::Failed, reason), at)
    })
}

/// Writes down why the box failed, cause by cause. The texts are the program's own: none of them quotes what a job
/// wrote, and a refused specification, which holds the job's command, prints itself only.
fn tell_fault(room: &Room, job: &Job, error: &RunError) {
    use std::error::Error;
    let event = room.journal.error("run failed by the box's fault").digest("job", job.request.as_bytes());
    event.own_error(error).write();
    let mut cause = error.source();
    while let Some(error) = cause {
        room.journal.error("because").own_error(&error).write();
        cause = match error.downcast_ref::<LaunchError>() {
            Some(LaunchError::Specification(_)) => None,
            _ => error.source(),
        };
    }
}

/// What a run needs to know, from the enclave's own site.
struct Ready {
    site: Arc<Site>,
    request: SignedRequest,
    policy: Policy,
    policy_text: String,
    catalogue: Vec<Catalogue>,
    runtime: PathBuf,
    data: Vec<(String, PathBuf)>,
}

fn ready(room: &Room, job: &Job) -> Result<Ready, RunError> {
    let site = room.site.current().ok_or(RunError::Site)?;
    let envelope = Envelope::parse(&job.envelope).map_err(|error| RunError::Request(error.refusal()))?;
    let request = SignedRequest::verify(&envelope, &site).map_err(RunError::Request)?;
    let file = site.policy(&request.grant().statement().policy).ok_or(RunError::Site)?.file();
    let policy_text = String::from_utf8(file.to_vec()).map_err(|_| RunError::Site)?;
    let policy = Policy::parse(&policy_text).map_err(|_| RunError::Site)?;
    let mut catalogue = Vec::new();
    let mut data = Vec::new();
    for dataset in &request.request().datasets {
        catalogue.push(site.dataset(&dataset.name).ok_or(RunError::Site)?.statement().clone());
        let snapshot = room.places.snapshot(&dataset.name, &dataset.tree.sha256).ok_or(RunError::Site)?;
        data.push((dataset.name.to_string(), snapshot));
    }
    let runtime = room.places.runtime(&request.request().runtime.tree.sha256).ok_or(RunError::Site)?;
    Ok(Ready { site, request, policy, policy_text, catalogue, runtime, data })
}

fn attempt(room: &Room, slot: Slot, job: &Job, work: &Path) -> Result<Finished, RunError> {
    let ready = ready(room, job)?;
    files::remove_tree(work)?;
    files::private_directory(work)?;
    let cancel = Cancel::new()?;
    let watch =
        Watch { room, work, cancel: &cancel, over: AtomicBool::new(false), full: AtomicBool::new(false) };
    std::thread::scope(|scope| {
        scope.spawn(|| watch.until_over());
        let _ends = Over(&watch.over);
        let finished = steps(room, slot, job, work, &ready, &watch);
        if room.stop.is_raised() && !matches!(finished, Ok(Finished::Judged)) {
            return Ok(Finished::Stopped);
        }
        finished
    })
}

fn steps(
    room: &Room,
    slot: Slot,
    job: &Job,
    work: &Path,
    ready: &Ready,
    watch: &Watch<'_>,
) -> Result<Finished, RunError> {
    let asked = ready.request.request();
    let Some(bundle) = unpack(room, slot, asked.bundle.sha256, work, watch.cancel)? else {
        return Ok(Finished::Failed(Reason::Bundle));
    };
    let out = work.join("out");
    slot.writable_directory(room, Program::Job, &out)?;
    let view = JobView { runtime: &ready.runtime, bundle: &bundle, data: &ready.data, out: &out };
    let specification = wall::job(room, slot, asked, &ready.policy, &view)?;
    // It returns when the last process of the job is dead; only then is its directory looked at.
    let ended = match room.launcher.run(&specification, Stdin::Empty, watch.cancel) {
        Err(LaunchError::Specification(error)) if is_the_requests(&error) => {
            return Ok(Finished::Failed(Reason::ProgramFailed));
        }
        ended => ended?,
    };
    let Ended { outcome, evidence, .. } = ended;
    if watch.full.load(Ordering::SeqCst) {
        return Ok(Finished::Failed(Reason::OutputLimit));
    }
    if let Some(reason) = fault_of(outcome) {
        return Ok(Finished::Failed(reason));
    }
    let quarantine = room.places.quarantine_of(&job.request, job.run);
    let outputs = Outputs {
        room,
        slot,
        work,
        quarantine: quarantine.clone(),
        policy: ready.policy_text.clone(),
        declared: &asked.outputs,
        catalogue: ready.catalogue.clone(),
        data: &ready.data,
        cancel: watch.cancel,
    };
    let checker = room.checker.digest()?;
    let found = outputs.look(&out)?;
    let looked_at = LookedAt {
        job,
        request: &ready.request,
        site: &ready.site,
        policy: &ready.policy,
        wall: wall::statement(&evidence),
        checker,
        found: &found,
        quarantine: &quarantine,
    };
    verdict::conclude(room, &looked_at)?;
    Ok(Finished::Judged)
}

/// True if the command of the request is what the launcher refuses. All else in a specification is the enclave's own.
fn is_the_requests(error: &SpecificationError) -> bool {
    matches!(error, SpecificationError::ProgramNotPlain(_) | SpecificationError::ArgumentHoldsZero)
}

/// Unpacks the bundle in a child: a stranger's bytes are parsed there, without data and without keys. None if the
/// child refused the bundle.
fn unpack(
    room: &Room,
    slot: Slot,
    bundle: blobs::Digest,
    work: &Path,
    cancel: &Cancel,
) -> Result<Option<PathBuf>, RunError> {
    let file: File = room.places.bundles.open_blob(bundle).map_err(RoomError::from)?;
    let unpacked = work.join("bundle");
    slot.writable_directory(room, Program::Unbundler, &unpacked)?;
    let child = Child {
        program: Program::Unbundler,
        reads: Vec::new(),
        writes: Some((&unpacked, "/unpacked")),
        data: &[],
    };
    match wall::run_child(room, slot, &child, Stdin::File(file), cancel) {
        Ok(_) => Ok(Some(freeze(&unpacked, &work.join("bundle-frozen"))?)),
        Err(ChildError::Ended(_)) => Ok(None),
        Err(ChildError::Launch(error)) => Err(error.into()),
    }
}

/// The reason that a researcher is given; None if the program ended well.
fn fault_of(outcome: Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Succeeded => None,
        Outcome::Failed | Outcome::NotExecutable => Some(Reason::ProgramFailed),
        Outcome::TimeLimit | Outcome::CpuLimit => Some(Reason::TimeLimit),
        Outcome::MemoryLimit => Some(Reason::MemoryLimit),
        Outcome::FileLimit | Outcome::OutputLimit => Some(Reason::OutputLimit),
        // Only a stopping room cancels, and then nothing of this is written down.
        Outcome::Cancelled => Some(Reason::Box),
    }
}

/// Ends a run when the room stops, or when its outputs leave too little space to the others.
struct Watch<'a> {
    room: &'a Room,
    work: &'a Path,
    cancel: &'a Cancel,
    over: AtomicBool,
    full: AtomicBool,
}

impl Watch<'_> {
    fn until_over(&self) {
        let mut cancelled = false;
        while !self.over.load(Ordering::SeqCst) {
            if !cancelled && (self.room.stop.is_raised() || self.is_full()) {
                cancelled = true;
                self.cancel.cancel();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_full(&self) -> bool {
        let reserve = self.room.configuration.limits.disk_reserve_bytes;
        // Free space of a file system is no word of the job; nothing of its files is read here.
        let full = rustix::fs::statvfs(self.work)
            .is_ok_and(|space| space.f_bavail.saturating_mul(space.f_frsize) < reserve);
        if full {
            self.full.store(true, Ordering::SeqCst);
        }
        full
    }
}

/// Ends the watch however the run ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
