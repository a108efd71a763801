//! What a start completes. Everything else that was not acknowledged is sent again by the links themselves.

use std::fs;
use std::io;

use lifecycle::State;

use crate::files;
use crate::outbox;
use crate::retry;
use crate::room::{Room, RoomError};
use crate::store::StoreError;
use crate::store::jobs;
use crate::sweep;

/// Removes half-made directories, completes the outbox and sweeps away what no row names. Called before anything
/// else is done.
pub fn at_start(room: &Room) -> Result<(), RoomError> {
    // Nothing runs yet, so whatever lies here belongs to a run that is over or a copy that was interrupted.
    for directory in [&room.places.work, &room.places.incoming] {
        empty(directory)?;
    }
    unfinished(room)?;
    outbox::stage_all(room)?;
    sweep::sweep(room)?;
    Ok(())
}

/// Removes files that were being written when the room died: canonical bytes among them, which nothing else would wipe.
fn unfinished(room: &Room) -> Result<(), RoomError> {
    let places = &room.places;
    for store in [&places.bundles, &places.compared, &places.outbox, &places.packets, &places.public] {
        store.remove_unfinished()?;
    }
    for entry in fs::read_dir(&places.quarantine)? {
        blobs::remove_unfinished(&entry?.path())?;
    }
    let head = room.configuration.account_head_file.parent();
    head.map_or(Ok(()), blobs::remove_unfinished).map_err(RoomError::from)
}

/// Every job that is RUNNING has no process any more: those died with the process that started them.
pub fn lost_runs(room: &Room) -> Result<(), StoreError> {
    for job in room.store.read(|connection| jobs::in_state(connection, State::Running))? {
        let event = room.journal.warning("lost run found").digest("job", job.request.as_bytes());
        event.number("run", job.run).write();
        retry::lost(room, &job)?;
    }
    Ok(())
}

fn empty(directory: &std::path::Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if fs::symlink_metadata(&path)?.is_dir() {
            files::remove_tree(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
