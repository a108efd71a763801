//! A console that was taken over.
//!
//! `lying-console signer SOCKET FILE…` puts messages of its choice to the signer, one a file, and prints a line for each
//! answer: `appended SIZE`, `finished FILE-DIGEST`, or the name of the refusal.
//!
//! `lying-console enclave SOCKET WORD…` listens where the enclave looks for the console, and says what it was told to:
//! `release:FILE`, `denial:FILE`, `verdict-taken:VERDICT`, `withdrawal-taken:VERDICT`, `code-taken:REQUEST`,
//! `code-approvals:REQUEST[:FILE…]`, `code-denial:FILE`, `code-close-taken:REQUEST`. It prints `verdict VERDICT`,
//! `withdrawn VERDICT`, `outcome-taken VERDICT`, `code-review REQUEST` and `code-closed REQUEST END` for what it hears,
//! until it is killed.
//!
//! `lying-console stewards ADDRESS TLS-DIRECTORY ANSWERS` listens where stewards look for the console. Each answer is
//! the encoded message in a file of `ANSWERS`, read anew for each call: `list`, `review`, `packet` (its bytes), `site`
//! (messages, each after its length), `decision`. What is not there is not answered.

use std::error::Error;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::internal::console_enclave_service_server::{ConsoleEnclaveService, ConsoleEnclaveServiceServer};
use api::internal::{
    CodeApprovals, CodeReviewCloseTaken, CodeReviewTaken, ExchangeRequest, ExchangeResponse, VerdictTaken,
    WithdrawalTaken, exchange_request, exchange_response,
};
use api::v1::review_service_server::{ReviewService, ReviewServiceServer};
use api::v1::{
    GetReviewRequest, GetReviewResponse, GetReviewSiteRequest, GetReviewSiteResponse, ListReviewsRequest,
    ListReviewsResponse, ReadPacketRequest, ReadPacketResponse, SubmitDecisionRequest,
    SubmitDecisionResponse,
};
use blobs::Digest;
use prost::Message as _;
use release::file::RELEASE_FILE_LIMIT;
use release::json;
use release::log::socket::{self, Answer, MESSAGE_LIMIT, Message};
use server::{Limits, Listener, Tls};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    daemon::die_with_parent()?;
    let mut arguments = std::env::args().skip(1);
    let to = arguments.next().ok_or("to whom?")?;
    let at = arguments.next().ok_or("no socket")?;
    let rest: Vec<String> = arguments.collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match to.as_str() {
        "signer" => ask_signer(Path::new(&at), &rest),
        "enclave" => runtime.block_on(listen(Path::new(&at), &rest)),
        "stewards" => runtime.block_on(desk(&at, &rest)),
        _ => Err("signer, enclave or stewards?".into()),
    }
}

fn ask_signer(socket: &Path, messages: &[String]) -> Result<(), Failure> {
    for message in messages {
        let message: Message = json::from_bytes(&std::fs::read(message)?, MESSAGE_LIMIT)?;
        match socket::ask(&mut UnixStream::connect(socket)?, &message)? {
            Answer::Appended(appended) => println!("appended {}", appended.size.0),
            Answer::Finished(finished) => println!("finished {}", Digest::of(finished.file.as_bytes())),
            Answer::Unwitnessed(unwitnessed) => println!("unwitnessed {}", unwitnessed.size.0),
            Answer::Published(published) => println!("published {}", published.size.0),
            Answer::Refused(refusal) => println!("{}", refusal.name()),
        }
    }
    Ok(())
}

async fn listen(socket: &Path, words: &[String]) -> Result<(), Failure> {
    let said = words.iter().map(|word| message(word)).collect::<Result<_, _>>()?;
    let listener = daemon::listen(socket, 0o660)?;
    listener.set_nonblocking(true)?;
    let service = ConsoleEnclaveServiceServer::new(ToEnclave(said))
        .max_decoding_message_size(RELEASE_FILE_LIMIT)
        .max_encoding_message_size(RELEASE_FILE_LIMIT);
    let incoming = UnixListenerStream::new(UnixListener::from_std(listener)?);
    Ok(Server::builder().add_service(service).serve_with_incoming(incoming).await?)
}

fn message(word: &str) -> Result<exchange_response::Message, Failure> {
    Ok(match word.split_once(':') {
        Some(("release", file)) => exchange_response::Message::ReleaseFile(std::fs::read(file)?.into()),
        Some(("denial", file)) => exchange_response::Message::DenialFile(std::fs::read(file)?.into()),
        Some(("verdict-taken", verdict)) => {
            let verdict_sha256 = verdict.parse::<Digest>()?.as_bytes().to_vec().into();
            exchange_response::Message::VerdictTaken(VerdictTaken { verdict_sha256 })
        }
        Some(("withdrawal-taken", verdict)) => {
            let verdict_sha256 = verdict.parse::<Digest>()?.as_bytes().to_vec().into();
            exchange_response::Message::WithdrawalTaken(WithdrawalTaken { verdict_sha256 })
        }
        Some(("code-taken", request)) => {
            let request_sha256 = request.parse::<Digest>()?.as_bytes().to_vec().into();
            exchange_response::Message::CodeReviewTaken(CodeReviewTaken { request_sha256 })
        }
        Some(("code-close-taken", request)) => {
            let request_sha256 = request.parse::<Digest>()?.as_bytes().to_vec().into();
            exchange_response::Message::CodeReviewCloseTaken(CodeReviewCloseTaken { request_sha256 })
        }
        Some(("code-approvals", rest)) => {
            let mut parts = rest.split(':');
            let request: Digest = parts.next().unwrap_or_default().parse()?;
            let approvals = parts.map(std::fs::read).map(|read| read.map(Into::into));
            exchange_response::Message::CodeApprovals(CodeApprovals {
                request_sha256: request.as_bytes().to_vec().into(),
                approvals: approvals.collect::<Result<_, _>>()?,
            })
        }
        Some(("code-denial", file)) => {
            exchange_response::Message::CodeDenialFile(std::fs::read(file)?.into())
        }
        _ => return Err(format!("{word}: no such word").into()),
    })
}

struct ToEnclave(Vec<exchange_response::Message>);

#[tonic::async_trait]
impl ConsoleEnclaveService for ToEnclave {
    type ExchangeStream = ReceiverStream<Result<ExchangeResponse, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (outgoing, receiver) = mpsc::channel(32);
        tokio::spawn(speak(self.0.clone(), request.into_inner(), outgoing));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn speak(
    said: Vec<exchange_response::Message>,
    mut incoming: Streaming<ExchangeRequest>,
    outgoing: mpsc::Sender<Result<ExchangeResponse, Status>>,
) -> Option<()> {
    for message in said {
        outgoing.send(Ok(ExchangeResponse { message: Some(message) })).await.ok()?;
    }
    while let Ok(Some(heard)) = incoming.message().await {
        match heard.message {
            Some(exchange_request::Message::OutcomeTaken(taken)) => {
                println!("outcome-taken {}", api::digest("verdict", &taken.verdict_sha256).ok()?);
            }
            Some(exchange_request::Message::Verdict(ready)) => {
                let verdict = release::envelope::Envelope::parse(&ready.verdict).ok()?;
                println!("verdict {}", verdict.payload_digest());
            }
            Some(exchange_request::Message::Withdrawn(withdrawn)) => {
                println!("withdrawn {}", api::digest("verdict", &withdrawn.verdict_sha256).ok()?);
            }
            Some(exchange_request::Message::CodeReview(ready)) => {
                let request = release::envelope::Envelope::parse(&ready.request).ok()?;
                println!("code-review {}", request.payload_digest());
            }
            Some(exchange_request::Message::CodeReviewClosed(closed)) => {
                let end = closed.end().as_str_name();
                println!("code-closed {} {end}", api::digest("request", &closed.request_sha256).ok()?);
            }
            Some(exchange_request::Message::Ready(_)) | None => {}
        }
    }
    Some(())
}

async fn desk(address: &str, rest: &[String]) -> Result<(), Failure> {
    let [tls, answers] = rest else { return Err("the transport's directory and the answers?".into()) };
    let tls = Path::new(tls);
    let tls = Tls {
        authority: tls.join("ca.pem"),
        certificate: tls.join("console.pem"),
        key: tls.join("console.key"),
    };
    let journal = daemon::Journal::new("lying-console");
    let listener = Listener::bind(address.parse()?, &tls, Limits::default(), journal).await?;
    println!("listens");
    let service = ReviewServiceServer::new(ToStewards(PathBuf::from(answers)))
        .max_decoding_message_size(api::MESSAGE_LIMIT)
        .max_encoding_message_size(RELEASE_FILE_LIMIT + api::MESSAGE_LIMIT);
    let gate: server::Gate = Arc::new(|_| Ok(()));
    Ok(server::serve(listener, gate, Routes::new(service), &[], std::future::pending()).await?)
}

struct ToStewards(PathBuf);

type Streamed<T> = ReceiverStream<Result<T, Status>>;

impl ToStewards {
    fn read(&self, answer: &str) -> Result<Vec<u8>, Status> {
        std::fs::read(self.0.join(answer)).map_err(|_| Status::unavailable("nothing to say"))
    }

    fn answer<T: prost::Message + Default>(&self, answer: &str) -> Result<Response<T>, Status> {
        let message = T::decode(&self.read(answer)?[..]);
        message.map(Response::new).map_err(|_| Status::internal("not an answer"))
    }
}

fn stream<T: Send + 'static>(parts: Vec<T>) -> Response<Streamed<T>> {
    let (to, answers) = mpsc::channel(1);
    tokio::spawn(async move {
        for part in parts {
            if to.send(Ok(part)).await.is_err() {
                return;
            }
        }
    });
    Response::new(ReceiverStream::new(answers))
}

#[tonic::async_trait]
impl ReviewService for ToStewards {
    async fn list_reviews(
        &self,
        _: Request<ListReviewsRequest>,
    ) -> Result<Response<ListReviewsResponse>, Status> {
        self.answer("list")
    }

    async fn get_review(&self, _: Request<GetReviewRequest>) -> Result<Response<GetReviewResponse>, Status> {
        self.answer("review")
    }

    type ReadPacketStream = Streamed<ReadPacketResponse>;

    async fn read_packet(
        &self,
        _: Request<ReadPacketRequest>,
    ) -> Result<Response<Self::ReadPacketStream>, Status> {
        let packet = self.read("packet")?;
        let chunks = packet.chunks(api::CHUNK_BYTES);
        Ok(stream(chunks.map(|chunk| ReadPacketResponse { chunk: chunk.to_vec().into() }).collect()))
    }

    async fn submit_decision(
        &self,
        _: Request<SubmitDecisionRequest>,
    ) -> Result<Response<SubmitDecisionResponse>, Status> {
        self.answer("decision")
    }

    type GetReviewSiteStream = Streamed<GetReviewSiteResponse>;

    async fn get_review_site(
        &self,
        _: Request<GetReviewSiteRequest>,
    ) -> Result<Response<Self::GetReviewSiteStream>, Status> {
        let bytes = self.read("site")?;
        let mut rest = &bytes[..];
        let mut files = Vec::new();
        while !rest.is_empty() {
            let file = GetReviewSiteResponse::decode_length_delimited(&mut rest);
            files.push(file.map_err(|_| Status::internal("not an answer"))?);
        }
        Ok(stream(files))
    }
}
