//! `databox witness`: watches logs and cosigns that they only grow (<https://c2sp.org/tlog-witness>, v1.0.0).
//!
//! It belongs on a machine that the box's operator does not control; on the box's own it proves little, and roles and
//! verifiers say so. It keeps one file a log: the last checkpoint that it cosigned, cosignature included. Whoever can
//! put an older file there can have it cosign a second history; whoever takes its key can do so at once.

mod watching;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blobs::Digest;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use release::log::witness::{REQUEST_LIMIT, WitnessRefusal};
use release::log::{KeyType, VerifierKey};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use watching::{AddError, Witness};

use crate::failure::{Failure, file_failure, whole};

/// Most connections at the same time, and how long each may last.
const CONNECTIONS: usize = 64;
const CONNECTION_TIME: Duration = Duration::from_secs(60);

/// What a witness needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct WitnessArguments {
    /// The name of its key, such as witness.example/databox.
    #[arg(long)]
    pub name: String,
    /// Its own directory: key, public key, and the last head of each log. Made at the first start.
    #[arg(long)]
    pub state: PathBuf,
    /// Where it listens. Plain HTTP: heads and cosignatures are public and signed.
    #[arg(long)]
    pub listen: SocketAddr,
    /// A box's public keys (box.public.json). Give it once for each log to be watched.
    #[arg(long = "log", required_unless_present = "log_keys")]
    pub logs: Vec<PathBuf>,
    /// The key of a log that is no box's, as C2SP writes it: NAME+ID+KEY, where the name is the log's origin.
    #[arg(long = "log-key")]
    pub log_keys: Vec<VerifierKey>,
    /// End with the process that started it.
    #[arg(long)]
    pub die_with_parent: bool,
}

/// Runs a witness until it is told to stop (SIGTERM or SIGINT).
pub async fn serve(arguments: &WitnessArguments) -> Result<(), Failure> {
    if arguments.die_with_parent {
        daemon::die_with_parent().map_err(|error| Failure::new("PARENT", whole(&error)))?;
    }
    let logs = arguments.logs.iter().map(|path| log_key(path));
    let logs = logs.chain(arguments.log_keys.iter().map(key_of_log)).collect::<Result<Vec<_>, _>>()?;
    let witness = Witness::open(&arguments.state, &arguments.name, logs)?;
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| {
        Failure::new("ADDRESS_IN_USE", format!("{}: {}", arguments.listen, whole(&error)))
            .hint("give --listen an address of this machine and a port that nothing else listens on")
    })?;
    // Its appearance says that the witness listens.
    witness.write_public_key()?;
    eprintln!("witness {} listens on {}", witness.key, arguments.listen);
    run(listener, Arc::new(Mutex::new(witness))).await
}

async fn run(listener: TcpListener, witness: Arc<Mutex<Witness>>) -> Result<(), Failure> {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let stop = stopped();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            _ = &mut stop => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        // A connection that came in and broke, or no descriptor left: neither is a reason to end.
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
        let witness = witness.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(witness.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
            drop(permit);
        });
    }
}

async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(witness: Arc<Mutex<Witness>>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    if request.method() == Method::POST && path == "/add-checkpoint" {
        let Ok(body) = Limited::new(request.into_body(), REQUEST_LIMIT).collect().await else {
            return Ok(refused(WitnessRefusal::Malformed));
        };
        let body = body.to_bytes();
        return Ok(in_thread(move || add_checkpoint(&witness, &body)).await);
    }
    if request.method() == Method::GET
        && let Some(origin) = path.strip_prefix('/').and_then(|path| path.strip_suffix("/checkpoint"))
        && let Ok(origin) = origin.parse::<Digest>()
    {
        return Ok(in_thread(move || latest(&witness, origin)).await);
    }
    Ok(plain(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "not found\n"))
}

/// Signing and writing happen outside the async threads, one request at a time.
async fn in_thread(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let failed =
        || plain(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", "the witness failed\n");
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| failed())
}

fn add_checkpoint(witness: &Mutex<Witness>, body: &[u8]) -> Answer {
    let text_type = "text/plain; charset=utf-8";
    // A thread that panicked between looking and remembering leaves a head that may be stale: refuse from then on.
    let Ok(mut witness) = witness.lock() else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, text_type, "the witness failed\n");
    };
    match witness.add_checkpoint(body, daemon::now_seconds()) {
        Ok(line) => plain(StatusCode::OK, text_type, &line),
        Err(AddError::Refused(refusal)) => refused(refusal),
        Err(AddError::Failed(error)) => {
            eprintln!("witness: the head could not be made durable: {error}");
            // What is on the disk is not known, and a failed sync must not be tried again: the next start reads it.
            std::process::exit(1);
        }
    }
}

fn latest(witness: &Mutex<Witness>, origin: Digest) -> Answer {
    let found = witness.lock().ok().and_then(|witness| witness.latest(&origin));
    match found {
        Some(note) => plain(StatusCode::OK, "text/plain; charset=utf-8", &note),
        None => plain(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "not found\n"),
    }
}

fn refused(refusal: WitnessRefusal) -> Answer {
    let (body, content_type) = refusal.body();
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    plain(status, content_type, &body)
}

fn plain(status: StatusCode, content_type: &'static str, body: &str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

fn log_key(path: &Path) -> Result<VerifierKey, Failure> {
    let public = crate::init::public_keys(path)?;
    VerifierKey::of_log(&public.log).map_err(file_failure(path))
}

fn key_of_log(key: &VerifierKey) -> Result<VerifierKey, Failure> {
    if key.key_type() != KeyType::Log {
        return Err(Failure::new("LOG_KEY", format!("{key} is a witness's key"))
            .hint("give --log-key the key with which the log signs its checkpoints"));
    }
    Ok(key.clone())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};

    use release::key::{SecretKey, Sign};
    use release::log::checkpoint::cosignatures;
    use release::log::witness::AddCheckpoint;
    use release::log::{Checkpoint, Event, Leaf, LeafSignature, Note, NoteSignature, Tree};

    use super::*;

    struct Log {
        key: VerifierKey,
        secret: SecretKey,
    }

    impl Log {
        fn new(origin: &str) -> Self {
            let secret = SecretKey::from_seed([1; 32]);
            let key = VerifierKey::new(origin, KeyType::Log, secret.public().public.0).unwrap();
            Self { key, secret }
        }

        fn request(&self, old: u64, new: u64) -> String {
            let mut tree = Tree::new();
            (0..new).for_each(|number| {
                let signature = LeafSignature { key_id: Digest::of(b"key"), signature: [7; 64].into() };
                let payload = Digest::of(&number.to_be_bytes());
                tree.append(Leaf::new(Event::Release, payload, [signature]).unwrap().hash());
            });
            let head = Checkpoint { origin: self.key.name().to_owned(), size: new, root: tree.root() };
            let checkpoint = head.sign(&self.key, |message| self.secret.sign(message)).unwrap();
            let proof = tree.consistency_proof(old, new).unwrap();
            AddCheckpoint { old, proof, checkpoint }.to_string()
        }
    }

    fn open(directory: &Path) -> Witness {
        Witness::open(directory, "witness.example/w", vec![Log::new("site.example/log").key]).unwrap()
    }

    #[test]
    fn a_witness_remembers_across_a_restart_and_a_repeat_conflicts() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::new("site.example/log");
        let mut witness = open(directory.path());
        assert!(witness.add_checkpoint(log.request(0, 3).as_bytes(), 1000).is_ok());
        let key = witness.key.clone();
        drop(witness);
        let mut again = open(directory.path());
        assert_eq!(again.key, key);
        let conflict = again.add_checkpoint(log.request(0, 3).as_bytes(), 1000);
        assert!(matches!(conflict, Err(AddError::Refused(WitnessRefusal::Conflict { size: 3 }))));
        let line = again.add_checkpoint(log.request(3, 3).as_bytes(), 2000).unwrap();
        let mut note = Note::parse(log.request(3, 3).split_once("\n\n").unwrap().1.as_bytes()).unwrap();
        NoteSignature::parse_lines(&line).unwrap().into_iter().for_each(|line| note.push(line));
        assert_eq!(cosignatures(&note, &[again.key.clone()]).unwrap()[0].time.seconds(), 2000);
    }

    #[test]
    fn the_key_of_a_foreign_log_is_a_logs_and_not_a_witnesss() {
        let log = Log::new("site.example/log").key;
        assert_eq!(key_of_log(&log.to_string().parse().unwrap()).ok(), Some(log.clone()));
        let witness = VerifierKey::new(log.name(), KeyType::Witness, *log.public()).unwrap();
        assert_eq!(key_of_log(&witness).err().unwrap().reason, "LOG_KEY");
    }

    #[test]
    fn a_second_witness_on_the_same_directory_does_not_start() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path());
        let second =
            || Witness::open(directory.path(), "witness.example/w", vec![Log::new("b.example/log").key]);
        assert_eq!(second().err().unwrap().reason, "WITNESS_RUNNING");
        drop(first);
        assert!(second().is_ok());
    }

    #[test]
    fn a_head_that_cannot_be_made_durable_is_not_cosigned() {
        let directory = tempfile::tempdir().unwrap();
        let mut witness = open(directory.path());
        fs::remove_dir(directory.path().join("heads")).unwrap();
        let failed = witness.add_checkpoint(Log::new("site.example/log").request(0, 3).as_bytes(), 1000);
        assert!(matches!(failed, Err(AddError::Failed(_))));
        assert_eq!(witness.latest(&Digest::of(b"site.example/log")), None);
    }

    #[test]
    fn a_key_without_its_heads_and_a_foreign_head_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::new("site.example/log");
        let mut witness = open(directory.path());
        witness.add_checkpoint(log.request(0, 3).as_bytes(), 1000).unwrap();
        let head = witness.head_file(log.key.name());
        drop(witness);
        let own = fs::read_to_string(&head).unwrap();
        fs::write(&head, own.rsplit_once("\u{2014}").unwrap().0).unwrap();
        let refused = Witness::open(directory.path(), "witness.example/w", vec![log.key.clone()]);
        assert_eq!(refused.err().unwrap().reason, "WITNESS_STATE");
        fs::remove_dir_all(directory.path().join("heads")).unwrap();
        let refused = Witness::open(directory.path(), "witness.example/w", vec![log.key]);
        assert_eq!(refused.err().unwrap().reason, "WITNESS_STATE_LOST");
    }

    fn http(address: SocketAddr, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn post(address: SocketAddr, body: &str) -> String {
        let length = body.len();
        http(
            address,
            &format!(
                "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            ),
        )
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn over_http_each_answer_has_its_status() {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(run(listener, Arc::new(Mutex::new(open(directory.path())))));
        let checks = tokio::task::spawn_blocking(move || {
            let (log, other) = (Log::new("site.example/log"), Log::new("other.example/log"));
            let forged = log.request(0, 3).replace("site.example/log ", "sote.example/log ");
            assert!(post(address, &other.request(0, 3)).starts_with("HTTP/1.1 404"));
            assert!(post(address, &forged).starts_with("HTTP/1.1 403"));
            assert!(post(address, "old 0\n").starts_with("HTTP/1.1 400"));
            assert!(post(address, &"a".repeat(REQUEST_LIMIT + 1)).starts_with("HTTP/1.1 400"));
            let accepted = post(address, &log.request(0, 3));
            assert!(accepted.starts_with("HTTP/1.1 200"), "{accepted}");
            assert!(accepted.contains("\r\n\r\n\u{2014} witness.example/w "), "{accepted}");
            let conflict = post(address, &log.request(2, 5));
            assert!(conflict.starts_with("HTTP/1.1 409") && conflict.ends_with("\r\n\r\n3\n"), "{conflict}");
            assert!(conflict.contains("content-type: text/x.tlog.size\r\n"), "{conflict}");
            let inconsistent =
                log.request(3, 5).replacen("=\n", "=\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 1);
            assert!(post(address, &inconsistent).starts_with("HTTP/1.1 422"));
            let origin = Digest::of(b"site.example/log");
            let get = format!("GET /{origin}/checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n");
            assert!(http(address, &get).contains("\r\n\r\nsite.example/log\n3\n"));
            assert!(http(address, &get.replace("GET", "PUT")).starts_with("HTTP/1.1 404"));
        });
        checks.await.unwrap();
    }
}
