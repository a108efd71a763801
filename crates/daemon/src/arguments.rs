//! The command line of a room that reads it without a library for it.

use std::ffi::OsString;
use std::path::PathBuf;

/// How a room is started: `ROOM --config FILE [--die-with-parent]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// The commented configuration.
    pub config: PathBuf,
    /// End, in order, with the process that started the room.
    pub die_with_parent: bool,
}

/// A command line that is not a room's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("usage: {0} --config FILE [--die-with-parent]")]
pub struct UsageError(&'static str);

impl Arguments {
    /// Reads the words behind the program's name; `room` is named in the error.
    pub fn parse(room: &'static str, words: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let (mut config, mut die_with_parent) = (None, false);
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.to_str() {
                Some("--config") if config.is_none() => config = words.next().map(PathBuf::from),
                Some("--die-with-parent") if !die_with_parent => die_with_parent = true,
                _ => return Err(UsageError(room)),
            }
        }
        config.map(|config| Self { config, die_with_parent }).ok_or(UsageError(room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_started_with_a_configuration_and_ends_with_its_parent_only_where_it_is_told_to() {
        let parse = |words: &[&str]| Arguments::parse("signer", words.iter().map(OsString::from));
        let arguments = |die_with_parent| Arguments { config: "signer.toml".into(), die_with_parent };
        assert_eq!(parse(&["--config", "signer.toml"]), Ok(arguments(false)));
        assert_eq!(parse(&["--config", "signer.toml", "--die-with-parent"]), Ok(arguments(true)));
        for wrong in [
            &[][..],
            &["--config"],
            &["signer.toml"],
            &["--die-with-parent"],
            &["--config", "a", "--config", "b"],
            &["--config", "a", "--verbose"],
        ] {
            assert_eq!(parse(wrong), Err(UsageError("signer")), "{wrong:?}");
        }
    }
}
