//! Log lines: one JSON object a line on standard error, made of typed fields.
//!
//! A field is a number, a digest, a word that the program itself spells out (`&'static str`), or the text of an error. A
//! string made at run time is none of these; an error of the room's own may name a file, and must quote nobody.

use std::error::Error;
use std::io::Write;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The room does its work.
    Info,
    /// Something was refused or tried again.
    Warning,
    /// The room cannot do its work.
    Error,
}

/// Writes the lines of one room.
#[derive(Debug, Clone, Copy)]
pub struct Journal {
    room: &'static str,
}

impl Journal {
    /// A journal of the room with this name.
    pub const fn new(room: &'static str) -> Self {
        Self { room }
    }

    /// Begins a line. `event` names what happened, in a few words.
    pub fn event(&self, level: Level, event: &'static str) -> Event {
        let level = match level {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let seconds = crate::now_seconds();
        let room = self.room;
        Event { line: format!(r#"{{"time":{seconds},"level":"{level}","room":"{room}","event":"{event}""#) }
    }

    /// Begins a line of level info.
    pub fn info(&self, event: &'static str) -> Event {
        self.event(Level::Info, event)
    }

    /// Begins a line of level warning.
    pub fn warning(&self, event: &'static str) -> Event {
        self.event(Level::Warning, event)
    }

    /// Begins a line of level error.
    pub fn error(&self, event: &'static str) -> Event {
        self.event(Level::Error, event)
    }
}

/// A line being written. It is written when [`Event::write`] is called.
#[must_use = "a line is written by `write`"]
#[derive(Debug)]
pub struct Event {
    line: String,
}

impl Event {
    /// Adds a number.
    pub fn number(mut self, name: &'static str, value: impl Into<i128>) -> Self {
        self.line += &format!(r#","{name}":{}"#, value.into());
        self
    }

    /// Adds a word that the program spells out.
    pub fn word(mut self, name: &'static str, value: &'static str) -> Self {
        self.line += &format!(r#","{name}":"{value}""#);
        self
    }

    /// Adds 32 bytes, such as a digest, in hexadecimal.
    pub fn digest(mut self, name: &'static str, bytes: &[u8; 32]) -> Self {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.line += &format!(r#","{name}":"{text}""#);
        self
    }

    /// Adds an error of the room's own, whose text the program spells out. Only for errors about the room's own
    /// files and sockets: never for one that quotes what a job or a peer sent.
    pub fn own_error(self, error: &(impl Error + ?Sized)) -> Self {
        self.error_text(&error.to_string())
    }

    /// The same with each of its causes.
    pub fn own_causes(self, error: &(dyn Error + 'static)) -> Self {
        self.error_text(&with_causes(error))
    }

    fn error_text(mut self, text: &str) -> Self {
        let text: String = text.chars().filter(|c| !c.is_control() && *c != '"' && *c != '\\').collect();
        self.line += &format!(r#","error":"{text}""#);
        self
    }

    /// Writes the line.
    pub fn write(self) {
        // A log that cannot be written must not stop a room; what must not be lost is in its store.
        let _ = writeln!(std::io::stderr().lock(), "{}}}", self.line);
    }
}

/// An error's text, and that of each of its causes.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object() {
        let event = Journal::new("signer").info("started").number("size", 3).word("state", "ready");
        let event = event.digest("head", &[0xab; 32]).own_error(&std::io::Error::other("a \"quoted\"\nline"));
        let line = format!("{}}}", event.line);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["size"], 3);
        assert_eq!(value["head"], "ab".repeat(32));
        assert_eq!(value["error"], "a quotedline");
    }
}
