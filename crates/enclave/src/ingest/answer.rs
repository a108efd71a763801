//! What the operator is told about what they laid down: one file for each in the drafts directory, beside the draft.
//!
//! `<name>.answer.json` for a dataset, `runtime-<name>.answer.json` for a runtime: `{"state", "reason", "detail"}`, with
//! the states `TAKEN`, `WAITING` and `REFUSED`. It is replaced whenever the answer changes. Details name columns and
//! files of the operator's own, never a cell of the data.

use std::collections::HashMap;

use release::value::Name;
use serde::Serialize;

use crate::files;
use crate::room::Room;

/// What a dataset or runtime waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// No site is in force.
    Site,
    /// Roles do not name the dataset.
    Roles,
    /// None of its stewards has a review key, so that its draft could be sealed to nobody.
    ReviewKeys,
}

/// What became of what was laid down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its draft is there.
    Taken,
    /// It is looked at again by itself.
    Waiting(Awaited),
    /// It is not looked at again before it is laid down anew: the case's name, and what is wrong.
    Refused(&'static str, String),
}

#[derive(Serialize)]
struct Written<'a> {
    state: &'static str,
    reason: &'a str,
    detail: &'a str,
}

impl Answer {
    fn written(&self) -> Written<'_> {
        let (state, reason, detail) = match self {
            Self::Taken => ("TAKEN", "", "its draft is ready to be signed"),
            Self::Waiting(Awaited::Site) => ("WAITING", "SITE", "no roles of the site are in force yet"),
            Self::Waiting(Awaited::Roles) => {
                ("WAITING", "ROLES", "the roles in force do not name this dataset; install roles that do")
            }
            Self::Waiting(Awaited::ReviewKeys) => {
                ("WAITING", "REVIEW_KEYS", "none of the dataset's stewards has a review key in the roles")
            }
            Self::Refused(name, detail) => ("REFUSED", *name, detail.as_str()),
        };
        Written { state, reason, detail }
    }
}

/// The answers given since the start, so that each is written once.
#[derive(Debug, Default)]
pub struct Answers(HashMap<String, Answer>);

impl Answers {
    /// Writes an answer if it is another one than before. One that cannot be written is written at the next look.
    pub fn give(&mut self, room: &Room, kind: &str, name: &Name, answer: Answer) {
        let file = match kind {
            super::DATASETS => format!("{name}.answer.json"),
            _ => format!("runtime-{name}.answer.json"),
        };
        if self.0.get(&file) == Some(&answer) {
            return;
        }
        let path = room.configuration.drafts_directory.join(&file);
        let text = serde_json::to_vec_pretty(&answer.written()).expect("strings are JSON");
        match files::replace_durably(&path, &text, 0o640) {
            Ok(()) => drop(self.0.insert(file, answer)),
            Err(error) => room.journal.warning("an answer is not written").own_error(&error).write(),
        }
    }
}
