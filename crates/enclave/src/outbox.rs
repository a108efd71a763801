//! The end of a review. A file leaves the quarantine only here, and only on a [`LoggedRelease`] that the enclave
//! verified itself, from its own pin, witnesses included, and that is about its own verdict. It is the first of the
//! outbox's two locks; the gateway has the second.

use std::collections::{BTreeMap, BTreeSet};

use api::v1::Reason;
use blobs::{BlobStore, Digest};
use lifecycle::State;
use release::envelope::Envelope;
use release::file::{DenialFile, GivenFiles, LoggedRelease, Pinned, ReleaseFile};
use release::path::{JudgedVerdict, SignedRequest};
use release::refusal::Refusal;
use release::statement::{Denial, DenialDecision, Verdict};
use release::value::Name;
use rusqlite::Transaction;

use crate::room::{Room, RoomError};
use crate::seen_releases;
use crate::store::StoreError;
use crate::store::account::{self, Occasion};
use crate::store::jobs::{self, Move};
use crate::store::releases::{self, StoredRelease};
use crate::store::verdicts::{self, StoredVerdict};
use crate::sweep;

/// An outcome that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OutcomeError {
    /// It does not verify.
    #[error("the outcome is refused: {0}")]
    Refused(#[from] Refusal),
    /// It is about no verdict of this enclave.
    #[error("the outcome is about no verdict of this enclave")]
    NotOurs,
    /// No site is there to verify it against.
    #[error("there is no site to verify it against")]
    NoSite,
    /// The room.
    #[error("the room failed")]
    Room(#[from] RoomError),
}

impl From<StoreError> for OutcomeError {
    fn from(error: StoreError) -> Self {
        Self::Room(error.into())
    }
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It ended the review.
    Ended,
    /// It had been taken before, or came too late to change anything.
    Before,
}

/// Takes a release file: verifies it, spends the reservation, and lays the files into the outbox. Returns the
/// verdict's digest once all of it is durable; a repeat changes nothing.
pub fn take_release(room: &Room, bytes: &[u8]) -> Result<(Digest, Taken), OutcomeError> {
    let file = ReleaseFile::parse(bytes)?;
    let verdict_digest = file.verdict.payload_digest();
    let verdict = our_verdict(room, verdict_digest)?;
    if let Some(release) =
        room.store.read(move |connection| releases::of_verdict(connection, &verdict_digest))?
    {
        // The signer signs one manifest a verdict, ever; another one is refused by its digest.
        if release.release_file != Digest::of(bytes) {
            return Err(Refusal::Rollback.into());
        }
        stage(room, &release)?;
        return Ok((verdict_digest, Taken::Before));
    }
    let now = room.now();
    room.site.look(&room.store, &room.key, room.journal)?;
    let site = room.site.current();
    let seen =
        room.store.read(move |connection| seen_releases::with_site(connection, site.as_deref(), now))?;
    let pinned = Pinned {
        roles: room.configuration.site_pin,
        accept_on_box_witness: room.configuration.accept_on_box_witness,
        seen: Some(seen.clone()),
    };
    let logged = file.verify(&pinned, now, GivenFiles::NotGiven)?;
    check_ours(&logged, &verdict)?;
    let release = StoredRelease {
        release_file: Digest::of(bytes),
        verdict: verdict_digest,
        request: verdict.request,
        bytes: bytes.to_vec(),
    };
    let at = now;
    let stored = release.clone();
    // A crash before the commit leaves the review open, and the console sends the file again. A crash after it
    // leaves a release whose files are not in the outbox yet; the next start lays them there.
    let taken = room.store.change(move |transaction| {
        seen_releases::keep(transaction, seen, &logged, at)?;
        spend(transaction, &verdict, &stored, at)
    })?;
    if taken == Taken::Ended {
        stage(room, &release)?;
    }
    Ok((verdict_digest, taken))
}

fn our_verdict(room: &Room, verdict: Digest) -> Result<StoredVerdict, OutcomeError> {
    room.store.read(move |connection| verdicts::find(connection, &verdict))?.ok_or(OutcomeError::NotOurs)
}

/// The verdict in the release is byte for byte the one that this enclave signed and keeps, and it is a PASS.
fn check_ours(logged: &LoggedRelease, verdict: &StoredVerdict) -> Result<(), OutcomeError> {
    let ours = verdict.passed
        && logged.verdict().payload_digest() == verdict.verdict
        && logged.request_digest() == verdict.request;
    if ours { Ok(()) } else { Err(OutcomeError::NotOurs) }
}

fn spend(
    transaction: &Transaction<'_>,
    verdict: &StoredVerdict,
    release: &StoredRelease,
    at: release::value::Timestamp,
) -> Result<Taken, StoreError> {
    let occasion = Occasion { request: verdict.request, run: verdict.run, at };
    let job = jobs::find(transaction, &verdict.request)?.ok_or(StoreError::Foreign("request"))?;
    if job.state != State::InReview || job.run != verdict.run {
        // The review had ended, and its files are wiped. The release stands in the log all the same, so its bits are
        // spent: whoever adds up the log must not find more than the account says.
        if !account::spend(transaction, occasion)? && !account::is_spent(transaction, occasion)? {
            account::spend_late(transaction, occasion)?;
        }
        verdicts::withdrawn(transaction, &verdict.verdict)?;
        return Ok(Taken::Before);
    }
    account::spend(transaction, occasion)?;
    releases::insert(transaction, release)?;
    for to in [State::Approved, State::Released] {
        jobs::make_move(transaction, &verdict.request, &Move::new(to, Reason::Passed), at)?;
    }
    Ok(Taken::Ended)
}

/// Lays every release that is not in the outbox yet there.
pub fn stage_all(room: &Room) -> Result<(), RoomError> {
    for release in room.store.read(releases::not_staged)? {
        stage(room, &release)?;
    }
    Ok(())
}

/// Copies a release's files from the quarantine into the outbox, the release file last. May be repeated.
fn stage(room: &Room, release: &StoredRelease) -> Result<(), RoomError> {
    let release_file = release.release_file;
    if !room.store.read(move |connection| releases::is_waiting(connection, &release_file))? {
        return Ok(());
    }
    let verdict_digest = release.verdict;
    let verdict = room.store.read(move |connection| verdicts::find(connection, &verdict_digest))?;
    let verdict = verdict.ok_or(StoreError::Foreign("verdict"))?;
    let quarantine = BlobStore::open(room.places.quarantine_of(&verdict.request, verdict.run), 0o600)?;
    for (digest, bytes) in files_of(&verdict)?.into_values() {
        room.places.outbox.copy_in(quarantine.open_blob(digest)?, Some(digest), bytes)?;
    }
    room.places.outbox.put(&release.bytes)?;
    // A crash before this commit leaves files in the outbox that the gateway was not told of; they are laid again.
    room.store.change(move |transaction| releases::set_staged(transaction, &release_file))?;
    Ok(())
}

fn files_of(verdict: &StoredVerdict) -> Result<BTreeMap<Name, (Digest, u64)>, StoreError> {
    let foreign = || StoreError::Foreign("verdict");
    let envelope = Envelope::parse(&verdict.envelope).map_err(|_| foreign())?;
    let verdict: Verdict = envelope.unverified().map_err(|_| foreign())?;
    Ok(verdict.files.into_iter().map(|file| (file.name, (file.sha256, file.bytes.0))).collect())
}

/// Every file that must lie in the outbox: of releases that the gateway did not take yet.
pub fn needed(room: &Room) -> Result<BTreeSet<Digest>, RoomError> {
    let needed = room.store.read(|connection| {
        let mut needed = BTreeSet::new();
        for release in releases::open(connection)? {
            let verdict =
                verdicts::find(connection, &release.verdict)?.ok_or(StoreError::Foreign("verdict"))?;
            needed.insert(release.release_file);
            needed.extend(files_of(&verdict)?.into_values().map(|(digest, _)| digest));
        }
        Ok(needed)
    })?;
    Ok(needed)
}

/// Takes a denial file: verifies that it is a witnessed leaf about an own verdict, ends the job and frees its
/// reservation. A repeat changes nothing.
pub fn take_denial(room: &Room, bytes: &[u8]) -> Result<(Digest, Taken), OutcomeError> {
    let file = DenialFile::parse(bytes)?;
    let verdict_digest = file.verdict.payload_digest();
    let verdict = our_verdict(room, verdict_digest)?;
    let request = verdict.request;
    let job =
        room.store.read(move |connection| jobs::find(connection, &request))?.ok_or(OutcomeError::NotOurs)?;
    if job.state != State::InReview {
        room.store.change(move |transaction| verdicts::withdrawn(transaction, &verdict_digest))?;
        return Ok((verdict_digest, Taken::Before));
    }
    room.site.look(&room.store, &room.key, room.journal)?;
    let site = room.site.current().ok_or(OutcomeError::NoSite)?;
    let judged = {
        let request = SignedRequest::verify(&envelope_of(&job.envelope)?, &site)?;
        JudgedVerdict::recorded(&envelope_of(&verdict.envelope)?, &request, &site)?
    };
    let accept_on_box_witness = room.configuration.accept_on_box_witness;
    let logged = file.verify(&judged, &site, accept_on_box_witness, room.now())?;
    let (movement, at) = (movement_of(logged.denial()), room.now());
    // A crash before the commit leaves the review open, and the console sends the denial again.
    let taken = room.store.change(move |transaction| deny(transaction, &verdict, &movement, at))?;
    sweep::sweep_and_tell(room);
    Ok((verdict_digest, taken))
}

fn envelope_of(bytes: &[u8]) -> Result<Envelope, OutcomeError> {
    Envelope::parse(bytes).map_err(|error| error.refusal().into())
}

fn movement_of(denial: &Denial) -> Move {
    let to = match denial.decision {
        DenialDecision::Return => State::Returned,
        DenialDecision::Reject => State::Rejected,
    };
    Move { denial_reasons: denial.reasons.clone(), ..Move::new(to, Reason::Steward) }
}

fn deny(
    transaction: &Transaction<'_>,
    verdict: &StoredVerdict,
    movement: &Move,
    at: release::value::Timestamp,
) -> Result<Taken, StoreError> {
    let job = jobs::find(transaction, &verdict.request)?.ok_or(StoreError::Foreign("request"))?;
    if job.state != State::InReview || job.run != verdict.run {
        verdicts::withdrawn(transaction, &verdict.verdict)?;
        return Ok(Taken::Before);
    }
    account::free(transaction, Occasion { request: verdict.request, run: verdict.run, at })?;
    verdicts::withdrawn(transaction, &verdict.verdict)?;
    jobs::make_move(transaction, &verdict.request, movement, at)?;
    Ok(Taken::Ended)
}

/// The gateway has its own verified copy of a release: the outbox and the quarantine are emptied.
pub fn release_taken(room: &Room, release_file: Digest) -> Result<(), RoomError> {
    room.store.change(move |transaction| releases::take(transaction, &release_file))?;
    sweep::sweep(room)
}
