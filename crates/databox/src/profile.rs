//! A profile: who you are at one box, and what you trust. It holds no secret.

use std::path::{Path, PathBuf};

use blobs::Digest;
use release::value::Name;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure, file_failure};
use crate::key::KeyFiles;

/// A profile, as it stands in its TOML file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Where the gateway (researchers) or the console (stewards) is, such as https://127.0.0.1:7443.
    pub endpoint: String,
    /// The certificate of the box's transport authority.
    pub authority: PathBuf,
    /// Your id.
    pub id: Name,
    /// Where your key files are.
    pub keys: PathBuf,
    /// Payload digest of the site's first roles. Everything else is verified from it; get it from the owner by
    /// another way than from the box.
    pub site_pin: Digest,
    /// True if you accept a log whose only witnesses run on the box's own machine, as in a demonstration.
    #[serde(default)]
    pub accept_on_box_witness: bool,
    /// A file whose first line is the passphrase of your keys; without it you are asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
}

impl Profile {
    /// Reads the profile that `--profile` names: a path, or a name under `$XDG_CONFIG_HOME/databox/`.
    pub fn load(named: &str) -> Result<Self, Failure> {
        let path = Self::path(named);
        let text = std::fs::read_to_string(&path).map_err(|_| {
            Failure::new("NO_PROFILE", format!("there is no profile {}", path.display()))
                .hint("the owner of the box tells endpoint, authority and pin; README.md shows a profile")
                .exit(Exit::NotSignedIn)
        })?;
        let mut profile: Self = toml::from_str(&text).map_err(file_failure(&path))?;
        let beside = path.parent().unwrap_or(Path::new("."));
        profile.authority = beside.join(&profile.authority);
        profile.keys = beside.join(&profile.keys);
        profile.passphrase_file = profile.passphrase_file.map(|file| beside.join(file));
        Ok(profile)
    }

    fn path(named: &str) -> PathBuf {
        if named.contains('/') || named.ends_with(".toml") {
            return PathBuf::from(named);
        }
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".config");
        let configuration = std::env::var_os("XDG_CONFIG_HOME").map_or_else(home, PathBuf::from);
        configuration.join("databox").join(format!("{named}.toml"))
    }

    /// Your key files.
    pub fn key_files(&self) -> KeyFiles {
        KeyFiles::new(&self.keys, &self.id)
    }

    /// Writes a new profile.
    pub fn write_new(&self, path: &Path) -> Result<(), Failure> {
        let text = toml::to_string(self).map_err(file_failure(path))?;
        blobs::write_new_file_durably(path, text.as_bytes(), 0o644).map_err(file_failure(path))
    }
}
