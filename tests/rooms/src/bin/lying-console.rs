//! A console that was taken over.
//!
//! `lying-console signer SOCKET FILE…` puts messages of its choice to the signer, one a file, and prints a line for each
//! answer: `appended SIZE`, `finished`, or the name of the refusal.
//!
//! `lying-console enclave SOCKET FILE…` listens where the enclave looks for the console, and hands it these release
//! files. It prints `outcome-taken VERDICT` for each that the enclave acknowledges, until it is killed.

use std::error::Error;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use api::internal::console_enclave_service_server::{ConsoleEnclaveService, ConsoleEnclaveServiceServer};
use api::internal::{ExchangeRequest, ExchangeResponse, exchange_request, exchange_response};
use release::file::RELEASE_FILE_LIMIT;
use release::json;
use release::log::socket::{self, Answer, MESSAGE_LIMIT, Message};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

fn main() -> Result<(), Box<dyn Error>> {
    daemon::die_with_parent()?;
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let to = arguments.next().ok_or("to whom?")?;
    let socket = arguments.next().ok_or("no socket")?;
    let files = arguments.map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    match to.to_str() {
        Some("signer") => ask_signer(&socket, &files),
        Some("enclave") => tokio::runtime::Runtime::new()?.block_on(listen(&socket, files)),
        _ => Err("signer or enclave?".into()),
    }
}

fn ask_signer(socket: &Path, messages: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    for message in messages {
        let message: Message = json::from_bytes(message, MESSAGE_LIMIT)?;
        match socket::ask(&mut UnixStream::connect(socket)?, &message)? {
            Answer::Appended(appended) => println!("appended {}", appended.size.0),
            Answer::Finished(_) => println!("finished"),
            Answer::Refused(refusal) => println!("{}", refusal.name()),
        }
    }
    Ok(())
}

async fn listen(socket: &Path, releases: Vec<Vec<u8>>) -> Result<(), Box<dyn Error>> {
    let listener = daemon::listen(socket, 0o660)?;
    listener.set_nonblocking(true)?;
    let service = ConsoleEnclaveServiceServer::new(Liar(releases))
        .max_decoding_message_size(RELEASE_FILE_LIMIT)
        .max_encoding_message_size(RELEASE_FILE_LIMIT);
    let incoming = UnixListenerStream::new(UnixListener::from_std(listener)?);
    Ok(Server::builder().add_service(service).serve_with_incoming(incoming).await?)
}

struct Liar(Vec<Vec<u8>>);

#[tonic::async_trait]
impl ConsoleEnclaveService for Liar {
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
    releases: Vec<Vec<u8>>,
    mut incoming: Streaming<ExchangeRequest>,
    outgoing: mpsc::Sender<Result<ExchangeResponse, Status>>,
) -> Option<()> {
    for release in releases {
        let message = Some(exchange_response::Message::ReleaseFile(release.into()));
        outgoing.send(Ok(ExchangeResponse { message })).await.ok()?;
    }
    while let Ok(Some(heard)) = incoming.message().await {
        if let Some(exchange_request::Message::OutcomeTaken(taken)) = heard.message {
            println!("outcome-taken {}", api::digest("verdict", &taken.verdict_sha256).ok()?);
        }
    }
    Some(())
}
