//! A list of Python packages, each with its version and the SHA-256 of what may be installed for it: pip's requirements
//! file in hash-checking mode, as `pip-compile --generate-hashes` and `uv export` write it.

use std::collections::BTreeSet;

use blobs::Digest;

use super::RuntimeFailure as E;

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement {
    /// Its name, normalised (PyPA, "Names and normalization").
    pub(super) name: String,
    pub(super) version: String,
    /// False if it is for some machines only.
    pub(super) unconditional: bool,
    /// What may be installed for it.
    pub(super) hashes: BTreeSet<Digest>,
}

/// The whole list.
#[derive(Debug, Default)]
pub(super) struct Requirements {
    pub(super) packages: Vec<Requirement>,
}

impl Requirements {
    /// Reads a list. What is not pinned, has no SHA-256, or is something else than a package is refused by its line.
    pub(super) fn parse(text: &str) -> Result<Self, E> {
        let mut found = Self::default();
        let mut whole = String::new();
        for line in text.lines() {
            let line = line.split_once(" #").map_or(line, |(before, _)| before).trim();
            if line.starts_with('#') {
                continue;
            }
            let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
            whole += part;
            whole.push(' ');
            if !goes_on {
                found.take(whole.trim())?;
                whole.clear();
            }
        }
        found.take(whole.trim())?;
        if found.packages.is_empty() { Err(E::Requirement("no package".to_owned())) } else { Ok(found) }
    }

    fn take(&mut self, line: &str) -> Result<(), E> {
        if line.is_empty() {
            return Ok(());
        }
        let refused = || E::Requirement(line.chars().take(80).collect());
        let (package, options) = line.split_once(" --").ok_or_else(refused)?;
        let mut hashes = BTreeSet::new();
        for option in options.split(" --") {
            let digest = option.trim().strip_prefix("hash=sha256:").and_then(|digest| digest.parse().ok());
            hashes.insert(digest.ok_or_else(refused)?);
        }
        let (package, marker) =
            package.split_once(';').map_or((package, ""), |(package, marker)| (package, marker));
        let (name, version) = package.split_once("==").ok_or_else(refused)?;
        let name = name.split_once('[').map_or(name, |(name, _)| name).trim();
        // pip takes what begins with a hyphen for an option, such as one that names another file.
        let plain = |text: &str| {
            let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            let inner = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+!".contains(c));
            inner && ends(text.chars().next()) && ends(text.chars().next_back())
        };
        let version = version.trim();
        if !plain(name) || !plain(version) {
            return Err(refused());
        }
        let unconditional = marker.trim().is_empty();
        self.packages.push(Requirement {
            name: normalised(name),
            version: version.to_owned(),
            unconditional,
            hashes,
        });
        Ok(())
    }
}

/// A name as packages are compared by: case and separators do not count.
pub(super) fn normalised(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}
