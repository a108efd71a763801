//! How the log grows: in steps that a crash may separate anywhere, and that the next start completes.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::Digest;
use release::json;
use release::log::Leaf;
use release::site::SeenVersions;
use release::value::Timestamp;

use crate::disk::Disk;
use crate::history::{History, HistoryError};
use crate::places::Places;
use crate::state::{Content, Entry, Head, State, StateError, read_head, read_state};

/// A log that must not be continued. The signer ends; a person has to look.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file could not be made durable. The next start completes what was begun.
    #[error("a file could not be made durable")]
    Disk(#[from] io::Error),
    /// A file of the signer's own is not accepted.
    #[error("a file of the signer's own is not accepted")]
    State(#[from] StateError),
    /// The log's files do not fit together.
    #[error("the log's files do not fit together")]
    History(#[from] HistoryError),
    /// The log is older than the head outside the data directory: an old copy, or none where there was one.
    #[error("the log is older than the head that was signed last: {log} leaves and not {head}")]
    Rollback {
        /// Leaves here.
        log: u64,
        /// Leaves signed.
        head: u64,
    },
    /// The head outside the data directory is missing or older than the log.
    #[error("the head outside the data directory is missing, or older than the log")]
    HeadLost,
    /// The head outside has another root: two histories.
    #[error("the log has another history than the head that was signed last")]
    Fork,
    /// The published checkpoint is not one of this log.
    #[error("the published checkpoint is not one of this log")]
    Checkpoint,
}

/// The log and its files.
#[derive(Debug)]
pub struct Log<D> {
    pub(crate) disk: D,
    pub(crate) places: Places,
    state: State,
    history: History,
}

impl<D: Disk> Log<D> {
    /// Takes up the log where it was left, or begins it if there never was one.
    pub fn open(places: Places, mut disk: D) -> Result<Self, LogError> {
        let (state, head) = (read_state(&places)?, read_head(&places)?);
        let (state, head) = match (state, head) {
            (Some(state), Some(head)) => (state, head),
            (Some(_), None) => return Err(LogError::HeadLost),
            // Under this origin and key something was signed once: another log would be a second history.
            (None, Some(head)) if head != Head::empty() => {
                return Err(LogError::Rollback { log: 0, head: head.size.0 });
            }
            // Something was published once, so both were lost together.
            (None, _) if places.checkpoint().exists() => return Err(LogError::HeadLost),
            (None, _) => inception(&places, &mut disk)?,
        };
        let history = History::load(&places, &state.head)?;
        let mut log = Self { disk, places, state, history };
        log.compare_with(&head)?;
        if !log.state.pending.is_empty() {
            log.complete()?;
        }
        Ok(log)
    }

    /// What is remembered.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The log in memory.
    #[cfg(test)]
    pub fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// The log in memory.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Appends entries. Once this has returned, they are in the log for good; if it fails, they are or will be, or
    /// the log is as it was, and the next start knows which.
    pub fn append(
        &mut self,
        origin: &str,
        entries: Vec<Entry>,
        seen: SeenVersions,
        signed_at: Timestamp,
    ) -> Result<(), LogError> {
        // 1. The decision. A crash before this is durable leaves the log as it was, and a repeat of the message
        // decides anew. A crash after it leaves a decision whose files are missing: the next start completes it from
        // here, before it decides anything else, so that no second manifest can be signed for its verdict.
        let state =
            State { origin: origin.to_owned(), pending: entries, seen, signed_at, ..self.state.clone() };
        self.disk.replace(&self.places.state(), &json::to_bytes(&state))?;
        self.state = state;
        if self.state.pending.is_empty() { Ok(()) } else { self.complete() }
    }

    /// The steps after the decision. Each may be repeated.
    fn complete(&mut self) -> Result<(), LogError> {
        let entries = self.state.pending.clone();
        // 2. What the leaves stand for. A crash here leaves statements that no leaf names; the next start writes the
        // same again. The other order could leave a leaf whose statement is lost.
        let contents: Vec<_> = entries.iter().map(|entry| self.contents(entry)).collect::<Result<_, _>>()?;
        self.disk.keep_all(&contents.concat())?;
        // 3. Entries and tiles. A crash here leaves files past the end of the log, under no head; the next start
        // writes the same again, since the leaves are fixed by step 1. The log in memory is ahead of the disk from
        // here on: if a step fails, this process ends.
        let old = self.history.head();
        let mut leaves = self.history.unfinished_bundle().to_vec();
        leaves.extend(entries.iter().map(|entry| entry.leaf.clone()));
        entries.iter().try_for_each(|entry| self.history.push(entry))?;
        let grown = self.history.head();
        let files = self.history.files_since(old.size.0, &leaves).into_iter();
        let files: Vec<_> = files.map(|(tile, bytes)| (self.places.tile(&tile), bytes)).collect();
        self.disk.keep_all(&files)?;
        // 4. The head outside the data directory, before any checkpoint of this size is signed. A crash here leaves
        // head and log as they were, or a head that is this many leaves ahead; the next start knows that one from
        // the pending entries. With any other head it refuses.
        self.swap_head(&old, &grown)?;
        // 5. The log itself. A crash before this repeats the steps above, which change nothing; after it, all is
        // complete but for the answer, which a repeat of the message gets.
        let state = State { head: grown, pending: Vec::new(), ..self.state.clone() };
        self.disk.replace(&self.places.state(), &json::to_bytes(&state))?;
        self.state = state;
        Ok(())
    }

    /// The files that stand beside a leaf.
    fn contents(&self, entry: &Entry) -> Result<Vec<(PathBuf, Vec<u8>)>, LogError> {
        let leaf = entry.parsed_leaf()?;
        let site = match &entry.content {
            Content::Decision(decision) => {
                return Ok(vec![(self.places.evidence(&decision.verdict), json::to_bytes(entry))]);
            }
            Content::Statement(site) => site,
        };
        let mut files = Vec::new();
        if !site.policy_file.is_empty() {
            let file = STANDARD.decode(&site.policy_file).map_err(|_| StateError::Form)?;
            files.push((self.places.policy_file(&Digest::of(&file)), file));
        }
        let path = self.places.statement(leaf.event(), &leaf.payload()).ok_or(StateError::Form)?;
        files.push((path, site.statement.to_bytes()));
        Ok(files)
    }

    /// Compare and swap: under the lock that this process holds, the head moves only from the log's old end to its
    /// new one.
    fn swap_head(&mut self, old: &Head, grown: &Head) -> Result<(), LogError> {
        let found = read_head(&self.places)?.ok_or(LogError::HeadLost)?;
        // The new head may be there already, from a process that died before its name was durable.
        if found != *old && found != *grown {
            return Err(LogError::Fork);
        }
        Ok(self.disk.replace(&self.places.head(), &json::to_bytes(grown))?)
    }

    fn compare_with(&self, head: &Head) -> Result<(), LogError> {
        let log = self.history.head();
        let grown = self.history.head_with(self.state.pending.iter().map(|entry| &entry.leaf));
        if *head == log || *head == grown {
            return Ok(());
        }
        match head.size.cmp(&log.size) {
            std::cmp::Ordering::Greater => Err(LogError::Rollback { log: log.size.0, head: head.size.0 }),
            std::cmp::Ordering::Less => Err(LogError::HeadLost),
            std::cmp::Ordering::Equal => Err(LogError::Fork),
        }
    }

    /// Writes a file that never changes.
    pub fn keep(&mut self, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
        Ok(self.disk.keep(path, bytes)?)
    }

    /// Writes several such files, in any order.
    pub fn keep_all(&mut self, files: &[(PathBuf, Vec<u8>)]) -> Result<(), LogError> {
        Ok(self.disk.keep_all(files)?)
    }

    /// Replaces a file.
    pub fn replace(&mut self, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
        Ok(self.disk.replace(path, bytes)?)
    }
}

/// Begins a log: once in the life of a box.
fn inception(places: &Places, disk: &mut impl Disk) -> Result<(State, Head), LogError> {
    let (state, head) = (State::empty(), Head::empty());
    // A crash between the two leaves an empty head and no log: nothing was signed, and the next start begins again.
    // The other order would leave a log without a head, which is refused.
    disk.replace(&places.head(), &json::to_bytes(&head))?;
    disk.replace(&places.state(), &json::to_bytes(&state))?;
    Ok((state, head))
}

/// The entry of a statement of the site.
pub fn site_entry(
    statement: &release::envelope::Envelope,
    policy_file: &[u8],
) -> Result<Entry, release::log::LeafError> {
    let leaf = Leaf::of(statement)?.to_text();
    let policy_file = STANDARD.encode(policy_file);
    let content =
        Content::Statement(crate::state::SiteStatement { statement: statement.clone(), policy_file });
    Ok(Entry { leaf, content })
}
