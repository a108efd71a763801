//! The second lock of the outbox: the gateway copies, hashes the copy, verifies the release from its own pin, finds
//! its own job in it, and only then serves it.
//!
//! A taken-over enclave writes the outbox, so nothing in it is believed: names are digests that the gateway computes
//! itself, files are opened without following links or waiting, and what was not named by a verified release is not
//! even looked at.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use blobs::{Digest, StoreError as BlobError};
use release::file::{GivenFiles, LoggedRelease, Pinned, RELEASE_FILE_LIMIT, ReleaseFile, SeenState};
use release::json;
use release::refusal::Refusal;
use release::site::Site;
use release::statement::ReleasedFile;
use release::value::{Name, Timestamp};
use rusqlite::{Connection, Transaction};
use rustix::fs::OFlags;

use crate::room::{Room, now};
use crate::store::{StoreError, jobs, kept, releases};

/// Largest text of what was seen, in bytes.
const SEEN_LIMIT: usize = 16 << 20;

/// A release that is not served.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// There is no site to verify it from.
    #[error("there is no site in force")]
    NoSite,
    /// No such job, or it is in a state that gives way to no release.
    #[error("no job of this gateway waits for this release")]
    NoJob,
    /// The release is about another job than announced.
    #[error("the release is about another job than announced")]
    OtherJob,
    /// The recipient is not the job's requester.
    #[error("the recipient is not the requester of the job")]
    Recipient,
    /// A file of the outbox is not there, or not what was announced.
    #[error("a file of the outbox is not there or not what was announced")]
    File(#[from] BlobError),
    /// The release does not verify.
    #[error("the release is refused: {0}")]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error("the release could not be stored")]
    Store(#[from] StoreError),
    /// The work was cut off.
    #[error("the gateway is ending")]
    Ended,
}

/// Takes a release out of the outbox. Returns once it is served, and does nothing if it was before.
pub async fn take(room: &Arc<Room>, job: Digest, release_file: Digest) -> Result<(), NotServed> {
    if room.store.read(move |connection| releases::is_taken(connection, &release_file)).await? {
        return Ok(());
    }
    let standing = room.store.read(move |connection| jobs::standing(connection, &job)).await?;
    let requester = match standing {
        Some((requester, state)) if state.yields_to_release() => requester,
        Some(_) | None => return Err(NotServed::NoJob),
    };
    let site = room.site.current().ok_or(NotServed::NoSite)?;
    let seen = {
        let site = site.clone();
        room.store.read(move |connection| seen_until_now(connection, &site)).await?
    };
    let copying = {
        let room = room.clone();
        tokio::task::spawn_blocking(move || copy_and_verify(&room, job, &requester, release_file, seen))
    };
    let logged = copying.await.map_err(|_| NotServed::Ended)??;
    let released = logged.manifest_digest();
    room.store
        .change(move |transaction| {
            let mut seen = seen_until_now(transaction, &site)?;
            seen.add(&logged, now());
            keep_seen(transaction, &seen)?;
            releases::take_in(transaction, &logged, &release_file, now())
        })
        .await?;
    room.journal.info("a release is served").digest("release", released.as_bytes()).write();
    room.tell(job);
    Ok(())
}

fn copy_and_verify(
    room: &Room,
    job: Digest,
    requester: &Name,
    release_file: Digest,
    seen: SeenState,
) -> Result<LoggedRelease, NotServed> {
    let pinned = Pinned {
        roles: room.configuration.site_pin,
        accept_on_box_witness: room.configuration.accept_on_box_witness,
        seen: Some(seen),
    };
    let bytes = read(room, release_file)?;
    let file = ReleaseFile::parse(&bytes)?;
    // Without the files first: their names and sizes count only once the manifest is verified.
    let logged = file.verify(&pinned, now(), GivenFiles::NotGiven)?;
    check_job(&logged, job, requester)?;
    // Nothing is written before this line. If it moved up, a taken-over enclave could leave rows of the data in the
    // store of the room that faces the network, under the name of a release file that never verified.
    room.served.put(&bytes)?;
    let measured = copy_files(room, &logged.manifest().files)?;
    Ok(file.verify(&pinned, now(), GivenFiles::Measured(&measured))?)
}

fn check_job(logged: &LoggedRelease, job: Digest, requester: &Name) -> Result<(), NotServed> {
    if logged.request_digest() != job {
        return Err(NotServed::OtherJob);
    }
    if logged.manifest().recipient != *requester {
        return Err(NotServed::Recipient);
    }
    Ok(())
}

/// Remembers what the site shows from the moment that it is seen.
pub fn keep_site(transaction: &Transaction<'_>, site: &Site) -> Result<(), StoreError> {
    let seen = seen_until_now(transaction, site)?;
    keep_seen(transaction, &seen)
}

fn keep_seen(transaction: &Transaction<'_>, seen: &SeenState) -> Result<(), StoreError> {
    kept::put(transaction, kept::RELEASES, &json::to_bytes(seen))
}

fn seen_until_now(connection: &Connection, site: &Site) -> Result<SeenState, StoreError> {
    let seen = match kept::get(connection, kept::RELEASES)? {
        // What cannot be read is not "nothing seen": an older log would be taken then.
        Some(bytes) => json::from_bytes(&bytes, SEEN_LIMIT).map_err(|_| StoreError::Foreign("kept"))?,
        None => SeenState::default(),
    };
    Ok(with_site(seen, site, now()))
}

/// Adds what the room's own site shows. When something was first seen stays, since a release under older roles is
/// taken for a while after that only.
fn with_site(mut seen: SeenState, site: &Site, now: Timestamp) -> SeenState {
    let shown = SeenState::of_site(site, now);
    let newer = |roles: &release::file::SeenRoles| {
        seen.roles.as_ref().is_none_or(|seen| seen.roles.version < roles.roles.version)
    };
    if let Some(roles) = shown.roles.filter(newer) {
        seen.roles = Some(roles);
    }
    let newer = |revocation: &release::file::SeenRevocation| {
        seen.revocation.as_ref().is_none_or(|seen| seen.version < revocation.version)
    };
    if let Some(revocation) = shown.revocation.filter(newer) {
        seen.revocation = Some(revocation);
    }
    seen.recalled.extend(shown.recalled);
    seen
}

fn copy_files(room: &Room, files: &[ReleasedFile]) -> Result<BTreeMap<Name, (u64, Digest)>, NotServed> {
    let mut measured = BTreeMap::new();
    for file in files {
        let bytes = copy(room, file.sha256, file.bytes.0)?;
        measured.insert(file.name.clone(), (bytes, file.sha256));
    }
    Ok(measured)
}

/// The announced release file, in memory: the copy that is verified is the copy that is kept.
fn read(room: &Room, digest: Digest) -> Result<Vec<u8>, BlobError> {
    let limit = RELEASE_FILE_LIMIT as u64;
    let mut bytes = Vec::new();
    open(room, digest)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(BlobError::TooLarge { limit });
    }
    let found = Digest::of(&bytes);
    if found == digest { Ok(bytes) } else { Err(BlobError::DigestDiffers { expected: digest, found }) }
}

/// Copies a file of the outbox into the served store and hashes the copy: the enclave could still be writing.
fn copy(room: &Room, digest: Digest, limit: u64) -> Result<u64, BlobError> {
    let file = open(room, digest)?;
    Ok(room.served.copy_in(file, Some(digest), limit)?.1)
}

/// A link in the outbox would have the gateway read its own key, and a pipe would make it wait for ever.
fn open(room: &Room, digest: Digest) -> Result<File, BlobError> {
    let path = room.configuration.from_enclave_directory.join(digest.to_string());
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(BlobError::Missing(digest)) }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
