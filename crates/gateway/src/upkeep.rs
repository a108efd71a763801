//! What happens by itself: the site is looked at, jobs that nobody answers expire, what nobody needs is removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use blobs::{BlobStore, Digest};

use crate::room::{Room, blocking, now};
use crate::store::{StoreError, events, jobs, uploads};

const LOOK_AT_SITE: Duration = Duration::from_secs(1);
const EXPIRE: Duration = Duration::from_secs(30);
const SWEEP: Duration = Duration::from_secs(3600);

/// What nobody touched for so long is removed, in seconds: a day.
const UNTOUCHED: i64 = 24 * 3600;

/// Runs until the process ends.
pub async fn run(room: Arc<Room>) {
    let mut site = tokio::time::interval(LOOK_AT_SITE);
    let mut expiry = tokio::time::interval(EXPIRE);
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let done = tokio::select! {
            _ = site.tick() => room.look_at_site().await,
            _ = expiry.tick() => expire(&room).await,
            _ = sweep.tick() => remove_unneeded(&room).await,
        };
        if let Err(error) = done {
            room.journal.error("upkeep failed").own_error(&error).write();
        }
    }
}

async fn expire(room: &Room) -> Result<(), StoreError> {
    let expired = room.store.change(|transaction| events::expire(transaction, now())).await?;
    for job in expired {
        room.journal.warning("a job expired unanswered").digest("job", job.as_bytes()).write();
        room.tell(job);
    }
    Ok(())
}

async fn remove_unneeded(room: &Arc<Room>) -> Result<(), StoreError> {
    let before = now().plus(-UNTOUCHED);
    let forgotten = room.store.change(move |transaction| uploads::forget(transaction, before)).await?;
    let bundles = listed(room.spool.bundles());
    let handed_over = listed(&room.to_enclave);
    let (unheld, unawaited) = room
        .store
        .read(move |connection| {
            let (mut unheld, mut unawaited) = (Vec::new(), Vec::new());
            for bundle in bundles {
                if !uploads::is_held(connection, &bundle)? && !jobs::is_awaited(connection, &bundle)? {
                    unheld.push(bundle);
                }
            }
            for bundle in handed_over {
                if !jobs::is_awaited(connection, &bundle)? {
                    unawaited.push(bundle);
                }
            }
            Ok((unheld, unawaited))
        })
        .await?;
    let room = room.clone();
    let removed = blocking(move || {
        let parts = forgotten.iter().try_for_each(|(person, sha256)| room.spool.forget(person, sha256));
        let bundles = unheld.into_iter().try_for_each(|bundle| room.spool.bundles().remove(bundle));
        let handed = unawaited.into_iter().try_for_each(|bundle| room.to_enclave.remove(bundle));
        if parts.and(bundles).and(handed).is_err() {
            room.journal.error("unneeded files could not be removed").write();
        }
    });
    // It ends early only with the process.
    let _ = removed.await;
    Ok(())
}

fn listed(store: &BlobStore) -> BTreeSet<Digest> {
    let entries = std::fs::read_dir(store.directory()).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
