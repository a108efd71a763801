//! Where the other programs of the data box are: beside this one.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::failure::{Failure, whole};

static ELSEWHERE: OnceLock<PathBuf> = OnceLock::new();

/// For a caller that is not installed beside the other programs, such as a test: where they are. The first call counts.
pub fn are_in(directory: PathBuf) {
    let _ = ELSEWHERE.set(directory);
}

/// The directory that holds this program and the rooms.
pub fn directory() -> Result<PathBuf, Failure> {
    if let Some(directory) = ELSEWHERE.get() {
        return Ok(directory.clone());
    }
    let own = std::env::current_exe().map_err(|error| Failure::new("PROGRAM", whole(&error)))?;
    Ok(own.parent().unwrap_or(&own).to_owned())
}

/// The path of one program, which must be there.
pub fn find(name: &str) -> Result<PathBuf, Failure> {
    let path = directory()?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new("PROGRAM_MISSING", format!("{} is not there", path.display()))
        .hint("`cargo xtask build` builds every program into one directory"))
}
