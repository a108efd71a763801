//! The file as TOML has it. Unknown keys are refused: a misspelt limit must not become no limit.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ManifestError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestFile {
    pub job: Job,
    pub data: BTreeMap<String, Data>,
    pub limits: Limits,
    pub query: Option<Query>,
    #[serde(default)]
    pub output: Vec<Output>,
    #[serde(default)]
    pub devices: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    pub name: String,
    pub project: String,
    pub runtime: String,
    pub command: Option<Vec<String>>,
    pub purpose: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    pub sql: String,
    pub privacy: Option<Privacy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Privacy {
    pub rho: String,
    #[serde(default = "one")]
    pub groups_per_unit: u64,
    #[serde(default)]
    pub bounds: BTreeMap<String, [i64; 2]>,
}

/// A person counts in one group, unless the question says otherwise.
fn one() -> u64 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Data {
    pub snapshot: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub cpus: u64,
    pub memory: String,
    pub time: String,
}

/// The keys of all kinds together; which of them a kind takes is checked afterwards, so that the error can name
/// kind and key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    pub path: String,
    pub kind: String,
    pub tensors: Option<Vec<Tensor>>,
    pub names: Option<Vec<String>>,
    pub columns: Option<Vec<Column>>,
    pub count_column: Option<String>,
    pub largest_column: Option<String>,
    pub two_largest_column: Option<String>,
    pub structural_zeros: Option<Vec<Vec<String>>>,
    pub degrees_of_freedom: Option<String>,
    pub evaluation: Option<Evaluation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Evaluation {
    pub command: Vec<String>,
    pub metric: String,
    pub better: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tensor {
    pub name: String,
    pub shape: Vec<u64>,
    pub sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub column_type: String,
}

impl ManifestFile {
    pub(super) fn parse(text: &str) -> Result<Self, ManifestError> {
        toml::from_str(text).map_err(|error| ManifestError::Form(Box::new(error)))
    }
}
