//! A witness that was taken over, with its own key. `lying-witness ADDRESS KEY NAME HOW` reads the word in the file
//! `HOW` anew for each request and
//!
//! - `every`: cosigns whatever it is shown, without looking whether the log only grew;
//! - `older`: cosigns a tree of one leaf less, with the root that it was shown;
//! - `forked`: cosigns a tree of this size with another root;
//! - `other-key`: cosigns with a key that nobody knows, under its own name;
//! - `conflict SIZE`: says that it has cosigned this size last;
//! - `silent`: closes the connection.
//!
//! It prints `asked SIZE` for each request.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blobs::Digest;
use release::key::{SecretKey, Sign};
use release::log::checkpoint::{Checkpoint, cosign};
use release::log::witness::AddCheckpoint;
use release::log::{KeyType, VerifierKey};
use release::value::Timestamp;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    daemon::die_with_parent()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, key, name, how] = &arguments[..] else { return Err("ADDRESS KEY NAME HOW".into()) };
    let key = SecretKey::from_pkcs8_pem(&std::fs::read_to_string(key)?)?;
    let listener = TcpListener::bind(address)?;
    println!("listens");
    loop {
        let (stream, _) = listener.accept()?;
        let how = std::fs::read_to_string(how)?;
        if let Err(error) = converse(stream, &key, name, how.trim()) {
            eprintln!("lying-witness: {error}");
        }
    }
}

fn converse(mut stream: TcpStream, key: &SecretKey, name: &str, how: &str) -> Result<(), Failure> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = AddCheckpoint::parse(&body(&mut stream)?)?;
    let shown = Checkpoint::parse(request.checkpoint.text())?;
    println!("asked {}", shown.size);
    let stranger = SecretKey::generate()?;
    let (checkpoint, key) = match how.split_once(' ').unwrap_or((how, "")) {
        ("every", _) => (shown, key),
        ("older", _) => (Checkpoint { size: shown.size - 1, ..shown }, key),
        ("forked", _) => (Checkpoint { root: Digest::of(b"another past"), ..shown }, key),
        ("other-key", _) => (shown, &stranger),
        ("conflict", size) => return answer(&mut stream, "409 Conflict", &format!("{size}\n")),
        ("silent", _) => return Ok(()),
        _ => return Err("no such word".into()),
    };
    let verifier = VerifierKey::new(name, KeyType::Witness, key.public().public.0)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let now = Timestamp::from_seconds(i64::try_from(now)?)?;
    let line = cosign(&checkpoint.text(), &verifier, now, |message| key.sign(message))?;
    answer(&mut stream, "200 OK", &line.to_string())
}

/// The body of an HTTP/1.1 request.
fn body(stream: &mut TcpStream) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..read]);
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(head) = head {
            let text = std::str::from_utf8(&bytes[..head])?.to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.ok_or("no length")?;
            if bytes.len() >= head + 4 + length {
                return Ok(bytes[head + 4..head + 4 + length].to_vec());
            }
        }
        if read == 0 {
            return Err("the request ended early".into());
        }
    }
}

fn answer(stream: &mut TcpStream, status: &str, body: &str) -> Result<(), Failure> {
    let length = body.len();
    Ok(write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")?)
}
