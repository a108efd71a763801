//! A gateway that was taken over and lies to researchers: to those who hand in jobs, and to those who fetch releases.
//!
//! `lying-front ADDRESS TLS-DIRECTORY ANSWERS` listens where researchers look for the gateway. Each answer lies in a file
//! of `ANSWERS`, read anew for each call, named after its method: `get-job` is an encoded message, `watch-job` messages
//! with their lengths before them, one after the other, told again and again if `watch-job.endless` is there. `file-NAME`
//! holds the bytes of a released file and `file-` those of the release file. What is not there is not answered.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::v1::bundle_service_server::{BundleService, BundleServiceServer};
use api::v1::data_service_server::{DataService, DataServiceServer};
use api::v1::job_service_server::{JobService, JobServiceServer};
use api::v1::release_service_server::{ReleaseService, ReleaseServiceServer};
use api::v1::{
    CancelJobRequest, CancelJobResponse, CreateJobRequest, CreateJobResponse, CreateUploadRequest,
    CreateUploadResponse, FinishUploadRequest, FinishUploadResponse, GetJobRequest, GetJobResponse,
    GetReleaseRequest, GetReleaseResponse, GetSiteRequest, GetSiteResponse, ListDatasetsRequest,
    ListDatasetsResponse, ListJobsRequest, ListJobsResponse, ListReleasesRequest, ListReleasesResponse,
    ReadFileRequest, ReadFileResponse, WatchJobRequest, WatchJobResponse, WriteUploadRequest,
    WriteUploadResponse,
};
use server::{Limits, Listener, Tls};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

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
    let journal = daemon::Journal::new("lying-front");
    let listener = Listener::bind(address.parse()?, &tls, Limits::default(), journal).await?;
    println!("listens");
    let front = || ToResearchers(PathBuf::from(answers));
    let mut routes = Routes::builder();
    routes.add_service(ReleaseServiceServer::new(front())).add_service(JobServiceServer::new(front()));
    routes.add_service(BundleServiceServer::new(front())).add_service(DataServiceServer::new(front()));
    let gate: server::Gate = Arc::new(|_| Ok(()));
    Ok(server::serve(listener, gate, routes.routes(), &[], std::future::pending()).await?)
}

type Stream<T> = ReceiverStream<Result<T, Status>>;

struct ToResearchers(PathBuf);

impl ToResearchers {
    fn read(&self, answer: &str) -> Result<Vec<u8>, Status> {
        std::fs::read(self.0.join(answer)).map_err(|_| Status::unavailable("nothing to say"))
    }

    fn answer<T: prost::Message + Default>(&self, answer: &str) -> Result<Response<T>, Status> {
        let message = T::decode(&self.read(answer)?[..]);
        message.map(Response::new).map_err(|_| Status::internal("not an answer"))
    }

    fn stream<T: prost::Message + Default + Clone + 'static>(
        &self,
        answer: &str,
    ) -> Result<Response<Stream<T>>, Status> {
        let bytes = self.read(answer)?;
        let (mut rest, mut messages) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let message = T::decode_length_delimited(&mut rest);
            messages.push(message.map_err(|_| Status::internal("not an answer"))?);
        }
        Ok(tell(messages, self.0.join(format!("{answer}.endless")).exists()))
    }
}

/// Tells these messages, again and again if there is to be no end.
fn tell<T: Clone + Send + 'static>(messages: Vec<T>, endless: bool) -> Response<Stream<T>> {
    let (to, answers) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            for message in messages.clone() {
                if to.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            if !endless {
                return;
            }
        }
    });
    Response::new(ReceiverStream::new(answers))
}

#[tonic::async_trait]
impl ReleaseService for ToResearchers {
    async fn list_releases(
        &self,
        _: Request<ListReleasesRequest>,
    ) -> Result<Response<ListReleasesResponse>, Status> {
        self.answer("list-releases")
    }

    async fn get_release(
        &self,
        _: Request<GetReleaseRequest>,
    ) -> Result<Response<GetReleaseResponse>, Status> {
        self.answer("get-release")
    }

    type ReadFileStream = Stream<ReadFileResponse>;

    async fn read_file(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let bytes = self.read(&format!("file-{}", request.into_inner().file))?;
        let chunk = |chunk: &[u8]| ReadFileResponse { chunk: chunk.to_vec().into() };
        Ok(tell(bytes.chunks(api::CHUNK_BYTES).map(chunk).collect(), false))
    }
}

#[tonic::async_trait]
impl JobService for ToResearchers {
    async fn create_job(&self, _: Request<CreateJobRequest>) -> Result<Response<CreateJobResponse>, Status> {
        self.answer("create-job")
    }

    async fn get_job(&self, _: Request<GetJobRequest>) -> Result<Response<GetJobResponse>, Status> {
        self.answer("get-job")
    }

    async fn list_jobs(&self, _: Request<ListJobsRequest>) -> Result<Response<ListJobsResponse>, Status> {
        self.answer("list-jobs")
    }

    type WatchJobStream = Stream<WatchJobResponse>;

    async fn watch_job(&self, _: Request<WatchJobRequest>) -> Result<Response<Self::WatchJobStream>, Status> {
        self.stream("watch-job")
    }

    async fn cancel_job(&self, _: Request<CancelJobRequest>) -> Result<Response<CancelJobResponse>, Status> {
        self.answer("cancel-job")
    }
}

#[tonic::async_trait]
impl BundleService for ToResearchers {
    async fn create_upload(
        &self,
        _: Request<CreateUploadRequest>,
    ) -> Result<Response<CreateUploadResponse>, Status> {
        self.answer("create-upload")
    }

    async fn write_upload(
        &self,
        request: Request<Streaming<WriteUploadRequest>>,
    ) -> Result<Response<WriteUploadResponse>, Status> {
        let mut chunks = request.into_inner();
        while chunks.message().await?.is_some() {}
        self.answer("write-upload")
    }

    async fn finish_upload(
        &self,
        _: Request<FinishUploadRequest>,
    ) -> Result<Response<FinishUploadResponse>, Status> {
        self.answer("finish-upload")
    }
}

#[tonic::async_trait]
impl DataService for ToResearchers {
    async fn list_datasets(
        &self,
        _: Request<ListDatasetsRequest>,
    ) -> Result<Response<ListDatasetsResponse>, Status> {
        self.answer("list-datasets")
    }

    type GetSiteStream = Stream<GetSiteResponse>;

    async fn get_site(&self, _: Request<GetSiteRequest>) -> Result<Response<Self::GetSiteStream>, Status> {
        self.stream("get-site")
    }
}
