//! A connection whose certificate was read. One that names nobody may ask too, and is told why it gets no answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::calm::{Calm, TooManyFrames};
use crate::frames::{ENHANCE_YOUR_CALM, Frames, NO_ERROR, SETTINGS_TIMEOUT, goaway};
use crate::listener::Places;
use crate::turned_away::{Tally, TurnedAway};
use crate::{Limits, Principal, PrincipalError};

pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    principal: Result<Principal, PrincipalError>,
    /// Until the first frame: a client that says nothing after its handshake would hold its place for nothing.
    first_frame: Option<Pin<Box<Sleep>>>,
    /// When it ends, whatever runs on it. At its age tonic asks it to end; its own grace, once set, would leave the asking
    /// out and only cut.
    end: Pin<Box<Sleep>>,
    received: Frames,
    sent: Frames,
    calm: Calm,
    tally: Arc<Tally>,
    _places: Places,
}

impl Connection {
    pub(crate) fn new(
        stream: TlsStream<TcpStream>,
        principal: Result<Principal, PrincipalError>,
        limits: &Limits,
        tally: Arc<Tally>,
        places: Places,
    ) -> Self {
        Self {
            stream,
            principal,
            first_frame: Some(Box::pin(tokio::time::sleep(limits.handshake))),
            end: Box::pin(tokio::time::sleep(limits.connection_age + limits.connection_grace)),
            received: Frames::from_client(),
            sent: Frames::to_client(),
            calm: Calm::new(Instant::now()),
            tally,
            _places: places,
        }
    }

    /// Looks at the heads of the frames in these bytes.
    fn receive(&mut self, bytes: &[u8]) -> Result<(), TooManyFrames> {
        let (calm, now) = (&mut self.calm, Instant::now());
        let (mut borne, mut begun) = (Ok(()), false);
        self.received.pass(bytes, |head| {
            begun = true;
            borne = borne.and(calm.frame(head, now));
        });
        if begun {
            self.first_frame = None;
        }
        borne
    }

    /// Whether its time is over, and what is said then.
    fn is_over(&mut self, context: &mut Context<'_>) -> Option<(TurnedAway, u32)> {
        if self.first_frame.as_mut().is_some_and(|patience| patience.as_mut().poll(context).is_ready()) {
            return Some((TurnedAway::FirstFrame, SETTINGS_TIMEOUT));
        }
        self.end.as_mut().poll(context).is_ready().then_some((TurnedAway::Age, NO_ERROR))
    }

    /// Ends the connection, and says why if a frame can be put there. It cannot where the client does not read: then
    /// part of a frame may be on its way, and the connection ends without a word.
    fn cut(&mut self, context: &mut Context<'_>, why: TurnedAway, code: u32) -> io::Error {
        self.tally.count(why);
        if self.sent.is_between_frames() {
            let frame = goaway(self.calm.newest_stream(), code, why.word());
            // Nothing is waited for: who floods does not get to hold a connection by reading slowly.
            let _ = Pin::new(&mut self.stream).poll_write(context, &frame);
            let _ = Pin::new(&mut self.stream).poll_shutdown(context);
        }
        io::ErrorKind::ConnectionAborted.into()
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.receive(&buffer.filled()[before..]).is_err() {
            // Not a frame more is acted on, also of those that came before the one too many.
            buffer.set_filled(before);
            return Poll::Ready(Err(self.cut(context, TurnedAway::Frames, ENHANCE_YOUR_CALM)));
        }
        if read.is_ready() {
            return read;
        }
        match self.is_over(context) {
            Some((why, code)) => Poll::Ready(Err(self.cut(context, why, code))),
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = written {
            self.sent.pass(&bytes[..written], |_| {});
            self.calm.carried(written);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
