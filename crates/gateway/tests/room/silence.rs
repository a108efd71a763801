//! An enclave that falls silent: no job is shown in one state for ever, and what the log says still counts.

use rusqlite::Connection;

use super::*;

/// Lets the gateway believe that it has run so much longer. It must not run meanwhile.
fn let_run(stage: &Stage, seconds: u64) {
    let queue = Connection::open(stage.path("state/queue.db")).unwrap();
    let changed = queue.execute("UPDATE elapsed SET seconds = seconds + ?1", [seconds as i64]).unwrap();
    assert_eq!(changed, 1);
}

async fn seen(stage: &Stage, gateway: &Gateway, job: Digest) -> api::v1::Job {
    let mut jobs = JobServiceClient::new(stage.connect(gateway, MIA).await);
    let answer = jobs.get_job(GetJobRequest { job: job.to_string() }).await.unwrap();
    answer.into_inner().job.unwrap()
}

#[tokio::test]
async fn a_job_whose_enclave_falls_silent_ends_by_name_and_a_logged_release_is_served_after_all() {
    let (stage, gateway, enclave, job) = in_review().await;
    shown(&stage.connect(&gateway, MIA).await, job, JobState::InReview).await;
    gateway.kill();
    drop(enclave);
    let limit = State::InReview.view_limit_seconds(0, 1).unwrap();
    let_run(&stage, limit - 60);
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    assert_eq!(seen(&stage, &gateway, job).await.state(), JobState::InReview, "the enclave may still speak");
    gateway.kill();
    drop(mia);
    let_run(&stage, 120);
    let gateway = stage.start();
    let told = watch(stage.connect(&gateway, MIA).await, &job.to_string(), 4).await;
    assert_eq!(told, [(5, JobState::Expired)]);
    let ended = seen(&stage, &gateway, job).await;
    assert_eq!(ended.outcome.unwrap().reason(), api::v1::Reason::Unheard);
    // The enclave comes back. What it reports is taken, so that it is not sent for ever, and reopens nothing.
    let mut enclave = reconnected(&gateway).await;
    enclave.say(transition(job, 3, State::Rejected)).await;
    assert!(matches!(enclave.hear().await, Some(link_response::Message::TransitionTaken(_))));
    assert_eq!(seen(&stage, &gateway, job).await.state(), JobState::Expired);
    // A forged release changes nothing either; the logged one does.
    let ready = ReleaseReady {
        request_sha256: job.as_bytes().to_vec().into(),
        release_file_sha256: Digest::of(b"no release").as_bytes().to_vec().into(),
    };
    enclave.say(link_request::Message::Release(ready)).await;
    assert!(enclave.hear().await.is_none());
    assert_eq!(seen(&stage, &gateway, job).await.state(), JobState::Expired);
    announce_release(&enclave, &stage, job).await;
    assert!(matches!(enclave.hear().await, Some(link_response::Message::ReleaseTaken(_))));
    let mia = stage.connect(&gateway, MIA).await;
    assert_eq!(watch(mia.clone(), &job.to_string(), 5).await, [(6, JobState::Released)]);
    assert_eq!(read(mia, &job.to_string(), "").await.unwrap(), stage.told.bytes);
}

#[tokio::test]
async fn time_in_which_the_gateway_does_not_run_ends_no_job() {
    let (stage, gateway, enclave, job) = in_review().await;
    shown(&stage.connect(&gateway, MIA).await, job, JobState::InReview).await;
    gateway.kill();
    drop(enclave);
    // As if it had stood still for two years by the machine's clock.
    let queue = Connection::open(stage.path("state/queue.db")).unwrap();
    queue.execute("UPDATE elapsed SET clock = clock - 2 * 365 * 86400", []).unwrap();
    queue.execute("UPDATE jobs SET created_at = created_at - 2 * 365 * 86400", []).unwrap();
    drop(queue);
    let gateway = stage.start();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(seen(&stage, &gateway, job).await.state(), JobState::InReview);
}

#[tokio::test]
async fn a_clock_that_was_set_back_between_two_runs_hides_nothing() {
    let (stage, gateway, enclave, job) = in_review().await;
    gateway.kill();
    drop(enclave);
    // As if everything had happened with the clock 400 days ahead.
    const AHEAD: i64 = 400 * 86400;
    let queue = Connection::open(stage.path("state/queue.db")).unwrap();
    let clock = daemon::now_seconds() + AHEAD;
    queue.execute("UPDATE elapsed SET clock = ?1", [clock]).unwrap();
    queue.execute("UPDATE events SET visible_at = visible_at + ?1 WHERE event > 2", [AHEAD]).unwrap();
    drop(queue);
    let gateway = stage.start();
    for _ in 0..100 {
        if seen(&stage, &gateway, job).await.state() == JobState::InReview {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the state that was reached is hidden");
}
