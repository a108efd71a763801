//! Logged releases on their way to the gateway.

use blobs::Digest;
use rusqlite::{Connection, Row, Transaction};

use super::{StoreError, columns};

/// A release that the enclave verified.
#[derive(Debug, Clone)]
pub struct StoredRelease {
    /// Digest of the release file.
    pub release_file: Digest,
    /// The verdict that it releases.
    pub verdict: Digest,
    /// The request.
    pub request: Digest,
    /// The release file, byte for byte.
    pub bytes: Vec<u8>,
}

/// Stores a release.
pub fn insert(transaction: &Transaction<'_>, release: &StoredRelease) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO releases (release_file, verdict, request, bytes) VALUES (?1, ?2, ?3, ?4)",
        (
            release.release_file.as_bytes(),
            release.verdict.as_bytes(),
            release.request.as_bytes(),
            &release.bytes,
        ),
    )?;
    Ok(())
}

/// The release of a verdict.
pub fn of_verdict(connection: &Connection, verdict: &Digest) -> Result<Option<StoredRelease>, StoreError> {
    let found = many(connection, "SELECT * FROM releases WHERE verdict = ?1", [verdict.as_bytes()])?;
    Ok(found.into_iter().next())
}

/// Releases whose files do not lie in the outbox yet.
pub fn not_staged(connection: &Connection) -> Result<Vec<StoredRelease>, StoreError> {
    many(connection, "SELECT * FROM releases WHERE staged = 0 AND taken = 0", [])
}

/// Releases in the outbox that the gateway did not take yet.
pub fn not_taken(connection: &Connection) -> Result<Vec<StoredRelease>, StoreError> {
    many(connection, "SELECT * FROM releases WHERE staged = 1 AND taken = 0 LIMIT 1000", [])
}

/// The files lie in the outbox.
pub fn set_staged(transaction: &Transaction<'_>, release_file: &Digest) -> Result<(), StoreError> {
    transaction
        .execute("UPDATE releases SET staged = 1 WHERE release_file = ?1", [release_file.as_bytes()])?;
    Ok(())
}

/// The gateway has its own verified copy.
pub fn take(transaction: &Transaction<'_>, release_file: &Digest) -> Result<(), StoreError> {
    transaction
        .execute("UPDATE releases SET taken = 1 WHERE release_file = ?1", [release_file.as_bytes()])?;
    Ok(())
}

fn many(
    connection: &Connection,
    query: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<StoredRelease>, StoreError> {
    let mut query = connection.prepare_cached(query)?;
    let mut rows = query.query(parameters)?;
    let mut releases = Vec::new();
    while let Some(row) = rows.next()? {
        releases.push(release_of(row)?);
    }
    Ok(releases)
}

fn release_of(row: &Row<'_>) -> Result<StoredRelease, StoreError> {
    Ok(StoredRelease {
        release_file: columns::digest(row, "release_file")?,
        verdict: columns::digest(row, "verdict")?,
        request: columns::digest(row, "request")?,
        bytes: row.get("bytes")?,
    })
}

/// True until the gateway has its own verified copy.
pub fn is_open(connection: &Connection, release_file: &Digest) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT taken = 0 FROM releases WHERE release_file = ?1")?;
    let mut rows = query.query([release_file.as_bytes()])?;
    Ok(match rows.next()? {
        Some(row) => row.get(0)?,
        None => false,
    })
}

/// True while the files do not lie in the outbox and nobody took them.
pub fn is_waiting(connection: &Connection, release_file: &Digest) -> Result<bool, StoreError> {
    Ok(not_staged(connection)?.iter().any(|release| release.release_file == *release_file))
}

/// Releases that the gateway did not take yet, in the outbox or not.
pub fn open(connection: &Connection) -> Result<Vec<StoredRelease>, StoreError> {
    many(connection, "SELECT * FROM releases WHERE taken = 0", [])
}
