//! A directory of files named by their digest, and the one way to write a file durably.
//!
//! Order of a durable write: temporary file in the same directory, write, fsync, link or rename, fsync of the
//! directory. A crash before the rename leaves only a temporary file; a crash after it may lose the name, never
//! the bytes under it, until the directory is synced. A failed fsync is never retried: the pages may look clean
//! although they never reached the disk, so the caller must give up on the file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{Digest, Hasher};

/// What the name of a file begins with while it is written.
const WRITING: &str = ".writing-";

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bytes received are not those announced.
    #[error("the bytes have another digest than announced: expected {expected}, found {found}")]
    DigestDiffers {
        /// The digest announced.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// More bytes than the receiver accepts.
    #[error("more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// No file has this digest here.
    #[error("no file with digest {0}")]
    Missing(Digest),
    /// The file system refused.
    #[error("the store cannot be read or written")]
    Io(#[from] io::Error),
}

/// A directory that holds files under their digest, each written once.
#[derive(Debug, Clone)]
pub struct BlobStore {
    directory: PathBuf,
    mode: u32,
}

impl BlobStore {
    /// Opens the store in `directory`, which is made if it is not there. `mode` is given to each file, such as
    /// `0o600` for a room's own store and `0o640` for a hand-over directory that one other room reads.
    pub fn open(directory: impl Into<PathBuf>, mode: u32) -> Result<Self, StoreError> {
        let directory = directory.into();
        if !directory.is_dir() {
            fs::create_dir_all(&directory)?;
            // A file in it is only as durable as its own name.
            if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_directory(parent)?;
            }
        }
        Ok(Self { directory, mode })
    }

    /// Where the file with this digest is, or would be.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.directory.join(digest.to_string())
    }

    /// The directory of the store.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// True if a file with this digest was put here.
    pub fn contains(&self, digest: Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Stores bytes durably and returns their digest; a repeat does nothing.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        self.copy_in(bytes, None, u64::MAX).map(|(digest, _)| digest)
    }

    /// Copies a stream of at most `limit` bytes in, hashing *the copy*, and makes it durable under its digest.
    ///
    /// With `expected`, other bytes are refused and nothing is kept. Whoever receives a file uses this: the
    /// sender could still be writing to the original, so only the copy's digest counts.
    pub fn copy_in(
        &self,
        mut from: impl Read,
        expected: Option<Digest>,
        limit: u64,
    ) -> Result<(Digest, u64), StoreError> {
        let mut file = self.temporary()?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut total = 0u64;
        loop {
            let read = from.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            total += read as u64;
            if total > limit {
                return Err(StoreError::TooLarge { limit });
            }
            hasher.update(&buffer[..read]);
            file.write_all(&buffer[..read])?;
        }
        let (found, bytes) = hasher.finish();
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(StoreError::DigestDiffers { expected, found });
        }
        self.keep(file, found)?;
        Ok((found, bytes))
    }

    /// Opens the file with this digest. The caller that did not write the store itself hashes what it reads.
    pub fn open_blob(&self, digest: Digest) -> Result<File, StoreError> {
        File::open(self.path(digest)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing(digest),
            _ => StoreError::Io(error),
        })
    }

    /// Reads a file of at most `limit` bytes and checks that its bytes still have this digest.
    pub fn read(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(StoreError::TooLarge { limit });
        }
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(StoreError::DigestDiffers { expected: digest, found });
        }
        Ok(bytes)
    }

    /// Removes the file with this digest, durably; one that is not there is no error.
    pub fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(sync_directory(&self.directory)?),
        }
    }

    /// Removes what was being written when its writer died. Only the one writer of the store calls this, at its start:
    /// a file that is being written now would be lost.
    pub fn remove_unfinished(&self) -> Result<(), StoreError> {
        Ok(remove_unfinished(&self.directory)?)
    }

    fn temporary(&self) -> Result<tempfile::NamedTempFile, StoreError> {
        let file = tempfile::Builder::new().prefix(WRITING).tempfile_in(&self.directory)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(self.mode))?;
        Ok(file)
    }

    fn keep(&self, file: tempfile::NamedTempFile, digest: Digest) -> Result<(), StoreError> {
        file.as_file().sync_all()?;
        file.persist(self.path(digest)).map_err(|error| error.error)?;
        Ok(sync_directory(&self.directory)?)
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes the temporary files of a directory whose writer died before they had their names.
///
/// They were never acknowledged to anybody, and may hold what should be gone by now. A directory that is not there
/// holds none.
pub fn remove_unfinished(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(WRITING.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    // Not synced: a name that comes back is removed by the next start.
    Ok(())
}

/// Writes a file that must not exist yet, durably, with this mode. The bytes are on disk before the name is.
pub fn write_new_file_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(WRITING).tempfile_in(directory)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    sync_directory(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, BlobStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = BlobStore::open(directory.path().join("blobs"), 0o600).unwrap();
        (directory, store)
    }

    #[test]
    fn what_is_put_is_read_back_and_a_repeat_is_one_file() {
        let (_directory, store) = store();
        let digest = store.put(b"abc").unwrap();
        assert_eq!(store.put(b"abc").unwrap(), digest);
        assert_eq!(store.read(digest, 3).unwrap(), b"abc");
        assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 1);
    }

    #[test]
    fn other_bytes_than_announced_are_refused_and_not_kept() {
        let (_directory, store) = store();
        let announced = Digest::of(b"abc");
        let refused = store.copy_in(&b"abd"[..], Some(announced), 10);
        assert!(matches!(refused, Err(StoreError::DigestDiffers { .. })));
        assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 0);
        assert_eq!(store.copy_in(&b"abc"[..], Some(announced), 10).unwrap(), (announced, 3));
    }

    #[test]
    fn a_stream_past_its_limit_is_refused_and_not_kept() {
        let (_directory, store) = store();
        assert!(matches!(store.copy_in(&[0; 11][..], None, 10), Err(StoreError::TooLarge { limit: 10 })));
        assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_writer_left_is_removed_and_nothing_else() {
        let (_directory, store) = store();
        let digest = store.put(b"abc").unwrap();
        fs::write(store.directory().join(".writing-aB3xyz"), b"ab").unwrap();
        store.remove_unfinished().unwrap();
        assert_eq!(store.read(digest, 3).unwrap(), b"abc");
        assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 1);
    }

    #[test]
    fn bytes_changed_under_their_digest_are_noticed() {
        let (_directory, store) = store();
        let digest = store.put(b"abc").unwrap();
        fs::write(store.path(digest), b"abd").unwrap();
        assert!(matches!(store.read(digest, 3), Err(StoreError::DigestDiffers { .. })));
    }

    #[test]
    fn a_new_file_never_replaces_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write_new_file_durably(&path, b"one", 0o600).unwrap();
        assert_eq!(
            write_new_file_durably(&path, b"two", 0o600).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }
}
