//! How connections end that nobody ends: by their age, by a peer that vanished; and that no session outlives them.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::HandshakeKind;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// The client's half of an HTTP/2 connection: its preface and empty settings (RFC 9113, section 3.4).
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const ACKNOWLEDGED_SETTINGS: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
const PING: u8 = 6;

async fn tls(door: &Door, configuration: &Arc<rustls::ClientConfig>) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(door.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(configuration.clone()).connect(name, stream).await.unwrap()
}

/// A client's configuration remembers sessions: whoever gives it a ticket would see it come back.
#[tokio::test]
async fn no_session_is_resumed_so_that_a_certificate_is_looked_at_each_time() {
    let door = open(Limits::default()).await;
    let configuration = Arc::new(client_tls(&door.authority, Some(ada(&door.authority))));
    for _ in 0..3 {
        let mut stream = tls(&door, &configuration).await;
        stream.write_all(BEGIN).await.unwrap();
        // Tickets would come before the server's first frame.
        stream.read_exact(&mut [0; 9]).await.unwrap();
        let kind = stream.get_ref().1.handshake_kind();
        assert!(matches!(kind, Some(HandshakeKind::Full)), "{kind:?}");
    }
}

#[tokio::test]
async fn an_old_connection_is_ended_softly_and_the_call_that_runs_on_it_is_answered() {
    let (age, grace) = (Duration::from_millis(500), Duration::from_secs(20));
    let door = open(Limits { connection_age: age, connection_grace: grace, ..Limits::default() }).await;
    let configuration = Arc::new(client_tls(&door.authority, Some(ada(&door.authority))));
    let (made, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, address) = (made.clone(), door.address);
    let connector = tower::service_fn(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let connector = TlsConnector::from(configuration.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap();
    let slow = |milliseconds: &'static str| {
        let mut client = DataServiceClient::new(channel.clone());
        let counted = counted.clone();
        async move {
            let mut request = Request::new(ListDatasetsRequest {});
            request.metadata_mut().insert("slow", milliseconds.parse().unwrap());
            client.list_datasets(request).await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
        }
    };
    slow("2000").await;
    assert_eq!((made.load(Ordering::SeqCst), counted.load(Ordering::SeqCst)), (1, 1));
    slow("0").await;
    assert_eq!((made.load(Ordering::SeqCst), counted.load(Ordering::SeqCst)), (2, 2), "on a new connection");
}

#[tokio::test]
async fn a_connection_that_does_not_end_when_it_is_asked_to_is_cut_after_the_grace() {
    let (age, grace) = (Duration::from_millis(300), Duration::from_secs(1));
    let door = open(Limits { connection_age: age, connection_grace: grace, ..Limits::default() }).await;
    let channel = connect(&door, client_tls(&door.authority, Some(ada(&door.authority)))).await.unwrap();
    let mut open = DataServiceClient::new(channel).get_site(GetSiteRequest {}).await.unwrap().into_inner();
    let ended = tokio::time::timeout(Duration::from_secs(20), open.message()).await;
    assert!(ended.expect("it ends").is_err());
}

/// Reads frames for so long, answering pings or not; gives how many pings came, and whether the server ended it.
async fn listened(mut stream: TlsStream<TcpStream>, answers: bool) -> (usize, bool) {
    stream.write_all(BEGIN).await.unwrap();
    stream.write_all(&ACKNOWLEDGED_SETTINGS).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(45);
    let mut pings = 0;
    loop {
        let mut head = [0; 9];
        match tokio::time::timeout_at(deadline, stream.read_exact(&mut head)).await {
            Err(_) => return (pings, false),
            Ok(Err(_)) => return (pings, true),
            Ok(Ok(_)) => {}
        }
        let mut body = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        if stream.read_exact(&mut body).await.is_err() {
            return (pings, true);
        }
        if head[3] == PING && head[4] == 0 {
            pings += 1;
            if answers {
                head[4] = 1;
                stream.write_all(&head).await.unwrap();
                stream.write_all(&body).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_gone_and_one_that_does_is_kept() {
    let door = open(Limits::default()).await;
    let configuration = Arc::new(client_tls(&door.authority, Some(ada(&door.authority))));
    let (vanished, there) = (tls(&door, &configuration).await, tls(&door, &configuration).await);
    let (vanished, there) = tokio::join!(listened(vanished, false), listened(there, true));
    assert_eq!(vanished, (1, true));
    assert!(there.0 >= 2 && !there.1, "{there:?}");
}
