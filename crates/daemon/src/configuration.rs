//! One commented TOML file a room. Unknown keys are refused: a misspelt limit must not be a missing one.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what the room expects.
    #[error("the configuration {path} is not accepted: {source}")]
    NotAccepted {
        /// The file.
        path: PathBuf,
        /// Which key, and why.
        source: Box<toml::de::Error>,
    },
    /// A user that this machine does not have.
    #[error("this machine has no user {0}; write a user's name from /etc/passwd, or a number")]
    NoSuchUser(String),
}

/// Reads the configuration of a room.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigurationError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigurationError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| ConfigurationError::NotAccepted { path: path.to_owned(), source: Box::new(source) })
}

/// The number of a user, given by number or by its name in `/etc/passwd`.
pub fn user_id(user: &str) -> Result<u32, ConfigurationError> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines
        .find(|fields| fields.first() == Some(&user))
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| ConfigurationError::NoSuchUser(user.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        limit: u32,
    }

    #[test]
    fn a_misspelt_key_is_refused_and_the_right_one_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("room.toml");
        std::fs::write(&path, "limit = 3\n").unwrap();
        assert_eq!(load::<Example>(&path).unwrap().limit, 3);
        std::fs::write(&path, "limit = 3\nlimitt = 4\n").unwrap();
        assert!(matches!(load::<Example>(&path), Err(ConfigurationError::NotAccepted { .. })));
        let missing = load::<Example>(&directory.path().join("none.toml"));
        assert!(matches!(missing, Err(ConfigurationError::Unreadable { .. })));
    }

    #[test]
    fn users_are_found_by_number_and_by_name() {
        assert_eq!(user_id("65534").unwrap(), 65534);
        assert_eq!(user_id("root").unwrap(), 0);
        assert!(user_id("nobody-of-that-name").is_err());
    }
}
