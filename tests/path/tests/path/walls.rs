//! Whole jobs behind the walls that OCI runtimes build, and in a micro-VM, which is emulated here. The machine must have
//! the runtimes and QEMU: `.ci/run` installs them.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::statement::{CodeReview, WallName, Warning};

use crate::full_disk::set_run_disk;
use crate::site_changes::{approve, console_has};
use crate::wait;

const CRUN: &str = "oci_runtime = \"/usr/bin/crun\"";
const RUNSC: &str = "oci_runtime = \"/usr/bin/runsc\"";

/// A machine as the enclave's configuration has it, on one line.
fn machine() -> String {
    let (kernel, modules) = harness::machine_kernel();
    format!("machine = {{ kernel = {kernel:?}, modules = {modules:?}, emulated = true }}")
}

/// Looks for the image of a run's machine in the run's own directory, for as long as `goes_on`: what lies there is counted as
/// the run's part of the disk, and goes with it.
fn images_seen(work: &Path, goes_on: &AtomicBool) -> bool {
    let mut seen = false;
    while goes_on.load(Ordering::SeqCst) && !seen {
        let runs = fs::read_dir(work).into_iter().flatten().flatten();
        let machines =
            runs.flat_map(|run| fs::read_dir(run.path().join("machine")).into_iter().flatten().flatten());
        seen = machines.into_iter().any(|machine| machine.path().join("0/image").exists());
        std::thread::sleep(Duration::from_millis(20));
    }
    seen
}

#[test]
fn what_a_machine_is_made_of_counts_as_its_runs_part_of_the_disk_and_a_job_that_has_none_left_is_refused() {
    let mut tested = TestBox::start();
    set_wall(&mut tested, Some(&machine()));
    let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("0.5"))];
    let bundle = tested.bundle("one", &files);
    // Less than the interpreter takes.
    set_run_disk(&mut tested, 4 << 20);
    let refused = wait(tested.run_job("kim", &bundle));
    assert_eq!(state(&refused), State::Refused);
    assert_eq!(refused.outcome.unwrap().reason(), api::v1::Reason::Disk);
    set_run_disk(&mut tested, 2 << 30);
    let work = tested.stage.home.join("enclave/work");
    let goes_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| images_seen(&work, &goes_on));
        let job = wait(tested.run_job("kim", &bundle));
        goes_on.store(false, Ordering::SeqCst);
        assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
        assert!(seen.join().unwrap(), "the image lies where the run's part of the disk is counted");
    });
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0, "nothing of it is left");
}

/// Starts the enclave anew, with the wall that this line of its configuration names, or the native one.
fn set_wall(tested: &mut TestBox, line: Option<&str>) {
    let path = tested.stage.home.configuration("enclave");
    let text = fs::read_to_string(&path).unwrap();
    let others = text.lines().filter(|line| !line.starts_with("oci_runtime") && !line.starts_with("machine"));
    // Before the first table.
    let lines: Vec<_> = line.into_iter().chain(others).collect();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    tested.stage.kill_and_restart("enclave").unwrap();
}

#[test]
fn a_job_is_released_from_behind_each_wall_and_its_verdict_names_the_wall_that_stood() {
    let mut tested = TestBox::start();
    let machine = machine();
    let walls = [
        (CRUN, WallName::Oci, "crun"),
        (RUNSC, WallName::OciGvisor, "runsc"),
        (&machine, WallName::VmEmulated, "qemu"),
    ];
    for (line, wall, builder) in walls {
        set_wall(&mut tested, Some(line));
        wait(async {
            let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("0.5"))];
            let job = tested.run_job("kim", &tested.bundle(&format!("{wall:?}"), &files)).await;
            assert_eq!(state(&job), State::InReview, "{builder}: {:?}", job.outcome);
            let verdict = tested.opened("ana", &job.job).await.verdict;
            assert_eq!(verdict.wall.name, wall);
            let named = verdict.wall.runtime.expect("a runtime").name;
            assert_eq!(named.as_str(), builder);
            // The others' kernel is not the host's.
            assert_eq!(verdict.warnings.contains(&Warning::SharedKernel), wall == WallName::Oci);
            assert_eq!(verdict.warnings.contains(&Warning::EmulatedMachine), wall == WallName::VmEmulated);
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
    set_wall(&mut tested, Some(CRUN));
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

#[test]
fn a_grant_that_demands_a_machine_takes_none_that_is_emulated() {
    let mut tested = TestBox::start();
    set_wall(&mut tested, Some(&machine()));
    wait(async {
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("0.5"))];
        let twin = tested.run_job("kim", &tested.bundle("twin", &files)).await;
        assert_eq!(state(&twin), State::InReview, "the innocent twin, under a grant that takes any wall");
        tested.replace_grant(|grant| grant.least_wall = WallName::Vm).await;
        let bench = tested.bench("kim").await;
        let prepared = bench.prepare(&tested.bundle("strict", &files)).await.unwrap();
        let job = bench.submit(&prepared).await.unwrap().job;
        assert_eq!(tested.wait("kim", &job, State::Refused).await, State::Refused);
        let outcome = bench.job(&job).await.unwrap().outcome.unwrap();
        assert_eq!(outcome.reason(), api::v1::Reason::Wall);
    });
}
