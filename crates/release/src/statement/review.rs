//! What a steward signs: consent to one verdict or its refusal, and before a run consent to its code or its refusal.

use serde::{Deserialize, Serialize};

use super::{GrantId, Kind, PolicyId, Predicate, RolesId, Subject};
use crate::value::{Bytes, DigestSet, Name, Timestamp};

/// A steward's consent to the release of what one verdict describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// The site's name.
    pub site: Name,
    /// Payload digest of the verdict.
    pub verdict: DigestSet,
    /// The verdict's challenge, repeated.
    pub challenge: Bytes<32>,
    /// Who consents.
    pub steward: Name,
    /// The grant in force when they did.
    pub grant: GrantId,
    /// The policy in force when they did.
    pub policy: PolicyId,
    /// The roles in force when they did.
    pub roles: RolesId,
    /// What the steward's own tool found when it judged the canonical files again.
    pub judged_again: Judgement,
    /// When.
    pub issued_at: Timestamp,
    /// After this moment it counts no more.
    pub expires: Timestamp,
}

/// What a second judgement of the canonical files gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// The same as the verdict says, in every rule that needs no data.
    Same,
    /// It was not made.
    NotChecked,
}

impl Predicate for Approval {
    const KIND: Kind = Kind::Approval;

    fn subject(&self) -> Vec<Subject> {
        vec![Subject::new("verdict", self.verdict.sha256)]
    }
}

/// A steward's refusal. It counts once it is a leaf of the log; from then on nothing is signed for the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Denial {
    /// The site's name.
    pub site: Name,
    /// Payload digest of the verdict.
    pub verdict: DigestSet,
    /// The verdict's challenge, repeated.
    pub challenge: Bytes<32>,
    /// Who refuses.
    pub steward: Name,
    /// For good, or until changes are made.
    pub decision: DenialDecision,
    /// Why, from a closed list; at least one, sorted.
    pub reasons: Vec<DenialReason>,
    /// The roles in force when they did.
    pub roles: RolesId,
    /// When.
    pub issued_at: Timestamp,
}

/// What a refusal means to the researcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DenialDecision {
    /// Changes are asked for; a new job may follow.
    Return,
    /// No.
    Reject,
}

/// Why a steward refuses. Closed, since a researcher sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DenialReason {
    /// The output does not serve the stated purpose.
    OutsidePurpose,
    /// Counts are too small, or could be subtracted from others.
    SmallCounts,
    /// More is asked for than the purpose needs.
    TooMuch,
    /// It could single out a person.
    Identifying,
    /// What the output means is not explained.
    Unexplained,
    /// The code is not what it says.
    Code,
    /// Another reason, told by other means.
    Other,
}

impl Predicate for Denial {
    const KIND: Kind = Kind::Denial;

    fn subject(&self) -> Vec<Subject> {
        vec![Subject::new("verdict", self.verdict.sha256)]
    }
}

/// A steward's consent to running the code of one request. It is of another kind than [`Approval`], names no verdict and
/// cannot be read as one: whoever lets code run has not seen what it writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CodeApproval {
    /// The site's name.
    pub site: Name,
    /// Payload digest of the request.
    pub request: DigestSet,
    /// The bundle file that was read, byte for byte.
    pub bundle: DigestSet,
    /// Who consents.
    pub steward: Name,
    /// The grant that the request names.
    pub grant: GrantId,
    /// The policy of that grant.
    pub policy: PolicyId,
    /// The roles in force when they did.
    pub roles: RolesId,
    /// When.
    pub issued_at: Timestamp,
    /// After this moment it lets no job into the queue.
    pub expires: Timestamp,
}

impl Predicate for CodeApproval {
    const KIND: Kind = Kind::CodeApproval;

    fn subject(&self) -> Vec<Subject> {
        vec![Subject::new("request", self.request.sha256), Subject::new("bundle", self.bundle.sha256)]
    }
}

/// A steward's refusal of the code of one request. It counts once it is a leaf of the log; from then on nothing of this
/// request runs or is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CodeDenial {
    /// The site's name.
    pub site: Name,
    /// Payload digest of the request.
    pub request: DigestSet,
    /// The bundle file that the request names.
    pub bundle: DigestSet,
    /// Who refuses.
    pub steward: Name,
    /// For good, or until changes are made.
    pub decision: DenialDecision,
    /// Why, from a closed list; at least one, sorted.
    pub reasons: Vec<DenialReason>,
    /// The roles in force when they did.
    pub roles: RolesId,
    /// When.
    pub issued_at: Timestamp,
}

impl Predicate for CodeDenial {
    const KIND: Kind = Kind::CodeDenial;

    fn subject(&self) -> Vec<Subject> {
        vec![Subject::new("request", self.request.sha256), Subject::new("bundle", self.bundle.sha256)]
    }
}
