//! The kernel of micro-VMs for tests: Debian's, unpacked beside the programs and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel image and its directory of modules, unpacked beside the directory of programs. The first call fetches the
/// package from the machine's own mirror.
///
/// # Panics
/// It cannot be had: these tests need `apt-get download` and `dpkg-deb`.
pub fn unpacked_beside(programs: &Path) -> (PathBuf, PathBuf) {
    let directory = programs.join("../kernel");
    if !directory.join("unpacked").is_dir() {
        fetch(&directory);
    }
    let directory = directory.canonicalize().expect("the directory is there").join("unpacked");
    let releases = directory.join("lib/modules");
    let release = fs::read_dir(&releases).expect("modules").next().expect("one kernel").expect("its name");
    let name = release.file_name().into_string().expect("a plain name");
    (directory.join("boot").join(format!("vmlinuz-{name}")), release.path())
}

/// Of two tests at the same time, in one process or two, the second finds the first one's.
fn fetch(directory: &Path) {
    let beside = directory.parent().expect("it is beside the programs");
    let mine = tempfile::Builder::new().prefix("kernel-").tempdir_in(beside).expect("a directory");
    let unpacked = mine.path().join("unpacked");
    fs::create_dir_all(&unpacked).expect("a directory");
    let depends = said(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]));
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.expect("apt-get update was run");
    said(Command::new("apt-get").args(["download", "-qq", package]).current_dir(&mine));
    let archive = fs::read_dir(&mine).expect("the directory").map(|entry| entry.expect("an entry").path());
    let archive = archive.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb"));
    said(Command::new("dpkg-deb").arg("-x").arg(archive.expect("a package")).arg(&unpacked));
    match fs::rename(mine.path(), directory) {
        Ok(()) => drop(mine.keep()),
        Err(error) => assert!(directory.join("unpacked").is_dir(), "{directory:?} cannot be made: {error}"),
    }
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
