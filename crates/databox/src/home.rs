//! The home of a box: which file is where. The one place that knows.

use std::path::{Path, PathBuf};

/// A box's directory.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

/// The four rooms, in the order in which they start.
pub const ROOMS: [&str; 4] = ["signer", "console", "gateway", "enclave"];

/// Directories of a home and their modes. A room's own state is for that room alone.
pub const DIRECTORIES: [(&str, u32); 22] = [
    ("site", 0o755),
    ("drop", 0o750),
    ("drop/datasets", 0o750),
    ("drop/runtimes", 0o750),
    ("drafts", 0o750),
    ("run", 0o755),
    ("run/gateway", 0o700),
    ("run/console", 0o700),
    ("run/signer", 0o700),
    ("gateway", 0o700),
    ("enclave", 0o700),
    ("console", 0o700),
    ("signer", 0o700),
    ("hand-over", 0o755),
    ("hand-over/gateway-to-enclave", 0o750),
    ("hand-over/enclave-to-gateway", 0o750),
    ("hand-over/enclave-to-console", 0o750),
    ("public", 0o755),
    ("heads", 0o755),
    ("heads/enclave", 0o700),
    ("heads/signer", 0o700),
    ("keys", 0o700),
];

impl Home {
    /// The home at this directory; nothing is made.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// A path below it.
    pub fn join(&self, below: impl AsRef<Path>) -> PathBuf {
        self.0.join(below)
    }

    /// The configuration of a room.
    pub fn configuration(&self, room: &str) -> PathBuf {
        self.0.join(format!("{room}.toml"))
    }

    /// The site directory.
    pub fn site(&self) -> PathBuf {
        self.0.join("site")
    }

    /// What the enclave drafted for the catalogue, and its answers to the operator.
    pub fn drafts(&self) -> PathBuf {
        self.0.join("drafts")
    }

    /// The private key of a room or of the log, PKCS#8.
    pub fn key(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(format!("{name}.pem"))
    }

    /// What roles need to know of the box: its public keys and the log's origin.
    pub fn public_keys(&self) -> PathBuf {
        self.0.join("keys/box.public.json")
    }

    /// A file of the transport: `ca`, `gateway` or `console`, with `pem` or `key`.
    pub fn tls(&self, name: &str, extension: &str) -> PathBuf {
        self.0.join("tls").join(format!("{name}.{extension}"))
    }

    /// Where each room's standard error goes when `up` starts it.
    pub fn journal(&self, room: &str) -> PathBuf {
        self.0.join("run").join(format!("{room}.log"))
    }
}
