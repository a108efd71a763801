//! The two ways in which the signer writes: files that never change, and files that are replaced whole.

use std::collections::{BTreeMap, BTreeSet};
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

    /// Makes several files durable that never change, each as [`Disk::keep`] does. After a crash any of them may be there.
    fn keep_all(&mut self, files: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
        files.iter().try_for_each(|(path, bytes)| self.keep(path, bytes))
    }
}

/// From so many files in one directory on, the file system is synced once in the place of each file. That waits for what
/// others write there too, and a few files are not worth it.
pub(crate) const MANY: usize = 32;

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
        let directory = parent(path);
        self.make_directory(directory)?;
        self.begin(path, bytes)?.sync_all()?;
        fs::rename(writing(path), path)?;
        blobs::sync_directory(directory)
    }

    /// Writes a file under the name that it has before it is durable.
    fn begin(&self, path: &Path, bytes: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(self.mode);
        let mut file = options.open(writing(path))?;
        file.write_all(bytes)?;
        Ok(file)
    }

    /// Makes many files of one directory durable with two syncs.
    fn keep_many(&mut self, directory: &Path, files: &[&(PathBuf, Vec<u8>)]) -> io::Result<()> {
        self.make_directory(directory)?;
        // Opened before anything is written: the sync tells of what went wrong since then.
        let synced = File::open(directory)?;
        let mut begun: BTreeMap<&PathBuf, &[u8]> = BTreeMap::new();
        for (path, bytes) in files {
            match begun.get(path) {
                // Two policies may have one text.
                Some(same) if *same == &bytes[..] => {}
                Some(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                None if is_kept(path, bytes)? => {}
                None => {
                    self.begin(path, bytes)?;
                    begun.insert(path, bytes);
                }
            }
        }
        rustix::fs::syncfs(&synced)?;
        begun.into_keys().try_for_each(|path| fs::rename(writing(path), path))?;
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
        if !is_kept(path, bytes)? {
            return self.write(path, bytes);
        }
        // It may stem from a process that died between writing and syncing.
        File::open(path)?.sync_all()?;
        self.make_directory(parent(path))?;
        blobs::sync_directory(parent(path))
    }

    fn keep_all(&mut self, files: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
        let mut by_directory: BTreeMap<&Path, Vec<_>> = BTreeMap::new();
        files.iter().for_each(|file| by_directory.entry(parent(&file.0)).or_default().push(file));
        for (directory, files) in by_directory {
            match files.len() >= MANY {
                true => self.keep_many(directory, &files)?,
                false => files.into_iter().try_for_each(|(path, bytes)| self.keep(path, bytes))?,
            }
        }
        Ok(())
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write(path, bytes)
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// The name of a file before it is durable.
fn writing(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".writing");
    name.into()
}

/// True if a file that never changes is there.
///
/// # Errors
/// If it has other bytes, or cannot be read.
fn is_kept(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    match fs::read(path) {
        Ok(found) if found == bytes => Ok(true),
        Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
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

    #[test]
    fn many_files_are_kept_as_a_few_are_and_none_is_left_half_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = FileSystem::new(0o644);
        for (folder, many) in [("few", MANY - 1), ("many", 3 * MANY)] {
            let below = directory.path().join(folder);
            let file = |number: usize| (below.join(number.to_string()), number.to_string().into_bytes());
            let files: Vec<_> = (0..many).map(file).collect();
            // Some were there before, as after a crash.
            files[..many / 2].iter().for_each(|(path, bytes)| disk.keep(path, bytes).unwrap());
            disk.keep_all(&files).unwrap();
            disk.keep_all(&files).unwrap();
            assert!(files.iter().all(|(path, bytes)| fs::read(path).unwrap() == *bytes));
            assert_eq!(fs::read_dir(&below).unwrap().count(), many);
            let mut others = files.clone();
            others[many / 2].1 = b"other".to_vec();
            assert_eq!(disk.keep_all(&others).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert!(files.iter().all(|(path, bytes)| fs::read(path).unwrap() == *bytes));
        }
    }

    #[test]
    fn one_path_twice_among_many_is_one_file_if_the_bytes_are_the_same_and_refused_if_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = FileSystem::new(0o644);
        let file = |number: usize| {
            (directory.path().join("many").join(number.to_string()), number.to_string().into_bytes())
        };
        let mut files: Vec<_> = (0..MANY).map(file).collect();
        files.push(files[7].clone());
        disk.keep_all(&files).unwrap();
        let kept = |count| assert_eq!(fs::read_dir(directory.path().join("many")).unwrap().count(), count);
        kept(MANY);
        let mut others: Vec<_> = (MANY..2 * MANY).map(file).collect();
        others.push((others[3].0.clone(), b"other".to_vec()));
        assert_eq!(disk.keep_all(&others).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        // None of them has its name: which of the two texts is meant is not decided here.
        assert!(others.iter().all(|(path, _)| !path.exists()));
    }
}
