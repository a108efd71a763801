//! The signer's configuration; `deploy/signer.toml` is the commented example.

use std::path::{Path, PathBuf};

use blobs::Digest;
use release::key::{KeyError, SecretKey};
use serde::Deserialize;
use zeroize::Zeroizing;

/// Every key of `signer.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The one socket.
    pub socket: PathBuf,
    /// The user who may speak there.
    pub console_user: String,
    /// Signed statements of the site.
    pub site_directory: PathBuf,
    /// Payload digest of version 1 of the roles.
    pub site_pin: Digest,
    /// The signer's own state.
    pub state_directory: PathBuf,
    /// What everyone may read.
    pub public_directory: PathBuf,
    /// The last signed head, outside the two directories.
    pub head_file: PathBuf,
    /// The key of release manifests.
    pub release_key_file: PathBuf,
    /// The key of the log.
    pub log_key_file: PathBuf,
    /// Whether a witness on the box's own machine counts.
    pub accept_on_box_witness: bool,
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the key {path} cannot be read: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no key.
    #[error("the key {path} is not accepted: {source}")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
}

/// Reads a private key.
pub fn read_key(path: &Path) -> Result<SecretKey, KeyFileError> {
    let pem = std::fs::read_to_string(path).map(Zeroizing::new);
    let pem = pem.map_err(|source| KeyFileError::Io { path: path.to_owned(), source })?;
    SecretKey::from_pkcs8_pem(&pem).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_example_is_a_configuration_and_a_misspelt_key_is_refused() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/signer.toml");
        let read: Configuration = daemon::load(&example).unwrap();
        assert!(!read.accept_on_box_witness);
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("signer.toml");
        let text = std::fs::read_to_string(&example).unwrap();
        std::fs::write(&other, text.replace("accept_on_box_witness", "accept_onbox_witness")).unwrap();
        assert!(daemon::load::<Configuration>(&other).is_err());
    }
}
