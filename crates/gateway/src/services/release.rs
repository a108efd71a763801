//! Released files, to their recipient only.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use api::CHUNK_BYTES;
use api::v1::release_service_server::ReleaseService;
use api::v1::{
    GetReleaseRequest, GetReleaseResponse, ListReleasesRequest, ListReleasesResponse, ReadFileRequest,
    ReadFileResponse, Release, ReleasedFile,
};
use blobs::{Digest, StoreError};
use release::refusal::Refusal;
use server::{Listing, Principal, Refused, principal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{digest, moment};
use crate::room::{Room, blocking};
use crate::store::releases;

/// Largest release file that fits one message beside the rest of the answer, in bytes.
const ONE_MESSAGE: u64 = (api::MESSAGE_LIMIT - 512 * 1024) as u64;

pub struct Releases(pub Arc<Room>);

#[tonic::async_trait]
impl ReleaseService for Releases {
    async fn list_releases(
        &self,
        request: Request<ListReleasesRequest>,
    ) -> Result<Response<ListReleasesResponse>, Status> {
        let person = principal(&request)?.id;
        let asked = request.into_inner();
        let page = Listing::Releases.page(asked.page_size, &asked.page_token)?;
        let listed = self
            .0
            .store
            .read(move |connection| releases::list(connection, &person, page.before, page.size + 1));
        let mut listed = listed.await.map_err(Refused::from)?;
        let next_page_token = Listing::Releases.cut(page, &mut listed, |release| release.place);
        let releases = listed.into_iter().map(message).collect();
        Ok(Response::new(ListReleasesResponse { releases, next_page_token }))
    }

    async fn get_release(
        &self,
        request: Request<GetReleaseRequest>,
    ) -> Result<Response<GetReleaseResponse>, Status> {
        let caller = principal(&request)?;
        let found = self.find(&caller, &request.into_inner().release).await?;
        let (room, release_file) = (self.0.clone(), found.release_file);
        let read = blocking(move || room.served.read(release_file, ONE_MESSAGE)).await?;
        let bytes = match read {
            Err(StoreError::TooLarge { .. }) => Vec::new(),
            read => read.map_err(|error| self.0.not_as_stored(&release_file, &error))?,
        };
        Ok(Response::new(GetReleaseResponse { release: Some(message(found)), release_file: bytes.into() }))
    }

    type ReadFileStream = ReceiverStream<Result<ReadFileResponse, Status>>;

    async fn read_file(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let caller = principal(&request)?;
        let asked = request.into_inner();
        let found = self.find(&caller, &asked.release).await?;
        let sha256 = match asked.file.as_str() {
            "" => found.release_file,
            name => {
                let file = found.files.iter().find(|file| file.name.as_str() == name);
                file.ok_or(Refused::NotFound)?.sha256
            }
        };
        let room = self.0.clone();
        let opened = blocking(move || open(&room, sha256, asked.offset)).await??;
        Ok(Response::new(stream(opened)))
    }
}

impl Releases {
    async fn find(&self, caller: &Principal, named: &str) -> Result<releases::Release, Refused> {
        let (person, named) = (caller.id.clone(), digest("release", named)?);
        let found = self.0.store.read(move |connection| releases::find(connection, &person, &named)).await?;
        let found = found.ok_or(Refused::NotFound)?;
        // A recalled release is served no more, not even to its recipient.
        let site = self.0.current_site()?;
        if site.revocation().releases.contains(&found.release) {
            return Err(Refused::Statement(Refusal::Revoked));
        }
        Ok(found)
    }
}

impl Room {
    fn not_as_stored(&self, file: &Digest, error: &StoreError) -> Refused {
        let line = self.journal.error("a served copy is not as it was stored");
        line.digest("file", file.as_bytes()).own_error(error).write();
        Refused::Box
    }
}

/// Opens a served copy once its bytes still have their digest. Whoever changes the file afterwards changes what the
/// recipient's own check will refuse; it was the gateway's store alone that they could reach.
fn open(room: &Room, sha256: Digest, offset: u64) -> Result<File, Refused> {
    let refused = |error| room.not_as_stored(&sha256, &error);
    let mut file = room.served.open_blob(sha256).map_err(refused)?;
    let (found, _) = Digest::of_reader(&mut file).map_err(|error| refused(error.into()))?;
    if found != sha256 {
        return Err(refused(StoreError::DigestDiffers { expected: sha256, found }));
    }
    file.seek(SeekFrom::Start(offset)).map_err(|error| refused(error.into()))?;
    Ok(file)
}

fn stream(mut file: File) -> ReceiverStream<Result<ReadFileResponse, Status>> {
    let (sender, receiver) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let message = match (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk) {
                Ok(0) => return,
                Ok(_) => Ok(ReadFileResponse { chunk: chunk.into() }),
                Err(_) => Err(Refused::Box.into()),
            };
            let failed = message.is_err();
            if sender.blocking_send(message).is_err() || failed {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

fn message(release: releases::Release) -> Release {
    let files = release.files.into_iter().map(|file| ReleasedFile {
        name: file.name.to_string(),
        bytes: file.bytes,
        sha256: file.sha256.to_string(),
    });
    Release {
        release: release.release.to_string(),
        job: release.job.to_string(),
        released_at: moment(release.released_at),
        files: files.collect(),
    }
}
