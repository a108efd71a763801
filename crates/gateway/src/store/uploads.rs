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

/// Begins an upload, or finds the one that was begun. At most `limit` of a person are unfinished.
pub fn begin(
    transaction: &Transaction<'_>,
    person: &Name,
    sha256: &Digest,
    bytes: u64,
    limit: u64,
    now: Timestamp,
) -> Result<Upload, Refused> {
    if let Some(found) = find(transaction, person, sha256)? {
        touch(transaction, person, sha256, now)?;
        // The size follows from the digest; another one means that one of the two calls is wrong.
        return if found.bytes == bytes { Ok(found) } else { Err(Refused::Conflict) };
    }
    let open: i64 = transaction
        .query_row("SELECT count(*) FROM uploads WHERE person = ?1 AND whole = 0", [person.as_str()], |row| {
            row.get(0)
        })
        .map_err(StoreError::from)?;
    if open >= columns::stored(limit, "limit")? {
        return Err(Refused::Quota { subject: "uploads", limit });
    }
    transaction
        .execute(
            "INSERT INTO uploads (person, sha256, bytes, committed, whole, touched_at) VALUES (?1, ?2, ?3, 0, 0, ?4)",
            (person.as_str(), sha256.as_bytes(), columns::stored(bytes, "bytes")?, now.seconds()),
        )
        .map_err(StoreError::from)?;
    Ok(Upload { sha256: *sha256, bytes, committed: 0, whole: false })
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

/// So many bytes are on disk.
pub fn commit(
    transaction: &Transaction<'_>,
    person: &Name,
    sha256: &Digest,
    committed: u64,
    whole: bool,
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE uploads SET committed = ?3, whole = ?4 WHERE person = ?1 AND sha256 = ?2",
        (person.as_str(), sha256.as_bytes(), columns::stored(committed, "committed")?, whole),
    )?;
    Ok(())
}

/// Forgets uploads that nobody touched since `before` and that no submit waits for, and says which they were.
pub fn forget(transaction: &Transaction<'_>, before: Timestamp) -> Result<Vec<(Name, Digest)>, StoreError> {
    let mut query = transaction.prepare_cached(
        "DELETE FROM uploads WHERE touched_at < ?1 AND sha256 NOT IN
             (SELECT bundle FROM jobs JOIN submits ON submits.request = jobs.request)
         RETURNING person, sha256",
    )?;
    let mut rows = query.query([before.seconds()])?;
    let mut forgotten = Vec::new();
    while let Some(row) = rows.next()? {
        forgotten.push((columns::name(row, "person")?, columns::digest(row, "sha256")?));
    }
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
mod tests {
    use super::*;
    use crate::store::testing::{at, connection};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_repeat_finds_what_is_there_and_another_person_does_not() {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let (ada, eve, bundle) = (name("ada"), name("eve"), Digest::of(b"bundle"));
        begin(&transaction, &ada, &bundle, 6, 4, at(0)).unwrap();
        commit(&transaction, &ada, &bundle, 6, true).unwrap();
        assert!(begin(&transaction, &ada, &bundle, 6, 4, at(1)).unwrap().whole);
        assert_eq!(begin(&transaction, &ada, &bundle, 7, 4, at(1)), Err(Refused::Conflict));
        assert_eq!(begin(&transaction, &eve, &bundle, 6, 4, at(1)).unwrap().committed, 0);
    }

    #[test]
    fn a_person_has_a_limited_number_of_unfinished_uploads() {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let ada = name("ada");
        let begin = |text: &[u8]| begin(&transaction, &ada, &Digest::of(text), 1, 2, at(0));
        begin(b"1").unwrap();
        begin(b"2").unwrap();
        assert!(matches!(begin(b"3"), Err(Refused::Quota { .. })));
        commit(&transaction, &ada, &Digest::of(b"1"), 1, true).unwrap();
        begin(b"3").unwrap();
    }

    #[test]
    fn old_uploads_are_forgotten() {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let ada = name("ada");
        begin(&transaction, &ada, &Digest::of(b"old"), 1, 9, at(0)).unwrap();
        begin(&transaction, &ada, &Digest::of(b"new"), 1, 9, at(10)).unwrap();
        assert_eq!(forget(&transaction, at(5)).unwrap(), [(ada.clone(), Digest::of(b"old"))]);
        assert!(find(&transaction, &ada, &Digest::of(b"new")).unwrap().is_some());
    }
}
