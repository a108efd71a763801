//! Puts files where a walled program can read them. Run as root, the program has a user of its own, to whom a
//! researcher's private directory is closed; so outputs are always copied, data only where it must be.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::failure::{Failure, file_failure, whole};

/// Entries of an output directory that are copied: one more than the judge lists.
const ENTRIES: usize = 1200;

/// Files in a directory of their own, or where they were.
pub(crate) enum Staged {
    Copied { _root: tempfile::TempDir, directory: PathBuf },
    InPlace(PathBuf),
}

impl Staged {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Copied { directory, .. } => directory,
            Self::InPlace(directory) => directory,
        }
    }
}

/// A temporary directory that a walled program can be shown parts of.
pub(crate) fn temporary() -> Result<tempfile::TempDir, Failure> {
    let root = tempfile::tempdir().map_err(|error| Failure::new("FILE", whole(&error)))?;
    open_to_all(root.path())?;
    Ok(root)
}

/// Lets every user read a directory or file of ours.
pub(crate) fn open_to_all(path: &Path) -> Result<(), Failure> {
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(file_failure(path))
}

fn copied(from: &Path, copy: impl FnOnce(&Path, &Path) -> io::Result<()>) -> Result<Staged, Failure> {
    let staged = directory()?;
    let root = staged.path().parent().unwrap_or(staged.path());
    copy(from, root).map_err(file_failure(from))?;
    Ok(staged)
}

/// What a job wrote. A link, directory, pipe or second name stays what it is, so that it is found. Of a file at most
/// `limit` bytes are copied; a longer one, which the policy does not allow, keeps its length and has a hole.
pub(crate) fn outputs(from: &Path, limit: u64) -> Result<Staged, Failure> {
    copied(from, |from, root| {
        for (index, entry) in fs::read_dir(from)?.take(ENTRIES).enumerate() {
            let entry = entry?;
            let (kind, to) = (entry.file_type()?, root.join("files").join(entry.file_name()));
            if kind.is_file() {
                let second_name = copy_file(&entry.path(), &to, limit)?.nlink() > 1;
                if second_name {
                    fs::hard_link(&to, root.join(format!("second-name-{index}")))?;
                }
            } else if kind.is_dir() {
                fs::create_dir(&to)?;
            } else if kind.is_symlink() {
                symlink("elsewhere", &to)?;
            } else {
                rustix::fs::mknodat(CWD, &to, FileType::Fifo, Mode::RUSR, 0)?;
            }
        }
        Ok(())
    })
}

/// One file, alone in a directory, under a name.
pub(crate) fn file(from: &Path, name: &str, limit: u64) -> Result<Staged, Failure> {
    copied(from, |from, root| copy_file(from, &root.join("files").join(name), limit).map(drop))
}

/// An empty directory, to be filled by us and read by every user.
pub(crate) fn directory() -> Result<Staged, Failure> {
    let root = temporary()?;
    let directory = root.path().join("files");
    fs::create_dir(&directory).map_err(file_failure(&directory))?;
    open_to_all(&directory)?;
    Ok(Staged::Copied { _root: root, directory })
}

/// Data, where it is if every user may read it.
pub(crate) fn private(from: &Path) -> Result<Staged, Failure> {
    let own = !rustix::process::geteuid().is_root();
    if own || readable_to_all(from).map_err(file_failure(from))? {
        return Ok(Staged::InPlace(from.to_owned()));
    }
    copied(from, |from, root| copy_tree(from, &root.join("files")))
}

/// A runtime's tree, where it is if every user may use it. Links stay links, and programs can be executed.
pub(crate) fn runtime(from: &Path) -> Result<Staged, Failure> {
    let own = !rustix::process::geteuid().is_root();
    if own || readable_to_all(from).map_err(file_failure(from))? {
        return Ok(Staged::InPlace(from.to_owned()));
    }
    copied(from, |from, root| copy_runtime(from, &root.join("files")))
}

fn copy_runtime(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, from, to) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&to)?;
            fs::set_permissions(&to, Permissions::from_mode(0o755))?;
            copy_runtime(&from, &to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if kind.is_file() {
            let executable = copy_file(&from, &to, u64::MAX)?.mode() & 0o111 != 0;
            fs::set_permissions(&to, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
        } else {
            return Err(io::Error::other(format!("{} has no place in a runtime", from.display())));
        }
    }
    Ok(())
}

fn readable_to_all(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        // It has no mode of its own; where it leads is looked at for itself, if it is in the tree.
        return Ok(true);
    }
    let needed = if metadata.is_dir() { 0o005 } else { 0o004 };
    if metadata.mode() & needed != needed {
        return Ok(false);
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            if !readable_to_all(&entry?.path())? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&to)?;
            fs::set_permissions(&to, Permissions::from_mode(0o755))?;
            copy_tree(&entry.path(), &to)?;
        } else if kind.is_file() {
            copy_file(&entry.path(), &to, u64::MAX)?;
        } else {
            return Err(io::Error::other(format!(
                "{} is neither a file nor a directory",
                entry.path().display()
            )));
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, limit: u64) -> io::Result<fs::Metadata> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(from)?;
    let metadata = file.metadata()?;
    let mut copy = File::create_new(to)?;
    io::copy(&mut file.take(limit), &mut copy)?;
    if metadata.len() > limit {
        copy.set_len(metadata.len())?;
    }
    copy.set_permissions(Permissions::from_mode(0o644))?;
    Ok(metadata)
}
