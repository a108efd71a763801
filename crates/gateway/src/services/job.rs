//! Jobs of the caller.

use std::sync::Arc;

use api::Use;
use api::v1::job_service_server::JobService;
use api::v1::{
    CancelJobRequest, CancelJobResponse, CreateJobRequest, CreateJobResponse, GetJobRequest, GetJobResponse,
    Job, JobState, Limits, ListJobsRequest, ListJobsResponse, Outcome, WatchJobRequest, WatchJobResponse,
};
use blobs::Digest;
use release::envelope::Envelope;
use release::path::{AdmittedRequest, CancelledJob, SignedCancel};
use release::site::Site;
use release::statement::{Cancel, Request as JobRequest, SaltedPurpose};
use release::value::Name;
use server::{Listing, Principal, Refused, principal};
use tonic::{Request, Response, Status};

use super::{digest, moment, watch};
use crate::room::{Room, now};
use crate::store::events::Event;
use crate::store::jobs::{self, JobLimits, JobView, NewJob};
use crate::store::{cancels, uploads};

/// Longest purpose, in bytes.
const PURPOSE_LIMIT: usize = 4096;

pub struct Jobs(pub Arc<Room>);

#[tonic::async_trait]
impl JobService for Jobs {
    async fn create_job(
        &self,
        request: Request<CreateJobRequest>,
    ) -> Result<Response<CreateJobResponse>, Status> {
        let caller = principal(&request)?;
        let asked = request.into_inner();
        let envelope =
            Envelope::parse(&asked.request).map_err(|error| Refused::Statement(error.refusal()))?;
        let job = envelope.payload_digest();
        // A repeat gets the first answer, also after the request has expired or the grant has changed.
        if let Some(view) = self.view(&caller.id, job).await? {
            return Ok(Response::new(CreateJobResponse { job: Some(job_message(view)) }));
        }
        let site = self.0.current_site()?;
        let new = admit(&caller, &asked, &envelope, &site)?;
        self.take_in(&caller.id, new).await?;
        let view = self.view(&caller.id, job).await?.ok_or(Refused::Box)?;
        Ok(Response::new(CreateJobResponse { job: Some(job_message(view)) }))
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<GetJobResponse>, Status> {
        let caller = principal(&request)?;
        let job = digest("job", &request.into_inner().job)?;
        let view = self.view(&caller.id, job).await?.ok_or(Refused::NotFound)?;
        Ok(Response::new(GetJobResponse { job: Some(job_message(view)) }))
    }

    async fn list_jobs(
        &self,
        request: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        let person = principal(&request)?.id;
        let asked = request.into_inner();
        let page = Listing::Jobs.page(asked.page_size, &asked.page_token)?;
        let listed = self
            .0
            .store
            .read(move |connection| jobs::list(connection, &person, page.before, page.size + 1, now()));
        let mut jobs = listed.await.map_err(Refused::from)?;
        let next_page_token = Listing::Jobs.cut(page, &mut jobs, |job| job.place);
        Ok(Response::new(ListJobsResponse {
            jobs: jobs.into_iter().map(job_message).collect(),
            next_page_token,
        }))
    }

    async fn cancel_job(
        &self,
        request: Request<CancelJobRequest>,
    ) -> Result<Response<CancelJobResponse>, Status> {
        let caller = principal(&request)?;
        let asked = request.into_inner();
        let envelope = Envelope::parse(&asked.cancel).map_err(|error| Refused::Statement(error.refusal()))?;
        let cancel: Cancel = envelope.unverified().map_err(Refused::Statement)?;
        // Signed by one person and handed in by another: whoever found a cancel must not choose when it acts.
        if cancel.requester.id != caller.id {
            return Err(Refused::Requester.into());
        }
        let job = cancel.request.sha256;
        self.view(&caller.id, job).await?.ok_or(Refused::NotFound)?;
        self.call_off(job, envelope).await?;
        let view = self.view(&caller.id, job).await?.ok_or(Refused::Box)?;
        Ok(Response::new(CancelJobResponse { job: Some(job_message(view)) }))
    }

    type WatchJobStream = watch::Events;

    async fn watch_job(
        &self,
        request: Request<WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let caller = principal(&request)?;
        let asked = request.into_inner();
        let job = digest("job", &asked.job)?;
        let view = self.view(&caller.id, job).await?.ok_or(Refused::NotFound)?;
        // A number that was never sent is not one to go on from: the stream would leave out what lies between.
        if asked.after_event > view.last.event {
            return Err(Refused::Malformed("after_event").into());
        }
        Ok(Response::new(watch::events(self.0.clone(), caller, job, asked.after_event)))
    }
}

impl Jobs {
    async fn view(&self, person: &Name, job: Digest) -> Result<Option<JobView>, Refused> {
        let person = person.clone();
        Ok(self.0.store.read(move |connection| jobs::view(connection, &person, &job, now())).await?)
    }

    async fn take_in(&self, person: &Name, job: NewJob) -> Result<(), Refused> {
        let (person, digest) = (person.clone(), job.digest);
        let bundle = job.request.bundle.sha256;
        let limits = JobLimits {
            open_per_person: self.0.configuration.jobs_open_per_person,
            waiting_per_grant: self.0.configuration.jobs_waiting_per_grant,
        };
        let taken = self.0.store.change(move |transaction| {
            // In the same transaction, so that the bundle cannot be forgotten in between.
            let upload = uploads::find(transaction, &person, &bundle)?;
            if !upload.is_some_and(|upload| upload.whole) {
                return Err(Refused::BundleMissing);
            }
            jobs::take_in(transaction, &job, limits, now())
        });
        taken.await?;
        self.0.journal.info("a job was taken in").digest("job", digest.as_bytes()).write();
        self.0.tell(digest);
        self.0.submits.notify_one();
        Ok(())
    }
}

impl Jobs {
    async fn call_off(&self, job: Digest, envelope: Envelope) -> Result<(), Refused> {
        let site = self.0.current_site()?;
        let named = self.0.store.read(move |connection| jobs::named(connection, &job)).await?;
        let named = named.ok_or(Refused::NotFound)?;
        let about = CancelledJob { request: job, requester: &named.requester, grant: &named.grant };
        SignedCancel::verify(&envelope, about, &site, now()).map_err(Refused::Statement)?;
        let bytes = envelope.to_bytes();
        self.0.store.change(move |transaction| cancels::take_in(transaction, &job, &bytes, now())).await?;
        self.0.journal.info("a job was called off").digest("job", job.as_bytes()).write();
        self.0.tell(job);
        self.0.cancels.notify_one();
        Ok(())
    }
}

/// Everything that can be checked before the job is taken in. The enclave checks it all again.
fn admit(
    caller: &Principal,
    asked: &CreateJobRequest,
    envelope: &Envelope,
    site: &Site,
) -> Result<NewJob, Refused> {
    let admitted = AdmittedRequest::admit(envelope, site, now()).map_err(Refused::Statement)?;
    let request = admitted.request();
    // The request is signed by a key of this person; the certificate must be theirs too, or a stolen request could
    // be handed in by someone else, who would then be told what becomes of it.
    if request.requester.id != caller.id {
        return Err(Refused::Requester);
    }
    if asked.purpose.len() > PURPOSE_LIMIT {
        return Err(Refused::TooLarge { field: "purpose", limit: PURPOSE_LIMIT as u64 });
    }
    let salt: [u8; 32] = asked.purpose_salt[..].try_into().map_err(|_| Refused::Malformed("purpose_salt"))?;
    if SaltedPurpose::of(&salt, &asked.purpose) != request.purpose {
        return Err(Refused::Malformed("purpose"));
    }
    Ok(NewJob {
        digest: admitted.payload_digest(),
        grid_seconds: grid_seconds(site, &admitted)?,
        request: JobRequest::clone(request),
        envelope: envelope.to_bytes(),
        purpose: asked.purpose.clone(),
        purpose_salt: salt,
    })
}

/// The time grid of the policy that the grant names.
fn grid_seconds(site: &Site, admitted: &AdmittedRequest) -> Result<u64, Refused> {
    let policy = site.policy(&admitted.grant().statement().policy).ok_or(Refused::Site)?;
    let text = std::str::from_utf8(policy.file()).map_err(|_| Refused::Site)?;
    Ok(egress::Policy::parse(text).map_err(|_| Refused::Site)?.time_grid_seconds)
}

fn job_message(view: JobView) -> Job {
    Job {
        job: view.request.to_string(),
        project: view.project.to_string(),
        name: view.name.to_string(),
        state: JobState::from(view.last.state).into(),
        run: view.last.run,
        queue_place: view.queue_place,
        cancel_requested: view.cancel_requested,
        limits: Some(Limits {
            cpus: view.limits.cpus.0,
            memory_bytes: view.limits.memory_bytes.0,
            seconds: view.limits.seconds.0,
        }),
        created_at: moment(view.created_at),
        outcome: Some(outcome(&view.last)),
    }
}

/// An event as a researcher sees it.
pub(super) fn outcome(event: &Event) -> Outcome {
    Outcome {
        reason: event.reason.into(),
        rule: event.rule.map_or_else(String::new, |rule| rule.id().to_owned()),
        file: event.file.as_ref().map_or_else(String::new, Name::to_string),
        at: moment(event.at),
        failure: event.failure.map(Into::into),
        used: (event.used != Use::default()).then(|| event.used.into()),
        denial_reasons: event
            .denial_reasons
            .iter()
            .map(|reason| api::v1::DenialReason::from(*reason).into())
            .collect(),
    }
}

/// An event as a message of the stream.
pub(super) fn event_message(event: &Event) -> WatchJobResponse {
    WatchJobResponse {
        event: event.event,
        state: JobState::from(event.state).into(),
        outcome: Some(outcome(event)),
    }
}
