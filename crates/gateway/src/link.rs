//! The enclave's stream: submits go in; answers, moves and releases come out. The enclave opens it; the gateway
//! never opens anything towards the enclave.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use api::internal::gateway_enclave_service_server::{GatewayEnclaveService, GatewayEnclaveServiceServer};
use api::internal::{
    LinkRequest, LinkResponse, ReleaseReady, ReleaseTaken, Submit, TransitionTaken, link_request,
    link_response,
};
use api::{Answer, MESSAGE_LIMIT, Transition, WireError};
use server::Refused;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::outbox::{self, NotServed};
use crate::room::{Room, blocking, now};
use crate::store::events::{self, NotTaken};
use crate::store::jobs;

/// How often what the enclave has not answered is sent again.
const AGAIN: Duration = Duration::from_secs(30);

/// Waiting messages to the enclave.
const QUEUE: usize = 32;

/// The service on the enclave's socket.
pub fn routes(room: &Arc<Room>) -> Routes {
    let link = Link { room: room.clone(), only: Arc::default() };
    let service = GatewayEnclaveServiceServer::new(link)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    Routes::new(service)
}

struct Link {
    room: Arc<Room>,
    /// Held by the one stream that lives: two could answer for the same job.
    only: Arc<Mutex<()>>,
}

type Outgoing = mpsc::Sender<Result<LinkResponse, Status>>;

#[tonic::async_trait]
impl GatewayEnclaveService for Link {
    type LinkStream = ReceiverStream<Result<LinkResponse, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<LinkRequest>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let alone = self.only.clone().try_lock_owned().map_err(|_| Refused::NotReady)?;
        let (outgoing, receiver) = mpsc::channel(QUEUE);
        let live =
            Live { room: self.room.clone(), outgoing, sent: Vec::new(), is_ready: false, _alone: alone };
        tokio::spawn(live.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// What a message of the enclave led to that is no answer.
#[derive(Debug, thiserror::Error)]
enum Passed {
    #[error("a message that does not have its form")]
    Form(#[from] WireError),
    #[error("{0}")]
    Report(#[from] NotTaken),
    #[error("{0}")]
    Release(#[from] NotServed),
}

struct Live {
    room: Arc<Room>,
    outgoing: Outgoing,
    /// Requests sent on this stream since the last time that everything was sent.
    sent: Vec<blobs::Digest>,
    is_ready: bool,
    _alone: OwnedMutexGuard<()>,
}

impl Live {
    async fn run(mut self, mut incoming: Streaming<LinkRequest>) {
        self.room.journal.info("the enclave opened its stream").write();
        let mut again = tokio::time::interval_at(tokio::time::Instant::now() + AGAIN, AGAIN);
        loop {
            let room = self.room.clone();
            let step = tokio::select! {
                message = incoming.message() => match message {
                    Ok(Some(message)) => self.handle(message).await,
                    Ok(None) | Err(_) => break,
                },
                () = room.submits.notified() => self.submit().await,
                _ = again.tick() => {
                    self.sent.clear();
                    self.submit().await
                }
                () = self.outgoing.closed() => break,
            };
            if step.is_none() {
                break;
            }
        }
        self.room.journal.warning("the enclave's stream has ended").write();
    }

    /// None once the stream is gone.
    async fn handle(&mut self, message: LinkRequest) -> Option<()> {
        let answered = match message.message {
            Some(link_request::Message::Ready(_)) => {
                self.is_ready = true;
                self.sent.clear();
                return self.submit().await;
            }
            Some(link_request::Message::SubmitAnswer(answer)) => self.answer(answer).await.map(|()| None),
            Some(link_request::Message::Transition(report)) => self.report(report).await.map(Some),
            Some(link_request::Message::Release(ready)) => self.release(&ready).await.map(Some),
            Some(link_request::Message::CancelTaken(_)) | None => Err(WireError::new("message").into()),
        };
        match answered {
            Ok(Some(message)) => self.send(message).await,
            Ok(None) => Some(()),
            Err(passed) => {
                // Without an acknowledgement the enclave sends it again; nothing else is changed.
                self.room
                    .journal
                    .warning("a message of the enclave was passed over")
                    .own_error(&passed)
                    .write();
                Some(())
            }
        }
    }

    async fn answer(&self, answer: api::internal::SubmitAnswer) -> Result<(), Passed> {
        let answer = Answer::try_from(answer)?;
        let (room, job) = (&self.room, answer.request);
        room.store.change(move |transaction| events::take_answer(transaction, &answer, now())).await?;
        room.tell(job);
        let handed_over = room
            .store
            .read(move |connection| {
                let Some(bundle) = jobs::bundle(connection, &job)? else { return Ok(None) };
                Ok((!jobs::is_awaited(connection, &bundle)?).then_some(bundle))
            })
            .await
            .map_err(NotTaken::from)?;
        // The enclave holds its own copy now. What stays behind for want of a disk is swept later.
        if let Some(bundle) = handed_over {
            let room = room.clone();
            let _ = blocking(move || room.to_enclave.remove(bundle)).await;
        }
        Ok(())
    }

    async fn report(&self, report: api::internal::JobTransition) -> Result<link_response::Message, Passed> {
        let report = Transition::try_from(report)?;
        let (job, number) = (report.request, report.number);
        self.room
            .store
            .change(move |transaction| events::take_transition(transaction, &report, now()))
            .await?;
        self.room.tell(job);
        Ok(link_response::Message::TransitionTaken(TransitionTaken { request_sha256: wire(&job), number }))
    }

    async fn release(&self, ready: &ReleaseReady) -> Result<link_response::Message, Passed> {
        let job = api::digest("request_sha256", &ready.request_sha256)?;
        let release_file = api::digest("release_file_sha256", &ready.release_file_sha256)?;
        outbox::take(&self.room, job, release_file).await?;
        Ok(link_response::Message::ReleaseTaken(ReleaseTaken { release_file_sha256: wire(&release_file) }))
    }

    /// Sends what the enclave has not answered and was not sent on this stream yet.
    async fn submit(&mut self) -> Option<()> {
        if !self.is_ready {
            return Some(());
        }
        let waiting = match self.room.store.read(jobs::unanswered).await {
            Ok(waiting) => waiting,
            Err(error) => {
                self.tell_failure(&error);
                return Some(());
            }
        };
        for submit in waiting {
            if self.sent.contains(&submit.request) {
                continue;
            }
            let request = submit.request;
            if let Err(error) = self.hand_over(submit.bundle).await {
                self.tell_failure(&error);
                continue;
            }
            let message = Submit {
                request: submit.envelope.into(),
                purpose: submit.purpose,
                purpose_salt: submit.purpose_salt.into(),
            };
            self.send(link_response::Message::Submit(message)).await?;
            self.sent.push(request);
        }
        Some(())
    }

    /// The bundle must lie there before the message that names it.
    async fn hand_over(&self, bundle: blobs::Digest) -> Result<(), HandOverError> {
        let room = self.room.clone();
        let copied = blocking(move || {
            if room.to_enclave.contains(bundle) {
                return Ok(());
            }
            let whole: File = room.spool.bundles().open_blob(bundle)?;
            room.to_enclave.copy_in(whole, Some(bundle), room.configuration.bundle_bytes_limit).map(drop)
        });
        Ok(copied.await.map_err(|_| HandOverError::Ended)??)
    }

    fn tell_failure(&self, error: &impl std::fmt::Display) {
        self.room.journal.error("a job could not be handed over").own_error(error).write();
    }

    async fn send(&self, message: link_response::Message) -> Option<()> {
        self.outgoing.send(Ok(LinkResponse { message: Some(message) })).await.ok()
    }
}

#[derive(Debug, thiserror::Error)]
enum HandOverError {
    #[error("the bundle could not be copied")]
    Bundle(#[from] blobs::StoreError),
    #[error("the gateway is ending")]
    Ended,
}

fn wire(digest: &blobs::Digest) -> tonic::codegen::Bytes {
    digest.as_bytes().to_vec().into()
}
