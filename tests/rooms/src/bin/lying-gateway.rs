//! A gateway that was taken over: it listens on the real gateway's socket and says what it was told to, as often as it
//! likes. `lying-gateway SOCKET once|again|silent WORD…`, said in their order:
//! the path of a directory (which holds `request`, `purpose` and `salt`, or `cancel`), `transition-taken:REQUEST:NUMBER`,
//! `release-taken:RELEASE-FILE`.
//!
//! With `again` everything is said once more after the first verdict. With `silent` nothing that the enclave reports is
//! acknowledged. Prints what the enclave says, a line a message.

use std::path::{Path, PathBuf};

use api::internal::gateway_enclave_service_server::{GatewayEnclaveService, GatewayEnclaveServiceServer};
use api::internal::{
    Cancel, LinkRequest, LinkResponse, ReleaseTaken, Submit, TransitionTaken, link_request::Message,
    link_response,
};
use api::{Admission, Answer, MESSAGE_LIMIT, Transition};
use blobs::Digest;
use lifecycle::State;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    daemon::die_with_parent()?;
    let mut arguments = std::env::args().skip(1);
    let socket = PathBuf::from(arguments.next().ok_or("no socket")?);
    let how = arguments.next().ok_or("once, again or silent?")?;
    let said = arguments.map(|word| message(&word)).collect::<Result<_, _>>()?;
    let listener = daemon::listen(&socket, 0o660)?;
    listener.set_nonblocking(true)?;
    let liar = Liar { said, again: how == "again", silent: how == "silent" };
    let service = GatewayEnclaveServiceServer::new(liar)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let incoming = UnixListenerStream::new(UnixListener::from_std(listener)?);
    Ok(Server::builder().add_service(service).serve_with_incoming(incoming).await?)
}

fn message(word: &str) -> Result<link_response::Message, Failure> {
    let parts: Vec<&str> = word.split(':').collect();
    Ok(match parts[..] {
        [directory] => handed_in(Path::new(directory))?,
        ["transition-taken", request, number] => link_response::Message::TransitionTaken(TransitionTaken {
            request_sha256: wire(request)?,
            number: number.parse()?,
        }),
        ["release-taken", file] => {
            link_response::Message::ReleaseTaken(ReleaseTaken { release_file_sha256: wire(file)? })
        }
        _ => return Err(format!("{word}: no such word").into()),
    })
}

fn wire(digest: &str) -> Result<tonic::codegen::Bytes, Failure> {
    Ok(digest.parse::<Digest>()?.as_bytes().to_vec().into())
}

fn handed_in(directory: &Path) -> Result<link_response::Message, Failure> {
    let cancel = directory.join("cancel");
    if cancel.exists() {
        let bytes = std::fs::read(cancel)?;
        let stated: release::statement::Cancel = release::envelope::Envelope::parse(&bytes)?.unverified()?;
        let request_sha256 = stated.request.sha256.as_bytes().to_vec().into();
        return Ok(link_response::Message::Cancel(Cancel { cancel: bytes.into(), request_sha256 }));
    }
    Ok(link_response::Message::Submit(Submit {
        request: std::fs::read(directory.join("request"))?.into(),
        purpose: std::fs::read_to_string(directory.join("purpose"))?,
        purpose_salt: std::fs::read(directory.join("salt"))?.into(),
    }))
}

#[derive(Clone)]
struct Liar {
    said: Vec<link_response::Message>,
    again: bool,
    silent: bool,
}

type Outgoing = mpsc::Sender<Result<LinkResponse, Status>>;

#[tonic::async_trait]
impl GatewayEnclaveService for Liar {
    type LinkStream = ReceiverStream<Result<LinkResponse, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<LinkRequest>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let (outgoing, receiver) = mpsc::channel(32);
        tokio::spawn(self.clone().speak(request.into_inner(), outgoing));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl Liar {
    async fn speak(mut self, mut incoming: Streaming<LinkRequest>, outgoing: Outgoing) -> Option<()> {
        self.say(&outgoing).await?;
        while let Ok(Some(message)) = incoming.message().await {
            match message.message? {
                Message::Ready(_) => println!("ready"),
                Message::SubmitAnswer(answer) => {
                    let answer = Answer::try_from(answer).ok()?;
                    let word = match answer.admission {
                        Admission::Queued => "ACCEPTED",
                        Admission::InCodeReview => "IN_CODE_REVIEW",
                        Admission::Refused(reason) => reason.as_str_name(),
                    };
                    println!("answer {} {word}", answer.request);
                }
                Message::Transition(report) => {
                    let taken = TransitionTaken {
                        request_sha256: report.request_sha256.clone(),
                        number: report.number,
                    };
                    if !self.silent {
                        send(&outgoing, link_response::Message::TransitionTaken(taken)).await?;
                    }
                    let report = Transition::try_from(report).ok()?;
                    println!(
                        "transition {} {} {} {}",
                        report.request, report.number, report.run, report.state
                    );
                    if report.state == State::InReview && std::mem::take(&mut self.again) {
                        self.say(&outgoing).await?;
                    }
                }
                Message::Release(ready) => {
                    println!("release {}", api::digest("release_file", &ready.release_file_sha256).ok()?);
                }
                Message::CancelTaken(taken) => {
                    println!("cancel-taken {}", api::digest("request", &taken.request_sha256).ok()?);
                }
            }
        }
        Some(())
    }

    async fn say(&self, outgoing: &Outgoing) -> Option<()> {
        for message in &self.said {
            send(outgoing, message.clone()).await?;
        }
        Some(())
    }
}

async fn send(outgoing: &Outgoing, message: link_response::Message) -> Option<()> {
    outgoing.send(Ok(LinkResponse { message: Some(message) })).await.ok()
}
