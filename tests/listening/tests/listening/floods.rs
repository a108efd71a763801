//! Frames that ask for nothing, and streams that are opened to be thrown away.

use crate::bystander::Bystander;
use crate::stage::{Attacker, Room, Stage};
use crate::wire::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, Heard, PING, PRIORITY,
    PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire, call_headers, frame,
};

/// How many frames a flood has, unless it is cut.
const MANY: usize = 100_000;

/// Half-open uploads.
const HALF_OPEN: usize = 50_000;

/// Memory that they may take, in bytes.
const HALF_OPEN_MEMORY: u64 = 8 << 20;

/// The path of a call that both rooms have: the call is well made, whichever answer it gets.
const HEALTH: &str = "/grpc.health.v1.Health/Check";

const UPLOAD: &str = "/databox.v1.BundleService/WriteUpload";

fn stream(number: usize) -> u32 {
    2 * number as u32 + 1
}

/// A flood, and all that it sends before.
pub struct Flood {
    name: &'static str,
    /// The code with which the connection is ended.
    code: u32,
    first: Vec<u8>,
    each: fn(usize) -> Vec<u8>,
}

fn half_open_call(number: usize) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream(number), &call_headers(HEALTH, &[]))
}

/// Every kind of frame that asks for nothing, and every way to begin calls without making one.
pub fn floods() -> Vec<Flood> {
    let open = half_open_call(0);
    let endless_headers = frame(HEADERS, 0, 1, &call_headers(HEALTH, &[]));
    let calm = ENHANCE_YOUR_CALM;
    let flood = |name, each| Flood { name, code: calm, first: Vec::new(), each };
    vec![
        flood("PING", |number| frame(PING, 0, 0, &(number as u64).to_be_bytes())),
        flood("SETTINGS", |number| {
            let [a, b, c, d] = (65_535 + number as u32 % 2).to_be_bytes();
            frame(SETTINGS, 0, 0, &[0, 4, a, b, c, d])
        }),
        flood("empty SETTINGS", |_| frame(SETTINGS, 0, 0, &[])),
        Flood {
            name: "acknowledged SETTINGS that were never sent",
            code: PROTOCOL_ERROR,
            first: Vec::new(),
            each: |_| frame(SETTINGS, 1, 0, &[]),
        },
        flood("acknowledged PING that was never sent", |_| frame(PING, 1, 0, &[7; 8])),
        flood("PRIORITY", |number| frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 9])),
        flood("WINDOW_UPDATE", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        flood("frames of a type that means nothing", |_| frame(0xfa, 0, 0, &[0; 32])),
        flood("rapid reset", |number| {
            [half_open_call(number), frame(RST_STREAM, 0, stream(number), &CANCEL.to_be_bytes())].concat()
        }),
        Flood { name: "empty DATA", code: calm, first: open.clone(), each: |_| frame(DATA, 0, 1, &[]) },
        Flood { name: "DATA of one byte", code: calm, first: open, each: |_| frame(DATA, 0, 1, &[0]) },
        Flood {
            name: "CONTINUATION",
            code: calm,
            first: endless_headers,
            each: |_| frame(CONTINUATION, 0, 1, &[]),
        },
    ]
}

impl Flood {
    /// Floods a connection until it is cut.
    async fn run(&self, attacker: Attacker) -> (usize, Heard) {
        let mut wire = Wire::open(&attacker).await;
        wire.send(&self.first).await.unwrap();
        let sent = wire.flood(MANY, self.each).await;
        (sent, wire.ended().await)
    }

    /// Floods a room, and asserts that it ends the connection by name, gives everything back and serves a bystander.
    pub async fn is_cut(&self, stage: &Stage, bystander: &Bystander) {
        let before = stage.descriptors();
        let floods = bystander.beside_again(self.name, || self.run(stage.attacker())).await;
        for (_, heard) in &floods {
            assert_eq!(heard.end().0, self.code, "{}: {heard:?}", self.name);
        }
        let (sent, heard) = &floods[0];
        println!("{:<44} cut after at most {sent} frames: {}", self.name, heard.end().1);
        stage.gives_back(before, self.name).await;
    }
}

#[test]
fn floods_of_frames_that_ask_for_nothing_are_cut_by_name_and_a_bystander_is_served() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let bystander = Bystander::of(&stage).await;
        for flood in floods() {
            flood.is_cut(&stage, &bystander).await;
        }
    });
}

#[test]
fn a_flood_whose_sender_never_reads_is_cut_too() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let bystander = Bystander::of(&stage).await;
        let before = stage.descriptors();
        let flood = async {
            let mut wire = Wire::deaf(&stage.attacker()).await;
            let ping = |number: usize| frame(PING, 0, 0, &(number as u64).to_be_bytes());
            let mut sent = 0;
            // Nothing is read, so that the end is noticed only by what can no longer be sent.
            while wire.send(&(0..100).flat_map(ping).collect::<Vec<u8>>()).await.is_ok() {
                sent += 100;
                assert!(sent < 10 * MANY, "the flood is never cut");
            }
        };
        bystander.beside("PING, never reading", flood).await;
        stage.gives_back(before, "PING, never reading").await;
    });
}

#[test]
fn calls_with_a_ping_and_a_window_update_each_are_all_answered_on_one_connection() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let mut wire = Wire::open(&stage.attacker()).await;
        let calls = 4000;
        for number in 0..calls {
            let call = [
                half_open_call(number),
                frame(DATA, END_STREAM, stream(number), &[0; 5]),
                frame(PING, 0, 0, &(number as u64).to_be_bytes()),
                frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 64]),
            ];
            wire.send(&call.concat()).await.unwrap();
            // No more at the same time than the room takes on one connection.
            wire.answered(number.saturating_sub(7)).await;
        }
        wire.answered(calls).await;
        assert!(!wire.is_ended());
        let heard = wire.finish().await;
        assert_eq!((heard.answers, heard.resets.len()), (calls, 0), "{heard:?}");
    });
}

#[test]
fn streams_that_are_opened_and_reset_one_by_one_are_cut_by_name() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let mut wire = Wire::open(&stage.attacker()).await;
        let mut sent = 0;
        for number in 0..MANY {
            if wire.is_ended() || wire.send(&half_open_call(number)).await.is_err() {
                break;
            }
            // Time for the room to take the call up, so that it is not among the pending ones, which h2 counts.
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
            let reset = frame(RST_STREAM, 0, stream(number), &CANCEL.to_be_bytes());
            if wire.send(&reset).await.is_err() {
                break;
            }
            sent += 1;
        }
        let heard = wire.ended().await;
        println!("opened and reset one by one: cut after at most {sent}: {}", heard.end().1);
        assert_eq!(heard.end().0, ENHANCE_YOUR_CALM, "{heard:?}");
    });
}

#[test]
fn fifty_thousand_half_open_uploads_are_refused_take_no_memory_and_a_bystander_is_served() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async { half_open_calls(&stage, UPLOAD).await });
}

/// Opens tens of thousands of calls that send nothing, as fast as they are refused: on one connection, and on a new one
/// each time the last was cut. The room never holds more of them than it has streams.
pub async fn half_open_calls(stage: &Stage, path: &str) {
    let bystander = Bystander::of(stage).await;
    let (descriptors, memory) = (stage.descriptors(), stage.resident());
    let mut most = memory;
    let attack = async {
        let (mut sent, mut connections, mut refused) = (0, 0, 0);
        let headers = call_headers(path, &[]);
        while sent < HALF_OPEN {
            let mut wire = Wire::open(&stage.attacker()).await;
            connections += 1;
            let each = |number| frame(HEADERS, END_HEADERS, stream(number), &headers);
            sent += wire.flood(HALF_OPEN - sent, each).await;
            most = most.max(stage.resident());
            if sent < HALF_OPEN || connections == 1 {
                let heard = wire.ended().await;
                refused += heard.resets.get(&REFUSED_STREAM).copied().unwrap_or_default();
                assert_eq!(heard.end().0, ENHANCE_YOUR_CALM, "{heard:?}");
            }
        }
        (connections, refused)
    };
    let (connections, refused) = bystander.beside("half-open uploads", attack).await;
    stage.gives_back(descriptors, "half-open uploads").await;
    let after = stage.resident();
    println!(
        "{HALF_OPEN} half-open calls, {connections} connections, {refused} refused by name: {} KiB before, {} KiB at most, {} KiB after",
        memory >> 10,
        most >> 10,
        after >> 10
    );
    assert!(refused > 0);
    let more = most.max(after).saturating_sub(memory);
    assert!(more <= HALF_OPEN_MEMORY, "{more} bytes more than before");
}
