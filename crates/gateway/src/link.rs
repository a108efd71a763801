//! The enclave's stream: submits go in; answers, moves and releases come out. The enclave opens it; the gateway
//! never opens anything towards the enclave.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::internal::gateway_enclave_service_server::{GatewayEnclaveService, GatewayEnclaveServiceServer};
use api::internal::{
    Cancel, CancelTaken, LinkRequest, LinkResponse, ReleaseReady, ReleaseTaken, Submit, TransitionTaken,
    link_request, link_response,
};
use api::{Answer, MESSAGE_LIMIT, Transition, WireError};
use blobs::Digest;
use server::Refused;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::outbox::{self, NotServed};
use crate::room::{Room, blocking, now};
use crate::store::events::{self, NotTaken};
use crate::store::jobs;
use crate::store::queue::{self, Submit as Open};
use crate::store::{StoreError, cancels};

/// How often what the enclave has not answered is sent again.
const AGAIN: Duration = Duration::from_secs(30);

/// Waiting messages to the enclave.
const QUEUE: usize = 32;

/// Submits that are sent and not answered. More would take away the order in which grants take turns.
const UNANSWERED: usize = 16;

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
        let live = Live {
            room: self.room.clone(),
            outgoing,
            sent: Sent::default(),
            is_ready: false,
            passed: HashMap::new(),
            _alone: alone,
        };
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
    #[error("{0}")]
    Store(#[from] StoreError),
}

struct Live {
    room: Arc<Room>,
    outgoing: Outgoing,
    sent: Sent,
    is_ready: bool,
    /// Releases that were passed over, with the reason, and when that was written. The enclave repeats until it is answered:
    /// one that this room may not show before the next step of time would else fill the journal.
    passed: HashMap<String, Instant>,
    _alone: OwnedMutexGuard<()>,
}

/// How often the same reason is written for the same release.
const PASSED_AGAIN: Duration = Duration::from_secs(600);

/// Releases of which that is known; an enclave that names ever more of them is written down again.
const PASSED_KNOWN: usize = 256;

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
                () = room.cancels.notified() => self.call_off().await,
                _ = again.tick() => {
                    self.sent.cancels.clear();
                    self.send_open().await
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
        let mut subject = None;
        let answered = match message.message {
            Some(link_request::Message::Ready(_)) => {
                self.is_ready = true;
                self.sent = Sent::default();
                return self.send_open().await;
            }
            Some(link_request::Message::SubmitAnswer(answer)) => match self.answer(answer).await {
                // Room for the next.
                Ok(()) => return self.submit().await,
                Err(passed) => Err(passed),
            },
            Some(link_request::Message::CancelTaken(taken)) => self.cancel_taken(&taken).await.map(|()| None),
            Some(link_request::Message::Transition(report)) => self.report(report).await.map(Some),
            Some(link_request::Message::Release(ready)) => {
                subject = Some(format!("{ready:?}"));
                self.release(&ready).await.map(Some)
            }
            None => Err(WireError::new("message").into()),
        };
        match answered {
            Ok(Some(message)) => self.send(message).await,
            Ok(None) => Some(()),
            Err(passed) => {
                // Without an acknowledgement the enclave sends it again; nothing else is changed.
                self.tell_passed(subject, &passed);
                Some(())
            }
        }
    }

    fn tell_passed(&mut self, release: Option<String>, passed: &Passed) {
        if let Some(release) = release {
            let what = format!("{release}: {passed}");
            if self.passed.get(&what).is_some_and(|at| at.elapsed() < PASSED_AGAIN) {
                return;
            }
            if self.passed.len() >= PASSED_KNOWN {
                self.passed.clear();
            }
            self.passed.insert(what, Instant::now());
        }
        self.room.journal.warning("a message of the enclave was passed over").own_error(passed).write();
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

    async fn cancel_taken(&self, taken: &CancelTaken) -> Result<(), Passed> {
        let job = api::digest("request_sha256", &taken.request_sha256)?;
        Ok(self.room.store.change(move |transaction| cancels::taken(transaction, &job)).await?)
    }

    /// Sends everything that waits for the enclave. Submits first: it can call off only what it knows.
    async fn send_open(&mut self) -> Option<()> {
        self.submit().await?;
        self.call_off().await
    }

    /// Sends submits that the enclave has not answered, as many as may be unanswered at a time.
    async fn submit(&mut self) -> Option<()> {
        if !self.is_ready {
            return Some(());
        }
        let waiting = match self.room.store.read(queue::unanswered).await {
            Ok(waiting) => waiting,
            Err(error) => {
                self.tell_failure(&error);
                return Some(());
            }
        };
        for submit in self.sent.next(waiting, Instant::now()) {
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
        }
        Some(())
    }

    /// Sends cancels that the enclave has not taken and that were not sent lately.
    async fn call_off(&mut self) -> Option<()> {
        if !self.is_ready {
            return Some(());
        }
        let waiting = match self.room.store.read(cancels::untaken).await {
            Ok(waiting) => waiting,
            Err(error) => {
                self.tell_failure(&error);
                return Some(());
            }
        };
        for cancel in waiting {
            if self.sent.cancels.insert(cancel.request) {
                let request_sha256 = wire(&cancel.request);
                let message = Cancel { cancel: cancel.envelope.into(), request_sha256 };
                self.send(link_response::Message::Cancel(message)).await?;
            }
        }
        Some(())
    }

    /// The bundle must lie there before the message that names it.
    async fn hand_over(&self, bundle: Digest) -> Result<(), HandOverError> {
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

    fn tell_failure(&self, error: &impl std::error::Error) {
        self.room.journal.error("a job could not be handed over").own_error(error).write();
    }

    async fn send(&self, message: link_response::Message) -> Option<()> {
        self.outgoing.send(Ok(LinkResponse { message: Some(message) })).await.ok()
    }
}

/// What was sent on this stream.
#[derive(Default)]
struct Sent {
    /// Submits and when each was sent last.
    submits: HashMap<Digest, Instant>,
    /// Cancels since everything was sent again.
    cancels: HashSet<Digest>,
}

impl Sent {
    /// Which of the unanswered submits are to be sent now, so that at most [`UNANSWERED`] are under way. They are
    /// noted as sent.
    ///
    /// What the enclave never answers is sent again after a while, but after everything that was not sent yet: a
    /// handful of such jobs would else hold up all others.
    fn next(&mut self, waiting: Vec<Open>, now: Instant) -> Vec<Open> {
        let known: HashSet<_> = waiting.iter().map(|submit| submit.request).collect();
        self.submits.retain(|request, _| known.contains(request));
        let is_under_way = |sent: &Instant| now.duration_since(*sent) < AGAIN;
        let under_way = self.submits.values().filter(|sent| is_under_way(sent)).count();
        let mut due: Vec<_> = waiting
            .into_iter()
            .filter(|submit| self.submits.get(&submit.request).is_none_or(|sent| !is_under_way(sent)))
            .collect();
        // Stable, so that grants keep taking turns among what was never sent.
        due.sort_by_key(|submit| self.submits.get(&submit.request).copied());
        due.truncate(UNANSWERED.saturating_sub(under_way));
        self.submits.extend(due.iter().map(|submit| (submit.request, now)));
        due
    }
}

#[derive(Debug, thiserror::Error)]
enum HandOverError {
    #[error("the bundle could not be copied")]
    Bundle(#[from] blobs::StoreError),
    #[error("the gateway is ending")]
    Ended,
}

fn wire(digest: &Digest) -> tonic::codegen::Bytes {
    digest.as_bytes().to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(numbers: std::ops::Range<u8>) -> Vec<Open> {
        numbers
            .map(|number| Open {
                request: Digest::of(&[number]),
                bundle: Digest::of(b"bundle"),
                envelope: vec![],
                purpose: String::new(),
                purpose_salt: vec![],
            })
            .collect()
    }

    fn requests(open: &[Open]) -> Vec<Digest> {
        open.iter().map(|submit| submit.request).collect()
    }

    #[test]
    fn no_more_are_under_way_than_may_be_and_an_answer_makes_room_for_one() {
        let (mut sent, now) = (Sent::default(), Instant::now());
        let first = sent.next(open(0..40), now);
        assert_eq!(requests(&first), requests(&open(0..16)));
        assert!(sent.next(open(0..40), now).is_empty());
        assert_eq!(requests(&sent.next(open(1..40), now)), requests(&open(16..17)), "0 was answered");
    }

    #[test]
    fn what_is_never_answered_is_sent_again_and_holds_up_nothing() {
        let (mut sent, now) = (Sent::default(), Instant::now());
        sent.next(open(0..40), now);
        let later = sent.next(open(0..40), now + AGAIN);
        assert_eq!(requests(&later), requests(&open(16..32)), "others come first");
        let latest = sent.next(open(0..40), now + 2 * AGAIN);
        let expected = [requests(&open(32..40)), requests(&open(0..8))].concat();
        assert_eq!(requests(&latest), expected);
    }
}
