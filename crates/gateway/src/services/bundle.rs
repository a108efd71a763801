//! Uploads of bundles: named by their digest, resumable, and a repeat does nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::CHUNK_BYTES;
use api::v1::bundle_service_server::BundleService;
use api::v1::{
    CreateUploadRequest, CreateUploadResponse, FinishUploadRequest, FinishUploadResponse, WriteUploadRequest,
    WriteUploadResponse,
};
use blobs::{Digest, StoreError};
use release::refusal::Refusal;
use release::value::Name;
use server::{Refused, principal};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::digest;
use crate::room::{Room, blocking, now};
use crate::spool::Part;
use crate::store::uploads::{self, Announced, Upload, UploadLimits};

/// Longest pause between two chunks.
const PAUSE: Duration = Duration::from_secs(30);

/// Whoever sends fewer bytes in a minute than 16 KiB a second is cut off, and may resume.
const RATE: (Duration, u64) = (Duration::from_secs(60), 60 * 16 * 1024);

/// What arrived is made durable each time so many bytes more are there: a gateway that is killed loses no more.
const DURABLE_BYTES: u64 = 8 << 20;

pub struct Bundles(pub Arc<Room>);

#[tonic::async_trait]
impl BundleService for Bundles {
    async fn create_upload(
        &self,
        request: Request<CreateUploadRequest>,
    ) -> Result<Response<CreateUploadResponse>, Status> {
        let person = principal(&request)?.id;
        let asked = request.into_inner();
        let sha256 = digest("sha256", &asked.sha256)?;
        let configuration = &self.0.configuration;
        if asked.bytes == 0 {
            return Err(Refused::Malformed("bytes").into());
        }
        if asked.bytes > configuration.bundle_bytes_limit {
            return Err(Refused::TooLarge { field: "bytes", limit: configuration.bundle_bytes_limit }.into());
        }
        let grant = self.own_grant(&person, &asked.grant)?;
        let limits = UploadLimits {
            per_person: configuration.uploads_per_person,
            per_grant: configuration.uploads_per_grant,
            bytes_per_grant: configuration.spool_bytes_per_grant,
            bytes: configuration.spool_bytes,
        };
        let announced = Announced { person, grant, sha256, bytes: asked.bytes };
        let begun =
            self.0.store.change(move |transaction| uploads::begin(transaction, &announced, limits, now()));
        let committed_bytes = begun.await?.committed;
        Ok(Response::new(CreateUploadResponse { committed_bytes, chunk_bytes: CHUNK_BYTES as u32 }))
    }

    async fn write_upload(
        &self,
        request: Request<Streaming<WriteUploadRequest>>,
    ) -> Result<Response<WriteUploadResponse>, Status> {
        let person = principal(&request)?.id;
        let mut chunks = request.into_inner();
        let first = next(&mut chunks).await?.ok_or(Refused::Malformed("sha256"))?;
        let upload = self.find(&person, digest("sha256", &first.sha256)?).await?;
        if first.offset != upload.committed || upload.whole {
            return Err(Refused::Offset { committed: upload.committed }.into());
        }
        let room = self.0.clone();
        let opened = {
            let (person, room) = (person.clone(), room.clone());
            blocking(move || room.spool.part(&person, &upload.sha256, upload.committed)).await?
        };
        // Another call of this person writes; its line may have broken a moment ago.
        let part = opened.map_err(|error| of_disk(&error))?.ok_or(Refused::NotReady)?;
        let mut writing = Writing {
            room,
            person,
            upload,
            part: Some(part),
            written: upload.committed,
            durable: upload.committed,
        };
        // A task of its own: when a line breaks this call is dropped, and what had arrived is to be kept, so that
        // the next call goes on from there.
        let written = tokio::spawn(async move {
            let received = writing.receive(first, &mut chunks).await;
            writing.commit().await?;
            received.map(|()| writing.durable)
        });
        let committed_bytes = written.await.map_err(|_| Refused::Box)??;
        Ok(Response::new(WriteUploadResponse { committed_bytes }))
    }

    async fn finish_upload(
        &self,
        request: Request<FinishUploadRequest>,
    ) -> Result<Response<FinishUploadResponse>, Status> {
        let person = principal(&request)?.id;
        let sha256 = digest("sha256", &request.into_inner().sha256)?;
        let upload = self.find(&person, sha256).await?;
        if upload.whole {
            return Ok(Response::new(FinishUploadResponse {}));
        }
        if upload.committed != upload.bytes {
            return Err(Refused::Offset { committed: upload.committed }.into());
        }
        self.finish(person, upload).await?;
        Ok(Response::new(FinishUploadResponse {}))
    }
}

impl Bundles {
    /// The grant, if the person is a member of it now.
    fn own_grant(&self, person: &Name, grant: &str) -> Result<Name, Refused> {
        let id: Name = grant.parse().map_err(|_| Refused::Malformed("grant"))?;
        let site = self.0.current_site()?;
        let grant = site.grant(&id).map(|grant| grant.statement());
        let is_theirs = grant.is_some_and(|grant| {
            grant.members.contains_key(person)
                && now() < grant.expires
                && !site.revocation().grants.contains(&grant.id)
        });
        if is_theirs { Ok(id) } else { Err(Refused::Statement(Refusal::RequestGrant)) }
    }

    async fn find(&self, person: &Name, sha256: Digest) -> Result<Upload, Refused> {
        let person = person.clone();
        let found = self.0.store.read(move |connection| uploads::find(connection, &person, &sha256)).await?;
        found.ok_or(Refused::NotFound)
    }

    async fn finish(&self, person: Name, upload: Upload) -> Result<(), Refused> {
        let (room, writer) = (self.0.clone(), person.clone());
        let finished = blocking(move || {
            // Holding the part keeps a late chunk from changing what is being compared.
            let Ok(Some(_part)) = room.spool.part(&writer, &upload.sha256, upload.committed) else {
                return Err(Refused::NotReady);
            };
            Ok(room.spool.finish(&writer, &upload.sha256, upload.bytes))
        });
        let (committed, whole, answer) = match finished.await?? {
            Ok(()) => (upload.bytes, true, Ok(())),
            Err(StoreError::DigestDiffers { .. }) => (0, false, Err(Refused::Digest)),
            Err(StoreError::Io(error)) => return Err(of_disk(&error)),
            Err(_) => (0, false, Err(Refused::Box)),
        };
        let (sha256, room) = (upload.sha256, self.0.clone());
        let kept = self.0.store.change(move |transaction| {
            // The store's thread removes bundles that nobody holds, maybe between the copy and this line.
            let kept = !whole || room.spool.bundles().contains(sha256);
            let (committed, whole) = if kept { (committed, whole) } else { (0, false) };
            uploads::commit(transaction, &person, &sha256, committed, whole).map(|()| kept)
        });
        if kept.await? { answer } else { Err(Refused::NotReady) }
    }
}

/// One call's writing to one part.
struct Writing {
    room: Arc<Room>,
    person: Name,
    upload: Upload,
    part: Option<Part>,
    written: u64,
    durable: u64,
}

impl Writing {
    async fn receive(
        &mut self,
        first: WriteUploadRequest,
        chunks: &mut Streaming<WriteUploadRequest>,
    ) -> Result<(), Refused> {
        let mut window = (Instant::now(), 0u64);
        let mut waiting = Some(first);
        while let Some(message) = waiting {
            self.write(message).await?;
            if self.written - self.durable >= DURABLE_BYTES {
                self.commit().await?;
            }
            window = self.fast_enough(window)?;
            waiting = next(chunks).await?;
        }
        Ok(())
    }

    async fn write(&mut self, message: WriteUploadRequest) -> Result<(), Refused> {
        let chunk = message.chunk;
        if chunk.len() > CHUNK_BYTES {
            return Err(Refused::TooLarge { field: "chunk", limit: CHUNK_BYTES as u64 });
        }
        let total = self.written + chunk.len() as u64;
        if total > self.upload.bytes {
            return Err(Refused::TooLarge { field: "chunk", limit: self.upload.bytes });
        }
        let mut part = self.part.take().ok_or(Refused::Box)?;
        let written = blocking(move || part.write(&chunk).map(|()| part)).await?;
        self.part = Some(written.map_err(|error| of_disk(&error))?);
        self.written = total;
        Ok(())
    }

    fn fast_enough(&self, (since, before): (Instant, u64)) -> Result<(Instant, u64), Refused> {
        let arrived = self.written - self.upload.committed;
        if since.elapsed() < RATE.0 {
            return Ok((since, before));
        }
        if arrived - before < RATE.1 { Err(Refused::Time) } else { Ok((Instant::now(), arrived)) }
    }

    /// Makes what was written durable and only then known.
    async fn commit(&mut self) -> Result<(), Refused> {
        // After a failed write nothing new is known to be on disk.
        let Some(part) = self.part.take() else { return Ok(()) };
        let part = blocking(move || part.sync().map(|()| part)).await?.map_err(|error| of_disk(&error))?;
        let (person, sha256, committed) = (self.person.clone(), self.upload.sha256, self.written);
        self.room
            .store
            .change(move |transaction| uploads::commit(transaction, &person, &sha256, committed, false))
            .await?;
        self.durable = committed;
        // It is held until the call is over: whoever opens the part cuts off what is not known.
        self.part = Some(part);
        Ok(())
    }
}

/// What the disk says, as far as a caller may know it.
fn of_disk(error: &io::Error) -> Refused {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refused::Disk,
        _ => Refused::Box,
    }
}

/// The next message; a line that broke ends the stream early, and what came before it counts.
async fn next(chunks: &mut Streaming<WriteUploadRequest>) -> Result<Option<WriteUploadRequest>, Refused> {
    let message = tokio::time::timeout(PAUSE, chunks.message()).await.map_err(|_| Refused::Time)?;
    message.map_err(|_| Refused::Malformed("chunk"))
}
