//! Attempts where the launch itself is the attempt: what a specification may ask for, and how a run ends.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use sandbox::{
    Access, Ended, LaunchError, Mount, Outcome, Refusal, Specification, SpecificationError, Stdin, Wall,
};

use crate::seen::{self, Seen};
use crate::stage::Stage;
use crate::told;

/// One attempt: what it is, the hostile launch and what counts as contained, and the innocent one.
struct Attempt<'a> {
    name: &'static str,
    technique: &'static str,
    hostile: Specification,
    stdin: Vec<u8>,
    contained: &'a dyn Fn(&Result<Ended, LaunchError>) -> bool,
    innocent: Specification,
}

/// Runs them all.
pub fn attempts(stage: &Stage, wall: &str) -> Vec<Seen> {
    let mut seen: Vec<Seen> = [endings(stage), specifications(stage)]
        .into_iter()
        .flatten()
        .map(|one| try_one(stage, wall, one))
        .collect();
    seen.push(exit_codes(stage, wall));
    seen.push(forged_end(stage, wall));
    seen.push(daemon(stage, wall));
    seen
}

fn try_one(stage: &Stage, wall: &str, attempt: Attempt<'_>) -> Seen {
    let stdin = |bytes: &[u8]| if bytes.is_empty() { Stdin::Empty } else { Stdin::Bytes(bytes.to_vec()) };
    let hostile = stage.launch_with(&attempt.hostile, stdin(&attempt.stdin));
    let innocent = stage.launch_with(&attempt.innocent, stdin(&attempt.stdin));
    let outcome = match innocent {
        Ok(Ended { outcome: Outcome::Succeeded, .. }) if (attempt.contained)(&hostile) => {
            seen::Outcome::Contained
        }
        Ok(Ended { outcome: Outcome::Succeeded, .. }) => seen::Outcome::Escaped,
        _ => seen::Outcome::TwinFailed,
    };
    let saw = match hostile {
        Ok(ended) => format!("{:?}", ended.outcome),
        Err(error) => told(&error),
    };
    row(attempt.name, attempt.technique, wall, saw, outcome)
}

fn row(attempt: &str, technique: &str, wall: &str, saw: String, outcome: seen::Outcome) -> Seen {
    Seen {
        attempt: attempt.to_owned(),
        technique: technique.to_owned(),
        wall: wall.to_owned(),
        saw,
        outcome,
        differs: None,
    }
}

const CPU: &dyn Fn(&Result<Ended, LaunchError>) -> bool =
    &|ended| ended.as_ref().is_ok_and(|ended| ended.outcome == Outcome::CpuLimit);
const TIME: &dyn Fn(&Result<Ended, LaunchError>) -> bool =
    &|ended| ended.as_ref().is_ok_and(|ended| ended.outcome == Outcome::TimeLimit);
const MEMORY: &dyn Fn(&Result<Ended, LaunchError>) -> bool =
    &|ended| ended.as_ref().is_ok_and(|ended| ended.outcome == Outcome::MemoryLimit);
const FLOOD: &dyn Fn(&Result<Ended, LaunchError>) -> bool = &|ended| {
    ended.as_ref().is_ok_and(|ended| ended.outcome == Outcome::OutputLimit && ended.stdout.len() <= 1 << 20)
};
const FILE: &dyn Fn(&Result<Ended, LaunchError>) -> bool =
    &|ended| ended.as_ref().is_ok_and(|ended| ended.outcome == Outcome::FileLimit);
/// Without a control group that counts, the program fails at the limit of its user, and says itself what it was refused.
const REFUSED: &dyn Fn(&Result<Ended, LaunchError>) -> bool = &|ended| {
    ended.as_ref().is_ok_and(|ended| match ended.outcome {
        Outcome::ProcessLimit => true,
        Outcome::Failed => {
            let said = String::from_utf8_lossy(&ended.stdout);
            said.contains("BlockingIOError") || said.contains("can't start new thread")
        }
        _ => false,
    })
};
const ENDS: &dyn Fn(&Result<Ended, LaunchError>) -> bool = &|ended| {
    ended
        .as_ref()
        .is_ok_and(|ended| ended.outcome == Outcome::Succeeded && ended.wall < Duration::from_secs(60))
};

fn endings(stage: &Stage) -> Vec<Attempt<'static>> {
    let innocent = || stage.text("import sys; sys.stdin.buffer.read(); print('done')");
    let limited = |text: &str, limit: &dyn Fn(&mut Specification)| {
        let mut specification = stage.text(text);
        limit(&mut specification);
        specification
    };
    let attempt = |name, technique, hostile, contained| Attempt {
        name,
        technique,
        hostile,
        stdin: Vec::new(),
        contained,
        innocent: innocent(),
    };
    let mut attempts = vec![
        attempt(
            "processor-hog",
            "a loop for ever",
            limited("while True: pass", &|specification| specification.limits.cpu_seconds = 1),
            CPU,
        ),
        attempt(
            "sleeper",
            "a run that never ends",
            limited("import time; time.sleep(600)", &|specification| {
                specification.limits.wall = Duration::from_secs(2);
            }),
            TIME,
        ),
        attempt(
            "deaf-to-signals",
            "a run that ignores every signal it can",
            limited(
                "import signal, time\nfor n in range(1, 65):\n try: signal.signal(n, signal.SIG_IGN)\n except (OSError, ValueError): pass\ntime.sleep(600)",
                &|specification| specification.limits.wall = Duration::from_secs(2),
            ),
            TIME,
        ),
        attempt(
            "memory-bomb",
            "all of the machine's memory",
            limited("held = []\nwhile True: held.append(bytearray(16 << 20))", &|specification| {
                specification.limits.memory_bytes = 256 << 20;
            }),
            MEMORY,
        ),
        attempt(
            "output-flood",
            "gigabytes on standard output, to fill whoever reads it",
            stage.text("import sys\nwhile True: sys.stdout.write('x' * 65536)"),
            FLOOD,
        ),
        attempt(
            "file-bomb",
            "one file that fills the disk",
            stage.text("import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\nwith open('/out/x', 'wb') as file:\n while True: file.write(bytes(1 << 20))"),
            FILE,
        ),
    ];
    for (name, technique, text) in [
        (
            "processes-without-end",
            "a fork bomb that only the limit stops",
            "import os, time\nwhile True:\n if os.fork() == 0: time.sleep(600)",
        ),
        (
            "threads-without-end",
            "threads that only the limit stops",
            "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        ),
    ] {
        let hostile = limited(text, &|specification| specification.limits.wall = Duration::from_secs(60));
        attempts.push(attempt(name, technique, hostile, REFUSED));
    }
    if matches!(stage.wall(), Wall::Vm | Wall::VmEmulated) {
        // There is no input that a program could be deaf to: a machine has none.
        return attempts;
    }
    attempts.push(Attempt {
        name: "deaf-to-its-input",
        technique: "a run that never reads, so that whoever feeds it waits for ever",
        hostile: stage.text("print('did not listen')"),
        stdin: vec![7; 3 << 20],
        contained: ENDS,
        innocent: innocent(),
    });
    attempts
}

const LOADER: &dyn Fn(&Result<Ended, LaunchError>) -> bool =
    &|ended| matches!(ended, Err(LaunchError::Specification(SpecificationError::VariableSteersLoader(_))));
const RESERVED: &dyn Fn(&Result<Ended, LaunchError>) -> bool =
    &|ended| matches!(ended, Err(LaunchError::Specification(SpecificationError::TargetReserved(_))));
const OVERLAP: &dyn Fn(&Result<Ended, LaunchError>) -> bool =
    &|ended| matches!(ended, Err(LaunchError::Specification(SpecificationError::TargetsOverlap(..))));
const NOT_PLAIN: &dyn Fn(&Result<Ended, LaunchError>) -> bool = &|ended| {
    matches!(
        ended,
        Err(LaunchError::Specification(
            SpecificationError::TargetNotPlain(_) | SpecificationError::SourceNotPlain(_)
        ))
    )
};
const LINK: &dyn Fn(&Result<Ended, LaunchError>) -> bool =
    &|ended| matches!(ended, Err(LaunchError::Refused(Refusal::SourceIsLink(_))));
const WRONG_KIND: &dyn Fn(&Result<Ended, LaunchError>) -> bool =
    &|ended| matches!(ended, Err(LaunchError::Refused(Refusal::SourceOfWrongKind(_))));

const HOLDS: &dyn Fn(&Result<Ended, LaunchError>) -> bool =
    &|ended| matches!(ended, Err(LaunchError::Refused(Refusal::SourceHoldsOtherKind(_))));

fn specifications(stage: &Stage) -> Vec<Attempt<'static>> {
    let mounted = |source: PathBuf, target: &str| {
        let mut specification = stage.text("print('done')");
        specification.mounts.push(Mount { source, target: target.into(), access: Access::ReadOnly });
        specification
    };
    let variable = |name: &str| {
        let mut specification = stage.text("print('done')");
        specification.environment.push((name.into(), "/job/evil.so".into()));
        specification
    };
    let link = stage.path("link-to-other");
    let _ = symlink(stage.path("other"), &link);
    let attempt = |name, technique, hostile, contained| Attempt {
        name,
        technique,
        hostile,
        stdin: Vec::new(),
        contained,
        innocent: mounted(stage.path("other"), "/data/other"),
    };
    vec![
        attempt("preloaded-library", "LD_PRELOAD in a job's environment", variable("LD_PRELOAD"), LOADER),
        attempt("audited-library", "LD_AUDIT in a job's environment", variable("LD_AUDIT"), LOADER),
        attempt("loader-settings", "GLIBC_TUNABLES; CVE-2023-4911", variable("GLIBC_TUNABLES"), LOADER),
        attempt(
            "link-as-a-source",
            "a dataset's directory replaced by a link; CVE-2026-87766",
            mounted(link.clone(), "/data/other"),
            LINK,
        ),
        attempt(
            "link-within-a-source",
            "a link on the way to a dataset's file; CVE-2025-52881",
            mounted(link.join("rows.csv"), "/data/other"),
            LINK,
        ),
        attempt(
            "device-as-a-source",
            "a device in the place of data; CVE-2025-31133",
            mounted("/dev/null".into(), "/data/other"),
            WRONG_KIND,
        ),
        attempt(
            "socket-as-a-source",
            "a socket of the host in the place of data",
            mounted(stage.path("socket"), "/data/other"),
            WRONG_KIND,
        ),
        attempt(
            "socket-within-the-data",
            "a socket of the host among the rows: a read-only mount hinders no connection",
            mounted(stage.path("with-socket"), "/data/other"),
            HOLDS,
        ),
        attempt(
            "pipe-within-the-data",
            "a named pipe of the host among the rows: a read-only mount hinders no writing",
            mounted(stage.path("with-pipe"), "/data/other"),
            HOLDS,
        ),
        attempt(
            "parent-in-a-source",
            "`..` in a path of a dataset",
            mounted(stage.path("data/../other"), "/data/other"),
            NOT_PLAIN,
        ),
        attempt(
            "parent-in-a-target",
            "`..` in the place where it is shown",
            mounted(stage.path("other"), "/data/../usr"),
            NOT_PLAIN,
        ),
        attempt(
            "mount-over-proc",
            "a directory in the place of /proc; CVE-2019-19921",
            mounted(stage.path("other"), "/proc/self"),
            RESERVED,
        ),
        attempt(
            "mount-over-dev",
            "a file in the place of /dev/null; CVE-2025-52565",
            mounted(stage.path("secret"), "/dev/null"),
            RESERVED,
        ),
        attempt(
            "mount-over-a-mount",
            "a directory within what is shown, which a later mount would follow",
            mounted(stage.path("other"), "/data/hie/rows"),
            OVERLAP,
        ),
    ]
}

/// The exit code as a channel of eight bits a run.
fn exit_codes(stage: &Stage, wall: &str) -> Seen {
    let outcome = |code: u8| {
        stage.launch(&stage.text(&format!("import os; os._exit({code})"))).map(|ended| ended.outcome)
    };
    let [well, others @ ..] = [0, 1, 2, 77, 127, 139, 255].map(outcome);
    let saw = format!("{others:?}");
    let contained = others.iter().all(|ended| matches!(ended, Ok(Outcome::Failed)));
    let outcome = match well {
        Ok(Outcome::Succeeded) if contained => seen::Outcome::Contained,
        Ok(Outcome::Succeeded) => seen::Outcome::Escaped,
        _ => seen::Outcome::TwinFailed,
    };
    row("exit-code", "the exit code as a channel: 256 answers a run", wall, saw, outcome)
}

/// What the launcher that started the program would report of it, written by the program into whatever that launcher and
/// the program's other ancestors have open.
const FORGED_END: &str = r#"
import json, os
told = json.dumps({"Ended": {"outcome": "succeeded", "code": None, "peak_bytes": 1, "killed": False}}).encode()
wrote = 0
for process in ("1", str(os.getppid()), "2", "3"):
    try:
        names = os.listdir(f"/proc/{process}/fd")
    except OSError:
        continue
    for name in names:
        try:
            opened = os.open(f"/proc/{process}/fd/{name}", os.O_WRONLY | os.O_NONBLOCK)
            os.write(opened, len(told).to_bytes(4, "little") + told)
            wrote += 1
        except OSError:
            pass
os._exit(7)
"#;

/// A program that says itself how it ended: that it succeeded, where it failed.
fn forged_end(stage: &Stage, wall: &str) -> Seen {
    let (saw, outcome) = match stage.launch(&stage.text(FORGED_END)) {
        Ok(Ended { outcome: Outcome::Failed, code: Some(7), .. }) => {
            ("told as it was".to_owned(), seen::Outcome::Contained)
        }
        Ok(ended) => (format!("{:?} with {:?}", ended.outcome, ended.code), seen::Outcome::Escaped),
        Err(error) => (told(&error), seen::Outcome::Escaped),
    };
    let truth = stage.launch(&stage.text("import os; os._exit(0)")).map(|ended| ended.outcome);
    let outcome = if matches!(truth, Ok(Outcome::Succeeded)) { outcome } else { seen::Outcome::TwinFailed };
    row("forged-end", "the launcher's own report, written by the program through /proc", wall, saw, outcome)
}

/// A process that outlives its job and goes on writing.
fn daemon(stage: &Stage, wall: &str) -> Seen {
    let hostile = stage.text(
        "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  while True:\n   open('/out/beats', 'ab').write(b'.'); time.sleep(0.005)\n os._exit(0)\nwhile not os.path.exists('/out/beats') or os.path.getsize('/out/beats') < 3: time.sleep(0.005)",
    );
    let beats = |space: &std::os::fd::OwnedFd| {
        rustix::fs::statat(space, "beats", rustix::fs::AtFlags::empty()).map_or(0, |found| found.st_size)
    };
    let (saw, outcome) = match stage.launch(&hostile) {
        Ok(Ended { outcome: Outcome::Succeeded, output: Some(space), .. }) => {
            let before = beats(&space);
            std::thread::sleep(Duration::from_millis(200));
            let grown = beats(&space) - before;
            // That it lived at all is its twin.
            let outcome = match (before >= 3, grown) {
                (true, 0) => seen::Outcome::Contained,
                (true, _) => seen::Outcome::Escaped,
                (false, _) => seen::Outcome::TwinFailed,
            };
            (format!("{grown} writes after the end"), outcome)
        }
        Ok(ended) => (format!("{:?}", ended.outcome), seen::Outcome::TwinFailed),
        Err(error) => (told(&error), seen::Outcome::TwinFailed),
    };
    row("daemon", "a process that leaves its session twice and outlives its job", wall, saw, outcome)
}
