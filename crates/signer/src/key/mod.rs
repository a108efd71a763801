//! The two keys of the signer, each in a file or in a token.

pub(crate) mod token;

use std::path::{Path, PathBuf};

use release::key::{KeyError, SecretKey, Sign, SignError, SignStatement};
use release::signature::Signature;
use release::statement::PublicKey;
use zeroize::Zeroizing;

pub use token::{Token, TokenConfiguration, TokenError, TokenKey};

/// A key of the box.
#[derive(Debug)]
pub enum BoxKey {
    /// It is in this process's memory, read from a file.
    File(SecretKey),
    /// It is in a token, which signs for whoever has its PIN and never gives it away.
    Token(TokenKey),
}

impl BoxKey {
    /// The public key.
    pub fn public(&self) -> PublicKey {
        match self {
            Self::File(key) => Sign::public(key),
            Self::Token(key) => key.public(),
        }
    }

    /// The signature of a message. Ed25519 gives the same bytes each time, wherever the key is.
    ///
    /// # Errors
    /// If the token does not sign, or gives something else than a signature by its key.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        match self {
            Self::File(key) => Ok(Sign::sign(key, message)),
            Self::Token(key) => key.sign(message),
        }
    }
}

impl SignStatement for BoxKey {
    fn public(&self) -> PublicKey {
        BoxKey::public(self)
    }

    fn sign_statement(&self, message: &[u8]) -> Result<Signature, SignError> {
        self.sign(message).map(Signature::from)
    }
}

/// Where the two keys are: each in its file, or in the token under its label.
#[derive(Debug, Clone)]
pub struct KeyPlaces {
    /// The key of release manifests.
    pub release_key_file: Option<PathBuf>,
    /// The key of the log.
    pub log_key_file: Option<PathBuf>,
    /// A token that holds one of them or both.
    pub token: Option<TokenConfiguration>,
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BoxKeyError {
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
    /// It has no place, or two.
    #[error("{0} must be named once: as a file, or in [token]")]
    Place(&'static str),
    /// Both keys are one.
    #[error("the release key and the log key are one key")]
    OneKey,
    /// The token that holds it cannot be used.
    #[error("the token is not accepted")]
    Token(#[from] TokenError),
}

impl KeyPlaces {
    /// The release key and the log key.
    ///
    /// # Errors
    /// If one has no place or two, or cannot be used there, or both are one key.
    pub fn open(&self) -> Result<(BoxKey, BoxKey), BoxKeyError> {
        let token = self.token.as_ref().map(Token::load).transpose()?;
        let labels = self.token.as_ref().map(|token| (token.release_key.as_ref(), token.log_key.as_ref()));
        let (release, log) = labels.unwrap_or_default();
        let release = one("the release key", self.release_key_file.as_deref(), token.as_ref(), release)?;
        let log = one("the log key", self.log_key_file.as_deref(), token.as_ref(), log)?;
        // With one key for both, a checkpoint could be taken for a statement, should their forms ever meet.
        if release.public().public == log.public().public {
            return Err(BoxKeyError::OneKey);
        }
        Ok((release, log))
    }
}

fn one(
    name: &'static str,
    file: Option<&Path>,
    token: Option<&Token>,
    label: Option<&String>,
) -> Result<BoxKey, BoxKeyError> {
    match (file, token, label) {
        (Some(path), _, None) => read_key(path).map(BoxKey::File),
        (None, Some(token), Some(label)) => Ok(BoxKey::Token(TokenKey::open(token, label)?)),
        (None, _, None) | (Some(_), _, Some(_)) | (None, None, Some(_)) => Err(BoxKeyError::Place(name)),
    }
}

/// Reads a private key.
fn read_key(path: &Path) -> Result<SecretKey, BoxKeyError> {
    let pem = std::fs::read_to_string(path).map(Zeroizing::new);
    let pem = pem.map_err(|source| BoxKeyError::Io { path: path.to_owned(), source })?;
    SecretKey::from_pkcs8_pem(&pem).map_err(|source| BoxKeyError::Key { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_one_place_and_the_two_are_not_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(directory.path().join(name));
        for name in ["release", "log"] {
            let pem = SecretKey::generate().unwrap().to_pkcs8_pem();
            std::fs::write(directory.path().join(name), pem.as_bytes()).unwrap();
        }
        let open = |release, log| {
            KeyPlaces { release_key_file: release, log_key_file: log, token: None }.open().map(drop)
        };
        assert!(open(path("release"), path("log")).is_ok());
        assert!(matches!(open(path("release"), path("release")), Err(BoxKeyError::OneKey)));
        assert!(matches!(open(None, path("log")), Err(BoxKeyError::Place("the release key"))));
        assert!(matches!(open(path("release"), None), Err(BoxKeyError::Place("the log key"))));
        assert!(matches!(open(path("release"), path("nothing")), Err(BoxKeyError::Io { .. })));
    }
}
