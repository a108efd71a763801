//! Every limit of the listening side. tonic and hyper leave most of these open; `docs/decisions/listening-side.md` is
//! the table with the reasons.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;

/// How many connections there may be at the same time: the part of the limits that depends on the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    /// In all, handshakes included.
    pub in_all: NonZeroUsize,
    /// From one address; from one /64 network, where addresses are those of IPv6.
    pub per_address: NonZeroUsize,
    /// Of one person, whichever certificates they show.
    pub per_person: NonZeroUsize,
}

impl Default for Connections {
    fn default() -> Self {
        let number = |number| NonZeroUsize::new(number).expect("not zero");
        Self { in_all: number(256), per_address: number(64), per_person: number(16) }
    }
}

/// Limits of one listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: Connections,
    /// Handshakes at the same time: whoever has no certificate takes no more of the room's places than these.
    pub handshakes: usize,
    /// Handshakes from one address at the same time: a flood from one must not shut out all others.
    pub handshakes_per_address: usize,
    /// Handshakes that one address may begin at once, and each second: they cost the room more than their sender.
    pub handshakes_begun: (u32, u32),
    /// Time for a TLS handshake, and again until the first frame after it.
    pub handshake: Duration,
    /// Calls that are being answered at the same time. What a stream sends afterwards is not counted.
    pub calls: usize,
    /// Calls of one person at the same time, streams to their end included.
    pub calls_per_person: usize,
    /// Those of them whose paths stand in `long_calls`, such as uploads.
    pub long_calls_per_person: usize,
    /// Streams at the same time on one connection.
    pub streams_per_connection: u32,
    /// Time until a call must be answered, or its stream begun.
    pub call: Duration,
    /// The same for the calls whose paths stand in `long_calls`.
    pub long_call: Duration,
    /// Paths such as `/databox.v1.BundleService/WriteUpload`.
    pub long_calls: &'static [&'static str],
    /// After this a connection is asked to end, so that certificates are looked at again; streams resume elsewhere.
    pub connection_age: Duration,
    /// Time for calls that run when a connection is asked to end for its age; after it they are cut.
    pub connection_grace: Duration,
    /// Time for calls that run when the room is to end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Connections::default(),
            handshakes: 128,
            handshakes_per_address: 32,
            handshakes_begun: (64, 32),
            handshake: Duration::from_secs(5),
            calls: 128,
            calls_per_person: 32,
            long_calls_per_person: 4,
            streams_per_connection: 16,
            call: Duration::from_secs(30),
            long_call: Duration::from_secs(1800),
            long_calls: &[],
            connection_age: Duration::from_secs(1800),
            connection_grace: Duration::from_secs(30),
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

/// Streams of one connection that were refused or were wrong. tonic leaves this open where hyper would not: whoever
/// opens streams past the limit is refused each of them, for ever.
pub(crate) const REFUSED_STREAMS: usize = 256;

/// What a client may send unasked on one stream, and on one connection, in bytes. Memory that 256 connections could
/// fill at worst is 256 times the second.
pub(crate) const WINDOWS: (u32, u32) = (2 << 20, 4 << 20);

/// Frames of one connection that ask for nothing.
pub(crate) struct FrameLimits {
    /// At once, and at most saved up.
    pub(crate) at_once: u32,
    /// More for each second.
    pub(crate) a_second: u32,
    /// More for each call that is begun.
    pub(crate) for_a_call: u32,
    /// One more for so many bytes that were carried in either direction.
    pub(crate) bytes_for_one: usize,
    /// DATA of fewer bytes counts among these frames.
    pub(crate) small_data: usize,
}

/// See [`crate::calm`].
pub(crate) const FRAMES: FrameLimits =
    FrameLimits { at_once: 1024, a_second: 64, for_a_call: 6, bytes_for_one: 4096, small_data: 256 };
