//! Things that are kept by name.

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::StoreError;

/// The versions of the site's statements that were seen.
pub const SITE: &str = "site";
/// What earlier releases showed of roles, revocations and the log.
pub const RELEASES: &str = "releases";

/// Keeps a value under a name.
pub fn put(transaction: &Transaction<'_>, name: &str, value: &[u8]) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO kept (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        (name, value),
    )?;
    Ok(())
}

/// The value under a name.
pub fn get(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(connection.query_row("SELECT value FROM kept WHERE name = ?1", [name], |row| row.get(0)).optional()?)
}
