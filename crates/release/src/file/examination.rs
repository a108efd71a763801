//! What a verifier says about a release file: a row for each check, in the order in which they are made.

use super::known_site::KnownSite;
use super::verify::{self, GivenFiles, LoggedRelease, Pinned};
use super::{RELEASE_FILE_LIMIT, ReleaseFile};
use crate::refusal::Refusal;
use crate::value::Timestamp;

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was made and holds.
    Passed,
    /// It was not made: this version does not have it, or what it needs was not given.
    NotChecked,
    /// Something that a reader must know and that is no reason to refuse.
    Noted,
    /// It was made and fails.
    Refused(Refusal),
}

impl Outcome {
    /// The word in a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::NotChecked => "not-checked",
            Self::Noted => "note",
            Self::Refused(_) => "REFUSED",
        }
    }
}

/// One check and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The check.
    pub check: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What it found, for people.
    pub detail: String,
}

/// All checks of one release file, up to the first that failed.
#[derive(Debug)]
pub struct Examination {
    /// The checks.
    pub rows: Vec<Row>,
    /// The release, or the rule that was broken.
    pub result: Result<LoggedRelease, Refusal>,
}

impl Examination {
    /// Reads and checks a release file.
    pub fn of(bytes: &[u8], pinned: &Pinned, now: Timestamp, files: GivenFiles<'_>) -> Self {
        let mut rows = Rows::default();
        let result = examine(bytes, pinned, now, files, &mut rows);
        Self { rows: rows.0, result }
    }

    /// An examination that ended before the release file was read.
    pub fn refused(check: &str, refusal: Refusal, detail: String) -> Self {
        let row = Row { check: check.to_owned(), outcome: Outcome::Refused(refusal), detail };
        Self { rows: vec![row], result: Err(refusal) }
    }
}

fn examine(
    bytes: &[u8],
    pinned: &Pinned,
    now: Timestamp,
    files: GivenFiles<'_>,
    rows: &mut Rows,
) -> Result<LoggedRelease, Refusal> {
    if bytes.len() > RELEASE_FILE_LIMIT {
        rows.refuse("form", Refusal::SizeLimit);
        return Err(Refusal::SizeLimit);
    }
    let file = rows.check("form", ReleaseFile::parse(bytes), |_| format!("{} bytes", bytes.len()))?;
    verify::verify(&file, pinned, now, files, &mut KnownSite::default(), rows)
}

/// Gathers rows while checks are made.
#[derive(Default)]
pub(super) struct Rows(Vec<Row>);

impl Rows {
    pub(super) fn into_rows(self) -> Vec<Row> {
        self.0
    }

    /// Writes down a check and hands its result on.
    pub(super) fn check<T>(
        &mut self,
        check: &str,
        result: Result<T, Refusal>,
        detail: impl FnOnce(&T) -> String,
    ) -> Result<T, Refusal> {
        match result {
            Ok(value) => {
                self.say(check, Outcome::Passed, detail(&value));
                Ok(value)
            }
            Err(refusal) => {
                self.refuse(check, refusal);
                Err(refusal)
            }
        }
    }

    pub(super) fn say(&mut self, check: &str, outcome: Outcome, detail: impl Into<String>) {
        self.0.push(Row { check: check.to_owned(), outcome, detail: detail.into() });
    }

    fn refuse(&mut self, check: &str, refusal: Refusal) {
        self.say(check, Outcome::Refused(refusal), refusal.meaning());
    }
}
