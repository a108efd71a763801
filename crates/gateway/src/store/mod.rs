//! `queue.db`: uploads, jobs and their events, releases. Whoever controls this file sees who asked for what and can
//! stall jobs; it cannot run anything in a researcher's name or make a file served that no logged release names.
//!
//! One thread owns the connection and makes every change one after the other, each whole or not at all; those that wait
//! together become durable with one sync (see [`database`]). SQLite in WAL mode with `synchronous = FULL` makes a commit
//! durable before it returns.

pub mod cancels;
mod columns;
pub mod elapsed;
pub mod events;
pub mod jobs;
pub mod kept;
pub mod queue;
pub mod releases;
mod schema;
pub mod uploads;

use std::path::Path;

use daemon::Journal;
use database::{Failed, Writer};
use rusqlite::{Connection, ErrorCode, Transaction};
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
    /// The writer did not make it.
    #[error(transparent)]
    Failed(#[from] database::Failed),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed(database::Failed::TakenBack) => Refused::Disk,
            StoreError::Database(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                Refused::Disk
            }
            _ => Refused::Box,
        }
    }
}

/// The store. Clones speak to the same thread.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Writer,
}

impl Store {
    /// Opens the database, or makes it.
    pub fn open(database: &Path, journal: Journal) -> Result<Self, StoreError> {
        let writer = Writer::start(schema::open(database)?, |_| {}, journal)?;
        Ok(Self { writer })
    }

    /// Makes a change, which is durable when this returns; an error undoes all of it. A caller that goes away does not
    /// undo what it asked for; a repeat finds it.
    pub async fn change<R, E>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let asked = self.writer.change(change, move |made| drop(answer.send(made)));
        asked.map_err(StoreError::from)?;
        answered.await.unwrap_or(Err(Failed::Ended)).map_err(StoreError::from)?
    }

    /// Reads, after every change before it.
    pub async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.writer.read(read, move |read| drop(answer.send(read)))?;
        answered.await.map_err(|_| Failed::Ended)?
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use blobs::Digest;
    use release::envelope::Envelope;
    use release::statement::Request;
    use release::value::Timestamp;
    use test_formats::story::{Story, Told};

    use super::jobs::{JobLimits, NewJob};
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

    const LIMITS: JobLimits = JobLimits { open_per_person: 100, waiting_per_grant: 3 };

    /// A job of this grant, on a grid of ten minutes.
    fn job(grant: &str, number: u8) -> NewJob {
        let envelope = Story::default().tell().release.request;
        let mut request: Request = envelope.unverified().unwrap();
        request.grant.id = grant.parse().unwrap();
        NewJob {
            digest: Digest::of(&[grant.as_bytes(), &[number]].concat()),
            request,
            envelope: vec![],
            purpose: String::new(),
            purpose_salt: [0; 32],
            grid_seconds: 600,
        }
    }

    /// Takes such a job in.
    pub(crate) fn take(
        transaction: &Transaction<'_>,
        grant: &str,
        number: u8,
        seconds: i64,
    ) -> Result<Digest, Refused> {
        let job = job(grant, number);
        jobs::take_in(transaction, &job, LIMITS, at(seconds)).map(|()| job.digest)
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
