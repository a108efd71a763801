//! Who may read and write what: as `databox init` made it, and as the units in deploy/ expect it.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::Check;
use crate::home::{DIRECTORIES, Home, KEYS, ROOMS, Whose};
use crate::users;

/// Whoever writes these decides what a room believes or does: nobody but the operator.
const OPERATORS: [&str; 3] = ["site", "tls/ca.pem", "keys/box.public.json"];

pub fn examine(home: &Home) -> Vec<Check> {
    let mut wrong: Vec<Check> =
        DIRECTORIES.iter().filter_map(|made| directory(home, made.below, made.mode)).collect();
    wrong.extend(KEYS.iter().filter_map(|(below, _)| key(home, below)));
    let configurations = ROOMS.map(|room| format!("{room}.toml"));
    let operators = OPERATORS.into_iter().chain(configurations.iter().map(String::as_str));
    wrong.extend(operators.filter_map(|below| not_for_others(home, below)));
    if users::are_apart(home) {
        wrong.extend(owners(home));
    }
    if wrong.is_empty() {
        wrong.push(Check::ok(
            "permissions",
            "directories, keys and configurations are for whom they should be",
        ));
    }
    wrong
}

/// Where rooms have users of their own: directories and keys that are not whose they should be.
fn owners(home: &Home) -> Vec<Check> {
    let of_room = |room: &str| fs::metadata(home.join(room)).map(|found| found.uid()).unwrap_or_default();
    let directories = DIRECTORIES.iter().map(|made| (made.below, made.owner));
    let wrong = |(below, owner): (&str, Whose)| {
        let expected = match owner {
            Whose::Room(room) => of_room(room),
            Whose::Operator | Whose::Pair(_) => 0,
        };
        let path = home.join(below);
        let found = fs::symlink_metadata(&path).ok()?.uid();
        (found != expected).then(|| {
            Check::fail(
                "permissions",
                format!("{} belongs to user {found}, and should to user {expected}", path.display()),
                format!("chown {expected} {}; then think about who may have read it", path.display()),
            )
        })
    };
    directories.chain(KEYS).filter_map(wrong).collect()
}

fn look(home: &Home, below: &str) -> Result<Metadata, Check> {
    let path = home.join(below);
    fs::symlink_metadata(&path).map_err(|error| {
        let remedy = "`databox init` made it: bring it back, or give --dir the right home";
        Check::fail("permissions", format!("{} cannot be looked at: {error}", path.display()), remedy)
    })
}

fn directory(home: &Home, below: &str, mode: u32) -> Option<Check> {
    let metadata = match look(home, below) {
        Ok(metadata) => metadata,
        Err(check) => return Some(check),
    };
    let path = home.join(below);
    if !metadata.is_dir() {
        return Some(Check::fail(
            "permissions",
            format!("{} is no directory", path.display()),
            "move it away",
        ));
    }
    more_than(&path, &metadata, mode)
}

fn key(home: &Home, below: &str) -> Option<Check> {
    let metadata = match look(home, below) {
        Ok(metadata) => metadata,
        // An authority may be kept on another machine, where certificates are issued.
        Err(_) if below == "tls/ca.key" => return None,
        Err(check) => return Some(check),
    };
    more_than(&home.join(below), &metadata, 0o600)
}

/// A check that fails if the file gives a right that `mode` does not.
fn more_than(path: &Path, metadata: &Metadata, mode: u32) -> Option<Check> {
    let found = metadata.permissions().mode() & 0o777;
    (found & !mode != 0).then(|| {
        Check::fail(
            "permissions",
            format!("{} has mode {found:04o}, which gives more than {mode:04o}", path.display()),
            format!("chmod {mode:04o} {}; then think about who may have read it", path.display()),
        )
    })
}

fn not_for_others(home: &Home, below: &str) -> Option<Check> {
    let metadata = match look(home, below) {
        Ok(metadata) => metadata,
        Err(check) => return Some(check),
    };
    let path = home.join(below);
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o022 != 0).then(|| {
        Check::fail(
            "permissions",
            format!(
                "{} can be written by others (mode {mode:04o}, owner {})",
                path.display(),
                metadata.uid()
            ),
            format!("chmod go-w {}", path.display()),
        )
    })
}
