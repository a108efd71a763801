//! What a researcher signs: a request for a job, and its cancellation.

use std::collections::BTreeMap;

use blobs::Digest;
use serde::{Deserialize, Serialize};

use super::{DeclaredOutput, Kind, Predicate, Query, Subject};
use crate::value::{Bytes, Count, DigestSet, Name, Timestamp};

/// A job asked for. It names a grant and never chooses a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The site's name.
    pub site: Name,
    /// The project.
    pub project: Name,
    /// The job's name, chosen by the researcher; not unique.
    pub job: Name,
    /// The grant, by id and by the payload digest of the version that the researcher saw.
    pub grant: GrantId,
    /// Who asks.
    pub requester: Requester,
    /// The bundle file, byte for byte.
    pub bundle: DigestSet,
    /// The datasets and their snapshots, resolved by the client.
    pub datasets: Vec<DatasetSnapshot>,
    /// The runtime.
    pub runtime: RuntimeId,
    /// The command, the first item the program.
    pub command: Vec<String>,
    /// What the job may use at most.
    pub limits: Limits,
    /// What it will write.
    pub outputs: Vec<DeclaredOutput>,
    /// A question that the box answers itself. Then no code of the researcher's runs: the runtime is one that the catalogue
    /// says answers questions, the command is [`super::QUERY_PROGRAM`], and the output is that of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// What it is for, as a salted digest; text and salt go to the stewards.
    pub purpose: SaltedPurpose,
    /// Chosen at random by the client; the box accepts each once.
    pub nonce: Bytes<32>,
    /// When it was made.
    pub issued_at: Timestamp,
    /// After this moment it is not admitted.
    pub expires: Timestamp,
    /// Devices of the box that it holds while it runs, by their kind in the grant; not there if it asks for none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<Name, Count>,
}

/// The most devices of one kind that a grant gives and a request asks for.
pub const DEVICES_LIMIT: u64 = 64;

/// A grant and one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantId {
    /// The grant's id.
    pub id: Name,
    /// The version.
    pub version: Count,
    /// Digest of its payload.
    pub payload: DigestSet,
}

/// Who asks for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requester {
    /// Their id in the grant.
    pub id: Name,
    /// The key that signs the request.
    pub key_id: Digest,
}

/// A dataset at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatasetSnapshot {
    /// The dataset's name.
    pub name: Name,
    /// The tree digest of the snapshot.
    pub tree: DigestSet,
}

/// A runtime of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuntimeId {
    /// Its name.
    pub name: Name,
    /// Its tree digest.
    pub tree: DigestSet,
}

/// What a job may use at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Processors.
    pub cpus: Count,
    /// Memory in bytes.
    pub memory_bytes: Count,
    /// Time from start to end, in seconds.
    pub seconds: Count,
}

/// SHA-256 of a 32-byte salt followed by the purpose in UTF-8. The log cannot forget; the salt can be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SaltedPurpose {
    /// The digest.
    pub salted_sha256: Digest,
}

impl SaltedPurpose {
    /// The salted digest of a purpose.
    pub fn of(salt: &[u8; 32], text: &str) -> Self {
        Self { salted_sha256: Digest::of(&[&salt[..], text.as_bytes()].concat()) }
    }
}

impl Request {
    /// Whether counts in this output are the job's word. Those of a question are the box's own.
    pub fn declares_counts(&self, output: &DeclaredOutput) -> bool {
        self.query.is_none() && output.states_counts()
    }
}

impl Predicate for Request {
    const KIND: Kind = Kind::Request;

    fn subject(&self) -> Vec<Subject> {
        vec![Subject::new("bundle", self.bundle.sha256)]
    }
}

/// A job called off by its requester.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cancel {
    /// The site's name.
    pub site: Name,
    /// Payload digest of the request.
    pub request: DigestSet,
    /// Who calls it off.
    pub requester: Requester,
    /// When.
    pub issued_at: Timestamp,
}

impl Predicate for Cancel {
    const KIND: Kind = Kind::Cancel;

    fn subject(&self) -> Vec<Subject> {
        vec![Subject::new("request", self.request.sha256)]
    }
}
