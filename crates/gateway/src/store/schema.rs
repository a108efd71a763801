//! The tables of `queue.db`.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::StoreError;

const VERSION: i64 = 1;

const TABLES: &str = "
-- What a person has sent of a bundle. Named by person too, so that nobody learns what others sent.
CREATE TABLE uploads (
    person TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    committed INTEGER NOT NULL,
    whole INTEGER NOT NULL,
    touched_at INTEGER NOT NULL,
    PRIMARY KEY (person, sha256)
) STRICT, WITHOUT ROWID;

-- Jobs, by the payload digest of their request. The state is a view: the enclave's row decides, then the log.
CREATE TABLE jobs (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    request BLOB NOT NULL UNIQUE,
    requester TEXT NOT NULL,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    bundle BLOB NOT NULL,
    outputs TEXT NOT NULL,
    grid_seconds INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    last_number INTEGER NOT NULL,
    last_step INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_by_requester ON jobs (requester, place);
CREATE INDEX jobs_by_state ON jobs (state);

-- What the enclave has not answered yet. The purpose is here no longer than it must be.
CREATE TABLE submits (
    request BLOB PRIMARY KEY,
    envelope BLOB NOT NULL,
    purpose TEXT NOT NULL,
    purpose_salt BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Appended, numbered from 1 for each job, never changed. `number` is the enclave's, if it reported the event.
CREATE TABLE events (
    job BLOB NOT NULL,
    event INTEGER NOT NULL,
    number INTEGER,
    run INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason INTEGER NOT NULL,
    rule TEXT,
    file TEXT,
    denial_reasons INTEGER NOT NULL,
    at INTEGER NOT NULL,
    visible_at INTEGER NOT NULL,
    PRIMARY KEY (job, event)
) STRICT, WITHOUT ROWID;

-- Only the transaction that follows the verification of a logged release writes these two.
CREATE TABLE releases (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    release BLOB NOT NULL UNIQUE,
    release_file BLOB NOT NULL UNIQUE,
    job BLOB NOT NULL UNIQUE,
    recipient TEXT NOT NULL,
    released_at INTEGER NOT NULL
) STRICT;
CREATE INDEX releases_by_recipient ON releases (recipient, place);
CREATE TABLE released_files (
    release BLOB NOT NULL,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    PRIMARY KEY (release, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE kept (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
";

pub fn open(database: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match found {
        VERSION => {}
        0 => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        found => return Err(StoreError::Newer { found, known: VERSION }),
    }
    Ok(connection)
}
