//! How large the image of a tree can become, told from its names and lengths alone.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a block of an image.
const BLOCK: u64 = 4096;

/// Bytes of the longer of the two forms of an inode.
const INODE: u64 = 64;

/// Bytes of an entry of a directory, without its name.
const ENTRY: u64 = 12;

/// The image that a machine's disk is made of has at most so many bytes, if this tree is all that it shows.
///
/// A file takes whole blocks, or the end of it lies behind its inode in one block with it; entries of a directory lie in
/// blocks that none of them crosses, of which at most a fifteenth stays empty. Source: the kernel's
/// `Documentation/filesystems/erofs.rst`. Files with two names are counted twice. Every name of the tree is looked at, and
/// no content, so that it takes a second for some hundred thousand files: do it once for a tree that stays as it is.
///
/// # Errors
/// A part of the tree cannot be listed.
pub fn image_bytes(tree: &Path) -> io::Result<u64> {
    // The block that describes the image, and a directory for the mounts that share it.
    let mut bytes = 2 * BLOCK;
    let mut open = vec![tree.to_owned()];
    while let Some(directory) = open.pop() {
        let mut names = INODE;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let found = entry.metadata()?;
            names += ENTRY + entry.file_name().as_bytes().len() as u64;
            if found.is_dir() {
                open.push(entry.path());
            } else {
                let whole = found.size().saturating_add(INODE).checked_next_multiple_of(BLOCK);
                bytes = bytes.saturating_add(whole.unwrap_or(u64::MAX));
            }
        }
        bytes = bytes.saturating_add((names + names / 8).next_multiple_of(BLOCK));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_more_than_a_hundred_thousand_names_has_a_size_and_what_it_links_to_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, elsewhere) = (directory.path().join("tree"), directory.path().join("elsewhere"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::File::create(&elsewhere).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink(&elsewhere, tree.join("link")).unwrap();
        for number in 0..100_001 {
            fs::File::create(tree.join(format!("a/b/{number}"))).unwrap();
        }
        fs::File::create(tree.join("a/large")).unwrap().set_len(1 << 30).unwrap();
        let bytes = image_bytes(&tree).unwrap();
        assert!((1 << 30..2 << 30).contains(&bytes), "{bytes}");
        assert!(image_bytes(&directory.path().join("none")).is_err());
    }
}
