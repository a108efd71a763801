//! `queue.db`: uploads, jobs and their events, releases. Whoever controls this file sees who asked for what and can
//! stall jobs; it cannot run anything in a researcher's name or make a file served that no logged release names.
//!
//! One thread owns the connection, so every change is made one after the other, each in one transaction. SQLite in
//! WAL mode with `synchronous = FULL` makes a commit durable before it returns.

pub mod cancels;
mod columns;
pub mod elapsed;
pub mod events;
pub mod jobs;
pub mod kept;
pub mod releases;
mod schema;
pub mod uploads;

use std::path::Path;
use std::sync::mpsc;

use daemon::Journal;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use server::Refused;
use tokio::sync::oneshot;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused.
    #[error("queue.db cannot be read or written")]
    Database(#[from] rusqlite::Error),
    /// It was made by a newer version of the gateway.
    #[error("queue.db has schema {found}, and this gateway knows {known} at most; start the newer version")]
    Newer {
        /// The schema found.
        found: i64,
        /// The newest that this version knows.
        known: i64,
    },
    /// It was made by an older version of the gateway, and nothing converts it.
    #[error(
        "queue.db has schema {found}, and this gateway knows {known}; move it away once its jobs have ended"
    )]
    Older {
        /// The schema found.
        found: i64,
        /// The only one that this version knows.
        known: i64,
    },
    /// A value in it is not one that the gateway writes.
    #[error("queue.db holds a value that the gateway does not write, in {0}")]
    Foreign(&'static str),
    /// Nobody answers: the writer's thread has ended.
    #[error("the store has ended")]
    Ended,
}

impl From<StoreError> for Refused {
    fn from(_: StoreError) -> Self {
        Refused::Box
    }
}

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

/// The store. Clones speak to the same thread.
#[derive(Debug, Clone)]
pub struct Store {
    work: mpsc::Sender<Work>,
    journal: Journal,
}

impl Store {
    /// Opens the database, or makes it.
    pub fn open(database: &Path, journal: Journal) -> Result<Self, StoreError> {
        let mut connection = schema::open(database)?;
        let (work, received) = mpsc::channel::<Work>();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || received.into_iter().for_each(|work| work(&mut connection)))
            .map_err(|_| StoreError::Ended)?;
        Ok(Self { work, journal })
    }

    /// Runs `change` in one transaction, which is durable when this returns; an error undoes all of it.
    pub async fn change<R, E>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let journal = self.journal;
        self.ask(move |connection| in_transaction(connection, change, journal))?
            .await
            .map_err(|_| StoreError::Ended)?
    }

    /// Reads, after every change before it.
    pub async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.ask(move |connection| read(connection))?.await.map_err(|_| StoreError::Ended)?
    }

    fn ask<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> R + Send + 'static,
    ) -> Result<oneshot::Receiver<R>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |connection: &mut Connection| {
            // A caller that went away does not undo what it asked for; a repeat finds it.
            let _ = answer.send(work(connection));
        });
        self.work.send(work).map_err(|_| StoreError::Ended)?;
        Ok(answered)
    }
}

fn in_transaction<R, E: From<StoreError>>(
    connection: &mut Connection,
    change: impl FnOnce(&Transaction<'_>) -> Result<R, E>,
    journal: Journal,
) -> Result<R, E> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from)?;
    let result = change(&transaction)?;
    if let Err(error) = transaction.commit() {
        // A failed sync is never tried again: the pages may look clean although they never reached the disk. The
        // next start reads what is really there.
        journal.error("a change of the queue could not be made durable").own_error(&error).write();
        std::process::exit(74);
    }
    Ok(result)
}

#[cfg(test)]
pub(crate) mod testing {
    use release::envelope::Envelope;
    use release::value::Timestamp;
    use test_formats::story::Told;

    use super::*;

    /// A connection to a database of its own, as the store's thread has it.
    pub(crate) fn connection() -> (tempfile::TempDir, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open(&directory.path().join("queue.db")).unwrap();
        (directory, connection)
    }

    /// Lays the story's site into this directory.
    pub(crate) fn install_site(directory: &Path, told: &Told) {
        let install = |envelope: &Envelope| {
            let path = directory.join(release::site::file_name(envelope).unwrap());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, envelope.to_bytes()).unwrap();
            path
        };
        let release = &told.release;
        let statements = [&release.revocation, &release.grant].into_iter().chain(&release.roles);
        statements.chain(&release.catalogue).for_each(|envelope| drop(install(envelope)));
        std::fs::write(install(&release.policy).with_extension("toml"), &release.policy_file).unwrap();
    }

    /// Seconds after a moment that is a multiple of ten minutes.
    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_whole_or_not_at_all_and_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue.db");
        let store = Store::open(&path, Journal::new("test")).unwrap();
        let failed: Result<(), StoreError> = store
            .change(|transaction| {
                kept::put(transaction, "a", b"1")?;
                Err(StoreError::Foreign("test"))
            })
            .await;
        assert!(failed.is_err());
        let get = |connection: &Connection| kept::get(connection, "a");
        assert_eq!(store.read(get).await.unwrap(), None);
        store.change(|transaction| kept::put(transaction, "a", b"2")).await.unwrap();
        drop(store);
        let again = Store::open(&path, Journal::new("test")).unwrap();
        assert_eq!(again.read(get).await.unwrap(), Some(b"2".to_vec()));
    }

    #[test]
    fn a_database_from_before_places_and_use_were_told_is_refused_by_name() {
        let (directory, connection) = testing::connection();
        connection.execute_batch("PRAGMA user_version = 2").unwrap();
        drop(connection);
        let again = schema::open(&directory.path().join("queue.db"));
        assert!(matches!(again, Err(StoreError::Older { found: 2, known: 3 })));
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused() {
        let (directory, connection) = testing::connection();
        connection.execute_batch("PRAGMA user_version = 99").unwrap();
        drop(connection);
        let again = schema::open(&directory.path().join("queue.db"));
        assert!(matches!(again, Err(StoreError::Newer { found: 99, .. })));
    }
}
