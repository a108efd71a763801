//! Whether enough stewards read a job's code and let it run, and who may refuse it. Asked twice: by the enclave before
//! a run, and by everyone who looks at a verdict after it.

use std::collections::BTreeSet;

use blobs::Digest;

use super::approval::{enough, may_consent, reviewer_signed};
use super::{JudgedVerdict, SignedRequest};
use crate::envelope::Envelope;
use crate::refusal::Refusal;
use crate::site::{CLOCK_SKEW_SECONDS, Site, Verified, grant_id};
use crate::statement::{CodeApproval, CodeDenial, CodeReview, Evidence, PublicKey};
use crate::value::Timestamp;

/// Longest time in which an approval of code counts, in seconds: 30 days.
pub const CODE_REVIEW_SECONDS_LIMIT: i64 = 30 * 24 * 3600;

/// Largest bundle whose code can be reviewed, in bytes: 16 MiB. People are to read it, and its packet crosses from the
/// enclave to the console.
pub const CODE_BUNDLE_LIMIT: u64 = 16 << 20;

/// How long after an approval of code has expired a run may still be judged, in seconds: 30 days. A job that came into
/// the queue in time may wait there for a week, run, and be lost twice.
pub const RUN_AFTER_REVIEW_SECONDS: i64 = 30 * 24 * 3600;

/// Code that may run: its grant demands no review, or everyone whom roles and grant demand consented to it.
#[derive(Debug, Clone)]
pub struct ReviewedCode {
    approvals: Vec<Verified<CodeApproval>>,
    request: Digest,
    demanded: bool,
}

impl ReviewedCode {
    /// Checks, before a run, that people who may consent by the newest roles have done so, and enough of them. People
    /// are counted, never keys; neither the requester nor who has an interest is among them. One approval that fails
    /// refuses all, and so does a refusal in the site directory.
    pub fn check(
        approvals: &[Envelope],
        request: &SignedRequest,
        site: &Site,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        site.fresh(now)?;
        site.grant_unexpired(&request.request().grant, now)?;
        if CodeDenied::in_site(request, site).is_some() {
            return Err(Refusal::CodeDenied);
        }
        let reviewed = Self::signed(approvals, request, site)?;
        for approval in &reviewed.approvals {
            check_counts_now(approval.statement(), now)?;
        }
        Ok(reviewed)
    }

    /// The same without the word about the moment: for a run that began when they counted.
    pub fn signed(approvals: &[Envelope], request: &SignedRequest, site: &Site) -> Result<Self, Refusal> {
        let digest = request.payload_digest();
        let demanded = request.grant().statement().code_review == CodeReview::BeforeRun;
        match (demanded, approvals.is_empty()) {
            (false, true) => return Ok(Self { approvals: Vec::new(), request: digest, demanded }),
            (false, false) => return Err(Refusal::CodeReviewEvidence),
            (true, true) => return Err(Refusal::CodeReviewMissing),
            (true, false) => {}
        }
        let mut checked = Vec::new();
        for envelope in approvals {
            checked.push(check_one(envelope, request, site)?);
        }
        checked.sort_by(|left, right| left.statement().steward.cmp(&right.statement().steward));
        let people: BTreeSet<_> =
            checked.iter().map(|approval| approval.statement().steward.clone()).collect();
        if people.len() != checked.len() {
            return Err(Refusal::ApprovalTwice);
        }
        enough(&people, request, site.roles())?;
        Ok(Self { approvals: checked, request: digest, demanded })
    }

    /// Checks, before each start of a run, that the approvals on which the job came into the queue were not revoked, that
    /// nobody refused the code since, and that they are not too old for a verdict to rest on.
    pub fn still(
        approvals: &[Envelope],
        request: &SignedRequest,
        site: &Site,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if CodeDenied::in_site(request, site).is_some() {
            return Err(Refusal::CodeDenied);
        }
        let reviewed = Self::signed(approvals, request, site)?;
        let old = |approval: &Verified<CodeApproval>| {
            now > approval.statement().expires.plus(RUN_AFTER_REVIEW_SECONDS)
        };
        if reviewed.approvals.iter().any(old) { Err(Refusal::CodeReviewTime) } else { Ok(reviewed) }
    }

    /// Checks one approval by itself, so that a console can show who is still missing.
    pub fn check_one(
        envelope: &Envelope,
        request: &SignedRequest,
        site: &Site,
        now: Timestamp,
    ) -> Result<Verified<CodeApproval>, Refusal> {
        let approval = check_one(envelope, request, site)?;
        check_counts_now(approval.statement(), now)?;
        Ok(approval)
    }

    /// The approvals, sorted by steward; none if the grant demands none.
    pub fn approvals(&self) -> &[Verified<CodeApproval>] {
        &self.approvals
    }

    /// True if the grant demands that code be reviewed.
    pub fn is_demanded(&self) -> bool {
        self.demanded
    }

    /// What a verdict says of them: SHA-256 of a line `databox-code-review/v1`, a line with the request's payload
    /// digest, and a line `STEWARD PAYLOAD-DIGEST` for each approval, sorted by steward; `not-checked` if the grant
    /// demands no review.
    pub fn evidence(&self) -> Evidence {
        if !self.demanded {
            return Evidence::NotChecked;
        }
        let mut text = format!("databox-code-review/v1\n{}\n", self.request);
        for approval in &self.approvals {
            text += &format!("{} {}\n", approval.statement().steward, approval.payload_digest());
        }
        Evidence::Digest(Digest::of(text.as_bytes()))
    }
}

/// The code of a verdict's run was reviewed before it ran, as its grant demands.
#[derive(Debug, Clone)]
pub struct ReviewedRun {
    code: ReviewedCode,
    verdict: Digest,
}

impl ReviewedRun {
    /// Checks that these are the approvals that the verdict names, that they count by the newest roles, and that they
    /// were given before the run.
    pub fn check(approvals: &[Envelope], verdict: &JudgedVerdict, site: &Site) -> Result<Self, Refusal> {
        let code = ReviewedCode::signed(approvals, verdict.request(), site)?;
        let judged = verdict.verdict();
        if code.evidence() != judged.code_review {
            return Err(Refusal::CodeReviewEvidence);
        }
        for approval in code.approvals.iter().map(Verified::statement) {
            if approval.roles.version > judged.roles.version {
                return Err(Refusal::CodeReviewBinding);
            }
            let before = approval.issued_at <= judged.issued_at.plus(CLOCK_SKEW_SECONDS);
            let fresh = judged.issued_at <= approval.expires.plus(RUN_AFTER_REVIEW_SECONDS);
            if !before || !fresh {
                return Err(Refusal::CodeReviewTime);
            }
        }
        Ok(Self { code, verdict: verdict.payload_digest() })
    }

    /// The review of the code.
    pub fn code(&self) -> &ReviewedCode {
        &self.code
    }

    /// Payload digest of the verdict.
    pub fn verdict(&self) -> Digest {
        self.verdict
    }
}

fn check_one(
    envelope: &Envelope,
    request: &SignedRequest,
    site: &Site,
) -> Result<Verified<CodeApproval>, Refusal> {
    let approval: CodeApproval = envelope.unverified()?;
    if approval.site != *site.name() {
        return Err(Refusal::OtherSite);
    }
    may_consent(envelope, &approval.steward, request, site)?;
    let asked = request.request();
    let bound = approval.request.sha256 == request.payload_digest()
        && approval.bundle == asked.bundle
        && approval.grant == grant_id(request.grant())
        && approval.policy == request.grant().statement().policy
        && site.roles_version(&approval.roles).is_some();
    if !bound {
        return Err(Refusal::CodeReviewBinding);
    }
    let open = approval.expires.seconds() - approval.issued_at.seconds();
    let after = approval.issued_at.plus(CLOCK_SKEW_SECONDS) >= asked.issued_at;
    if after && (1..=CODE_REVIEW_SECONDS_LIMIT).contains(&open) {
        Ok(Verified::new(approval, envelope.clone()))
    } else {
        Err(Refusal::CodeReviewTime)
    }
}

fn check_counts_now(approval: &CodeApproval, now: Timestamp) -> Result<(), Refusal> {
    let counts = approval.issued_at <= now.plus(CLOCK_SKEW_SECONDS) && now < approval.expires;
    if counts { Ok(()) } else { Err(Refusal::CodeReviewTime) }
}

/// The refusal of one request's code by someone who may review it. It counts once it is a leaf of the log.
#[derive(Debug, Clone)]
pub struct CodeDenied {
    denial: Verified<CodeDenial>,
    key: PublicKey,
}

impl CodeDenied {
    /// Checks a refusal. It needs nobody else and does not expire.
    pub fn check(envelope: &Envelope, request: &SignedRequest, site: &Site) -> Result<Self, Refusal> {
        let denial = site.check_code_denial(envelope)?;
        let said = denial.statement();
        let key = *reviewer_signed(envelope, &said.steward, request, site)?;
        let bound = said.request.sha256 == request.payload_digest()
            && said.bundle == request.request().bundle
            && site.roles_version(&said.roles).is_some();
        if bound { Ok(Self { denial, key }) } else { Err(Refusal::CodeReviewBinding) }
    }

    /// The refusal.
    pub fn denial(&self) -> &Verified<CodeDenial> {
        &self.denial
    }

    /// The key that signed it.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// A refusal of this request's code that a steward laid into the site directory.
    pub fn in_site(request: &SignedRequest, site: &Site) -> Option<Self> {
        Self::among(site.code_denials().iter().map(Verified::envelope), request, site)
    }

    /// A refusal of this request's code among these envelopes. What is none is passed over.
    pub fn among<'a>(
        envelopes: impl IntoIterator<Item = &'a Envelope>,
        request: &SignedRequest,
        site: &Site,
    ) -> Option<Self> {
        envelopes.into_iter().find_map(|envelope| Self::check(envelope, request, site).ok())
    }
}
