//! What a job left in its output space, taken over by the enclave once the job's last process is dead.
//!
//! Only bytes of declared plain files are copied, and nothing in them is looked at: the canonicaliser, which has no
//! data, is the only program that reads them as anything. Everything else becomes an empty thing of the same name and
//! kind, so that the canonicaliser refuses it as it would have refused the original.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use release::statement::DeclaredOutput;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::failure;
use crate::files;

/// What a job left is more than its output space can have held, or there is no output space.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// By their sizes the declared files are larger than what was given: files with holes.
    #[error("the outputs are larger than the output space")]
    TooLarge,
    /// The file system of the enclave failed.
    #[error("the outputs cannot be copied")]
    Io(#[from] io::Error),
}

impl From<Errno> for CollectError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// Copies what lies in `space` to the new directory `into`, at most `bytes` of it.
pub fn collect(
    space: &OwnedFd,
    into: &Path,
    declared: &[DeclaredOutput],
    bytes: u64,
) -> Result<(), CollectError> {
    use std::os::unix::fs::PermissionsExt;
    // A job can take away the right to its own directory; that would look like a fault of the box.
    rustix::fs::fchmod(space, Mode::RWXU)?;
    files::new_directory(into, 0o700)?;
    let target = File::open(into)?;
    let mut left = bytes;
    for entry in Dir::read_from(space)? {
        let entry = entry?;
        let name = entry.file_name();
        // A program that tells of an exception and goes on leaves our own hook's report, which it did not write. No
        // output can be declared under that name, and nothing of it is copied.
        if matches!(name.to_bytes(), b"." | b"..") || name.to_bytes() == failure::REPORT.as_bytes() {
            continue;
        }
        let found = rustix::fs::statat(space, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile if found.st_nlink != 1 => second_name(&target, name)?,
            FileType::RegularFile => {
                let to = new_file(&target, name)?;
                if declared.iter().any(|output| output.path().as_str().as_bytes() == name.to_bytes()) {
                    left = left.checked_sub(found.st_size as u64).ok_or(CollectError::TooLarge)?;
                    copy(space, name, to, found.st_size as u64)?;
                }
            }
            FileType::Directory => rustix::fs::mkdirat(&target, name, Mode::from_raw_mode(0o555))?,
            FileType::Symlink => rustix::fs::symlinkat("link", &target, name)?,
            _ => rustix::fs::mknodat(&target, name, FileType::Fifo, Mode::from_raw_mode(0o444), 0)?,
        }
    }
    fs::set_permissions(into, fs::Permissions::from_mode(0o555))?;
    Ok(())
}

fn new_file(target: &File, name: &std::ffi::CStr) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(target, name, flags, Mode::from_raw_mode(0o444))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444))?;
    Ok(File::from(file))
}

/// A file with a further name is none that counts, and the copy has one, too: outside the directory.
fn second_name(target: &File, name: &std::ffi::CStr) -> Result<(), Errno> {
    let first = c"../second-name";
    match new_file(target, first) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    rustix::fs::linkat(target, first, target, name, AtFlags::empty())
}

fn copy(space: &OwnedFd, name: &std::ffi::CStr, mut to: File, size: u64) -> Result<(), CollectError> {
    // No process of the job is left that could put a link in the file's place.
    rustix::fs::chmodat(space, name, Mode::from_raw_mode(0o400), AtFlags::empty())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let from = File::from(rustix::fs::openat(space, name, flags, Mode::empty())?);
    let copied = io::copy(&mut io::Read::take(from, size), &mut to)?;
    if copied == size { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn metrics() -> DeclaredOutput {
        DeclaredOutput::Metrics {
            path: "metrics.json".parse().unwrap(),
            names: vec!["value".parse().unwrap()],
            degrees_of_freedom: None,
        }
    }

    fn collected(prepare: impl FnOnce(&Path)) -> (tempfile::TempDir, Result<(), CollectError>) {
        let directory = tempfile::tempdir().unwrap();
        let space = directory.path().join("space");
        fs::create_dir(&space).unwrap();
        let held = OwnedFd::from(File::open(&space).unwrap());
        prepare(&space);
        let result = collect(&held, &directory.path().join("into"), &[metrics()], 1 << 20);
        (directory, result)
    }

    #[test]
    fn a_declared_file_is_copied_byte_for_byte_whatever_its_mode() {
        let (directory, result) = collected(|space| {
            fs::write(space.join("metrics.json"), b"{\"value\": \xff}").unwrap();
            fs::set_permissions(space.join("metrics.json"), fs::Permissions::from_mode(0o0)).unwrap();
            fs::set_permissions(space, fs::Permissions::from_mode(0o0)).unwrap();
        });
        result.unwrap();
        let copy = directory.path().join("into/metrics.json");
        assert_eq!(fs::read(&copy).unwrap(), b"{\"value\": \xff}");
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o444);
    }

    #[test]
    fn the_report_of_a_failure_that_a_program_survived_is_no_output() {
        assert!(failure::REPORT.parse::<release::value::Name>().is_err(), "it can be declared");
        let (directory, result) = collected(|space| {
            fs::write(space.join("metrics.json"), "{}").unwrap();
            fs::write(space.join(failure::REPORT), "1234").unwrap();
        });
        result.unwrap();
        let names: Vec<_> = fs::read_dir(directory.path().join("into"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["metrics.json"]);
    }

    #[test]
    fn bytes_that_were_not_declared_are_not_copied_and_a_link_is_not_followed() {
        let (directory, result) = collected(|space| {
            fs::write(space.join("rows.csv"), "patient").unwrap();
            fs::write(space.parent().unwrap().join("secret"), "patient").unwrap();
            symlink("../secret", space.join("metrics.json")).unwrap();
            fs::create_dir(space.join("directory")).unwrap();
            fs::write(space.join("directory/rows.csv"), "patient").unwrap();
        });
        result.unwrap();
        let into = directory.path().join("into");
        assert_eq!(fs::read(into.join("rows.csv")).unwrap(), b"");
        assert_eq!(fs::read_link(into.join("metrics.json")).unwrap(), Path::new("link"));
        assert_eq!(fs::read_dir(into.join("directory")).unwrap().count(), 0);
    }

    #[test]
    fn pipes_and_further_names_stay_what_they_are() {
        let (directory, result) = collected(|space| {
            fs::write(space.join("one"), "patient").unwrap();
            fs::hard_link(space.join("one"), space.join("metrics.json")).unwrap();
            let made = std::process::Command::new("mkfifo").arg(space.join("pipe")).status();
            assert!(made.unwrap().success());
        });
        result.unwrap();
        let into = directory.path().join("into");
        let metrics = fs::metadata(into.join("metrics.json")).unwrap();
        assert!(metrics.nlink() > 1 && metrics.len() == 0);
        let kind = fs::symlink_metadata(into.join("pipe")).unwrap().file_type();
        assert!(!kind.is_file() && !kind.is_dir() && !kind.is_symlink());
    }

    #[test]
    fn a_file_of_holes_is_not_copied() {
        let (_directory, result) = collected(|space| {
            File::create(space.join("metrics.json")).unwrap().set_len(1 << 40).unwrap();
        });
        assert!(matches!(result, Err(CollectError::TooLarge)));
    }
}
