//! The gateway as a process: a researcher on its network side, and a program in the enclave's place on its socket.

mod calling_off;
mod listings;
mod silence;
mod stage;
mod taking_up_again;

use api::internal::{ReleaseReady, SubmitAnswer, link_request, link_response};
use api::v1::bundle_service_client::BundleServiceClient;
use api::v1::data_service_client::DataServiceClient;
use api::v1::job_service_client::JobServiceClient;
use api::v1::release_service_client::ReleaseServiceClient;
use api::v1::{
    CreateJobRequest, CreateUploadRequest, FinishUploadRequest, GetJobRequest, GetReleaseRequest,
    GetSiteRequest, JobState, ListDatasetsRequest, ListJobsRequest, ListReleasesRequest, ReadFileRequest,
    WatchJobRequest, WriteUploadRequest,
};
use api::{Admission, Answer, Transition};
use blobs::Digest;
use lifecycle::State;
use release::site::Site;
use release::value::Timestamp;
use stage::{BUNDLE, EVE, Enclave, GRANT, Gateway, MIA, PURPOSE, STEWARD, Stage, story};
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().expect("a reason").reason.clone()
}

fn part(offset: u64, chunk: &'static [u8]) -> WriteUploadRequest {
    WriteUploadRequest { sha256: Digest::of(BUNDLE).to_string(), offset, chunk: chunk.into() }
}

async fn begin(client: &mut BundleServiceClient<Channel>) -> u64 {
    let sha256 = Digest::of(BUNDLE).to_string();
    let request = CreateUploadRequest { sha256, bytes: BUNDLE.len() as u64, grant: GRANT.to_owned() };
    client.create_upload(request).await.unwrap().into_inner().committed_bytes
}

async fn finish(client: &mut BundleServiceClient<Channel>) -> Result<(), Status> {
    let sha256 = Digest::of(BUNDLE).to_string();
    client.finish_upload(FinishUploadRequest { sha256 }).await.map(drop)
}

async fn upload(channel: Channel) {
    let mut client = BundleServiceClient::new(channel);
    let at = begin(&mut client).await;
    if at < BUNDLE.len() as u64 {
        client.write_upload(tokio_stream::iter([part(at, &BUNDLE[at as usize..])])).await.unwrap();
    }
    finish(&mut client).await.unwrap();
}

fn job_request(stage: &Stage) -> CreateJobRequest {
    CreateJobRequest {
        request: stage.told.release.request.to_bytes().into(),
        purpose: PURPOSE.0.to_owned(),
        purpose_salt: PURPOSE.1.to_vec().into(),
    }
}

async fn submit(stage: &Stage, channel: Channel) -> Result<String, Status> {
    let answer = JobServiceClient::new(channel).create_job(job_request(stage)).await?;
    Ok(answer.into_inner().job.unwrap().job)
}

fn transition(job: Digest, number: u32, state: State) -> link_request::Message {
    let report = Transition {
        request: job,
        number,
        run: 1,
        state,
        reason: api::v1::Reason::Unspecified,
        rule: None,
        output: None,
        grid_step: u64::from(number),
        denial_reasons: vec![],
        failure: None,
        used: api::Use::default(),
    };
    link_request::Message::Transition(report.into())
}

/// Plays the enclave up to the review.
async fn run_job(enclave: &mut Enclave, job: Digest) {
    let Some(link_response::Message::Submit(_)) = enclave.hear().await else { panic!("no submit") };
    let answer = SubmitAnswer::from(Answer { request: job, admission: Admission::Queued });
    enclave.say(link_request::Message::SubmitAnswer(answer)).await;
    for (number, state) in [(1, State::Running), (2, State::InReview)] {
        enclave.say(transition(job, number, state)).await;
        let Some(link_response::Message::TransitionTaken(taken)) = enclave.hear().await else {
            panic!("{state} was not taken")
        };
        assert_eq!(taken.number, number);
    }
}

async fn announce_release(enclave: &Enclave, stage: &Stage, job: Digest) {
    let ready = ReleaseReady {
        request_sha256: job.as_bytes().to_vec().into(),
        release_file_sha256: Digest::of(&stage.told.bytes).as_bytes().to_vec().into(),
    };
    enclave.say(link_request::Message::Release(ready)).await;
}

async fn read(channel: Channel, release: &str, file: &str) -> Result<Vec<u8>, Status> {
    let request = ReadFileRequest { release: release.to_owned(), file: file.to_owned(), offset: 0 };
    let mut stream = ReleaseServiceClient::new(channel).read_file(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = stream.message().await? {
        bytes.extend_from_slice(&part.chunk);
    }
    Ok(bytes)
}

async fn watch(channel: Channel, job: &str, after_event: u64) -> Vec<(u64, JobState)> {
    let request = WatchJobRequest { job: job.to_owned(), after_event };
    let mut events = JobServiceClient::new(channel).watch_job(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        seen.push((event.event, event.state()));
    }
    seen
}

/// A job in review, whose release lies in the outbox.
async fn in_review() -> (Stage, Gateway, Enclave, Digest) {
    let stage = Stage::new(story());
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    upload(mia.clone()).await;
    let job: Digest = submit(&stage, mia).await.unwrap().parse().unwrap();
    let mut enclave = Enclave::connect(&gateway).await.unwrap();
    run_job(&mut enclave, job).await;
    stage.fill_outbox();
    (stage, gateway, enclave, job)
}

/// Waits until the job is shown in this state: reports are shown one a step of the grid.
async fn shown(channel: &Channel, job: Digest, state: JobState) {
    for _ in 0..600 {
        let request = GetJobRequest { job: job.to_string() };
        let answer = JobServiceClient::new(channel.clone()).get_job(request).await.unwrap();
        if answer.into_inner().job.unwrap().state() == state {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{state:?} is not shown");
}

#[tokio::test]
async fn a_job_goes_from_upload_to_released_files_and_every_step_is_told_once() {
    let (stage, gateway, mut enclave, job) = in_review().await;
    let mia = stage.connect(&gateway, MIA).await;
    announce_release(&enclave, &stage, job).await;
    assert!(matches!(enclave.hear().await, Some(link_response::Message::ReleaseTaken(_))));
    let expected = [
        (1, JobState::Submitted),
        (2, JobState::Queued),
        (3, JobState::Running),
        (4, JobState::InReview),
        (5, JobState::Approved),
        (6, JobState::Released),
    ];
    let job = job.to_string();
    assert_eq!(watch(mia.clone(), &job, 0).await, expected);
    assert_eq!(watch(mia.clone(), &job, 4).await, expected[4..]);
    let mut client = ReleaseServiceClient::new(mia.clone());
    let request = GetReleaseRequest { release: job.clone() };
    let answer = client.get_release(request).await.unwrap().into_inner();
    assert_eq!(answer.release_file, stage.told.bytes);
    let release = answer.release.unwrap();
    assert_eq!(release.release, stage.told.release.manifest.payload_digest().to_string());
    for (name, bytes) in &stage.told.files {
        assert_eq!(read(mia.clone(), &release.release, name.as_str()).await.unwrap(), *bytes);
    }
    assert_eq!(read(mia, &release.release, "").await.unwrap(), stage.told.bytes);
}

#[tokio::test]
async fn what_is_someone_elses_looks_as_if_it_were_not_there() {
    let (stage, gateway, mut enclave, job) = in_review().await;
    announce_release(&enclave, &stage, job).await;
    assert!(matches!(enclave.hear().await, Some(link_response::Message::ReleaseTaken(_))));
    let (eve, job) = (stage.connect(&gateway, EVE).await, job.to_string());
    let nobodys = Digest::of(b"nobody's").to_string();
    let mut jobs = JobServiceClient::new(eve.clone());
    for job in [&job, &nobodys] {
        let refused = jobs.get_job(GetJobRequest { job: job.clone() }).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NOT_FOUND"));
        let request = WatchJobRequest { job: job.clone(), after_event: 0 };
        assert_eq!(jobs.watch_job(request).await.unwrap_err().code(), Code::NotFound);
        let refused = read(eve.clone(), job, "metrics.json").await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NOT_FOUND"));
    }
    assert!(jobs.list_jobs(ListJobsRequest::default()).await.unwrap().into_inner().jobs.is_empty());
    let mut releases = ReleaseServiceClient::new(eve.clone());
    let listed = releases.list_releases(ListReleasesRequest::default()).await.unwrap().into_inner();
    assert!(listed.releases.is_empty());
    // Nor is room made in the spool for someone whom the grant does not name.
    let sha256 = Digest::of(BUNDLE).to_string();
    let request = CreateUploadRequest { sha256, bytes: BUNDLE.len() as u64, grant: GRANT.to_owned() };
    let refused = BundleServiceClient::new(eve.clone()).create_upload(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "STATEMENT"));
    // And nobody can hand in another's request, although it is rightly signed.
    let refused = submit(&stage, eve).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "REQUESTER"));
    let steward = stage.connect(&gateway, STEWARD).await;
    let refused = JobServiceClient::new(steward).list_jobs(ListJobsRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "ROLE"));
}

#[tokio::test]
async fn a_file_laid_by_hand_is_not_served() {
    let (stage, gateway, mut enclave, job) = in_review().await;
    let mia = stage.connect(&gateway, MIA).await;
    let rows: &[u8] = b"zper,plan\n1,free\n";
    let digest = Digest::of(rows);
    for directory in ["outbox", "state/served"] {
        std::fs::write(stage.path(directory).join(digest.to_string()), rows).unwrap();
    }
    let refused = read(mia.clone(), &job.to_string(), "metrics.json").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "before the release");
    // Announced as a release, it is no release.
    let ready = ReleaseReady {
        request_sha256: job.as_bytes().to_vec().into(),
        release_file_sha256: digest.as_bytes().to_vec().into(),
    };
    enclave.say(link_request::Message::Release(ready)).await;
    assert!(enclave.hear().await.is_none());
    announce_release(&enclave, &stage, job).await;
    assert!(matches!(enclave.hear().await, Some(link_response::Message::ReleaseTaken(_))));
    for name in [digest.to_string().as_str(), "rows.csv", "../queue.db"] {
        let refused = read(mia.clone(), &job.to_string(), name).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{name}");
    }
    // In the place of a served copy its bytes are noticed; the others are still served.
    let metrics = Digest::of(&stage.told.files[&"metrics.json".parse().unwrap()]);
    std::fs::write(stage.path("state/served").join(metrics.to_string()), rows).unwrap();
    let refused = read(mia.clone(), &job.to_string(), "metrics.json").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Internal, "BOX"));
    assert!(read(mia, &job.to_string(), "by_plan.csv").await.is_ok());
}

#[tokio::test]
async fn an_accepted_job_and_what_was_uploaded_survive_a_crash() {
    let stage = Stage::new(story());
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    let mut bundles = BundleServiceClient::new(mia.clone());
    assert_eq!(begin(&mut bundles).await, 0);
    bundles.write_upload(tokio_stream::iter([part(0, &BUNDLE[..5])])).await.unwrap();
    gateway.kill();
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    assert_eq!(begin(&mut BundleServiceClient::new(mia.clone())).await, 5);
    upload(mia.clone()).await;
    let job = submit(&stage, mia).await.unwrap();
    gateway.kill();
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    assert_eq!(submit(&stage, mia.clone()).await.unwrap(), job, "a repeat gets the first answer");
    let mut enclave = Enclave::connect(&gateway).await.unwrap();
    let Some(link_response::Message::Submit(submit)) = enclave.hear().await else { panic!("no submit") };
    assert_eq!(submit.purpose, PURPOSE.0);
    let handed_over = stage.path("to-enclave").join(Digest::of(BUNDLE).to_string());
    assert_eq!(std::fs::read(&handed_over).unwrap(), BUNDLE);
    // Unanswered, it comes again on the next stream; answered, it does not, and the hand-over is emptied.
    drop(enclave);
    let mut enclave = reconnected(&gateway).await;
    run_job(&mut enclave, job.parse().unwrap()).await;
    assert!(!handed_over.exists());
    drop(enclave);
    assert!(reconnected(&gateway).await.hear().await.is_none());
}

async fn reconnected(gateway: &Gateway) -> Enclave {
    for _ in 0..50 {
        match Enclave::connect(gateway).await {
            Ok(enclave) => return enclave,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    panic!("the gateway does not take the enclave back");
}

#[tokio::test]
async fn one_enclave_is_heard_at_a_time_and_its_lies_change_nothing() {
    let (stage, gateway, mut enclave, job) = in_review().await;
    let second = Enclave::connect(&gateway).await.err().expect("only one stream");
    assert_eq!(second.code(), Code::Unavailable);
    let lies = [
        transition(job, 3, State::Released),
        transition(job, 3, State::Running),
        transition(job, 4, State::Approved),
        transition(Digest::of(b"nobody's"), 1, State::Running),
    ];
    for lie in lies {
        enclave.say(lie).await;
    }
    assert!(enclave.hear().await.is_none());
    let mia = stage.connect(&gateway, MIA).await;
    let request = GetJobRequest { job: job.to_string() };
    let seen = JobServiceClient::new(mia).get_job(request).await.unwrap().into_inner().job.unwrap();
    assert_eq!(seen.state(), JobState::InReview);
    enclave.say(transition(job, 3, State::Rejected)).await;
    assert!(matches!(enclave.hear().await, Some(link_response::Message::TransitionTaken(_))));
}

#[tokio::test]
async fn uploads_are_told_where_to_go_on_and_other_bytes_are_no_bundle() {
    let stage = Stage::new(story());
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    let mut bundles = BundleServiceClient::new(mia.clone());
    let refused = finish(&mut bundles).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    begin(&mut bundles).await;
    let refused = bundles.write_upload(tokio_stream::iter([part(3, b"abc")])).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "OFFSET"));
    let refused = submit(&stage, mia.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "BUNDLE_MISSING"));
    bundles.write_upload(tokio_stream::iter([part(0, b"another"), part(7, b" bundle")])).await.unwrap();
    let refused = finish(&mut bundles).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "DIGEST"));
    assert_eq!(begin(&mut bundles).await, 0);
    upload(mia.clone()).await;
    upload(mia.clone()).await;
    let wrong = CreateJobRequest { purpose: "another".to_owned(), ..job_request(&stage) };
    let refused = JobServiceClient::new(mia.clone()).create_job(wrong).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "MALFORMED"));
    submit(&stage, mia).await.unwrap();
}

#[tokio::test]
async fn what_arrived_before_a_line_broke_is_kept() {
    let stage = Stage::new(story());
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    begin(&mut BundleServiceClient::new(mia)).await;
    let broken = stage.connect(&gateway, MIA).await;
    let writing = tokio::spawn(async move {
        let never_ends = tokio_stream::iter([part(0, &BUNDLE[..5])]).chain(tokio_stream::pending());
        BundleServiceClient::new(broken).write_upload(never_ends).await.map(drop)
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    writing.abort();
    let mut bundles = BundleServiceClient::new(stage.connect(&gateway, MIA).await);
    for _ in 0..50 {
        if begin(&mut bundles).await == 5 {
            return upload(stage.connect(&gateway, MIA).await).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("what had arrived was lost");
}

#[tokio::test]
async fn a_client_verifies_the_site_from_its_own_pin_and_sees_its_datasets() {
    let stage = Stage::new(story());
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    let mut data = DataServiceClient::new(mia);
    let mut files = Vec::new();
    let mut stream = data.get_site(GetSiteRequest {}).await.unwrap().into_inner();
    while let Some(file) = stream.message().await.unwrap() {
        files.push((file.path.into(), file.content.to_vec()));
    }
    let pin = stage.told.release.roles[0].payload_digest();
    let now = Timestamp::from_seconds(daemon::now_seconds()).unwrap();
    let site = Site::from_files(files, &pin, now).unwrap();
    assert!(site.set_aside().is_empty(), "{:?}", site.set_aside());
    let listed = data.list_datasets(ListDatasetsRequest {}).await.unwrap().into_inner().datasets;
    assert_eq!((listed[0].name.as_str(), listed[0].project.as_str()), ("hie", "visits"));
    let eve = DataServiceClient::new(stage.connect(&gateway, EVE).await);
    let listed = { eve }.list_datasets(ListDatasetsRequest {}).await.unwrap().into_inner();
    assert!(listed.datasets.is_empty());
}

#[tokio::test]
async fn a_revoked_person_is_turned_away_on_an_open_connection() {
    let stage = Stage::new(story());
    let gateway = stage.start();
    let mut jobs = JobServiceClient::new(stage.connect(&gateway, MIA).await);
    jobs.list_jobs(ListJobsRequest::default()).await.unwrap();
    let revoked = story()
        .revocation(|revocation| {
            revocation.version.0 += 1;
            let now = Timestamp::from_seconds(daemon::now_seconds()).unwrap();
            (revocation.issued_at, revocation.expires) = (now, now.plus(3600));
            revocation.people.push("researcher-mia".parse().unwrap());
        })
        .decide();
    stage.install(&revoked.revocation);
    for _ in 0..60 {
        if let Err(refused) = jobs.list_jobs(ListJobsRequest::default()).await {
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "REVOKED"));
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("a revocation did not reach the gateway");
}
