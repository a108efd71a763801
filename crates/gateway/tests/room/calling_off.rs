//! Cancels: signed by the requester, in every state, once.

use api::internal::CancelTaken;
use api::v1::{CancelJobRequest, Job};
use release::envelope::Envelope;
use release::key::Sign as _;
use release::statement::{Cancel, Request};

use super::*;

/// A cancel of the example's job, in the name of a person, signed with a key.
fn cancel(stage: &Stage, person: &str, signer: &str) -> CancelJobRequest {
    let request: Request = stage.told.release.request.unverified().unwrap();
    let mut requester = request.requester;
    requester.id = person.parse().unwrap();
    requester.key_id = release::key::key_id(&test_formats::story::key(signer).public());
    let cancel = Cancel {
        site: request.site,
        request: stage.told.release.request.payload_digest().into(),
        requester,
        issued_at: Timestamp::from_seconds(daemon::now_seconds()).unwrap(),
    };
    let envelope = Envelope::sign(&cancel, &[&test_formats::story::key(signer)]).unwrap();
    CancelJobRequest { cancel: envelope.to_bytes().into() }
}

fn own(stage: &Stage) -> CancelJobRequest {
    cancel(stage, "researcher-mia", "researcher-mia")
}

async fn call_off(channel: &Channel, request: CancelJobRequest) -> Result<Job, Status> {
    let answer = JobServiceClient::new(channel.clone()).cancel_job(request).await?;
    Ok(answer.into_inner().job.unwrap())
}

#[tokio::test]
async fn a_job_is_called_off_before_the_enclave_answers_and_a_repeat_gets_the_same_answer() {
    let stage = Stage::new(story());
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    upload(mia.clone()).await;
    let job: Digest = submit(&stage, mia.clone()).await.unwrap().parse().unwrap();
    let first = call_off(&mia, own(&stage)).await.unwrap();
    assert_eq!((first.state(), first.cancel_requested), (JobState::Cancelled, true));
    assert_eq!(first.outcome.as_ref().unwrap().reason(), api::v1::Reason::Cancelled);
    gateway.kill();
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    assert_eq!(call_off(&mia, own(&stage)).await.unwrap(), first, "also after a crash");
    // The enclave is not handed the job, but the cancel: it might hold the job already.
    let mut enclave = Enclave::connect(&gateway).await.unwrap();
    let Some(link_response::Message::Cancel(heard)) = enclave.hear().await else { panic!("no cancel") };
    assert_eq!(heard.request_sha256, job.as_bytes().to_vec());
    enclave
        .say(link_request::Message::CancelTaken(CancelTaken { request_sha256: heard.request_sha256 }))
        .await;
    assert!(enclave.hear().await.is_none());
    drop(enclave);
    assert!(reconnected(&gateway).await.hear().await.is_none(), "taken, it does not come again");
    // It counts towards no limit any more, and its repeat is the first answer.
    assert_eq!(submit(&stage, mia).await.unwrap(), job.to_string());
}

#[tokio::test]
async fn a_cancel_reaches_the_enclave_whatever_ends_in_between_and_the_enclave_ends_the_job() {
    let (stage, gateway, mut enclave, job) = in_review().await;
    let mia = stage.connect(&gateway, MIA).await;
    shown(&mia, job, JobState::InReview).await;
    let asked = call_off(&mia, own(&stage)).await.unwrap();
    assert_eq!((asked.state(), asked.cancel_requested), (JobState::InReview, true));
    let Some(link_response::Message::Cancel(heard)) = enclave.hear().await else { panic!("no cancel") };
    let envelope = Envelope::parse(&heard.cancel).unwrap();
    let cancel: Cancel = envelope.unverified().unwrap();
    assert_eq!(cancel.request.sha256, job);
    // Not acknowledged: after a crash of either it comes again.
    gateway.kill();
    drop(enclave);
    let gateway = stage.start();
    let mut enclave = Enclave::connect(&gateway).await.unwrap();
    let Some(link_response::Message::Cancel(again)) = enclave.hear().await else { panic!("it was lost") };
    assert_eq!(again.cancel, heard.cancel);
    enclave
        .say(link_request::Message::CancelTaken(CancelTaken { request_sha256: again.request_sha256 }))
        .await;
    enclave.say(transition(job, 3, State::Cancelled)).await;
    assert!(matches!(enclave.hear().await, Some(link_response::Message::TransitionTaken(_))));
    let mia = stage.connect(&gateway, MIA).await;
    assert_eq!(watch(mia.clone(), &job.to_string(), 4).await, [(5, JobState::Cancelled)]);
    assert_eq!(call_off(&mia, own(&stage)).await.unwrap().state(), JobState::Cancelled);
}

#[tokio::test]
async fn a_release_that_was_logged_before_the_cancel_reached_the_enclave_is_served() {
    let (stage, gateway, mut enclave, job) = in_review().await;
    let mia = stage.connect(&gateway, MIA).await;
    shown(&mia, job, JobState::InReview).await;
    call_off(&mia, own(&stage)).await.unwrap();
    assert!(matches!(enclave.hear().await, Some(link_response::Message::Cancel(_))));
    announce_release(&enclave, &stage, job).await;
    assert!(matches!(enclave.hear().await, Some(link_response::Message::ReleaseTaken(_))));
    let end = watch(mia.clone(), &job.to_string(), 4).await;
    assert_eq!(end, [(5, JobState::Approved), (6, JobState::Released)]);
    // Idempotent for whoever had called it off in time.
    assert_eq!(call_off(&mia, own(&stage)).await.unwrap().state(), JobState::Released);
}

#[tokio::test]
async fn a_released_job_is_called_off_too_late() {
    let (stage, gateway, mut enclave, job) = in_review().await;
    announce_release(&enclave, &stage, job).await;
    assert!(matches!(enclave.hear().await, Some(link_response::Message::ReleaseTaken(_))));
    let mia = stage.connect(&gateway, MIA).await;
    shown(&mia, job, JobState::Released).await;
    let refused = call_off(&mia, own(&stage)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TOO_LATE"));
    assert!(enclave.hear().await.is_none());
}

#[tokio::test]
async fn nobody_else_calls_a_job_off() {
    let (stage, gateway, mut enclave, job) = in_review().await;
    let (mia, eve) = (stage.connect(&gateway, MIA).await, stage.connect(&gateway, EVE).await);
    let refused = call_off(&eve, own(&stage)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "REQUESTER"), "relayed");
    let theirs = cancel(&stage, "researcher-eve", "researcher-eve");
    let refused = call_off(&eve, theirs).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NOT_FOUND"), "her own");
    for signer in ["researcher-eve", "steward-ana"] {
        let forged = cancel(&stage, "researcher-mia", signer);
        let refused = call_off(&mia, forged).await.unwrap_err();
        assert_eq!(reason(&refused), "STATEMENT");
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["refusal"], "request-signature");
    }
    let no_cancel = CancelJobRequest { cancel: stage.told.release.request.to_bytes().into() };
    assert_eq!(reason(&call_off(&mia, no_cancel).await.unwrap_err()), "STATEMENT");
    assert!(enclave.hear().await.is_none(), "nothing of it reaches the enclave");
    let seen = JobServiceClient::new(mia).get_job(GetJobRequest { job: job.to_string() }).await.unwrap();
    assert!(!seen.into_inner().job.unwrap().cancel_requested);
}
