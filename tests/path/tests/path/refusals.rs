//! What the box does not do, and how it says so. Each has its innocent twin in `release.rs`.

use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::wait;

#[test]
fn a_job_that_fails_says_why_in_closed_words_and_nothing_else() {
    let tested = TestBox::start();
    let cases = [
        ("raises", "raise SystemExit('patient-000 has 7 visits')", State::Failed, "PROGRAM_FAILED"),
        ("too-slow", "import time\ntime.sleep(100)", State::Failed, "TIME_LIMIT"),
        ("writes-nothing", "pass", State::Blocked, "POLICY"),
        (
            "undeclared",
            "open('/out/rows.csv', 'w').write(open('/data/hie/hie.csv').read())\n",
            State::Blocked,
            "POLICY",
        ),
    ];
    wait(async {
        for (name, code, end, reason) in cases {
            let text = manifest(ONE_METRIC).replace("30s", "3s");
            let bundle = tested.bundle(name, &[("databox.toml", &text), ("job.py", code)]);
            let job = tested.run_job("kim", &bundle).await;
            let outcome = job.outcome.clone().unwrap_or_default();
            assert_eq!((state(&job), api::reason::Word::word(outcome.reason())), (end, reason), "{name}");
            assert!(!format!("{job:?}").contains("patient"), "{name}: nothing of the data is in the answer");
        }
    });
}

#[test]
fn a_request_is_run_once_whoever_repeats_it() {
    let tested = TestBox::start();
    wait(async {
        let bench = tested.bench("kim").await;
        let bundle =
            tested.bundle("once", &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &write_metric("1"))]);
        let prepared = bench.prepare(&bundle).await.unwrap();
        let first = bench.submit(&prepared).await.unwrap();
        let again = bench.submit(&prepared).await.unwrap();
        assert_eq!(first.job, again.job);
        let ended = bench.wait(&first.job, &[State::InReview], harness::PATIENCE).await.unwrap();
        assert_eq!((state(&ended), ended.run), (State::InReview, 1));
        assert_eq!(bench.jobs().await.unwrap().len(), 1);
    });
}

#[test]
fn nobody_submits_in_another_persons_name_or_without_a_grant() {
    let tested = TestBox::start();
    wait(async {
        let bundle =
            tested.bundle("name", &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &write_metric("1"))]);
        let prepared = tested.bench("kim").await.prepare(&bundle).await.unwrap();
        let stolen = tested.bench("lee").await.submit(&prepared).await.unwrap_err();
        assert_eq!(stolen.reason, "REQUESTER");
        let text = manifest(ONE_METRIC).replace("project = \"hie\"", "project = \"other\"");
        let bundle = tested.bundle("other", &[("databox.toml", &text), ("job.py", &write_metric("1"))]);
        let refused = tested.bench("kim").await.prepare(&bundle).await.err().unwrap();
        assert_eq!(refused.reason, "GRANT");
        assert!(tested.bench("kim").await.submit(&prepared).await.is_ok(), "the requester's own is taken");
    });
}

#[test]
fn a_steward_has_no_entry_at_the_gateway_and_a_researcher_none_at_the_console() {
    let tested = TestBox::start();
    wait(async {
        let mut profile = tested.stage.profile("ana");
        profile.endpoint = tested.stage.profile("kim").endpoint;
        let bench = databox::job::Bench::connect(profile).await.unwrap();
        assert_eq!(bench.jobs().await.unwrap_err().reason, "ROLE");
        let mut profile = tested.stage.profile("kim");
        profile.endpoint = tested.stage.profile("ana").endpoint;
        let mut desk = databox::review::Desk::connect(profile).await.unwrap();
        assert_eq!(desk.list().await.unwrap_err().reason, "ROLE");
        assert!(tested.bench("kim").await.jobs().await.is_ok());
        assert!(tested.desk("ana").await.list().await.is_ok());
    });
}
