//! The enclave's stream: verdicts and reviews of code come in, approvals of code, releases and denials that are in the log go back.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use api::internal::console_enclave_service_server::ConsoleEnclaveService;
use api::internal::{
    CodeApprovals, CodeReviewCloseTaken, CodeReviewEnd, CodeReviewReady, CodeReviewTaken, ExchangeRequest,
    ExchangeResponse, VerdictReady, VerdictTaken, WithdrawalTaken, exchange_request, exchange_response,
};
use blobs::BlobStore;
use daemon::{Journal, SiteWatch};
use release::path::{CODE_BUNDLE_LIMIT, CODE_REVIEW_SECONDS_LIMIT, may_review};
use release::refusal::Refusal;
use release::statement::{CodeReview, Evidence, PACKET_ADDED_BYTES};
use rustix::fs::OFlags;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::desk;
use crate::signing::Signing;
use crate::store::{NewReview, Placed, Standing, Store, Subject};

/// How often what the enclave has not acknowledged is sent again.
const AGAIN: Duration = Duration::from_secs(2);

/// The console's side of the enclave's stream.
#[derive(Clone)]
pub struct Link {
    /// Reviews.
    pub store: Arc<Store>,
    /// The site.
    pub site: Arc<SiteWatch>,
    /// The console's own copies of sealed packets.
    pub packets: BlobStore,
    /// Where the enclave lays them.
    pub laid: BlobStore,
    /// Largest packet taken, in bytes.
    pub packet_bytes: u64,
    /// What drives decisions into the log.
    pub signing: Arc<Signing>,
    /// Log lines.
    pub journal: Journal,
}

/// A verdict that is not taken in.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("there is no site in force")]
    NoSite,
    #[error("the verdict is refused: {0}")]
    Refused(#[from] release::refusal::Refusal),
    #[error("the packet is not there or not the one that the verdict names")]
    Packet(#[from] blobs::StoreError),
    #[error("the packet has another size than it may have")]
    PacketSize,
    #[error("the approvals of the code are not those that the verdict names")]
    CodeReview(#[from] desk::NotTaken),
    #[error("no grant asks for a review of this code")]
    Unasked,
    #[error("a digest does not have its form")]
    Form,
    #[error("the store cannot be written")]
    Store(#[from] rusqlite::Error),
}

impl Link {
    /// Takes a verdict in: checks it, copies the packet and hashes the copy, makes both durable.
    fn take(&self, ready: &VerdictReady) -> Result<blobs::Digest, NotTaken> {
        let site = self.site.current().ok_or(NotTaken::NoSite)?;
        let judged = desk::verdict(&ready.request, &ready.verdict, &site)?;
        let verdict = judged.verdict();
        desk::code_approvals(&judged, &self.store, &site)?;
        let packet = verdict.packet.sha256;
        let digest = judged.payload_digest();
        // The packet of a review that has ended was removed, and does not come back.
        if self.store.has_ended(&digest)? {
            return Ok(digest);
        }
        self.take_packet(packet, verdict.packet_bytes())?;
        // A crash here leaves a packet without a review; the enclave sends the verdict again and finds the copy.
        self.store.add_review(&NewReview {
            verdict: digest,
            verdict_envelope: &ready.verdict,
            request_envelope: &ready.request,
            packet,
            passed: judged.passed(),
            reviewers: verdict.reviewers.iter().map(|reviewer| reviewer.steward.to_string()).collect(),
            received_at: daemon::now_seconds(),
            expires_at: verdict.expires.seconds(),
            placed: Placed::of(verdict),
        })?;
        Ok(digest)
    }

    /// Takes a review of code in: checks that its grant asks for one, copies the packet and hashes the copy.
    fn take_code(&self, ready: &CodeReviewReady) -> Result<blobs::Digest, NotTaken> {
        let site = self.site.current().ok_or(NotTaken::NoSite)?;
        let request = desk::request(&ready.request, &site)?;
        let packet = api::digest("packet_sha256", &ready.packet_sha256).map_err(|_| NotTaken::Form)?;
        if request.grant().statement().code_review != CodeReview::BeforeRun {
            return Err(NotTaken::Unasked);
        }
        let digest = request.payload_digest();
        if self.store.has_ended(&digest)? {
            return Ok(digest);
        }
        let size = self.laid_size(packet)?;
        // What a packet of code may carry out of the enclave is bounded by what people can read.
        if size > CODE_BUNDLE_LIMIT + PACKET_ADDED_BYTES {
            return Err(NotTaken::PacketSize);
        }
        self.take_packet(packet, size)?;
        let roles = site.roles();
        let requester = &request.request().requester.id;
        let reviewers =
            roles.people.keys().filter(|person| *person != requester && may_review(roles, &request, person));
        let now = daemon::now_seconds();
        self.store.add_review(&NewReview {
            verdict: digest,
            verdict_envelope: b"",
            request_envelope: &ready.request,
            packet,
            passed: true,
            reviewers: reviewers.map(ToString::to_string).collect(),
            received_at: now,
            expires_at: now + CODE_REVIEW_SECONDS_LIMIT,
            placed: None,
        })?;
        Ok(digest)
    }

    fn laid_size(&self, packet: blobs::Digest) -> Result<u64, NotTaken> {
        if self.packets.contains(packet) {
            return Ok(self.packets.open_blob(packet)?.metadata().map_err(blobs::StoreError::Io)?.len());
        }
        let laid = open_plain(&self.laid.path(packet)).map_err(blobs::StoreError::Io)?;
        Ok(laid.metadata().map_err(blobs::StoreError::Io)?.len())
    }

    /// Closes a review of code and removes its packet, unless a denial is on its way to the log: stewards may look at
    /// what they refuse until it is there.
    fn close_code(&self, request: &blobs::Digest, approved: bool) -> Option<CodeReviewCloseTaken> {
        let closed = self
            .store
            .close_code(request, approved)
            .and_then(|()| Ok((self.store.standing_of(request)?, self.store.statements(request)?)));
        match closed {
            Ok((standing, statements)) => {
                let of_code = statements.filter(|statements| statements.verdict.is_empty());
                // A crash before this leaves a packet, and the enclave asks again.
                if let Some(statements) = of_code
                    && standing != Some(Standing::Denying)
                    && let Err(error) = self.packets.remove(statements.packet)
                {
                    self.journal.error("a packet is not removed").own_error(&error).write();
                    return None;
                }
                self.journal.info("review of code closed").digest("job", request.as_bytes()).write();
                self.signing.finished.notify_waiters();
                Some(CodeReviewCloseTaken { request_sha256: request.as_bytes().to_vec().into() })
            }
            Err(error) => {
                self.journal.error("the store cannot be written").own_error(&error).write();
                None
            }
        }
    }

    /// Copies a packet of exactly this size. A larger one would carry data out of the enclave that no verdict counts.
    fn take_packet(&self, packet: blobs::Digest, size: u64) -> Result<(), NotTaken> {
        if size > self.packet_bytes {
            return Err(NotTaken::PacketSize);
        }
        let is_new = !self.packets.contains(packet);
        if is_new {
            let laid = open_plain(&self.laid.path(packet)).map_err(blobs::StoreError::Io)?;
            self.packets.copy_in(laid, Some(packet), size)?;
        }
        let kept = self.packets.open_blob(packet)?.metadata().map_err(blobs::StoreError::Io)?.len();
        if kept == size {
            return Ok(());
        }
        if is_new {
            self.packets.remove(packet)?;
        }
        Err(NotTaken::PacketSize)
    }

    fn handle(&self, message: exchange_request::Message) -> Option<exchange_response::Message> {
        match message {
            exchange_request::Message::Ready(_) => None,
            exchange_request::Message::Verdict(ready) => match self.take(&ready) {
                Ok(verdict) => {
                    self.journal.info("verdict taken").digest("verdict", verdict.as_bytes()).write();
                    let verdict_sha256 = verdict.as_bytes().to_vec().into();
                    Some(exchange_response::Message::VerdictTaken(VerdictTaken { verdict_sha256 }))
                }
                Err(error) => {
                    self.journal.warning("verdict not taken").own_error(&error).write();
                    None
                }
            },
            exchange_request::Message::CodeReview(ready) => match self.take_code(&ready) {
                Ok(request) => {
                    self.journal.info("review of code taken").digest("job", request.as_bytes()).write();
                    let request_sha256 = request.as_bytes().to_vec().into();
                    Some(exchange_response::Message::CodeReviewTaken(CodeReviewTaken { request_sha256 }))
                }
                Err(error) => {
                    self.journal.warning("review of code not taken").own_error(&error).write();
                    None
                }
            },
            exchange_request::Message::CodeReviewClosed(closed) => {
                let request = api::digest("request_sha256", &closed.request_sha256).ok()?;
                let approved = match closed.end() {
                    CodeReviewEnd::Approved => true,
                    CodeReviewEnd::Ended => false,
                    CodeReviewEnd::Unspecified => return None,
                };
                self.close_code(&request, approved).map(exchange_response::Message::CodeReviewCloseTaken)
            }
            exchange_request::Message::OutcomeTaken(taken) => {
                if let Ok(verdict) = api::digest("verdict_sha256", &taken.verdict_sha256) {
                    self.outcome_taken(&verdict);
                }
                None
            }
            exchange_request::Message::Withdrawn(withdrawn) => {
                let verdict = api::digest("verdict_sha256", &withdrawn.verdict_sha256).ok()?;
                self.withdraw(&verdict).map(exchange_response::Message::WithdrawalTaken)
            }
        }
    }

    /// Closes a review whose job was called off. Nothing is answered while a decision is on its way to the log: the
    /// enclave asks again, and hears of the withdrawal or of the outcome.
    fn withdraw(&self, verdict: &blobs::Digest) -> Option<WithdrawalTaken> {
        let withdrawn = self.store.withdraw(verdict).and_then(|withdrawn| match withdrawn {
            true => Ok(Some(self.store.statements(verdict)?)),
            false => Ok(None),
        });
        match withdrawn {
            Ok(None) => None,
            Ok(Some(statements)) => {
                // A crash before this leaves a packet, and the enclave asks again.
                if let Some(statements) = statements
                    && let Err(error) = self.packets.remove(statements.packet)
                {
                    self.journal.error("a packet is not removed").own_error(&error).write();
                    return None;
                }
                self.journal.info("review withdrawn").digest("verdict", verdict.as_bytes()).write();
                Some(WithdrawalTaken { verdict_sha256: verdict.as_bytes().to_vec().into() })
            }
            Err(error) => {
                self.journal.error("the store cannot be written").own_error(&error).write();
                None
            }
        }
    }

    fn outcome_taken(&self, verdict: &blobs::Digest) {
        // That an outcome was taken which there is none of yet would lose the packet of an open review, and later the
        // outcome.
        if !matches!(self.store.finished(verdict), Ok(Some(_))) {
            return;
        }
        let done = self.store.taken(verdict).and_then(|()| self.store.statements(verdict));
        match done {
            // Nothing is kept of a packet once its review is decided.
            Ok(Some(statements)) => drop(self.packets.remove(statements.packet)),
            Ok(None) => {}
            Err(error) => self.journal.error("the store cannot be written").own_error(&error).write(),
        }
    }

    async fn serve(
        self,
        mut from: Streaming<ExchangeRequest>,
        to: mpsc::Sender<Result<ExchangeResponse, Status>>,
    ) {
        let mut again = tokio::time::interval(AGAIN);
        loop {
            let finished = self.signing.finished.notified();
            tokio::select! {
                received = from.message() => {
                    let Ok(Some(ExchangeRequest { message: Some(message) })) = received else { return };
                    let link = self.clone();
                    let answer = tokio::task::spawn_blocking(move || link.handle(message)).await.ok().flatten();
                    if let Some(answer) = answer
                        && to.send(Ok(ExchangeResponse { message: Some(answer) })).await.is_err()
                    {
                        return;
                    }
                }
                () = self.signing.approvals.notified() => if !self.send_finished(&to).await { return },
                () = finished => if !self.send_finished(&to).await { return },
                _ = again.tick() => if !self.send_finished(&to).await { return },
            }
        }
    }

    /// Sends what the enclave has not acknowledged; false once the stream is gone.
    async fn send_finished(&self, to: &mpsc::Sender<Result<ExchangeResponse, Status>>) -> bool {
        for finished in self.store.not_taken().unwrap_or_default() {
            let file = finished.file.into();
            let message = match (finished.subject, finished.is_release) {
                (Subject::Outputs, true) => exchange_response::Message::ReleaseFile(file),
                (Subject::Outputs, false) => exchange_response::Message::DenialFile(file),
                (Subject::Code, _) => exchange_response::Message::CodeDenialFile(file),
            };
            if to.send(Ok(ExchangeResponse { message: Some(message) })).await.is_err() {
                return false;
            }
        }
        for message in self.code_approvals() {
            let message = exchange_response::Message::CodeApprovals(message);
            if to.send(Ok(ExchangeResponse { message: Some(message) })).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Approvals of code that the enclave is to count. A review whose approvals count no more is open again.
    fn code_approvals(&self) -> Vec<CodeApprovals> {
        let Some(site) = self.site.current() else { return Vec::new() };
        let mut messages = Vec::new();
        for review in self.store.standing(Standing::Approving).unwrap_or_default() {
            let Ok(Some(statements)) = self.store.statements(&review.verdict) else { continue };
            let reviewed = match desk::reviewed_code(&statements, &site) {
                Ok(reviewed) => reviewed,
                Err(refusal) => {
                    let denied = refusal == Refusal::CodeDenied;
                    let standing = if denied { Standing::Denying } else { Standing::Open };
                    let _ = self.store.set_standing(&review.verdict, standing);
                    self.signing.wanted.notify_one();
                    let _ = self.store.set_held_up(&review.verdict, refusal.name());
                    continue;
                }
            };
            let approvals: Vec<_> = reviewed.approvals().iter().map(|one| one.envelope().clone()).collect();
            let Evidence::Digest(evidence) = reviewed.evidence() else { continue };
            // A crash before this leaves the enclave without them; after it, the set that a verdict may name is there.
            if self.store.keep_code_set(&evidence, &review.verdict, &approvals).is_err() {
                continue;
            }
            messages.push(CodeApprovals {
                request_sha256: review.verdict.as_bytes().to_vec().into(),
                approvals: approvals.iter().map(|one| one.to_bytes().into()).collect(),
            });
        }
        messages
    }
}

/// A link here would have the console read its own key, and a pipe would make it wait for ever.
fn open_plain(path: &std::path::Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::ErrorKind::InvalidInput.into()) }
}

#[tonic::async_trait]
impl ConsoleEnclaveService for Link {
    type ExchangeStream = ReceiverStream<Result<ExchangeResponse, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        self.journal.info("the enclave is connected").write();
        let (to, answers) = mpsc::channel(16);
        tokio::spawn(self.clone().serve(request.into_inner(), to));
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
