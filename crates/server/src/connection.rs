//! A connection whose certificate was read. One that names nobody may ask too, and is told why it gets no answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::held::Held;
use crate::{Principal, PrincipalError};

pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    principal: Result<Principal, PrincipalError>,
    /// Until the first byte: a client that says nothing after its handshake would hold its place for nothing.
    first_byte: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
    _person: Held<Result<Principal, PrincipalError>>,
}

impl Connection {
    pub(crate) fn new(
        stream: TlsStream<TcpStream>,
        principal: Result<Principal, PrincipalError>,
        patience: Duration,
        place: OwnedSemaphorePermit,
        person: Held<Result<Principal, PrincipalError>>,
    ) -> Self {
        let first_byte = Some(Box::pin(tokio::time::sleep(patience)));
        Self { stream, principal, first_byte, _place: place, _person: person }
    }
}

impl Connected for Connection {
    type ConnectInfo = Result<Principal, PrincipalError>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.principal.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        match (&mut self.first_byte, read) {
            (Some(patience), Poll::Pending) => match patience.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
            (_, read) => {
                self.first_byte = None;
                read
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
