//! Builds every program into one directory, as a package would install them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{cargo, checked, target};

/// The machines that the programs are built for.
pub const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// How static programs are linked.
pub const STATIC_FLAGS: &str = "-Ctarget-feature=+crt-static";

/// The package of the program that answers questions. Its engine is a large tree.
pub const QUERIES: &str = "databox-query";

/// Programs that are linked like any other.
const DYNAMIC: [&str; 5] = ["databox", "gateway", "enclave", "console", "signer"];

/// Programs that are linked statically, with their packages: they run where the file system starts empty, or on an
/// auditor's machine that has nothing of ours.
const STATIC: [(&str, &str); 4] = [
    ("databox-check", "databox-check"),
    ("sandbox", "databox-launch"),
    ("bundle", "databox-unbundle"),
    ("databox-verify", "databox-verify"),
];

/// Statically linked programs that lie to the box, or leave out what they should do, for the suites `rooms` and
/// `attacks`. They are kept apart from what is installed.
const LIARS: [(&str, &str); 3] = [
    ("lying-children", "lying-checker"),
    ("lying-children", "lying-unbundler"),
    ("weakened-launcher", "launch-without"),
];

/// Builds and returns the directory of programs.
pub fn programs() -> Result<PathBuf, String> {
    let directory = target().join("databox/bin");
    let liars = target().join("databox/liars");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    fs::create_dir_all(&liars).map_err(|error| error.to_string())?;
    let mut dynamic = cargo(&["build", "--quiet", "--locked"]);
    for name in DYNAMIC {
        dynamic.args(["--package", name]);
    }
    checked(&mut dynamic)?;
    let mut linked = cargo(&["build", "--quiet", "--locked", "--target", TRIPLE]);
    // Only with an explicit target: otherwise the flag would reach procedural macros, which cannot be static.
    linked.env("RUSTFLAGS", STATIC_FLAGS);
    for (package, name) in STATIC {
        linked.args(["--package", package, "--bin", name]);
    }
    for (package, name) in LIARS {
        linked.args(["--package", package, "--bin", name]);
    }
    checked(&mut linked)?;
    // By itself: features that other programs ask of what it depends on would build its engine twice.
    let mut queries = cargo(&["build", "--quiet", "--locked", "--target", TRIPLE, "--package", QUERIES]);
    checked(queries.env("RUSTFLAGS", STATIC_FLAGS))?;
    for name in DYNAMIC {
        place(&target().join("debug").join(name), &directory.join(name))?;
    }
    for name in STATIC.map(|(_, name)| name).into_iter().chain([QUERIES]) {
        place(&target().join(TRIPLE).join("debug").join(name), &directory.join(name))?;
    }
    for (_, name) in LIARS {
        place(&target().join(TRIPLE).join("debug").join(name), &liars.join(name))?;
    }
    Ok(directory)
}

/// Builds the launcher, and what measures it, with optimisation; returns the directory of both.
pub fn optimised() -> Result<PathBuf, String> {
    let mut linked = cargo(&["build", "--quiet", "--locked", "--release", "--target", TRIPLE]);
    linked.env("RUSTFLAGS", STATIC_FLAGS);
    linked.args(["--package", "sandbox", "--bin", "databox-launch"]);
    linked.args(["--package", "test-attacks", "--bin", "walls-bench"]);
    checked(&mut linked)?;
    Ok(target().join(TRIPLE).join("release"))
}

/// Copies a program if it is newer than the copy. Renamed into place, since a running program cannot be written to.
fn place(from: &Path, to: &Path) -> Result<(), String> {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let newer = match (changed(from), changed(to)) {
        (Ok(from), Ok(to)) => from > to,
        _ => true,
    };
    if newer {
        let beside = to.with_extension("new");
        fs::copy(from, &beside).map_err(|error| format!("{}: {error}", from.display()))?;
        fs::rename(&beside, to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(())
}
