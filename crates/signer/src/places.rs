//! Which file is where.

use std::path::{Path, PathBuf};

use blobs::Digest;
use release::log::Event;
use release::log::tiles::Tile;

/// The signer's directories.
///
/// Whoever can write the state directory can have the signer forget; the head outside it notices. Whoever can write
/// the public directory can hide the log from readers, and change nothing in it that a witness has seen. Whoever can
/// write the head file can stop the signer.
#[derive(Debug, Clone)]
pub struct Places {
    state_directory: PathBuf,
    public_directory: PathBuf,
    head_file: PathBuf,
}

impl Places {
    /// Places in these directories.
    pub fn new(state_directory: &Path, public_directory: &Path, head_file: &Path) -> Self {
        let [state_directory, public_directory, head_file] =
            [state_directory, public_directory, head_file].map(Path::to_owned);
        Self { state_directory, public_directory, head_file }
    }

    /// The signer's own directory.
    pub fn state_directory(&self) -> &Path {
        &self.state_directory
    }

    /// The signer's memory.
    pub fn state(&self) -> PathBuf {
        self.state_directory.join("state.json")
    }

    /// Held while a signer runs, so that there is never a second.
    pub fn lock(&self) -> PathBuf {
        self.state_directory.join("lock")
    }

    /// The last signed head, outside the data directory.
    pub fn head(&self) -> PathBuf {
        self.head_file.clone()
    }

    /// What is kept beside the leaf of a decision.
    pub fn evidence(&self, verdict: &Digest) -> PathBuf {
        self.state_directory.join("evidence").join(format!("{verdict}.json"))
    }

    /// A finished denial file, of a verdict or of a request's code. It is handed to the console and is not public.
    pub fn denial(&self, verdict: &Digest) -> PathBuf {
        self.state_directory.join("denials").join(format!("{verdict}.denial.json"))
    }

    /// A finished release file, by the manifest's payload digest.
    pub fn release(&self, manifest: &Digest) -> PathBuf {
        self.public_directory.join("releases").join(format!("{manifest}.release.json"))
    }

    /// The last head that enough witnesses cosigned.
    pub fn checkpoint(&self) -> PathBuf {
        self.public_directory.join("log/checkpoint")
    }

    /// A tile or bundle of the log.
    pub fn tile(&self, tile: &Tile) -> PathBuf {
        self.public_directory.join("log").join(tile.path())
    }

    /// A logged statement of the site, by its payload digest. Decisions have no such copy.
    pub fn statement(&self, event: Event, payload: &Digest) -> Option<PathBuf> {
        let directory = match event {
            Event::Roles => "roles",
            Event::Policy => "policies",
            Event::Grant => "grants",
            Event::Catalogue => "catalogue",
            Event::Revocation => "revocations",
            Event::Release | Event::Denial | Event::CodeDenial => return None,
        };
        Some(self.public_directory.join(directory).join(format!("{payload}.json")))
    }

    /// A policy's TOML file, by its own digest.
    pub fn policy_file(&self, file: &Digest) -> PathBuf {
        self.public_directory.join("policies").join(format!("{file}.toml"))
    }
}
