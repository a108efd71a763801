//! What a job left in its output space, copied to the researcher's directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use serde::Serialize;

use crate::failure::{Exit, Failure, file_failure, whole};

/// Something in `/out` that is no plain file and no directory. Its name is there in the researcher's directory, too, so
/// that the check finds it, but it leads nowhere: a link that a program made can point at any file of the desk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotPlain {
    /// Where below `/out`.
    pub path: PathBuf,
    /// What it is.
    pub kind: &'static str,
}

/// Makes the directory, which must be new or empty.
pub(super) fn new_directory(path: &Path) -> Result<(), Failure> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(file_failure(path)(error)),
        Err(_) if fs::read_dir(path).map_err(file_failure(path))?.next().is_some() => {
            Err(Failure::new("OUT_NOT_EMPTY", format!("{} is not empty", path.display()))
                .hint("give a new or an empty directory; nothing was run and nothing was changed")
                .exit(Exit::Conflict))
        }
        _ => Ok(()),
    }
}

/// Copies everything, at most `bytes` of it; None if it is more, which files with holes can pretend to be.
pub(super) fn copy(space: &OwnedFd, into: &Path, bytes: u64) -> Result<Option<Vec<NotPlain>>, Failure> {
    let root: OwnedFd = File::open(into).map_err(file_failure(into))?.into();
    let mut copying =
        Copying { root: &root, left: bytes, not_plain: Vec::new(), several_names: BTreeMap::new() };
    match copying.directory(space, &root, Path::new("")) {
        Ok(true) => Ok(Some(copying.not_plain)),
        Ok(false) => Ok(None),
        Err(error) => Err(Failure::new("FILE", format!("{}: {}", into.display(), whole(&error)))),
    }
}

/// Directories within one another. Each holds two descriptors open, and a program can nest thousands.
const DEPTH: usize = 32;

struct Copying<'a> {
    root: &'a OwnedFd,
    left: u64,
    not_plain: Vec<NotPlain>,
    /// The first copied name of each file that has several. The copies have several, too, since such a file is no
    /// output for the box.
    several_names: BTreeMap<u64, PathBuf>,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Copying<'_> {
    /// No process of the job is left, so that nothing changes meanwhile. Rights that it took away are given back.
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path) -> io::Result<bool> {
        rustix::fs::fchmod(from, Mode::RWXU)?;
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let below = path.join(std::ffi::OsStr::new(&*name.to_string_lossy()));
            match FileType::from_raw_mode(found.st_mode) {
                FileType::RegularFile if self.several_names.contains_key(&found.st_ino) => {
                    rustix::fs::linkat(
                        self.root,
                        &self.several_names[&found.st_ino],
                        to,
                        name,
                        AtFlags::empty(),
                    )?;
                }
                FileType::RegularFile => {
                    if found.st_nlink > 1 {
                        self.several_names.insert(found.st_ino, below);
                    }
                    let Some(left) = self.left.checked_sub(found.st_size as u64) else { return Ok(false) };
                    self.left = left;
                    rustix::fs::chmodat(from, name, Mode::RUSR, AtFlags::empty())?;
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                    let mut source = File::from(rustix::fs::openat(from, name, flags, Mode::empty())?);
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                    let mode = Mode::from_raw_mode(0o644);
                    let mut copy = File::from(rustix::fs::openat(to, name, flags, mode)?);
                    io::copy(&mut source, &mut copy)?;
                }
                FileType::Directory if below.components().count() > DEPTH => {
                    self.not_plain.push(NotPlain { path: below, kind: "nested-too-deep" });
                }
                FileType::Directory => {
                    rustix::fs::chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
                    rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o755))?;
                    let from = rustix::fs::openat(from, name, DIRECTORY, Mode::empty())?;
                    let to = rustix::fs::openat(to, name, DIRECTORY, Mode::empty())?;
                    if !self.directory(&from, &to, &below)? {
                        return Ok(false);
                    }
                }
                FileType::Symlink => {
                    rustix::fs::symlinkat("link-that-the-job-made", to, name)?;
                    self.not_plain.push(NotPlain { path: below, kind: "symbolic-link" });
                }
                kind => {
                    rustix::fs::mknodat(to, name, FileType::Fifo, Mode::RUSR, 0)?;
                    let kind = if kind == FileType::Socket { "socket" } else { "other" };
                    self.not_plain.push(NotPlain { path: below, kind });
                }
            }
        }
        Ok(true)
    }
}
