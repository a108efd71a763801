//! The review of a job's code before it runs, where the grant asks for one. The job waits, and nothing is charged, until
//! the enclave itself has counted enough approvals: it believes no console that they are there. The packet holds only
//! what the researcher signed, so a steward's tool can check all of it without believing the enclave.

use api::internal::CodeApprovals;
use api::v1::Reason;
use blobs::Digest;
use lifecycle::{ANSWER_BITS, State};
use packet::Content;
use release::envelope::Envelope;
use release::file::CodeDenialFile;
use release::path::{AdmittedRequest, CODE_BUNDLE_LIMIT, CodeDenied, ReviewedCode, SignedRequest};
use release::refusal::Refusal;
use release::site::Site;
use release::statement::{CodeDenial, DenialDecision};
use release::value::{Name, Timestamp};
use rusqlite::Transaction;

use crate::admission::{limits_of, reason_of};
use crate::cancel;
use crate::outbox::OutcomeError;
use crate::reviewers;
use crate::room::{Room, RoomError};
use crate::store::account::{self, AccountError, Limits, Occasion};
use crate::store::jobs::{self, Job, Move, Submission};
use crate::store::{StoreError, cancels, code_reviews, verdicts};
use crate::sweep;

/// The one file of a packet: the bundle as it was handed in.
const BUNDLE: &str = "bundle.tar.zst";

/// Seals the bundle to those who may review the job, and lays the packet down. None if nobody could read it all: it is
/// larger than [`CODE_BUNDLE_LIMIT`]. The caller keeps it from being swept away until a row names it.
pub fn lay_packet(
    room: &Room,
    site: &Site,
    admitted: &AdmittedRequest,
    submission: &Submission,
) -> Result<Option<Digest>, RoomError> {
    let bundle = admitted.request().bundle.sha256;
    let size = room.places.bundles.open_blob(bundle)?.metadata()?.len();
    if size > CODE_BUNDLE_LIMIT {
        return Ok(None);
    }
    let name: Name = BUNDLE.parse().map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
    let content = Content {
        purpose: submission.purpose.clone(),
        salt: submission.purpose_salt,
        bundle,
        canonical: vec![(name, room.places.bundles.read(bundle, size)?)],
        details: Vec::new(),
        places: Vec::new(),
    };
    let reviewers = reviewers::of_request(site, admitted.signed());
    let sealed = packet::seal(&reviewers::recipients(&reviewers), &content, &submission.request);
    let sealed = sealed.map_err(|error| RoomError::from(std::io::Error::other(error)))?;
    Ok(Some(room.places.packets.put(&sealed)?))
}

/// Counts approvals that the console passes on. The job comes into the queue and is charged, in one transaction with the
/// approvals, or nothing happens. A repeat changes nothing.
pub fn take_approvals(room: &Room, message: &CodeApprovals) -> Result<(), OutcomeError> {
    let digest = api::digest("request_sha256", &message.request_sha256).map_err(|_| OutcomeError::NotOurs)?;
    let job =
        room.store.read(move |connection| jobs::find(connection, &digest))?.ok_or(OutcomeError::NotOurs)?;
    if job.state != State::InCodeReview {
        return Ok(());
    }
    room.site.look(&room.store, &room.key, room.journal)?;
    let site = room.site.current().ok_or(OutcomeError::NoSite)?;
    let approvals: Result<Vec<_>, _> = message.approvals.iter().map(|bytes| Envelope::parse(bytes)).collect();
    let approvals = approvals.map_err(|error| error.refusal())?;
    let now = room.now();
    let request = covered(&job, &site, now)?;
    let reviewed = ReviewedCode::check(&approvals, &request, &site, now)?;
    let limits = limits_of(&site, &request).ok_or(OutcomeError::NoSite)?;
    // A crash before the commit leaves the job under review, and the console sends the approvals again. A crash after
    // it leaves a charged job in the queue.
    let state =
        room.store.change(move |transaction| let_run(transaction, &digest, &reviewed, &limits, now))?;
    let event = room.journal.info("approvals of code counted").digest("job", digest.as_bytes());
    event.word("state", state.word()).write();
    sweep::sweep_and_tell(room);
    Ok(())
}

/// The job's request, if a run may begin under it at this moment: nothing begins under a grant that was replaced.
fn covered(job: &Job, site: &Site, now: Timestamp) -> Result<SignedRequest, Refusal> {
    let envelope = Envelope::parse(&job.envelope).map_err(|error| error.refusal())?;
    let request = SignedRequest::verify(&envelope, site)?;
    let grant = site.grant_in_force(&request.request().grant, now)?;
    site.policy_in_force(&grant.statement().policy, now)?;
    Ok(request)
}

fn let_run(
    transaction: &Transaction<'_>,
    request: &Digest,
    reviewed: &ReviewedCode,
    limits: &Limits,
    at: Timestamp,
) -> Result<State, StoreError> {
    let job = jobs::find(transaction, request)?.ok_or(StoreError::Foreign("request"))?;
    if job.state != State::InCodeReview {
        return Ok(job.state);
    }
    let next = if cancels::job_is_called_off(transaction, request)? {
        cancel::called_off()
    } else {
        match account::charge_run(
            transaction,
            limits,
            ANSWER_BITS,
            Occasion { request: *request, run: 1, at },
        ) {
            Ok(()) => {
                jobs::set_run(transaction, request, 1)?;
                code_reviews::keep_approvals(transaction, request, reviewed)?;
                Move::new(State::Queued, Reason::Unspecified)
            }
            Err(AccountError::Store(error)) => return Err(error),
            Err(AccountError::AnswerBits | AccountError::ReleaseBits) => {
                Move::new(State::Refused, Reason::Account)
            }
            Err(AccountError::Privacy) => Move::new(State::Refused, Reason::Privacy),
        }
    };
    jobs::make_move(transaction, request, &next, at)?;
    Ok(next.to)
}

/// Takes a code denial file: verifies that it is a witnessed leaf about an own job, and ends the job. A run that goes on
/// is killed, and what it comes to is not asked. Returns the request's digest once that is durable. What ran before the
/// refusal came is not released: the signer refuses it. None for a job whose release is being taken.
pub fn take_denial(room: &Room, bytes: &[u8]) -> Result<Option<Digest>, OutcomeError> {
    let file = CodeDenialFile::parse(bytes)?;
    let digest = file.request.payload_digest();
    let job =
        room.store.read(move |connection| jobs::find(connection, &digest))?.ok_or(OutcomeError::NotOurs)?;
    if job.state.is_end() {
        return Ok(Some(digest));
    }
    room.site.look(&room.store, &room.key, room.journal)?;
    let site = room.site.current().ok_or(OutcomeError::NoSite)?;
    let envelope = Envelope::parse(&job.envelope).map_err(|error| error.refusal())?;
    let request = SignedRequest::verify(&envelope, &site)?;
    let accept_on_box_witness = room.configuration.accept_on_box_witness;
    let logged = file.verify(&request, &site, accept_on_box_witness, room.now())?;
    let (movement, at) = (movement_of(logged.denial()), room.now());
    // A crash before the commit leaves the job as it was, and the console sends the denial again.
    let taken = room.store.change(move |transaction| deny(transaction, &digest, &movement, at))?;
    // Only after the commit: a run that was killed for a refusal which nobody kept would be charged and started anew.
    if taken == Some(State::Running) {
        room.running.end(&digest);
    }
    sweep::sweep_and_tell(room);
    Ok(taken.map(|_| digest))
}

fn movement_of(denial: &CodeDenial) -> Move {
    let to = match denial.decision {
        DenialDecision::Return => State::Returned,
        DenialDecision::Reject => State::Rejected,
    };
    Move { denial_reasons: denial.reasons.clone(), ..Move::new(to, Reason::Steward) }
}

/// Returns the state that the job was in, or None if the refusal is not taken now.
fn deny(
    transaction: &Transaction<'_>,
    request: &Digest,
    movement: &Move,
    at: Timestamp,
) -> Result<Option<State>, StoreError> {
    let job = jobs::find(transaction, request)?.ok_or(StoreError::Foreign("request"))?;
    match job.state {
        State::InCodeReview | State::Queued => jobs::make_move(transaction, request, movement, at)?,
        State::Running => code_reviews::keep_refusal(transaction, request, movement)?,
        State::InReview => {
            account::free(transaction, Occasion { request: *request, run: job.run, at })?;
            verdicts::withdraw(transaction, request)?;
            jobs::make_move(transaction, request, movement, at)?;
        }
        State::Approved => return Ok(None),
        State::Submitted | State::Released | State::Refused | State::Failed | State::Blocked => {}
        State::Rejected | State::Returned | State::Cancelled | State::Expired | State::Lost => {}
    }
    Ok(Some(job.state))
}

/// Ends jobs whose code a steward refused in the site directory: nobody need believe that the console takes the refusal to
/// the log. A review of what such code wrote ends once the console has withdrawn it, since the log may have a release of
/// it, which then stands. True if something was done.
pub fn end_refused(room: &Room) -> Result<bool, StoreError> {
    let Some(site) = room.site.current() else { return Ok(false) };
    let mut acted = false;
    for denial in site.code_denials() {
        let request = denial.statement().request.sha256;
        let found = room.store.read(move |connection| {
            Ok((jobs::find(connection, &request)?, code_reviews::refusal(connection, &request)?.is_some()))
        });
        let (Some(job), false) = found? else { continue };
        let Some(movement) = refused_in_site(&job, &site).filter(|_| !job.state.is_end()) else { continue };
        let at = room.now();
        // A crash before the commit leaves the job as it was, and the next look finds the refusal again.
        let taken =
            room.store.change(move |transaction| refuse_in_site(transaction, &request, &movement, at))?;
        if taken == Some(State::Running) {
            room.running.end(&request);
        }
        acted = true;
    }
    Ok(acted)
}

fn refuse_in_site(
    transaction: &Transaction<'_>,
    request: &Digest,
    movement: &Move,
    at: Timestamp,
) -> Result<Option<State>, StoreError> {
    let state = jobs::find(transaction, request)?.map(|job| job.state);
    if state != Some(State::InReview) {
        return deny(transaction, request, movement, at);
    }
    code_reviews::keep_refusal(transaction, request, movement)?;
    verdicts::withdraw(transaction, request)?;
    Ok(state)
}

/// The end that a refusal in the site directory gives a job. Only who may review its code can refuse it there.
fn refused_in_site(job: &Job, site: &Site) -> Option<Move> {
    let request = SignedRequest::verify(&Envelope::parse(&job.envelope).ok()?, site).ok()?;
    Some(movement_of(CodeDenied::in_site(&request, site)?.denial().statement()))
}

/// Ends jobs under review or in the queue that the site covers no more: a grant that was revoked or replaced lets nothing
/// begin, and nobody need wait for a slot to hear so. The site alone decides it, no data does. True if one ended.
pub fn end_uncovered(room: &Room, now: Timestamp) -> Result<bool, StoreError> {
    let mut waiting = room.store.read(|connection| jobs::in_state(connection, State::InCodeReview))?;
    waiting.extend(room.store.read(|connection| jobs::in_state(connection, State::Queued))?);
    let Some(site) = room.site.current() else { return Ok(false) };
    // Past the expiry of roles or revocation nothing is decided; jobs wait for newer ones.
    if site.fresh(now).is_err() {
        return Ok(false);
    }
    let mut ended = false;
    for job in waiting {
        if let Err(refusal) = covered(&job, &site, now) {
            let end = Move::new(State::Refused, reason_of(refusal));
            ended |= room.store.change(move |transaction| end_if_waiting(transaction, &job, &end, now))?;
        }
    }
    Ok(ended)
}

fn end_if_waiting(
    transaction: &Transaction<'_>,
    job: &Job,
    end: &Move,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let waits = jobs::find(transaction, &job.request)?.is_some_and(|current| current.state == job.state);
    if waits {
        jobs::make_move(transaction, &job.request, end, at)?;
    }
    Ok(waits)
}
