//! What operators do wrong, and what is said to them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use databox::home::ROOMS;
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
        Self { stage: Throwaway::make(scratch.path(), Endpoints::free().unwrap(), None).unwrap(), scratch }
    }

    /// `databox up`, running.
    fn up(&self) -> Up {
        Up::start(self.stage.home.directory())
    }

    fn try_up(&self) -> std::process::Output {
        command::run(&["up", "--dir", self.stage.home.directory().to_str().unwrap()])
    }
}

struct Up {
    child: Child,
    said: PathBuf,
}

impl Up {
    /// Starts it and waits until its rooms are ready.
    fn start(home: &Path) -> Self {
        let said = home.with_extension("said");
        let mut child = Command::new(programs().join("databox"))
            .args(["up", "--dir", home.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("up: "), "{line}");
        Self { child, said }
    }

    /// What it says after an orderly end, at its standard error.
    fn said(self) -> String {
        let said = self.said.clone();
        drop(self);
        fs::read_to_string(said).unwrap()
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(process, signal).unwrap();
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal(&self.child, rustix::process::Signal::TERM);
            let _ = self.child.wait();
        }
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
fn a_box_that_is_killed_takes_its_rooms_with_it_and_they_end_in_order() {
    let still = Still::make();
    let home = &still.stage.home;
    let mut up = still.up();
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    let stopped = |room| fs::read_to_string(home.journal(room)).unwrap().contains(r#""event":"stopped""#);
    let deadline = Instant::now() + PATIENCE;
    while !ROOMS.into_iter().all(stopped) {
        assert!(Instant::now() < deadline, "{:?} ended in order", ROOMS.map(stopped));
        std::thread::sleep(Duration::from_millis(50));
    }
    // The lock is free once the last room is gone.
    let lock = fs::File::open(home.join("run/up.lock")).unwrap();
    while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(Instant::now() < deadline, "a room runs on");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(lock);
    drop(still.up());
}

#[test]
fn a_room_that_a_service_manager_starts_outlives_whoever_started_it() {
    let still = Still::make();
    let home = &still.stage.home;
    let (config, journal) = (home.configuration("signer"), home.journal("signer"));
    // The shell ends at once.
    let script = "\"$0\" --config \"$1\" > /dev/null 2> \"$2\" & echo $!";
    let shell = Command::new("sh")
        .args(["-c", script])
        .arg(programs().join("signer"))
        .args([&config, &journal])
        .output()
        .unwrap();
    let process: i32 = String::from_utf8(shell.stdout).unwrap().trim().parse().unwrap();
    let process = rustix::process::Pid::from_raw(process).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let has = |word: &str| fs::read_to_string(&journal).unwrap_or_default().contains(word);
    while !has(r#""event":"ready""#) {
        assert!(Instant::now() < deadline, "the signer does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(rustix::process::test_kill_process(process).is_ok() && !has(r#""event":"stopped""#));
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    while !has(r#""event":"stopped""#) {
        assert!(Instant::now() < deadline, "the signer does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_box_says_when_it_starts_what_will_hold_up_its_jobs_and_releases() {
    let still = Still::make();
    let said = still.up().said();
    assert_eq!(said, "", "nothing holds up this one");
    let configuration = still.stage.home.configuration("enclave");
    let accepts = fs::read_to_string(&configuration).unwrap();
    let refuses = accepts.replace("accept_on_box_witness = true", "accept_on_box_witness = false");
    fs::write(&configuration, refuses).unwrap();
    let said = still.up().said();
    assert!(said.starts_with("held up: by enclave.toml 0 of 1 witnesses count"), "{said}");
    assert!(said.contains("log-witnesses") && said.contains("\n  → have another organisation"), "{said}");

    let empty = still.scratch.path().join("empty");
    let free = Endpoints::free().unwrap();
    let (gateway, console) = (free.gateway.to_string(), free.console.to_string());
    let words = ["--site", "hospital.example", "--gateway", &gateway, "--console", &console];
    let made = command::run(&[&["init", "--dir", empty.to_str().unwrap()], &words[..]].concat());
    assert_eq!(command::name(&made), "TAKEN");
    let said = Up::start(&empty).said();
    assert!(said.starts_with("held up: the site has no roles: nothing is admitted"), "{said}");
    assert!(said.contains("databox site install roles.json --site-directory"), "{said}");
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
