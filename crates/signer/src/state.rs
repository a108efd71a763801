//! What the signer remembers, as files.

use std::io;
use std::path::{Path, PathBuf};

use blobs::Digest;
use release::envelope::Envelope;
use release::json;
use release::log::leaf::Leaf;
use release::log::merkle;
use release::log::socket::Outcome;
use release::site::SeenVersions;
use release::value::{Count, Timestamp};
use serde::{Deserialize, Serialize};

use crate::places::Places;

/// Largest file of the signer's own in bytes.
const STATE_LIMIT: usize = 256 << 20;

/// A head of the log: how many leaves, and their root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// Number of leaves.
    pub size: Count,
    /// Root of the tree.
    pub root: Digest,
}

impl Head {
    /// The head of a log without leaves.
    pub fn empty() -> Self {
        Self { size: Count(0), root: merkle::empty_root() }
    }
}

/// The signer's own memory, one file that is replaced whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// The log's origin; empty before its first leaf.
    pub origin: String,
    /// The log as far as it is complete on disk.
    pub head: Head,
    /// Entries that are decided and not yet complete on disk. The next start completes them before all else.
    pub pending: Vec<Entry>,
    /// The newest versions of the site's statements that were seen.
    pub seen: SeenVersions,
    /// When a decision was last appended.
    pub signed_at: Timestamp,
}

impl State {
    /// The memory of a signer that has appended nothing.
    pub fn empty() -> Self {
        let signed_at = Timestamp::from_seconds(0).expect("1970 is a year that can be written");
        Self {
            origin: String::new(),
            head: Head::empty(),
            pending: Vec::new(),
            seen: SeenVersions::default(),
            signed_at,
        }
    }
}

/// An entry of the log and everything that must be kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// The leaf's text.
    pub leaf: String,
    /// What it stands for.
    pub content: Content,
}

/// What an entry stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// A statement of the site; for a policy, its TOML file too.
    Statement(SiteStatement),
    /// A decision about a verdict.
    Decision(Decision),
}

/// A statement of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteStatement {
    /// The statement.
    pub statement: Envelope,
    /// The policy's TOML file in base64; empty for other statements.
    pub policy_file: String,
}

/// A decision about a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// Payload digest of the verdict; of the request, if its code is refused.
    pub verdict: Digest,
    /// Which decision.
    pub outcome: Outcome,
    /// The release file, denial file or code denial file, whose log proof is still empty.
    pub file: String,
    /// Of the verdicts that a release's tables were compared with, those that were not decided then, sorted: when one of
    /// them is released later, this release was compared with it.
    pub compared: Vec<Digest>,
}

impl Entry {
    /// The leaf.
    pub fn parsed_leaf(&self) -> Result<Leaf, StateError> {
        Leaf::parse(self.leaf.as_bytes()).map_err(|_| StateError::Form)
    }
}

/// A file of the signer's own that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not in the form in which the signer writes it.
    #[error("a file of the signer's own is not in its form")]
    Form,
}

/// Reads a file that may be missing.
pub fn read_file(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Io { path: path.to_owned(), source }),
    }
}

fn read_json<T: Serialize + serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    json::from_bytes(&bytes, STATE_LIMIT).map(Some).map_err(|_| StateError::Form)
}

/// Reads the memory, if there is one.
pub fn read_state(places: &Places) -> Result<Option<State>, StateError> {
    read_json(&places.state())
}

/// Reads the head outside the data directory, if there is one.
pub fn read_head(places: &Places) -> Result<Option<Head>, StateError> {
    read_json(&places.head())
}

/// Reads what is kept beside a decision's leaf.
pub fn read_decision(places: &Places, verdict: &Digest) -> Result<Option<Entry>, StateError> {
    read_json(&places.evidence(verdict))
}
