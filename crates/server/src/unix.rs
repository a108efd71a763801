//! gRPC on a unix socket that one user of this machine may speak on.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use daemon::Journal;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::limits::{HEADER_LIST_LIMIT, PENDING_RESETS, REFUSED_STREAMS, WINDOWS};
use crate::serve::end_softly;
use crate::{Limits, ServeError};

/// A unix socket on which one user is heard.
pub struct Socket {
    listener: UnixListener,
    user: u32,
    journal: Journal,
}

impl Socket {
    /// Listens at `path`; the socket has mode 0660. Only processes of `user` are heard, whatever the mode.
    pub fn bind(path: &Path, user: u32, journal: Journal) -> io::Result<Self> {
        let listener = daemon::listen(path, 0o660)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, user, journal })
    }

    async fn run(self, accepted: mpsc::Sender<io::Result<Peer>>) {
        while !accepted.is_closed() {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match daemon::check_peer(&stream, self.user) {
                Ok(()) => drop(accepted.send(Ok(Peer(stream))).await),
                Err(error) => self.journal.warning("a connection was turned away").own_error(&error).write(),
            }
        }
    }
}

/// Serves until `stop` completes. There is no deadline on calls: rooms hold streams open for as long as they live.
pub async fn serve(socket: Socket, routes: Routes, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    let (sender, receiver) = mpsc::channel(4);
    let accepting = tokio::spawn(socket.run(sender));
    let (ask, asked_to_end) = oneshot::channel::<()>();
    let serving = Server::builder()
        .max_concurrent_streams(4)
        .http2_max_header_list_size(HEADER_LIST_LIMIT)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(REFUSED_STREAMS))
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(receiver), async {
            let _ = asked_to_end.await;
        });
    let limits = Limits { grace: Duration::from_secs(1), ..Limits::default() };
    let ended = end_softly(serving, stop, ask, &limits).await;
    accepting.abort();
    ended
}

struct Peer(UnixStream);

impl Connected for Peer {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
