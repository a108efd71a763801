//! `databox.toml`: what a researcher writes about a job, turned into what their client signs.

mod convert;
mod error;
mod file;

use std::collections::BTreeMap;

use blobs::Digest;
use release::statement::{
    DatasetSnapshot, DeclaredOutput, GrantId, Limits, Query, QueryPrivacy, Request, Requester, RuntimeId,
    SaltedPurpose,
};
use release::value::{Bytes, Count, Name, Timestamp};

pub use error::ManifestError;

/// The manifest's name, at the root of a bundle.
pub const MANIFEST_NAME: &str = "databox.toml";

/// What a job wants, as its manifest says. Every field was checked for form and for sense with the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The job's name.
    pub job: Name,
    /// The project whose grant it runs under.
    pub project: Name,
    /// The runtime, by its name in the catalogue.
    pub runtime: Name,
    /// The command, the first item the program. Its first item is found in the runtime.
    pub command: Vec<String>,
    /// What it is for, in words that stewards read.
    pub purpose: String,
    /// The datasets; each is seen as `/data/<name>`.
    pub data: BTreeMap<Name, SnapshotChoice>,
    /// What it may use at most.
    pub limits: Limits,
    /// A question in SQL, in place of code. Then the command is the box's own program, and the output is that of the
    /// question.
    pub query: Option<Question>,
    /// What it will write to `/out`.
    pub outputs: Vec<DeclaredOutput>,
    /// Devices that it holds while it runs, by their kind in the grant.
    pub devices: BTreeMap<Name, Count>,
}

/// A question as its asker writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its SQL.
    pub sql: String,
    /// The noise that the answer is to have; none: what is told is exact.
    pub privacy: Option<QueryPrivacy>,
}

/// Which snapshot of a dataset a job wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotChoice {
    /// The newest when the request is made; the client looks it up before it signs.
    Latest,
    /// The one with this tree digest.
    Tree(Digest),
}

/// What a request needs besides the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// The site's name.
    pub site: Name,
    /// The grant.
    pub grant: GrantId,
    /// Who asks.
    pub requester: Requester,
    /// Digest of the bundle file.
    pub bundle: Digest,
    /// Tree digest of the runtime that the catalogue has under the manifest's name.
    pub runtime: Digest,
    /// Tree digest of the newest snapshot of each dataset, for those that the manifest takes as `latest`.
    pub latest: BTreeMap<Name, Digest>,
    /// The closed form of the question, if the manifest has one.
    pub query: Option<Query>,
    /// Salt of the purpose's digest, 32 random bytes.
    pub salt: [u8; 32],
    /// 32 random bytes; the box accepts each once.
    pub nonce: [u8; 32],
    /// When it is made.
    pub issued_at: Timestamp,
    /// After this moment it is not admitted.
    pub expires: Timestamp,
}

impl Manifest {
    /// Parses and checks the text of a `databox.toml`.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        convert::manifest(file::ManifestFile::parse(text)?)
    }

    /// The same from bytes, which must be UTF-8.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| ManifestError::NotText)?)
    }

    /// The request that the researcher's client signs. Fails if a dataset's newest snapshot is not known, or a question
    /// was not brought into its closed form.
    pub fn request(&self, context: RequestContext) -> Result<Request, ManifestError> {
        let snapshot = |(name, choice): (&Name, &SnapshotChoice)| {
            let tree = match choice {
                SnapshotChoice::Tree(tree) => *tree,
                SnapshotChoice::Latest => *context
                    .latest
                    .get(name)
                    .ok_or_else(|| ManifestError::SnapshotUnknown { dataset: name.clone() })?,
            };
            Ok(DatasetSnapshot { name: name.clone(), tree: tree.into() })
        };
        let outputs = match (&self.query, &context.query) {
            (None, None) => self.outputs.clone(),
            (Some(_), Some(query)) => vec![query.output().map_err(|_| ManifestError::QueryUnread)?],
            _ => return Err(ManifestError::QueryUnread),
        };
        let datasets = self.data.iter().map(snapshot).collect::<Result<_, ManifestError>>()?;
        Ok(Request {
            site: context.site,
            project: self.project.clone(),
            job: self.job.clone(),
            grant: context.grant,
            requester: context.requester,
            bundle: context.bundle.into(),
            datasets,
            runtime: RuntimeId { name: self.runtime.clone(), tree: context.runtime.into() },
            command: self.command.clone(),
            limits: self.limits.clone(),
            outputs,
            query: context.query,
            purpose: SaltedPurpose::of(&context.salt, &self.purpose),
            nonce: Bytes(context.nonce),
            issued_at: context.issued_at,
            expires: context.expires,
            devices: self.devices.clone(),
        })
    }
}
