//! Whether a verdict is what the enclave said about a request, and whether it adds up.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;

use super::SignedRequest;
use crate::account::VERDICT_BITS;
use crate::differencing;
use crate::envelope::Envelope;
use crate::key::key_id;
use crate::refusal::Refusal;
use crate::rule::Rule;
use crate::site::{CLOCK_SKEW_SECONDS, Site, Verified, grant_id};
use crate::statement::{
    CodeReview, DEVICES_LIMIT, DatasetCharge, Evidence, Roles, RuleResult, Verdict, VerdictResult, WallDevice,
};
use crate::value::{Count, Name, Timestamp};

use super::may_review;

/// Longest time between a verdict and its expiry: 30 days, after which the quarantine is wiped.
pub const VERDICT_SECONDS_LIMIT: i64 = 30 * 24 * 3600;

/// A verdict that the enclave signed about this request, PASS or BLOCKED, and that adds up.
#[derive(Debug, Clone)]
pub struct JudgedVerdict {
    verdict: Verified<Verdict>,
    request: SignedRequest,
}

impl JudgedVerdict {
    /// Checks a verdict that can still be approved.
    pub fn verify(
        envelope: &Envelope,
        request: &SignedRequest,
        site: &Site,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let judged = Self::recorded(envelope, request, site)?;
        judged.check_time(now)?;
        Ok(judged)
    }

    /// Checks everything that does not depend on the moment, to show a verdict after its time.
    pub fn recorded(envelope: &Envelope, request: &SignedRequest, site: &Site) -> Result<Self, Refusal> {
        let verdict: Verdict = envelope.unverified()?;
        if verdict.site != *site.name() {
            return Err(Refusal::OtherSite);
        }
        let roles = site.roles_version(&verdict.roles).ok_or(Refusal::VerdictBinding)?;
        check_signature(envelope, roles, site)?;
        check_binding(&verdict, request)?;
        check_window(&verdict, request)?;
        check_rules(&verdict)?;
        check_files(&verdict, request)?;
        check_bits(&verdict)?;
        check_privacy(&verdict, request, site)?;
        differencing::check_form(&verdict)?;
        if verdict.wall.name < request.least_wall() {
            return Err(Refusal::VerdictWall);
        }
        check_reviewers(&verdict, request, roles)?;
        check_code_review(&verdict, request)?;
        Ok(Self { verdict: Verified::new(verdict, envelope.clone()), request: request.clone() })
    }

    /// What the box found.
    pub fn verdict(&self) -> &Verdict {
        self.verdict.statement()
    }

    /// The verdict's envelope.
    pub fn envelope(&self) -> &Envelope {
        self.verdict.envelope()
    }

    /// The verdict's digest, by which approvals and the manifest name it.
    pub fn payload_digest(&self) -> Digest {
        self.verdict.payload_digest()
    }

    /// The request that it is about.
    pub fn request(&self) -> &SignedRequest {
        &self.request
    }

    /// True if the policy allows the release.
    pub fn passed(&self) -> bool {
        self.verdict().result == VerdictResult::Pass
    }

    pub(crate) fn check_time(&self, now: Timestamp) -> Result<(), Refusal> {
        let verdict = self.verdict();
        let open = verdict.issued_at <= now.plus(CLOCK_SKEW_SECONDS) && now < verdict.expires;
        if open { Ok(()) } else { Err(Refusal::VerdictTime) }
    }
}

fn check_signature(envelope: &Envelope, roles: &Roles, site: &Site) -> Result<(), Refusal> {
    let key = &roles.box_keys.enclave;
    // A key that newer roles dropped counts no more, or whoever stole it could name the old version for ever.
    if *key != site.roles().box_keys.enclave {
        return Err(Refusal::VerdictSignature);
    }
    if site.revocation().keys.contains(&key_id(key)) {
        return Err(Refusal::Revoked);
    }
    envelope.signed_once_by([key], Refusal::VerdictSignature).map(drop)
}

fn check_binding(verdict: &Verdict, request: &SignedRequest) -> Result<(), Refusal> {
    let asked = request.request();
    let bound = verdict.request.sha256 == request.payload_digest()
        && verdict.run.0 > 0
        && verdict.grant == grant_id(request.grant())
        && verdict.requester == asked.requester
        && verdict.datasets == asked.datasets
        && verdict.runtime == asked.runtime
        && holds_what_was_asked_for(&verdict.wall.devices, &asked.devices)
        && verdict.policy == request.grant().statement().policy;
    if bound { Ok(()) } else { Err(Refusal::VerdictBinding) }
}

/// So many devices of each kind as were asked for, each once, in one order: who signs a request with one knows that the run
/// had it, and who reads a verdict without one that the run had none.
fn holds_what_was_asked_for(held: &[WallDevice], asked: &BTreeMap<Name, Count>) -> bool {
    let mut counts: BTreeMap<&Name, u64> = BTreeMap::new();
    for device in held {
        *counts.entry(&device.kind).or_default() += 1;
    }
    held.is_sorted_by(|left, right| left < right)
        && held.iter().all(|device| (1..=DEVICES_LIMIT).contains(&device.number.0))
        && counts.into_iter().eq(asked.iter().map(|(kind, count)| (kind, count.0)))
}

fn check_window(verdict: &Verdict, request: &SignedRequest) -> Result<(), Refusal> {
    let open = verdict.expires.seconds() - verdict.issued_at.seconds();
    let after = verdict.issued_at.plus(CLOCK_SKEW_SECONDS) >= request.request().issued_at;
    if after && (1..=VERDICT_SECONDS_LIMIT).contains(&open) { Ok(()) } else { Err(Refusal::VerdictTime) }
}

fn check_rules(verdict: &Verdict) -> Result<(), Refusal> {
    // All rules, each once, in one order: a rule left out would read as if it had passed.
    let named = verdict.rules.iter().map(|outcome| outcome.id.as_str());
    let complete = named.eq(Rule::ALL.into_iter().map(Rule::id));
    let blocked = verdict.rules.iter().any(|outcome| outcome.result == RuleResult::Blocked);
    let consistent = blocked == (verdict.result == VerdictResult::Blocked);
    let guarantee = &verdict.guarantee;
    let stated = guarantee.views.is_sorted_by(|left, right| left < right)
        && guarantee.public.is_sorted_by(|left, right| left.sha256 < right.sha256)
        && guarantee.exempt_millionths.0 <= 1_000_000;
    if complete && consistent && stated { Ok(()) } else { Err(Refusal::VerdictRules) }
}

fn check_files(verdict: &Verdict, request: &SignedRequest) -> Result<(), Refusal> {
    let asked = request.request();
    let declared: BTreeMap<&Name, _> = asked.outputs.iter().map(|output| (output.path(), output)).collect();
    let sorted = verdict.files.is_sorted_by(|left, right| left.name < right.name);
    // Counts that are a job's word and read as the box's own would be believed.
    let known = verdict.files.iter().all(|file| {
        declared.get(&file.name).is_some_and(|output| {
            output.kind() == file.kind
                && asked.declares_counts(output) == file.declared_counts
                // Bits are counted from it; one that nobody asked for would lower the price of the policy's own.
                && output.evaluation().is_some() == file.precision.is_some()
        })
    });
    // A blocked run may have written less than it declared, or nothing that has a canonical form.
    let all = match verdict.result {
        VerdictResult::Pass => verdict.files.len() == declared.len(),
        VerdictResult::Blocked => true,
    };
    if sorted && known && all { Ok(()) } else { Err(Refusal::VerdictFiles) }
}

fn check_bits(verdict: &Verdict) -> Result<(), Refusal> {
    let mut files = verdict.files.iter().map(|file| file.released_bits.0);
    let sum = files.try_fold(0u64, u64::checked_add).ok_or(Refusal::VerdictBits)?;
    let release = sum.checked_add(VERDICT_BITS).ok_or(Refusal::VerdictBits)?;
    let reserved = match verdict.result {
        VerdictResult::Pass => release,
        VerdictResult::Blocked => 0,
    };
    let datasets: BTreeSet<_> = verdict.datasets.iter().map(|dataset| &dataset.name).collect();
    let charged: BTreeSet<_> = verdict.charges.iter().map(|charge| &charge.dataset).collect();
    // A job that names two datasets is charged in full to both.
    let charges = charged == datasets
        && verdict.charges.len() == datasets.len()
        && verdict.charges.iter().all(|charge| charge.release_bits.0 == reserved);
    let added = verdict.released_bits.0 == sum && verdict.verdict_bits.0 == VERDICT_BITS;
    if charges && added { Ok(()) } else { Err(Refusal::VerdictBits) }
}

/// What noise cost is what the request asked for, of each run, and within what the dataset's owner gives. An answer whose cost
/// stands nowhere would be missing from every sum.
fn check_privacy(verdict: &Verdict, request: &SignedRequest, site: &Site) -> Result<(), Refusal> {
    let asked = request.request().query.as_ref().and_then(|query| query.privacy.as_ref());
    let fits = |charge: &DatasetCharge| match (asked, &charge.privacy) {
        (None, None) => true,
        (Some(asked), Some(charged)) => {
            let least = asked.rho_millionths.0.checked_mul(verdict.run.0);
            let spent = charged.spent_millionths.0;
            charged.rho_millionths == asked.rho_millionths
                && least.is_some_and(|least| least <= spent)
                && site.privacy_budget(&charge.dataset).is_some_and(|most| spent <= most.rho_millionths.0)
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    if verdict.charges.iter().all(fits) { Ok(()) } else { Err(Refusal::VerdictBits) }
}

fn check_reviewers(verdict: &Verdict, request: &SignedRequest, roles: &Roles) -> Result<(), Refusal> {
    let names: BTreeSet<_> = verdict.reviewers.iter().map(|reviewer| &reviewer.steward).collect();
    let entitled = verdict.reviewers.iter().all(|reviewer| {
        // Another key would show the canonical files to whoever holds it.
        let key = roles.people.get(&reviewer.steward).and_then(|person| person.review_key);
        key == Some(reviewer.review_key) && may_review(roles, request, &reviewer.steward)
    });
    let sound = !names.is_empty() && names.len() == verdict.reviewers.len() && entitled;
    if sound { Ok(()) } else { Err(Refusal::VerdictReviewers) }
}

/// A verdict without the evidence is of no use to anyone. Whether the evidence is true is for [`super::ReviewedRun`].
fn check_code_review(verdict: &Verdict, request: &SignedRequest) -> Result<(), Refusal> {
    match (request.grant().statement().code_review, verdict.code_review) {
        (CodeReview::BeforeRun, Evidence::NotChecked) => Err(Refusal::CodeReviewMissing),
        (CodeReview::None, Evidence::Digest(_)) => Err(Refusal::CodeReviewEvidence),
        (CodeReview::BeforeRun, Evidence::Digest(_)) | (CodeReview::None, Evidence::NotChecked) => Ok(()),
    }
}
