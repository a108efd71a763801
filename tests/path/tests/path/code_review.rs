//! Grants that ask stewards to read code before it runs: what waits, what runs, what ends, and what is charged.

use api::v1::review_service_client::ReviewServiceClient;
use api::v1::{GetReviewRequest, Job, ReviewState, SubmitDecisionRequest};
use databox::job::state;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::file::ReleaseFile;
use release::statement::{DenialDecision, DenialReason, Evidence, Interest};
use tonic::Status;

use crate::site_changes::{approve, console_has, revoke, until};
use crate::wait;

/// A box whose grant asks for a review of code before the run.
async fn reviewing_box() -> TestBox {
    let tested = TestBox::start();
    tested.ask_for_code_review().await;
    console_has(&tested, "ben", |site| site.earlier_grants().count() == 1).await;
    tested
}

async fn submit(tested: &TestBox, name: &str, value: &str) -> Job {
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric(value))];
    tested.submit_for_code_review("kim", &tested.bundle(name, &files)).await
}

async fn approve_code(tested: &TestBox, steward: &str, job: &str) -> api::v1::Review {
    let opened = tested.opened_code(steward, job).await;
    let answer = tested.desk(steward).await.approve_code(&opened).await;
    answer.unwrap_or_else(|failure| panic!("not approved: {failure}")).review.unwrap()
}

/// Hands in what a tool of another mind would.
async fn hand_in(tested: &TestBox, steward: &str, decision: &Envelope) -> Result<(), Status> {
    let channel = databox::client::connect(&tested.stage.profile(steward)).await.unwrap();
    let request = SubmitDecisionRequest { decision: decision.to_bytes().into() };
    ReviewServiceClient::new(channel).submit_decision(request).await.map(drop)
}

fn journal_has(tested: &TestBox, room: &'static str, text: &str) -> bool {
    std::fs::read_to_string(tested.stage.home.journal(room)).unwrap().contains(text)
}

/// The stopped box keeps every promise about its files; gives how many entries its account has.
fn examined(tested: &mut TestBox) -> u64 {
    tested.stage.stop();
    let report =
        databox::fsck::examine(&tested.stage.home, &[]).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.broken().is_empty(), "{:?}", report.broken());
    report.entries
}

#[test]
fn code_is_not_run_and_not_charged_until_two_stewards_approved_it_and_its_release_verifies() {
    let mut tested = wait(reviewing_box());
    let job = wait(async {
        let job = submit(&tested, "reviewed", "7").await.job;
        let opened = tested.opened_code("ana", &job).await;
        let names: Vec<_> =
            opened.files.iter().map(|(path, _)| path.to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["databox.toml", "job.py"]);
        let read = tested.directory().join("read");
        databox::review::code::write_files(&opened, &read).unwrap();
        assert_eq!(std::fs::read_to_string(read.join("job.py")).unwrap(), write_metric("7"));
        let words = databox::review::code::words(&opened);
        assert!(words.contains("of code: nothing has run") && words.contains("A test of the box"), "{words}");

        let review = approve_code(&tested, "ana", &job).await;
        assert_eq!(
            (review.state(), review.approvals, review.needed),
            (ReviewState::Open, 1, 2),
            "{review:?}"
        );
        // The same steward again is one person still.
        assert_eq!(approve_code(&tested, "ana", &job).await.approvals, 1);
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        let still = tested.bench("kim").await.job(&job).await.unwrap();
        assert_eq!((state(&still), still.run), (State::InCodeReview, 0));
        job
    });
    assert!(!journal_has(&tested, "enclave", "run begins"));
    assert_eq!(examined(&mut tested), 0, "nothing was charged");
    tested.stage.start().unwrap();
    tested.stage.start_witness().unwrap();
    wait(async {
        approve_code(&tested, "ben", &job).await;
        assert_eq!(tested.wait("kim", &job, State::InReview).await, State::InReview);
        let opened = tested.opened("ana", &job).await;
        assert!(matches!(opened.verdict.code_review, Evidence::Digest(_)));
        // What let the code run does not let its outputs leave.
        let review = approve(&tested, "ana", &job).await.unwrap();
        assert_eq!((review.state(), review.approvals), (ReviewState::Open, 1));
        approve(&tested, "ben", &job).await.unwrap();
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
        let file = tested.shelf("kim").await.get(&job, &tested.directory().join("released")).await.unwrap();
        let file = ReleaseFile::parse(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!(file.code_approvals.len(), 2);
    });
    assert_eq!(examined(&mut tested), 3, "one run, one reservation, one release");
}

#[test]
fn refused_code_ends_by_name_and_never_runs_and_its_refusal_is_a_leaf() {
    let mut tested = wait(reviewing_box());
    wait(async {
        for (name, decision, end) in [
            ("rejected", DenialDecision::Reject, State::Rejected),
            ("returned", DenialDecision::Return, State::Returned),
        ] {
            let job = submit(&tested, name, "1").await.job;
            // One consent before it does not help.
            approve_code(&tested, "ana", &job).await;
            let opened = tested.opened_code("ben", &job).await;
            let reasons = vec![DenialReason::Code, DenialReason::TooMuch];
            let answer = tested.desk("ben").await.deny_code(&opened, decision, reasons, None).await;
            let answer = answer.unwrap_or_else(|failure| panic!("not refused: {failure}"));
            assert_eq!(answer.review.unwrap().state(), ReviewState::Denied);
            assert_eq!(tested.wait("kim", &job, end).await, end);
            let shown = tested.bench("kim").await.job(&job).await.unwrap().outcome.unwrap();
            let told: Vec<_> = shown.denial_reasons().map(|reason| reason.as_str_name()).collect();
            assert_eq!(told, ["DENIAL_REASON_TOO_MUCH", "DENIAL_REASON_CODE"]);
        }
    });
    assert!(!journal_has(&tested, "enclave", "run begins"));
    assert_eq!(examined(&mut tested), 0, "nothing was charged");
}

#[test]
fn a_refusal_of_code_laid_into_the_site_directory_ends_the_job_though_nobody_hands_it_to_the_console() {
    let mut tested = wait(reviewing_box());
    wait(async {
        let job = submit(&tested, "laid", "1").await.job;
        let opened = tested.opened_code("ben", &job).await;
        let desk = tested.desk("ben").await;
        let denial = desk.code_denial(&opened, DenialDecision::Reject, vec![DenialReason::Code]).unwrap();
        crate::site_changes::install_envelope(&tested, &denial);
        assert_eq!(tested.wait("kim", &job, State::Rejected).await, State::Rejected);
    });
    assert!(!journal_has(&tested, "enclave", "run begins"));
    assert_eq!(examined(&mut tested), 0);
}

#[test]
fn a_steward_with_an_interest_cannot_let_code_run_and_an_approval_of_code_is_none_of_outputs() {
    let mut tested = wait(reviewing_box());
    wait(async {
        // Both let the code run; nobody has approved the outputs by that, also if it is handed in again.
        let job = submit(&tested, "both", "1").await.job;
        let opened = tested.opened_code("ben", &job).await;
        let approval = tested.desk("ben").await.code_approval(&opened).unwrap();
        approve_code(&tested, "ana", &job).await;
        hand_in(&tested, "ben", &approval).await.unwrap();
        assert_eq!(tested.wait("kim", &job, State::InReview).await, State::InReview);
        let review = tested.opened("ana", &job).await.review;
        assert_eq!((review.state(), review.approvals), (ReviewState::Open, 0));
        let channel = databox::client::connect(&tested.stage.profile("ana")).await.unwrap();
        let asked = GetReviewRequest { review: review.review };
        let held = ReviewServiceClient::new(channel).get_review(asked).await.unwrap().into_inner();
        assert_eq!((held.code_approvals.len(), held.decisions.len()), (2, 0));
        hand_in(&tested, "ben", &approval).await.unwrap();
        assert_eq!(tested.opened("ana", &job).await.review.approvals, 0);

        let job = submit(&tested, "interest", "2").await.job;
        let opened = tested.opened_code("ben", &job).await;
        let approval = tested.desk("ben").await.code_approval(&opened).unwrap();
        revoke(&tested, "ana", |revocation| {
            let interest = Interest { person: "ben".parse().unwrap(), project: "hie".parse().unwrap() };
            revocation.interests.push(interest);
        });
        console_has(&tested, "ben", |site| !site.revocation().interests.is_empty()).await;
        let marked = tested.opened_code("ben", &job).await;
        let failure = tested.desk("ben").await.code_approval(&marked).unwrap_err();
        assert_eq!(failure.reason, "INTEREST");
        // One that a tool of another mind signs is refused by the console, too.
        let refused = hand_in(&tested, "ben", &approval).await.unwrap_err();
        assert!(refused.message().contains("having an interest in the project"), "{refused}");
        approve_code(&tested, "ana", &job).await;
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        assert_eq!(state(&tested.bench("kim").await.job(&job).await.unwrap()), State::InCodeReview);
    });
    examined(&mut tested);
}

#[test]
fn a_job_under_review_of_its_code_survives_each_room_and_is_called_off_by_its_requester() {
    let mut tested = wait(reviewing_box());
    let (job, other) = wait(async {
        let job = submit(&tested, "survivor", "1").await.job;
        let other = submit(&tested, "called-off", "2").await.job;
        approve_code(&tested, "ana", &job).await;
        tested.opened_code("ana", &other).await;
        (job, other)
    });
    for room in ["console", "gateway", "enclave", "signer"] {
        tested.stage.kill_and_restart(room).unwrap();
    }
    wait(async {
        let bench = tested.bench("kim").await;
        bench.cancel(&other).await.unwrap();
        assert_eq!(tested.wait("kim", &other, State::Cancelled).await, State::Cancelled);
        let mut desk = tested.desk("ana").await;
        until("the withdrawal", async || {
            let reviews = desk.list().await.unwrap();
            reviews
                .into_iter()
                .find(|review| review.review == other && review.state() == ReviewState::Withdrawn)
        })
        .await;
        approve_code(&tested, "ben", &job).await;
        assert_eq!(tested.wait("kim", &job, State::InReview).await, State::InReview);
    });
    assert_eq!(examined(&mut tested), 2, "one run and its reservation");
}

#[test]
fn a_run_that_was_lost_needs_no_second_review_and_a_revoked_grant_ends_what_waits() {
    let mut tested = wait(reviewing_box());
    let (lost, waiting) = wait(async {
        let slow = format!("import time\ntime.sleep(4)\n{}", write_metric("1"));
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &slow)];
        let bench = tested.bench("kim").await;
        let prepared = bench.prepare(&tested.bundle("slow", &files)).await.unwrap();
        let lost = bench.submit(&prepared).await.unwrap().job;
        let waiting = submit(&tested, "waiting", "2").await.job;
        approve_code(&tested, "ana", &lost).await;
        approve_code(&tested, "ben", &lost).await;
        bench.wait(&lost, &[State::Running], PATIENCE).await.unwrap();
        (lost, waiting)
    });
    tested.stage.kill_and_restart("enclave").unwrap();
    wait(async {
        let bench = tested.bench("kim").await;
        let ended = bench.wait(&lost, &[State::InReview], PATIENCE).await.unwrap();
        assert_eq!((state(&ended), ended.run), (State::InReview, 2));
        revoke(&tested, "ana", |revocation| revocation.grants.push("grant-1".parse().unwrap()));
        assert_eq!(tested.wait("kim", &waiting, State::Refused).await, State::Refused);
    });
    examined(&mut tested);
}

/// A job that two stewards let run and that goes on for a minute, with a refusal of its code by one of them.
async fn running_and_refused(tested: &TestBox, name: &str, decision: DenialDecision) -> (String, Envelope) {
    let slow = format!("import time\ntime.sleep(60)\n{}", write_metric("1"));
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &slow)];
    let job = tested.submit_for_code_review("kim", &tested.bundle(name, &files)).await.job;
    let opened = tested.opened_code("ben", &job).await;
    let reasons = vec![DenialReason::Code];
    let denial = tested.desk("ben").await.code_denial(&opened, decision, reasons).unwrap();
    approve_code(tested, "ana", &job).await;
    approve_code(tested, "ben", &job).await;
    let bench = tested.bench("kim").await;
    bench.wait(&job, &[State::Running], PATIENCE).await.unwrap();
    (job, denial)
}

#[test]
fn code_that_is_refused_while_it_runs_is_stopped_and_never_started_again() {
    let mut tested = wait(reviewing_box());
    let laid = wait(async {
        // In time for the console: it comes as a witnessed leaf.
        let (told, denial) = running_and_refused(&tested, "told", DenialDecision::Return).await;
        hand_in(&tested, "ben", &denial).await.unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(tested.wait("kim", &told, State::Returned).await, State::Returned);
        assert!(begun.elapsed().as_secs() < 30, "the run was not waited for");
        let outcome = tested.bench("kim").await.job(&told).await.unwrap().outcome.unwrap();
        assert_eq!(outcome.denial_reasons().count(), 1);
        // Laid into the site directory, with an enclave that dies as it comes.
        let (laid, denial) = running_and_refused(&tested, "laid", DenialDecision::Reject).await;
        crate::site_changes::install_envelope(&tested, &denial);
        laid
    });
    tested.stage.kill_and_restart("enclave").unwrap();
    wait(async {
        assert_eq!(tested.wait("kim", &laid, State::Rejected).await, State::Rejected);
        let ended = tested.bench("kim").await.job(&laid).await.unwrap();
        assert_eq!((ended.run, ended.outcome.unwrap().denial_reasons().count()), (1, 1));
    });
    assert_eq!(examined(&mut tested), 2, "each run was charged once, and nothing was reserved");
}

#[test]
fn code_that_is_refused_after_its_run_ends_the_review_of_what_it_wrote() {
    let mut tested = wait(reviewing_box());
    wait(async {
        let job = submit(&tested, "late", "1").await.job;
        let opened = tested.opened_code("ben", &job).await;
        let desk = tested.desk("ben").await;
        let denial = desk.code_denial(&opened, DenialDecision::Reject, vec![DenialReason::Code]).unwrap();
        approve_code(&tested, "ana", &job).await;
        approve_code(&tested, "ben", &job).await;
        assert_eq!(tested.wait("kim", &job, State::InReview).await, State::InReview);
        let verdict = tested.opened("ana", &job).await.review.review;
        crate::site_changes::install_envelope(&tested, &denial);
        assert_eq!(tested.wait("kim", &job, State::Rejected).await, State::Rejected);
        let mut desk = tested.desk("ana").await;
        until("both reviews' ends", async || {
            let reviews = desk.list().await.unwrap();
            let stands = |review: &str, such| {
                reviews.iter().any(|found| found.review == review && found.state() == such)
            };
            (stands(&verdict, ReviewState::Withdrawn) && stands(&job, ReviewState::Denied)).then_some(())
        })
        .await;
    });
    assert_eq!(examined(&mut tested), 3, "a run, its reservation, and its freeing");
}
