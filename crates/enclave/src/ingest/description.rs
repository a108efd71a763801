//! `dataset.toml` and `runtime.toml`: what the operator says about what they laid down.

use release::statement::{PrivacyBudget, read_rho};
use release::value::{Count, Name};
use serde::Deserialize;

use super::IngestError;

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
    /// What answers with noise may spend of the units' privacy in all, such as `0.5`: ρ of zCDP. None is answered without it.
    #[serde(default)]
    pub privacy_rho: Option<String>,
    /// The most that one of them may cost, such as `0.05`: given exactly where `privacy_rho` is.
    #[serde(default)]
    pub privacy_rho_per_answer: Option<String>,
    /// The δ at which that is told as ε, as 10 to the minus so many.
    #[serde(default = "usual_delta")]
    pub privacy_delta_exponent: u64,
    /// The directory beside the data whose files anybody may read; it is no part of the data. None if there is none.
    #[serde(default)]
    pub public: Option<Name>,
    /// Licence or terms, in words.
    pub licence: String,
    /// Where it comes from, in words.
    pub source: String,
}

/// δ is to be far below one over the number of units.
fn usual_delta() -> u64 {
    6
}

impl DatasetDescription {
    /// The dataset's privacy budget, if it has one.
    ///
    /// # Errors
    /// It is none that a dataset can be given.
    pub fn privacy(&self) -> Result<Option<PrivacyBudget>, IngestError> {
        let (rho, answer_rho) = match (&self.privacy_rho, &self.privacy_rho_per_answer) {
            (None, None) => return Ok(None),
            (Some(rho), Some(answer_rho)) => (rho, answer_rho),
            _ => return Err(IngestError::Privacy),
        };
        let read = |rho: &str| read_rho(rho).map(Count).map_err(|_| IngestError::Privacy);
        let budget = PrivacyBudget {
            rho_millionths: read(rho)?,
            answer_rho_millionths: read(answer_rho)?,
            delta_exponent: Count(self.privacy_delta_exponent),
        };
        if budget.is_sound() { Ok(Some(budget)) } else { Err(IngestError::Privacy) }
    }
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
