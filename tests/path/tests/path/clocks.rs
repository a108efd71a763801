//! The machine's clock is set, forward and back, while enclave and gateway run.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use databox::job::{Bench, state};
use databox::up::Rooms;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::wait;

const DAY: i64 = 24 * 3600;

/// A room that runs with a clock of its own. Dropping it kills it.
struct Skewed {
    child: Child,
    offset: PathBuf,
}

impl Skewed {
    /// Starts a room in place of the one that runs.
    fn start(tested: &mut TestBox, room: &str) -> Self {
        tested.stage.rooms().kill(room);
        let library = tested.directory().join("clock.so");
        if !library.exists() {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/clock/clock.c");
            let built =
                Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
            assert!(built.expect("a C compiler").success());
        }
        let offset = tested.directory().join(format!("{room}.offset"));
        std::fs::write(&offset, "0").unwrap();
        let mut command = Rooms::command(&tested.stage.home, room).unwrap();
        let journal = std::fs::File::create(tested.stage.home.journal(room)).unwrap();
        command.env("LD_PRELOAD", &library).env("CLOCK_OFFSET", &offset);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(tested.stage.home.journal(room))
            .unwrap()
            .contains(r#""event":"ready""#)
        {
            assert!(Instant::now() < deadline, "the {room} does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, offset }
    }

    /// Sets its clock to so many seconds from the true time. Renamed into place: half a number would be another jump.
    fn set(&self, seconds: i64) {
        let beside = self.offset.with_extension("new");
        std::fs::write(&beside, seconds.to_string()).unwrap();
        std::fs::rename(beside, &self.offset).unwrap();
    }
}

impl Drop for Skewed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn submitted(tested: &TestBox, name: &str, seconds: u32) -> String {
    let code = format!("import time\ntime.sleep({seconds})\n{}", write_metric("1"));
    let bundle = tested.bundle(name, &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", &code)]);
    let bench = tested.bench("kim").await;
    let prepared = bench.prepare(&bundle).await.unwrap_or_else(|failure| panic!("{failure}"));
    bench.submit(&prepared).await.unwrap_or_else(|failure| panic!("{failure}")).job
}

/// When the last run ended, by the enclave's clock.
fn run_ended_at(tested: &TestBox) -> i64 {
    let journal = std::fs::read_to_string(tested.stage.home.journal("enclave")).unwrap();
    let line = journal.lines().rfind(|line| line.contains(r#""event":"run ends""#)).expect("a run has ended");
    serde_json::from_str::<serde_json::Value>(line).unwrap()["time"].as_i64().unwrap()
}

/// What becomes of a job that runs and one that is in review while these rooms' clocks jump and jump back.
fn jumps(rooms: &[&str], jump: i64) {
    let mut tested = TestBox::start();
    let skewed: Vec<Skewed> = rooms.iter().map(|room| Skewed::start(&mut tested, room)).collect();
    wait(async {
        let reviewed = submitted(&tested, "reviewed", 0).await;
        assert_eq!(tested.wait("kim", &reviewed, State::InReview).await, State::InReview);
        let running = submitted(&tested, "running", 8).await;
        assert_eq!(tested.wait("kim", &running, State::Running).await, State::Running);
        skewed.iter().for_each(|room| room.set(jump));
        if rooms.contains(&"gateway") {
            // Certificates are good for a day: by that clock they are over, or have not begun.
            tokio::time::sleep(Duration::from_secs(12)).await;
            let refused = Bench::connect(tested.stage.profile("kim")).await.err().expect("a wrong clock");
            assert_eq!(refused.reason, "CERTIFICATE_EXPIRED", "by {jump} s");
        } else {
            // The rooms look at their clocks each second.
            tokio::time::sleep(Duration::from_secs(3)).await;
            let bench = tested.bench("kim").await;
            assert_eq!(state(&bench.job(&running).await.unwrap()), State::Running, "by {jump} s");
            assert_eq!(state(&bench.job(&reviewed).await.unwrap()), State::InReview, "by {jump} s");
            let ended = bench.wait(&running, &[State::InReview], PATIENCE).await.unwrap();
            assert_eq!(state(&ended), State::InReview, "a run ends while the clock is wrong by {jump} s");
        }
        if rooms.contains(&"enclave") {
            let ended = run_ended_at(&tested);
            let off = (ended - databox::site::now().seconds() - jump).abs();
            assert!(off < 60, "its journal's clock is {off} s from where it was set");
        }
        skewed.iter().for_each(|room| room.set(0));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let bench = tested.bench("kim").await;
        assert_eq!(tested.wait("kim", &running, State::InReview).await, State::InReview);
        for job in [&running, &reviewed] {
            assert_eq!(state(&bench.job(job).await.unwrap()), State::InReview, "after {jump} s and back");
        }
        let after = submitted(&tested, "after", 0).await;
        assert_eq!(tested.wait("kim", &after, State::InReview).await, State::InReview);
    });
}

#[test]
fn a_clock_that_is_set_forward_or_back_under_running_rooms_ends_nothing_and_holds_up_nothing() {
    std::thread::scope(|scope| {
        for rooms in [&["enclave"][..], &["gateway"], &["enclave", "gateway"]] {
            for jump in [2 * DAY, -2 * DAY] {
                scope.spawn(move || jumps(rooms, jump));
            }
        }
    });
}
