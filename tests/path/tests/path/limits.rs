//! Waiting that outlasts the limit of a state.

use std::time::Instant;

use databox::fsck::{self, Rule};
use databox::home::ROOMS;
use databox::job::state;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::wait;

/// More than any state may last.
const LONG: i64 = 32 * 24 * 3600;

/// Stops every room, looks, and says which promises are broken. Nothing is begun anew.
fn broken(tested: &mut TestBox) -> Vec<Rule> {
    ROOMS.iter().for_each(|room| tested.stage.rooms().kill(room));
    let report =
        fsck::examine(&tested.stage.home, &[]).unwrap_or_else(|failure| panic!("no fsck: {failure}"));
    let mut rules: Vec<Rule> = report.broken().into_iter().map(|finding| finding.rule).collect();
    rules.dedup();
    rules
}

/// As if a room had run for so long since, and had looked at no limit.
fn let_pass(tested: &TestBox, database: &str) {
    let connection = rusqlite::Connection::open(tested.stage.home.join(database)).unwrap();
    connection.execute("UPDATE elapsed SET seconds = seconds + ?1", [LONG]).unwrap();
}

fn start_again(tested: &mut TestBox) {
    let home = tested.stage.home.clone();
    for room in ["signer", "console", "gateway", "enclave"] {
        tested.stage.rooms().restart(&home, room).unwrap_or_else(|failure| panic!("{room}: {failure}"));
    }
}

async fn handed_in(tested: &TestBox, name: &str, seconds: u32) -> String {
    let code = format!("import time\ntime.sleep({seconds})\n{}", write_metric("1"));
    let text = manifest(ONE_METRIC).replace("30s", "300s");
    let bundle = tested.bundle(name, &[("databox.toml", &text), ("job.py", &code)]);
    let bench = tested.bench("kim").await;
    bench.submit(&bench.prepare(&bundle).await.unwrap()).await.unwrap().job
}

#[test]
fn no_job_stays_in_a_state_past_its_limit_and_fsck_would_name_one_that_did() {
    let mut tested = TestBox::start();
    let (reviewed, queued) = wait(async {
        let reviewed = handed_in(&tested, "reviewed", 0).await;
        assert_eq!(tested.wait("kim", &reviewed, State::InReview).await, State::InReview);
        for slot in 0..4 {
            handed_in(&tested, &format!("running-{slot}"), 200).await;
        }
        let queued = handed_in(&tested, "queued", 0).await;
        assert_eq!(tested.wait("kim", &queued, State::Queued).await, State::Queued);
        (reviewed, queued)
    });
    assert_eq!(broken(&mut tested), [], "nothing has waited for long");
    for database in ["enclave/account.db", "gateway/queue.db"] {
        let_pass(&tested, database);
    }
    assert_eq!(broken(&mut tested), [Rule::Limit]);
    start_again(&mut tested);
    wait(async {
        let bench = tested.bench("kim").await;
        for job in [&reviewed, &queued] {
            let begun = Instant::now();
            while !state(&bench.job(job).await.unwrap()).is_end() {
                assert!(begun.elapsed() < PATIENCE, "a job past its limit ends");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
            assert_eq!(state(&bench.job(job).await.unwrap()), State::Expired);
        }
    });
    assert!(!broken(&mut tested).contains(&Rule::Limit), "none is past a limit any more");
}
