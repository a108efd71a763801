//! Programs of ours that read what a job shaped, each run behind the wall: at a steward's or researcher's desk the
//! same as in the enclave.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::{Access, Calls, Cancel, Launcher, Limits, Mount, Outcome, Specification, StandardError, Stdin};

use crate::failure::{Failure, whole};
use crate::programs;

/// The user that a walled program runs as when the command runs as root. Nobody else's files belong to it.
const WALLED_USER: u32 = 65_533;

/// The user of the program that makes views. It runs beside the scanner, which has the data, and reads what a job shaped: as the same
/// user it could, where a wall is thin, send the scanner signals or use up its processes.
const VIEWS_USER: u32 = 65_532;

/// One directory shown to a checker.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The directory on this machine.
    pub source: PathBuf,
    /// Where the checker sees it, such as `/out`.
    pub target: String,
    /// True if the checker writes to it.
    pub writable: bool,
}

/// Runs `databox-check <subcommand>` behind the wall and returns what it wrote to standard output.
pub fn check(
    subcommand: &str,
    input: Vec<u8>,
    shown: &[Shown],
    stdout_bytes: u64,
) -> Result<Vec<u8>, Failure> {
    let program = programs::find("databox-check")?;
    let user = user().map(|user| if subcommand == "views" { VIEWS_USER } else { user });
    let mut mounts = vec![mount(&program, "/databox-check", Access::ReadOnlyExecutable)?];
    for one in shown {
        let access = if one.writable { Access::Writable } else { Access::ReadOnly };
        if one.writable {
            give_to_walled_user(&one.source, user)?;
        }
        mounts.push(mount(&one.source, &one.target, access)?);
    }
    let specification = Specification {
        mounts,
        output: None,
        program: "/databox-check".to_owned(),
        arguments: vec![subcommand.to_owned()],
        environment: Vec::new(),
        working_directory: "/".to_owned(),
        limits: limits(stdout_bytes),
        calls: Calls::Reader,
        standard_error: StandardError::Nowhere,
        host_uid: user,
        devices: Vec::new(),
    };
    let launcher = Launcher::new(programs::find("databox-launch")?);
    let cancel = Cancel::new().map_err(|error| Failure::new("WALL", whole(&error)))?;
    let ended = launcher.run(&specification, Stdin::Bytes(input), &cancel).map_err(|error| {
        Failure::new("WALL", format!("the checker cannot be run behind a wall: {}", whole(&error)))
            .hint("nothing was checked; `databox demo` says what this machine lacks")
    })?;
    match ended.outcome {
        Outcome::Succeeded => Ok(ended.stdout),
        _ => {
            Err(Failure::new("CHECKER_FAILED", format!("databox-check {subcommand} did not finish its work")))
        }
    }
}

/// Unpacks a bundle behind the wall into an empty directory: what a researcher packed is parsed there, and nowhere where
/// a key is.
pub fn unbundle(archive: std::fs::File, into: &Path) -> Result<(), Failure> {
    let program = programs::find("databox-unbundle")?;
    give_to_walled_user(into, user())?;
    let specification = Specification {
        mounts: vec![
            mount(&program, "/databox-unbundle", Access::ReadOnlyExecutable)?,
            mount(into, "/unpacked", Access::Writable)?,
        ],
        output: None,
        program: "/databox-unbundle".to_owned(),
        arguments: vec!["/unpacked".to_owned()],
        environment: Vec::new(),
        working_directory: "/".to_owned(),
        limits: limits(0),
        calls: Calls::Reader,
        standard_error: StandardError::Nowhere,
        host_uid: user(),
        devices: Vec::new(),
    };
    let launcher = Launcher::new(programs::find("databox-launch")?);
    let cancel = Cancel::new().map_err(|error| Failure::new("WALL", whole(&error)))?;
    let ended = launcher.run(&specification, Stdin::File(archive), &cancel).map_err(|error| {
        Failure::new("WALL", format!("the bundle cannot be unpacked behind a wall: {}", whole(&error)))
            .hint("nothing was unpacked; `databox demo` says what this machine lacks")
    })?;
    match ended.outcome {
        Outcome::Succeeded => Ok(()),
        _ => Err(Failure::new("BUNDLE_REFUSED", "the bundle is not one that the box would unpack")),
    }
}

/// How long a program behind the wall may take at a person's own desk, who may end it at any time. A search takes about
/// ten seconds for each MiB of output, and more beside much data; what expands without end is refused long before.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

fn limits(stdout_bytes: u64) -> Limits {
    Limits {
        memory_bytes: 4 << 30,
        processes: 8,
        processors: 1 << 16,
        open_files: 256,
        file_bytes: 16 << 30,
        cpu_seconds: LONGEST.as_secs(),
        wall: LONGEST,
        tmp_bytes: 0,
        tmp_inodes: 0,
        stdout_bytes,
    }
}

fn mount(source: &Path, target: &str, access: Access) -> Result<Mount, Failure> {
    let source = std::fs::canonicalize(source).map_err(crate::failure::file_failure(source))?;
    Ok(Mount { source, target: target.to_owned(), access })
}

/// The host user of a program behind a wall: of its own if the command runs as root, the caller's otherwise.
pub(crate) fn user() -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(WALLED_USER)
}

fn give_to_walled_user(directory: &Path, user: Option<u32>) -> Result<(), Failure> {
    match user {
        Some(user) => std::os::unix::fs::chown(directory, Some(user), Some(user))
            .map_err(crate::failure::file_failure(directory)),
        None => Ok(()),
    }
}
