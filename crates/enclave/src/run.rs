//! One run of a job: unpack the bundle or lay down the question, run the code behind the wall, look at what it wrote, make the verdict. The run
//! was charged before.

mod precision;
mod query;
mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::v1::Reason;
use api::{Failure, Use};
use egress::Policy;
use lifecycle::State;
use release::envelope::Envelope;
use release::path::{ReviewedCode, SignedRequest};
use release::refusal::Refusal;
use release::site::Site;
use release::statement::{Catalogue, CatalogueEntry, Evidence};
use sandbox::{Cancel, Ended, LaunchError, Outcome, SpecificationError, Stdin};

use crate::cancel;
use crate::collect::{CollectError, collect};
use crate::devices::Held;
use crate::differencing;
use crate::failure;
use crate::files;
use crate::outputs::{Outputs, OutputsError};
use crate::retry;
use crate::room::{Places, Room, RoomError};
use crate::space;
use crate::store::jobs::{self, Job, Move};
use crate::store::{StoreError, code_reviews};
use crate::sweep;
use crate::verdict::{self, LookedAt, VerdictError};
use crate::wall::{self, Child, ChildError, JobView, Program, Slot, freeze};

use watch::{EndedBy, Ends, Over, Watch};

/// How long until an end that could not be written down is written again.
const AGAIN: Duration = Duration::from_secs(1);

/// The box's fault in a run. The job goes back to the queue, or is lost.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// No site is in force, or it no longer covers the job.
    #[error("no site covers the job any more")]
    Site,
    /// The request is no longer accepted.
    #[error("the request is not accepted any more: {0}")]
    Request(Refusal),
    /// It took longer than a job may be RUNNING, its judging included.
    #[error("the run is past its deadline")]
    Deadline,
    /// The launcher gave no output space back.
    #[error("the output space of the job is not there")]
    NoOutput,
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

/// What a researcher is told of a run that failed.
struct Fault {
    reason: Reason,
    failure: Option<Failure>,
    used: Use,
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self { reason, failure: None, used: Use::default() }
    }
}

/// How a run ended.
enum Finished {
    /// A verdict was made.
    Judged,
    /// By the job's own fault.
    Failed(Fault),
    /// Its requester, their key or the grant was revoked while it ran; its processes are dead.
    Revoked,
    /// The room is stopping. The row stays RUNNING, which the next start counts as a lost run.
    Stopped,
}

/// Runs a job that is RUNNING to whatever end, and writes that end down.
pub fn run(room: &Room, slot: Slot, job: &Job, devices: &Held) {
    let work = room.places.work.join(Places::run_name(&job.request, job.run));
    let event = room.journal.info("run begins").digest("job", job.request.as_bytes()).number("run", job.run);
    event.write();
    let (written, end) = match attempt(room, slot, job, &work, devices) {
        Ok(Finished::Judged) => (true, "judged"),
        Ok(Finished::Stopped) => (true, "stopped"),
        Ok(Finished::Failed(fault)) => {
            let told =
                Move { failure: fault.failure, used: fault.used, ..Move::new(State::Failed, fault.reason) };
            (write_down(room, || finish(room, job, &told)), "failed")
        }
        Ok(Finished::Revoked) => {
            let told = Move::new(State::Cancelled, Reason::Request);
            (write_down(room, || finish(room, job, &told)), "revoked")
        }
        Err(error) => {
            tell_fault(room, job, &error);
            (write_down(room, || retry::lost(room, job)), "lost")
        }
    };
    if written {
        let event = room.journal.info("run ends").digest("job", job.request.as_bytes());
        event.number("run", job.run).word("end", end).write();
    }
    // A crash before this line leaves a directory of a run that is over, which the next start removes.
    if let Err(error) = files::remove_tree(&work) {
        // Of the kind alone: the text could quote a name that the job gave.
        let error = std::io::Error::from(error.kind());
        room.journal.warning("a work directory is not removed").own_error(&error).write();
    }
    sweep::sweep_and_tell(room);
}

/// Writes an end down, and again until it is written: a full disk must not leave a job RUNNING for ever. Only a
/// stopping room gives up; the next start then counts the run as lost.
fn write_down(room: &Room, mut write: impl FnMut() -> Result<(), StoreError>) -> bool {
    loop {
        let Err(error) = write() else { return true };
        room.journal.error("the end of a run is not written down").own_error(&error).write();
        if room.stop.is_raised() {
            return false;
        }
        std::thread::sleep(AGAIN);
    }
}

fn finish(room: &Room, job: &Job, told: &Move) -> Result<(), StoreError> {
    let (request, run, at, told) = (job.request, job.run, room.now(), told.clone());
    // A crash before the commit leaves the row RUNNING: a lost run, charged anew.
    room.store.change(move |transaction| {
        let job = jobs::find(transaction, &request)?.ok_or(StoreError::Foreign("request"))?;
        if job.state != State::Running || job.run != run {
            // It was written down before.
            return Ok(());
        }
        let end = cancel::ended_by_people(transaction, &request)?.unwrap_or(told);
        jobs::make_move(transaction, &request, &end, at)
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
    /// What the verdict says of the review of the code.
    code_review: Evidence,
    policy: Policy,
    policy_text: String,
    catalogue: Vec<Catalogue>,
    runtime: PathBuf,
    /// The runtime whose program compares answers; none if the site names none, or it is not there.
    comparing: Option<PathBuf>,
    data: Vec<(String, PathBuf)>,
    /// Files of these datasets that anybody may read.
    public: Vec<PathBuf>,
    devices: Held,
}

fn ready(room: &Room, job: &Job, devices: &Held) -> Result<Ready, RunError> {
    let site = room.site.current().ok_or(RunError::Site)?;
    let envelope = Envelope::parse(&job.envelope).map_err(|error| RunError::Request(error.refusal()))?;
    let request = SignedRequest::verify(&envelope, &site).map_err(RunError::Request)?;
    let digest = job.request;
    let approvals = room.store.read(move |connection| code_reviews::approvals(connection, &digest));
    let approvals = approvals.map_err(RoomError::from)?;
    // Without its review a run could not be released by anyone; it does not even begin.
    let reviewed = ReviewedCode::still(&approvals, &request, &site, room.now()).map_err(RunError::Request)?;
    let code_review = reviewed.evidence();
    let file = site.policy(&request.grant().statement().policy).ok_or(RunError::Site)?.file();
    let policy_text = String::from_utf8(file.to_vec()).map_err(|_| RunError::Site)?;
    let policy = Policy::parse(&policy_text).map_err(|_| RunError::Site)?;
    let mut catalogue = Vec::new();
    let (mut data, mut public) = (Vec::new(), Vec::new());
    for dataset in &request.request().datasets {
        catalogue.push(site.dataset(&dataset.name).ok_or(RunError::Site)?.statement().clone());
        let snapshot = room.places.snapshot(&dataset.name, &dataset.tree.sha256).ok_or(RunError::Site)?;
        data.push((dataset.name.to_string(), snapshot));
        public.extend(public_files(room, catalogue.last()).ok_or(RunError::Site)?);
    }
    let runtime = room.places.runtime(&request.request().runtime.tree.sha256).ok_or(RunError::Site)?;
    let comparing = match site.comparing_runtime().map(|entry| &entry.statement().entry) {
        Some(CatalogueEntry::Runtime { tree, .. }) => room.places.runtime(&tree.sha256),
        Some(CatalogueEntry::Dataset { .. }) | None => None,
    };
    let devices = devices.clone();
    Ok(Ready {
        site,
        request,
        code_review,
        policy,
        policy_text,
        catalogue,
        runtime,
        comparing,
        data,
        public,
        devices,
    })
}

fn attempt(room: &Room, slot: Slot, job: &Job, work: &Path, devices: &Held) -> Result<Finished, RunError> {
    let ready = ready(room, job, devices)?;
    files::remove_tree(work)?;
    files::private_directory(work)?;
    let cancel = Cancel::new()?;
    room.running.begins(job.request, cancel.clone());
    let _registered = Registered { room, job };
    let request = job.request;
    // Whoever ended it before it could be ended from outside is heard here.
    let ended = room.store.read(move |connection| cancel::ended_by_people(connection, &request));
    if ended.map_err(RoomError::from)?.is_some() {
        cancel.cancel();
    }
    let most = room.configuration.limits.run_disk_bytes;
    let ends = Ends {
        stop: &room.stop,
        deadline: Instant::now() + longest(room, &ready),
        is_revoked: &|| is_revoked(room, &ready.request),
        is_too_large: &|| space::used(work, most) > most,
    };
    let watch = Watch::new(ends, &cancel);
    std::thread::scope(|scope| {
        scope.spawn(|| watch.until_over());
        let _ends = Over(&watch.over);
        let finished = steps(room, slot, job, work, &ready, &watch);
        if matches!(finished, Ok(Finished::Judged)) {
            return finished;
        }
        match watch.ended_by() {
            Some(EndedBy::Stop) => Ok(Finished::Stopped),
            Some(EndedBy::Revocation) => Ok(Finished::Revoked),
            Some(EndedBy::Deadline) => Err(RunError::Deadline),
            Some(EndedBy::Space) if watch.unpacked.load(Ordering::SeqCst) => {
                Ok(Finished::Failed(Reason::OutputLimit.into()))
            }
            Some(EndedBy::Space) => Ok(Finished::Failed(Reason::Bundle.into())),
            None => finished,
        }
    })
}

/// A run that nobody may ask for any more has no business beside the data.
fn is_revoked(room: &Room, request: &SignedRequest) -> bool {
    let Some(site) = room.site.current() else { return false };
    let request = request.request();
    let is_grants = site.revocation().grants.contains(&request.grant.id);
    is_grants || site.is_revoked(&request.requester.id, &request.requester.key_id)
}

/// Where the files lie that anybody may read, by a dataset's entry; none if one is not there, and a search that was to
/// excuse what stands in it cannot be made.
fn public_files(room: &Room, entry: Option<&Catalogue>) -> Option<Vec<PathBuf>> {
    let store = &room.places.public;
    let there = |digest| store.contains(digest).then(|| store.path(digest));
    entry?.public().iter().map(|file| there(file.file.sha256)).collect()
}

/// The run's own limit, and what the table of states gives for unpacking and judging.
fn longest(room: &Room, ready: &Ready) -> Duration {
    let run = wall::run_seconds(room, ready.request.request(), &ready.policy);
    Duration::from_secs(run.saturating_add(State::Running.limit_seconds().unwrap_or(0)))
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
    let bundle = match &asked.query {
        // The box's own program runs, and is shown nothing that a stranger packed.
        Some(query) => query::lay_down(work, query, asked, ready)?,
        None => match unpack(room, slot, asked.bundle.sha256, work, watch.cancel)? {
            Some(bundle) => bundle,
            None => return Ok(Finished::Failed(Reason::Bundle.into())),
        },
    };
    watch.unpacked.store(true, Ordering::SeqCst);
    let view =
        JobView { runtime: &ready.runtime, bundle: &bundle, data: &ready.data, devices: &ready.devices };
    let specification = wall::job(room, slot, asked, &ready.policy, &view)?;
    // The limit may have been lowered since the job was admitted.
    if !space::images_fit(room, asked).map_err(RoomError::from)? {
        let error = "its images of runtime and data do not fit into run_disk_bytes";
        return Err(LaunchError::Machine(error.into()).into());
    }
    let begun = Instant::now();
    // It returns when the last process of the job is dead; only then is what it wrote looked at.
    let ended = match wall::run_job(room, work, &specification, watch.cancel) {
        Err(LaunchError::Specification(error)) if is_the_requests(&error) => {
            return Ok(Finished::Failed(Reason::ProgramFailed.into()));
        }
        ended => ended?,
    };
    let Ended { outcome, evidence, output, peak_bytes, .. } = ended;
    let used = match asked.query.as_ref().is_some_and(|query| query.privacy.is_some()) {
        // How much an answer with noise took tells of how many people.
        true => Use::default(),
        false => failure::used(peak_bytes, specification.limits.memory_bytes, output.as_ref()),
    };
    if let Some(reason) = fault_of(outcome) {
        let failure = output.as_ref().and_then(failure::of);
        return Ok(Finished::Failed(Fault { reason, failure, used }));
    }
    let out = work.join("out");
    let space = output.ok_or(RunError::NoOutput)?;
    match collect(&space, &out, &asked.outputs, room.configuration.limits.output_bytes) {
        Err(CollectError::TooLarge) => {
            return Ok(Finished::Failed(Fault { reason: Reason::OutputLimit, failure: None, used }));
        }
        Err(CollectError::Io(error)) => return Err(error.into()),
        Ok(()) => drop(space),
    }
    let quarantine = room.places.quarantine_of(&job.request, job.run);
    let left = specification.limits.wall.saturating_sub(begun.elapsed());
    let mut outputs = Outputs {
        room,
        slot,
        work,
        quarantine: quarantine.clone(),
        policy: ready.policy_text.clone(),
        declared: &asked.outputs,
        query: asked.query.as_ref(),
        precisions: BTreeMap::new(),
        catalogue: ready.catalogue.clone(),
        data: &ready.data,
        public: &ready.public,
        cancel: watch.cancel,
    };
    outputs.precisions = precision::choose(&outputs, asked, &ready.policy, &view, &out, left)?;
    let checker = room.checker.digest()?;
    let mut found = outputs.look(&out)?;
    let ordered = differencing::has_tables(&asked.outputs)
        .then(|| room.table_order.hold(asked.datasets.iter().map(|dataset| dataset.name.clone())));
    let compared = differencing::compare(&outputs, asked, &mut found)?;
    query::compare(&outputs, asked, ready, &mut found)?;
    let looked_at = LookedAt {
        job,
        request: &ready.request,
        site: &ready.site,
        code_review: ready.code_review,
        policy: &ready.policy,
        wall: wall::statement(&evidence, room.devices.statement(&ready.devices)),
        checker,
        found: &found,
        compared: &compared,
        used,
        quarantine: &quarantine,
    };
    verdict::conclude(room, &looked_at)?;
    drop(ordered);
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
        binary: None,
        reads: Vec::new(),
        writes: Some((&unpacked, "/unpacked")),
        data: &[],
        public: &[],
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
        Outcome::ProcessLimit => Some(Reason::ProcessLimit),
        Outcome::FileLimit | Outcome::OutputLimit | Outcome::SpaceLimit => Some(Reason::OutputLimit),
        // A stopping room writes nothing of this down, and of a job that was called off only that.
        Outcome::Cancelled => Some(Reason::Box),
    }
}

/// Takes the run out of those that a cancel can end.
struct Registered<'a> {
    room: &'a Room,
    job: &'a Job,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.room.running.over(&self.job.request);
    }
}
