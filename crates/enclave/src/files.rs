//! Durable and safe ways with files that `blobs` does not have.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Replaces a file durably: a crash leaves either the old bytes or the new ones.
pub fn replace_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(directory)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    blobs::sync_directory(directory)
}

/// Makes a directory for the enclave alone; one that is there already is fine.
pub fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Makes a new directory with this mode, whatever the umask says.
pub fn new_directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Opens a plain file for reading without following a link and without waiting for a pipe's other end. Returns None
/// if nothing has this name.
///
/// What a job or a child wrote may be anything; a link followed here would let it choose a file of the enclave's.
pub fn open_plain(directory: &Path, name: &str) -> io::Result<Option<File>> {
    use rustix::fs::{Mode, OFlags, openat};
    let directory = File::open(directory)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match openat(&directory, name, flags, Mode::empty()) {
        Ok(file) => {
            let file = File::from(file);
            let is_plain = file.metadata()?.is_file();
            if is_plain { Ok(Some(file)) } else { Err(io::Error::from(io::ErrorKind::InvalidInput)) }
        }
        Err(rustix::io::Errno::NOENT) => Ok(None),
        // A link is no plain file either.
        Err(rustix::io::Errno::LOOP) => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        Err(error) => Err(error.into()),
    }
}

/// Removes a tree that a job may have shaped. Links are removed, never followed; directories that lack the right to
/// be listed are given it first. What is not there is no error.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_directories(path)?;
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_directories(path: &Path) -> io::Result<()> {
    // Only a directory is changed, and no process that could swap it for a link is alive.
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        open_directories(&entry?.path())?;
    }
    Ok(())
}

/// Writes a new file that programs behind the wall may read.
pub fn write_readable(path: &Path, mut from: impl io::Read) -> io::Result<u64> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o444).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o444))?;
    io::copy(&mut from, &mut file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_is_not_followed_and_a_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("secret"), "data").unwrap();
        symlink("secret", directory.path().join("out")).unwrap();
        assert!(open_plain(directory.path(), "out").is_err());
        assert!(open_plain(directory.path(), "secret").unwrap().is_some());
        assert!(open_plain(directory.path(), "none").unwrap().is_none());
    }

    #[test]
    fn a_pipe_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo").arg(directory.path().join("out")).status();
        assert!(made.unwrap().success());
        assert!(open_plain(directory.path(), "out").is_err());
    }

    #[test]
    fn a_tree_is_removed_whatever_its_modes_are_and_what_it_links_to_stays() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(directory.path().join("kept"), "data").unwrap();
        symlink(directory.path().join("kept"), tree.join("a/b/link")).unwrap();
        fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read(directory.path().join("kept")).unwrap(), b"data");
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_replaced_file_holds_the_new_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("head");
        replace_durably(&path, b"one", 0o600).unwrap();
        replace_durably(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
