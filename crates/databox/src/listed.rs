//! A list that a room hands out page by page. The room may lie: what is printed of it is checked first, and a list that
//! never ends does.

use std::collections::BTreeSet;

use blobs::Digest;
use release::value::Name;

use crate::failure::{Exit, Failure};

/// Most entries that a list may have.
const LIMIT: usize = 100_000;

/// Entries of a page that the room may be asked for.
pub const PAGE_SIZE: u32 = 100;

/// Refuses words of a room that a terminal would not print plainly: it could else write whatever it likes there.
pub fn plain<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<(), Failure> {
    let is_plain = |word: &str| word.len() <= 4096 && crate::review::printable(word) == word;
    match words.into_iter().all(is_plain) {
        true => Ok(()),
        false => Err(refused("words that no terminal should print")),
    }
}

/// The entries up to now, each once.
#[derive(Debug)]
pub struct Listed<T> {
    entries: Vec<T>,
    known: BTreeSet<Digest>,
    before: usize,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), known: BTreeSet::new(), before: 0 }
    }
}

impl<T> Listed<T> {
    /// Adds an entry. `words` gives its id and whatever else is printed of it, which must be names: a room of another
    /// mind could else write whatever it likes to the terminal.
    pub fn add(&mut self, entry: T, words: impl Fn(&T) -> (&str, Vec<&str>)) -> Result<(), Failure> {
        let (id, printed) = words(&entry);
        let id: Digest = id.parse().map_err(|_| refused("an entry without an id"))?;
        if printed.iter().any(|word| !word.is_empty() && word.parse::<Name>().is_err()) {
            return Err(refused("an entry whose words are no names"));
        }
        if self.known.insert(id) {
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Ends a page. False if it was the last.
    pub fn goes_on(&mut self, next_page_token: &str) -> Result<bool, Failure> {
        if next_page_token.is_empty() {
            return Ok(false);
        }
        if self.entries.len() == self.before || self.entries.len() > LIMIT {
            return Err(refused("a list without an end"));
        }
        self.before = self.entries.len();
        Ok(true)
    }

    /// What was listed.
    pub fn entries(self) -> Vec<T> {
        self.entries
    }
}

fn refused(what: &str) -> Failure {
    Failure::new("LIST_REFUSED", format!("the box handed out {what}")).exit(Exit::Denied)
}
