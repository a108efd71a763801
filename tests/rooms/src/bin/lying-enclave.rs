//! An enclave that was taken over: it opens the real gateway's socket and says what it likes.
//! `lying-enclave SOCKET WORD…`, said in their order:
//! `answer:REQUEST`, `transition:REQUEST:NUMBER:RUN:STATE`, `release:REQUEST:RELEASE-FILE`.
//! Prints what the gateway says, a line a message, until it is killed.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use api::internal::gateway_enclave_service_client::GatewayEnclaveServiceClient;
use api::internal::{LinkRequest, Ready, ReleaseReady, link_request, link_response::Message};
use api::{Answer, MESSAGE_LIMIT, Transition, v1};
use blobs::Digest;
use hyper_util::rt::TokioIo;
use lifecycle::State;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    daemon::die_with_parent()?;
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().ok_or("no socket")?;
    let mut client = GatewayEnclaveServiceClient::new(connect(socket).await?)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let (outgoing, receiver) = mpsc::channel(64);
    outgoing.send(LinkRequest { message: Some(link_request::Message::Ready(Ready {})) }).await?;
    let mut incoming = client.link(ReceiverStream::new(receiver)).await?.into_inner();
    let mut step = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    for word in arguments {
        step += 1;
        let message = message(&word, step).map_err(|error| format!("{word}: {error}"))?;
        outgoing.send(LinkRequest { message: Some(message) }).await?;
    }
    while let Some(heard) = incoming.message().await? {
        match heard.message {
            Some(Message::Submit(_)) => println!("submit"),
            Some(Message::TransitionTaken(taken)) => {
                println!(
                    "transition-taken {} {}",
                    api::digest("request", &taken.request_sha256)?,
                    taken.number
                );
            }
            Some(Message::ReleaseTaken(taken)) => {
                println!("release-taken {}", api::digest("release_file", &taken.release_file_sha256)?);
            }
            Some(Message::Cancel(cancel)) => {
                println!("cancel {}", api::digest("request", &cancel.request_sha256)?);
            }
            None => println!("nothing"),
        }
    }
    Ok(())
}

async fn connect(socket: String) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(&socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://room.invalid").connect_with_connector(connector).await
}

fn message(word: &str, grid_step: u64) -> Result<link_request::Message, Box<dyn Error>> {
    let parts: Vec<&str> = word.split(':').collect();
    Ok(match parts[..] {
        ["answer", request] => {
            link_request::Message::SubmitAnswer(Answer { request: request.parse()?, refused: None }.into())
        }
        ["transition", request, number, run, state] => {
            let transition = Transition {
                request: request.parse()?,
                number: number.parse()?,
                run: run.parse()?,
                state: State::ALL.into_iter().find(|known| known.word() == state).ok_or("no such state")?,
                reason: v1::Reason::Unspecified,
                rule: None,
                output: None,
                grid_step,
                denial_reasons: vec![],
            };
            link_request::Message::Transition(transition.into())
        }
        ["release", request, release_file] => link_request::Message::Release(ReleaseReady {
            request_sha256: wire(&request.parse()?),
            release_file_sha256: wire(&release_file.parse()?),
        }),
        _ => return Err("no such word".into()),
    })
}

fn wire(digest: &Digest) -> tonic::codegen::Bytes {
    digest.as_bytes().to_vec().into()
}
