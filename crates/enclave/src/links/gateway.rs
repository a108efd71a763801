//! The stream to the gateway: jobs come in; answers, reports on the time grid, and logged releases go out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::internal::gateway_enclave_service_client::GatewayEnclaveServiceClient;
use api::internal::{
    Cancel, CancelTaken, LinkRequest, LinkResponse, Ready, ReleaseReady, Submit, SubmitAnswer, link_request,
    link_response,
};
use api::{Admission, Answer, MESSAGE_LIMIT};
use blobs::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::pending::Pending;
use super::{AGAIN, Link, LinkError, QUEUE, blocking, connect};
use crate::admission::{self, HandedOver, SubmitError};
use crate::cancel::{self, Taken};
use crate::outbox;
use crate::room::Room;
use crate::store::{releases, reports};

/// The stream to the gateway.
pub struct Gateway {
    /// The room.
    pub room: Arc<Room>,
    /// The gateway's socket.
    pub socket: PathBuf,
    /// The user who must be at its other end.
    pub user: u32,
}

impl Link for Gateway {
    const PEER: &'static str = "gateway";

    async fn hold(&self, opened: impl FnOnce() + Send) -> LinkError {
        match self.exchange(opened).await {
            Ok(()) => LinkError::Stopping,
            Err(error) => error,
        }
    }
}

type Outgoing = mpsc::Sender<LinkRequest>;

impl Gateway {
    async fn exchange(&self, opened: impl FnOnce() + Send) -> Result<(), LinkError> {
        let channel = connect(&self.socket, self.user).await?;
        let mut client = GatewayEnclaveServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let (outgoing, receiver) = mpsc::channel(QUEUE);
        send(&outgoing, link_request::Message::Ready(Ready {})).await?;
        let mut incoming = client.link(ReceiverStream::new(receiver)).await?.into_inner();
        opened();
        let mut changes = self.room.store.changes();
        let mut sent = Sent { reports: Pending::new(AGAIN), releases: Pending::new(AGAIN) };
        loop {
            let wait = self.send_open(&outgoing, &mut sent).await?;
            tokio::select! {
                message = incoming.message() => {
                    let message = message?.ok_or(LinkError::Closed)?;
                    self.handle(&outgoing, message).await?;
                }
                changed = changes.changed() => changed.map_err(|_| LinkError::Stopping)?,
                () = tokio::time::sleep(wait) => {}
                () = self.room.stopping() => return Ok(()),
            }
        }
    }

    /// Sends reports that fell due and releases in the outbox. Returns how long nothing more is to be sent.
    async fn send_open(&self, outgoing: &Outgoing, sent: &mut Sent) -> Result<Duration, LinkError> {
        let (store, now) = (self.room.store.clone(), self.room.now());
        let read = blocking(move || {
            store.read(move |connection| {
                let due = reports::due(connection, now)?;
                Ok((due, reports::next_due(connection, now)?, releases::not_taken(connection)?))
            })
        });
        let (due, next, open) = read.await??;
        let moment = Instant::now();
        for release in sent.releases.due(open, |release| release.release_file, moment) {
            let ready = ReleaseReady {
                request_sha256: release.request.as_bytes().to_vec().into(),
                release_file_sha256: release.release_file.as_bytes().to_vec().into(),
            };
            send(outgoing, link_request::Message::Release(ready)).await?;
        }
        for report in sent.reports.due(due, |report| (report.request, report.number), moment) {
            send(outgoing, link_request::Message::Transition(report.into())).await?;
        }
        let seconds = next.map_or(i64::MAX, |next| next.seconds() - now.seconds());
        Ok(until_second_after(seconds).min(AGAIN))
    }

    async fn handle(&self, outgoing: &Outgoing, message: LinkResponse) -> Result<(), LinkError> {
        match message.message {
            Some(link_response::Message::Submit(submit)) => match self.submit(submit).await? {
                Some(answer) => send(outgoing, link_request::Message::SubmitAnswer(answer)).await,
                None => Ok(()),
            },
            Some(link_response::Message::TransitionTaken(taken)) => {
                let Ok(request) = api::digest("request_sha256", &taken.request_sha256) else { return Ok(()) };
                let store = self.room.store.clone();
                let take = move || {
                    store.change(move |transaction| reports::take(transaction, &request, taken.number))
                };
                Ok(blocking(take).await??)
            }
            Some(link_response::Message::ReleaseTaken(taken)) => {
                let Ok(release) = api::digest("release_file_sha256", &taken.release_file_sha256) else {
                    return Ok(());
                };
                let room = self.room.clone();
                Ok(blocking(move || outbox::release_taken(&room, release)).await??)
            }
            Some(link_response::Message::Cancel(cancel)) => self.cancel(outgoing, cancel).await,
            None => Ok(()),
        }
    }

    /// The answer is the same whatever became of the cancel: else it would tell whether a run has ended. One that cannot be
    /// judged now is not answered, and comes again: acknowledged, it would be lost.
    async fn cancel(&self, outgoing: &Outgoing, cancel: Cancel) -> Result<(), LinkError> {
        let Ok(request) = api::digest("request_sha256", &cancel.request_sha256) else { return Ok(()) };
        let room = self.room.clone();
        let taken = blocking(move || cancel::take(&room, &cancel.cancel)).await??;
        let event = self.room.journal.info("cancel taken").digest("job", request.as_bytes());
        match taken {
            Taken::Heard => event.write(),
            Taken::Refused(refusal) => event.word("refused", refusal.name()).write(),
            Taken::Later => {
                event.word("refused", "not now").write();
                return Ok(());
            }
        }
        let request_sha256 = request.as_bytes().to_vec().into();
        send(outgoing, link_request::Message::CancelTaken(CancelTaken { request_sha256 })).await
    }

    async fn submit(&self, submit: Submit) -> Result<Option<SubmitAnswer>, LinkError> {
        let room = self.room.clone();
        let handed = HandedOver {
            request: submit.request.to_vec(),
            purpose: submit.purpose,
            purpose_salt: submit.purpose_salt.to_vec(),
        };
        match blocking(move || admission::submit(&room, handed)).await? {
            Ok((request, admission)) => {
                self.tell(request, admission);
                Ok(Some(Answer { request, admission }.into()))
            }
            Err(SubmitError::NoRequest) => {
                self.room.journal.warning("what was handed over is no request").write();
                Ok(None)
            }
            Err(SubmitError::Room(error)) => Err(error.into()),
        }
    }

    fn tell(&self, request: Digest, admission: Admission) {
        use api::reason::Word;
        let journal = &self.room.journal;
        match admission {
            Admission::Queued => journal.info("job queued").digest("job", request.as_bytes()).write(),
            Admission::InCodeReview => {
                journal.info("job waits for a review of its code").digest("job", request.as_bytes()).write();
            }
            Admission::Refused(reason) => {
                let event = journal.warning("job refused").digest("job", request.as_bytes());
                event.word("reason", reason.word()).write();
            }
        }
    }
}

struct Sent {
    reports: Pending<(Digest, u32)>,
    releases: Pending<Digest>,
}

/// Until this many whole seconds from now have begun by the clock.
fn until_second_after(seconds: i64) -> Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let whole = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    // A little later, so that the moment read then lies behind the beginning of the second.
    let begun = Duration::from_nanos(since.subsec_nanos().into());
    whole.saturating_sub(begun) + Duration::from_millis(2)
}

async fn send(outgoing: &Outgoing, message: link_request::Message) -> Result<(), LinkError> {
    outgoing.send(LinkRequest { message: Some(message) }).await.map_err(|_| LinkError::Closed)
}
