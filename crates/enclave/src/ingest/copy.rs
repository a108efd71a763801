//! Copies of trees: made in a directory of their own, digested, and only then moved to where their digest names them.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use blobs::{Digest, tree_digest};
use sandbox::machine::image_bytes;

use super::IngestError;
use crate::files;
use crate::room::Room;
use crate::store::trees;

/// A copy whose digest is known.
pub struct Copied {
    /// Where it lies.
    pub path: PathBuf,
    /// Its tree digest.
    pub tree: Digest,
    /// Size of all its files in bytes.
    pub bytes: u64,
}

/// What becomes of links in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// A runtime has them.
    Kept,
    /// The scanner reads plain files only: with a link in a dataset every job on it would fail by the box's fault.
    Refused,
}

/// Copies a tree, without the names in `except` at its top, and keeps it in `store` under its digest.
///
/// The operator could still be writing to the original, so only the copy is digested and used.
pub fn into_store(
    room: &Room,
    from: &Path,
    except: &[&str],
    links: Links,
    store: &Path,
) -> Result<Copied, IngestError> {
    // A crash anywhere in here leaves a directory that the next start removes.
    let incoming = tempfile::Builder::new().prefix("copy-").tempdir_in(&room.places.incoming)?;
    let copy = incoming.path().join("tree");
    files::new_directory(&copy, 0o755)?;
    copy_directory(from, &copy, except, links)?;
    let (tree, bytes) = tree_digest(&copy)?;
    files::private_directory(store)?;
    let path = store.join(tree.to_string());
    if !path.exists() {
        // One sync for all its files: the name must not reach the disk before the bytes.
        rustix::fs::syncfs(File::open(&copy)?).map_err(io::Error::from)?;
        fs::rename(&copy, &path)?;
    }
    fs::set_permissions(&path, Permissions::from_mode(0o555))?;
    blobs::sync_directory(store)?;
    // Before its draft, and so before a job can ask for it: admission reads the size and walks no tree.
    let image = image_bytes(&path)?;
    room.store.change(move |transaction| trees::set_image_bytes(transaction, &tree, image))?;
    Ok(Copied { path, tree, bytes })
}

/// Programs behind the wall read the copy as users of their own, so everything in it is readable; the room's own
/// directory above keeps everyone else out.
fn copy_directory(from: &Path, to: &Path, except: &[&str], links: Links) -> Result<(), IngestError> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if except.iter().any(|except| name == *except) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files::new_directory(&target, 0o755)?;
            copy_directory(&source, &target, &[], links)?;
        } else if kind.is_symlink() && links == Links::Kept {
            // Where it leads is looked at by the tree digest, which refuses links that leave the tree.
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            copy_file(&source, &target)?;
        } else {
            return Err(IngestError::Kind);
        }
    }
    Ok(())
}

fn copy_file(source: &Path, target: &Path) -> Result<(), IngestError> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut from = fs::OpenOptions::new().read(true).custom_flags(no_link).open(source)?;
    let executable = from.metadata()?.permissions().mode() & 0o111 != 0;
    let mut to = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    io::copy(&mut from, &mut to)?;
    to.set_permissions(Permissions::from_mode(if executable { 0o555 } else { 0o444 }))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_digest_of_its_original_and_readable_modes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("bin")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("bin/python3"), "program").unwrap();
        fs::set_permissions(from.join("bin/python3"), Permissions::from_mode(0o700)).unwrap();
        symlink("python3", from.join("bin/python")).unwrap();
        fs::write(from.join("runtime.toml"), "x").unwrap();
        copy_directory(&from, &to, &["runtime.toml"], Links::Kept).unwrap();
        fs::remove_file(from.join("runtime.toml")).unwrap();
        assert_eq!(tree_digest(&to).unwrap(), tree_digest(&from).unwrap());
        let mode = fs::metadata(to.join("bin/python3")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o555);
    }

    #[test]
    fn a_link_in_a_dataset_is_refused_and_one_in_a_runtime_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("from");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("rows.csv"), "a\n").unwrap();
        symlink("rows.csv", from.join("link.csv")).unwrap();
        for (links, taken) in [(Links::Refused, false), (Links::Kept, true)] {
            let to = directory.path().join(format!("{links:?}"));
            fs::create_dir(&to).unwrap();
            assert_eq!(copy_directory(&from, &to, &[], links).is_ok(), taken);
        }
    }

    #[test]
    fn a_pipe_in_a_tree_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        let made = std::process::Command::new("mkfifo").arg(from.join("pipe")).status();
        assert!(made.unwrap().success());
        assert!(matches!(copy_directory(&from, &to, &[], Links::Kept), Err(IngestError::Kind)));
    }
}
