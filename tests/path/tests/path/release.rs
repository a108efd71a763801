//! From a bundle to a verified release, and to the two ways in which stewards say no.

use std::process::Command;

use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::statement::{DenialDecision, DenialReason};

use crate::site_changes::{approve, in_review, revoke, until};
use crate::wait;

#[test]
fn an_approved_output_is_released_and_an_auditor_verifies_it_offline() {
    let tested = TestBox::start();
    wait(async {
        let bundle = tested.bundle(
            "honest",
            &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &write_metric("0.12345678"))],
        );
        let job = tested.run_job("kim", &bundle).await;
        assert_eq!(state(&job), State::InReview);
        tested.approve("ana").await;
        assert_eq!(
            state(&tested.bench("kim").await.job(&job.job).await.unwrap()),
            State::InReview,
            "one approval is not enough"
        );
        tested.approve("ben").await;
        assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
        let out = tested.directory().join("released");
        let file = tested.shelf("kim").await.get(&job.job, &out).await.unwrap();
        assert_eq!(
            std::fs::read_to_string(out.join("metrics.json")).unwrap(),
            "{\"value\":0.1235}\n",
            "what leaves is the canonical form"
        );
        let verified = verify(&tested, &file, &["--accept-on-box-witness"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
        assert!(String::from_utf8_lossy(&verified.stdout).contains("VERIFIED"));
        let strict = verify(&tested, &file, &[]);
        assert!(
            !strict.status.success(),
            "a witness on the box's own machine does not count unless one says so"
        );
        let other =
            tested.shelf("lee").await.get(&job.job, &tested.directory().join("stolen")).await.unwrap_err();
        assert_eq!(other.reason, "NOT_FOUND", "a release is its recipient's only");
    });
}

#[test]
fn what_the_box_found_is_told_to_a_steward_who_asks_and_quotes_nothing_to_one_who_does_not() {
    let tested = TestBox::start();
    wait(async {
        let code = r#"open("/out/metrics.json", "w").write('{"value": 0.5, "a row of the data": 2}')"#;
        let text = manifest(ONE_METRIC);
        let bundle = tested.bundle("quoting", &[("databox.toml", &text), ("job.py", code)]);
        let job = tested.run_job("kim", &bundle).await;
        assert_eq!(state(&job), State::Blocked);
        let opened = tested.opened("ana", &job.job).await;
        let told = databox::review::words(&opened);
        assert!(told.contains("blocked by metrics.form") && !told.contains("a row of the data"), "{told}");
        let found = databox::review::findings(&opened).unwrap();
        let line = found.lines().find(|line| line.contains("a row of the data")).expect("it is quoted");
        assert!(line.starts_with("found      metrics.json, metrics.form (blocked): "), "{line}");
    });
}

fn verify(tested: &TestBox, file: &std::path::Path, more: &[&str]) -> std::process::Output {
    Command::new(harness::programs().join("databox-verify"))
        .arg(file)
        .arg("--files")
        .arg(file.parent().unwrap())
        .args(["--roles", &tested.stage.pin.to_string()])
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn a_recalled_release_is_served_no_more_and_whoever_knows_of_the_recall_refuses_it() {
    let tested = TestBox::start();
    wait(async {
        let [recalled, other] = [("one", "1"), ("two", "2")];
        let mut kept = Vec::new();
        for (name, value) in [recalled, other] {
            let job = in_review(&tested, name, value).await;
            approve(&tested, "ana", &job).await.unwrap();
            approve(&tested, "ben", &job).await.unwrap();
            assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
            let out = tested.directory().join(name);
            let file = tested.shelf("kim").await.get(&job, &out).await.unwrap();
            kept.push((job, file));
        }
        let manifest = |file: &std::path::Path| {
            let text = std::fs::read(file).unwrap();
            release::file::ReleaseFile::parse(&text).unwrap().manifest.payload_digest()
        };
        let digest = manifest(&kept[0].1);
        revoke(&tested, "ben", |revocation| revocation.releases.push(digest));
        let refused = until("the recall at the gateway", async || {
            let out = tempfile::tempdir_in(tested.directory()).unwrap();
            tested.shelf("kim").await.get(&kept[0].0, &out.path().join("again")).await.err()
        });
        let refused = refused.await;
        assert_eq!(refused.reason, "STATEMENT");
        assert!(refused.text.contains("revoked"), "{refused}");
        tested.shelf("kim").await.get(&kept[1].0, &tested.directory().join("other")).await.unwrap();

        // The recall comes into the log without waiting for a decision; the recalled release alone cannot know of it.
        let alone = verify(&tested, &kept[0].1, &["--accept-on-box-witness"]);
        assert!(alone.status.success(), "valid as of its log");
        let public = tested.stage.home.join("public");
        let told = until("the recall in the log", async || {
            let checked = Command::new(harness::programs().join("databox-verify"))
                .args(["log", "check"])
                .arg(&public)
                .args(["--roles", &tested.stage.pin.to_string(), "--accept-on-box-witness"])
                .output()
                .unwrap();
            let told = String::from_utf8(checked.stdout).unwrap();
            told.contains("recalled").then_some(told)
        });
        let told = told.await;
        let lines: Vec<_> = told.lines().filter(|line| line.contains("recalled")).collect();
        assert_eq!(lines.len(), 1, "{told}");
        assert!(lines[0].contains(&digest.to_string()), "{told}");
    });
}

#[test]
fn a_denial_is_a_witnessed_leaf_and_ends_the_job() {
    let tested = TestBox::start();
    wait(async {
        for (decision, end) in
            [(DenialDecision::Reject, State::Rejected), (DenialDecision::Return, State::Returned)]
        {
            let bundle = tested.bundle(
                end.word(),
                &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &write_metric("1"))],
            );
            let job = tested.run_job("kim", &bundle).await;
            let mut desk = tested.desk("ana").await;
            let review = databox::demo::open_review(&mut desk).await.unwrap();
            let opened = desk.open(&review).await.unwrap();
            let answer = desk.deny(&opened, decision, vec![DenialReason::TooMuch], None).await.unwrap();
            assert!(!answer.denial_file.is_empty(), "the answer carries the proof that it is a leaf");
            assert_eq!(tested.wait("kim", &job.job, end).await, end);
            let seen = tested.bench("kim").await.job(&job.job).await.unwrap();
            let reasons = seen.outcome.unwrap_or_default().denial_reasons;
            assert_eq!(reasons, [i32::from(api::v1::DenialReason::TooMuch)]);
            let approved = tested.desk("ben").await.approve(&opened).await;
            assert!(
                approved.is_err() || approved.unwrap().release_file.is_empty(),
                "nothing is released after a denial"
            );
        }
    });
}
