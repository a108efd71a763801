//! Whole jobs behind the walls that OCI runtimes build. The machine must have both: `.ci/run` installs them.

use std::fs;

use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::statement::{CodeReview, WallName, Warning};

use crate::site_changes::{approve, console_has};
use crate::wait;

const WALLS: [(&str, WallName); 2] =
    [("/usr/bin/crun", WallName::Oci), ("/usr/bin/runsc", WallName::OciGvisor)];

/// Starts the enclave anew, with the wall that this runtime builds, or the native one.
fn set_wall(tested: &mut TestBox, runtime: Option<&str>) {
    let path = tested.stage.home.configuration("enclave");
    let text = fs::read_to_string(&path).unwrap();
    let line = runtime.map(|runtime| format!("oci_runtime = \"{runtime}\""));
    // Before the first table.
    let lines =
        line.as_deref().into_iter().chain(text.lines().filter(|line| !line.starts_with("oci_runtime")));
    let lines: Vec<_> = lines.collect();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    tested.stage.kill_and_restart("enclave").unwrap();
}

#[test]
fn a_job_is_released_from_behind_each_wall_and_its_verdict_names_the_wall_that_stood() {
    let mut tested = TestBox::start();
    for (runtime, wall) in WALLS {
        set_wall(&mut tested, Some(runtime));
        wait(async {
            let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("0.5"))];
            let job = tested.run_job("kim", &tested.bundle(&format!("{wall:?}"), &files)).await;
            assert_eq!(state(&job), State::InReview, "{runtime}: {:?}", job.outcome);
            let verdict = tested.opened("ana", &job.job).await.verdict;
            assert_eq!(verdict.wall.name, wall);
            let named = verdict.wall.runtime.expect("a runtime").name;
            assert!(runtime.ends_with(named.as_str()), "{runtime}");
            // gVisor's kernel is not the host's.
            assert_eq!(verdict.warnings.contains(&Warning::SharedKernel), wall == WallName::Oci);
            approve(&tested, "ana", &job.job).await.unwrap();
            approve(&tested, "ben", &job.job).await.unwrap();
            assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
            // It verifies before it writes.
            let out = tested.directory().join(format!("released-{wall:?}"));
            tested.shelf("kim").await.get(&job.job, &out).await.unwrap();
        });
    }
}

#[test]
fn code_that_was_let_in_for_a_stronger_wall_never_runs_behind_a_weaker_one() {
    let mut tested = TestBox::start();
    set_wall(&mut tested, Some(WALLS[0].0));
    let submit = async |tested: &TestBox, name: &str| {
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("0.5"))];
        tested.submit_for_code_review("kim", &tested.bundle(name, &files)).await.job
    };
    let approved = async |tested: &TestBox, job: &str| {
        for steward in ["ana", "ben"] {
            let opened = tested.opened_code(steward, job).await;
            tested.desk(steward).await.approve_code(&opened).await.map(drop).unwrap();
        }
        tested.wait("kim", job, State::InReview).await
    };
    let weak = wait(async {
        tested
            .replace_grant(|grant| {
                (grant.least_wall, grant.code_review) = (WallName::Oci, CodeReview::BeforeRun)
            })
            .await;
        console_has(&tested, "ben", |site| site.earlier_grants().count() == 1).await;
        let twin = submit(&tested, "twin").await;
        assert_eq!(approved(&tested, &twin).await, State::InReview, "the innocent twin");
        submit(&tested, "weaker").await
    });
    set_wall(&mut tested, None);
    wait(async {
        assert_eq!(approved(&tested, &weak).await, State::Refused);
        let outcome = tested.bench("kim").await.job(&weak).await.unwrap().outcome.unwrap();
        assert_eq!(outcome.reason(), api::v1::Reason::Wall);
    });
}
