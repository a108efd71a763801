//! Uploads that come slowly, never end, or are begun and left.

use std::time::Duration;

use api::CHUNK_BYTES;
use api::v1::bundle_service_client::BundleServiceClient;
use api::v1::{CreateUploadRequest, WriteUploadRequest};
use blobs::Digest;
use tonic::transport::Channel;

use crate::bystander::Bystander;
use crate::messages::{Call, Client, message, name};
use crate::stage::{Room, Stage};
use crate::wire::{CANCEL, END_HEADERS, HEADERS, PING, RST_STREAM, Wire, call_headers, frame};

const UPLOAD: &str = "/databox.v1.BundleService/WriteUpload";

/// Announces an upload of so many bytes, and gives its name.
async fn announced(channel: &Channel, name: &str, bytes: u64) -> String {
    let sha256 = Digest::of(name.as_bytes()).to_string();
    let request = CreateUploadRequest { sha256: sha256.clone(), bytes, grant: "grant-1".to_owned() };
    BundleServiceClient::new(channel.clone()).create_upload(request).await.expect("an upload is announced");
    sha256
}

/// A message of an upload, as it goes over the wire: field 1 is the name, field 3 the chunk.
fn chunk(sha256: &str, bytes: &[u8]) -> Vec<u8> {
    let mut fields = vec![0x0a, sha256.len() as u8];
    fields.extend(sha256.as_bytes());
    if !bytes.is_empty() {
        assert!(bytes.len() < 128, "the length is one byte");
        fields.extend([0x1a, bytes.len() as u8]);
        fields.extend(bytes);
    }
    message(&fields)
}

/// Sends a piece each time, until the room answers.
async fn drip(mut call: Call, first: Vec<u8>, pause: Duration, piece: impl Fn(usize) -> Vec<u8>) -> String {
    call.send(first);
    for number in 0.. {
        tokio::select! {
            name = call.answer() => return name,
            () = tokio::time::sleep(pause) => call.send(piece(number)),
        }
    }
    unreachable!("it goes on until the room answers")
}

#[test]
fn slow_and_never_ending_uploads_are_cut_by_name_one_too_many_is_refused_and_a_bystander_is_served() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let bystander = Bystander::of(&stage).await;
        let channel = stage.tested.bench("kim").await.channel();
        let mut names = Vec::new();
        for name in ["byte by byte", "a byte a message", "nothing in each message"] {
            names.push(announced(&channel, name, 1 << 20).await);
        }
        let descriptors = stage.descriptors();
        let mut client = Client::open(&stage.attacker()).await;
        let second = Duration::from_secs(1);
        let attack = async {
            let halves = {
                let whole = chunk(&names[0], b"x");
                let (first, rest) = whole.split_at(6);
                (first.to_vec(), rest.to_vec())
            };
            let bytewise = drip(client.call(UPLOAD).await, halves.0, second, move |number| {
                halves.1.get(number..=number).unwrap_or_default().to_vec()
            });
            let slow = drip(client.call(UPLOAD).await, chunk(&names[1], b"x"), second, |_| chunk("", b"x"));
            let empty =
                drip(client.call(UPLOAD).await, chunk(&names[2], b""), second / 10, |_| chunk("", b""));
            let silent = client.call(UPLOAD).await;
            // The four places of a person are taken, once the room has looked at each of them.
            tokio::time::sleep(second).await;
            let fifth = client.call(UPLOAD).await.answer().await;
            let (bytewise, slow, empty, silent) = tokio::join!(bytewise, slow, empty, silent.into_answer());
            [fifth, bytewise, slow, empty, silent]
        };
        let found = bystander.beside("slow and never-ending uploads", attack).await;
        assert_eq!(found, ["QUOTA/uploads", "TIME", "TIME", "TIME", "TIME"]);
        drop(client);
        stage.gives_back(descriptors, "slow uploads").await;
    });
}

#[test]
fn an_upload_that_goes_on_past_what_was_announced_is_cut_by_name_and_one_that_ends_there_is_taken() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let bystander = Bystander::of(&stage).await;
        let channel = stage.tested.bench("kim").await.channel();
        let memory = stage.resident();
        let attack = async {
            let sha256 = announced(&channel, "endless", 8 << 20).await;
            let whole = vec![7; CHUNK_BYTES];
            let chunks = std::iter::repeat_with(move || WriteUploadRequest {
                sha256: sha256.clone(),
                offset: 0,
                chunk: whole.clone().into(),
            });
            let mut client = BundleServiceClient::new(channel.clone());
            let endless = client.write_upload(tokio_stream::iter(chunks)).await;
            name(&endless.expect_err("an endless upload is refused"))
        };
        assert_eq!(bystander.beside("an endless upload", attack).await, "TOO_LARGE/chunk");
        println!("an endless upload: {} KiB more", stage.resident().saturating_sub(memory) >> 10);

        let sha256 = announced(&channel, "twin", CHUNK_BYTES as u64).await;
        let chunk = WriteUploadRequest { sha256, offset: 0, chunk: vec![7; CHUNK_BYTES].into() };
        let twin = BundleServiceClient::new(channel).write_upload(tokio_stream::once(chunk)).await;
        assert_eq!(twin.expect("it is taken").into_inner().committed_bytes, CHUNK_BYTES as u64);
    });
}

#[test]
fn uploads_that_are_begun_and_left_give_back_what_they_took_however_their_line_ends() {
    let stage = Stage::new(Room::Gateway);
    stage.run(async {
        let bystander = Bystander::of(&stage).await;
        let channel = stage.tested.bench("kim").await.channel();
        let sha256 = announced(&channel, "left", 1 << 20).await;
        let descriptors = stage.descriptors();
        let attack = async {
            for round in 0..60 {
                let stream = stage.attacker().tls().await.unwrap();
                if round % 3 == 2 {
                    // The connection will be reset, as when a machine is cut off and comes back.
                    stream.get_ref().0.set_zero_linger().unwrap();
                }
                let mut wire = Wire::begin(Wire::over(stream)).await;
                let begun = [
                    frame(HEADERS, END_HEADERS, 1, &call_headers(UPLOAD, &[])),
                    frame(0, 0, 1, &chunk(&sha256, b"some")),
                ];
                wire.send(&begun.concat()).await.unwrap();
                match round % 3 {
                    // An end in order, with the call still open.
                    0 => drop(tokio::time::timeout(Duration::from_millis(20), wire.finish()).await),
                    // The stream is reset, and the connection goes on for a while.
                    1 => {
                        wire.send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())).await.unwrap();
                        wire.send(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
                    }
                    _ => drop(wire),
                }
            }
        };
        bystander.beside("uploads that are begun and left", attack).await;
        stage.gives_back(descriptors, "uploads that are left").await;
        // What they held is free: the same upload goes on.
        let twin =
            WriteUploadRequest { sha256, offset: committed(&channel).await, chunk: vec![7; 100].into() };
        let written = BundleServiceClient::new(channel).write_upload(tokio_stream::once(twin)).await;
        written.expect("the upload goes on");
    });
}

/// How much of the upload that was left has arrived.
async fn committed(channel: &Channel) -> u64 {
    let sha256 = Digest::of(b"left").to_string();
    let request = CreateUploadRequest { sha256, bytes: 1 << 20, grant: "grant-1".to_owned() };
    let answer = BundleServiceClient::new(channel.clone()).create_upload(request).await;
    answer.expect("it is known").into_inner().committed_bytes
}
