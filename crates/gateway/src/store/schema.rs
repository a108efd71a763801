//! The tables of `queue.db`.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::StoreError;

const VERSION: i64 = 3;

const TABLES: &str = "
-- What a person has sent of a bundle. Named by person too, so that nobody learns what others sent.
-- The grant is the one whose share of the spool it takes.
CREATE TABLE uploads (
    person TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    grant_id TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    committed INTEGER NOT NULL,
    whole INTEGER NOT NULL,
    touched_at INTEGER NOT NULL,
    PRIMARY KEY (person, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX uploads_by_grant ON uploads (grant_id);

-- Jobs, by the payload digest of their request. The state is a view: the enclave's row decides, then the log.
-- `entered` counts as `elapsed` does. `ended_unheard` marks an end that this room made itself.
CREATE TABLE jobs (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    request BLOB NOT NULL UNIQUE,
    requester TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    bundle BLOB NOT NULL,
    outputs TEXT NOT NULL,
    grid_seconds INTEGER NOT NULL,
    run_seconds INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL,
    cpus INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    entered INTEGER NOT NULL,
    ended_unheard INTEGER NOT NULL,
    last_number INTEGER NOT NULL,
    last_step INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_by_requester ON jobs (requester, place);
CREATE INDEX jobs_by_state ON jobs (state);
CREATE INDEX jobs_by_grant ON jobs (grant_id, state);

-- What the enclave has not answered yet. The purpose is here no longer than it must be.
CREATE TABLE submits (
    request BLOB PRIMARY KEY,
    envelope BLOB NOT NULL,
    purpose TEXT NOT NULL,
    purpose_salt BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Cancels that requesters signed. `taken` once the enclave needs it no more.
CREATE TABLE cancels (
    request BLOB PRIMARY KEY,
    envelope BLOB NOT NULL,
    taken INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Appended, numbered from 1 for each job, never changed but for `visible_at`, which
-- moves with the clock when the clock is set back. `number` is the enclave's, if it reported the event.
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
    -- Bits of `Failure` and `Use`.
    failure INTEGER,
    used INTEGER NOT NULL,
    at INTEGER NOT NULL,
    visible_at INTEGER NOT NULL,
    PRIMARY KEY (job, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_by_visible_at ON events (visible_at);

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
            transaction.execute_batch(database::elapsed::TABLE)?;
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        found if found < VERSION => return Err(StoreError::Older { found, known: VERSION }),
        found => return Err(StoreError::Newer { found, known: VERSION }),
    }
    Ok(connection)
}
