//! What the signer signs: a release.

use blobs::Digest;
use serde::{Deserialize, Serialize};

use super::{Evidence, GrantId, Kind, PolicyId, Predicate, RolesId, Subject};
use crate::value::{Count, DigestSet, Name, Timestamp};

/// A release: these files, for this requester, on this evidence. One for each verdict, ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The site's name.
    pub site: Name,
    /// Payload digest of the request.
    pub request: DigestSet,
    /// Payload digest of the verdict.
    pub verdict: DigestSet,
    /// The approvals, sorted by steward.
    pub approvals: Vec<ApprovalDigest>,
    /// The grant in force at signing.
    pub grant: GrantId,
    /// The policy in force at signing.
    pub policy: PolicyId,
    /// The roles in force at signing.
    pub roles: RolesId,
    /// Payload digest of the revocation in force at signing.
    pub revocation: DigestSet,
    /// Who receives the files.
    pub recipient: Name,
    /// The files, sorted by name.
    pub files: Vec<ReleasedFile>,
    /// Bits that this release spends: the files' and the verdict's.
    pub released_bits: Count,
    /// The grant's account for each dataset, as the signer sums it from its own log.
    pub accounts: Vec<GrantAccount>,
    /// Digest of the set of verdicts with tables of its datasets that were released before it
    /// ([`crate::differencing::ComparedSet`]). Empty if it has no tables.
    pub differenced_against: Evidence,
    /// When.
    pub issued_at: Timestamp,
}

/// An approval by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalDigest {
    /// Who approved.
    pub steward: Name,
    /// Payload digest of the approval.
    pub payload: DigestSet,
}

/// A released file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleasedFile {
    /// Its name.
    pub name: Name,
    /// Its size in bytes.
    pub bytes: Count,
    /// Its digest.
    pub sha256: Digest,
}

/// What one grant has released of one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantAccount {
    /// The dataset.
    pub dataset: Name,
    /// Bits released before this release.
    pub released_before: Count,
    /// The grant's limit.
    pub limit: Count,
}

impl Predicate for Manifest {
    const KIND: Kind = Kind::Manifest;

    fn subject(&self) -> Vec<Subject> {
        self.files.iter().map(|file| Subject::new(file.name.as_str(), file.sha256)).collect()
    }
}
