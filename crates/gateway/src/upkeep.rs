//! What happens by itself: the site is looked at, jobs of which nothing is heard end, what nobody needs is removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use blobs::{BlobStore, Digest};
use daemon::ServiceManager;
use rusqlite::Connection;

use crate::room::{Room, now};
use crate::spool::Spool;
use crate::store::{StoreError, events, jobs, uploads};

const LOOK_AT_SITE: Duration = Duration::from_secs(1);
const LIMITS: Duration = Duration::from_secs(30);
const SWEEP: Duration = Duration::from_secs(60);

/// What nobody touched for so long is removed, in seconds: a day.
const UNTOUCHED: i64 = 24 * 3600;

/// Runs until the process ends.
pub async fn run(room: Arc<Room>, manager: ServiceManager) {
    let mut site = tokio::time::interval(LOOK_AT_SITE);
    let mut limits = tokio::time::interval(LIMITS);
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let done = tokio::select! {
            _ = site.tick() => look(&room).await,
            _ = limits.tick() => end_unheard(&room).await,
            _ = sweep.tick() => remove_unneeded(&room).await,
        };
        // Also after an error: a full disk is no reason to be killed.
        manager.alive();
        if let Err(error) = done {
            room.journal.error("upkeep failed").own_error(&error).write();
        }
    }
}

async fn look(room: &Arc<Room>) -> Result<(), StoreError> {
    room.clock.look(&room.store).await?;
    room.look_at_site().await
}

async fn end_unheard(room: &Room) -> Result<(), StoreError> {
    room.clock.count(&room.store).await?;
    let ended = room.store.change(|transaction| events::end_unheard(transaction, now())).await?;
    for unheard in ended {
        let line = room.journal.warning("nothing was heard of a job within its limit");
        line.digest("job", unheard.job.as_bytes()).word("state", unheard.state.word()).write();
        room.tell(unheard.job);
    }
    Ok(())
}

async fn remove_unneeded(room: &Arc<Room>) -> Result<(), StoreError> {
    let before = now().plus(-UNTOUCHED);
    room.store.change(move |transaction| uploads::forget(transaction, before)).await?;
    let of = room.clone();
    room.store.read(move |connection| remove_unheld(&of, connection)).await
}

/// Removes parts without an upload, and bundles that neither an upload nor a submit holds. It runs on the store's thread,
/// so that no upload begins or becomes whole between the look and the removal.
fn remove_unheld(room: &Room, connection: &Connection) -> Result<(), StoreError> {
    let mut failed = !remove_parts(&room.spool, connection)?;
    for bundle in listed(room.spool.bundles()) {
        if !uploads::is_held(connection, &bundle)? && !jobs::is_awaited(connection, &bundle)? {
            failed |= room.spool.bundles().remove(bundle).is_err();
        }
    }
    for bundle in listed(&room.to_enclave) {
        if !jobs::is_awaited(connection, &bundle)? {
            failed |= room.to_enclave.remove(bundle).is_err();
        }
    }
    if failed {
        room.journal.error("unneeded files could not be removed").write();
    }
    Ok(())
}

/// A room that was killed after it had forgotten an upload leaves the part; it is found here. False if one could not be
/// removed.
fn remove_parts(spool: &Spool, connection: &Connection) -> Result<bool, StoreError> {
    let mut removed = true;
    for (person, sha256) in spool.parts() {
        if uploads::find(connection, &person, &sha256)?.is_none() {
            removed &= spool.forget(&person, &sha256).is_ok();
        }
    }
    Ok(removed)
}

fn listed(store: &BlobStore) -> BTreeSet<Digest> {
    let entries = std::fs::read_dir(store.directory()).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, connection};
    use crate::store::uploads::{Announced, UploadLimits};

    #[test]
    fn a_part_that_a_killed_gateway_left_is_removed_and_one_of_an_upload_stays() {
        let (directory, mut connection) = connection();
        let spool = Spool::open(directory.path()).unwrap();
        let limits = UploadLimits { per_person: 9, per_grant: 9, bytes_per_grant: 9, bytes: 9 };
        let (ada, kept, left) = ("ada".parse().unwrap(), Digest::of(b"kept"), Digest::of(b"left"));
        for sha256 in [&kept, &left] {
            spool.part(&ada, sha256, 0).unwrap().unwrap().write(b"part").unwrap();
        }
        let announced =
            Announced { person: ada.clone(), grant: "visits".parse().unwrap(), sha256: kept, bytes: 4 };
        let transaction = connection.transaction().unwrap();
        uploads::begin(&transaction, &announced, limits, at(0)).unwrap();
        assert!(remove_parts(&spool, &transaction).unwrap());
        assert_eq!(spool.parts(), [(ada, kept)]);
    }
}
