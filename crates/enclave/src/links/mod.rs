//! The two streams that the enclave opens and holds: to the gateway and to the console. Whatever a stream carries is
//! written down first; a new connection sends again what was not acknowledged, so a connection may break at any point.

mod console;
mod gateway;
mod pending;

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::room::Room;

pub use console::Console;
pub use gateway::Gateway;

/// How long the enclave waits after a connection that failed; twice as long after each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// How long it waits at most.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// After so long what was not acknowledged is sent again on the same connection: the other side may have lacked
/// something that it has by now.
const AGAIN: Duration = Duration::from_secs(1);

/// Messages on their way out.
const QUEUE: usize = 32;

/// A stream that ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket cannot be opened, or another user is at its other end.
    #[error("the socket cannot be opened")]
    Connect(#[source] tonic::transport::Error),
    /// The other side ended the stream.
    #[error("the stream was ended")]
    Ended(#[from] Box<tonic::Status>),
    /// The other side closed it.
    #[error("the stream was closed")]
    Closed,
    /// The enclave failed while it handled a message, which the other side will send again.
    #[error("the room failed")]
    Room(#[from] crate::room::RoomError),
    /// The room stops.
    #[error("the room stops")]
    Stopping,
}

impl From<tonic::Status> for LinkError {
    fn from(status: tonic::Status) -> Self {
        Self::Ended(Box::new(status))
    }
}

impl From<crate::store::StoreError> for LinkError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Room(error.into())
    }
}

/// One of the two streams.
pub trait Link: Send + Sync + 'static {
    /// The room at the other end.
    const PEER: &'static str;

    /// Opens the stream and holds it until it ends. Calls `opened` once the other side answers.
    fn hold(&self, opened: impl FnOnce() + Send) -> impl Future<Output = LinkError> + Send;
}

/// Holds a stream until the room stops, and opens it again whenever it ends.
pub async fn keep(room: Arc<Room>, link: impl Link) {
    let mut wait = FIRST_WAIT;
    while !room.stop.is_raised() {
        let mut was_open = false;
        let error = link
            .hold(|| {
                was_open = true;
                room.journal.info("stream opened").word("to", peer(&link)).write();
            })
            .await;
        if room.stop.is_raised() {
            return;
        }
        if was_open {
            wait = FIRST_WAIT;
            room.journal.warning("stream ended").word("to", peer(&link)).word("why", why(&error)).write();
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = room.stopping() => return,
        }
        wait = (wait * 2).min(LONGEST_WAIT);
        if wait == LONGEST_WAIT && !was_open {
            room.journal
                .warning("stream cannot be opened")
                .word("to", peer(&link))
                .word("why", why(&error))
                .write();
        }
    }
}

fn peer<L: Link>(_: &L) -> &'static str {
    L::PEER
}

/// Why, in the enclave's own words: a status text is the other side's.
fn why(error: &LinkError) -> &'static str {
    match error {
        LinkError::Connect(_) => "not reachable, or another user",
        LinkError::Ended(_) => "ended by the other side",
        LinkError::Closed => "closed",
        LinkError::Room(_) => "the enclave failed",
        LinkError::Stopping => "stopping",
    }
}

/// Opens a unix socket on which this user must be at the other end.
async fn connect(socket: &Path, user: u32) -> Result<Channel, LinkError> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move {
            let stream = UnixStream::connect(&socket).await?;
            // Whoever took the socket's path could else hand in jobs and read verdicts.
            daemon::check_peer(&stream, user).map_err(io::Error::other)?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // The name is never looked up; HTTP/2 wants one.
    let endpoint = Endpoint::from_static("http://room.invalid").connect_timeout(Duration::from_secs(5));
    endpoint.connect_with_connector(connector).await.map_err(LinkError::Connect)
}

/// Runs what blocks, such as the store, on a thread that may.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, LinkError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| LinkError::Stopping)
}
