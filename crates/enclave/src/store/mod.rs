//! `account.db`: jobs, account, verdicts, reports and releases. Whoever controls this file sees who asked for what
//! and can stall jobs; it cannot approve or sign, and an older copy of it does not start (see [`head`]).
//!
//! One thread owns the connection, so every change is made one after the other, each in one transaction. SQLite in
//! WAL mode with `synchronous = FULL` makes a commit durable before it returns.

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
pub mod verdicts;

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use daemon::Journal;
use rusqlite::{Connection, Transaction, TransactionBehavior};
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
    /// Nobody answers: the writer's thread has ended.
    #[error("the store has ended")]
    Ended,
}

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

/// The store. Clones speak to the same thread.
#[derive(Debug, Clone)]
pub struct Store {
    work: mpsc::Sender<Work>,
    changed: watch::Sender<u64>,
    journal: Journal,
    head_file: PathBuf,
}

impl Store {
    /// Opens the database, or makes it, and checks it against the head kept outside.
    pub fn open(database: &Path, head_file: &Path, journal: Journal) -> Result<Self, StoreError> {
        let mut connection = schema::open(database)?;
        head::check_at_start(&connection, head_file)?;
        let (work, received) = mpsc::channel::<Work>();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || received.into_iter().for_each(|work| work(&mut connection)))
            .map_err(|_| StoreError::Ended)?;
        let (changed, _) = watch::channel(0);
        Ok(Self { work, changed, journal, head_file: head_file.to_owned() })
    }

    /// Runs `change` in one transaction, which is durable when this returns; an error undoes all of it. Blocks.
    pub fn change<R, E>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (journal, head_file) = (self.journal, self.head_file.clone());
        let result =
            self.on_thread(move |connection| in_transaction(connection, change, journal, &head_file))?;
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
        self.on_thread(move |connection| read(connection))?
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn on_thread<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> R + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let work = Box::new(move |connection: &mut Connection| {
            // Nobody waits any more only when the process is ending.
            let _ = answer.send(work(connection));
        });
        self.work.send(work).map_err(|_| StoreError::Ended)?;
        answered.recv().map_err(|_| StoreError::Ended)
    }
}

fn in_transaction<R, E: From<StoreError>>(
    connection: &mut Connection,
    change: impl FnOnce(&Transaction<'_>) -> Result<R, E>,
    journal: Journal,
    head_file: &Path,
) -> Result<R, E> {
    let before = head::of(connection)?;
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from)?;
    let result = change(&transaction)?;
    // A crash before this line leaves the state before the change, a crash after it the state after it.
    if let Err(error) = transaction.commit() {
        give_up(journal, "a change of the account could not be made durable", &error);
    }
    let after = head::of(connection)?;
    if after != before {
        // A crash here leaves an account that is ahead of its head outside, which the next start accepts. Nothing
        // acts on the charge before this returns, so a database put back to before it is noticed.
        if let Err(error) = head::write(head_file, &after) {
            give_up(journal, "the head of the account could not be made durable", &error);
        }
    }
    Ok(result)
}

/// Ends the process. A failed sync is never tried again: the pages may look clean although they never reached the
/// disk. The next start reads what is really there.
fn give_up(journal: Journal, event: &'static str, error: &dyn std::error::Error) -> ! {
    journal.error(event).own_error(&error.to_string()).write();
    std::process::exit(74)
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
