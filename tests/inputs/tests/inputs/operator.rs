//! What operators do wrong, and what is said to them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use databox::throwaway::{Endpoints, Throwaway};
use harness::{PATIENCE, programs};

use crate::command;

/// A home whose rooms do not run, in a directory of its own.
struct Still {
    stage: Throwaway,
    scratch: tempfile::TempDir,
}

impl Still {
    fn make() -> Self {
        databox::programs::are_in(programs());
        let scratch = tempfile::Builder::new().prefix("databox-test-").tempdir().unwrap();
        fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o711)).unwrap();
        Self { stage: Throwaway::make(scratch.path(), Endpoints::free().unwrap()).unwrap(), scratch }
    }

    /// `databox up`, running.
    fn up(&self) -> Up {
        let mut child = Command::new(programs().join("databox"))
            .args(["up", "--dir", self.stage.home.directory().to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("up: "), "{line}");
        Up(child)
    }

    fn try_up(&self) -> std::process::Output {
        command::run(&["up", "--dir", self.stage.home.directory().to_str().unwrap()])
    }
}

struct Up(Child);

fn signal(child: &Child, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(process, signal).unwrap();
}

impl Drop for Up {
    fn drop(&mut self) {
        signal(&self.0, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_box_that_runs_is_not_started_a_second_time_and_its_journals_stay() {
    let still = Still::make();
    let home = &still.stage.home;
    let up = still.up();
    let journals = || ["signer", "enclave"].map(|room| fs::read_to_string(home.journal(room)).unwrap());
    let before = journals();
    let second = still.try_up();
    assert_eq!(command::name(&second), "ALREADY_UP");
    for (after, before) in journals().iter().zip(&before) {
        assert!(after.starts_with(before) && before.contains("ready"), "a journal was begun anew");
    }
    drop(up);
    drop(still.up());
    let kept = fs::read_to_string(home.journal("signer").with_extension("log.before")).unwrap();
    assert!(kept.contains("ready"), "the journal of the run before is kept");
}

#[test]
fn a_room_that_does_not_start_says_why_in_words_and_what_to_do() {
    let still = Still::make();
    let home = &still.stage.home;
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let taken = std::net::TcpListener::bind(still.stage.endpoints().gateway).unwrap();
    let output = still.try_up();
    assert_eq!(command::name(&output), "ROOM_DID_NOT_START");
    let text = said(&output);
    assert!(
        text.contains("the gateway did not start") && text.contains("another program has that address"),
        "{text}"
    );
    assert!(!text.contains('{') && !text.contains("\\\""), "no JSON: {text}");
    drop(taken);
    let configuration = home.configuration("console");
    let kept = fs::read_to_string(&configuration).unwrap();
    fs::write(&configuration, format!("lsiten = \"here\"\n{kept}")).unwrap();
    let text = said(&still.try_up());
    assert!(text.contains("the console did not start") && text.contains("lsiten"), "{text}");
    assert!(text.contains("correct ") && !text.contains("{\""), "{text}");
    fs::write(&configuration, kept).unwrap();
    drop(still.up());
    drop(still.scratch);
}

#[test]
fn a_demonstration_that_is_interrupted_leaves_nothing_behind() {
    for step in ["keys", "rooms", "runtime"] {
        let scratch = tempfile::tempdir().unwrap();
        fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut demo = Command::new(programs().join("databox"))
            .args(["demo", "--exit"])
            .env("TMPDIR", scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        // Read to its end: whoever stops reading ends the command in another way.
        let mut sent = false;
        for line in lines.map_while(Result::ok) {
            if !sent && line.contains(step) && line.starts_with('✔') {
                signal(&demo, rustix::process::Signal::INT);
                sent = true;
            }
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        while demo.try_wait().unwrap().is_none() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let output = demo.wait_with_output().unwrap();
        assert_eq!(command::name(&output), "INTERRUPTED", "{step}");
        let left: Vec<_> =
            fs::read_dir(scratch.path()).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "after {step}: {left:?}");
    }
}
