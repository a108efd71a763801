//! The statements of a review, verified once more by the console before it shows or takes anything. It cannot open a
//! packet; it can tell whether a decision is worth taking to the signer.

use std::sync::Arc;

use blobs::Digest;
use daemon::SiteWatch;
use release::envelope::Envelope;
use release::path::{Approved, CodeDenied, Denied, JudgedVerdict, ReviewedCode, ReviewedRun, SignedRequest};
use release::refusal::Refusal;
use release::site::Site;
use release::statement::{CodeApproval, CodeDenial, Evidence, Kind};
use release::value::{Name, Timestamp};

use crate::store::{Standing, Statements, Store};

/// A decision that is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It breaks a rule of the path.
    #[error("the decision is refused: {0}")]
    Rule(#[from] Refusal),
    /// There is no site in force.
    #[error("the site directory does not verify, so nothing is taken in")]
    NoSite,
    /// It is neither an approval nor a denial, or not of what is under review.
    #[error("a decision is an approval or a denial of what is under review")]
    Kind,
    /// The console's own.
    #[error("the store cannot be read")]
    Store,
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
    /// What is missing still, if it is more than the number of approvals.
    pub lacks: Option<Refusal>,
}

impl Checked {
    fn approval(steward: Name, enough: Result<(), Refusal>, then: Standing) -> Self {
        // That more approvals are awaited is told by their number.
        let lacks = enough.err().filter(|refusal| *refusal != Refusal::ApprovalsTooFew);
        let then = if enough.is_ok() { then } else { Standing::Open };
        Self { steward, is_approval: true, then, lacks }
    }
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

/// What a decision is about, as the decision says: a verdict, or a request whose code is reviewed. Nothing of it is
/// checked yet.
pub fn verdict_of(decision: &Envelope) -> Result<Digest, NotTaken> {
    match decision.kind() {
        Kind::Approval => Ok(decision.unverified::<release::statement::Approval>()?.verdict.sha256),
        Kind::Denial => Ok(decision.unverified::<release::statement::Denial>()?.verdict.sha256),
        Kind::CodeApproval => Ok(decision.unverified::<CodeApproval>()?.request.sha256),
        Kind::CodeDenial => Ok(decision.unverified::<CodeDenial>()?.request.sha256),
        _ => Err(NotTaken::Kind),
    }
}

/// The request whose code is reviewed, checked against the site in force.
pub fn request(request: &[u8], site: &Site) -> Result<SignedRequest, Refusal> {
    SignedRequest::verify(&parse(request)?, site)
}

/// The approvals of the code on which a verdict's run rests; none if its grant demands none. A run without the review
/// that its grant demands is refused here as everywhere.
pub fn code_approvals(judged: &JudgedVerdict, store: &Store, site: &Site) -> Result<Vec<Envelope>, NotTaken> {
    let approvals = match judged.verdict().code_review {
        Evidence::Digest(evidence) => store.code_set(&evidence).map_err(|_| NotTaken::Store)?,
        Evidence::NotChecked => Vec::new(),
    };
    ReviewedRun::check(&approvals, judged, site)?;
    Ok(approvals)
}

/// Checks a decision about code with those that are there already.
fn check_code(decision: &Envelope, statements: &Statements, site: &Site) -> Result<Checked, NotTaken> {
    let request = request(&statements.request, site)?;
    if decision.kind() == Kind::CodeDenial {
        let denied = CodeDenied::check(decision, &request, site)?;
        let steward = denied.denial().statement().steward.clone();
        return Ok(Checked { steward, is_approval: false, then: Standing::Denying, lacks: None });
    }
    let approval = ReviewedCode::check_one(decision, &request, site, now())?;
    let steward = approval.statement().steward.clone();
    let mut approvals = counting_code(&statements.decisions, &request, site);
    approvals
        .retain(|earlier| !earlier.unverified::<CodeApproval>().is_ok_and(|said| said.steward == steward));
    approvals.push(decision.clone());
    let enough = ReviewedCode::check(&approvals, &request, site, now()).map(drop);
    Ok(Checked::approval(steward, enough, Standing::Approving))
}

/// The approvals of code that count now.
pub fn counting_code(decisions: &[Vec<u8>], request: &SignedRequest, site: &Site) -> Vec<Envelope> {
    let envelopes = decisions.iter().filter_map(|bytes| parse(bytes).ok());
    let approvals = envelopes.filter(|envelope| envelope.kind() == Kind::CodeApproval);
    approvals.filter(|approval| ReviewedCode::check_one(approval, request, site, now()).is_ok()).collect()
}

/// The approvals of a job's code, if enough count now, sorted by steward.
pub fn reviewed_code(statements: &Statements, site: &Site) -> Result<ReviewedCode, Refusal> {
    let request = request(&statements.request, site)?;
    ReviewedCode::check(&counting_code(&statements.decisions, &request, site), &request, site, now())
}

/// A refusal of this review's code that a steward laid into the site directory.
pub fn code_denied_in_site(statements: &Statements, site: &Site) -> Option<CodeDenied> {
    CodeDenied::in_site(&request(&statements.request, site).ok()?, site)
}

/// Checks a decision with those that are there already.
pub fn check(decision: &Envelope, statements: &Statements, watch: &SiteWatch) -> Result<Checked, NotTaken> {
    let site: Arc<Site> = watch.current().ok_or(NotTaken::NoSite)?;
    site.fresh(now())?;
    let about_code = matches!(decision.kind(), Kind::CodeApproval | Kind::CodeDenial);
    // A word about code never counts about outputs, nor the reverse.
    if about_code != statements.verdict.is_empty() {
        return Err(NotTaken::Kind);
    }
    if about_code {
        return check_code(decision, statements, &site);
    }
    let judged = verdict(&statements.request, &statements.verdict, &site)?;
    if decision.kind() == Kind::Denial {
        let denied = Denied::check(decision, &judged, &site)?;
        let steward = denied.denial().statement().steward.clone();
        return Ok(Checked { steward, is_approval: false, then: Standing::Denying, lacks: None });
    }
    let approval = Approved::check_one(decision, &judged, &site, now())?;
    let steward = approval.statement().steward.clone();
    let mut approvals = counting(&statements.decisions, &judged, &site);
    approvals.retain(|earlier| !is_by(earlier, &steward));
    approvals.push(decision.clone());
    let enough = Approved::check(&approvals, &judged, &site, now()).map(drop);
    Ok(Checked::approval(steward, enough, Standing::Signing))
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
pub fn needed(request: &SignedRequest, site: &Site) -> u32 {
    let demanded = &request.grant().statement().approvals;
    let datasets =
        request.request().datasets.iter().filter_map(|dataset| site.roles().datasets.get(&dataset.name));
    let thresholds = datasets
        .map(|role| role.approval_threshold.0)
        .chain([demanded.threshold.0, demanded.organisations.0]);
    u32::try_from(thresholds.max().unwrap_or(1)).unwrap_or(u32::MAX)
}
