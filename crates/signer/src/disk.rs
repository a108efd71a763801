//! The two ways in which the signer writes: files that never change, and files that are replaced whole.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the signer writes. When a call fails, what is on the disk is not known, and the signer ends: a failed sync
/// must not be tried again, since the pages may look clean although they never reached the disk.
pub trait Disk {
    /// Makes a file durable that never changes. A repeat with the same bytes does nothing more; with other bytes it
    /// is an error, and the file stays as it was.
    fn keep(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Replaces a file durably: after a crash it has all of the old bytes or all of the new ones.
    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// The real file system.
#[derive(Debug)]
pub struct FileSystem {
    mode: u32,
    /// Directories whose names this process has made durable.
    synced: BTreeSet<PathBuf>,
}

impl FileSystem {
    /// Files get this mode, such as `0o644` where everyone may read.
    pub fn new(mode: u32) -> Self {
        Self { mode, synced: BTreeSet::new() }
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        self.make_directory(directory)?;
        let mut writing = path.as_os_str().to_owned();
        writing.push(".writing");
        let writing = PathBuf::from(writing);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(self.mode).open(&writing)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&writing, path)?;
        blobs::sync_directory(directory)
    }

    /// A directory that is there may still lose its name in a power cut, if the process that made it died before it
    /// synced the one above. So each process syncs every level once.
    fn make_directory(&mut self, directory: &Path) -> io::Result<()> {
        if directory.as_os_str().is_empty() || self.synced.contains(directory) {
            return Ok(());
        }
        if let Some(above) = directory.parent() {
            self.make_directory(above)?;
            match fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // Directories far above may be other people's, readable for them alone.
                Err(_) => drop(blobs::sync_directory(above)),
                Ok(()) => blobs::sync_directory(above)?,
            }
        }
        self.synced.insert(directory.to_owned());
        Ok(())
    }
}

impl Disk for FileSystem {
    fn keep(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match fs::read(path) {
            Ok(found) if found == bytes => {
                // It may stem from a process that died between writing and syncing.
                File::open(path)?.sync_all()?;
                let directory = path.parent().unwrap_or(Path::new("."));
                self.make_directory(directory)?;
                blobs::sync_directory(directory)
            }
            Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.write(path, bytes),
            Err(error) => Err(error),
        }
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write(path, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_takes_a_repeat_and_no_other_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/c");
        let mut disk = FileSystem::new(0o644);
        disk.keep(&path, b"one").unwrap();
        disk.keep(&path, b"one").unwrap();
        assert_eq!(disk.keep(&path, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        disk.replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
