//! Unpacking into a directory, by names relative to open directories only.
//!
//! Every directory is opened without following links and every file is created new, so that a link which someone
//! laid into the directory meanwhile leads nowhere and no existing file is touched.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, RawMode};

use crate::archive::{Sink, walk};
use crate::{BundleError, Limits, Listing};

/// Reads a bundle and unpacks it into an existing, empty directory.
///
/// Files get mode 0644 or 0755 whatever the umask says, directories 0755; owners and times are those of the
/// moment. After an error the directory holds a part of the bundle: remove it. Nothing is synced to disk, since an
/// unpacked bundle lives no longer than its run.
pub fn unpack_into(bundle: impl Read, directory: &Path, limits: &Limits) -> Result<Listing, BundleError> {
    let shown = directory.display().to_string();
    let root = rustix::fs::open(directory, DIRECTORY, Mode::empty())
        .map_err(|error| BundleError::io(shown.clone())(error.into()))?;
    check_empty(&root, &shown)?;
    walk(bundle, limits, &mut Unpacker { root, current: None })
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn check_empty(root: &OwnedFd, shown: &str) -> Result<(), BundleError> {
    let entries = rustix::fs::Dir::read_from(root).map_err(|error| BundleError::io(shown)(error.into()))?;
    for entry in entries {
        let entry = entry.map_err(|error| BundleError::io(shown)(error.into()))?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            return Err(BundleError::DirectoryNotEmpty);
        }
    }
    Ok(())
}

struct Unpacker {
    root: OwnedFd,
    current: Option<(String, File)>,
}

impl Unpacker {
    /// Opens the directory that holds the path's last part and returns that part.
    fn parent<'a>(&self, path: &'a str) -> rustix::io::Result<(OwnedFd, &'a str)> {
        let mut directory = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in parents.split('/').filter(|part| !part.is_empty()) {
            directory = rustix::fs::openat(&directory, part, DIRECTORY, Mode::empty())?;
        }
        Ok((directory, name))
    }

    fn make_directory(&self, path: &str) -> rustix::io::Result<()> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::mkdirat(&parent, name, mode(0o700))?;
        let made = rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())?;
        rustix::fs::fchmod(&made, mode(0o755))
    }

    fn make_file(&self, path: &str, executable: bool) -> rustix::io::Result<File> {
        let (parent, name) = self.parent(path)?;
        let file = rustix::fs::openat(&parent, name, NEW_FILE, mode(0o600))?;
        rustix::fs::fchmod(&file, mode(if executable { 0o755 } else { 0o644 }))?;
        Ok(File::from(file))
    }
}

fn mode(bits: RawMode) -> Mode {
    Mode::from_raw_mode(bits)
}

impl Sink for Unpacker {
    fn directory(&mut self, path: &str) -> Result<(), BundleError> {
        self.make_directory(path).map_err(|error| BundleError::io(path)(error.into()))
    }

    fn begin_file(&mut self, path: &str, executable: bool) -> Result<(), BundleError> {
        let file = self.make_file(path, executable).map_err(|error| BundleError::io(path)(error.into()))?;
        self.current = Some((path.to_owned(), file));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        match &mut self.current {
            Some((path, file)) => file.write_all(bytes).map_err(BundleError::io(path.as_str())),
            None => Ok(()),
        }
    }
}
