//! What the enclave found about a run, signed. Verdict, reservation and the job's new state become durable in one
//! transaction; the sealed packet lies ready before.

use std::path::Path;
use std::sync::PoisonError;

use api::Use;
use api::v1::Reason;
use blobs::{BlobStore, Digest};
use egress::Policy;
use lifecycle::{ANSWER_BITS, State};
use packet::{Content, PacketError};
use release::account::{VERDICT_BITS, release_bits};
use release::differencing::{ComparedSet, is_placed};
use release::envelope::Envelope;
use release::key::SecretKey;
use release::path::SignedRequest;
use release::rule::Rule;
use release::site::Site;
use release::statement::{
    BoxBuild, DatasetCharge, Evidence, Guarantee, PrivacyCharge, Request, ReviewRecipient, RuleOutcome,
    RuleResult, Verdict, VerdictFile, VerdictResult, Wall, WallName, Warning,
};
use release::value::{Bytes, Count, Name, Timestamp};
use rusqlite::Transaction;

use crate::cancel;
use crate::differencing::{self, ComparedWith};
use crate::grid::Grid;
use crate::judgement::{Found, Judgement, output_of};
use crate::reviewers;
use crate::room::{Room, RoomError};
use crate::store::account::{self, AccountError, Limits, Occasion};
use crate::store::jobs::{self, Job, Move};
use crate::store::verdicts::{self, StoredVerdict};
use crate::store::{StoreError, head, tables};

/// The time grid of the standard policy, in seconds. A finer one tells more.
const STANDARD_GRID_SECONDS: u64 = 600;

/// The copied runs that the scanner promises to find, in bytes (`scan`, module documentation).
const COPIED_RUN_BYTES: u64 = 31;

/// The same for data with few distinct bytes.
const PLAIN_RUN_BYTES: u64 = 127;

/// How long after its expiry a verdict counts as undecided. A release that was signed at the last moment still has to
/// be witnessed and to arrive.
const RELEASE_ON_ITS_WAY: i64 = 24 * 3600;

/// A run whose outputs were looked at.
pub struct LookedAt<'a> {
    /// The job.
    pub job: &'a Job,
    /// Its request.
    pub request: &'a SignedRequest,
    /// The site under which it ran.
    pub site: &'a Site,
    /// What the review of its code rests on.
    pub code_review: Evidence,
    /// The policy that it is judged by.
    pub policy: &'a Policy,
    /// The wall around the run.
    pub wall: Wall,
    /// The program that the children are.
    pub checker: Digest,
    /// What the children found.
    pub found: &'a Found,
    /// What its tables were compared with.
    pub compared: &'a ComparedWith,
    /// What it used.
    pub used: Use,
    /// Where its canonical files are sealed.
    pub quarantine: &'a Path,
}

/// No verdict could be made.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// The room.
    #[error("the room failed")]
    Room(#[from] RoomError),
    /// The packet could not be sealed.
    #[error("the review packet could not be sealed")]
    Packet(#[from] PacketError),
    /// No random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// Another verdict with tables was stored since these were compared.
    #[error("the tables were not compared with all that may leave")]
    Compared,
    /// The site changed while the job ran, so that its limits are no longer known.
    #[error("the grant of the job is not known any more")]
    Grant,
    /// The verdict is larger than a statement may be.
    #[error("the verdict could not be signed")]
    Envelope,
}

impl From<StoreError> for VerdictError {
    fn from(error: StoreError) -> Self {
        Self::Room(error.into())
    }
}

/// Makes the verdict of a run and hands it over.
pub fn conclude(room: &Room, run: &LookedAt<'_>) -> Result<(), VerdictError> {
    let request = run.request.request();
    let declared = &request.outputs;
    let judgement = run.found.judge(declared, request.query.as_ref(), run.policy);
    let reviewers = reviewers::of_request(run.site, run.request);
    let sealed = seal(run, &reviewers)?;
    let limits = crate::admission::limits_of(run.site, run.request).ok_or(VerdictError::Grant)?;
    let draft = draft(room, run, &judgement, reviewers)?;
    let output = judgement.blocked_by().and_then(|rule| output_of(rule, run.found, declared));
    let signing = Signing {
        review_seconds: review_seconds(run.policy, &draft),
        draft,
        sum: judgement.sum,
        output,
        used: run.used,
        limits,
        compared: run.compared.clone(),
        key: room.key.clone(),
        occasion: Occasion { request: run.job.request, run: run.job.run, at: room.now() },
    };
    let guard = room.unnamed_files.lock().unwrap_or_else(PoisonError::into_inner);
    // A crash before the transaction leaves a packet that no verdict names; the next start sweeps it away and counts
    // the run as lost. A crash after it leaves a verdict that is handed over until the console has taken it.
    let packet = room.places.packets.put(&sealed).map_err(RoomError::from)?;
    if signing.draft.result == VerdictResult::Pass {
        differencing::keep(room, run.quarantine, &run.compared.tables)?;
    }
    room.store.change(move |transaction| signing.store(transaction, packet))?;
    drop(guard);
    Ok(())
}

fn seal(run: &LookedAt<'_>, reviewers: &[ReviewRecipient]) -> Result<Vec<u8>, VerdictError> {
    let quarantine = BlobStore::open(run.quarantine, 0o600).map_err(RoomError::from)?;
    let mut canonical = Vec::new();
    for file in &run.found.files {
        let bytes = quarantine.read(file.digest, file.bytes).map_err(RoomError::from)?;
        canonical.push((file.name.clone(), bytes));
    }
    let content = Content {
        purpose: run.job.purpose.clone(),
        salt: run.job.purpose_salt,
        bundle: run.request.request().bundle.sha256,
        canonical,
        details: run.found.details.clone(),
        places: run.found.places(),
    };
    Ok(packet::seal(&reviewers::recipients(reviewers), &content, &run.job.request)?)
}

/// The verdict as far as it does not depend on the account.
fn draft(
    room: &Room,
    run: &LookedAt<'_>,
    judgement: &Judgement,
    reviewers: Vec<ReviewRecipient>,
) -> Result<Verdict, VerdictError> {
    let request = run.request.request();
    let mut challenge = [0; 32];
    getrandom::fill(&mut challenge).map_err(|_| VerdictError::Random)?;
    let issued_at = issued_at(run.job.grid, room.now());
    Ok(Verdict {
        site: run.site.name().clone(),
        request: run.job.request.into(),
        run: Count(run.job.run.into()),
        grant: release::site::grant_id(run.request.grant()),
        requester: request.requester.clone(),
        datasets: request.datasets.clone(),
        runtime: request.runtime.clone(),
        wall: run.wall.clone(),
        policy: run.request.grant().statement().policy.clone(),
        roles: run.site.roles_id(),
        build: BoxBuild { version: env!("CARGO_PKG_VERSION").to_owned(), checker: run.checker.into() },
        result: if judgement.blocked_by().is_some() { VerdictResult::Blocked } else { VerdictResult::Pass },
        files: files(run.found, judgement, run.request.request()),
        rules: Rule::ALL
            .map(|rule| RuleOutcome { id: rule.name(), result: judgement.rules[rule.index()] })
            .into(),
        guarantee: guarantee(run.found),
        released_bits: Count(judgement.sum.unwrap_or(0)),
        verdict_bits: Count(VERDICT_BITS),
        charges: Vec::new(),
        table_place: Count(0),
        differenced_against: Evidence::Digest(ComparedSet::default().digest()),
        account_head: Evidence::NotChecked,
        code_review: run.code_review,
        attestation: Evidence::NotChecked,
        warnings: warnings(run.policy, &run.wall, room.configuration.demonstration_keys),
        reviewers,
        packet: Digest::of(b"").into(),
        challenge: Bytes(challenge),
        issued_at,
        expires: expires(run.policy, issued_at),
    })
}

/// The beginning of the step in which the verdict is made: when a run ended within it says nothing.
fn issued_at(grid: Grid, now: Timestamp) -> Timestamp {
    grid.round_down(now)
}

/// Canonical files are wiped so many days after the verdict at the latest, so it expires by then.
fn expires(policy: &Policy, issued_at: Timestamp) -> Timestamp {
    let expiry = i64::try_from(policy.verdict_expiry_seconds).unwrap_or(i64::MAX);
    issued_at.plus(expiry).min(kept_until(policy, issued_at))
}

/// How long a review may be open: until the verdict has expired and a release may have arrived that was signed just
/// before, but no longer than files are kept.
fn review_seconds(policy: &Policy, verdict: &Verdict) -> u64 {
    let until = verdict.expires.plus(RELEASE_ON_ITS_WAY).min(kept_until(policy, verdict.issued_at));
    until.seconds().abs_diff(verdict.issued_at.seconds())
}

fn kept_until(policy: &Policy, issued_at: Timestamp) -> Timestamp {
    issued_at.plus(i64::try_from(policy.quarantine_days).unwrap_or(0).saturating_mul(24 * 3600))
}

fn files(found: &Found, judgement: &Judgement, asked: &Request) -> Vec<VerdictFile> {
    // If the bits cannot be counted, the verdict is BLOCKED and states none that could be added up wrongly.
    let countable = judgement.sum.is_some();
    let mut files: Vec<_> = found
        .files
        .iter()
        .zip(&judgement.bits)
        .map(|(file, bits)| VerdictFile {
            name: file.name.clone(),
            kind: file.kind,
            bytes: Count(file.bytes),
            sha256: file.digest,
            released_bits: Count(if countable { *bits } else { 0 }),
            declared_counts: asked.declares_counts(&asked.outputs[file.index]),
            precision: found.precisions.get(&file.name).copied(),
        })
        .collect();
    files.sort_by(|left, right| left.name.cmp(&right.name));
    files
}

fn guarantee(found: &Found) -> Guarantee {
    let searched = found
        .scanner
        .as_ref()
        .filter(|scanner| scanner.rules[Rule::CopyExact.index()] != RuleResult::NotChecked);
    Guarantee {
        copied_run_bytes: Count(COPIED_RUN_BYTES),
        plain_run_bytes: Count(PLAIN_RUN_BYTES),
        views: if searched.is_some() { found.views.clone() } else { Vec::new() },
        exempt_millionths: Count(searched.map_or(0, |scanner| scanner.exempt_millionths.into())),
        public: found.public.iter().map(|digest| (*digest).into()).collect(),
    }
}

fn warnings(policy: &Policy, wall: &Wall, demonstration_keys: bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if policy.time_grid_seconds < STANDARD_GRID_SECONDS {
        warnings.push(Warning::FineTimeGrid);
    }
    if policy.on_box_witness {
        warnings.push(Warning::WitnessOnBoxMachine);
    }
    match wall.name {
        WallName::Native | WallName::Oci => warnings.push(Warning::SharedKernel),
        // Otherwise its name would look like the strongest of all.
        WallName::VmEmulated => warnings.push(Warning::EmulatedMachine),
        WallName::OciGvisor | WallName::Vm => {}
    }
    if demonstration_keys {
        warnings.push(Warning::DemonstrationKeys);
    }
    if !wall.devices.is_empty() {
        warnings.push(Warning::DeviceDriver);
    }
    warnings
}

/// What is left to do within the transaction.
struct Signing {
    draft: Verdict,
    sum: Option<u64>,
    output: Option<u32>,
    used: Use,
    review_seconds: u64,
    limits: Limits,
    compared: ComparedWith,
    key: SecretKey,
    occasion: Occasion,
}

impl Signing {
    fn store(mut self, transaction: &Transaction<'_>, packet: Digest) -> Result<(), VerdictError> {
        let job = jobs::find(transaction, &self.occasion.request)?.ok_or(StoreError::Foreign("request"))?;
        if job.run != self.occasion.run {
            return Err(StoreError::Foreign("run").into());
        }
        if let Some(end) = cancel::ended_by_people(transaction, &job.request)? {
            // Nothing is reserved, signed or handed over: the packet that was laid down is swept away.
            return Ok(jobs::make_move(transaction, &job.request, &end, self.occasion.at)?);
        }
        let reserved = self.reserve(transaction)?;
        self.take_place(transaction)?;
        let verdict = &mut self.draft;
        verdict.packet = packet.into();
        verdict.account_head = Evidence::Digest(head::of(transaction)?.hash);
        verdict.charges = Vec::new();
        for dataset in self.limits.datasets.keys() {
            let privacy = match self.limits.rho {
                None => None,
                Some(rho) => Some(PrivacyCharge {
                    rho_millionths: Count(rho),
                    spent_millionths: Count(account::privacy_spent(transaction, dataset)?),
                }),
            };
            verdict.charges.push(charge(dataset, reserved, privacy));
        }
        let envelope = Envelope::sign(verdict, &[&self.key]).map_err(|_| VerdictError::Envelope)?;
        let stored = StoredVerdict {
            verdict: envelope.payload_digest(),
            request: self.occasion.request,
            run: self.occasion.run,
            envelope: envelope.to_bytes(),
            packet,
            passed: verdict.result == VerdictResult::Pass,
            expires: verdict.expires,
            review_seconds: self.review_seconds,
            taken: false,
        };
        verdicts::insert(transaction, &stored)?;
        if verdict.table_place.0 > 0 {
            let ComparedWith { datasets, tables: kept, .. } = &self.compared;
            tables::insert(transaction, verdict.table_place.0, &stored.verdict, datasets, kept)?;
        }
        jobs::make_move(transaction, &self.occasion.request, &self.movement(), self.occasion.at)?;
        Ok(())
    }

    /// Gives a verdict whose tables may leave its place behind all that they were compared with.
    fn take_place(&mut self, transaction: &Transaction<'_>) -> Result<(), VerdictError> {
        if !is_placed(&self.draft) {
            return Ok(());
        }
        // The locks around comparing and this say so already. Without it a verdict between the two would be compared with
        // nothing here, and the signer would find that neither of the two was compared with the other.
        let set = tables::set(transaction, &self.compared.datasets)?;
        if !self.compared.set.holds(&set) {
            return Err(VerdictError::Compared);
        }
        self.draft.table_place = Count(tables::next_place(transaction)?);
        self.draft.differenced_against = Evidence::Digest(set.digest());
        Ok(())
    }

    /// Sets the bits of a PASS verdict aside. If the account has too few left, the verdict is BLOCKED.
    fn reserve(&mut self, transaction: &Transaction<'_>) -> Result<u64, VerdictError> {
        if self.draft.result == VerdictResult::Blocked {
            return Ok(0);
        }
        let bits = self.sum.and_then(|sum| release_bits(sum).ok());
        let reserved = match bits {
            Some(bits) => {
                account::reserve_release(transaction, &self.limits, bits, self.occasion).map(|()| bits)
            }
            None => Err(AccountError::ReleaseBits),
        };
        match reserved {
            Ok(bits) => Ok(bits),
            Err(AccountError::Store(error)) => Err(error.into()),
            Err(AccountError::ReleaseBits | AccountError::AnswerBits | AccountError::Privacy) => {
                self.draft.rules[Rule::ReleaseBits.index()].result = RuleResult::Blocked;
                self.draft.result = VerdictResult::Blocked;
                Ok(0)
            }
        }
    }

    fn movement(&self) -> Move {
        match self.draft.result {
            VerdictResult::Pass => Move { used: self.used, ..Move::new(State::InReview, Reason::Passed) },
            VerdictResult::Blocked => {
                let blocked = |rule: &Rule| self.draft.rules[rule.index()].result == RuleResult::Blocked;
                Move {
                    // What has no canonical form is missing, too; the rule that refused the form says more.
                    rule: Rule::ALL
                        .into_iter()
                        .find(|rule| *rule != Rule::OutputDeclared && blocked(rule))
                        .or(Some(Rule::OutputDeclared)),
                    output: self.output,
                    used: self.used,
                    ..Move::new(State::Blocked, Reason::Policy)
                }
            }
        }
    }
}

fn charge(dataset: &Name, reserved: u64, privacy: Option<PrivacyCharge>) -> DatasetCharge {
    DatasetCharge {
        dataset: dataset.clone(),
        answer_bits: Count(ANSWER_BITS),
        release_bits: Count(reserved),
        privacy,
    }
}

#[cfg(test)]
mod tests;
