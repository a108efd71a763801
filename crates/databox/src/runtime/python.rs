//! This machine's Python with packages of others: each a wheel that a requirements file names by its SHA-256.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::requirements::{Requirement, Requirements};
use super::tree::Tree;
use super::wheel::{self, WheelName};
use super::{Choice, RuntimeArguments, RuntimeFailure as E, take};

/// Where this machine keeps its libraries, in the order in which the loader looks.
const LIBRARIES: [&str; 4] = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"];

/// Lays the interpreter and the packages into `into`, and says which.
pub(super) fn with_packages(
    arguments: &RuntimeArguments,
    requirements: &Path,
    into: &Path,
) -> Result<String, E> {
    let text = fs::read_to_string(requirements).map_err(E::NotRead)?;
    let wanted = Requirements::parse(&text)?;
    let beside = into.parent().unwrap_or(into);
    let scratch = tempfile::Builder::new().prefix(".packages-").tempdir_in(beside).map_err(E::NotWritten)?;
    let wheels = match &arguments.wheels {
        Some(directory) => directory.clone(),
        None => fetch(&arguments.interpreter, requirements, scratch.path())?,
    };
    let base = scratch.path().join("base");
    let python = sandbox::host_python(&arguments.interpreter, &base).map_err(E::HostPython)?;
    let chosen = choose(&wanted, &wheels, version(&python.version))?;
    let mut tree = Tree::new(beside).map_err(E::NotWritten)?;
    take(&base, "", &mut tree, Choice::Refused)?;
    let mut needed = Vec::new();
    for (_, path) in &chosen {
        wheel::install(path, python.packages.trim_start_matches('/'), &mut tree, &mut needed)?;
    }
    add_libraries(&needed, &mut tree)?;
    super::keep_what_jobs_see(&mut tree)?;
    tree.write(into)?;
    let packages: Vec<_> =
        chosen.iter().map(|(name, _)| format!("{} {}", name.package, name.version)).collect();
    Ok(format!("Python {} of the host, with {}", python.version, packages.join(", ")))
}

/// Has pip fetch the wheels. It compares their digests, and so do we: what it says is not believed. Nothing is built, so
/// nothing of a package is run.
fn fetch(interpreter: &Path, requirements: &Path, scratch: &Path) -> Result<PathBuf, E> {
    let into = scratch.join("wheels");
    let mut pip = Command::new(with_pip(interpreter, scratch)?);
    // Isolated (`-I`): else `pip.py` in the directory that the operator stands in would be run instead.
    pip.args(["-I", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
    pip.args(["--only-binary", ":all:", "--dest"]).arg(&into).arg("--requirement").arg(requirements);
    let output = pip.stdin(Stdio::null()).output().map_err(E::NotRead)?;
    if output.status.success() {
        return Ok(into);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(E::Pip(last.trim().chars().filter(|c| !c.is_control()).take(300).collect()))
}

/// An interpreter of the same version that has pip: the one that is copied or, where its pip is a package of its own that
/// is not there, one in an environment beside.
fn with_pip(interpreter: &Path, scratch: &Path) -> Result<PathBuf, E> {
    let succeeds = |command: &mut Command| {
        let ran = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ran.is_ok_and(|status| status.success())
    };
    if succeeds(Command::new(interpreter).args(["-I", "-m", "pip", "--version"])) {
        return Ok(interpreter.to_owned());
    }
    let environment = scratch.join("pip");
    if succeeds(Command::new(interpreter).args(["-I", "-m", "venv"]).arg(&environment)) {
        return Ok(environment.join("bin/python3"));
    }
    Err(E::Pip(format!("{} has neither pip nor venv", interpreter.display())))
}

/// The wheels of a directory. Each must be of a package of the list and have one of the digests that stand with it; there is
/// one for each package, and none is missing but of those that are for some machines only.
fn choose(
    wanted: &Requirements,
    directory: &Path,
    python: (u32, u32),
) -> Result<Vec<(WheelName, PathBuf)>, E> {
    let mut chosen: BTreeMap<(String, String), (WheelName, PathBuf)> = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(E::NotRead)? {
        let path = entry.map_err(E::NotRead)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".whl") {
            continue;
        }
        let parsed = WheelName::parse(&name)?;
        let digest = wheel::digest(&path)?;
        let of = |package: &&Requirement| package.name == parsed.package && package.version == parsed.version;
        if !wanted.packages.iter().filter(of).any(|package| package.hashes.contains(&digest)) {
            return Err(E::WheelDiffers(name));
        }
        if !parsed.fits(python) {
            return Err(E::WheelTags(name));
        }
        let key = (parsed.package.clone(), parsed.version.clone());
        if chosen.insert(key, (parsed, path)).is_some() {
            return Err(E::WheelTwice(name));
        }
    }
    let missing = wanted
        .packages
        .iter()
        .filter(|package| package.unconditional)
        .find(|package| !chosen.contains_key(&(package.name.clone(), package.version.clone())));
    if let Some(package) = missing {
        return Err(E::WheelMissing(format!("{} {}", package.name, package.version)));
    }
    Ok(chosen.into_values().collect())
}

/// Adds what shared objects of packages need and no package brings: libraries of this machine, and what those link.
fn add_libraries(needed: &[String], tree: &mut Tree) -> Result<(), E> {
    let missing: BTreeSet<&String> = needed.iter().filter(|name| !tree.has_file_called(name)).collect();
    let mut places = Vec::new();
    for name in missing {
        let place =
            LIBRARIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file());
        places.push(place.ok_or_else(|| E::LibraryMissing(name.clone()))?);
    }
    if places.is_empty() {
        return Ok(());
    }
    let linked = sandbox::linked_libraries(&places).map_err(E::HostPython)?;
    for place in places.into_iter().chain(linked) {
        let path = place.to_string_lossy().trim_start_matches('/').to_owned();
        if !tree.holds_file(&path) {
            tree.file(&path, true, &mut fs::File::open(&place).map_err(E::NotRead)?)?;
        }
    }
    Ok(())
}

/// The first two numbers.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests;
