//! What a job that failed says before any release: a place in the researcher's own code and what it used, in small
//! numbers. A job that wants to say more, in any of the ways that a program can speak, says nothing more.

use std::path::{Path, PathBuf};
use std::process::Command;

use api::v1::{FailureClass, Job};
use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest};
use lifecycle::State;

use crate::site_changes::change_policy;
use crate::wait;

/// Python that has a row of the data in `row`; the next line is the third.
const ROW: &str =
    "import os, sys, time\nrow = open('/data/hie/hie.csv').readlines()[1].split(',')[3].strip()\n";

/// What each failure is planted with.
const PLANTED: [(&str, &str); 11] = [
    ("text", "raise ValueError(row)"),
    ("class", "raise type(row, (Exception,), {})(row)"),
    ("streams", "print(row, flush=True); sys.stderr.write(row); 1/0"),
    ("file-name", "exec(compile('1/0', '/job/' + row, 'exec'))"),
    ("report", "open('/out/.failure', 'w').write(row); os._exit(1)"),
    ("report-of-four-letters", "open('/out/.failure', 'w').write(row[:4]); os._exit(1)"),
    ("output-name", "open('/out/' + row, 'w').write(row); sys.exit(1)"),
    ("exit-code-one", "os._exit(1)"),
    ("exit-code-other", "os._exit(ord(row[-1]) | 128)"),
    ("exit-code-words", "sys.exit(row)"),
    ("signal", "os.kill(os.getpid(), 11)"),
];

async fn failed(tested: &TestBox, name: &str, code: &str) -> Job {
    let text = manifest(ONE_METRIC);
    let code = format!("{ROW}{code}\n");
    let bundle = tested.bundle(name, &[("databox.toml", &text), ("job.py", &code)]);
    let job = tested.run_job("kim", &bundle).await;
    assert_eq!(state(&job), State::Failed, "{name}: {:?}", job.outcome);
    job
}

/// Class, file and line; None if nothing is told.
fn place(job: &Job) -> Option<(FailureClass, u32, u32)> {
    let told = job.outcome.as_ref()?.failure.as_ref()?;
    Some((told.class(), told.file, told.line))
}

/// Everything that an answer says but when: nanoseconds would be a clock finer than any grid.
fn without_its_moment(job: &Job) -> String {
    let mut outcome = job.outcome.clone().unwrap();
    assert_eq!(outcome.at.take().unwrap().nanos, 0);
    // How much of the memory an interpreter holds is its own matter.
    outcome.used = None;
    format!("{outcome:?}")
}

fn files_below(place: PathBuf) -> Vec<PathBuf> {
    let mut open = vec![place];
    let mut files = Vec::new();
    while let Some(place) = open.pop() {
        let found = std::fs::symlink_metadata(&place).unwrap();
        if found.is_dir() {
            open.extend(std::fs::read_dir(&place).unwrap().flatten().map(|entry| entry.path()));
        } else if found.is_file() {
            files.push(place);
        }
    }
    files
}

fn holds_a_row(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| window == b"patient-")
}

fn show(tested: &TestBox, state: &Path, arguments: &[&str]) -> String {
    let profile = tested.directory().join("kim.toml");
    if !profile.exists() {
        tested.stage.profile("kim").write_new(&profile).unwrap();
    }
    let output = Command::new(harness::programs().join("databox"))
        .args(["--profile", profile.to_str().unwrap()])
        .args(arguments)
        .env("XDG_STATE_HOME", state)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_row_planted_in_whatever_a_failing_program_says_is_found_nowhere_outside() {
    let tested = TestBox::start();
    let mut jobs = Vec::new();
    wait(async {
        for (name, code) in PLANTED {
            jobs.push((name, failed(&tested, name, code).await));
        }
    });
    let told = |name: &str| jobs.iter().find(|(planted, _)| *planted == name).map(|(_, job)| job).unwrap();
    assert_eq!(place(told("text")), Some((FailureClass::ValueError, 2, 3)), "an honest part is told");
    assert_eq!(place(told("class")), Some((FailureClass::Other, 2, 3)));
    assert_eq!(place(told("streams")), Some((FailureClass::ZeroDivisionError, 2, 3)));
    assert_eq!(place(told("file-name")), Some((FailureClass::ZeroDivisionError, 2, 3)));
    let silent = without_its_moment(told("exit-code-one"));
    for name in ["report", "report-of-four-letters", "exit-code-other", "exit-code-words", "signal"] {
        assert_eq!(without_its_moment(told(name)), silent, "{name}: every end without a place is told alike");
    }
    let state = tested.directory().join("state");
    for (name, job) in &jobs {
        assert!(!format!("{job:?}").contains("patient-"), "{name}");
        for form in [&["job", "show", &job.job][..], &["--json", "job", "show", &job.job]] {
            assert!(!holds_a_row(show(&tested, &state, form).as_bytes()), "{name}");
        }
    }
    for below in ["gateway", "console", "signer", "public", "hand-over", "run", "drafts"] {
        for file in files_below(tested.stage.home.join(below)) {
            assert!(
                !holds_a_row(&std::fs::read(&file).unwrap_or_default()),
                "{} holds a row",
                file.display()
            );
        }
    }
    let held = files_below(tested.stage.home.join("enclave"));
    assert!(
        held.iter().any(|file| holds_a_row(&std::fs::read(file).unwrap_or_default())),
        "the search finds rows"
    );
}

#[test]
fn a_row_planted_in_how_long_a_program_runs_moves_nothing_but_the_step_of_the_grid() {
    let tested = TestBox::start();
    wait(async {
        change_policy(&tested, "time_grid_seconds = 1\n", "time_grid_seconds = 5\n").await;
        let mut told = Vec::new();
        for (name, code) in [
            ("at-once", "raise KeyError(row)"),
            ("later", "time.sleep(ord(row[-1]) / 1000); raise KeyError(row)"),
            ("much-later", "time.sleep(2); raise KeyError(row)"),
        ] {
            let job = failed(&tested, name, code).await;
            assert_eq!(
                job.outcome.as_ref().unwrap().at.unwrap().seconds % 5,
                0,
                "{name}: a step of the grid"
            );
            told.push(without_its_moment(&job));
        }
        assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    });
}

#[test]
fn an_honest_failure_is_shown_with_its_class_its_line_and_what_was_used() {
    let tested = TestBox::start();
    let state = tested.directory().join("state");
    let text = manifest(ONE_METRIC);
    let helper = "def read(row):\n    return row['no such column']\n";
    let code = "from helper import read\nread({})\n";
    let bundle = tested.bundle("honest", &[("databox.toml", &text), ("helper.py", helper), ("job.py", code)]);
    let shown = show(&tested, &state, &["job", "submit", bundle.to_str().unwrap(), "--wait"]);
    assert!(shown.contains("failed   helper.py:2 KeyError\n"), "{shown}");
    assert!(shown.contains("hint     look at this line"), "{shown}");
    assert!(shown.contains("memory   limit 1024 MiB, largest process used less than 2/8\n"), "{shown}");
    assert!(shown.contains("time     limit 30 s\n"), "{shown}");
    let job = shown.split_whitespace().nth(1).unwrap().to_owned();
    let json = show(&tested, &state, &["--json", "job", "show", &job]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["failure"]["class"], "KeyError");
    assert_eq!((&value["failure"]["file"], &value["failure"]["line"]), (&2.into(), &2.into()));
    assert_eq!(value["limits"]["memoryBytes"], 1_073_741_824_u64);
    assert_eq!(value["usedEighths"]["memory"], 1);
    // At another desk the numbers are told as they are.
    let elsewhere = show(&tested, &tested.directory().join("elsewhere"), &["job", "show", &job]);
    assert!(elsewhere.contains("failed   file 2 of the bundle:2 KeyError\n"), "{elsewhere}");
}

#[test]
fn a_job_that_needs_more_memory_than_it_asked_for_is_told_so_with_its_line() {
    let tested = TestBox::start();
    wait(async {
        let greedy = failed(&tested, "greedy", "held = bytearray(4 << 30)").await;
        assert_eq!(place(&greedy), Some((FailureClass::MemoryError, 2, 3)));
        let filled = "held = [bytearray(b'x' * (8 << 20)) for _ in range(1000)]";
        let filled = failed(&tested, "filled", filled).await;
        let used = filled.outcome.unwrap_or_default().used.unwrap_or_default();
        assert!(used.memory >= 6, "{used:?}");
    });
}
