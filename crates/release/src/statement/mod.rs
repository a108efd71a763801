//! The statements that people and rooms sign, version 1 of each.
//!
//! Every statement is an in-toto Statement v1 whose predicate type is `urn:databox:<kind>:v1`. Its subject follows
//! from its predicate and is compared with it, so that tools which read subjects alone see the same thing as we.
//! A field whose check comes later reads `not-checked`; it is never absent.

mod condition;
mod job;
mod manifest;
mod output;
mod privacy;
mod query;
mod review;
mod site;
mod verdict;

use blobs::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use condition::Condition;
pub use job::{
    Cancel, DEVICES_LIMIT, DatasetSnapshot, GrantId, Limits, Request, Requester, RuntimeId, SaltedPurpose,
};
pub use manifest::{ApprovalDigest, GrantAccount, Manifest, ReleasedFile};
pub use output::{
    Better, ColumnType, DeclaredColumn, DeclaredOutput, DeclaredTensor, EVALUATION_FILE, Evaluation,
    OutputKind, Precision,
};
pub use privacy::{
    Bounds, DELTA_EXPONENTS, NOISY_GROUPS_LIMIT, PrivacyBudget, PrivacyCharge, QueryPrivacy, RHO_LIMIT,
    epsilon, read_rho, rho_text,
};
pub use query::{
    ANSWER_FILE, Asked, QUERY_PROGRAM, Query, QueryError, QueryFunction, QueryValue, SHARE_COLUMNS,
    SHARE_DIGITS, SIGNIFICANT_DIGITS, UNITS_COLUMN, VALUE_DIGITS, WITHOUT_ROWS,
};
pub use review::{Approval, CodeApproval, CodeDenial, Denial, DenialDecision, DenialReason, Judgement};
pub use site::{
    BoxKeys, Catalogue, CatalogueEntry, CodeReview, Column, DatasetGrant, DatasetRole, Grant, GrantApprovals,
    Interest, LogKey, Member, PUBLIC_BYTES_LIMIT, PUBLIC_FILES_LIMIT, Person, Policy, PublicFile, PublicKey,
    Revocation, Role, Roles, Snapshot, Suite, Table, ValueType, WallName, Witness,
};
pub use verdict::{
    BoxBuild, DatasetCharge, Guarantee, Layer, LayerState, PACKET_ADDED_BYTES, PolicyId, ReviewRecipient,
    RolesId, RuleOutcome, RuleResult, Verdict, VerdictFile, VerdictResult, Wall, WallDevice, WallRuntime,
    Warning,
};

use crate::json::{self, JsonError};
use crate::value::DigestSet;

/// Largest payload of a statement in bytes: 1 MiB. A catalogue with many categories is the largest.
pub const PAYLOAD_LIMIT: usize = 1 << 20;

/// The `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What a statement says, as its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Who may do what at a site.
    Roles,
    /// An egress policy.
    Policy,
    /// What a project may use.
    Grant,
    /// What may be known about a dataset or runtime.
    Catalogue,
    /// What is no longer valid.
    Revocation,
    /// A job asked for.
    Request,
    /// A job called off.
    Cancel,
    /// What the box found about a job's outputs.
    Verdict,
    /// A steward's consent.
    Approval,
    /// A steward's refusal.
    Denial,
    /// A steward's consent to running code.
    CodeApproval,
    /// A steward's refusal of code.
    CodeDenial,
    /// A release.
    Manifest,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Roles,
        Self::Policy,
        Self::Grant,
        Self::Catalogue,
        Self::Revocation,
        Self::Request,
        Self::Cancel,
        Self::Verdict,
        Self::Approval,
        Self::Denial,
        Self::CodeApproval,
        Self::CodeDenial,
        Self::Manifest,
    ];

    /// The word in the predicate type.
    pub fn word(self) -> &'static str {
        match self {
            Self::Roles => "roles",
            Self::Policy => "policy",
            Self::Grant => "grant",
            Self::Catalogue => "catalogue",
            Self::Revocation => "revocation",
            Self::Request => "job-request",
            Self::Cancel => "cancel",
            Self::Verdict => "egress-verdict",
            Self::Approval => "steward-approval",
            Self::Denial => "denial",
            Self::CodeApproval => "code-approval",
            Self::CodeDenial => "code-denial",
            Self::Manifest => "release-manifest",
        }
    }

    /// The predicate type, `urn:databox:<word>:v1`.
    pub fn predicate_type(self) -> String {
        format!("urn:databox:{}:v1", self.word())
    }
}

/// What a statement of one kind says.
pub trait Predicate: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: Kind;

    /// The subject that follows from what it says.
    fn subject(&self) -> Vec<Subject>;
}

/// A thing that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Its digest.
    pub digest: DigestSet,
    /// Its name.
    pub name: String,
}

impl Subject {
    fn new(name: impl Into<String>, digest: Digest) -> Self {
        Self { digest: digest.into(), name: name.into() }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement<P> {
    #[serde(rename = "_type")]
    statement_type: String,
    predicate: P,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<Subject>,
}

/// A payload that is not a statement of the expected kind.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The JSON is not accepted.
    #[error("the payload is not accepted")]
    Json(#[from] JsonError),
    /// Not an in-toto Statement v1.
    #[error("the payload is not an in-toto Statement v1")]
    StatementType,
    /// A statement of another kind.
    #[error("the payload is of another kind: {found}")]
    Kind {
        /// The predicate type found.
        found: String,
    },
    /// The subject does not follow from the predicate.
    #[error("the subject of the statement does not follow from its predicate")]
    Subject,
}

/// The bytes to be signed.
pub fn payload<P: Predicate>(predicate: &P) -> Vec<u8> {
    #[derive(Serialize)]
    struct Borrowed<'a, P> {
        #[serde(rename = "_type")]
        statement_type: &'static str,
        predicate: &'a P,
        #[serde(rename = "predicateType")]
        predicate_type: String,
        subject: Vec<Subject>,
    }
    json::to_bytes(&Borrowed {
        statement_type: STATEMENT_TYPE,
        predicate,
        predicate_type: P::KIND.predicate_type(),
        subject: predicate.subject(),
    })
}

/// Reads a payload as a statement of kind `P`. It says nothing about who signed it.
pub fn parse_payload<P: Predicate>(bytes: &[u8]) -> Result<P, PayloadError> {
    let statement: Statement<P> = match json::from_bytes(bytes, PAYLOAD_LIMIT) {
        Ok(statement) => statement,
        // A statement of another kind is refused as that.
        Err(error) => return Err(other_kind(bytes, P::KIND).unwrap_or(PayloadError::Json(error))),
    };
    if statement.predicate_type != P::KIND.predicate_type() {
        return Err(PayloadError::Kind { found: statement.predicate_type });
    }
    if statement.statement_type != STATEMENT_TYPE {
        return Err(PayloadError::StatementType);
    }
    if statement.subject != statement.predicate.subject() {
        return Err(PayloadError::Subject);
    }
    Ok(statement.predicate)
}

fn other_kind(bytes: &[u8], expected: Kind) -> Option<PayloadError> {
    let found = kind_of(bytes).ok()?;
    (found != expected.predicate_type()).then_some(PayloadError::Kind { found })
}

/// The predicate type that a payload claims.
pub fn kind_of(bytes: &[u8]) -> Result<String, PayloadError> {
    let statement: Statement<serde_json::Value> = json::from_bytes(bytes, PAYLOAD_LIMIT)?;
    Ok(statement.predicate_type)
}

/// The kind that a payload claims, if this version knows it.
pub fn kind(bytes: &[u8]) -> Result<Kind, PayloadError> {
    known_kind(kind_of(bytes)?)
}

/// The same without a look at the form of the whole payload, which whoever reads it next asks for.
pub(crate) fn claimed_kind(bytes: &[u8]) -> Result<Kind, PayloadError> {
    // In the one form only the subject stands behind it. Whoever reads the payload compares what is found here.
    const FIELD: &[u8] = br#""predicateType":""#;
    let place = bytes.windows(FIELD.len()).rposition(|part| part == FIELD);
    let said = place.and_then(|place| bytes[place + FIELD.len()..].split(|byte| *byte == b'"').next());
    if let Some(kind) = said.and_then(|said| known(std::str::from_utf8(said).ok()?)) {
        return Ok(kind);
    }
    #[derive(Deserialize)]
    struct Claim {
        #[serde(rename = "predicateType")]
        predicate_type: String,
    }
    let claim: Claim = serde_json::from_slice(bytes).map_err(JsonError::Shape)?;
    known_kind(claim.predicate_type)
}

fn known_kind(found: String) -> Result<Kind, PayloadError> {
    known(&found).ok_or(PayloadError::Kind { found })
}

/// The kind with this predicate type.
fn known(found: &str) -> Option<Kind> {
    let word = found.strip_prefix("urn:databox:")?.strip_suffix(":v1")?;
    Kind::ALL.into_iter().find(|kind| kind.word() == word)
}

/// The result of a check that may come in a later version: a digest of its evidence, or `not-checked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Evidence {
    /// The check was not made. Verifiers print it.
    NotChecked,
    /// The check was made; this is the digest of what it rested on.
    Digest(Digest),
}

impl From<Evidence> for String {
    fn from(evidence: Evidence) -> String {
        match evidence {
            Evidence::NotChecked => "not-checked".to_owned(),
            Evidence::Digest(digest) => digest.to_string(),
        }
    }
}

impl TryFrom<String> for Evidence {
    type Error = blobs::DigestError;

    fn try_from(text: String) -> Result<Self, blobs::DigestError> {
        if text == "not-checked" { Ok(Self::NotChecked) } else { Ok(Self::Digest(text.parse()?)) }
    }
}
