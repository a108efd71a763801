//! The statements of a review, verified once more by the console before it shows or takes anything. It cannot open a
//! packet; it can tell whether a decision is worth taking to the signer.

use std::sync::Arc;

use blobs::Digest;
use daemon::SiteWatch;
use release::envelope::Envelope;
use release::path::{Approved, Denied, JudgedVerdict, SignedRequest};
use release::refusal::Refusal;
use release::site::Site;
use release::statement::Kind;
use release::value::{Name, Timestamp};

use crate::store::{Standing, Statements};

/// A decision that is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It breaks a rule of the path.
    #[error("the decision is refused: {0}")]
    Rule(#[from] Refusal),
    /// There is no site in force.
    #[error("the site directory does not verify, so nothing is taken in")]
    NoSite,
    /// It is neither an approval nor a denial.
    #[error("a decision is an approval or a denial")]
    Kind,
}

/// A decision that was checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Who decided.
    pub steward: Name,
    /// An approval, or a denial.
    pub is_approval: bool,
    /// Where the review stands with it.
    pub then: Standing,
}

/// Now, as statements write it.
pub fn now() -> Timestamp {
    Timestamp::from_seconds(daemon::now_seconds())
        .unwrap_or_else(|_| Timestamp::from_seconds(0).expect("1970 is a moment"))
}

/// The verdict of a review, checked against the site in force.
pub fn verdict(request: &[u8], verdict: &[u8], site: &Site) -> Result<JudgedVerdict, Refusal> {
    let request = SignedRequest::verify(&parse(request)?, site)?;
    JudgedVerdict::recorded(&parse(verdict)?, &request, site)
}

fn parse(bytes: &[u8]) -> Result<Envelope, Refusal> {
    Envelope::parse(bytes).map_err(|error| error.refusal())
}

/// The verdict that a decision is about, as the decision says; nothing of it is checked yet.
pub fn verdict_of(decision: &Envelope) -> Result<Digest, NotTaken> {
    match decision.kind() {
        Kind::Approval => Ok(decision.unverified::<release::statement::Approval>()?.verdict.sha256),
        Kind::Denial => Ok(decision.unverified::<release::statement::Denial>()?.verdict.sha256),
        _ => Err(NotTaken::Kind),
    }
}

/// Checks a decision with those that are there already.
pub fn check(decision: &Envelope, statements: &Statements, watch: &SiteWatch) -> Result<Checked, NotTaken> {
    let site: Arc<Site> = watch.current().ok_or(NotTaken::NoSite)?;
    site.fresh(now())?;
    let judged = verdict(&statements.request, &statements.verdict, &site)?;
    if decision.kind() == Kind::Denial {
        let denied = Denied::check(decision, &judged, &site)?;
        let steward = denied.denial().statement().steward.clone();
        return Ok(Checked { steward, is_approval: false, then: Standing::Denying });
    }
    let approval = Approved::check_one(decision, &judged, &site, now())?;
    let steward = approval.statement().steward.clone();
    let mut approvals = counting(&statements.decisions, &judged, &site);
    approvals.retain(|earlier| !is_by(earlier, &steward));
    approvals.push(decision.clone());
    let enough = Approved::check(&approvals, &judged, &site, now()).is_ok();
    Ok(Checked { steward, is_approval: true, then: if enough { Standing::Signing } else { Standing::Open } })
}

fn is_by(approval: &Envelope, steward: &Name) -> bool {
    approval.unverified::<release::statement::Approval>().is_ok_and(|said| said.steward == *steward)
}

/// The approvals that count now. One that is outdated by now must not make the others fail.
fn counting(decisions: &[Vec<u8>], judged: &JudgedVerdict, site: &Site) -> Vec<Envelope> {
    let envelopes = decisions.iter().filter_map(|bytes| parse(bytes).ok());
    let approvals = envelopes.filter(|envelope| envelope.kind() == Kind::Approval);
    approvals.filter(|approval| Approved::check_one(approval, judged, site, now()).is_ok()).collect()
}

/// The approvals of a review that count now.
pub fn counting_approvals(statements: &Statements, site: &Site) -> Result<Vec<Envelope>, Refusal> {
    let judged = verdict(&statements.request, &statements.verdict, site)?;
    Ok(counting(&statements.decisions, &judged, site))
}

/// True if enough approvals count now.
pub fn is_approved(statements: &Statements, site: &Site) -> bool {
    let approved = || {
        let judged = verdict(&statements.request, &statements.verdict, site)?;
        Approved::check(&counting(&statements.decisions, &judged, site), &judged, site, now()).map(drop)
    };
    approved().is_ok()
}

/// How many people must approve, at the least.
pub fn needed(judged: &JudgedVerdict, site: &Site) -> u32 {
    let demanded = &judged.request().grant().statement().approvals;
    let datasets =
        judged.verdict().datasets.iter().filter_map(|dataset| site.roles().datasets.get(&dataset.name));
    let thresholds = datasets
        .map(|role| role.approval_threshold.0)
        .chain([demanded.threshold.0, demanded.organisations.0]);
    u32::try_from(thresholds.max().unwrap_or(1)).unwrap_or(u32::MAX)
}
