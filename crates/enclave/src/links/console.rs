//! The stream to the console: signed verdicts and reviews of code go out; approvals of code, and releases and denials
//! that are in the log, come in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use api::internal::console_enclave_service_client::ConsoleEnclaveServiceClient;
use api::internal::{
    CodeReviewClosed, CodeReviewEnd, CodeReviewReady, ExchangeReady, ExchangeRequest, ExchangeResponse,
    OutcomeTaken, VerdictReady, VerdictWithdrawn, exchange_request, exchange_response,
};
use blobs::Digest;
use release::file::RELEASE_FILE_LIMIT;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::pending::Pending;
use super::{AGAIN, Link, LinkError, QUEUE, blocking, connect};
use crate::cancel;
use crate::code_review;
use crate::outbox::{self, OutcomeError, Taken};
use crate::room::Room;
use crate::store::{StoreError, code_reviews, jobs, verdicts};
use crate::sweep;

/// A release or denial file, and what stands around it.
const MESSAGE_BYTES: usize = RELEASE_FILE_LIMIT + 4096;

/// The stream to the console.
pub struct Console {
    /// The room.
    pub room: Arc<Room>,
    /// The console's socket.
    pub socket: PathBuf,
    /// The user who must be at its other end.
    pub user: u32,
}

impl Link for Console {
    const PEER: &'static str = "console";

    async fn hold(&self, opened: impl FnOnce() + Send) -> LinkError {
        match self.exchange(opened).await {
            Ok(()) => LinkError::Stopping,
            Err(error) => error,
        }
    }
}

type Outgoing = mpsc::Sender<ExchangeRequest>;

impl Console {
    async fn exchange(&self, opened: impl FnOnce() + Send) -> Result<(), LinkError> {
        let channel = connect(&self.socket, self.user).await?;
        let mut client = ConsoleEnclaveServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let (outgoing, receiver) = mpsc::channel(QUEUE);
        send(&outgoing, exchange_request::Message::Ready(ExchangeReady {})).await?;
        let mut incoming = client.exchange(ReceiverStream::new(receiver)).await?.into_inner();
        opened();
        let mut changes = self.room.store.changes();
        let (mut sent, mut withdrawn) = (Pending::new(AGAIN), Pending::new(AGAIN));
        let mut code = Code { open: Pending::new(AGAIN), over: Pending::new(AGAIN) };
        loop {
            self.send_open(&outgoing, &mut sent).await?;
            self.send_withdrawn(&outgoing, &mut withdrawn).await?;
            self.send_code_reviews(&outgoing, &mut code).await?;
            tokio::select! {
                message = incoming.message() => {
                    let message = message?.ok_or(LinkError::Closed)?;
                    self.handle(&outgoing, message).await?;
                }
                changed = changes.changed() => changed.map_err(|_| LinkError::Stopping)?,
                () = tokio::time::sleep(AGAIN) => {}
                () = self.room.stopping() => return Ok(()),
            }
        }
    }

    async fn send_open(&self, outgoing: &Outgoing, sent: &mut Pending<Digest>) -> Result<(), LinkError> {
        let store = self.room.store.clone();
        let open = blocking(move || {
            store.read(|connection| {
                let mut open = Vec::new();
                for verdict in verdicts::not_taken(connection)? {
                    let job = jobs::find(connection, &verdict.request)?;
                    let job = job.ok_or(StoreError::Foreign("request"))?;
                    open.push((verdict, job.envelope));
                }
                Ok(open)
            })
        });
        for (verdict, request) in sent.due(open.await??, |(verdict, _)| verdict.verdict, Instant::now()) {
            let ready = VerdictReady { verdict: verdict.envelope.into(), request: request.into() };
            send(outgoing, exchange_request::Message::Verdict(ready)).await?;
        }
        Ok(())
    }

    /// A decision that is on its way to the log is not waited for: the console answers once it knows, or the outcome
    /// itself comes.
    async fn send_withdrawn(&self, outgoing: &Outgoing, sent: &mut Pending<Digest>) -> Result<(), LinkError> {
        let store = self.room.store.clone();
        let open = blocking(move || store.read(verdicts::to_withdraw)).await??;
        for verdict in sent.due(open, |verdict| *verdict, Instant::now()) {
            let withdrawn = VerdictWithdrawn { verdict_sha256: verdict.as_bytes().to_vec().into() };
            send(outgoing, exchange_request::Message::Withdrawn(withdrawn)).await?;
        }
        Ok(())
    }

    async fn send_code_reviews(&self, outgoing: &Outgoing, sent: &mut Code) -> Result<(), LinkError> {
        let store = self.room.store.clone();
        let read = move || {
            store.read(|connection| {
                Ok((code_reviews::not_taken(connection)?, code_reviews::to_close(connection)?))
            })
        };
        let (open, over) = blocking(read).await??;
        for review in sent.open.due(open, |review| review.request, Instant::now()) {
            let packet_sha256 = review.packet.as_bytes().to_vec().into();
            let ready = CodeReviewReady { request: review.envelope.into(), packet_sha256 };
            send(outgoing, exchange_request::Message::CodeReview(ready)).await?;
        }
        for review in sent.over.due(over, |review| review.request, Instant::now()) {
            let end = if review.approved { CodeReviewEnd::Approved } else { CodeReviewEnd::Ended };
            send_closed(outgoing, review.request, end).await?;
        }
        Ok(())
    }

    async fn handle(&self, outgoing: &Outgoing, message: ExchangeResponse) -> Result<(), LinkError> {
        let outcome = match message.message {
            Some(exchange_response::Message::VerdictTaken(taken)) => {
                let Ok(verdict) = api::digest("verdict_sha256", &taken.verdict_sha256) else { return Ok(()) };
                let room = self.room.clone();
                return blocking(move || {
                    room.store.change(move |transaction| verdicts::take(transaction, &verdict))?;
                    sweep::sweep_and_tell(&room);
                    Ok(())
                })
                .await?;
            }
            Some(exchange_response::Message::WithdrawalTaken(taken)) => {
                let Ok(verdict) = api::digest("verdict_sha256", &taken.verdict_sha256) else { return Ok(()) };
                let room = self.room.clone();
                return Ok(blocking(move || cancel::withdrawn(&room, verdict)).await??);
            }
            Some(exchange_response::Message::ReleaseFile(bytes)) => {
                let room = self.room.clone();
                ("release", blocking(move || outbox::take_release(&room, &bytes)).await?)
            }
            Some(exchange_response::Message::DenialFile(bytes)) => {
                let room = self.room.clone();
                ("denial", blocking(move || outbox::take_denial(&room, &bytes)).await?)
            }
            Some(exchange_response::Message::CodeReviewTaken(taken)) => {
                let Ok(request) = api::digest("request_sha256", &taken.request_sha256) else { return Ok(()) };
                let room = self.room.clone();
                return blocking(move || {
                    room.store.change(move |transaction| code_reviews::take(transaction, &request))?;
                    sweep::sweep_and_tell(&room);
                    Ok(())
                })
                .await?;
            }
            Some(exchange_response::Message::CodeReviewCloseTaken(taken)) => {
                let Ok(request) = api::digest("request_sha256", &taken.request_sha256) else { return Ok(()) };
                let store = self.room.store.clone();
                let close =
                    move || store.change(move |transaction| code_reviews::close(transaction, &request));
                return Ok(blocking(close).await??);
            }
            // What came of them is told as the end of the review, once that is durable.
            Some(exchange_response::Message::CodeApprovals(approvals)) => {
                let room = self.room.clone();
                let taken = blocking(move || code_review::take_approvals(&room, &approvals)).await?;
                return self.tell("code approvals", taken);
            }
            Some(exchange_response::Message::CodeDenialFile(bytes)) => {
                let room = self.room.clone();
                return match blocking(move || code_review::take_denial(&room, &bytes)).await? {
                    Ok(Some(request)) => send_closed(outgoing, request, CodeReviewEnd::Ended).await,
                    // Its release is being taken: the console asks again.
                    Ok(None) => Ok(()),
                    Err(error) => self.tell("code denial", Err(error)),
                };
            }
            None => return Ok(()),
        };
        self.acknowledge(outgoing, outcome.0, outcome.1).await
    }

    async fn acknowledge(
        &self,
        outgoing: &Outgoing,
        kind: &'static str,
        outcome: Result<(Digest, Taken), OutcomeError>,
    ) -> Result<(), LinkError> {
        let journal = &self.room.journal;
        match outcome {
            Ok((verdict, taken)) => {
                if taken == Taken::Ended {
                    let event = journal.info("outcome taken").digest("verdict", verdict.as_bytes());
                    event.word("outcome", kind).write();
                }
                let verdict_sha256 = verdict.as_bytes().to_vec().into();
                send(outgoing, exchange_request::Message::OutcomeTaken(OutcomeTaken { verdict_sha256 })).await
            }
            Err(error) => self.tell(kind, Err(error)),
        }
    }

    /// Nothing is acknowledged of what is not taken; the console sends it again, and it is refused again.
    fn tell(&self, kind: &'static str, outcome: Result<(), OutcomeError>) -> Result<(), LinkError> {
        let journal = &self.room.journal;
        match outcome {
            Ok(()) => Ok(()),
            Err(OutcomeError::Refused(refusal)) => {
                let event = journal.warning("outcome refused").word("outcome", kind);
                event.word("refusal", refusal.name()).write();
                Ok(())
            }
            Err(OutcomeError::NotOurs | OutcomeError::NoSite) => {
                journal.warning("outcome not taken").word("outcome", kind).write();
                Ok(())
            }
            Err(OutcomeError::Room(error)) => Err(error.into()),
        }
    }
}

/// What was sent of reviews of code.
struct Code {
    open: Pending<Digest>,
    over: Pending<Digest>,
}

async fn send_closed(outgoing: &Outgoing, request: Digest, end: CodeReviewEnd) -> Result<(), LinkError> {
    let request_sha256 = request.as_bytes().to_vec().into();
    let closed = CodeReviewClosed { request_sha256, end: end.into() };
    send(outgoing, exchange_request::Message::CodeReviewClosed(closed)).await
}

async fn send(outgoing: &Outgoing, message: exchange_request::Message) -> Result<(), LinkError> {
    outgoing.send(ExchangeRequest { message: Some(message) }).await.map_err(|_| LinkError::Closed)
}
