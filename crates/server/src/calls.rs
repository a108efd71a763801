//! What happens around each call: a request id, the gate, the limits.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::asked::{Asked, Way};
use crate::held::{Counts, Held};
use crate::principal::Person;
use crate::{Gate, Limits, Principal, PrincipalError, Refused};

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The id of the call being answered, if one is.
pub(crate) fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// The header that carries a call's id back; the room chooses it, so that a caller cannot write into a journal.
const REQUEST_ID_HEADER: &str = "x-request-id";

/// How much earlier than the caller's own deadline a call is answered, so that the answer still arrives and tonic's own
/// watch, which was started a moment before, has not run out: a quarter of it, and at most this.
const MARGIN: Duration = Duration::from_millis(50);

/// A call that has less time than this is not begun.
const LEAST_TIME: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub(crate) struct Calls {
    gate: Gate,
    limits: Limits,
    places: Arc<Semaphore>,
    people: Arc<Counts<Person>>,
    long_calls: Arc<Counts<Person>>,
}

impl Calls {
    pub(crate) fn new(gate: Gate, limits: Limits) -> Self {
        let places = Arc::new(Semaphore::new(limits.calls));
        let people = Arc::new(Counts::new(limits.calls_per_person));
        let long_calls = Arc::new(Counts::new(limits.long_calls_per_person));
        Self { gate, limits, places, people, long_calls }
    }

    /// A person's places for a call to this path: one among their calls, and for a long call one among those. Without
    /// them one person could take all the room's places and send nothing.
    fn places_of(
        &self,
        principal: &Principal,
        path: &str,
    ) -> Result<(Held<Person>, Option<Held<Person>>), Refused> {
        let person = principal.person();
        let long = if self.limits.long_calls.contains(&path) {
            let limit = self.limits.long_calls_per_person;
            let quota = Refused::Quota { subject: "uploads", limit: limit as u64 };
            Some(self.long_calls.take(person.clone()).ok_or(quota)?)
        } else {
            None
        };
        let limit = self.limits.calls_per_person;
        let quota = Refused::Quota { subject: "calls", limit: limit as u64 };
        Ok((self.people.take(person).ok_or(quota)?, long))
    }
}

impl<S> Layer<S> for Calls {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, calls: self.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct CallService<S> {
    inner: S,
    calls: Calls,
}

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone has not been polled ready; the one that has must be called (tower's documentation of Service).
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        let mut this = Self { inner: ready, calls: self.calls.clone() };
        if let Some(other) = other_than_grpc(&request) {
            return Box::pin(async move { Ok(other) });
        }
        Box::pin(REQUEST_ID.scope(new_id(), async move {
            let mut response = match this.answer(request).await {
                Ok(response) => response,
                Err(refused) => Status::from(refused).into_http(),
            };
            if let Some(id) = request_id().and_then(|id| HeaderValue::try_from(id).ok()) {
                response.headers_mut().insert(REQUEST_ID_HEADER, id);
            }
            Ok(response)
        }))
    }
}

impl<S> CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
    S::Future: Send,
{
    async fn answer(&mut self, mut request: Request<Body>) -> Result<Response<Body>, Refused> {
        let named = request.extensions_mut().remove::<Result<Principal, PrincipalError>>();
        let principal = named.unwrap_or(Err(PrincipalError::Form)).map_err(Refused::Certificate)?;
        (self.calls.gate)(&principal)?;
        request.extensions_mut().insert(principal.clone());
        let gate = self.calls.gate.clone();
        let (call, long) = self.calls.places_of(&principal, request.uri().path())?;
        let request = request.map(|body| Asked::wrap(body, &gate, &principal, Way::In, None));
        let _place = self.calls.places.try_acquire().map_err(|_| Refused::Overloaded)?;
        let limits = &self.calls.limits;
        let ours = if long.is_some() { limits.long_call } else { limits.call };
        let theirs = deadline(request.headers()).map(|deadline| deadline - MARGIN.min(deadline / 4));
        if theirs.is_some_and(|theirs| theirs < LEAST_TIME) {
            return Err(Refused::Time);
        }
        let patience = theirs.map_or(ours, |theirs| theirs.min(ours));
        match tokio::time::timeout(patience, self.inner.call(request)).await {
            Ok(Ok(response)) => {
                unnamed(&response).map_or(Ok(()), Err)?;
                Ok(response.map(|body| Asked::wrap(body, &gate, &principal, Way::Out, Some(call))))
            }
            Ok(Err(never)) => match never {},
            Err(_) => Err(Refused::Time),
        }
    }
}

/// The answer to what is no gRPC, in HTTP's words. A page in the browser of someone whose certificate is installed there
/// can have it sent such requests with no one asking, but none of this method and type.
fn other_than_grpc(request: &Request<Body>) -> Option<Response<Body>> {
    let kind = request.headers().get("content-type").map_or(&b""[..], HeaderValue::as_bytes);
    let status = match *request.method() {
        Method::POST if kind.starts_with(b"application/grpc") => return None,
        Method::POST => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Some(response)
}

/// What tonic itself refused, in a word of the closed list. A room's own refusals have one already; those by tonic are
/// about the bytes of a message, and of methods that do not exist, which have no word.
fn unnamed(response: &Response<Body>) -> Option<Refused> {
    let status = Status::from_header_map(response.headers())?;
    match status.code() {
        _ if !status.details().is_empty() => None,
        Code::OutOfRange => Some(Refused::TooLarge { field: "message", limit: api::MESSAGE_LIMIT as u64 }),
        Code::Internal => Some(Refused::Malformed("message")),
        _ => None,
    }
}

/// The caller's deadline: at most eight digits and a unit (gRPC over HTTP/2, `grpc-timeout`). tonic ends such a call
/// with CANCELLED, which other clients do not take for a deadline, so it is kept here first.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

fn new_id() -> String {
    let mut bytes = [0; 8];
    // An id is for finding a line in a journal; without randomness all are zero, and calls go on.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_deadline_is_read_and_junk_is_none() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_str(text).unwrap());
            deadline(&headers)
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for junk in ["", "S", "1", "-1S", "1s", "123456789S", "1.5S", "é"] {
            let parsed = HeaderValue::from_bytes(junk.as_bytes()).map(|value| {
                let mut headers = HeaderMap::new();
                headers.insert("grpc-timeout", value);
                deadline(&headers)
            });
            assert_eq!(parsed.unwrap(), None, "{junk}");
        }
    }
}
