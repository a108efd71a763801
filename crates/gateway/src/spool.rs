//! Bundles as they arrive: parts of each person, and whole ones under their digest.
//!
//! ```text
//! uploads/<person>.<digest>     what has arrived; as much of it counts as `queue.db` says
//! bundles/<digest>              whole, its digest compared
//! ```

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use blobs::{BlobStore, Digest, StoreError, sync_directory};
use release::value::Name;

/// The directory of uploads.
pub struct Spool {
    parts: PathBuf,
    bundles: BlobStore,
    busy: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// A part that one call writes to. No other call does at the same time.
pub struct Part {
    file: File,
    path: PathBuf,
    busy: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Spool {
    /// Opens the directories below the gateway's state.
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        let parts = state.join("uploads");
        std::fs::create_dir_all(&parts)?;
        Ok(Self { parts, bundles: BlobStore::open(state.join("bundles"), 0o600)?, busy: Arc::default() })
    }

    /// Whole bundles.
    pub fn bundles(&self) -> &BlobStore {
        &self.bundles
    }

    /// The parts that are there, whoever sent them. Other names are none of ours.
    pub fn parts(&self) -> Vec<(Name, Digest)> {
        let entries = std::fs::read_dir(&self.parts).into_iter().flatten().flatten();
        let part = |entry: std::fs::DirEntry| {
            let name = entry.file_name();
            let (person, sha256) = name.to_str()?.rsplit_once('.')?;
            Some((person.parse().ok()?, sha256.parse().ok()?))
        };
        entries.filter_map(part).collect()
    }

    fn path(&self, person: &Name, sha256: &Digest) -> PathBuf {
        self.parts.join(format!("{person}.{sha256}"))
    }

    /// Opens a part for writing after `committed` bytes. None if another call writes to it.
    ///
    /// Bytes past `committed` were never acknowledged, and may be half written; they are cut off.
    pub fn part(&self, person: &Name, sha256: &Digest, committed: u64) -> io::Result<Option<Part>> {
        let path = self.path(person, sha256);
        if !self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone()) {
            return Ok(None);
        }
        let opened = || {
            let mut file =
                OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
            file.set_len(committed)?;
            file.seek(SeekFrom::Start(committed))?;
            // The name must be durable before any byte under it is acknowledged.
            sync_directory(&self.parts)?;
            Ok(file)
        };
        match opened() {
            Ok(file) => Ok(Some(Part { file, path, busy: self.busy.clone() })),
            Err(error) => {
                self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
                Err(error)
            }
        }
    }

    /// Makes a part a whole bundle if its bytes have the digest, and removes it. A part that the disk has no room to copy
    /// stays, so that nothing has to come again.
    pub fn finish(&self, person: &Name, sha256: &Digest, bytes: u64) -> Result<(), StoreError> {
        let part = File::open(self.path(person, sha256))?;
        let copied = self.bundles.copy_in(part, Some(*sha256), bytes);
        if !matches!(copied, Err(StoreError::Io(_))) {
            self.forget(person, sha256)?;
        }
        copied.map(drop)
    }

    /// Removes a part.
    pub fn forget(&self, person: &Name, sha256: &Digest) -> Result<(), StoreError> {
        match std::fs::remove_file(self.path(person, sha256)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Part {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes everything written durable. What fails here is never tried again.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> (tempfile::TempDir, Spool, Name) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path()).unwrap();
        (directory, spool, "ada".parse().unwrap())
    }

    #[test]
    fn an_upload_goes_on_where_acknowledged_bytes_end() {
        let (_directory, spool, ada) = spool();
        let digest = Digest::of(b"abcdef");
        let mut part = spool.part(&ada, &digest, 0).unwrap().unwrap();
        part.write(b"abcXX").unwrap();
        assert!(spool.part(&ada, &digest, 0).unwrap().is_none(), "one writer at a time");
        drop(part);
        let mut part = spool.part(&ada, &digest, 3).unwrap().unwrap();
        part.write(b"def").unwrap();
        part.sync().unwrap();
        drop(part);
        spool.finish(&ada, &digest, 6).unwrap();
        assert_eq!(spool.bundles().read(digest, 6).unwrap(), b"abcdef");
    }

    #[test]
    fn other_bytes_than_announced_never_become_a_bundle() {
        let (_directory, spool, ada) = spool();
        let digest = Digest::of(b"abcdef");
        spool.part(&ada, &digest, 0).unwrap().unwrap().write(b"abcdeX").unwrap();
        assert!(matches!(spool.finish(&ada, &digest, 6), Err(StoreError::DigestDiffers { .. })));
        assert!(!spool.bundles().contains(digest));
    }
}
