//! Formatting, the tests that claims name, clippy with warnings denied, and what the dependency tree may hold.

use std::process::{Command, Stdio};

use crate::claims;
use crate::run::{cargo, checked};

/// Runs every lint.
pub fn run() -> Result<(), String> {
    checked(&mut cargo(&["fmt", "--all", "--check"]))?;
    claims::check()?;
    checked(&mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    install_deny()?;
    checked(&mut cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"]))?;
    tree_limits()
}

fn install_deny() -> Result<(), String> {
    let mut version = cargo(&["deny", "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null());
    if version.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    checked(&mut cargo(&["install", "cargo-deny", "--locked", "--debug"]))
}

/// Programs whose trees are kept small, since they hold a key or must be believed: most crates each may have.
const TREES: [(&str, usize); 2] = [("signer", 60), ("databox-verify", 60)];

fn tree_limits() -> Result<(), String> {
    for (package, limit) in TREES {
        let mut tree = cargo(&[
            "tree", "--locked", "-e", "normal", "--prefix", "none", "--format", "{p}", "-p", package,
        ]);
        let crates = lines(&mut tree)?;
        println!("{package}: {} crates, at most {limit}", crates.len());
        if crates.len() > limit {
            return Err(format!("{package} has more than {limit} crates"));
        }
        for banned in ["tokio ", "rusqlite ", "tracing "] {
            if crates.iter().any(|name| name.starts_with(banned)) {
                return Err(format!("{package} must not contain {banned}"));
            }
        }
    }
    Ok(())
}

fn lines(command: &mut Command) -> Result<std::collections::BTreeSet<String>, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .filter(|line| !line.is_empty())
        .collect())
}
