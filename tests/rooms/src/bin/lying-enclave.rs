//! An enclave that was taken over: it opens the real room's socket and says what it likes, in the order of the words.
//!
//! `lying-enclave gateway SOCKET WORD…`: `ready`, `answer:REQUEST[:REASON]`,
//! `transition:REQUEST:NUMBER:RUN:STATE[:STEP]`, `release:REQUEST:RELEASE-FILE`,
//! `cancel-taken:REQUEST`, and for a move to RUNNING with numbers of one's own choice
//! `failure:REQUEST:CLASS:FILE:LINE`, `used:REQUEST:MEMORY:OUTPUT`. A step is counted from now on the grid of
//! one second; without one each is a step later than the one before.
//!
//! `lying-enclave console SOCKET WORD…`: `ready`, `verdict:VERDICT-FILE:REQUEST-FILE`, `taken:VERDICT`,
//! `withdrawn:VERDICT`, `code-review:REQUEST-FILE:PACKET`, `code-closed:REQUEST:END`.
//!
//! Prints what it hears, a line a message, until it is killed.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use api::internal::console_enclave_service_client::ConsoleEnclaveServiceClient;
use api::internal::gateway_enclave_service_client::GatewayEnclaveServiceClient;
use api::internal::{
    CancelTaken, CodeReviewClosed, CodeReviewEnd, CodeReviewReady, ExchangeReady, ExchangeRequest, Failure,
    LinkRequest, OutcomeTaken, Ready, ReleaseReady, Use, VerdictReady, VerdictWithdrawn, exchange_request,
    exchange_response, link_request, link_response,
};
use api::{Admission, Answer, MESSAGE_LIMIT, Transition, v1};
use blobs::Digest;
use hyper_util::rt::TokioIo;
use lifecycle::State;
use release::file::RELEASE_FILE_LIMIT;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

type Broken = Box<dyn Error>;

#[tokio::main]
async fn main() -> Result<(), Broken> {
    daemon::die_with_parent()?;
    let mut arguments = std::env::args().skip(1);
    let to = arguments.next().ok_or("to whom?")?;
    let channel = connect(arguments.next().ok_or("no socket")?).await?;
    match to.as_str() {
        "gateway" => to_gateway(channel, arguments).await,
        "console" => to_console(channel, arguments).await,
        _ => Err("gateway or console?".into()),
    }
}

async fn connect(socket: String) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(&socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://room.invalid").connect_with_connector(connector).await
}

async fn to_gateway(channel: Channel, words: impl Iterator<Item = String>) -> Result<(), Broken> {
    let mut client = GatewayEnclaveServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let (outgoing, receiver) = mpsc::channel(64);
    outgoing.send(LinkRequest { message: Some(link_request::Message::Ready(Ready {})) }).await?;
    let mut incoming = client.link(ReceiverStream::new(receiver)).await?.into_inner();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    for (index, word) in words.enumerate() {
        let message =
            gateway_message(&word, now, index as u64 + 1).map_err(|error| format!("{word}: {error}"))?;
        outgoing.send(LinkRequest { message: Some(message) }).await?;
    }
    while let Some(heard) = incoming.message().await? {
        match heard.message {
            Some(link_response::Message::Submit(_)) => println!("submit"),
            Some(link_response::Message::TransitionTaken(taken)) => {
                println!(
                    "transition-taken {} {}",
                    api::digest("request", &taken.request_sha256)?,
                    taken.number
                );
            }
            Some(link_response::Message::ReleaseTaken(taken)) => {
                println!("release-taken {}", api::digest("release_file", &taken.release_file_sha256)?);
            }
            Some(link_response::Message::Cancel(cancel)) => {
                println!("cancel {}", api::digest("request", &cancel.request_sha256)?);
            }
            None => println!("nothing"),
        }
    }
    Ok(())
}

fn gateway_message(word: &str, now: u64, later: u64) -> Result<link_request::Message, Broken> {
    let parts: Vec<&str> = word.split(':').collect();
    Ok(match parts[..] {
        ["ready"] => link_request::Message::Ready(Ready {}),
        ["answer", request] => answer(request, None)?,
        ["answer", request, reason] => {
            let reason = v1::Reason::from_str_name(reason).ok_or("no such reason")?;
            answer(request, Some(reason))?
        }
        ["transition", request, number, run, state] => {
            transition([request, number, run, state], now + later)?
        }
        ["transition", request, number, run, state, step] => {
            let step: i64 = step.parse()?;
            transition([request, number, run, state], now.saturating_add_signed(step))?
        }
        ["failure", request, class, file, line] => {
            let link_request::Message::Transition(mut lie) =
                transition([request, "1", "1", "RUNNING"], now + later)?
            else {
                return Err("no transition".into());
            };
            let (class, file, line) = (class.parse()?, file.parse()?, line.parse()?);
            lie.failure = Some(Failure { class, file, line });
            link_request::Message::Transition(lie)
        }
        ["used", request, memory, output] => {
            let link_request::Message::Transition(mut lie) =
                transition([request, "1", "1", "RUNNING"], now + later)?
            else {
                return Err("no transition".into());
            };
            lie.used = Some(Use { memory: memory.parse()?, output: output.parse()? });
            link_request::Message::Transition(lie)
        }
        ["release", request, release_file] => link_request::Message::Release(ReleaseReady {
            request_sha256: wire(&request.parse()?),
            release_file_sha256: wire(&release_file.parse()?),
        }),
        ["cancel-taken", request] => {
            link_request::Message::CancelTaken(CancelTaken { request_sha256: wire(&request.parse()?) })
        }
        _ => return Err("no such word".into()),
    })
}

fn answer(request: &str, refused: Option<v1::Reason>) -> Result<link_request::Message, Broken> {
    let admission = refused.map_or(Admission::Queued, Admission::Refused);
    Ok(link_request::Message::SubmitAnswer(Answer { request: request.parse()?, admission }.into()))
}

fn transition(
    [request, number, run, state]: [&str; 4],
    grid_step: u64,
) -> Result<link_request::Message, Broken> {
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
        failure: None,
        used: api::Use::default(),
    };
    Ok(link_request::Message::Transition(transition.into()))
}

async fn to_console(channel: Channel, words: impl Iterator<Item = String>) -> Result<(), Broken> {
    let mut client = ConsoleEnclaveServiceClient::new(channel)
        .max_decoding_message_size(RELEASE_FILE_LIMIT + MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let (outgoing, receiver) = mpsc::channel(64);
    let ready = exchange_request::Message::Ready(ExchangeReady {});
    outgoing.send(ExchangeRequest { message: Some(ready) }).await?;
    let mut incoming = client.exchange(ReceiverStream::new(receiver)).await?.into_inner();
    for word in words {
        let message = console_message(&word).map_err(|error| format!("{word}: {error}"))?;
        outgoing.send(ExchangeRequest { message: Some(message) }).await?;
    }
    while let Some(heard) = incoming.message().await? {
        match heard.message {
            Some(exchange_response::Message::VerdictTaken(taken)) => {
                println!("verdict-taken {}", api::digest("verdict", &taken.verdict_sha256)?);
            }
            Some(exchange_response::Message::ReleaseFile(file)) => {
                println!("release-file {}", Digest::of(&file))
            }
            Some(exchange_response::Message::DenialFile(file)) => {
                println!("denial-file {}", Digest::of(&file))
            }
            Some(exchange_response::Message::WithdrawalTaken(taken)) => {
                println!("withdrawal-taken {}", api::digest("verdict", &taken.verdict_sha256)?);
            }
            Some(exchange_response::Message::CodeReviewTaken(taken)) => {
                println!("code-taken {}", api::digest("request", &taken.request_sha256)?);
            }
            Some(exchange_response::Message::CodeReviewCloseTaken(taken)) => {
                println!("code-close-taken {}", api::digest("request", &taken.request_sha256)?);
            }
            Some(exchange_response::Message::CodeApprovals(approvals)) => println!(
                "code-approvals {} {}",
                api::digest("request", &approvals.request_sha256)?,
                approvals.approvals.len()
            ),
            Some(exchange_response::Message::CodeDenialFile(file)) => {
                println!("code-denial-file {}", Digest::of(&file))
            }
            None => println!("nothing"),
        }
    }
    Ok(())
}

fn console_message(word: &str) -> Result<exchange_request::Message, Broken> {
    let parts: Vec<&str> = word.split(':').collect();
    Ok(match parts[..] {
        ["ready"] => exchange_request::Message::Ready(ExchangeReady {}),
        ["verdict", verdict, request] => exchange_request::Message::Verdict(VerdictReady {
            verdict: std::fs::read(verdict)?.into(),
            request: std::fs::read(request)?.into(),
        }),
        ["code-review", request, packet] => exchange_request::Message::CodeReview(CodeReviewReady {
            request: std::fs::read(request)?.into(),
            packet_sha256: wire(&packet.parse()?),
        }),
        ["code-closed", request, end] => exchange_request::Message::CodeReviewClosed(CodeReviewClosed {
            request_sha256: wire(&request.parse()?),
            end: CodeReviewEnd::from_str_name(end).ok_or("no such end")?.into(),
        }),
        ["withdrawn", verdict] => {
            exchange_request::Message::Withdrawn(VerdictWithdrawn { verdict_sha256: wire(&verdict.parse()?) })
        }
        ["taken", verdict] => {
            exchange_request::Message::OutcomeTaken(OutcomeTaken { verdict_sha256: wire(&verdict.parse()?) })
        }
        _ => return Err("no such word".into()),
    })
}

fn wire(digest: &Digest) -> tonic::codegen::Bytes {
    digest.as_bytes().to_vec().into()
}
