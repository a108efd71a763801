//! A file system in a file, whose power can be cut: what was not made durable is gone.
//!
//! The kernel keeps what programs wrote in memory until it is synced. The file behind the file system holds only what
//! reached the "disk". A copy of it, taken before anything is unmounted, is what a machine finds after the power came
//! back. (device-mapper's log-writes and flakey targets do the same where there is a device mapper.)

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sparse: a box with the machine's Python as its runtime, and what the enclave wants free before it takes a job.
const BYTES: &str = "16G";

/// Which file system is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4: a sync of any file makes every name durable that was given before it.
    Journaled,
    /// ext4 without a journal: a name is durable only once its directory was synced.
    WithoutJournal,
}

/// A mounted file system in a file.
pub struct Disk {
    file_system: FileSystem,
    scratch: tempfile::TempDir,
    image: PathBuf,
    device: String,
    cuts: u32,
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// What a machine does at its start with such a file system after the power was cut.
fn repair(image: &Path) -> Result<(), String> {
    let done = Command::new("e2fsck").args(["-f", "-y", text(image)]).output();
    let done = done.map_err(|error| format!("e2fsck: {error}"))?;
    // 1: errors were corrected (e2fsck(8)).
    match done.status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(format!("e2fsck: {}", String::from_utf8_lossy(&done.stdout))),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("own paths are plain")
}

impl Disk {
    /// Makes one, or says what this machine lacks.
    pub fn make(file_system: FileSystem) -> Result<Self, String> {
        let scratch =
            tempfile::Builder::new().prefix("databox-disk-").tempdir().map_err(|error| error.to_string())?;
        // Jobs run as users of their own when the box runs as root: they must be able to pass through.
        std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o711))
            .map_err(|error| error.to_string())?;
        let image = scratch.path().join("image-0");
        std::fs::create_dir(scratch.path().join("disk")).map_err(|error| error.to_string())?;
        run("truncate", &["-s", BYTES, text(&image)])?;
        let features = match file_system {
            FileSystem::Journaled => "has_journal",
            FileSystem::WithoutJournal => "^has_journal",
        };
        run("mkfs.ext4", &["-q", "-F", "-O", features, text(&image)])?;
        let mut disk = Self { file_system, scratch, image, device: String::new(), cuts: 0 };
        disk.mount()?;
        let opened = PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(disk.path(), opened).map_err(|error| error.to_string())?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.scratch.path().join("disk")
    }

    fn mount(&mut self) -> Result<(), String> {
        self.device = run("losetup", &["--find", "--show", "--direct-io=on", text(&self.image)])?;
        // So that the kernel does not commit by itself what nobody synced.
        let path = self.path();
        let options = match self.file_system {
            FileSystem::Journaled => "commit=600",
            FileSystem::WithoutJournal => "noatime",
        };
        run("mount", &["-o", options, &self.device, text(&path)]).map(drop)
    }

    fn unmount(&self) {
        for _ in 0..100 {
            if run("umount", &[text(&self.path())]).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = run("losetup", &["--detach", &self.device]);
    }

    /// Everything until now is durable.
    pub fn sync(&self) {
        let _ = run("sync", &["-f", text(&self.path())]);
    }

    /// Cuts the power and brings it back. Nothing may run on it any more.
    pub fn cut(&mut self) -> Result<(), String> {
        self.cuts += 1;
        let copy = self.scratch.path().join(format!("image-{}", self.cuts));
        run("cp", &["--sparse=always", text(&self.image), text(&copy)])?;
        self.unmount();
        if self.file_system == FileSystem::WithoutJournal {
            repair(&copy)?;
        }
        std::fs::remove_file(&self.image).map_err(|error| error.to_string())?;
        self.image = copy;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}
