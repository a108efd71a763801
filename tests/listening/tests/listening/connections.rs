//! Connections that only take a place: without a handshake, without a frame, without an end.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bystander::Bystander;
use crate::stage::{Attacker, Room, Stage};
use crate::wire::{ENHANCE_YOUR_CALM, PING, SETTINGS, SETTINGS_TIMEOUT, Wire, frame};

/// Connections that are opened and say nothing.
const SILENT: usize = 5_000;

/// What a room holds at most at the same time, from `deploy/gateway.toml`.
const IN_ALL: usize = 256;
const PER_PERSON: usize = 16;

/// How long a test waits for what must happen after five seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// After so many seconds of silence a word is said: by then every room has closed what it had taken.
const SPEAK: u64 = 20;

/// Waits until the room has closed this one.
async fn closed(mut stream: TcpStream) {
    let mut byte = [0];
    for second in 0..PATIENCE.as_secs() {
        match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut byte)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) => assert!(second > SPEAK, "the room speaks first"),
            // The kernel drops what does not fit before the room takes it, or keeps it for later; only who speaks
            // learns which. A room that has it after all says that this is no TLS, and closes.
            Err(_) if second > SPEAK => drop(stream.try_write(&[0x16])),
            Err(_) => {}
        }
    }
    panic!("a silent connection is closed");
}

/// Opens silent connections from a hundred addresses, fifty from each, waits until all are closed, and gives the most
/// sockets that the room had meanwhile.
pub async fn silent_connections(stage: &Stage) -> usize {
    let attacker = stage.attacker();
    let mut streams = JoinSet::new();
    let mut most = 0;
    for number in 0..SILENT {
        let attacker = attacker.at(Ipv4Addr::new(127, 0, 7, (number % 100) as u8 + 1));
        streams.spawn(async move { closed(attacker.tcp().await.expect("the room listens")).await });
        if number % 20 == 0 {
            // Not more at once than the kernel keeps for a room that has not taken them yet.
            tokio::time::sleep(Duration::from_millis(2)).await;
            most = most.max(stage.sockets());
        }
    }
    while let Some(ended) = streams.join_next().await {
        ended.expect("each is closed");
        most = most.max(if streams.len() % 50 == 0 { stage.sockets() } else { 0 });
    }
    most
}

/// The attack with all that is asserted about it.
pub async fn silence_is_cut(stage: &Stage) {
    let bystander = Bystander::of(stage).await;
    let (descriptors, sockets) = (stage.descriptors(), stage.sockets());
    let most = bystander.beside("5,000 silent connections", silent_connections(stage)).await;
    println!("{SILENT} silent connections: {} held at most", most - sockets);
    assert!(most > sockets, "some were held, or nothing was tried");
    // One more is in the hands of the accept loop at times.
    assert!(most - sockets <= IN_ALL + 1, "{} held", most - sockets);
    stage.gives_back(descriptors, "5,000 silent connections").await;
}

#[test]
fn silent_connections_are_cut_few_are_held_and_a_bystander_is_served() {
    let stage = Stage::new(Room::Gateway);
    stage.run(silence_is_cut(&stage));
}

#[test]
fn a_flood_of_silence_from_one_address_does_not_keep_another_address_out() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let (attacker, sockets) = (stage.attacker(), stage.sockets());
        let mut held = Vec::new();
        for _ in 0..SILENT / 10 {
            held.push(attacker.tcp().await.expect("the room listens"));
        }
        // All that the room still holds of these are there now: whoever comes from elsewhere is let in meanwhile.
        assert!(stage.sockets() > sockets, "nothing is held, so that nobody could be kept out");
        let newcomer = stage.tested.bench("lee").await;
        assert_eq!(newcomer.datasets().await.expect("a newcomer is served").len(), 1);
        for stream in held {
            closed(stream).await;
        }
    });
}

#[test]
fn connections_without_a_frame_are_cut_by_name_and_a_bystander_is_served() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let bystander = Bystander::of(&stage).await;
        let (descriptors, sockets) = (stage.descriptors(), stage.sockets());
        let attack = frameless(&stage);
        let (late, too_many, unnamed, most) =
            bystander.beside("5,000 connections without a frame", attack).await;
        println!(
            "{SILENT} connections without a frame: {} held at most; {late} too late, {too_many} too many, \
             {unnamed} not let in",
            most - sockets
        );
        assert!(late >= PER_PERSON, "some were let in and cut: {late}");
        assert!(too_many > 0, "others were told that they are too many");
        assert!(unnamed > SILENT / 2, "most cost no handshake: {unnamed}");
        assert!(most - sockets <= IN_ALL + 1, "{} held", most - sockets);
        stage.gives_back(descriptors, "connections without a frame").await;
    });
}

/// Opens connections, shakes hands and says nothing more. How many were cut for their silence, how many were turned
/// away by name, how many before the handshake, and the most sockets that the room had.
async fn frameless(stage: &Stage) -> (usize, usize, usize, usize) {
    let (mut late, mut too_many, mut unnamed, mut most) = (0, 0, 0, 0);
    let attacker = stage.attacker();
    let mut open = JoinSet::new();
    let mut begun = 0;
    while begun < SILENT || !open.is_empty() {
        while begun < SILENT && open.len() < 64 {
            let attacker = attacker.clone();
            open.spawn(async move { silence_after_the_handshake(&attacker).await });
            begun += 1;
        }
        match open.join_next().await.expect("some are open").expect("none fails") {
            Some((SETTINGS_TIMEOUT, word)) if word == "no_frame_in_time" => late += 1,
            Some((ENHANCE_YOUR_CALM, word)) if word == "too_many_connections_of_the_person" => too_many += 1,
            Some(other) => panic!("an end of another name: {other:?}"),
            None => unnamed += 1,
        }
        most = most.max(stage.sockets());
    }
    (late, too_many, unnamed, most)
}

async fn silence_after_the_handshake(attacker: &Attacker) -> Option<(u32, String)> {
    // Who is one too many in all, or for their address, is closed before the handshake.
    let stream = attacker.tls().await.ok()?;
    Wire::over(stream).ended().await.goaway
}

#[test]
fn a_first_frame_that_comes_byte_by_byte_is_cut_by_name_and_a_pause_before_it_is_not() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let mut slow = Wire::silent(&stage.attacker()).await;
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter().chain(&[0; 1000]) {
            if slow.is_ended() || slow.send(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let heard = slow.ended().await;
        assert_eq!(heard.end(), (SETTINGS_TIMEOUT, "no_frame_in_time"));

        let mut twin = Wire::silent(&stage.attacker()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begin = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat();
        twin.send(&begin).await.unwrap();
        // Longer than the first frame may take: after it, silence is answered by keepalive only.
        tokio::time::sleep(Duration::from_secs(7)).await;
        twin.send(&frame(PING, 0, 0, &[1; 8])).await.unwrap();
        assert!(!twin.is_ended(), "a connection that has begun is not cut");
    });
}

#[test]
fn a_person_has_sixteen_connections_is_told_so_by_name_and_another_person_gets_in() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let attacker = stage.attacker();
        let mut held = Vec::new();
        for _ in 0..PER_PERSON {
            held.push(Wire::open(&attacker).await);
        }
        let heard = Wire::silent(&attacker).await.ended().await;
        assert_eq!(heard.end(), (ENHANCE_YOUR_CALM, "too_many_connections_of_the_person"));
        // The command says so in a word of the closed list.
        let profile = stage.tested.stage.profile("kim");
        let failure = databox::client::connect(&profile).await.expect_err("no seventeenth connection");
        assert_eq!(failure.reason, "QUOTA", "{failure:?}");
        assert!(held.iter().all(|wire| !wire.is_ended()));
        assert_eq!(stage.tested.bench("lee").await.datasets().await.expect("another person").len(), 1);
    });
}

#[test]
fn connections_that_break_off_anywhere_leave_nothing_open() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let bystander = Bystander::of(&stage).await;
        let descriptors = stage.descriptors();
        let attack = async {
            for round in 0..200 {
                let attacker = stage.attacker();
                let mut tcp = attacker.tcp().await.unwrap();
                // The first bytes of a ClientHello, and then an end in one way or the other.
                let _ = tcp.write_all(&[0x16, 0x03, 0x01][..round % 4]).await;
                if round % 2 == 0 {
                    tcp.set_zero_linger().unwrap();
                }
                drop(tcp);
                if round % 10 == 0 {
                    drop(Wire::open(&attacker).await);
                }
            }
        };
        bystander.beside("connections that break off", attack).await;
        stage.gives_back(descriptors, "connections that break off").await;
    });
}
