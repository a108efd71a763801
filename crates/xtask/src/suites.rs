//! The suites, each with its time.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::build;
use crate::run::{cargo, checked, target};

const SUITES: [&str; 11] = [
    "units",
    "queries",
    "formats",
    "path",
    "rooms",
    "attacks",
    "crash",
    "inputs",
    "secrets",
    "listening",
    "egress-bench",
];

/// Runs the suites that are named, or all.
pub fn run(words: &[&str]) -> Result<(), String> {
    let long = words.contains(&"--long");
    let named: Vec<&str> = words.iter().copied().filter(|word| *word != "--long").collect();
    if let Some(unknown) = named.iter().find(|word| !SUITES.contains(word)) {
        return Err(format!("there is no suite {unknown}; there are {}", SUITES.join(", ")));
    }
    if long && (named.is_empty() || named.contains(&"attacks")) {
        install("/usr/bin/stress-ng", "stress-ng")?;
    }
    let begun = Instant::now();
    build::programs()?;
    let mut times = vec![("build", begun.elapsed())];
    let mut failed = Vec::new();
    for suite in SUITES.into_iter().filter(|suite| named.is_empty() || named.contains(suite)) {
        let begun = Instant::now();
        if checked(&mut command(suite, long)).is_err() {
            failed.push(suite);
        }
        times.push((suite, begun.elapsed()));
    }
    for (suite, time) in times {
        println!("suite {suite:<12} {:>6.1} s", time.as_secs_f64());
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("suites that failed: {}", failed.join(", "))) }
}

/// Installs a package of Debian's that only the long run needs.
fn install(program: &str, package: &str) -> Result<(), String> {
    if Path::new(program).exists() {
        return Ok(());
    }
    let apt = |arguments: &[&str]| checked(Command::new("apt-get").args(arguments));
    apt(&["install", "--yes", "--quiet", package])
        .or_else(|_| {
            apt(&["update", "--quiet"]).and_then(|()| apt(&["install", "--yes", "--quiet", package]))
        })
        .map_err(|error| format!("{package} is needed in the long run, and cannot be installed: {error}"))
}

/// Prints the table of the hostile matrix: behind the native wall, those of the OCI runtimes of this machine, and in emulated
/// machines, there in the long run with what is tried from outside.
pub fn attacks(long: bool) -> Result<(), String> {
    let programs = build::programs()?;
    checked(&mut cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--package",
        "test-attacks",
        "--bin",
        "hostile-suite",
    ]))?;
    let mut suite = std::process::Command::new(target().join("debug/hostile-suite"));
    suite.args(["--every", "--table"]).args(long.then_some("--long"));
    checked(suite.arg("--helper").arg(programs.join("databox-launch")))
}

fn command(suite: &str, long: bool) -> std::process::Command {
    let mut arguments = ["test", "--locked", "--no-fail-fast"].map(str::to_owned).to_vec();
    if suite == "units" {
        arguments.extend(["--workspace", "--exclude", build::QUERIES].map(str::to_owned));
        for other in SUITES.iter().filter(|other| !matches!(**other, "units" | "queries")) {
            arguments.extend(["--exclude".to_owned(), format!("test-{other}")]);
        }
    } else if suite == "queries" {
        // With the target and flags of the program itself, so that its engine is built once.
        arguments.extend(["--package", build::QUERIES, "--target", build::TRIPLE].map(str::to_owned));
    } else {
        arguments.extend(["--package".to_owned(), format!("test-{suite}")]);
    }
    // What the crash suite counted and how long it took is worth a look even when all went well.
    // Liars and the rooms around them mostly wait for each other, and whoever is slow to a room waits for the room, so
    // that more of them run than there are processors.
    let more: &[&str] = match suite {
        "crash" => &["--nocapture"],
        "rooms" | "listening" => &["--test-threads", "4"],
        _ => &[],
    };
    if long || !more.is_empty() {
        arguments.push("--".to_owned());
        arguments.extend(more.iter().copied().map(str::to_owned));
        arguments.extend(long.then_some("--include-ignored".to_owned()));
    }
    let mut command = cargo(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    if suite == "queries" {
        command.env("RUSTFLAGS", build::STATIC_FLAGS);
    }
    command
}
