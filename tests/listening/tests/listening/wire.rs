//! HTTP/2 by hand (RFC 9113): any frame, in any order, and what comes back.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::stage::Attacker;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PROTOCOL_ERROR: u32 = 1;
pub const SETTINGS_TIMEOUT: u32 = 4;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a call, without compression (RFC 7541, section 6.2.2).
pub fn call_headers(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in usual.iter().chain(more) {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A length without Huffman coding (RFC 7541, section 5.1, with a prefix of seven bits).
fn length(mut value: usize, block: &mut Vec<u8>) {
    if value < 127 {
        return block.push(value as u8);
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push((value % 128 + 128) as u8);
        value /= 128;
    }
    block.push(value as u8);
}

type Writer = WriteHalf<TlsStream<TcpStream>>;

/// A connection that sends what it is told. It answers a PING as everyone must, so that it is not cut for silence.
pub struct Wire {
    writer: Arc<Mutex<Writer>>,
    reading: JoinHandle<Heard>,
    answers: Arc<AtomicUsize>,
    _unread: Option<ReadHalf<TlsStream<TcpStream>>>,
}

/// What a room said on one connection until it ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The error code of a GOAWAY and its text.
    pub goaway: Option<(u32, String)>,
    /// How many streams were reset, by error code.
    pub resets: BTreeMap<u32, usize>,
    /// How many streams ended in order.
    pub answers: usize,
}

impl Heard {
    /// The connection's end by name.
    pub fn end(&self) -> (u32, &str) {
        self.goaway.as_ref().map_or((0, "no GOAWAY"), |(code, text)| (*code, text))
    }
}

impl Wire {
    /// Opens a connection and begins HTTP/2 in order.
    pub async fn open(attacker: &Attacker) -> Self {
        Self::begin(Self::silent(attacker).await).await
    }

    /// Begins HTTP/2 in order on a connection on which nothing was sent.
    pub async fn begin(mut wire: Self) -> Self {
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        wire.send(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        wire.send(&frame(SETTINGS, 1, 0, &[])).await.unwrap();
        wire
    }

    /// Opens a connection and sends nothing after the handshake.
    pub async fn silent(attacker: &Attacker) -> Self {
        Self::over(attacker.tls().await.unwrap())
    }

    /// Uses a connection on which nothing was sent after the handshake.
    pub fn over(stream: TlsStream<TcpStream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let (answers, writer) = (Arc::default(), Arc::new(Mutex::new(writer)));
        let reading = tokio::spawn(hear(reader, writer.clone(), Arc::clone(&answers)));
        Self { writer, reading, answers, _unread: None }
    }

    /// Opens a connection and never reads from it.
    pub async fn deaf(attacker: &Attacker) -> Self {
        let (reader, writer) = tokio::io::split(attacker.tls().await.unwrap());
        let (reading, writer) = (tokio::spawn(async { Heard::default() }), Arc::new(Mutex::new(writer)));
        let mut wire = Self { writer, reading, answers: Arc::default(), _unread: Some(reader) };
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        wire.send(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        wire
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        writer.write_all(bytes).await?;
        writer.flush().await
    }

    /// Sends `count` times what `each` makes of a number, many in one write, until the room has had enough. The number
    /// of those that were sent.
    pub async fn flood(&mut self, count: usize, each: impl Fn(usize) -> Vec<u8>) -> usize {
        const TOGETHER: usize = 100;
        let mut sent = 0;
        while sent < count && !self.reading.is_finished() {
            let many: Vec<u8> = (sent..count.min(sent + TOGETHER)).flat_map(&each).collect();
            if self.send(&many).await.is_err() {
                break;
            }
            sent += TOGETHER;
        }
        sent.min(count)
    }

    /// Waits until the room ends the connection.
    pub async fn ended(mut self) -> Heard {
        let heard = tokio::time::timeout(Duration::from_secs(120), &mut self.reading).await;
        heard.expect("the room ends the connection").expect("reading does not fail")
    }

    /// Says nothing more and waits for what the room still has to say.
    pub async fn finish(self) -> Heard {
        let _ = self.writer.lock().await.shutdown().await;
        self.ended().await
    }

    /// Waits until so many streams have ended in order.
    pub async fn answered(&self, count: usize) {
        while self.answers.load(Ordering::Relaxed) < count {
            assert!(!self.is_ended(), "the room ended the connection");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    /// True once the room has ended the connection.
    pub fn is_ended(&self) -> bool {
        self.reading.is_finished()
    }
}

impl Drop for Wire {
    /// Closes the connection without a word of HTTP/2 or TLS.
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn hear(
    mut reader: ReadHalf<TlsStream<TcpStream>>,
    writer: Arc<Mutex<Writer>>,
    answers: Arc<AtomicUsize>,
) -> Heard {
    let mut heard = Heard::default();
    let mut head = [0; 9];
    // Whichever way the connection ends, what was heard before counts.
    while reader.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if reader.read_exact(&mut payload).await.is_err() {
            break;
        }
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match kind {
            GOAWAY if payload.len() >= 8 => {
                let text = String::from_utf8_lossy(&payload[8..]).into_owned();
                heard.goaway = Some((number(4), text));
            }
            RST_STREAM if payload.len() == 4 => *heard.resets.entry(number(0)).or_default() += 1,
            HEADERS | DATA if flags & END_STREAM != 0 => heard.answers += 1,
            PING if flags == 0 => {
                // Not while a flood is being sent: it must not wait for what it has not read itself.
                if let Ok(mut writer) = writer.try_lock() {
                    let _ = writer.write_all(&frame(PING, 1, 0, &payload)).await;
                    let _ = writer.flush().await;
                }
            }
            _ => {}
        }
        answers.store(heard.answers, Ordering::Relaxed);
    }
    heard
}
