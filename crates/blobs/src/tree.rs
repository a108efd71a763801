//! The digest of a directory tree: what names a dataset's snapshot and a runtime.
//!
//! The digest is SHA-256 of a listing with one line a file, sorted by path as bytes:
//!
//! ```text
//! <sha256 of the file> <x if any execute bit is set, else -> <path>\n
//! link:<target> - <path>\n
//! ```
//!
//! Directories have no lines; owners, times and other mode bits do not count. Anything but directories, regular
//! files and relative links that stay inside the tree is refused.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use crate::{Digest, Hasher};

/// Most files in one tree.
const FILE_LIMIT: usize = 200_000;

/// A tree that has no digest.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A device, socket, pipe, or a file with the setuid or setgid bit.
    #[error("{0} is neither a plain file nor a directory nor a link, or has the setuid or setgid bit")]
    Kind(PathBuf),
    /// A link that is absolute or leaves the tree.
    #[error("{0} is a link that leaves its tree")]
    Link(PathBuf),
    /// A path that is not UTF-8 or holds a line break.
    #[error("{0:?} is not a path that can be listed")]
    Path(PathBuf),
    /// Too many files.
    #[error("more than {FILE_LIMIT} files in one tree")]
    TooMany,
    /// The file system refused.
    #[error("{path} cannot be read")]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A tree's digest, and the size of all its files in bytes.
pub fn tree_digest(root: &Path) -> Result<(Digest, u64), TreeError> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    list(root, Path::new(""), &mut lines, &mut bytes)?;
    lines.sort_by(|(left, _), (right, _)| left.as_bytes().cmp(right.as_bytes()));
    let mut hasher = Hasher::new();
    lines.iter().for_each(|(_, line)| hasher.update(line.as_bytes()));
    Ok((hasher.finish().0, bytes))
}

fn list(
    root: &Path,
    below: &Path,
    lines: &mut Vec<(String, String)>,
    bytes: &mut u64,
) -> Result<(), TreeError> {
    let directory = root.join(below);
    let io_error = |path: &Path| {
        let path = path.to_owned();
        move |source| TreeError::Io { path, source }
    };
    for entry in fs::read_dir(&directory).map_err(io_error(&directory))? {
        let entry = entry.map_err(io_error(&directory))?;
        let path = below.join(entry.file_name());
        let name = path
            .to_str()
            .filter(|name| !name.contains('\n'))
            .ok_or(TreeError::Path(path.clone()))?
            .to_owned();
        let full = entry.path();
        let metadata = fs::symlink_metadata(&full).map_err(io_error(&full))?;
        let mode = metadata.permissions().mode();
        if metadata.is_dir() {
            list(root, &path, lines, bytes)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(&full).map_err(io_error(&full))?;
            lines.push((name.clone(), format!("link:{} - {name}\n", inside(&path, &target)?)));
        } else if metadata.is_file() && mode & 0o6000 == 0 {
            let file = File::open(&full).map_err(io_error(&full))?;
            let (digest, size) = Digest::of_reader(file).map_err(io_error(&full))?;
            *bytes += size;
            lines.push((
                name.clone(),
                format!("{digest} {} {name}\n", if mode & 0o111 == 0 { '-' } else { 'x' }),
            ));
        } else {
            return Err(TreeError::Kind(path));
        }
        if lines.len() > FILE_LIMIT {
            return Err(TreeError::TooMany);
        }
    }
    Ok(())
}

fn inside(link: &Path, target: &Path) -> Result<String, TreeError> {
    let mut depth = link.components().count() as i64 - 1;
    for component in target.components() {
        depth += match component {
            Component::Normal(_) => 1,
            Component::ParentDir => -1,
            Component::CurDir => 0,
            Component::RootDir | Component::Prefix(_) => return Err(TreeError::Link(link.to_owned())),
        };
        if depth < 0 {
            return Err(TreeError::Link(link.to_owned()));
        }
    }
    let text = target.to_str().filter(|text| !text.contains('\n'));
    Ok(text.ok_or_else(|| TreeError::Path(link.to_owned()))?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        fs::write(root.path().join("bin/python3"), "program").unwrap();
        fs::write(root.path().join("data.csv"), "a,b\n").unwrap();
        symlink("python3", root.path().join("bin/python")).unwrap();
        root
    }

    #[test]
    fn the_digest_is_that_of_the_listing() {
        let root = tree();
        fs::set_permissions(root.path().join("bin/python3"), fs::Permissions::from_mode(0o755)).unwrap();
        let listing = format!(
            "link:python3 - bin/python\n{} x bin/python3\n{} - data.csv\n",
            Digest::of(b"program"),
            Digest::of(b"a,b\n")
        );
        assert_eq!(tree_digest(root.path()).unwrap(), (Digest::of(listing.as_bytes()), 11));
    }

    #[test]
    fn one_byte_one_name_or_one_execute_bit_changes_it() {
        let root = tree();
        let before = tree_digest(root.path()).unwrap();
        fs::set_permissions(root.path().join("data.csv"), fs::Permissions::from_mode(0o700)).unwrap();
        assert_ne!(tree_digest(root.path()).unwrap(), before);
        fs::set_permissions(root.path().join("data.csv"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(tree_digest(root.path()).unwrap(), before);
        fs::write(root.path().join("data.csv"), "a,c\n").unwrap();
        assert_ne!(tree_digest(root.path()).unwrap(), before);
    }

    #[test]
    fn links_out_of_the_tree_and_setuid_files_are_refused() {
        let root = tree();
        symlink("../../etc/passwd", root.path().join("bin/out")).unwrap();
        assert!(matches!(tree_digest(root.path()), Err(TreeError::Link(_))));
        fs::remove_file(root.path().join("bin/out")).unwrap();
        symlink("/etc/passwd", root.path().join("out")).unwrap();
        assert!(matches!(tree_digest(root.path()), Err(TreeError::Link(_))));
        fs::remove_file(root.path().join("out")).unwrap();
        assert!(tree_digest(root.path()).is_ok());
        fs::set_permissions(root.path().join("data.csv"), fs::Permissions::from_mode(0o4755)).unwrap();
        assert!(matches!(tree_digest(root.path()), Err(TreeError::Kind(_))));
    }
}
