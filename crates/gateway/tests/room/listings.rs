//! Listings in pages, the place in the queue, and what a client can ask about the services themselves.

use release::envelope::Envelope;
use test_formats::story::Story;

use super::*;

/// The example's request under another job name.
fn named(number: usize) -> Envelope {
    let name = format!("visits-{number}").parse::<release::value::Name>().unwrap();
    let now = Timestamp::from_seconds(daemon::now_seconds()).unwrap();
    let story: Story = story().request(move |request| {
        (request.issued_at, request.expires) = (now.plus(-60), now.plus(3600));
        request.job = name.clone();
        request.nonce = release::value::Bytes([number as u8; 32]);
    });
    story.tell().release.request
}

async fn hand_in(channel: &Channel, request: &Envelope) -> String {
    let asked = CreateJobRequest {
        request: request.to_bytes().into(),
        purpose: PURPOSE.0.to_owned(),
        purpose_salt: PURPOSE.1.to_vec().into(),
    };
    let answer = JobServiceClient::new(channel.clone()).create_job(asked).await.unwrap();
    answer.into_inner().job.unwrap().job
}

#[tokio::test]
async fn jobs_are_listed_in_pages_each_once_and_shown_with_their_place_in_the_queue() {
    let stage = Stage::new(story());
    let gateway = stage.start();
    let mia = stage.connect(&gateway, MIA).await;
    upload(mia.clone()).await;
    let mut handed_in = Vec::new();
    for number in 0..5 {
        handed_in.push(hand_in(&mia, &named(number)).await);
    }
    let mut client = JobServiceClient::new(mia);
    let (mut page_token, mut listed) = (String::new(), Vec::new());
    loop {
        let request = ListJobsRequest { page_size: 2, page_token };
        let page = client.list_jobs(request).await.unwrap().into_inner();
        assert!(page.jobs.len() <= 2);
        listed.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let newest_first: Vec<_> = handed_in.iter().rev().cloned().collect();
    assert_eq!(listed.iter().map(|job| job.job.clone()).collect::<Vec<_>>(), newest_first);
    assert_eq!(listed.iter().map(|job| job.queue_place).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    let cases = [
        (ListJobsRequest { page_size: 101, page_token: String::new() }, "PAGE_SIZE"),
        (ListJobsRequest { page_size: 1, page_token: "r1".to_owned() }, "PAGE_TOKEN"),
        (ListJobsRequest { page_size: 1, page_token: "anything".to_owned() }, "PAGE_TOKEN"),
    ];
    for (request, name) in cases {
        let refused = client.list_jobs(request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, name));
    }
}

#[tokio::test]
async fn a_job_that_does_not_wait_has_no_place() {
    let (stage, gateway, _enclave, job) = in_review().await;
    let mia = stage.connect(&gateway, MIA).await;
    let answer = JobServiceClient::new(mia).get_job(GetJobRequest { job: job.to_string() }).await.unwrap();
    assert_eq!(answer.into_inner().job.unwrap().queue_place, 0);
}
