//! Reading released files from a directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use release::value::Name;

/// Most entries of a directory that are looked at. A release has at most 32 files.
const ENTRY_LIMIT: usize = 1024;

/// Largest file that is read, in bytes: 16 GiB. It is held in memory to be judged.
const FILE_LIMIT: u64 = 16 << 30;

/// A directory that does not hold released files.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that no release holds: a directory, a link, or a name that no output has.
    #[error("{0} is not a released file")]
    Stray(PathBuf),
}

/// The files of a directory, by name. The release file itself may lie among them and is passed over.
pub fn read_files(directory: &Path, release: &Path) -> Result<BTreeMap<Name, Vec<u8>>, FolderError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Io { path, source }
    };
    let release = fs::canonicalize(release).map_err(failed(release))?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        // A link is refused, not followed: what lies behind it is not what was handed over.
        let metadata = fs::symlink_metadata(&path).map_err(failed(&path))?;
        if metadata.is_file() && fs::canonicalize(&path).map_err(failed(&path))? == release {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<Name>().ok());
        let name =
            name.filter(|_| metadata.is_file() && metadata.len() <= FILE_LIMIT && files.len() < ENTRY_LIMIT);
        let name = name.ok_or_else(|| FolderError::Stray(path.clone()))?;
        let mut bytes = Vec::new();
        let file = fs::File::open(&path).map_err(failed(&path))?;
        file.take(FILE_LIMIT).read_to_end(&mut bytes).map_err(failed(&path))?;
        files.insert(name, bytes);
    }
    Ok(files)
}
