//! The tables of `account.db`.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::StoreError;

/// The schema that this version writes.
const VERSION: i64 = 7;

const TABLES: &str = "
-- Jobs that were admitted, by the payload digest of their request. A refused request leaves nothing.
CREATE TABLE jobs (
    request BLOB PRIMARY KEY NOT NULL CHECK (length(request) = 32),
    nonce BLOB NOT NULL UNIQUE CHECK (length(nonce) = 32),
    bundle BLOB NOT NULL CHECK (length(bundle) = 32),
    envelope BLOB NOT NULL,
    grant_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    purpose_salt BLOB NOT NULL CHECK (length(purpose_salt) = 32),
    state TEXT NOT NULL,
    -- Number of the run that was charged last.
    run INTEGER NOT NULL,
    grid_seconds INTEGER NOT NULL,
    admitted_at INTEGER NOT NULL,
    entered_at INTEGER NOT NULL,
    -- Counts as `elapsed` does.
    entered INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_by_bundle ON jobs (bundle, state);
CREATE INDEX jobs_by_state ON jobs (state);

-- Grants whose jobs have started, by their turn: the one that started a job last has the highest.
CREATE TABLE turns (
    grant_id TEXT PRIMARY KEY NOT NULL,
    turn INTEGER NOT NULL UNIQUE
) STRICT;

-- Jobs that were called off, some of them before they came.
CREATE TABLE cancels (
    request BLOB NOT NULL CHECK (length(request) = 32),
    requester TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (request, requester)
) STRICT;
CREATE INDEX cancels_by_requester ON cancels (requester);

-- What is told to the gateway, on the time grid; kept until it is taken.
CREATE TABLE reports (
    request BLOB NOT NULL REFERENCES jobs (request),
    number INTEGER NOT NULL,
    run INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason INTEGER NOT NULL,
    rule TEXT,
    output INTEGER,
    denial_reasons INTEGER NOT NULL,
    -- Bits of `Failure` and `Use`.
    failure INTEGER,
    used INTEGER NOT NULL,
    step INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (request, number)
) STRICT;
CREATE INDEX reports_to_send ON reports (due_at) WHERE taken = 0;

-- The account: every charge, reservation, spending and freeing, chained by hash.
CREATE TABLE account (
    number INTEGER PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    dataset TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    bits INTEGER NOT NULL,
    request BLOB NOT NULL REFERENCES jobs (request),
    run INTEGER NOT NULL,
    at INTEGER NOT NULL,
    head BLOB NOT NULL CHECK (length(head) = 32)
) STRICT;
CREATE INDEX account_by_grant ON account (dataset, grant_id, kind, bits);
CREATE INDEX account_by_run ON account (request, run, kind);

-- Verdicts, by payload digest.
CREATE TABLE verdicts (
    verdict BLOB PRIMARY KEY NOT NULL CHECK (length(verdict) = 32),
    request BLOB NOT NULL REFERENCES jobs (request),
    run INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    packet BLOB NOT NULL CHECK (length(packet) = 32),
    passed INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    -- A review that is open for longer counts as undecided and its files are wiped; counts as `elapsed` does.
    review_seconds INTEGER NOT NULL,
    -- The console holds verdict and packet durably.
    taken INTEGER NOT NULL DEFAULT 0,
    -- 1 from the moment that the job is called off or its code refused: the console is to withdraw its packet. 2 once
    -- it has, or once the log has decided about the verdict.
    withdrawn INTEGER NOT NULL DEFAULT 0,
    UNIQUE (request, run)
) STRICT;
CREATE INDEX verdicts_to_send ON verdicts (verdict) WHERE taken = 0;

-- PASS verdicts with tables, in the order in which they were compared with each other.
CREATE TABLE table_places (
    place INTEGER PRIMARY KEY NOT NULL,
    verdict BLOB NOT NULL UNIQUE REFERENCES verdicts (verdict)
) STRICT;

-- The datasets that their runs saw.
CREATE TABLE table_datasets (
    dataset TEXT NOT NULL,
    place INTEGER NOT NULL REFERENCES table_places (place),
    PRIMARY KEY (dataset, place)
) STRICT;

-- Their canonical tables, and the counts of these before rounding, which never leave.
CREATE TABLE tables (
    place INTEGER NOT NULL REFERENCES table_places (place),
    output INTEGER NOT NULL,
    sealed BLOB NOT NULL CHECK (length(sealed) = 32),
    counts BLOB NOT NULL CHECK (length(counts) = 32),
    bytes INTEGER NOT NULL,
    PRIMARY KEY (place, output)
) STRICT;
CREATE INDEX tables_by_table ON tables (sealed);
CREATE INDEX tables_by_counts ON tables (counts);

-- Jobs whose code stewards must let run first, and the packets that are sealed to them.
CREATE TABLE code_reviews (
    request BLOB PRIMARY KEY NOT NULL REFERENCES jobs (request),
    packet BLOB NOT NULL CHECK (length(packet) = 32),
    -- The console holds request and packet durably.
    taken INTEGER NOT NULL DEFAULT 0,
    -- The console has closed the review and removed the packet.
    closed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX code_reviews_to_close ON code_reviews (request) WHERE closed = 0;

-- The approvals on which a job came into the queue. Its verdicts name them.
CREATE TABLE code_approvals (
    request BLOB NOT NULL REFERENCES code_reviews (request),
    steward TEXT NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (request, steward)
) STRICT;

-- Witnessed refusals of code that came while it ran. The run ends with them, however it ends.
CREATE TABLE code_refusals (
    request BLOB PRIMARY KEY NOT NULL REFERENCES jobs (request),
    -- REJECTED or RETURNED.
    state TEXT NOT NULL,
    denial_reasons INTEGER NOT NULL
) STRICT;

-- Logged releases. The bytes stay until the gateway has its own verified copy.
CREATE TABLE releases (
    release_file BLOB PRIMARY KEY NOT NULL CHECK (length(release_file) = 32),
    verdict BLOB NOT NULL UNIQUE REFERENCES verdicts (verdict),
    request BLOB NOT NULL REFERENCES jobs (request),
    bytes BLOB NOT NULL,
    -- The files lie in the outbox.
    staged INTEGER NOT NULL DEFAULT 0,
    -- The gateway took them.
    taken INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX releases_to_send ON releases (release_file) WHERE taken = 0;

-- Single values: the versions of the site that were seen, what was taken from the drop directory, sizes of trees.
CREATE TABLE kept (
    name TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT;
";

/// Opens the database, or makes it.
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Below FULL a power cut takes back commits that were acted upon.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Wiped means wiped: freed pages hold purposes and, in release files, names.
    connection.pragma_update(None, "secure_delete", true)?;
    let transaction = connection.transaction()?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match found {
        0 => {
            transaction.execute_batch(database::elapsed::TABLE)?;
            transaction.execute_batch(TABLES)?;
            transaction.execute_batch(&format!("PRAGMA user_version = {VERSION}"))?;
        }
        VERSION => {}
        found => return Err(StoreError::OtherSchema { found, known: VERSION }),
    }
    // A crash before this line leaves an empty file, which the next start fills.
    transaction.commit()?;
    Ok(connection)
}
