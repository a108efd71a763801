//! What goes on where it stopped when one of the two ends dies: streams of events and uploads.

use std::time::Duration;

use super::*;

/// So much that a gateway has made a part of it durable before 60 % have arrived.
const LARGE: usize = 24 << 20;

/// What stays after a gateway is killed: it makes what arrived durable at least every so many bytes.
const LOST_AT_MOST: u64 = 8 << 20;

fn large() -> Vec<u8> {
    (0..LARGE as u64 / 8)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

async fn begin_large(client: &mut BundleServiceClient<Channel>, bytes: &[u8]) -> u64 {
    let request = CreateUploadRequest {
        sha256: Digest::of(bytes).to_string(),
        bytes: bytes.len() as u64,
        grant: GRANT.to_owned(),
    };
    client.create_upload(request).await.unwrap().into_inner().committed_bytes
}

/// The chunks from an offset on, up to another.
fn chunks(bytes: &[u8], from: u64, to: u64) -> Vec<WriteUploadRequest> {
    let sha256 = Digest::of(bytes).to_string();
    let part = &bytes[from as usize..to as usize];
    let chunks = part.chunks(api::CHUNK_BYTES).enumerate();
    let request = |(number, chunk): (usize, &[u8])| WriteUploadRequest {
        sha256: sha256.clone(),
        offset: from + (number * api::CHUNK_BYTES) as u64,
        chunk: chunk.to_vec().into(),
    };
    chunks.map(request).collect()
}

/// Sends up to 60 %, and then nothing more, until whoever holds this lets go.
fn send_most(channel: Channel, bytes: &[u8], from: u64) -> tokio::task::JoinHandle<()> {
    let most = tokio_stream::iter(chunks(bytes, from, bytes.len() as u64 * 6 / 10));
    tokio::spawn(async move {
        let never_ends = most.chain(tokio_stream::pending());
        let _ = BundleServiceClient::new(channel)
            .max_encoding_message_size(api::MESSAGE_LIMIT)
            .write_upload(never_ends)
            .await;
    })
}

async fn arrived(stage: &Stage, bytes: &[u8]) {
    let part = stage.path("state/uploads").join(format!("researcher-mia.{}", Digest::of(bytes)));
    for _ in 0..600 {
        if std::fs::metadata(&part).is_ok_and(|part| part.len() >= bytes.len() as u64 * 6 / 10) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("60 % did not arrive");
}

async fn finish_large(channel: Channel, bytes: &[u8], from: u64) {
    let mut client = BundleServiceClient::new(channel).max_encoding_message_size(api::MESSAGE_LIMIT);
    let rest = tokio_stream::iter(chunks(bytes, from, bytes.len() as u64));
    let written = client.write_upload(rest).await.unwrap().into_inner().committed_bytes;
    assert_eq!(written, bytes.len() as u64);
    client.finish_upload(FinishUploadRequest { sha256: Digest::of(bytes).to_string() }).await.unwrap();
    assert_eq!(begin_large(&mut client, bytes).await, bytes.len() as u64, "whole");
}

#[tokio::test]
async fn an_upload_goes_on_after_its_gateway_was_killed_at_60_percent() {
    let (stage, bytes) = (Stage::new(story()), large());
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    assert_eq!(begin_large(&mut BundleServiceClient::new(mia.clone()), &bytes).await, 0);
    let sending = send_most(mia, &bytes, 0);
    arrived(&stage, &bytes).await;
    gateway.kill();
    sending.abort();
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    let there = begin_large(&mut BundleServiceClient::new(mia.clone()), &bytes).await;
    let sent = bytes.len() as u64 * 6 / 10;
    assert!(there <= sent && there + LOST_AT_MOST >= sent, "{there} of {sent} are left");
    finish_large(mia, &bytes, there).await;
}

#[tokio::test]
async fn an_upload_goes_on_after_its_client_was_killed_at_60_percent() {
    let (stage, bytes) = (Stage::new(story()), large());
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    begin_large(&mut BundleServiceClient::new(mia.clone()), &bytes).await;
    // A connection of its own that ends as that of a killed process does: without a word of HTTP/2.
    let sending = send_most(stage.connect(&gateway, MIA).await, &bytes, 0);
    arrived(&stage, &bytes).await;
    sending.abort();
    let sent = bytes.len() as u64 * 6 / 10;
    for _ in 0..200 {
        let there = begin_large(&mut BundleServiceClient::new(mia.clone()), &bytes).await;
        if there == sent {
            return finish_large(mia, &bytes, there).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("what had arrived was lost");
}

#[tokio::test]
async fn a_watch_is_taken_up_again_where_it_was_when_the_gateway_is_killed_in_the_middle() {
    let (stage, gateway, enclave, job) = in_review().await;
    let request = WatchJobRequest { job: job.to_string(), after_event: 0 };
    let mia = stage.connect(&gateway, MIA).await;
    let mut events = JobServiceClient::new(mia).watch_job(request).await.unwrap().into_inner();
    let mut last = 0;
    while last < 4 {
        let event = events.message().await.unwrap().expect("it goes on");
        assert_eq!(event.event, last + 1);
        last = event.event;
    }
    gateway.kill();
    let broken = events.message().await;
    assert!(!matches!(broken, Ok(Some(_))), "{broken:?}");
    drop(enclave);
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    let watching = tokio::spawn({
        let (mia, job) = (mia.clone(), job.to_string());
        async move { watch(mia, &job, last).await }
    });
    let mut enclave = reconnected(&gateway).await;
    announce_release(&enclave, &stage, job).await;
    assert!(matches!(enclave.hear().await, Some(link_response::Message::ReleaseTaken(_))));
    assert_eq!(watching.await.unwrap(), [(5, JobState::Approved), (6, JobState::Released)]);
    // After the last event of a job that has ended there is nothing to wait for.
    assert_eq!(watch(mia.clone(), &job.to_string(), 6).await, []);
    let request = WatchJobRequest { job: job.to_string(), after_event: 7 };
    let refused = JobServiceClient::new(mia).watch_job(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "MALFORMED"));
}
