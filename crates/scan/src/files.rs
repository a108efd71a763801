//! The files of a directory of private data.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::data::Source;

/// A private file. No link is followed.
pub struct DataFile(PathBuf);

impl Source for DataFile {
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let no_link = OFlags::NOFOLLOW.bits() as i32;
        let mut file: File = OpenOptions::new().read(true).custom_flags(no_link).open(&self.0)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(std::fs::symlink_metadata(&self.0)?.len())
    }
}

/// All regular files below a directory, in the order of their names. That is the order in which they are indexed and searched.
///
/// # Errors
/// Anything else than a file or a directory: data that was not searched must not pass as searched.
pub fn files_below(directory: &Path) -> io::Result<Vec<DataFile>> {
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    Ok(files)
}

fn collect(directory: &Path, files: &mut Vec<DataFile>) -> io::Result<()> {
    for (path, kind) in sorted(directory)? {
        match (kind.is_dir(), kind.is_file()) {
            (true, _) => collect(&path, files)?,
            (_, true) => files.push(DataFile(path)),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(())
}

fn sorted(directory: &Path) -> io::Result<Vec<(PathBuf, std::fs::FileType)>> {
    let mut entries = std::fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    entries.into_iter().map(|entry| Ok((entry.path(), entry.file_type()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_of_their_names_and_a_link_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("b/deep")).unwrap();
        for name in ["c", "b/deep/z", "b/x", "a"] {
            std::fs::write(at(name), name).unwrap();
        }
        let names = |files: Vec<DataFile>| files.into_iter().map(|DataFile(path)| path).collect::<Vec<_>>();
        assert_eq!(names(files_below(directory.path()).unwrap()), ["a", "b/deep/z", "b/x", "c"].map(at));
        std::os::unix::fs::symlink("a", at("b/link")).unwrap();
        assert!(files_below(directory.path()).is_err());
        assert!(DataFile(at("b/link")).open().is_err());
    }
}
