//! Whether a job is taken, and its charge. A job is QUEUED only once its request, nonce and first charge are durable
//! in one transaction, so that a taken-over gateway can run nothing in a researcher's name, and nothing twice.
//!
//! A refusal leaves nothing behind. What the signed bytes themselves make refusable is refused again whenever they
//! come; all else a hand-over may get wrong (the purpose's words, the bundle) is the gateway's, and must neither burn
//! a request that a researcher signed nor fill the database of the room that has the data.

use std::collections::BTreeMap;
use std::io;

use api::Admission as Admitted;
use api::v1::Reason;
use blobs::{Digest, StoreError as BlobError};
use egress::{Policy, QueryTask};
use lifecycle::{ANSWER_BITS, State};
use release::envelope::Envelope;
use release::path::{AdmittedRequest, SignedRequest};
use release::refusal::Refusal;
use release::site::Site;
use release::statement::{CatalogueEntry, DeclaredOutput, Limits, Query, Request, SaltedPurpose};

use crate::code_review;
use crate::configuration::JobLimits;
use crate::files;
use crate::grid::Grid;
use crate::reviewers;
use crate::room::{Room, RoomError};
use crate::space;
use crate::store::account::{self, AccountError, DatasetLimits, Limits as AccountLimits, Occasion};
use crate::store::jobs::{self, Asked, Submission};
use crate::store::{StoreError, cancels, code_reviews};
use crate::wall;

/// A hand-over that is not even answered: it is no request.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Not an envelope.
    #[error("what was handed over is no request")]
    NoRequest,
    /// The room failed. The gateway asks again, on a new connection.
    #[error("the room failed")]
    Room(#[from] RoomError),
}

impl From<StoreError> for SubmitError {
    fn from(error: StoreError) -> Self {
        Self::Room(error.into())
    }
}

/// What the gateway hands over.
#[derive(Debug, Clone)]
pub struct HandedOver {
    /// The request's envelope.
    pub request: Vec<u8>,
    /// The purpose in words.
    pub purpose: String,
    /// The salt of the purpose's digest.
    pub purpose_salt: Vec<u8>,
}

/// Answers a hand-over: whether the job is admitted, or why this hand-over is refused. A repeat of what was admitted gets
/// the first answer.
pub fn submit(room: &Room, handed: HandedOver) -> Result<(Digest, Admitted), SubmitError> {
    let envelope = Envelope::parse(&handed.request).map_err(|_| SubmitError::NoRequest)?;
    let request = envelope.payload_digest();
    if let Some(first) = room.store.read(move |connection| first_answer(connection, &request))? {
        return Ok((request, first));
    }
    let salt = <[u8; 32]>::try_from(&handed.purpose_salt[..]);
    let submission = Submission {
        request,
        envelope: handed.request,
        purpose: handed.purpose,
        purpose_salt: salt.unwrap_or_default(),
    };
    let admitted = match salt {
        Ok(_) => admit(room, &envelope, &submission)?,
        Err(_) => Err(Reason::Request),
    };
    let admission = match admitted {
        Ok(admission) => admission,
        Err(reason) => return Ok((request, Admitted::Refused(reason))),
    };
    let taken = take_in(room, &submission, &admission);
    if !matches!(taken, Ok(Ok(_))) {
        let bundle = admission.admitted.request().bundle.sha256;
        let needed = room.store.read(move |connection| jobs::bundle_is_needed(connection, &bundle))?;
        // Else whoever may sign requests could fill the disk with bundles that no account pays for.
        if !needed {
            room.places.bundles.remove(bundle).map_err(RoomError::from)?;
        }
    }
    Ok((request, taken?.unwrap_or_else(Admitted::Refused)))
}

/// What was answered when a job that is there was admitted.
fn first_answer(connection: &rusqlite::Connection, request: &Digest) -> Result<Option<Admitted>, StoreError> {
    if jobs::find(connection, request)?.is_none() {
        return Ok(None);
    }
    let reviewed = code_reviews::is_there(connection, request)?;
    Ok(Some(if reviewed { Admitted::InCodeReview } else { Admitted::Queued }))
}

/// What an admitted job needs in order to be charged. The guard keeps its bundle from being swept away before a row
/// names it.
struct Admission<'a> {
    admitted: AdmittedRequest,
    limits: AccountLimits,
    grid: Grid,
    /// The sealed packet, if stewards must review the code first.
    packet: Option<Digest>,
    _bundle: std::sync::MutexGuard<'a, ()>,
}

fn admit<'a>(
    room: &'a Room,
    envelope: &Envelope,
    submission: &Submission,
) -> Result<Result<Admission<'a>, Reason>, RoomError> {
    // What was installed a moment ago counts: the gateway may have seen a newer grant than the last look here did.
    room.site.look(&room.store, &room.key, room.journal)?;
    let Some(site) = room.site.current() else { return Ok(Err(Reason::SiteExpired)) };
    if site.fresh(room.now()).is_err() {
        return Ok(Err(Reason::SiteExpired));
    }
    let admitted = match AdmittedRequest::admit(envelope, &site, room.now()) {
        Ok(admitted) => admitted,
        Err(refusal) => return Ok(Err(reason_of(refusal))),
    };
    let request = admitted.request();
    let purpose = SaltedPurpose::of(&submission.purpose_salt, &submission.purpose);
    if purpose != request.purpose || submission.purpose.len() > packet::PURPOSE_LIMIT {
        return Ok(Err(Reason::Request));
    }
    if admitted.signed().least_wall() > wall::name(room.jobs.wall()) {
        return Ok(Err(Reason::Wall));
    }
    let (Some(policy), Some(limits)) =
        (policy_of(&site, admitted.signed()), limits_of(&site, admitted.signed()))
    else {
        return Ok(Err(Reason::Grant));
    };
    // A packet has one size, which the policy must allow, and someone to be sealed to.
    let reviewable = policy.packet_extra_bytes >= packet::sealed_size(0)
        && !reviewers::of_request(&site, admitted.signed()).is_empty();
    if !reviewable {
        return Ok(Err(Reason::Grant));
    }
    if egress::check_declarations(&policy, &request.outputs).is_err() {
        return Ok(Err(Reason::Request));
    }
    if request.query.as_ref().is_some_and(|query| !allows(&policy, query, &site)) {
        return Ok(Err(Reason::Request));
    }
    if asks_for_too_much(&request.limits, &policy, &room.configuration.limits)
        || asks_for_too_little(request, &site)
    {
        return Ok(Err(Reason::Limits));
    }
    if !outputs_fit(&request.outputs, &policy, &room.configuration.limits) {
        return Ok(Err(Reason::Limits));
    }
    if !room.devices.has(&request.devices) {
        return Ok(Err(Reason::Limits));
    }
    if !has_data(room, admitted.signed()) {
        return Ok(Err(Reason::Data));
    }
    // On a full disk what is there is finished, and nothing new begins.
    if !space::is_there_for_a_run(room, 0) || !space::images_fit(room, request)? {
        return Ok(Err(Reason::Disk));
    }
    let guard = room.unnamed_files.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Err(reason) = take_bundle(room, request.bundle.sha256)? {
        return Ok(Err(reason));
    }
    let packet = match admitted.needs_code_review() {
        true => match code_review::lay_packet(room, &site, &admitted, submission)? {
            Some(packet) => Some(packet),
            None => return Ok(Err(Reason::Bundle)),
        },
        false => None,
    };
    let grid = Grid::new(policy.time_grid_seconds);
    Ok(Ok(Admission { admitted, limits, grid, packet, _bundle: guard }))
}

fn allows(policy: &Policy, query: &Query, site: &Site) -> bool {
    let entry = site.dataset(&query.dataset);
    entry.is_some_and(|entry| egress::check_question(policy, query, entry.statement()).is_ok())
}

/// A job that asks for more than it can get would end by a limit that its researcher does not know.
fn asks_for_too_much(asked: &Limits, policy: &Policy, most: &JobLimits) -> bool {
    asked.cpus.0 > most.cpus
        || asked.memory_bytes.0 > most.memory_bytes
        || asked.seconds.0 > policy.max_run_seconds.min(most.seconds)
}

/// An answer with noise must not fail for want of memory: that would tell how many people its rows have, without noise.
fn asks_for_too_little(request: &Request, site: &Site) -> bool {
    let Some(query) = &request.query else { return false };
    let units = site.dataset(&query.dataset).and_then(|entry| entry.statement().units_asked(request));
    let least = QueryTask::least_noisy_memory(query, units.unwrap_or(u64::MAX));
    least.is_some_and(|least| request.limits.memory_bytes.0 < least)
}

/// Copies of weights that lie on the disk at a time while a run is looked at: as the job wrote them, canonical, and sealed.
const COPIES: u64 = 3;

/// Bytes of views for each byte of weights that is searched at a time.
const VIEWS: u64 = 60;

/// True if the policy may let the declared weights leave and the box has room for them: else the job would run, and be
/// blocked or ended for what its researcher could not see. All of it follows from their shapes.
fn outputs_fit(outputs: &[DeclaredOutput], policy: &Policy, most: &JobLimits) -> bool {
    let bytes = egress::declared_bytes(policy, outputs);
    let views = bytes.min(egress::PART_BYTES).saturating_mul(VIEWS);
    egress::check_sizes(policy, outputs).is_ok()
        && bytes <= most.canonical_bytes.min(most.file_bytes)
        && bytes.saturating_mul(COPIES).saturating_add(views) <= most.run_disk_bytes
}

/// Copies the bundle and hashes the copy: the gateway could still be writing to the original.
fn take_bundle(room: &Room, bundle: Digest) -> Result<Result<(), Reason>, RoomError> {
    if room.places.bundles.contains(bundle) {
        return Ok(Ok(()));
    }
    let from = match files::open_plain(&room.places.from_gateway, &bundle.to_string()) {
        Ok(Some(file)) => file,
        // The bundle lies there before the message is sent; one that is missing is the gateway's fault.
        Ok(None) => return Ok(Err(Reason::Bundle)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(Err(Reason::Bundle)),
        Err(error) => return Err(error.into()),
    };
    match room.places.bundles.copy_in(from, Some(bundle), room.configuration.limits.bundle_bytes) {
        Ok(_) => Ok(Ok(())),
        Err(BlobError::DigestDiffers { .. } | BlobError::TooLarge { .. }) => Ok(Err(Reason::Bundle)),
        Err(error) => Err(error.into()),
    }
}

/// Request, nonce, run number and charge, in one transaction. A job whose code is reviewed first is charged nothing yet:
/// it has no run.
fn take_in(
    room: &Room,
    submission: &Submission,
    admission: &Admission<'_>,
) -> Result<Result<Admitted, Reason>, StoreError> {
    let request = admission.admitted.request();
    let asked = Asked {
        grant: request.grant.id.clone(),
        nonce: request.nonce.0,
        bundle: request.bundle.sha256,
        grid: admission.grid,
    };
    let limits = admission.limits.clone();
    let requester = request.requester.id.clone();
    let submission = submission.clone();
    let occasion = Occasion { request: submission.request, run: 1, at: room.now() };
    // A crash before the commit leaves nothing, and the gateway hands the job over again. A crash after it leaves a
    // charged job in the queue, which the next start runs; a repeat of the hand-over gets this answer.
    let packet = admission.packet;
    let taken = room.store.change(move |transaction| -> Result<Admitted, Unpaid> {
        if jobs::nonce_is_used(transaction, &asked.nonce)? {
            return Err(Unpaid::NonceUsed);
        }
        if cancels::is_called_off(transaction, &occasion.request, &requester)? {
            return Err(Unpaid::CalledOff);
        }
        cancels::forget(transaction, &occasion.request)?;
        let state = if packet.is_some() { State::InCodeReview } else { State::Queued };
        if packet.is_some() && !code_reviews::has_room(transaction, &asked.grant)? {
            return Err(Unpaid::NoRoom);
        }
        jobs::insert_admitted(transaction, &submission, &asked, state, occasion.at)?;
        if let Some(packet) = packet {
            code_reviews::insert(transaction, &occasion.request, &packet)?;
            return Ok(Admitted::InCodeReview);
        }
        account::charge_run(transaction, &limits, ANSWER_BITS, occasion)?;
        Ok(Admitted::Queued)
    });
    match taken {
        Ok(admitted) => Ok(Ok(admitted)),
        Err(Unpaid::NoRoom) => Ok(Err(Reason::Disk)),
        Err(Unpaid::NonceUsed) => Ok(Err(Reason::Request)),
        Err(Unpaid::CalledOff) => Ok(Err(Reason::Cancelled)),
        Err(Unpaid::Account(AccountError::Store(error))) => Err(error),
        Err(Unpaid::Account(AccountError::AnswerBits | AccountError::ReleaseBits)) => {
            Ok(Err(Reason::Account))
        }
        Err(Unpaid::Account(AccountError::Privacy)) => Ok(Err(Reason::Privacy)),
    }
}

enum Unpaid {
    NonceUsed,
    /// Too many jobs wait for a review of their code.
    NoRoom,
    CalledOff,
    Account(AccountError),
}

impl From<StoreError> for Unpaid {
    fn from(error: StoreError) -> Self {
        Self::Account(AccountError::Store(error))
    }
}

impl From<AccountError> for Unpaid {
    fn from(error: AccountError) -> Self {
        Self::Account(error)
    }
}

/// The policy of the request's grant.
pub fn policy_of(site: &Site, request: &SignedRequest) -> Option<Policy> {
    let policy = site.policy(&request.grant().statement().policy)?;
    Policy::parse(std::str::from_utf8(policy.file()).ok()?).ok()
}

/// The limits of the request's grant and datasets.
pub fn limits_of(site: &Site, request: &SignedRequest) -> Option<AccountLimits> {
    let grant = request.grant().statement();
    let mut datasets = BTreeMap::new();
    for dataset in &request.request().datasets {
        let of_grant = *grant.datasets.get(&dataset.name)?;
        let CatalogueEntry::Dataset { limits, privacy, .. } = &site.dataset(&dataset.name)?.statement().entry
        else {
            return None;
        };
        let privacy = privacy.map_or(0, |budget| budget.rho_millionths.0);
        datasets.insert(dataset.name.clone(), DatasetLimits { grant: of_grant, dataset: *limits, privacy });
    }
    let asked = request.request().query.as_ref().and_then(|query| query.privacy.as_ref());
    let rho = asked.map(|privacy| privacy.rho_millionths.0);
    Some(AccountLimits { grant: grant.id.clone(), datasets, rho })
}

/// True if the room's own store has the request's snapshots and runtime.
pub fn has_data(room: &Room, request: &SignedRequest) -> bool {
    let request = request.request();
    let has_snapshots = request
        .datasets
        .iter()
        .all(|dataset| room.places.snapshot(&dataset.name, &dataset.tree.sha256).is_some());
    has_snapshots && room.places.runtime(&request.runtime.tree.sha256).is_some()
}

/// The reason that a researcher is given for a refusal.
pub fn reason_of(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::OutOfForce
        | Refusal::Revoked
        | Refusal::RequestGrant
        | Refusal::CodeReviewMissing
        | Refusal::CodeReviewTime
        | Refusal::OtherSite => Reason::Grant,
        Refusal::RequestData | Refusal::RequestRuntime => Reason::Data,
        Refusal::CodeDenied => Reason::Steward,
        _ => Reason::Request,
    }
}

#[cfg(test)]
mod tests {
    use release::value::Count;

    use super::*;

    #[test]
    fn a_request_for_more_than_the_box_or_the_policy_gives_is_not_silently_cut() {
        let policy = Policy::parse(include_str!("../../../policies/egress/standard.toml")).unwrap();
        let most = JobLimits::default();
        let (cpus, memory_bytes) = (Count(most.cpus), Count(most.memory_bytes));
        let seconds = Count(most.seconds.min(policy.max_run_seconds));
        let fits = Limits { cpus, memory_bytes, seconds };
        assert!(!asks_for_too_much(&fits, &policy, &most));
        let more = |count: Count| Count(count.0 + 1);
        let too_much = [
            Limits { cpus: more(cpus), ..fits.clone() },
            Limits { memory_bytes: more(memory_bytes), ..fits.clone() },
            Limits { seconds: more(seconds), ..fits },
        ];
        assert!(too_much.iter().all(|limits| asks_for_too_much(limits, &policy, &most)));
    }

    /// Weights of a million parameters each, so many of them, in one tensor.
    fn weights(millions: u64) -> [DeclaredOutput; 1] {
        let shape = [1 << 20, millions].map(|length| format!("\"{length}\"")).join(",");
        let text = format!(
            r#"{{"kind":"weights","path":"m.safetensors","tensors":[{{"name":"w","shape":[{shape}]}}]}}"#
        );
        [serde_json::from_str(&text).unwrap()]
    }

    #[test]
    fn weights_that_the_policy_or_the_box_has_no_room_for_are_not_run() {
        let standard = include_str!("../../../policies/egress/standard.toml");
        let policy = Policy::parse(standard).unwrap();
        let wide = Policy::parse(&standard.replace("bits = 134217728", "bits = 68719476736")).unwrap();
        let most = JobLimits::default();
        assert!(outputs_fit(&weights(8), &policy, &most), "16 MiB in bfloat16 are what the policy allows");
        assert!(!outputs_fit(&weights(9), &policy, &most));
        assert!(outputs_fit(&weights(31), &wide, &most));
        assert!(!outputs_fit(&weights(33), &wide, &most), "more than canonical_bytes");
        // 4 GiB, where a site gives them room.
        let large = JobLimits {
            canonical_bytes: 5 << 30,
            file_bytes: 9 << 30,
            run_disk_bytes: 14 << 30,
            ..JobLimits::default()
        };
        assert!(outputs_fit(&weights(2048), &wide, &large));
        for less in [
            JobLimits { canonical_bytes: 4 << 30, ..large.clone() },
            JobLimits { file_bytes: 4 << 30, ..large.clone() },
            JobLimits { run_disk_bytes: 12 << 30, ..large.clone() },
        ] {
            assert!(!outputs_fit(&weights(2048), &wide, &less), "{less:?}");
        }
    }
}
