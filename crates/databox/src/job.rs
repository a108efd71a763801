//! The researcher's side: `databox job new|submit|ls|show|watch|cancel`.

mod bundles;
mod named;
mod told;

use std::fs;
use std::path::Path;
use std::time::Duration;

use api::v1::bundle_service_client::BundleServiceClient;
use api::v1::data_service_client::DataServiceClient;
use api::v1::job_service_client::JobServiceClient;
use api::v1::{
    CancelJobRequest, CreateJobRequest, CreateUploadRequest, Dataset, FinishUploadRequest, GetJobRequest,
    GetSiteRequest, Job, ListDatasetsRequest, ListJobsRequest, WatchJobRequest, WatchJobResponse,
    WriteUploadRequest,
};
use blobs::Digest;
use lifecycle::State;
use release::envelope::Envelope;
use release::key::SignStatement as _;
use release::refusal::Refusal;
use release::site::Site;
use release::statement::{Cancel, Request, Requester};
use release::value::Name;
use tonic::transport::Channel;

use crate::client::{self, MESSAGE_LIMIT};
use crate::failure::{Exit, Failure, bundle_failure, manifest_failure, whole};
use crate::handed_out::HandedOut;
use crate::key::{self, PersonSigner};
use crate::listed::{Listed, PAGE_SIZE};
use crate::profile::Profile;
use crate::site::now;

pub use bundles::{inspect, new};
use named::{check_categories, check_sizes, grant_of, latest_snapshots, question, runtime_of};
use told::{next_event, plain_dataset, plain_outcome, told};

/// How long a request may wait for admission, in seconds.
const REQUEST_SECONDS: i64 = 12 * 3600;

/// How often a submit is tried again while the gateway does not answer, and the pause between.
const ATTEMPTS: u32 = 20;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);

/// A researcher's connection to the gateway.
pub struct Bench {
    profile: Profile,
    channel: Channel,
}

/// A bundle and the request for it, ready to be handed in.
pub struct Prepared {
    /// The bundle file.
    pub bundle: Vec<u8>,
    /// The signed request.
    pub envelope: Envelope,
    /// The purpose in words.
    pub purpose: String,
    /// The salt of its digest.
    pub salt: [u8; 32],
}

impl Prepared {
    /// The job's one name: the payload digest of its request.
    pub fn job(&self) -> Digest {
        self.envelope.payload_digest()
    }
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::new("RANDOM", error.to_string()))?;
    Ok(bytes)
}

/// Fewest characters that a person names a job by.
const LEAST_CHARACTERS: usize = 4;

impl Bench {
    /// Connects as the profile says.
    pub async fn connect(profile: Profile) -> Result<Self, Failure> {
        let channel = client::connect(&profile).await?;
        Ok(Self { profile, channel })
    }

    /// The connection itself.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The site as the gateway hands it out, verified from the pin.
    pub async fn site(&self) -> Result<Site, Failure> {
        let mut client = DataServiceClient::new(self.channel()).max_decoding_message_size(MESSAGE_LIMIT);
        let mut stream = client.get_site(GetSiteRequest {}).await.map_err(client::refused)?.into_inner();
        let mut handed_out = HandedOut::default();
        while let Some(file) = stream.message().await.map_err(client::refused)? {
            handed_out.add("gateway", file.path, file.content.to_vec())?;
        }
        handed_out.verified("gateway", &self.profile.site_pin)
    }

    /// The datasets that the caller's grants cover.
    pub async fn datasets(&self) -> Result<Vec<Dataset>, Failure> {
        let mut client = DataServiceClient::new(self.channel()).max_decoding_message_size(MESSAGE_LIMIT);
        let answer = client.list_datasets(ListDatasetsRequest {}).await.map_err(client::refused)?;
        let datasets = answer.into_inner().datasets;
        datasets.iter().try_for_each(plain_dataset)?;
        Ok(datasets)
    }

    /// Packs a bundle directory and signs a request for it.
    pub async fn prepare(&self, directory: &Path) -> Result<Prepared, Failure> {
        let path = directory.join("databox.toml");
        let text = fs::read(&path).map_err(|_| {
            Failure::new("NO_MANIFEST", format!("{} is not there", path.display()))
                .hint("`databox job new DIR` writes one to start from")
        })?;
        let manifest = bundle::Manifest::parse_bytes(&text).map_err(manifest_failure(&path))?;
        let bundle = bundle::pack(directory).map_err(bundle_failure(directory))?;
        let site = self.site().await?;
        let salt = random()?;
        let secret = self.signing_key()?;
        let requester = self.requester(&secret);
        let request = self.request(&site, &manifest, Digest::of(&bundle), requester, salt)?;
        let envelope = secret.sign(&request).map_err(|error| Failure::new("STATEMENT", whole(&error)))?;
        Ok(Prepared { bundle, envelope, purpose: manifest.purpose.clone(), salt })
    }

    fn request(
        &self,
        site: &Site,
        manifest: &bundle::Manifest,
        bundle: Digest,
        requester: Requester,
        salt: [u8; 32],
    ) -> Result<Request, Failure> {
        let grant = grant_of(site, &manifest.project, &self.profile.id)?;
        check_categories(site, &manifest.outputs)?;
        check_sizes(site, &grant, &manifest.outputs)?;
        let query = question(site, manifest, &grant)?;
        let issued_at = now();
        let context = bundle::RequestContext {
            site: site.name().clone(),
            grant,
            requester,
            bundle,
            runtime: runtime_of(site, &manifest.runtime, manifest.query.is_some())?,
            latest: latest_snapshots(site, manifest)?,
            query,
            salt,
            nonce: random()?,
            issued_at,
            expires: issued_at.plus(REQUEST_SECONDS),
        };
        manifest.request(context).map_err(manifest_failure(Path::new("databox.toml")))
    }

    /// Uploads the bundle from where an earlier upload stopped, and hands the request in. A gateway that goes away
    /// meanwhile is waited for.
    pub async fn submit(&self, prepared: &Prepared) -> Result<Job, Failure> {
        let request: Request = prepared.envelope.unverified().map_err(statement_failure)?;
        let mut attempts = 0;
        loop {
            let handed_in = match self.upload(&prepared.bundle, &request.grant.id).await {
                Ok(()) => self.hand_in(prepared).await,
                Err(failure) => Err(failure),
            };
            // A bundle that nobody waited for may have made room for another one since it was uploaded.
            let may_help =
                |failure: &Failure| failure.exit == Exit::Unavailable || failure.reason == "BUNDLE_MISSING";
            match handed_in {
                Err(failure) if may_help(&failure) && attempts < ATTEMPTS => attempts += 1,
                handed_in => return handed_in,
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    async fn hand_in(&self, prepared: &Prepared) -> Result<Job, Failure> {
        let mut client = JobServiceClient::new(self.channel());
        let request = CreateJobRequest {
            request: prepared.envelope.to_bytes().into(),
            purpose: prepared.purpose.clone(),
            purpose_salt: prepared.salt.to_vec().into(),
        };
        let answer = client.create_job(request).await.map_err(client::refused)?.into_inner();
        told(answer.job, &prepared.job().to_string())
    }

    async fn upload(&self, bundle: &[u8], grant: &Name) -> Result<(), Failure> {
        let mut client = BundleServiceClient::new(self.channel()).max_encoding_message_size(MESSAGE_LIMIT);
        let sha256 = Digest::of(bundle).to_string();
        let request = CreateUploadRequest {
            sha256: sha256.clone(),
            bytes: bundle.len() as u64,
            grant: grant.to_string(),
        };
        let upload = client.create_upload(request).await.map_err(client::refused)?.into_inner();
        let offset = upload.committed_bytes as usize;
        if offset < bundle.len() {
            let chunk_bytes = (upload.chunk_bytes as usize).clamp(1, 1 << 20);
            let parts: Vec<_> = bundle[offset..]
                .chunks(chunk_bytes)
                .scan(offset as u64, |at, chunk| {
                    let part = WriteUploadRequest {
                        sha256: sha256.clone(),
                        offset: *at,
                        chunk: chunk.to_vec().into(),
                    };
                    *at += chunk.len() as u64;
                    Some(part)
                })
                .collect();
            client.write_upload(tokio_stream::iter(parts)).await.map_err(client::refused)?;
        }
        client.finish_upload(FinishUploadRequest { sha256 }).await.map_err(client::refused)?;
        Ok(())
    }

    /// Calls a job off, by its name or the first characters of it. A repeat does nothing more.
    pub async fn cancel(&self, job: &str) -> Result<Job, Failure> {
        let job = self.job(job).await?.job;
        let request: Digest = job.parse().map_err(|_| no_job())?;
        let secret = self.signing_key()?;
        let cancel = Cancel {
            site: self.site().await?.name().clone(),
            request: request.into(),
            requester: self.requester(&secret),
            issued_at: now(),
        };
        let envelope = secret.sign(&cancel).map_err(|error| statement_failure(error.refusal()))?;
        let mut client = JobServiceClient::new(self.channel());
        let request = CancelJobRequest { cancel: envelope.to_bytes().into() };
        let answer = client.cancel_job(request).await.map_err(client::refused)?.into_inner();
        told(answer.job, &job)
    }

    fn signing_key(&self) -> Result<PersonSigner, Failure> {
        let ask = || key::passphrase(self.profile.passphrase_file.as_deref(), "Passphrase: ");
        PersonSigner::unlock(&self.profile.key_files(), ask)
    }

    fn requester(&self, secret: &PersonSigner) -> Requester {
        Requester { id: self.profile.id.clone(), key_id: release::key::key_id(&secret.public()) }
    }

    /// One job, by its name or the first characters of it.
    pub async fn job(&self, job: &str) -> Result<Job, Failure> {
        let job = if job.len() == 64 { job.to_owned() } else { self.find(job).await? };
        let mut client = JobServiceClient::new(self.channel());
        let request = GetJobRequest { job: job.clone() };
        let answer = client.get_job(request).await.map_err(client::refused)?.into_inner();
        told(answer.job, &job)
    }

    async fn find(&self, begin: &str) -> Result<String, Failure> {
        if begin.len() < LEAST_CHARACTERS {
            let text =
                format!("{begin:?} is too short: a job is named by {LEAST_CHARACTERS} characters or more");
            return Err(Failure::new("NO_SUCH_JOB", text)
                .hint("`databox job ls` lists them")
                .exit(Exit::Usage));
        }
        let mut fitting: Vec<_> =
            self.jobs().await?.into_iter().filter(|job| job.job.starts_with(begin)).collect();
        match (fitting.pop(), fitting.is_empty()) {
            (Some(job), true) => Ok(job.job),
            (None, _) => Err(Failure::new("NO_SUCH_JOB", format!("no job of yours begins with {begin}"))
                .hint("`databox job ls` lists them")),
            _ => Err(Failure::new("SEVERAL_JOBS", format!("several jobs begin with {begin}"))
                .hint("give more of its characters; `databox job ls` lists them")
                .exit(Exit::Usage)),
        }
    }

    /// The caller's jobs, the newest first.
    pub async fn jobs(&self) -> Result<Vec<Job>, Failure> {
        let mut client = JobServiceClient::new(self.channel());
        let mut listed = Listed::default();
        let mut page_token = String::new();
        loop {
            let request = ListJobsRequest { page_size: PAGE_SIZE, page_token };
            let page = client.list_jobs(request).await.map_err(client::refused)?.into_inner();
            for job in page.jobs {
                listed.add(job, |one| (&one.job, vec![&one.project, &one.name]))?;
            }
            if !listed.goes_on(&page.next_page_token)? {
                return Ok(listed.entries());
            }
            page_token = page.next_page_token;
        }
    }

    /// Follows the events of a job after a number, each once, until `is_enough` says so, and gives the state then
    /// reached. A gateway that goes away meanwhile is waited for, and the stream taken up where it was.
    pub async fn follow(
        &self,
        job: &str,
        after_event: u64,
        mut is_enough: impl FnMut(&WatchJobResponse, State) -> bool,
    ) -> Result<State, Failure> {
        let mut last = after_event;
        let mut attempts = 0;
        loop {
            match self.follow_once(job, &mut last, &mut is_enough).await {
                Ok(Some(state)) => return Ok(state),
                // A stream is ended softly now and then, so that certificates are looked at again.
                Ok(None) => {
                    let now = self.job(job).await?;
                    if state(&now).is_end() {
                        return Ok(state(&now));
                    }
                    attempts = 0;
                }
                Err(failure) if failure.exit == Exit::Unavailable && attempts < ATTEMPTS => attempts += 1,
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    async fn follow_once(
        &self,
        job: &str,
        last: &mut u64,
        is_enough: &mut impl FnMut(&WatchJobResponse, State) -> bool,
    ) -> Result<Option<State>, Failure> {
        let mut client = JobServiceClient::new(self.channel());
        let request = WatchJobRequest { job: job.to_owned(), after_event: *last };
        let mut events = client.watch_job(request).await.map_err(client::refused)?.into_inner();
        while let Some(event) = events.message().await.map_err(client::refused)? {
            *last = next_event(*last, &event)?;
            event.outcome.as_ref().map_or(Ok(()), plain_outcome)?;
            let state = State::try_from(event.state()).map_err(|_| no_job())?;
            if is_enough(&event, state) {
                return Ok(Some(state));
            }
        }
        Ok(None)
    }

    /// Waits until a job is in one of these states or has ended.
    pub async fn wait(&self, job: &str, until: &[State], limit: Duration) -> Result<Job, Failure> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let found = self.job(job).await?;
            let state = state(&found);
            if until.contains(&state) || state.is_end() {
                return Ok(found);
            }
            if tokio::time::Instant::now() > deadline {
                return Err(
                    Failure::new("NOT_FINISHED", format!("the job is still {state}")).exit(Exit::NotFinished)
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn no_job() -> Failure {
    Failure::new("ANSWER", "the gateway answered without a job")
}

fn statement_failure(refusal: Refusal) -> Failure {
    Failure::new("STATEMENT", whole(&refusal))
}

/// The state of a job, as the table of transitions names it.
pub fn state(job: &Job) -> State {
    State::try_from(job.state()).unwrap_or(State::Submitted)
}
