//! A box whose rooms have users of their own, as on a server.

use databox::doctor::{Grade, examine};
use databox::home::ROOMS;
use databox::{fsck, users};
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::wait;

async fn released(tested: &TestBox, name: &str) {
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("0.5")[..])];
    let job = tested.run_job("kim", &tested.bundle(name, &files)).await.job;
    for steward in ["ana", "ben"] {
        let opened = tested.opened(steward, &job).await;
        tested.desk(steward).await.approve(&opened).await.unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
    let out = tested.directory().join(name);
    tested.shelf("kim").await.get(&job, &out).await.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn rooms_with_users_of_their_own_go_to_a_release_and_what_root_looks_at_stays_theirs() {
    let mut tested = TestBox::start_with_users();
    assert_eq!(users::are_apart(&tested.stage.home), rustix::process::geteuid().is_root());
    wait(released(&tested, "one"));
    let failing: Vec<_> =
        examine(&tested.stage.home).into_iter().filter(|check| check.grade == Grade::Fail).collect();
    assert!(failing.is_empty(), "{failing:#?}");
    ROOMS.iter().for_each(|room| tested.stage.rooms().kill(room));
    let report = fsck::examine(&tested.stage.home, &[]).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.broken().is_empty(), "{report:#?}");
    // Whatever the two left behind, the rooms can go on with it.
    for room in ROOMS {
        let home = tested.stage.home.clone();
        tested.stage.rooms().restart(&home, room).unwrap_or_else(|failure| panic!("{failure}"));
    }
    wait(released(&tested, "two"));
}
