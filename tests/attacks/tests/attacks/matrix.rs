//! The whole matrix behind each wall, as root and as a normal user.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sandbox::oci::OciRuntime;
use sandbox::{Builder, Cancel, Launcher, LayerName, Outcome as Ended, State, Stdin, Wall};
use test_attacks::differences::{self, Difference};
use test_attacks::seen::{Outcome, RESIDUAL, Seen};
use test_attacks::stage::{Stage, is_root, open_directory};

const CRUN: &str = "/usr/bin/crun";
const RUNSC: &str = "/usr/bin/runsc";

/// Every attempt, by wall.
fn matrix(arguments: &[&str]) -> BTreeMap<String, Vec<Seen>> {
    let output = Command::new(env!("CARGO_BIN_EXE_hostile-suite"))
        .arg("--helper")
        .arg(harness::programs().join("databox-launch"))
        .args(arguments)
        .output()
        .expect("the hostile suite");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut walls = BTreeMap::<String, Vec<Seen>>::new();
    for line in said.lines() {
        let seen: Seen = serde_json::from_str(line).expect("one attempt a line");
        walls.entry(seen.wall.clone()).or_default().push(seen);
    }
    assert!(!walls.is_empty(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    walls
}

/// Every attempt is contained or named as residual, and each difference that is listed is seen, and no other.
fn holds(walls: &BTreeMap<String, Vec<Seen>>, expected: &[&str], differences: &[Difference], least: usize) {
    assert_eq!(walls.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    let differ: BTreeSet<&str> = differences.iter().map(|difference| difference.attempt).collect();
    for (wall, seen) in walls {
        let names: BTreeSet<&str> = seen.iter().map(|one| one.attempt.as_str()).collect();
        assert_eq!(names.len(), seen.len(), "{wall}: two attempts have one name");
        let failed: Vec<&Seen> = seen
            .iter()
            .filter(|one| !matches!(one.outcome, Outcome::Contained | Outcome::Residual))
            .collect();
        assert!(failed.is_empty(), "{failed:#?}");
        let of = |which: &dyn Fn(&Seen) -> bool| -> BTreeSet<&str> {
            seen.iter().filter(|one| which(one)).map(|one| one.attempt.as_str()).collect()
        };
        // Some are made by root's jobs alone.
        let made: BTreeSet<&str> = differ.intersection(&names).copied().collect();
        let for_root: BTreeSet<&str> = differ.difference(&made).copied().collect();
        assert!(for_root.is_empty() || !wall.ends_with("root"), "{wall} made no attempt of {for_root:?}");
        assert_eq!(of(&|one| one.differs.is_some()), made, "{wall}");
        let residual = of(&|one| one.outcome == Outcome::Residual);
        let expected: BTreeSet<&str> = RESIDUAL.into_iter().filter(|name| !differ.contains(name)).collect();
        assert_eq!(residual, expected, "{wall}");
        assert!(residual.len() <= 6, "{wall}");
        let contained = seen.iter().filter(|one| one.outcome == Outcome::Contained).count();
        assert!(contained >= least, "{wall}: {contained} attempts are contained");
    }
}

fn as_who(wall: &str) -> Vec<String> {
    let who: &[&str] = if is_root() { &["a normal user", "root"] } else { &["a normal user"] };
    who.iter().map(|who| format!("{wall} as {who}")).collect()
}

#[test]
fn every_attempt_is_contained_or_named_as_residual_as_root_and_as_a_normal_user() {
    let expected = as_who("native");
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    holds(&matrix(&[]), &expected, &[], 240);
}

/// As whoever runs the tests; in the long run as root and as a normal user.
fn behind(place: &str, long: bool) {
    let runtime = runtime(place);
    let (mut arguments, mut expected) = (vec!["--oci", place], as_who(runtime.name.as_str()));
    if !long {
        arguments.push("--here");
        expected.drain(..expected.len() - 1);
    }
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    holds(&matrix(&arguments), &expected, differences::of(runtime.wall()), 240);
}

fn runtime(place: &str) -> OciRuntime {
    OciRuntime::find(Path::new(place)).expect("these tests need both runtimes: apt-get install crun runsc")
}

#[test]
fn behind_a_wall_that_crun_builds_every_attempt_is_answered_alike_but_for_what_is_listed() {
    behind(CRUN, false);
}

#[test]
fn behind_a_wall_that_gvisor_builds_every_attempt_is_contained_and_differs_only_as_listed() {
    behind(RUNSC, false);
}

/// As whoever runs the tests, or as root and as a normal user: all that programs try, at the same time.
fn in_a_machine(long: bool) {
    let (kernel, modules) = harness::machine_kernel();
    let (kernel, modules) = (kernel.to_string_lossy(), modules.to_string_lossy());
    let mut walls = BTreeMap::<String, Vec<Seen>>::new();
    std::thread::scope(|scope| {
        let running = test_attacks::PROGRAMS.map(|(program, _)| {
            let mut arguments = vec!["--kernel", &kernel, "--modules", &modules, "--only", program];
            if !long {
                arguments.push("--here");
            }
            scope.spawn(move || matrix(&arguments))
        });
        for one in running {
            for (wall, seen) in one.join().expect("a matrix") {
                walls.entry(wall).or_default().extend(seen);
            }
        }
    });
    let mut expected = as_who("vm-emulated");
    if !long {
        expected.drain(..expected.len() - 1);
    }
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    holds(&walls, &expected, differences::of(Wall::VmEmulated), 225);
}

#[test]
fn in_a_machine_every_attempt_of_a_program_is_contained_and_differs_only_as_listed() {
    in_a_machine(false);
}

/// Each boots a machine for the attempt and one for its twin.
#[test]
#[ignore = "long"]
fn in_a_machine_every_attempt_from_outside_is_contained_too() {
    let (kernel, modules) = harness::machine_kernel();
    let (kernel, modules) = (kernel.to_string_lossy(), modules.to_string_lossy());
    let arguments = ["--kernel", &kernel, "--modules", &modules, "--only", "outside", "--here"];
    let walls = matrix(&arguments);
    let seen: Vec<&Seen> = walls.values().flatten().collect();
    let failed: Vec<_> = seen.iter().filter(|one| one.outcome != Outcome::Contained).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(seen.len() >= 24, "{} attempts", seen.len());
}

#[test]
#[ignore = "long"]
fn in_a_machine_every_attempt_of_a_normal_users_program_is_contained_too() {
    in_a_machine(true);
}

#[test]
#[ignore = "long"]
fn both_runtimes_contain_every_attempt_of_a_normal_users_job_too() {
    behind(CRUN, true);
    behind(RUNSC, true);
}

#[test]
fn the_evidence_names_the_runtime_and_what_stood_and_a_cancel_ends_every_process_behind_it() {
    let directory = open_directory().expect("a directory");
    let python = directory.path().join("runtime");
    sandbox::host_python(Path::new("/usr/bin/python3"), &python).expect("a runtime");
    let helper = harness::programs().join("databox-launch");
    for (place, wall) in [(CRUN, Wall::Oci), (RUNSC, Wall::OciGvisor)] {
        let runtime = runtime(place);
        let probed = sandbox::probe(&Launcher::behind(&helper, runtime.clone())).expect(place);
        assert_eq!(probed.wall, wall, "what `init` and `doctor` ask");
        let stage = Stage::new(&helper, &python).expect("a stage").behind(runtime.clone());
        let ended = stage.launch(&stage.text("import os; os.fork(); print('done')")).expect("a run");
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!((ended.outcome, said.contains("done")), (Ended::Succeeded, true), "{place}: {said}");
        assert_eq!(ended.evidence.wall, wall);
        assert_eq!(ended.evidence.builder, Some((Builder::Oci(runtime.name), runtime.version.clone())));
        let on = |name| ended.evidence.state(name) == State::On;
        for layer in [LayerName::UserNamespace, LayerName::ReadOnlyRoot, LayerName::Seccomp] {
            assert!(on(layer), "{place}: {}", layer.as_str());
        }
        // gVisor's kernel has no Landlock: what is not there is not said to be.
        assert_eq!(on(LayerName::Landlock), wall == Wall::Oci, "{place}");

        let sleepers = stage.text(
            "import os, time\nfor _ in range(20):\n if os.fork() == 0: time.sleep(600)\nopen('/out/all', 'w').close()\ntime.sleep(600)",
        );
        let (cancel, begun) = (Cancel::new().expect("a cancel"), Instant::now());
        let launcher = Launcher::behind(&helper, runtime);
        let ended = std::thread::scope(|scope| {
            let lived = scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(3));
                let lived = processes_that_see(&stage);
                cancel.cancel();
                lived
            });
            let ended = launcher.run(&sleepers, Stdin::Empty, &cancel).expect("a run");
            assert!(!lived.join().expect("a look").is_empty(), "the twin: they are seen while they live");
            ended
        });
        assert_eq!(ended.outcome, Ended::Cancelled);
        assert!(begun.elapsed() < Duration::from_secs(60), "{place}");
        let space = ended.output.expect("an output space");
        rustix::fs::statat(&space, "all", rustix::fs::AtFlags::empty()).expect("the twin: they lived");
        let left = processes_that_see(&stage);
        assert!(left.is_empty(), "{place}: {left:?}");
    }
}

/// Processes of this machine that have a directory of this stage mounted: those of its runs, whatever they call themselves,
/// a runtime's own among them.
fn processes_that_see(stage: &Stage) -> Vec<String> {
    let marker = stage.path("data").display().to_string();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let seeing = processes.filter(|process| {
        std::fs::read_to_string(process.join("mountinfo")).is_ok_and(|mounts| mounts.contains(&marker))
    });
    seeing.map(|process| process.display().to_string()).collect()
}
