//! What happens by itself: the site is looked at, jobs of which nothing is heard end, what nobody needs is removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use blobs::{BlobStore, Digest};
use rusqlite::Connection;

use crate::room::{Room, blocking, now};
use crate::store::{StoreError, events, jobs, uploads};

const LOOK_AT_SITE: Duration = Duration::from_secs(1);
const LIMITS: Duration = Duration::from_secs(30);
const SWEEP: Duration = Duration::from_secs(60);

/// What nobody touched for so long is removed, in seconds: a day.
const UNTOUCHED: i64 = 24 * 3600;

/// Runs until the process ends.
pub async fn run(room: Arc<Room>) {
    let mut site = tokio::time::interval(LOOK_AT_SITE);
    let mut limits = tokio::time::interval(LIMITS);
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let done = tokio::select! {
            _ = site.tick() => look(&room).await,
            _ = limits.tick() => end_unheard(&room).await,
            _ = sweep.tick() => remove_unneeded(&room).await,
        };
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
    let forgotten = room.store.change(move |transaction| uploads::forget(transaction, before)).await?;
    let of = room.clone();
    room.store.read(move |connection| remove_unheld(&of, connection)).await?;
    let room = room.clone();
    let removed = blocking(move || {
        let parts = forgotten.iter().try_for_each(|(person, sha256)| room.spool.forget(person, sha256));
        if parts.is_err() {
            room.journal.error("unneeded files could not be removed").write();
        }
    });
    // It ends early only with the process.
    let _ = removed.await;
    Ok(())
}

/// Removes bundles that neither an upload nor a submit holds. It runs on the store's thread, so that no upload becomes
/// whole between the look and the removal.
fn remove_unheld(room: &Room, connection: &Connection) -> Result<(), StoreError> {
    let mut failed = false;
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

fn listed(store: &BlobStore) -> BTreeSet<Digest> {
    let entries = std::fs::read_dir(store.directory()).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
