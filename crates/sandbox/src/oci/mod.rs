//! Runtimes of the Open Container Initiative that the site trusts: which they are, and what one is told to build
//! ([`bundle`]). The launcher starts one inside of namespaces of its own, as the program's host user.

pub mod bundle;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::evidence::Wall;

/// A runtime of this machine: where it is, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OciRuntime {
    /// The program, by an absolute path without a link.
    pub path: PathBuf,
    /// Which runtime it is.
    pub name: RuntimeName,
    /// Its version, in its own words, such as `1.8.1`.
    pub version: String,
}

/// The runtimes that the launcher knows how to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeName {
    /// gVisor: a kernel of its own, in user space, between the program and the host's.
    Runsc,
    /// Namespaces and a filter on the host's own kernel, in C.
    Crun,
}

/// Why a program is not taken for a runtime.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OciRuntimeError {
    #[error("there is no runtime {0:?}")]
    Missing(PathBuf),
    #[error("{path:?} cannot be asked for its version")]
    NotAsked { path: PathBuf, source: io::Error },
    #[error("{0:?} does not answer like one of the runtimes that are known here: runsc, crun")]
    Unknown(PathBuf),
}

/// A version is told in verdicts; a longer one is cut.
const VERSION_BYTES: usize = 64;

impl OciRuntime {
    /// Looks at a runtime by its path, and asks it what it is.
    ///
    /// # Errors
    /// It is not there, or not one that is known.
    pub fn find(path: &Path) -> Result<OciRuntime, OciRuntimeError> {
        let missing = |_| OciRuntimeError::Missing(path.to_owned());
        let path = path.canonicalize().map_err(missing)?;
        let answer = Command::new(&path).env_clear().arg("--version").output();
        let answer = answer.map_err(|source| OciRuntimeError::NotAsked { path: path.clone(), source })?;
        let said = String::from_utf8_lossy(&answer.stdout);
        let (name, version) = parse(&said).ok_or_else(|| OciRuntimeError::Unknown(path.clone()))?;
        Ok(OciRuntime { path, name, version })
    }

    /// The wall that it builds. That a kernel is the program's own is looked at in each run.
    pub fn wall(&self) -> Wall {
        match self.name {
            RuntimeName::Runsc => Wall::OciGvisor,
            RuntimeName::Crun => Wall::Oci,
        }
    }

    /// How it is started on the bundle and with the state directory of the launcher, which puts it into control groups
    /// itself, and gives it no network to share.
    pub fn arguments(&self) -> Vec<OsString> {
        let own: &[&str] = match self.name {
            RuntimeName::Runsc => &["--rootless", "--network=none", "--ignore-cgroups"],
            RuntimeName::Crun => &["--cgroup-manager=disabled"],
        };
        let of_all = ["--root=/state", "--log=/state/log"];
        let run = ["run", "--bundle=/bundle", "box"];
        own.iter().copied().chain(of_all).chain(run).map(OsString::from).collect()
    }
}

impl RuntimeName {
    /// The name in signed statements, which is the program's.
    pub fn as_str(self) -> &'static str {
        match self {
            RuntimeName::Runsc => "runsc",
            RuntimeName::Crun => "crun",
        }
    }

    /// The usual places of the runtimes, the strongest first.
    pub const PLACES: [&'static str; 4] =
        ["/usr/local/bin/runsc", "/usr/bin/runsc", "/usr/local/bin/crun", "/usr/bin/crun"];
}

/// `runsc version release-20260601.0` or `crun version 1.8.1`, in the first line.
fn parse(said: &str) -> Option<(RuntimeName, String)> {
    let (name, version) = said.lines().next()?.split_once(" version ")?;
    let name = match name {
        "runsc" => RuntimeName::Runsc,
        "crun" => RuntimeName::Crun,
        _ => return None,
    };
    let version: String = version.chars().take_while(char::is_ascii_graphic).take(VERSION_BYTES).collect();
    (!version.is_empty()).then_some((name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_known_by_its_own_words_and_nothing_else_is_taken_for_one() {
        let known = |said| parse(said).map(|(name, version)| (name.as_str(), version));
        assert_eq!(known("crun version 1.8.1\ncommit: f8a0\n"), Some(("crun", "1.8.1".to_owned())));
        assert_eq!(
            known("runsc version 0.0~20221219.0\nspec: 1.0.2\n"),
            Some(("runsc", "0.0~20221219.0".to_owned()))
        );
        for said in ["", "runsc", "crun version ", "cat (GNU coreutils) 9.1", "other version 1\n"] {
            assert_eq!(known(said), None, "{said:?}");
        }
        assert!(matches!(OciRuntime::find("/bin/true".as_ref()), Err(OciRuntimeError::Unknown(_))));
        assert!(matches!(OciRuntime::find("/nowhere/runsc".as_ref()), Err(OciRuntimeError::Missing(_))));
    }
}
