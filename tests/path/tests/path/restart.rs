//! Rooms that die in the middle of a job, and what becomes of it.

use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::wait;

#[test]
fn a_job_survives_the_death_of_each_room_in_turn() {
    let mut tested = TestBox::start();
    let bundle =
        tested.bundle("survivor", &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &write_metric("1"))]);
    let job = wait(tested.run_job("kim", &bundle));
    assert_eq!(state(&job), State::InReview);
    for room in ["console", "gateway", "enclave", "signer"] {
        tested.stage.kill_and_restart(room).unwrap();
    }
    wait(async {
        tested.approve("ana").await;
        tested.approve("ben").await;
        assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
    });
}

#[test]
fn a_run_that_the_enclave_lost_is_run_again_and_charged_again() {
    let mut tested = TestBox::start();
    let slow = format!("import time\ntime.sleep(3)\n{}", write_metric("1"));
    let bundle = tested.bundle("lost", &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &slow)]);
    let submitted = wait(async {
        let bench = tested.bench("kim").await;
        let prepared = bench.prepare(&bundle).await.unwrap();
        let submitted = bench.submit(&prepared).await.unwrap();
        bench.wait(&submitted.job, &[State::Running], harness::PATIENCE).await.unwrap();
        submitted
    });
    tested.stage.kill_and_restart("enclave").unwrap();
    let ended = wait(async {
        let bench = tested.bench("kim").await;
        bench.wait(&submitted.job, &[State::InReview], harness::PATIENCE).await.unwrap()
    });
    assert_eq!((state(&ended), ended.run), (State::InReview, 2));
}
