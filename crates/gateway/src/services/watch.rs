//! The stream of one job's events: those that are there, then each new one, until the job has ended.

use std::sync::Arc;
use std::time::Duration;

use api::v1::WatchJobResponse;
use blobs::Digest;
use server::{Principal, Refused};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::job::event_message;
use crate::room::{Room, now};
use crate::store::events::{self, Event};
use crate::store::jobs;

/// The stream.
pub type Events = ReceiverStream<Result<WatchJobResponse, Status>>;

/// How often a stream looks whether its caller may still see it, if nothing else happens.
const LOOK: Duration = Duration::from_secs(10);

/// Streams the events of a job that is the caller's, from those with a higher number than `after` on.
pub fn events(room: Arc<Room>, caller: Principal, job: Digest, after: u64) -> Events {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        if let Err(refused) = follow(&room, &caller, job, after, &sender).await {
            // The caller may be gone.
            let _ = sender.send(Err(refused.into())).await;
        }
    });
    ReceiverStream::new(receiver)
}

async fn follow(
    room: &Room,
    caller: &Principal,
    job: Digest,
    mut after: u64,
    sender: &mpsc::Sender<Result<WatchJobResponse, Status>>,
) -> Result<(), Refused> {
    // Before the first look, so that no event falls between look and wait.
    let mut changes = room.changes.subscribe();
    loop {
        room.allows(caller)?;
        let waiting = room.store.read(move |connection| events::after(connection, &job, after)).await?;
        let (visible, hidden): (Vec<Event>, Vec<Event>) =
            waiting.into_iter().partition(|event| event.visible_at <= now());
        for event in visible {
            after = event.event;
            let is_end = event.state.is_end();
            if sender.send(Ok(event_message(&event))).await.is_err() || is_end {
                return Ok(());
            }
        }
        // Taken up again after the last event of a job that has ended: there is nothing to wait for.
        if hidden.is_empty() && has_ended(room, job).await? {
            return Ok(());
        }
        let hidden = hidden.first().map(|event| event.visible_at.seconds() - now().seconds());
        let pause = hidden.map_or(LOOK, |seconds| Duration::from_secs(seconds.max(0) as u64).min(LOOK));
        tokio::select! {
            () = sender.closed() => return Ok(()),
            () = tokio::time::sleep(pause.max(Duration::from_millis(50))) => {}
            () = told(&mut changes, job) => {}
        }
    }
}

async fn has_ended(room: &Room, job: Digest) -> Result<bool, Refused> {
    let standing = room.store.read(move |connection| jobs::standing(connection, &job)).await?;
    Ok(standing.is_none_or(|(_, state)| state.is_end()))
}

async fn told(changes: &mut broadcast::Receiver<Digest>, job: Digest) {
    loop {
        match changes.recv().await {
            Ok(changed) if changed != job => {}
            // A stream that fell behind looks, too.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}
