//! What a child is told to do.

use std::collections::BTreeMap;

use blobs::Digest;
use release::statement::{Catalogue, CatalogueEntry, DeclaredOutput, OutputKind, Precision, Query};
use release::value::Name;
use serde::{Deserialize, Serialize};

use crate::declaration::DeclarationError;
use crate::policy::{Policy, PolicyError};

/// What the canonicaliser, the judge and the views child are told: the policy, what was declared, and what is public
/// about the data. All of it is signed or made by the box; none of it comes from the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Task {
    /// The policy's TOML.
    pub policy: String,
    /// The declared outputs, in the order of the request.
    pub outputs: Vec<DeclaredOutput>,
    /// The signed catalogue of the job's datasets.
    pub catalogue: Vec<Catalogue>,
    /// The question that was asked in place of code, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// The precision of each output for which one was chosen; every other has the policy's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub precisions: BTreeMap<Name, Precision>,
    /// At the researcher's desk only: an output with nothing declared is judged as if what was written had been
    /// declared, its names are charged too, and a category without a catalogue holds any text. The box never sets it.
    #[serde(default)]
    pub as_written: bool,
}

/// A task that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The task is not JSON of the expected form.
    #[error("the task does not fit")]
    Task(#[source] serde_json::Error),
    /// The findings are not JSON of the expected form.
    #[error("the findings are not of the form in which they are written")]
    Detail(#[source] serde_json::Error),
    /// The policy is not accepted.
    #[error("the policy of the task is not accepted")]
    Policy(#[from] PolicyError),
    /// What was declared is not accepted.
    #[error("the outputs of the task are not accepted")]
    Declaration(#[from] DeclarationError),
    /// A precision is none that the policy allows for this output.
    #[error("the policy allows no other precision than its own for {0}, or not this one")]
    Precision(Name),
    /// A file cannot be read or written.
    #[error("a file cannot be read or written")]
    File(#[from] std::io::Error),
}

impl Task {
    /// Reads a task.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EgressError> {
        serde_json::from_slice(bytes).map_err(EgressError::Task)
    }

    /// The text of a task.
    ///
    /// Panics never: each part has a JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a task has a JSON form")
    }

    /// The policy, and the outputs checked against it.
    pub(crate) fn checked_policy(&self) -> Result<Policy, EgressError> {
        let policy = Policy::parse(&self.policy)?;
        crate::check_declarations(&policy, &self.outputs)?;
        for (name, precision) in &self.precisions {
            let output = self.outputs.iter().find(|output| output.path() == name);
            if !output.is_some_and(|output| policy.precisions(output).contains(precision)) {
                return Err(EgressError::Precision(name.clone()));
            }
        }
        Ok(policy)
    }

    /// The policy as it holds for this output.
    pub(crate) fn policy_of(&self, policy: &Policy, output: &DeclaredOutput) -> Policy {
        let chosen = self.precisions.get(output.path());
        policy.at(chosen.copied().unwrap_or(policy.weights.precision))
    }
}

/// What the program that answers questions is told. All of it is signed or made by the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueryTask {
    /// The policy's TOML: groups that its rules forbid are left out of an answer.
    pub policy: String,
    /// The question.
    pub query: Query,
    /// The signed catalogue of its dataset.
    pub catalogue: Catalogue,
    /// Threads that it may use.
    pub threads: usize,
    /// Memory that it may use for what it sums up, in bytes.
    pub memory_bytes: u64,
    /// Questions about the same file of the same snapshot that were answered or may still be. Looked at where answers are
    /// compared, and empty where one is made.
    pub earlier: Vec<EarlierQuery>,
}

/// A question of another job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EarlierQuery {
    /// The job, as a finding names it.
    pub of: String,
    /// What it asked.
    pub query: Query,
    /// The TOML of the policy that it was answered under, which says what was left out. None if that is not known any more:
    /// then it counts as if nothing had been.
    pub policy: Option<String>,
}

/// What a unit, a group of it and a sum of that take in memory, with room for growing tables.
const UNIT_BYTES: u64 = 288;
const GROUP_BYTES: u64 = 160;
const SUM_BYTES: u64 = 32;

/// What the program of questions takes besides.
const OWN_BYTES: u64 = 256 << 20;

impl QueryTask {
    /// Memory in bytes that the sums of an answer with noise take for so many units, whoever they are; none for an exact one.
    pub fn noisy_sums_bytes(query: &Query, units: u64) -> Option<u64> {
        let sums = SUM_BYTES.saturating_mul(query.values.len() as u64);
        let groups =
            query.privacy.as_ref()?.groups_per_unit.0.saturating_mul(GROUP_BYTES.saturating_add(sums));
        Some(units.saturating_mul(UNIT_BYTES.saturating_add(groups)))
    }

    /// Memory in bytes that a request for an answer with noise must ask for. With less, whether the run ends well would say
    /// how many units its rows have, without noise, and the asker chooses the limit.
    pub fn least_noisy_memory(query: &Query, units: u64) -> Option<u64> {
        Some(Self::noisy_sums_bytes(query, units)?.saturating_mul(2).saturating_add(OWN_BYTES))
    }

    /// The task as a job sees it, in the place of its bundle.
    pub const FILE: &'static str = "query.json";

    /// Reads a task.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EgressError> {
        serde_json::from_slice(bytes).map_err(EgressError::Task)
    }

    /// The text of a task.
    ///
    /// Panics never: each part has a JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a task has a JSON form")
    }
}

/// What the scanner is told. Nothing in it comes from the job: the scanner is the one child that holds the data and
/// what the job shaped at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScanTask {
    /// The canonical files, in the order of the request.
    pub files: Vec<ScannedFile>,
    /// Strings that the site published itself, and that are no copy.
    pub background: Vec<String>,
    /// The digests of the files that anybody may read, in the order in which the scanner is shown them. One whose bytes are
    /// others excuses nothing: the search ends.
    pub public: Vec<Digest>,
}

/// A canonical file that is searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScannedFile {
    /// Its name.
    pub name: Name,
    /// Its kind, which says what views of it there are.
    pub kind: OutputKind,
}

impl ScanTask {
    /// The search of these outputs. Public are the names of the signed catalogue's columns, each header line as a
    /// whole, and the categories; nothing that a researcher wrote.
    pub fn new(outputs: &[DeclaredOutput], catalogue: &[Catalogue]) -> Self {
        let files =
            outputs.iter().map(|output| ScannedFile { name: output.path().clone(), kind: output.kind() });
        let mut background = Vec::new();
        for entry in catalogue {
            let CatalogueEntry::Dataset { tables, .. } = &entry.entry else { continue };
            for table in tables {
                let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
                background.push(names.join(","));
                background.extend(names.into_iter().map(str::to_owned));
                background.extend(table.columns.iter().flat_map(|column| column.categories.iter().cloned()));
            }
        }
        background.sort();
        background.dedup();
        let public = catalogue.iter().flat_map(Catalogue::public).map(|file| file.file.sha256);
        Self { files: files.collect(), background, public: public.collect() }
    }

    /// Reads a task.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EgressError> {
        serde_json::from_slice(bytes).map_err(EgressError::Task)
    }

    /// The text of a task.
    ///
    /// Panics never: each part has a JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a task has a JSON form")
    }
}
