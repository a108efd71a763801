//! A gateway that lies to a researcher: another site, other jobs, events that did not happen, uploads that it does not
//! have. What is signed comes from the pinned site alone, and what it lost is handed in again.

use std::path::PathBuf;
use std::time::Duration;

use api::v1::data_service_client::DataServiceClient;
use api::v1::job_service_client::JobServiceClient;
use api::v1::{
    CancelJobResponse, CreateJobResponse, CreateUploadResponse, Dataset, FinishUploadResponse,
    GetJobResponse, GetSiteRequest, GetSiteResponse, Job, JobState, ListDatasetsResponse, ListJobsResponse,
    WatchJobRequest, WatchJobResponse, WriteUploadResponse,
};
use databox::job::{Bench, Prepared};
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use prost::Message;
use release::statement::Request;

use crate::gateway::prepare;
use crate::{Liar, wait};

/// What the honest gateway said, and a request that it has not seen.
struct Said {
    site: Vec<GetSiteResponse>,
    one: Job,
    other: Job,
    events: Vec<WatchJobResponse>,
    unseen: Prepared,
}

async fn honest(tested: &TestBox, unseen: Prepared) -> Said {
    let mut jobs = Vec::new();
    for name in ["one", "other"] {
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("1")[..])];
        jobs.push(tested.run_job("kim", &tested.bundle(name, &files)).await);
    }
    let [one, other] = <[Job; 2]>::try_from(jobs).unwrap();
    let bench = tested.bench("kim").await;
    let mut stream =
        DataServiceClient::new(bench.channel()).get_site(GetSiteRequest {}).await.unwrap().into_inner();
    let mut site = Vec::new();
    while let Some(file) = stream.message().await.unwrap() {
        site.push(file);
    }
    let request = WatchJobRequest { job: one.job.clone(), after_event: 0 };
    let mut stream = JobServiceClient::new(bench.channel()).watch_job(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while events.last().is_none_or(|last: &WatchJobResponse| last.state() != JobState::InReview) {
        events.push(stream.message().await.unwrap().unwrap());
    }
    Said { site, one, other, events, unseen }
}

/// The answers of the lying gateway, as files that it reads anew for each call.
struct Answers(PathBuf);

impl Answers {
    fn say(&self, method: &str, answer: &impl Message) {
        std::fs::write(self.0.join(method), answer.encode_to_vec()).unwrap();
    }

    fn stream(&self, method: &str, answers: &[impl Message]) {
        let bytes: Vec<u8> = answers.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
        std::fs::write(self.0.join(method), bytes).unwrap();
    }

    fn endless(&self, method: &str, endless: bool) {
        let mark = self.0.join(format!("{method}.endless"));
        let _ = if endless { std::fs::write(mark, "") } else { std::fs::remove_file(mark) };
    }
}

fn reason<T>(answer: Result<T, databox::failure::Failure>) -> Option<String> {
    answer.err().map(|failure| failure.reason)
}

/// The same site with the files below this directory changed, or left out if nothing is given back.
fn with(
    site: &[GetSiteResponse],
    below: &str,
    change: impl Fn(Vec<u8>) -> Option<Vec<u8>>,
) -> Vec<GetSiteResponse> {
    let changed = site.iter().filter_map(|file| match file.path.starts_with(below) {
        true => change(file.content.to_vec())
            .map(|content| GetSiteResponse { path: file.path.clone(), content: content.into() }),
        false => Some(file.clone()),
    });
    let changed: Vec<_> = changed.collect();
    assert!(changed != site, "no file below {below}");
    changed
}

/// The payload is in base64 in the middle of a file; whatever stands there is signed.
fn altered(mut content: Vec<u8>) -> Option<Vec<u8>> {
    let middle = content.len() / 2;
    content[middle] = if content[middle] == b'A' { b'B' } else { b'A' };
    Some(content)
}

async fn what_is_signed_comes_from_the_pinned_site(tested: &TestBox, answers: &Answers, said: &Said) {
    let bench = tested.bench("kim").await;
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("2")[..])];
    let bundle = tested.bundle("signed", &files);
    answers.stream("get-site", &said.site);
    let prepared = bench.prepare(&bundle).await.unwrap();
    let request: Request = prepared.envelope.unverified().unwrap();
    let before: Request = said.unseen.envelope.unverified().unwrap();
    assert_eq!(
        (request.grant, request.datasets),
        (before.grant, before.datasets),
        "said as it was, all is well"
    );
    for (refusal, lie) in [
        ("SITE_REFUSED", with(&said.site, "roles/", altered)),
        ("SITE_REFUSED", with(&said.site, "roles/", |_| None)),
        ("SITE_REFUSED", with(&said.site, "revocations/", |_| None)),
        ("SITE_REFUSED", with(&said.site, "revocations/", altered)),
        ("GRANT", with(&said.site, "grants/", altered)),
        ("GRANT", with(&said.site, "grants/", |_| None)),
        ("DATA", with(&said.site, "catalogue/datasets/", altered)),
        ("NO_RUNTIME", with(&said.site, "catalogue/runtimes/", |_| None)),
        ("SITE_REFUSED", vec![]),
    ] {
        answers.stream("get-site", &lie);
        assert_eq!(reason(bench.prepare(&bundle).await).as_deref(), Some(refusal));
    }
    answers.stream("get-site", &said.site);
    answers.endless("get-site", true);
    assert_eq!(
        reason(bench.prepare(&bundle).await).as_deref(),
        Some("SITE_REFUSED"),
        "a site without an end"
    );
    answers.endless("get-site", false);

    let dataset = |name: &str| ListDatasetsResponse {
        datasets: vec![Dataset { name: name.to_owned(), ..Dataset::default() }],
    };
    answers.say("list-datasets", &dataset("hie"));
    assert_eq!(bench.datasets().await.unwrap().len(), 1);
    answers.say("list-datasets", &dataset("\u{1b}[2J"));
    assert_eq!(reason(bench.datasets().await).as_deref(), Some("LIST_REFUSED"));
}

async fn no_other_job_is_taken_for_the_one_asked_for(bench: &Bench, answers: &Answers, said: &Said) {
    let (one, other) = (Some(said.one.clone()), Some(said.other.clone()));
    answers.say("get-job", &GetJobResponse { job: one.clone() });
    assert_eq!(bench.job(&said.one.job).await.unwrap(), said.one);
    answers.say("cancel-job", &CancelJobResponse { job: one.clone() });
    assert_eq!(bench.cancel(&said.one.job).await.unwrap(), said.one);
    answers.say("cancel-job", &CancelJobResponse { job: other.clone() });
    assert_eq!(reason(bench.cancel(&said.one.job).await).as_deref(), Some("ANSWER"));
    for lie in [other.clone(), None] {
        answers.say("get-job", &GetJobResponse { job: lie });
        assert_eq!(reason(bench.job(&said.one.job).await).as_deref(), Some("ANSWER"));
    }
    let list = |job: Job, next: &str| ListJobsResponse { jobs: vec![job], next_page_token: next.to_owned() };
    answers.say("list-jobs", &list(said.one.clone(), ""));
    assert_eq!(bench.jobs().await.unwrap(), std::slice::from_ref(&said.one));
    let unnamed = Job { job: "\r".to_owned(), ..said.one.clone() };
    let painted = Job { project: "\u{1b}[2J".to_owned(), ..said.one.clone() };
    for lie in [list(said.one.clone(), "more"), list(unnamed, ""), list(painted, "")] {
        answers.say("list-jobs", &lie);
        assert_eq!(reason(bench.jobs().await).as_deref(), Some("LIST_REFUSED"));
    }
}

async fn only_events_that_follow_each_other_are_followed(bench: &Bench, answers: &Answers, said: &Said) {
    let follow = async |events: &[WatchJobResponse]| {
        answers.stream("watch-job", events);
        let job = &said.one.job;
        bench.follow(job, 0, |_, state| state == State::InReview).await.map_err(|failure| failure.reason)
    };
    assert!(said.events.len() >= 3, "{:?}", said.events);
    assert_eq!(follow(&said.events).await, Ok(State::InReview));
    let [first, second, third] = [0, 1, 2].map(|index| said.events[index].clone());
    let refused = Err("ANSWER".to_owned());
    assert_eq!(follow(&[first.clone(), first.clone()]).await, refused, "one again");
    assert_eq!(follow(&[first.clone(), third]).await, refused, "one left out");
    assert_eq!(follow(&[second, first.clone()]).await, refused, "another order");
    answers.endless("watch-job", true);
    assert_eq!(follow(&[first]).await, refused, "without an end");
    answers.endless("watch-job", false);
}

/// The liar says that it has everything, and has nothing.
async fn all_is_said_to_be_there(bench: &Bench, answers: &Answers, said: &Said) {
    let name = said.unseen.job().to_string();
    let taken = Job { job: name.clone(), state: JobState::Submitted.into(), ..Job::default() };
    answers.say("create-job", &CreateJobResponse { job: Some(taken) });
    answers.say("finish-upload", &FinishUploadResponse {});
    let whole = said.unseen.bundle.len() as u64;
    for (committed_bytes, chunk_bytes) in [(0, 0), (1, u32::MAX), (whole, 1), (u64::MAX, 1)] {
        answers.say("create-upload", &CreateUploadResponse { committed_bytes, chunk_bytes });
        answers.say("write-upload", &WriteUploadResponse { committed_bytes: u64::MAX });
        assert_eq!(bench.submit(&said.unseen).await.unwrap().job, name, "it is believed that it has them");
    }
    answers.say("create-job", &CreateJobResponse { job: Some(said.one.clone()) });
    assert_eq!(reason(bench.submit(&said.unseen).await).as_deref(), Some("ANSWER"), "another job");
}

#[test]
fn a_researcher_signs_only_what_the_pinned_site_says_takes_no_other_job_or_event_for_theirs_and_hands_in_again_what_was_lost()
 {
    let mut tested = TestBox::start_with_users();
    let unseen = prepare(&tested, "unseen");
    let said = wait(honest(&tested, unseen));
    let (liar, answers) = Liar::before_researchers(&mut tested);
    let answers = Answers(answers);
    wait(async {
        what_is_signed_comes_from_the_pinned_site(&tested, &answers, &said).await;
        let bench = tested.bench("kim").await;
        no_other_job_is_taken_for_the_one_asked_for(&bench, &answers, &said).await;
        only_events_that_follow_each_other_are_followed(&bench, &answers, &said).await;
        all_is_said_to_be_there(&bench, &answers, &said).await;
    });
    drop(liar);
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "gateway").unwrap();
    wait(async {
        let bench = tested.bench("kim").await;
        let name = said.unseen.job().to_string();
        assert_eq!(reason(bench.job(&name).await).as_deref(), Some("NOT_FOUND"), "it was never handed in");
        bench.submit(&said.unseen).await.unwrap();
        let ended = bench.wait(&name, &[State::InReview], Duration::from_secs(60)).await.unwrap();
        assert_eq!((databox::job::state(&ended), ended.run), (State::InReview, 1));
    });
}
