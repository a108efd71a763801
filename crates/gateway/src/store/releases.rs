//! Releases that were verified here. A file that no row names is never served, wherever it lies.

use blobs::Digest;
use release::file::LoggedRelease;
use release::value::{Name, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::{StoreError, columns, events, jobs};

/// A release that may be served to its recipient.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its place in the list of all releases.
    pub place: i64,
    /// Payload digest of the manifest.
    pub release: Digest,
    /// Digest of the release file.
    pub release_file: Digest,
    /// The job that it came from.
    pub job: Digest,
    /// When it was taken in here.
    pub released_at: Timestamp,
    /// The files, sorted by name.
    pub files: Vec<File>,
}

/// A released file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: Name,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// Stores a verified release and makes its job RELEASED. Nothing but a [`LoggedRelease`] gets here, and its files
/// were copied and hashed before.
pub fn take_in(
    transaction: &Transaction<'_>,
    logged: &LoggedRelease,
    release_file: &Digest,
    now: Timestamp,
) -> Result<(), StoreError> {
    let job = jobs::find(transaction, &logged.request_digest())?.ok_or(StoreError::Foreign("job"))?;
    let manifest = logged.manifest();
    let release = logged.manifest_digest();
    transaction.execute(
        "INSERT INTO releases (release, release_file, job, recipient, released_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        (
            release.as_bytes(),
            release_file.as_bytes(),
            job.request.as_bytes(),
            manifest.recipient.as_str(),
            now.seconds(),
        ),
    )?;
    for file in &manifest.files {
        transaction.execute(
            "INSERT INTO released_files (release, name, bytes, sha256) VALUES (?1, ?2, ?3, ?4)",
            (
                release.as_bytes(),
                file.name.as_str(),
                columns::stored(file.bytes.0, "bytes")?,
                file.sha256.as_bytes(),
            ),
        )?;
    }
    events::release(transaction, &job, now)
}

/// True if this release file was taken in before.
pub fn is_taken(connection: &Connection, release_file: &Digest) -> Result<bool, StoreError> {
    let taken = connection
        .query_row("SELECT 1 FROM releases WHERE release_file = ?1", [release_file.as_bytes()], |_| Ok(()))
        .optional()?;
    Ok(taken.is_some())
}

/// A person's release, named by its own digest or by its job's.
pub fn find(
    connection: &Connection,
    recipient: &Name,
    release_or_job: &Digest,
) -> Result<Option<Release>, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT * FROM releases WHERE recipient = ?1 AND (release = ?2 OR job = ?2)")?;
    let mut rows = query.query((recipient.as_str(), release_or_job.as_bytes()))?;
    rows.next()?.map(|row| release_of(connection, row)).transpose()
}

/// A person's releases, the newest first, from before a place on.
pub fn list(
    connection: &Connection,
    recipient: &Name,
    before: i64,
    limit: u32,
) -> Result<Vec<Release>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT * FROM releases WHERE recipient = ?1 AND place < ?2 ORDER BY place DESC LIMIT ?3",
    )?;
    let mut rows = query.query((recipient.as_str(), before, limit))?;
    let mut releases = Vec::new();
    while let Some(row) = rows.next()? {
        releases.push(release_of(connection, row)?);
    }
    Ok(releases)
}

fn release_of(connection: &Connection, row: &Row<'_>) -> Result<Release, StoreError> {
    let release = columns::digest(row, "release")?;
    Ok(Release {
        place: row.get("place")?,
        release,
        release_file: columns::digest(row, "release_file")?,
        job: columns::digest(row, "job")?,
        released_at: columns::moment(row, "released_at")?,
        files: files(connection, &release)?,
    })
}

fn files(connection: &Connection, release: &Digest) -> Result<Vec<File>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT * FROM released_files WHERE release = ?1 ORDER BY name")?;
    let mut rows = query.query([release.as_bytes()])?;
    let mut files = Vec::new();
    while let Some(row) = rows.next()? {
        files.push(File {
            name: columns::name(row, "name")?,
            bytes: columns::count(row, "bytes")?,
            sha256: columns::digest(row, "sha256")?,
        });
    }
    Ok(files)
}
