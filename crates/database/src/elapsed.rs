//! How long a room has run. What is waited for is counted in it, so that a clock that jumps forward ends no job, and
//! one that jumps back keeps none for ever. Time in which the room did not run does not count: it could not have heard
//! anything.

use rusqlite::{Connection, Transaction};

/// The table, and its one row: for how many seconds the room has run, and what the machine's clock said when that was
/// written.
pub const TABLE: &str = "
CREATE TABLE elapsed (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seconds INTEGER NOT NULL,
    clock INTEGER NOT NULL
) STRICT;
INSERT INTO elapsed (one, seconds, clock) VALUES (1, 0, 0);
";

/// Counts seconds that have passed by a clock that cannot be set, and notes what the machine's clock says, in seconds
/// since 1970.
pub fn count(transaction: &Transaction<'_>, seconds: u64, clock: i64) -> rusqlite::Result<()> {
    // A hundred years are more than any limit.
    let seconds = i64::from(u32::try_from(seconds).unwrap_or(u32::MAX));
    transaction.execute("UPDATE elapsed SET seconds = seconds + ?1, clock = ?2", (seconds, clock))?;
    Ok(())
}

/// Seconds that were counted.
pub fn seconds(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT seconds FROM elapsed", [], |row| row.get(0))
}

/// What the machine's clock said at the last count, in seconds since 1970.
pub fn clock(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT clock FROM elapsed", [], |row| row.get(0))
}
