//! Answers questions about registered tables in the box's own name, and tells whether answers together give a few people
//! away.
//!
//! It runs behind the wall of a job, since it reads private CSV, and is no part of any process with a key. A question comes
//! in its closed form ([`release::statement::Query`]); plans are built from that form on DataFusion's kernels, never from
//! text. `docs/decisions/queries.md` says what it promises.

mod aggregate;
mod answer;
mod around;
mod cells;
mod classes;
mod compare;
mod modular;
mod noisy;
mod rank;
mod rows;
mod split;
mod told;
mod window;

use egress::{EgressError, Policy, PolicyError, QueryTask, TablePolicy};
use release::statement::QueryError;

pub use answer::answer;
pub use compare::compare;

/// Why there is no answer. None of the names, and no text of it, says anything of a row.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum AnswerError {
    #[error("the task cannot be read")]
    Task(#[from] EgressError),
    #[error("the policy is not accepted")]
    Policy(#[from] PolicyError),
    #[error("the catalogue does not cover the question")]
    Query(#[from] QueryError),
    #[error("the policy does not allow the question")]
    Question,
    #[error("no noise could be drawn")]
    Noise,
    #[error("a file cannot be read or written")]
    File(#[from] std::io::Error),
    #[error("the file is not CSV in UTF-8 with a header and rows of one length")]
    Form,
    #[error("the file's header is not that of the catalogue")]
    Header,
    #[error("a column of numbers holds something else")]
    NotNumber,
    #[error("a sum is larger than any number")]
    Overflow,
    #[error("more memory is needed than the box gives")]
    Memory,
    #[error("there are more groups than can be told apart")]
    Groups,
    #[error("the engine failed")]
    Engine,
}

impl From<datafusion_common::DataFusionError> for AnswerError {
    /// Its texts could quote a value, so that none of them goes further.
    fn from(error: datafusion_common::DataFusionError) -> Self {
        use datafusion_common::DataFusionError as E;
        match error.find_root() {
            E::ResourcesExhausted(_) => Self::Memory,
            E::External(inner) => match inner.downcast_ref::<rows::RowError>() {
                Some(rows::RowError::Form) => Self::Form,
                Some(rows::RowError::NotNumber) => Self::NotNumber,
                Some(rows::RowError::Groups) => Self::Groups,
                None => Self::Engine,
            },
            _ => Self::Engine,
        }
    }
}

fn table_policy(text: &str) -> Result<TablePolicy, AnswerError> {
    Ok(Policy::parse(text)?.table)
}

/// Reads a task from its JSON.
///
/// # Errors
/// If it is none.
pub fn read_task(bytes: &[u8]) -> Result<QueryTask, AnswerError> {
    Ok(QueryTask::from_json(bytes)?)
}
