//! A gateway that was taken over and lies to those who fetch releases.
//!
//! `lying-shelf ADDRESS TLS-DIRECTORY ANSWERS` listens where researchers look for the gateway. Each answer lies in a file
//! of `ANSWERS`, read anew for each call: `list` and `release` are encoded messages, `file-NAME` the bytes of a released
//! file and `file-` those of the release file. What is not there is not answered.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::v1::release_service_server::{ReleaseService, ReleaseServiceServer};
use api::v1::{
    GetReleaseRequest, GetReleaseResponse, ListReleasesRequest, ListReleasesResponse, ReadFileRequest,
    ReadFileResponse,
};
use server::{Limits, Listener, Tls};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    daemon::die_with_parent()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, tls, answers] = &arguments[..] else {
        return Err("the address, the transport's directory and the answers?".into());
    };
    let tls = Path::new(tls);
    let tls = Tls {
        authority: tls.join("ca.pem"),
        certificate: tls.join("gateway.pem"),
        key: tls.join("gateway.key"),
    };
    let journal = daemon::Journal::new("lying-shelf");
    let listener = Listener::bind(address.parse()?, &tls, Limits::default(), journal).await?;
    println!("listens");
    let service = ReleaseServiceServer::new(ToRecipients(PathBuf::from(answers)));
    let gate: server::Gate = Arc::new(|_| Ok(()));
    Ok(server::serve(listener, gate, Routes::new(service), &[], std::future::pending()).await?)
}

struct ToRecipients(PathBuf);

impl ToRecipients {
    fn read(&self, answer: &str) -> Result<Vec<u8>, Status> {
        std::fs::read(self.0.join(answer)).map_err(|_| Status::unavailable("nothing to say"))
    }

    fn answer<T: prost::Message + Default>(&self, answer: &str) -> Result<Response<T>, Status> {
        let message = T::decode(&self.read(answer)?[..]);
        message.map(Response::new).map_err(|_| Status::internal("not an answer"))
    }
}

#[tonic::async_trait]
impl ReleaseService for ToRecipients {
    async fn list_releases(
        &self,
        _: Request<ListReleasesRequest>,
    ) -> Result<Response<ListReleasesResponse>, Status> {
        self.answer("list")
    }

    async fn get_release(
        &self,
        _: Request<GetReleaseRequest>,
    ) -> Result<Response<GetReleaseResponse>, Status> {
        self.answer("release")
    }

    type ReadFileStream = ReceiverStream<Result<ReadFileResponse, Status>>;

    async fn read_file(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let bytes = self.read(&format!("file-{}", request.into_inner().file))?;
        let chunks: Vec<_> = bytes.chunks(api::CHUNK_BYTES).map(<[u8]>::to_vec).collect();
        let (to, answers) = mpsc::channel(1);
        tokio::spawn(async move {
            for chunk in chunks {
                if to.send(Ok(ReadFileResponse { chunk: chunk.into() })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
