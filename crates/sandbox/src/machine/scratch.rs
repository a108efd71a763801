//! The directory of one run: what is ours at its top, and in it a directory for each image, which the program that makes
//! it may write. It goes with the run.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Before the process id of whoever made it.
const PREFIX: &str = "databox-machine-";

/// The directory.
pub struct Scratch {
    path: PathBuf,
    /// The host user of the run's programs, if this process is root.
    user: Option<u32>,
}

impl Scratch {
    /// Makes it below `base`, and removes what killed processes left there.
    pub fn new(base: &Path, user: Option<u32>) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        sweep(base)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{PREFIX}{}-{number}", std::process::id()));
        // Entered by this user alone; the programs of the run are given what is theirs by the launcher.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, user })
    }

    /// A path at its top.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory of an image.
    pub fn in_directory(&self, number: usize) -> PathBuf {
        self.path.join(number.to_string())
    }

    /// Makes it, for a program of the run to write.
    pub fn directory(&self, number: usize) -> io::Result<PathBuf> {
        let path = self.in_directory(number);
        DirBuilder::new().mode(0o700).create(&path)?;
        chown(&path, self.user, self.user)?;
        Ok(path)
    }

    /// A file of ours, for a program of the run to read. No such program could lay anything where it comes to lie.
    pub fn own_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.at(name);
        OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path)?.write_all(content)?;
        fs::set_permissions(&path, Permissions::from_mode(0o444))
    }

    /// An empty disk, for a program of the run to write.
    pub fn disk(&self, name: &str, bytes: u64) -> io::Result<()> {
        let path = self.at(name);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.set_len(bytes)?;
        chown(&path, self.user, self.user)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn sweep(base: &Path) -> io::Result<()> {
    for entry in fs::read_dir(base)? {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        if process.is_some_and(|(process, _)| !Path::new("/proc").join(process).exists()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_run_and_what_a_living_one_has_stays() {
        let base = tempfile::tempdir().unwrap();
        let (dead, other) = (base.path().join("databox-machine-4194305-0"), base.path().join("other"));
        for directory in [&dead, &other] {
            fs::create_dir_all(directory.join("0")).unwrap();
        }
        let one = Scratch::new(base.path(), None).unwrap();
        one.own_file("initramfs", b"x").unwrap();
        let two = Scratch::new(base.path(), None).unwrap();
        assert!(!dead.exists() && other.exists() && one.at("initramfs").exists());
        assert_eq!(fs::metadata(&two.path).unwrap().permissions().mode() & 0o777, 0o700);
        let gone = two.path.clone();
        drop(two);
        assert!(!gone.exists() && one.path.exists());
    }
}
