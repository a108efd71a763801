//! What a verifier remembers between runs, in a file of its own, so that a site cannot show it an older past.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use release::file::{LoggedRelease, SeenState};
use release::json::{self, JsonError};
use release::value::Timestamp;

/// Largest memory in bytes.
const MEMORY_LIMIT: usize = 1 << 20;

/// A memory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It cannot be read or written.
    #[error("{path} cannot be read or written")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what this program writes.
    #[error("{path} is not a verifier's memory")]
    Form {
        /// Where.
        path: PathBuf,
        /// Why.
        source: JsonError,
    },
}

/// Reads a memory; one that does not exist yet is empty.
pub fn read(path: &Path) -> Result<SeenState, MemoryError> {
    let Some(bytes) = content(path)? else { return Ok(SeenState::default()) };
    json::from_bytes(&bytes, MEMORY_LIMIT)
        .map_err(|source| MemoryError::Form { path: path.to_owned(), source })
}

/// Adds what a verified release shows, and writes the memory.
pub fn remember(
    path: &Path,
    mut seen: SeenState,
    release: &LoggedRelease,
    now: Timestamp,
) -> Result<SeenState, MemoryError> {
    seen.add(release, now);
    replace(path, &json::to_bytes(&seen))?;
    Ok(seen)
}

/// The bytes of a file that may not be there yet.
pub fn content(path: &Path) -> Result<Option<Vec<u8>>, MemoryError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(MemoryError::Io { path: path.to_owned(), source }),
    }
}

/// Writes a file whole, or leaves the one before.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), MemoryError> {
    let failed = |source| MemoryError::Io { path: path.to_owned(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = directory.join(format!(".databox-verify-{}", std::process::id()));
    let mut file = fs::File::create(&temporary).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}
