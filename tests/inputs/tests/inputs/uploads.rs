//! Uploads that do not fit what was announced.

use api::CHUNK_BYTES;
use api::v1::bundle_service_client::BundleServiceClient;
use api::v1::{CreateUploadRequest, FinishUploadRequest, WriteUploadRequest};
use blobs::Digest;
use harness::TestBox;
use tonic::Status;
use tonic::transport::Channel;

use crate::table::Table;
use crate::wire::{answer_name, said};

const GROUP: &str = "upload";

struct Uploader(BundleServiceClient<Channel>);

impl Uploader {
    async fn of(tested: &TestBox, person: &str) -> Self {
        let channel = tested.bench(person).await.channel();
        Self(BundleServiceClient::new(channel).max_encoding_message_size(8 << 20))
    }

    async fn announce(&mut self, sha256: &str, bytes: u64) -> Result<u64, Status> {
        let request = CreateUploadRequest { sha256: sha256.to_owned(), bytes, grant: "grant-1".to_owned() };
        Ok(self.0.create_upload(request).await?.into_inner().committed_bytes)
    }

    async fn write(&mut self, sha256: &str, offset: u64, chunks: &[&[u8]]) -> Result<u64, Status> {
        let parts: Vec<_> = chunks
            .iter()
            .map(|chunk| WriteUploadRequest {
                sha256: sha256.to_owned(),
                offset,
                chunk: chunk.to_vec().into(),
            })
            .collect();
        Ok(self.0.write_upload(tokio_stream::iter(parts)).await?.into_inner().committed_bytes)
    }

    async fn finish(&mut self, sha256: &str) -> Result<(), Status> {
        self.0.finish_upload(FinishUploadRequest { sha256: sha256.to_owned() }).await.map(drop)
    }
}

pub async fn cases(tested: &TestBox, table: &mut Table) {
    let mut kim = Uploader::of(tested, "kim").await;
    let bytes = b"a bundle, or so it says";
    let name = Digest::of(bytes).to_string();
    let size = bytes.len() as u64;
    let mut refused =
        |case: &str, expected: &str, found: String| table.refused(GROUP, case, expected, &found);

    let found = answer_name(kim.announce("no digest at all", 5).await);
    refused("announced under a name that is no digest", "MALFORMED/sha256", found);
    refused("announced as empty", "MALFORMED/bytes", answer_name(kim.announce(&name, 0).await));
    refused(
        "announced larger than any bundle",
        "TOO_LARGE/bytes",
        answer_name(kim.announce(&name, 1 << 40).await),
    );
    let nothing = Digest::of(b"never announced").to_string();
    refused(
        "written without being announced",
        "NOT_FOUND",
        answer_name(kim.write(&nothing, 0, &[b"x"]).await),
    );
    refused("without a first message", "MALFORMED/sha256", answer_name(kim.write("", 0, &[]).await));

    assert_eq!(kim.announce(&name, size).await.unwrap(), 0);
    refused(
        "announced again with another size",
        "CONFLICT",
        answer_name(kim.announce(&name, size + 1).await),
    );
    refused(
        "resumed where nothing has arrived yet",
        "OFFSET",
        answer_name(kim.write(&name, 7, &[&bytes[7..]]).await),
    );
    let mut lee = Uploader::of(tested, "lee").await;
    refused("of another person's upload", "NOT_FOUND", answer_name(lee.write(&name, 0, &[bytes]).await));
    assert_eq!(kim.write(&name, 0, &[&bytes[..9]]).await.unwrap(), 9);
    refused("ended before all has arrived", "OFFSET", answer_name(kim.finish(&name).await));
    let longer = [&bytes[9..], b" and more"].concat();
    refused("longer than announced", "TOO_LARGE/chunk", answer_name(kim.write(&name, 9, &[&longer]).await));
    let large = vec![0; CHUNK_BYTES + 1];
    let large_name = Digest::of(&large).to_string();
    kim.announce(&large_name, large.len() as u64).await.unwrap();
    let found = answer_name(kim.write(&large_name, 0, &[&large]).await);
    refused("in a chunk larger than a chunk may be", "TOO_LARGE/chunk", found);
    let found = answer_name(kim.write(&large_name, 0, &[&vec![0; 3 << 20]]).await);
    refused("in a message larger than a message may be", "MALFORMED/chunk", found);

    let lie = Digest::of(b"what was announced").to_string();
    kim.announce(&lie, size).await.unwrap();
    kim.write(&lie, 0, &[bytes]).await.unwrap();
    refused("of other bytes than announced", "DIGEST", answer_name(kim.finish(&lie).await));
    let more = [Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3")].map(|digest| digest.to_string());
    let mut found = String::new();
    for digest in &more {
        found = answer_name(kim.announce(digest, 1).await);
    }
    refused("one too many at the same time", "QUOTA/uploads", found);

    let rest = kim.write(&name, 9, &[&bytes[9..]]).await;
    table.taken(GROUP, "rest of an upload, from where it stopped", said(rest));
    table.taken(GROUP, "end of a whole upload", said(kim.finish(&name).await));
    table.taken(GROUP, "repeat of that end", said(kim.finish(&name).await));
    let found = answer_name(kim.write(&name, 0, &[b"other"]).await);
    table.refused(GROUP, "written after it was whole", "OFFSET", &found);
    // The places are given back, so that the groups after this one can upload.
    for (unfinished, bytes) in
        [(&large_name, &large[..]), (&more[0], b"1"), (&more[1], b"2"), (&lie, &bytes[..])]
    {
        let at = kim.announce(unfinished, bytes.len() as u64).await.unwrap_or(0) as usize;
        let chunks: Vec<_> = bytes[at..].chunks(CHUNK_BYTES).collect();
        let _ = kim.write(unfinished, at as u64, &chunks).await;
        let _ = kim.finish(unfinished).await;
    }
}
