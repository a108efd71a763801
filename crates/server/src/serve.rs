//! Serving gRPC on a listener.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::calls::Calls;
use crate::limits::{HEADER_LIST_LIMIT, KEEPALIVE, PENDING_RESETS, REFUSED_STREAMS, WINDOWS};
use crate::reflection::with_reflection;
use crate::{Limits, Listener, Principal, Refused};

/// Asked before every call: may this person call here at all? Roles and revocations are looked at here, so that a
/// revocation reaches connections that are open already.
pub type Gate = Arc<dyn Fn(&Principal) -> Result<(), Refused> + Send + Sync>;

/// Serving ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The connections.
    #[error("the room cannot serve any more")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors in this program, which a test of them would have found.
    #[error("the services cannot be described")]
    Descriptors(#[from] tonic_reflection::server::Error),
}

/// Serves until `stop` completes; calls that run then have a moment to end.
///
/// Each service sets its own message limits ([`api::MESSAGE_LIMIT`]). Health and reflection (of `services`, by their full names)
/// stand beside the services.
pub async fn serve(
    listener: Listener,
    gate: Gate,
    routes: Routes,
    services: &[&str],
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let limits = listener.limits().clone();
    let routes = with_reflection(routes, services)?;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let health = health.max_decoding_message_size(api::MESSAGE_LIMIT);
    let (incoming, accepting) = listener.accept();
    let (asked, asked_to_end) = oneshot::channel::<()>();
    let mut server = settings(Server::builder(), &limits).layer(Calls::new(gate, limits.clone()));
    let serving =
        server.add_routes(routes.add_service(health)).serve_with_incoming_shutdown(incoming, async {
            // A dropped sender means the same.
            let _ = asked_to_end.await;
        });
    let ended = end_softly(serving, stop, asked, &limits).await;
    accepting.abort();
    ended
}

/// Lets `serving` run until `stop`, asks it to end, and leaves it after the grace.
pub(crate) async fn end_softly(
    serving: impl Future<Output = Result<(), tonic::transport::Error>>,
    stop: impl Future<Output = ()>,
    ask: oneshot::Sender<()>,
    limits: &Limits,
) -> Result<(), ServeError> {
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        () = stop => {}
    }
    drop(ask);
    match tokio::time::timeout(limits.grace, serving).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Ok(()),
    }
}

pub(crate) fn settings(server: Server, limits: &Limits) -> Server {
    server
        .max_concurrent_streams(limits.streams_per_connection)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .http2_max_header_list_size(HEADER_LIST_LIMIT)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(REFUSED_STREAMS))
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_connection_age(limits.connection_age)
}

/// Completes when the process is asked to stop (SIGTERM or SIGINT).
pub async fn stopped() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
