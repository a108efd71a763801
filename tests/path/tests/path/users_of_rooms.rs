//! A box whose rooms have users of their own, as on a server.

use std::process::Command;

use databox::doctor::{Grade, examine};
use databox::home::ROOMS;
use databox::walls::{By, WallBuilder, choose};
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
    let checks = examine(&tested.stage.home);
    let failing: Vec<_> = checks.iter().filter(|check| check.grade == Grade::Fail).collect();
    assert!(failing.is_empty(), "{failing:#?}");
    // Root could have this layer; the enclave's user, which builds the wall, cannot.
    let layers = checks.iter().find(|check| check.name == "wall-layers").expect("the layers");
    assert!(layers.found.contains("without own-host-user"), "{layers}");
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

#[test]
fn init_takes_no_wall_that_the_enclaves_user_cannot_have_whatever_root_can() {
    // The other user stands in the one namespace that may still be made.
    let _tested = TestBox::start();
    assert_eq!(choose("native", &By::Caller).unwrap(), WallBuilder::Native, "the innocent twin");
    let barred = By::Enclave(&|program| {
        let script = "echo 1 > /proc/sys/user/max_user_namespaces && \
            exec unshare --user --map-user=65534 --map-group=65534 \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script]).arg(program);
        Ok(command)
    });
    for asked in ["native", "strongest"] {
        let refused = choose(asked, &barred).unwrap_err();
        assert_eq!(refused.reason, "WALL", "{asked}");
        assert!(
            refused.hint.as_ref().is_some_and(|hint| hint.contains("max_user_namespaces")),
            "{refused:?}"
        );
    }
}
