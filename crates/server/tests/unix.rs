//! A room's unix socket hears one user.

use daemon::Journal;
use hyper_util::rt::TokioIo;
use server::unix::{Socket, serve};
use tokio::net::UnixStream;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

async fn is_heard(expected: u32) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("room.sock");
    let socket = Socket::bind(&path, expected, Journal::new("test")).unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(serve(socket, Routes::new(health), std::future::pending()));
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    match Endpoint::from_static("http://room").connect_with_connector(connector).await {
        Ok(channel) => HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn the_named_user_is_heard_and_another_is_not() {
    let own = rustix::process::getuid().as_raw();
    assert!(is_heard(own).await);
    assert!(!is_heard(own + 1).await);
}
