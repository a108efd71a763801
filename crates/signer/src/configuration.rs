//! The signer's configuration; `deploy/signer.toml` is the commented example.

use std::path::PathBuf;

use blobs::Digest;
use serde::Deserialize;

use crate::key::{KeyPlaces, TokenConfiguration};

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
    /// A file with the key of release manifests; none if it is in the token.
    pub release_key_file: Option<PathBuf>,
    /// A file with the key of the log; none if it is in the token.
    pub log_key_file: Option<PathBuf>,
    /// Whether a witness on the box's own machine counts.
    pub accept_on_box_witness: bool,
    /// A token that holds one of the two keys or both.
    pub token: Option<TokenConfiguration>,
}

impl Configuration {
    /// Where the two keys are.
    pub fn key_places(&self) -> KeyPlaces {
        KeyPlaces {
            release_key_file: self.release_key_file.clone(),
            log_key_file: self.log_key_file.clone(),
            token: self.token.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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

    #[test]
    fn the_commented_token_of_the_example_is_one() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/signer.toml");
        let directory = tempfile::tempdir().unwrap();
        let with_token = directory.path().join("signer.toml");
        let text = std::fs::read_to_string(&example).unwrap();
        let (before, token) = text.split_once("# [token]\n").unwrap();
        let token = token.replace("\n# ", "\n");
        std::fs::write(&with_token, format!("{before}[token]\n{}", token.trim_start_matches("# "))).unwrap();
        let read: Configuration = daemon::load(&with_token).unwrap();
        assert_eq!(read.key_places().token.unwrap().log_key.as_deref(), Some("log"));
    }
}
