//! Calls that are wrong or extreme: each is answered by name, and the connection goes on.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
use tonic::Status;
use tonic_types::StatusExt;

use crate::stage::{Attacker, Room, Stage};

const DATASETS: &str = "/databox.v1.DataService/ListDatasets";
const JOBS: &str = "/databox.v1.JobService/ListJobs";

/// A message with its head (gRPC over HTTP/2): not compressed, and its length.
pub fn message(fields: &[u8]) -> Vec<u8> {
    [&[0][..], &(fields.len() as u32).to_be_bytes(), fields].concat()
}

/// The name of a refused call: its reason, and the field or subject that it is about. Without a reason it is the code.
pub fn name(status: &Status) -> String {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else { return format!("{:?}", status.code()) };
    let field = details.bad_request().and_then(|bad| bad.field_violations.first()).map(|bad| &bad.field);
    let subject =
        details.quota_failure().and_then(|quota| quota.violations.first()).map(|quota| &quota.subject);
    match field.or(subject) {
        Some(about) => format!("{}/{about}", info.reason),
        None => info.reason.clone(),
    }
}

/// A connection whose calls are made of bytes.
pub struct Client(SendRequest<Bytes>);

/// One call.
pub struct Call {
    sending: SendStream<Bytes>,
    answer: h2::client::ResponseFuture,
}

impl Client {
    /// Connects.
    pub async fn open(attacker: &Attacker) -> Self {
        let stream = attacker.tls().await.expect("the room takes the certificate");
        let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2 begins");
        tokio::spawn(connection);
        Self(client)
    }

    /// Begins a call.
    pub async fn call(&mut self, path: &str) -> Call {
        self.call_with(Method::POST, path, &[]).await
    }

    async fn call_with(&mut self, method: Method, path: &str, more: &[(&'static str, &str)]) -> Call {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let mut client = self.0.clone().ready().await.expect("the connection goes on");
        let (answer, sending) = client.send_request(request.body(()).unwrap(), false).expect("a call begins");
        Call { sending, answer }
    }

    /// A whole call with one message.
    async fn ask(&mut self, path: &str, more: &[(&'static str, &str)], message: &[u8]) -> String {
        let mut call = self.call_with(Method::POST, path, more).await;
        call.send(message.to_vec());
        call.end();
        call.into_answer().await
    }
}

impl Call {
    /// Sends bytes, if the room still listens.
    pub fn send(&mut self, bytes: Vec<u8>) {
        let _ = self.sending.send_data(bytes.into(), false);
    }

    /// Says that no more comes.
    pub fn end(&mut self) {
        let _ = self.sending.send_data(Bytes::new(), true);
    }

    /// The name of the answer. May be dropped and asked for again until it is there.
    pub async fn answer(&mut self) -> String {
        match (&mut self.answer).await {
            Ok(response) if response.status() != StatusCode::OK => {
                format!("HTTP {}", response.status().as_u16())
            }
            Ok(response) => {
                let (head, body) = response.into_parts();
                ended(head.headers, body).await
            }
            Err(error) => error.reason().map_or_else(|| error.to_string(), |reason| format!("{reason:?}")),
        }
    }

    /// The same, once.
    pub async fn into_answer(mut self) -> String {
        let answer = tokio::time::timeout(Duration::from_secs(180), self.answer()).await;
        answer.expect("a call is answered")
    }
}

async fn ended(headers: HeaderMap, mut body: RecvStream) -> String {
    let trailers = if headers.contains_key("grpc-status") {
        headers
    } else {
        while let Some(data) = body.data().await {
            let Ok(data) = data else { return "broken off".to_owned() };
            let _ = body.flow_control().release_capacity(data.len());
        }
        body.trailers().await.ok().flatten().unwrap_or_default()
    };
    match Status::from_header_map(&trailers) {
        Some(status) if status.code() == tonic::Code::Ok => "TAKEN".to_owned(),
        Some(status) => name(&status),
        None => "no status".to_owned(),
    }
}

/// Groups within groups, in a field that no message has: a start and an end of each (field 100, wire types 3 and 4).
fn nested(depth: usize) -> Vec<u8> {
    [[0xa3, 0x06].repeat(depth), [0xa4, 0x06].repeat(depth)].concat()
}

#[test]
fn wrong_and_extreme_calls_are_answered_by_name_and_the_connection_goes_on() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let mut client = Client::open(&stage.attacker()).await;
        let mut found = Vec::new();
        let mut expected = Vec::new();
        let mut case = |what: &'static str, name: &'static str, answer: String| {
            println!("{what:<52} {answer}");
            expected.push((what, name.to_owned()));
            found.push((what, answer));
        };
        let none = message(&[]);

        // Messages.
        let four_gib = [0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        case("a length of 4 GiB", "TOO_LARGE/message", client.ask(DATASETS, &[], &four_gib).await);
        let limit = (api::MESSAGE_LIMIT as u32 + 1).to_be_bytes();
        case(
            "a length just past the limit",
            "TOO_LARGE/message",
            client.ask(DATASETS, &[], &[&[0][..], &limit].concat()).await,
        );
        case(
            "compressed without being asked",
            "Unimplemented",
            client.ask(DATASETS, &[("grpc-encoding", "gzip")], &[1, 0, 0, 0, 0]).await,
        );
        case(
            "a flag that does not exist",
            "MALFORMED/message",
            client.ask(DATASETS, &[], &[9, 0, 0, 0, 0]).await,
        );
        case("half a message", "MALFORMED/message", client.ask(DATASETS, &[], &[0, 0, 0, 0, 9, 1]).await);
        case("junk for fields", "MALFORMED/message", client.ask(JOBS, &[], &message(&[0xff; 64])).await);
        case(
            "a field of another wire type",
            "MALFORMED/message",
            client.ask(JOBS, &[], &message(&[0x0a, 1, b'x'])).await,
        );
        case(
            "groups a hundred thousand deep",
            "MALFORMED/message",
            client.ask(JOBS, &[], &message(&nested(100_000))).await,
        );
        case(
            "groups ten deep, in no field that is known",
            "TAKEN",
            client.ask(JOBS, &[], &message(&nested(10))).await,
        );
        case(
            "unknown fields",
            "TAKEN",
            client.ask(JOBS, &[], &message(&[0xf8, 0x3f, 1, 0xfa, 0x3f, 2, 7, 7])).await,
        );
        case(
            "two messages where one belongs",
            "TAKEN",
            client.ask(DATASETS, &[], &[&none[..], &none].concat()).await,
        );

        // Deadlines.
        for (what, timeout, name) in [
            ("a deadline in eleven thousand years", "99999999H", "TAKEN"),
            ("a deadline without a unit", "5", "TAKEN"),
            ("a deadline of more digits than there may be", "999999999999999999999H", "TAKEN"),
            ("a negative deadline", "-1S", "TAKEN"),
            ("no deadline in the header for it", "", "TAKEN"),
        ] {
            case(what, name, client.ask(JOBS, &[("grpc-timeout", timeout)], &none).await);
        }

        let late = client.call_with(Method::POST, DATASETS, &[("grpc-timeout", "1n")]).await;
        case("a deadline of a nanosecond, and no message", "TIME", late.into_answer().await);

        // Paths and metadata.
        case(
            "no such method",
            "Unimplemented",
            client.ask("/databox.v1.DataService/Nothing", &[], &none).await,
        );
        case("no such service", "Unimplemented", client.ask("/nothing.v1.Nothing/Nothing", &[], &none).await);
        let mut get = client.call_with(Method::GET, DATASETS, &[]).await;
        get.send(none.clone());
        get.end();
        case("another HTTP method", "HTTP 405", get.into_answer().await);
        case(
            "metadata of 4 KiB",
            "TAKEN",
            client.ask(DATASETS, &[("x-more", &"m".repeat(4 << 10))], &none).await,
        );
        case(
            "metadata of 12 KiB",
            "HTTP 431",
            client.ask(DATASETS, &[("x-more", &"m".repeat(12 << 10))], &none).await,
        );
        case("the call itself, on the same connection", "TAKEN", client.ask(DATASETS, &[], &none).await);
        assert_eq!(found, expected);

        let mut other = Client::open(&stage.attacker()).await;
        let big = other.ask(DATASETS, &[("x-more", &"m".repeat(90 << 10))], &none).await;
        println!("metadata of 90 KiB: {big}");
        assert_eq!(big, "ENHANCE_YOUR_CALM");
        assert_eq!(client.ask(DATASETS, &[], &none).await, "TAKEN", "another connection goes on");
    });
}

#[test]
fn a_person_has_so_many_calls_at_the_same_time_one_more_is_refused_by_name_and_another_person_is_served() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let mut held = Vec::new();
        let mut clients = Vec::new();
        // Calls whose message never comes: sixteen streams on each of two connections.
        for _ in 0..2 {
            let mut client = Client::open(&stage.attacker()).await;
            for _ in 0..16 {
                held.push(client.call(DATASETS).await);
            }
            clients.push(client);
        }
        let mut third = Client::open(&stage.attacker()).await;
        let none = message(&[]);
        // The others arrive on connections of their own, maybe later.
        let mut answer = String::new();
        for _ in 0..100 {
            answer = third.ask(DATASETS, &[], &none).await;
            if answer != "TAKEN" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(answer, "QUOTA/calls");
        assert_eq!(stage.tested.bench("lee").await.datasets().await.expect("another person").len(), 1);
        held.clear();
        for _ in 0..100 {
            answer = third.ask(DATASETS, &[], &none).await;
            if answer == "TAKEN" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the places are given back: {answer}");
    });
}
