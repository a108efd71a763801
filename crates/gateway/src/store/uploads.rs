//! What each person has sent of which bundle.

use blobs::Digest;
use release::value::{Name, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction};
use server::Refused;

use super::{StoreError, columns};

/// One upload of one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload {
    /// The bundle.
    pub sha256: Digest,
    /// Its announced size.
    pub bytes: u64,
    /// How many bytes are on disk.
    pub committed: u64,
    /// True once the digest was compared.
    pub whole: bool,
}

/// The upload of a person.
pub fn find(connection: &Connection, person: &Name, sha256: &Digest) -> Result<Option<Upload>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT sha256, bytes, committed, whole FROM uploads WHERE person = ?1 AND sha256 = ?2",
    )?;
    let mut rows = query.query((person.as_str(), sha256.as_bytes()))?;
    rows.next()?.map(upload).transpose()
}

fn upload(row: &rusqlite::Row<'_>) -> Result<Upload, StoreError> {
    Ok(Upload {
        sha256: columns::digest(row, "sha256")?,
        bytes: columns::count(row, "bytes")?,
        committed: columns::count(row, "committed")?,
        whole: row.get("whole")?,
    })
}

/// How much of the spool one person and one grant may take.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    /// Unfinished uploads of a person.
    pub per_person: u64,
    /// Unfinished uploads of all members of a grant.
    pub per_grant: u64,
    /// Bytes of a grant, as announced: an upload holds its place from the beginning, so that it can be finished.
    pub bytes_per_grant: u64,
    /// Bytes of all grants together, as announced. Free space is not looked at: how full the disk is may depend on what a
    /// run did, and the answer is given at once and for nothing.
    pub bytes: u64,
}

/// What someone wants to send.
#[derive(Debug, Clone)]
pub struct Announced {
    /// Who.
    pub person: Name,
    /// The grant whose share it takes.
    pub grant: Name,
    /// The bundle.
    pub sha256: Digest,
    /// Its size.
    pub bytes: u64,
}

/// Begins an upload, or finds the one that was begun. Bundles of the grant that no job waits for make room.
pub fn begin(
    transaction: &Transaction<'_>,
    announced: &Announced,
    limits: UploadLimits,
    now: Timestamp,
) -> Result<Upload, Refused> {
    let Announced { person, grant, sha256, bytes } = announced;
    if let Some(found) = find(transaction, person, sha256)? {
        touch(transaction, person, sha256, now)?;
        // The size follows from the digest; another one means that one of the two calls is wrong.
        return if found.bytes == *bytes { Ok(found) } else { Err(Refused::Conflict) };
    }
    if unfinished(transaction, "person", person)? >= limits.per_person {
        return Err(Refused::Quota { subject: "uploads", limit: limits.per_person });
    }
    if unfinished(transaction, "grant_id", grant)? >= limits.per_grant {
        return Err(Refused::Quota { subject: "uploads of the grant", limit: limits.per_grant });
    }
    make_room(transaction, announced, limits, now)?;
    transaction
        .execute(
            "INSERT INTO uploads (person, sha256, grant_id, bytes, committed, whole, touched_at)
             VALUES (?1, ?2, ?3, ?4, 0, 0, ?5)",
            (
                person.as_str(),
                sha256.as_bytes(),
                grant.as_str(),
                columns::stored(*bytes, "bytes")?,
                now.seconds(),
            ),
        )
        .map_err(StoreError::from)?;
    Ok(Upload { sha256: *sha256, bytes: *bytes, committed: 0, whole: false })
}

fn unfinished(connection: &Connection, column: &'static str, of: &Name) -> Result<u64, StoreError> {
    let query = format!("SELECT count(*) FROM uploads WHERE {column} = ?1 AND whole = 0");
    let count: i64 = connection.query_row(&query, [of.as_str()], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Bundles that nobody touched for so long make room for others of their grant, in seconds. Between the end of an
/// upload and its job lies one call.
const IN_USE: i64 = 60;

fn make_room(
    transaction: &Transaction<'_>,
    announced: &Announced,
    limits: UploadLimits,
    now: Timestamp,
) -> Result<(), Refused> {
    let limit = limits.bytes_per_grant;
    loop {
        let (of_grant, of_all): (i64, i64) = transaction
            .query_row(
                "SELECT coalesce(sum(bytes) FILTER (WHERE grant_id = ?1), 0), coalesce(sum(bytes), 0) FROM uploads",
                [announced.grant.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(StoreError::from)?;
        let with = |held: i64| held.unsigned_abs().saturating_add(announced.bytes);
        let grant_is_full = with(of_grant) > limit;
        if !grant_is_full && with(of_all) <= limits.bytes {
            return Ok(());
        }
        let removed = transaction
            .execute(
                "DELETE FROM uploads WHERE (person, sha256) IN
                     (SELECT person, sha256 FROM uploads
                      WHERE (grant_id = ?1 OR NOT ?3) AND whole = 1 AND touched_at < ?2 AND sha256 NOT IN
                          (SELECT bundle FROM jobs JOIN submits ON submits.request = jobs.request)
                      ORDER BY touched_at LIMIT 1)",
                (announced.grant.as_str(), now.plus(-IN_USE).seconds(), grant_is_full),
            )
            .map_err(StoreError::from)?;
        if removed == 0 && !grant_is_full {
            return Err(Refused::Disk);
        }
        if removed == 0 {
            return Err(Refused::Quota { subject: "bytes of the grant in the spool", limit });
        }
    }
}

fn touch(
    transaction: &Transaction<'_>,
    person: &Name,
    sha256: &Digest,
    now: Timestamp,
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE uploads SET touched_at = ?3 WHERE person = ?1 AND sha256 = ?2",
        (person.as_str(), sha256.as_bytes(), now.seconds()),
    )?;
    Ok(())
}

/// So many bytes are on disk. An upload that was forgotten meanwhile is begun anew: acknowledging its bytes would promise
/// what nobody keeps.
pub fn commit(
    transaction: &Transaction<'_>,
    person: &Name,
    sha256: &Digest,
    committed: u64,
    whole: bool,
) -> Result<(), Refused> {
    let changed = transaction
        .execute(
            "UPDATE uploads SET committed = ?3, whole = ?4 WHERE person = ?1 AND sha256 = ?2",
            (person.as_str(), sha256.as_bytes(), columns::stored(committed, "committed")?, whole),
        )
        .map_err(StoreError::from)?;
    if changed == 1 { Ok(()) } else { Err(Refused::NotFound) }
}

/// Forgets uploads that nobody touched since `before` and that no submit waits for, and says how many.
pub fn forget(transaction: &Transaction<'_>, before: Timestamp) -> Result<usize, StoreError> {
    let forgotten = transaction.execute(
        "DELETE FROM uploads WHERE touched_at < ?1 AND sha256 NOT IN
             (SELECT bundle FROM jobs JOIN submits ON submits.request = jobs.request)",
        [before.seconds()],
    )?;
    Ok(forgotten)
}

/// True if anyone has this bundle whole.
pub fn is_held(connection: &Connection, sha256: &Digest) -> Result<bool, StoreError> {
    let held = connection
        .query_row("SELECT 1 FROM uploads WHERE sha256 = ?1 AND whole = 1", [sha256.as_bytes()], |_| Ok(()))
        .optional()?;
    Ok(held.is_some())
}

#[cfg(test)]
#[path = "uploads_tests.rs"]
mod tests;
