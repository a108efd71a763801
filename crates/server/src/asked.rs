//! A stream that ends when its caller is no longer welcome.
//!
//! The gate is asked before each call, but a stream can stay open for hours: a revocation would not reach whoever
//! watches a job, fetches a file or sends a bundle at that moment.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use crate::held::Held;
use crate::principal::Person;
use crate::{Gate, Principal, Refused};

/// How often the gate is asked about an open stream. Rooms look at their site several times a second, so that a
/// revocation ends a stream well within five seconds.
const AGAIN: Duration = Duration::from_secs(1);

/// Which way the bytes go, and so how an end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the caller: the room's handler gets an error.
    In,
    /// To the caller: the status goes into the trailers.
    Out,
}

/// A body that asks the gate from time to time.
pub(crate) struct Asked {
    inner: Body,
    gate: Gate,
    principal: Principal,
    way: Way,
    next: Pin<Box<Sleep>>,
    ended: bool,
    _call: Option<Held<Person>>,
}

impl Asked {
    /// Wraps a body. It holds the caller's place until it ends.
    pub(crate) fn wrap(
        inner: Body,
        gate: &Gate,
        principal: &Principal,
        way: Way,
        call: Option<Held<Person>>,
    ) -> Body {
        // Most calls are one message and over at once.
        if inner.is_end_stream() {
            return inner;
        }
        let (gate, principal) = (gate.clone(), principal.clone());
        Body::new(Self {
            inner,
            gate,
            principal,
            way,
            next: Box::pin(sleep(AGAIN)),
            ended: false,
            _call: call,
        })
    }

    /// Asks the gate, if it is time to.
    fn ask(&mut self, context: &mut Context<'_>) -> Result<(), Refused> {
        while self.next.as_mut().poll(context).is_ready() {
            (self.gate)(&self.principal)?;
            self.next.as_mut().reset(Instant::now() + AGAIN);
        }
        Ok(())
    }
}

impl HttpBody for Asked {
    type Data = <Body as HttpBody>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Err(refused) = self.ask(context) {
            self.ended = true;
            let status = Status::from(refused);
            if self.way == Way::In {
                return Poll::Ready(Some(Err(status)));
            }
            let trailers = status.clone().into_http::<Body>().into_parts().0.headers;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
