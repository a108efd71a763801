//! stress-ng's stressors as load, by class: programs made to bring a kernel to its knees, written by others. A job that runs
//! them stays within its limits and ends in its time, and a job beside it goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use sandbox::{Access, Cancel, LayerName, Mount, Outcome, Specification, State};
use test_attacks::stage::{Stage, is_root, open_directory};

/// Debian's package, which `cargo xtask test --long` installs.
const STRESS: &str = "/usr/bin/stress-ng";

/// The classes of stress-ng 0.15 that a job can try at all; `gpu` and `interrupt` have nothing that the list of calls lets
/// begin, and are tried all the same.
const CLASSES: [&str; 14] = [
    "cpu",
    "cpu-cache",
    "device",
    "filesystem",
    "gpu",
    "interrupt",
    "io",
    "memory",
    "network",
    "os",
    "pipe",
    "scheduler",
    "security",
    "vm",
];

/// The job's own time.
const TIME: Duration = Duration::from_secs(60);

/// What a busy machine may take beyond it, to kill and to tell.
const LATE: Duration = Duration::from_secs(30);

/// In which an interpreter may still be at its start.
const MOMENT: Duration = Duration::from_secs(10);

/// The memory of all processes of the job, and of its directories.
const MEMORY: u64 = 512 << 20;

/// One class after the other: one worker of each stressor for a second.
fn stressed(stage: &Stage, class: &str) -> Specification {
    let arguments =
        ["--sequential", "1", "--class", class, "--timeout", "1", "--temp-path", "/tmp", "--oomable"];
    let mut specification = stage.job(&[&[STRESS], &arguments[..]].concat());
    specification.mounts = ["/usr", "/lib", "/lib64"]
        .map(|place| Mount {
            source: std::fs::canonicalize(place).expect("the host's libraries"),
            target: place.into(),
            access: Access::ReadOnlyExecutable,
        })
        .into();
    specification.working_directory = "/tmp".into();
    let limits = &mut specification.limits;
    (limits.memory_bytes, limits.wall, limits.processes) = (MEMORY, TIME, 64);
    // It writes what it thinks of the machine; only that it is bounded counts.
    limits.stdout_bytes = 4 << 20;
    specification
}

/// Rounds of work that a job beside does, until it is cancelled; each is a line.
const BESIDE: &str = "import hashlib\n\
    while True:\n    for _ in range(200): hashlib.sha256(bytes(1 << 16)).digest()\n    print('.', flush=True)";

#[test]
#[ignore = "long: every stressor of stress-ng for a second"]
fn a_job_of_stressors_stays_within_its_limits_ends_in_its_time_and_another_beside_it_goes_on() {
    assert!(Path::new(STRESS).exists(), "this test needs: apt-get install stress-ng");
    let directory = open_directory().expect("a directory");
    let python = directory.path().join("runtime");
    sandbox::host_python(Path::new("/usr/bin/python3"), &python).expect("a runtime");
    let helper = harness::programs().join("databox-launch");
    let stage = Stage::new(&helper, &python).expect("a stage");
    for class in CLASSES {
        let mut beside = stage.text(BESIDE);
        // Another user, as in another slot.
        beside.host_uid = is_root().then_some(40_001);
        beside.limits.wall = TIME + LATE + LATE;
        let cancel = Cancel::new().expect("a cancel");
        let (stressed, took, beside) = std::thread::scope(|scope| {
            let beside = scope.spawn(|| stage.launch_until(&beside, &cancel).expect("a run beside"));
            let begun = Instant::now();
            let stressed = stage.launch(&stressed(&stage, class));
            let took = begun.elapsed();
            cancel.cancel();
            (stressed, took, beside.join().expect("the run beside"))
        });
        let stressed = stressed.unwrap_or_else(|error| panic!("{class}: {}", test_attacks::told(&error)));
        let said = String::from_utf8_lossy(&stressed.stdout).into_owned();
        let counted = stressed.evidence.state(LayerName::CgroupMemory) == State::On;
        println!(
            "stress-ng {class:<12} {:?} after {:.1} s, a process held {} MiB at most; beside it {} rounds",
            stressed.outcome,
            took.as_secs_f64(),
            stressed.peak_bytes.unwrap_or_default() >> 20,
            beside.stdout.len() / 2
        );
        assert!(said.contains("stress-ng"), "{class} began: {said}");
        assert!(took < TIME + LATE, "{class} took {took:?}: {said}");
        assert!(stressed.peak_bytes.is_none_or(|peak| peak <= MEMORY), "{class}: {:?}", stressed.peak_bytes);
        assert!(counted || !is_root(), "root has control groups here");
        assert_eq!(beside.outcome, Outcome::Cancelled, "{class}: the job beside was ended by nobody else");
        // Of a class that is over at once it may not even have begun.
        assert!(beside.stdout.len() >= 2 || took < MOMENT, "{class}: the job beside did nothing");
    }
    // The machine is as it was: the innocent twin.
    let ended = stage.launch(&stage.text("print('well')")).expect("a run");
    assert_eq!((ended.outcome, ended.stdout.as_slice()), (Outcome::Succeeded, &b"well\n"[..]));
}
