//! What is handed out page by page.

use api::v1::job_service_client::JobServiceClient;
use api::v1::release_service_client::ReleaseServiceClient;
use api::v1::review_service_client::ReviewServiceClient;
use api::v1::{ListJobsRequest, ListReleasesRequest, ListReviewsRequest};
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use tonic::{Code, Status};

use crate::wait;

/// Ids and the token of the next page, or how it was refused.
type Page = Result<(Vec<String>, String), String>;

fn refused(status: Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument);
    databox::client::refused(status).reason
}

/// Every page of two entries, in the order in which they come; `between` is called after the first.
async fn all(ask: impl AsyncFn(u32, String) -> Page, between: impl AsyncFnOnce()) -> Vec<Vec<String>> {
    let (mut pages, mut token, mut between) = (Vec::new(), String::new(), Some(between));
    loop {
        let (ids, next) = ask(2, token).await.unwrap();
        pages.push(ids);
        if next.is_empty() {
            return pages;
        }
        if let Some(between) = between.take() {
            between().await;
        }
        token = next;
    }
}

/// A page that is too large, and tokens of other lists or of none.
async fn refuses(ask: impl AsyncFn(u32, String) -> Page, tokens: [&str; 3]) {
    assert_eq!(ask(101, String::new()).await, Err("PAGE_SIZE".to_owned()));
    assert!(ask(100, String::new()).await.is_ok());
    for token in tokens {
        assert_eq!(ask(2, token.to_owned()).await, Err("PAGE_TOKEN".to_owned()), "{token}");
    }
}

/// Hands a job in and waits until it is in review.
async fn reviewed(tested: &TestBox, name: &str) -> String {
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("1")[..])];
    let job = tested.run_job("kim", &tested.bundle(name, &files)).await.job;
    tested.opened("ana", &job).await;
    job
}

async fn released(tested: &TestBox, job: &str) {
    for steward in ["ana", "ben"] {
        let opened = tested.opened(steward, job).await;
        tested.desk(steward).await.approve(&opened).await.unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert_eq!(tested.wait("kim", job, State::Released).await, State::Released);
}

#[test]
fn jobs_reviews_and_releases_are_listed_in_pages_each_once_though_more_come_in_between() {
    let tested = TestBox::start();
    wait(async {
        let mut jobs = Vec::new();
        for name in ["one", "two", "three", "four", "five"] {
            let job = reviewed(&tested, name).await;
            released(&tested, &job).await;
            jobs.push(job);
        }
        let newest_first: Vec<_> = jobs.iter().rev().cloned().collect();
        let researcher = databox::client::connect(&tested.stage.profile("kim")).await.unwrap();
        let steward = databox::client::connect(&tested.stage.profile("ana")).await.unwrap();

        let jobs = async |page_size, page_token| -> Page {
            let asked = ListJobsRequest { page_size, page_token };
            let answer = JobServiceClient::new(researcher.clone()).list_jobs(asked).await.map_err(refused)?;
            let answer = answer.into_inner();
            Ok((answer.jobs.into_iter().map(|job| job.job).collect(), answer.next_page_token))
        };
        let releases = async |page_size, page_token| -> Page {
            let asked = ListReleasesRequest { page_size, page_token };
            let answer =
                ReleaseServiceClient::new(researcher.clone()).list_releases(asked).await.map_err(refused)?;
            let answer = answer.into_inner();
            Ok((answer.releases.into_iter().map(|release| release.job).collect(), answer.next_page_token))
        };
        let reviews = async |page_size, page_token| -> Page {
            let asked = ListReviewsRequest { page_size, page_token };
            let answer =
                ReviewServiceClient::new(steward.clone()).list_reviews(asked).await.map_err(refused)?;
            let answer = answer.into_inner();
            Ok((answer.reviews.into_iter().map(|review| review.review).collect(), answer.next_page_token))
        };
        let (whole, _) = reviews(100, String::new()).await.unwrap();
        assert_eq!(whole.len(), 5);
        // What comes in after the first page is on none of the later ones, and puts nothing on two of them.
        let another = async || {
            let job = reviewed(&tested, "six").await;
            released(&tested, &job).await;
        };
        let pages = |ids: &[String]| ids.chunks(2).map(<[_]>::to_vec).collect::<Vec<_>>();
        assert_eq!(all(reviews, another).await, pages(&whole));
        let six = jobs(1, String::new()).await.unwrap().0;
        let with_six: Vec<_> = six.into_iter().chain(newest_first).collect();
        assert_eq!(all(jobs, async || {}).await, pages(&with_six));
        assert_eq!(all(releases, async || {}).await, pages(&with_six));

        refuses(jobs, ["r1", "v1", "2"]).await;
        refuses(releases, ["j1", "v1", "anything"]).await;
        refuses(reviews, ["j1", "r1", "50"]).await;
    });
}
