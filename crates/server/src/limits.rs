//! Every limit of the listening side. tonic and hyper leave most of these open.

use std::time::Duration;

/// Limits of one listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at the same time, handshakes included.
    pub connections: usize,
    /// Connections of one person at the same time.
    pub connections_per_person: usize,
    /// Handshakes from one address at the same time: a flood from one must not shut out all others.
    pub handshakes_per_address: usize,
    /// Time for a TLS handshake, and again until the first byte after it.
    pub handshake: Duration,
    /// Calls that are being answered at the same time. What a stream sends afterwards is not counted.
    pub calls: usize,
    /// Streams at the same time on one connection.
    pub streams_per_connection: u32,
    /// Time until a call must be answered, or its stream begun.
    pub call: Duration,
    /// The same for the calls whose paths stand in `long_calls`, such as uploads.
    pub long_call: Duration,
    /// Paths such as `/databox.v1.BundleService/WriteUpload`.
    pub long_calls: &'static [&'static str],
    /// After this a connection is asked to end, so that certificates are looked at again; streams resume elsewhere.
    pub connection_age: Duration,
    /// Time for calls that run when a connection or the room is to end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_person: 16,
            handshakes_per_address: 32,
            handshake: Duration::from_secs(5),
            calls: 128,
            streams_per_connection: 16,
            call: Duration::from_secs(30),
            long_call: Duration::from_secs(1800),
            long_calls: &[],
            connection_age: Duration::from_secs(1800),
            grace: Duration::from_secs(5),
        }
    }
}

/// Interval and patience of HTTP/2 pings and TCP keepalive.
pub(crate) const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Largest list of headers in bytes.
pub(crate) const HEADER_LIST_LIMIT: u32 = 8 << 10;

/// Streams that a client reset and that were not taken up yet (CVE-2023-44487).
pub(crate) const PENDING_RESETS: usize = 20;

/// What a client may send unasked on one stream, and on one connection, in bytes. Memory that 256 connections could
/// fill at worst is 256 times the second.
pub(crate) const WINDOWS: (u32, u32) = (2 << 20, 4 << 20);
