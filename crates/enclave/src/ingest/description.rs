//! `dataset.toml` and `runtime.toml`: what the operator says about what they laid down.

use release::value::Name;
use serde::Deserialize;

/// What is said about a dataset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetDescription {
    /// The column that names the unit, such as the person.
    pub unit_column: Name,
    /// Columns whose values may be public, if enough units have each.
    #[serde(default)]
    pub categories: Vec<Name>,
    /// Bits that all grants together may release.
    pub release_bits: u64,
    /// Bits that all grants together may answer.
    pub answer_bits: u64,
    /// Licence or terms, in words.
    pub licence: String,
    /// Where it comes from, in words.
    pub source: String,
}

/// What is said about a runtime.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeDescription {
    /// What it is, in words.
    pub description: String,
    /// Whether it is the box's own program that answers questions.
    #[serde(default)]
    pub answers_queries: bool,
}
