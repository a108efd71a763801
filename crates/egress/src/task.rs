//! What a child is told to do.

use release::statement::{Catalogue, DeclaredOutput};
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
    /// The policy is not accepted.
    #[error("the policy of the task is not accepted")]
    Policy(#[from] PolicyError),
    /// What was declared is not accepted.
    #[error("the outputs of the task are not accepted")]
    Declaration(#[from] DeclarationError),
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
        Ok(policy)
    }
}
