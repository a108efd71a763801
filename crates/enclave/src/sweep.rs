//! Removes what no job needs any more: quarantines of jobs that have ended, bundles, packets that were taken, released
//! files that were taken. What is not kept cannot leak. It may be repeated and interrupted at any point.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;

use blobs::{BlobStore, Digest};
use lifecycle::State;

use crate::files;
use crate::outbox;
use crate::room::{INDEX, Room, RoomError};
use crate::store::{code_reviews, jobs, releases, tables, verdicts};

/// Sweeps, and writes down a failure.
pub fn sweep_and_tell(room: &Room) {
    if let Err(error) = sweep(room) {
        room.journal.warning("what is not needed is not removed").own_error(&error).write();
    }
}

/// Sweeps.
pub fn sweep(room: &Room) -> Result<(), RoomError> {
    // A file is laid down before the row that names it; the guard keeps the two together.
    let _guard = room.unnamed_files.lock().unwrap_or_else(PoisonError::into_inner);
    for name in names(&room.places.quarantine)? {
        if let Some((request, run)) = run_of(&name) {
            sweep_quarantine(room, request, run)?;
        }
    }
    for bundle in digests(&room.places.bundles)? {
        if !room.store.read(move |connection| jobs::bundle_is_needed(connection, &bundle))? {
            room.places.bundles.remove(bundle)?;
        }
    }
    for packet in digests(&room.places.packets)? {
        let verdict = room.store.read(move |connection| verdicts::of_packet(connection, &packet))?;
        let of_code = room.store.read(move |connection| code_reviews::needs_packet(connection, &packet))?;
        if !of_code && verdict.is_none_or(|verdict| verdict.taken) {
            room.places.packets.remove(packet)?;
        }
    }
    for file in digests(&room.places.compared)? {
        if !room.store.read(move |connection| tables::is_needed(connection, &file))? {
            room.places.compared.remove(file)?;
        }
    }
    for dataset in names(&room.places.datasets)? {
        sweep_indexes(&room.places.datasets.join(dataset))?;
    }
    let needed = outbox::needed(room)?;
    for file in digests(&room.places.outbox)? {
        if !needed.contains(&file) {
            room.places.outbox.remove(file)?;
        }
    }
    Ok(())
}

/// A quarantine is needed while its run is judged or under review, and until its release was taken.
fn sweep_quarantine(room: &Room, request: Digest, run: u32) -> Result<(), RoomError> {
    let (job, verdict) = room.store.read(move |connection| {
        Ok((jobs::find(connection, &request)?, verdicts::of_request(connection, &request)?))
    })?;
    let current = job.filter(|job| job.run == run);
    let needed = match current.map(|job| job.state) {
        Some(State::Running | State::InReview | State::Approved) => true,
        Some(State::Released) => {
            let digest = verdict.as_ref().map(|verdict| verdict.verdict);
            room.store.read(move |connection| {
                let release = digest.map(|digest| releases::of_verdict(connection, &digest)).transpose()?;
                match release.flatten() {
                    Some(release) => releases::is_open(connection, &release.release_file),
                    None => Ok(false),
                }
            })?
        }
        Some(
            State::Submitted
            | State::InCodeReview
            | State::Queued
            | State::Refused
            | State::Failed
            | State::Blocked
            | State::Rejected
            | State::Returned
            | State::Cancelled
            | State::Expired
            | State::Lost,
        )
        | None => false,
    };
    if !needed {
        files::remove_tree(&room.places.quarantine_of(&request, run))?;
    }
    Ok(())
}

/// An index whose snapshot is gone tells of data that is.
fn sweep_indexes(dataset: &Path) -> io::Result<()> {
    for name in names(dataset)? {
        let path = dataset.join(&name);
        if path.extension().is_some_and(|end| end == INDEX) && !path.with_extension("").exists() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A run's directory name, `<request>-<run>`.
fn run_of(name: &str) -> Option<(Digest, u32)> {
    let (request, run) = name.rsplit_once('-')?;
    Some((request.parse().ok()?, run.parse().ok()?))
}

fn digests(store: &BlobStore) -> io::Result<Vec<Digest>> {
    Ok(names(store.directory())?.iter().filter_map(|name| name.parse().ok()).collect())
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_goes_with_its_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("kept")).unwrap();
        for name in ["kept.index", "gone.index"] {
            fs::write(at(name), "index").unwrap();
        }
        sweep_indexes(directory.path()).unwrap();
        assert!(at("kept").exists() && at("kept.index").exists() && !at("gone.index").exists());
    }
}
