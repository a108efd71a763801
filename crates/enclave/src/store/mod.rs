//! `account.db`: jobs, account, verdicts, reports and releases. Whoever controls this file sees who asked for what
//! and can stall jobs; it cannot approve or sign, and an older copy of it does not start (see [`head`]).
//!
//! One thread owns the connection and makes every change one after the other, each whole or not at all; those that wait
//! together become durable with one sync (see [`database`]). SQLite in WAL mode with `synchronous = FULL` makes a commit
//! durable before it returns.

pub mod account;
pub mod cancels;
pub mod code_reviews;
mod columns;
pub mod elapsed;
pub mod head;
pub mod jobs;
pub mod releases;
pub mod reports;
mod schema;
pub mod tables;
pub mod trees;
pub mod verdicts;

use std::path::Path;
use std::sync::mpsc;

use daemon::Journal;
use database::{Failed, Writer};
use rusqlite::{Connection, Transaction};
use tokio::sync::watch;

pub use head::HeadError;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused.
    #[error("account.db cannot be read or written")]
    Database(#[from] rusqlite::Error),
    /// It was made by another version of the enclave.
    #[error("account.db has schema {found}, and this enclave writes {known}; start the version that made it")]
    OtherSchema {
        /// The schema found.
        found: i64,
        /// The one that this version writes.
        known: i64,
    },
    /// A value in it is not one that the enclave writes.
    #[error("account.db holds a value that the enclave does not write, in {0}")]
    Foreign(&'static str),
    /// The account and its head outside do not belong together.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A move that is not in the table of states.
    #[error("a job cannot make this move")]
    Move(#[from] lifecycle::MoveError),
    /// The writer did not make it.
    #[error(transparent)]
    Failed(#[from] database::Failed),
}

/// The store. Clones speak to the same thread.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Writer,
    changed: watch::Sender<u64>,
}

impl Store {
    /// Opens the database, or makes it, and checks it against the head kept outside.
    pub fn open(database: &Path, head_file: &Path, journal: Journal) -> Result<Self, StoreError> {
        let connection = schema::open(database)?;
        head::check_at_start(&connection, head_file)?;
        let kept = head::Kept::new(head::of(&connection)?, head_file.to_owned(), journal);
        let writer = Writer::start(connection, kept.after_each_commit(), journal)?;
        let (changed, _) = watch::channel(0);
        Ok(Self { writer, changed })
    }

    /// Makes a change, which is durable when this returns; an error undoes all of it. Blocks.
    pub fn change<R, E>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = mpsc::sync_channel(1);
        let asked = self.writer.change(change, move |made| drop(answer.send(made)));
        asked.map_err(StoreError::from)?;
        let result = answered.recv().unwrap_or(Err(Failed::Ended)).map_err(StoreError::from)?;
        if result.is_ok() {
            self.changed.send_modify(|count| *count += 1);
        }
        result
    }

    /// Reads. Blocks until the changes before it are made.
    pub fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.writer.read(read, move |read| drop(answer.send(read)))?;
        answered.recv().map_err(|_| Failed::Ended)?
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A store in a directory of its own.
    pub(crate) fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).unwrap();
        (directory, store)
    }

    /// The store in this directory.
    pub(crate) fn open(directory: &Path) -> Result<Store, StoreError> {
        Store::open(&directory.join("account.db"), &directory.join("head"), Journal::new("test"))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{open, store};
    use super::*;

    #[test]
    fn a_change_that_fails_leaves_nothing_behind() {
        let (_directory, store) = store();
        let failed: Result<(), StoreError> = store.change(|transaction| {
            transaction.execute("INSERT INTO kept (name, value) VALUES ('a', x'00')", [])?;
            Err(StoreError::Foreign("test"))
        });
        assert!(failed.is_err());
        let kept = store.read(|connection| {
            Ok(connection
                .query_row("SELECT count(*) FROM kept WHERE name = 'a'", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(kept.unwrap(), 0);
    }

    #[test]
    fn a_change_is_told_and_is_there_after_a_restart() {
        let (directory, store) = store();
        let changes = store.changes();
        store
            .change(|transaction| -> Result<(), StoreError> {
                transaction.execute("INSERT INTO kept (name, value) VALUES ('a', x'07')", [])?;
                Ok(())
            })
            .unwrap();
        assert!(changes.has_changed().unwrap());
        drop(store);
        let again = open(directory.path()).unwrap();
        let value = again.read(|connection| {
            Ok(connection
                .query_row("SELECT value FROM kept WHERE name = 'a'", [], |row| row.get::<_, Vec<u8>>(0))?)
        });
        assert_eq!(value.unwrap(), [7]);
    }

    #[test]
    fn a_database_of_another_version_is_refused() {
        let (directory, store) = store();
        store
            .change(|transaction| -> Result<(), StoreError> {
                transaction.execute_batch("PRAGMA user_version = 99")?;
                Ok(())
            })
            .unwrap();
        drop(store);
        assert!(matches!(open(directory.path()), Err(StoreError::OtherSchema { found: 99, .. })));
    }
}
