//! A job called off by its requester. The statement is durable before anything is done about it, so that a crash
//! anywhere leaves a job that the next start calls off.
//!
//! | state | what is done |
//! |-|-|
//! | not there yet | it is refused when it comes |
//! | QUEUED | CANCELLED at once; it never starts |
//! | RUNNING | its processes are killed; once the last one is dead, CANCELLED |
//! | IN_REVIEW | the console is asked to withdraw the packet; once it has, CANCELLED. If the log had an outcome first, that outcome stands |
//! | an end | nothing |
//!
//! Reserved release bits are given back, answer bits are not: the run may have told something.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use api::v1::Reason;
use blobs::Digest;
use lifecycle::State;
use release::envelope::Envelope;
use release::path::{CancelledJob, SignedCancel};
use release::refusal::Refusal;
use release::site::Site;
use release::statement::{Cancel, Request};
use release::value::{Name, Timestamp};
use rusqlite::{Connection, Transaction};
use sandbox::Cancel as Stop;

use crate::room::{Room, RoomError};
use crate::store::account::{self, Occasion};
use crate::store::jobs::{self, Job, Move};
use crate::store::{StoreError, cancels, code_reviews, verdicts};
use crate::sweep;

/// Runs that can be ended from outside, by request.
#[derive(Debug, Default)]
pub struct Running(Mutex<HashMap<Digest, Stop>>);

impl Running {
    /// Lets a run be ended until it is [`Running::over`].
    pub fn begins(&self, request: Digest, stop: Stop) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(request, stop);
    }

    /// The run has ended.
    pub fn over(&self, request: &Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(request);
    }

    /// Kills a run's processes.
    pub fn end(&self, request: &Digest) {
        if let Some(stop) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(request) {
            stop.cancel();
        }
    }
}

/// What became of a cancel. The gateway learns none of this: it could tell when a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is kept and acted upon, or was before, or came too late.
    Heard,
    /// It is not the requester's.
    Refused(Refusal),
    /// It cannot be judged or kept now: no site is in force, the clocks differ, or it is about no job that is there and too
    /// many such are kept already. The gateway sends it again.
    Later,
}

/// Takes a cancel.
pub fn take(room: &Room, bytes: &[u8]) -> Result<Taken, RoomError> {
    let Ok(envelope) = Envelope::parse(bytes) else { return Ok(Taken::Refused(Refusal::EnvelopeForm)) };
    // The gateway may have taken it under a site that this room has not looked at yet.
    room.site.look(&room.store, &room.key, room.journal)?;
    let Some(site) = room.site.current() else { return Ok(Taken::Later) };
    let stated = match envelope.unverified::<Cancel>() {
        Ok(stated) => stated,
        Err(refusal) => return Ok(Taken::Refused(refusal)),
    };
    let request = stated.request.sha256;
    let job = room.store.read(move |connection| jobs::find(connection, &request))?;
    let verified = match &job {
        Some(job) => verify(&envelope, job, &site, room.now()),
        None => verify_ahead(&envelope, &stated, &site, room.now()),
    };
    match verified {
        Ok(()) => {}
        Err(Refusal::RequestTime) => return Ok(Taken::Later),
        Err(refusal) => return Ok(Taken::Refused(refusal)),
    }
    let (requester, at) = (stated.requester.id, room.now());
    let acted = room.store.change(move |transaction| act(transaction, request, &requester, at))?;
    match acted {
        None => return Ok(Taken::Later),
        Some(State::Running) => room.running.end(&request),
        Some(State::InCodeReview | State::Queued) => sweep::sweep_and_tell(room),
        Some(_) => {}
    }
    Ok(Taken::Heard)
}

/// The request's own signer called it off.
fn verify(envelope: &Envelope, job: &Job, site: &Site, now: Timestamp) -> Result<(), Refusal> {
    let request: Request = Envelope::parse(&job.envelope).map_err(|error| error.refusal())?.unverified()?;
    let job =
        CancelledJob { request: job.request, requester: &request.requester.id, grant: &request.grant.id };
    SignedCancel::verify(envelope, job, site, now).map(drop)
}

/// Some member of some grant called a request off that is not there. Whether it is theirs shows when it comes.
fn verify_ahead(envelope: &Envelope, stated: &Cancel, site: &Site, now: Timestamp) -> Result<(), Refusal> {
    let mut refusal = Refusal::RequestSignature;
    for grant in site.grants() {
        let requester = &stated.requester.id;
        let job = CancelledJob { request: stated.request.sha256, requester, grant: &grant.statement().id };
        match SignedCancel::verify(envelope, job, site, now) {
            Ok(_) => return Ok(()),
            // The signature is good, and one of the two clocks is not.
            Err(Refusal::RequestTime) => refusal = Refusal::RequestTime,
            Err(found) if refusal != Refusal::RequestTime => refusal = found,
            Err(_) => {}
        }
    }
    Err(refusal)
}

/// Keeps the cancel and makes the move that can be made at once. Returns the state that the job was in, SUBMITTED for a
/// job that is not there yet, or None if the cancel could not be kept.
fn act(
    transaction: &Transaction<'_>,
    request: Digest,
    requester: &Name,
    at: Timestamp,
) -> Result<Option<State>, StoreError> {
    let state = match jobs::find(transaction, &request)? {
        Some(job) if job.state.is_end() => return Ok(Some(job.state)),
        Some(job) => job.state,
        None => State::Submitted,
    };
    if !cancels::keep(transaction, &request, requester, at)? {
        return Ok(None);
    }
    match state {
        State::InCodeReview | State::Queued => {
            jobs::make_move(transaction, &request, &called_off(), at)?;
        }
        State::InReview => verdicts::withdraw(transaction, &request)?,
        _ => {}
    }
    Ok(Some(state))
}

/// The end that people gave a run while it went on: a steward's refusal of its code, or else its requester's cancel.
/// Whatever the run comes to, it ends so.
pub fn ended_by_people(connection: &Connection, request: &Digest) -> Result<Option<Move>, StoreError> {
    if let Some(refused) = code_reviews::refusal(connection, request)? {
        return Ok(Some(refused));
    }
    Ok(cancels::job_is_called_off(connection, request)?.then(called_off))
}

/// The move to CANCELLED.
pub fn called_off() -> Move {
    Move::new(State::Cancelled, Reason::Cancelled)
}

/// The console has withdrawn a packet, and no outcome of the log came before: the review ends.
pub fn withdrawn(room: &Room, verdict: Digest) -> Result<(), RoomError> {
    let at = room.now();
    room.store.change(move |transaction| end_review(transaction, &verdict, at))?;
    sweep::sweep_and_tell(room);
    Ok(())
}

fn end_review(transaction: &Transaction<'_>, verdict: &Digest, at: Timestamp) -> Result<(), StoreError> {
    let Some(verdict) = verdicts::find(transaction, verdict)? else { return Ok(()) };
    let job = jobs::find(transaction, &verdict.request)?.ok_or(StoreError::Foreign("request"))?;
    verdicts::withdrawn(transaction, &verdict.verdict)?;
    let asked = ended_by_people(transaction, &verdict.request)?;
    // A console that withdraws what nobody ended changes nothing.
    let Some(end) = asked.filter(|_| job.state == State::InReview && job.run == verdict.run) else {
        return Ok(());
    };
    account::free(transaction, Occasion { request: verdict.request, run: verdict.run, at })?;
    jobs::make_move(transaction, &verdict.request, &end, at)
}
