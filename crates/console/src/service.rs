//! What stewards call: lists of ids, states and ages; signed statements; sealed packets; decisions.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use api::v1::review_service_server::ReviewService;
use api::v1::{
    GetReviewRequest, GetReviewResponse, GetReviewSiteRequest, GetReviewSiteResponse, ListReviewsRequest,
    ListReviewsResponse, ReadPacketRequest, ReadPacketResponse, Review, ReviewKind, ReviewState,
    SubmitDecisionRequest, SubmitDecisionResponse,
};
use blobs::{BlobStore, Digest};
use daemon::{Journal, SiteWatch};
use release::envelope::Envelope;
use release::statement::Kind;
use release::value::Name;
use server::{Listing, Refused, principal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::desk::{self, NotTaken};
use crate::signing::Signing;
use crate::store::{self, Standing, Store, Subject};

/// How long a steward's call waits until a denial is a witnessed leaf, or a last approval a release.
const WITNESS_PATIENCE: Duration = Duration::from_secs(20);

/// The stewards' service.
#[derive(Clone)]
pub struct Reviews {
    /// Reviews.
    pub store: Arc<Store>,
    /// The site.
    pub site: Arc<SiteWatch>,
    /// Sealed packets.
    pub packets: BlobStore,
    /// What drives decisions into the log.
    pub signing: Arc<Signing>,
    /// Log lines.
    pub journal: Journal,
}

type Streamed<T> = ReceiverStream<Result<T, Status>>;

impl Reviews {
    fn store_failed(&self, error: &rusqlite::Error) -> Refused {
        self.journal.error("the store cannot be read or written").own_error(error).write();
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Refused::Disk,
            _ => Refused::Box,
        }
    }

    fn find(&self, review: &str, steward: &Name) -> Result<store::Review, Refused> {
        let verdict: Digest = review.parse().map_err(|_| Refused::Malformed("review"))?;
        let found =
            self.store.review_of(&verdict, steward.as_str()).map_err(|error| self.store_failed(&error))?;
        // Not yours and not there look the same.
        found.ok_or(Refused::NotFound)
    }

    fn statements(&self, verdict: &Digest) -> Result<store::Statements, Refused> {
        self.store.statements(verdict).map_err(|error| self.store_failed(&error))?.ok_or(Refused::NotFound)
    }

    fn wire(&self, review: &store::Review) -> Review {
        let state = match review.standing {
            Standing::Open => ReviewState::Open,
            Standing::Blocked => ReviewState::Blocked,
            Standing::Signing | Standing::Denying | Standing::Approving => ReviewState::Signing,
            Standing::Approved => ReviewState::Approved,
            Standing::Released => ReviewState::Released,
            Standing::Denied => ReviewState::Denied,
            Standing::Expired => ReviewState::Expired,
            Standing::Withdrawn => ReviewState::Withdrawn,
        };
        let age = u64::try_from(daemon::now_seconds() - review.received_at).unwrap_or(0);
        // What is decided is shown as it was; before that, only what counts now.
        let decided = matches!(review.standing, Standing::Released | Standing::Denied | Standing::Approved);
        let of_request = self.of_request(&review.verdict).unwrap_or_default();
        Review {
            review: review.verdict.to_string(),
            state: state.into(),
            approvals: if decided { review.approvals } else { of_request.approvals },
            age_minutes: age / 60,
            held_up_by: review.held_up_by.clone(),
            kind: match review.subject {
                Subject::Outputs => ReviewKind::Outputs.into(),
                Subject::Code => ReviewKind::Code.into(),
            },
            ..of_request
        }
    }

    /// What the request of a review says: whose job it is, how many approvals count now, and how many are needed.
    fn of_request(&self, verdict: &Digest) -> Option<Review> {
        let site = self.site.current()?;
        let statements = self.store.statements(verdict).ok()??;
        let request = desk::request(&statements.request, &site).ok()?;
        let counting = match statements.verdict.is_empty() {
            true => desk::counting_code(&statements.decisions, &request, &site),
            false => desk::counting_approvals(&statements, &site).ok()?,
        };
        let said = request.request();
        Some(Review {
            approvals: u32::try_from(counting.len()).unwrap_or(u32::MAX),
            needed: desk::needed(&request, &site),
            job: request.payload_digest().to_string(),
            job_name: said.job.to_string(),
            project: said.project.to_string(),
            requester: said.requester.id.to_string(),
            ..Review::default()
        })
    }

    /// The approvals of the code on which the run under review rests, for a steward's tool to check.
    fn code_approvals(&self, statements: &store::Statements) -> Vec<Envelope> {
        let approvals = || {
            let site = self.site.current()?;
            let judged = desk::verdict(&statements.request, &statements.verdict, &site).ok()?;
            desk::code_approvals(&judged, &self.store, &site).ok()
        };
        approvals().unwrap_or_default()
    }

    /// Takes a decision in, durably, and says which verdict it is about and whether the log is to have it now.
    fn take(&self, decision: &[u8], caller: &Name) -> Result<(Digest, Standing), Refused> {
        let envelope = Envelope::parse(decision).map_err(|error| Refused::Statement(error.refusal()))?;
        let verdict = desk::verdict_of(&envelope).map_err(refused)?;
        let review = self.find(&verdict.to_string(), caller)?;
        let final_ = match review.standing {
            Standing::Released | Standing::Denied | Standing::Withdrawn => true,
            // Code that may run can still be refused.
            Standing::Approved => envelope.kind() != Kind::CodeDenial,
            Standing::Expired => review.subject == Subject::Code,
            Standing::Open | Standing::Blocked => false,
            Standing::Signing | Standing::Denying | Standing::Approving => false,
        };
        if final_ {
            return Ok((verdict, review.standing));
        }
        let checked = desk::check(&envelope, &self.statements(&verdict)?, &self.site).map_err(refused)?;
        if &checked.steward != caller {
            return Err(Refused::Requester);
        }
        // A review that is being denied stays so, whatever comes in beside.
        let then = if review.standing == Standing::Denying { Standing::Denying } else { checked.then };
        self.store
            .add_decision(
                &verdict,
                caller.as_str(),
                checked.is_approval,
                decision,
                daemon::now_seconds(),
                then,
            )
            .map_err(|error| self.store_failed(&error))?;
        if let Some(lacks) = checked.lacks {
            self.store.set_held_up(&verdict, lacks.name()).map_err(|error| self.store_failed(&error))?;
        }
        self.journal.info("decision taken").digest("verdict", verdict.as_bytes()).write();
        Ok((verdict, then))
    }

    /// Waits until the log has decided about a verdict, for as long as a steward may be kept waiting.
    async fn wait_for_the_log(&self, verdict: &Digest) -> Result<Option<store::Finished>, Refused> {
        let deadline = tokio::time::Instant::now() + WITNESS_PATIENCE;
        loop {
            let finished = self.signing.finished.notified();
            if let Some(found) = self.store.finished(verdict).map_err(|error| self.store_failed(&error))? {
                return Ok(Some(found));
            }
            let open = self.store.standing_of(verdict).map_err(|error| self.store_failed(&error))?;
            if matches!(open, Some(Standing::Open | Standing::Approved)) {
                // The signer refused; nothing comes of it by itself.
                return Ok(None);
            }
            let step = tokio::time::Instant::now() + Duration::from_millis(200);
            tokio::select! {
                () = finished => {}
                () = tokio::time::sleep_until(step.min(deadline)) => {}
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }
}

fn refused(error: NotTaken) -> Refused {
    match error {
        NotTaken::Rule(refusal) => Refused::Statement(refusal),
        NotTaken::NoSite => Refused::Site,
        NotTaken::Kind => Refused::Malformed("decision"),
        NotTaken::Store => Refused::Box,
    }
}

#[tonic::async_trait]
impl ReviewService for Reviews {
    async fn list_reviews(
        &self,
        request: Request<ListReviewsRequest>,
    ) -> Result<Response<ListReviewsResponse>, Status> {
        let caller = principal(&request)?.id;
        let asked = request.into_inner();
        let page = Listing::Reviews.page(asked.page_size, &asked.page_token)?;
        let mut found = self
            .store
            .reviews_of(caller.as_str(), page.before, page.size + 1)
            .map_err(|error| self.store_failed(&error))?;
        let next_page_token = Listing::Reviews.cut(page, &mut found, |review| review.place);
        let reviews = found.iter().map(|review| self.wire(review)).collect();
        Ok(Response::new(ListReviewsResponse { reviews, next_page_token }))
    }

    async fn get_review(
        &self,
        request: Request<GetReviewRequest>,
    ) -> Result<Response<GetReviewResponse>, Status> {
        let caller = principal(&request)?.id;
        let review = self.find(&request.get_ref().review, &caller)?;
        let statements = self.statements(&review.verdict)?;
        Ok(Response::new(GetReviewResponse {
            review: Some(self.wire(&review)),
            code_approvals: self
                .code_approvals(&statements)
                .iter()
                .map(|one| one.to_bytes().into())
                .collect(),
            verdict: statements.verdict.into(),
            request: statements.request.into(),
            decisions: statements.decisions.into_iter().map(Into::into).collect(),
        }))
    }

    type ReadPacketStream = Streamed<ReadPacketResponse>;

    async fn read_packet(
        &self,
        request: Request<ReadPacketRequest>,
    ) -> Result<Response<Self::ReadPacketStream>, Status> {
        let caller = principal(&request)?.id;
        let asked = request.into_inner();
        let review = self.find(&asked.review, &caller)?;
        let packet = self.statements(&review.verdict)?.packet;
        let mut file = self.packets.open_blob(packet).map_err(|_| Refused::NotFound)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(asked.offset)).map_err(|_| Refused::Box)?;
        self.journal.info("packet read").digest("verdict", review.verdict.as_bytes()).write();
        let (to, answers) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; api::CHUNK_BYTES];
            loop {
                let part = match file.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(read) => Ok(ReadPacketResponse { chunk: chunk[..read].to_vec().into() }),
                    Err(_) => Err(Refused::Box.into()),
                };
                if to.blocking_send(part).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn submit_decision(
        &self,
        request: Request<SubmitDecisionRequest>,
    ) -> Result<Response<SubmitDecisionResponse>, Status> {
        let caller = principal(&request)?.id;
        let (verdict, then) = self.take(&request.get_ref().decision, &caller)?;
        self.signing.wanted.notify_one();
        self.signing.approvals.notify_one();
        let finished = match then {
            Standing::Open | Standing::Blocked | Standing::Expired | Standing::Withdrawn => None,
            // The enclave is told, and counts by itself.
            Standing::Approving | Standing::Approved => None,
            Standing::Signing | Standing::Denying | Standing::Released | Standing::Denied => {
                self.wait_for_the_log(&verdict).await?
            }
        };
        if then == Standing::Denying && finished.is_none() {
            // A denial counts once it is a leaf: nobody is told that it does before.
            return Err(Refused::NotReady.into());
        }
        let review = self.find(&verdict.to_string(), &caller)?;
        let mut response = SubmitDecisionResponse { review: Some(self.wire(&review)), ..Default::default() };
        match finished {
            Some(finished) if finished.is_release => response.release_file = finished.file.into(),
            Some(finished) => response.denial_file = finished.file.into(),
            None => {}
        }
        Ok(Response::new(response))
    }

    type GetReviewSiteStream = Streamed<GetReviewSiteResponse>;

    async fn get_review_site(
        &self,
        request: Request<GetReviewSiteRequest>,
    ) -> Result<Response<Self::GetReviewSiteStream>, Status> {
        principal(&request)?;
        let site = self.site.current().ok_or(Refused::Site)?;
        let files = server::site_files(&site).map_err(|_| Refused::Site)?;
        let (to, answers) = mpsc::channel(16);
        tokio::spawn(async move {
            for (path, content) in files {
                let path = path.to_string_lossy().into_owned();
                if to.send(Ok(GetReviewSiteResponse { path, content: content.into() })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
