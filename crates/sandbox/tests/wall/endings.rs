//! However a run ends, its last process is dead when it does.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use sandbox::{Calls, Cancel, LaunchError, Launcher, LayerName, Outcome, Specification, State, Stdin};

use crate::stand::{Stand, again};

/// Leaves the session twice over, ignores every signal that can be ignored, and writes to a file for ever.
const DAEMON: &str = r#"
import os, signal, time
def daemon():
    if os.fork(): return
    os.setsid()
    if os.fork(): os._exit(0)
    for number in range(1, 32):
        try: signal.signal(number, signal.SIG_IGN)
        except OSError: pass
    out = os.open('/out/beats', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True: os.write(out, b'.'); time.sleep(0.01)
daemon()
while not os.path.exists('/out/beats') or os.path.getsize('/out/beats') < 3: time.sleep(0.01)
"#;

fn beats(out: &Path) -> u64 {
    fs::metadata(out.join("beats")).map_or(0, |file| file.len())
}

/// The daemon lived, and lives no longer.
fn assert_dead(out: &Path) {
    let (before, _) = (beats(out), thread::sleep(Duration::from_millis(200)));
    assert!(before >= 3, "the daemon never lived");
    assert_eq!(beats(out), before, "the daemon outlived its job");
}

fn forever(stand: &Stand) -> Specification {
    stand.python(&format!("{DAEMON}\nwhile True: time.sleep(1)"))
}

#[test]
fn a_daemon_dies_with_its_program() {
    let stand = Stand::new();
    stand.holds(DAEMON);
    assert_dead(&stand.out());
}

#[test]
fn the_time_limit_kills_daemons_too() {
    let stand = Stand::new();
    let mut specification = forever(&stand);
    specification.limits.wall = Duration::from_secs(3);
    let ended = stand.run(&specification);
    assert_eq!((ended.outcome, ended.code), (Outcome::TimeLimit, None));
    assert!(ended.wall >= Duration::from_secs(3) && ended.wall < Duration::from_secs(10), "{:?}", ended.wall);
    assert_dead(&stand.out());
}

#[test]
fn a_program_cannot_end_its_first_process_or_stop_it() {
    let stand = Stand::new();
    // Landlock refuses the signal; on a kernel whose Landlock knows no signals the first process does not hear it.
    let code = "import os\nfor number in (9, 15, 19, 11, 6):\n try: os.kill(1, number)\n except PermissionError: pass\nprint('still here')\n";
    assert_eq!(stand.holds(code), "still here\n");
    let ended = stand.run(&stand.python(
        "import os\nif not os.fork(): import time; time.sleep(60)\nos.kill(-1, 9); os.kill(os.getpid(), 9)",
    ));
    // Where no control group counts, a program that kills itself looks like one the kernel killed.
    let expected = match ended.evidence.state(LayerName::CgroupMemory) {
        State::On => Outcome::Failed,
        _ => Outcome::MemoryLimit,
    };
    assert_eq!(ended.outcome, expected);
}

#[test]
fn cancelling_ends_a_run_at_once() {
    let stand = Stand::new();
    let specification = forever(&stand);
    let cancel = Cancel::new().expect("a cancel");
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            while beats(&stand.out()) < 3 {
                thread::sleep(Duration::from_millis(10));
            }
            cancel.cancel();
        });
        Launcher::new(&stand.helper).run(&specification, Stdin::Empty, &cancel).expect("a run")
    });
    assert_eq!(ended.outcome, Outcome::Cancelled);
    assert_dead(&stand.out());

    let ended = Launcher::new(&stand.helper).run(&specification, Stdin::Empty, &cancel).expect("a run");
    assert_eq!(ended.outcome, Outcome::Cancelled, "cancelled before it began");
    assert!(ended.wall < Duration::from_secs(5));
}

#[test]
fn the_programs_exit_code_is_told_to_the_caller_only() {
    let stand = Stand::new();
    for (code, outcome) in
        [(0, Outcome::Succeeded), (1, Outcome::Failed), (10, Outcome::Failed), (255, Outcome::Failed)]
    {
        let ended = stand.run(&stand.python(&format!("import os; os._exit({code})")));
        assert_eq!((ended.outcome, ended.code), (outcome, Some(code)));
    }
    let ended = stand.run(&stand.python("import os; os.abort()"));
    assert_eq!((ended.outcome, ended.code), (Outcome::Failed, None));
}

#[test]
fn a_program_that_is_not_there_is_an_outcome_of_its_own() {
    let stand = Stand::new();
    for calls in [Calls::Job, Calls::Reader] {
        for program in ["nothing", "/usr/bin/nothing", "/data/hie/rows.csv", "/out"] {
            let mut specification = stand.python("");
            specification.program = program.into();
            specification.calls = calls;
            let ended = stand.run(&specification);
            assert_eq!((ended.outcome, ended.code), (Outcome::NotExecutable, None), "{program}");
        }
    }
}

/// Started by the tests below in a process of its own, which is then killed or kills its helper.
#[test]
#[ignore = "started by other tests"]
fn a_caller() {
    let out = std::env::var_os("WALL_TEST_OUT").map(std::path::PathBuf::from).expect("where to write");
    let mut stand = Stand::new();
    stand.host_uid = std::env::var("WALL_TEST_UID").ok().and_then(|uid| uid.parse().ok());
    let mut specification = forever(&stand);
    for mount in &mut specification.mounts {
        if mount.target == "/out" {
            mount.source = out.clone();
        }
    }
    let launched = stand.launch(&specification);
    assert!(matches!(launched, Err(LaunchError::HelperDied)), "{launched:?}");
    let at_return = beats(&out);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(beats(&out), at_return, "the run returned before its last process was dead");
}

fn start_caller(stand: &Stand) -> std::process::Child {
    let mut caller = again(stand, "endings::a_caller");
    caller.env("WALL_TEST_OUT", stand.out()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(uid) = stand.host_uid {
        caller.env("WALL_TEST_UID", uid.to_string());
    }
    let caller = caller.spawn().expect("a caller");
    let patience = Instant::now() + Duration::from_secs(20);
    while beats(&stand.out()) < 3 {
        assert!(Instant::now() < patience, "the job never began");
        thread::sleep(Duration::from_millis(10));
    }
    caller
}

#[test]
fn killing_the_caller_kills_the_job() {
    let stand = Stand::new();
    let mut caller = start_caller(&stand);
    caller.kill().expect("a kill");
    caller.wait().expect("a dead caller");
    thread::sleep(Duration::from_millis(500));
    assert_dead(&stand.out());
}

#[test]
fn killing_the_helper_kills_the_job_and_the_run_returns_after_it() {
    let stand = Stand::new();
    let mut caller = start_caller(&stand);
    let helper = child_named(caller.id(), "databox-launch");
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).expect("a kill");
    assert!(caller.wait().expect("the caller's end").success());
    assert_dead(&stand.out());
}

fn child_named(parent: u32, name: &str) -> rustix::process::Pid {
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((before, after)) = stat.rsplit_once(") ") else { continue };
        let Some((pid, found)) = before.split_once(" (") else { continue };
        let its_parent = after.split(' ').nth(1).and_then(|parent| parent.parse::<u32>().ok());
        if found == name && its_parent == Some(parent) {
            return pid.parse().ok().and_then(rustix::process::Pid::from_raw).expect("an id");
        }
    }
    panic!("{parent} has no child {name}")
}

#[test]
fn fifty_runs_leave_no_mount_process_or_descriptor_behind() {
    let stand = Stand::new();
    let mut specification = stand.python("");
    specification.program = "/usr/bin/nothing".into();
    let helpers_before = children();
    for _ in 0..50 {
        assert_eq!(stand.run(&specification).outcome, Outcome::NotExecutable);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(stand.directory.to_str().expect("a plain path")), "{mounts}");
    // Other tests run at the same time and hold some of each.
    assert!(children() < helpers_before + 25, "{} children", children());
    let descriptors = fs::read_dir("/proc/self/fd").expect("descriptors").count();
    assert!(descriptors < 100, "{descriptors} descriptors are open");
}

fn children() -> usize {
    let threads = fs::read_dir("/proc/self/task").expect("threads").flatten();
    let of = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    threads.map(|thread| of(thread).split_whitespace().count()).sum()
}
