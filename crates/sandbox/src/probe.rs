//! Whether this machine can build the wall.

use std::path::{Path, PathBuf};

use crate::evidence::Evidence;
use crate::launcher::LaunchError;

/// What this machine lacks.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProbeError {
    #[error("the helper {0:?} is missing")]
    HelperMissing(PathBuf),
    #[error("the wall cannot be built")]
    Launch(#[source] LaunchError),
}

/// Builds the wall around a tiny program of our own that tries the wall from inside.
pub fn probe(launcher: &Path) -> Result<Evidence, ProbeError> {
    Err(ProbeError::HelperMissing(launcher.to_owned()))
}
