//! The clock of each room, and of the witness, is set forward and back while they run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use databox::job::{Bench, state};
use databox::profile::Profile;
use databox::review::Desk;
use databox::up::Rooms;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::wait;

const DAY: i64 = 24 * 3600;

/// A room that runs with a clock of its own. Dropping it kills it.
pub struct Skewed {
    child: Child,
    offset: PathBuf,
}

impl Skewed {
    /// Starts a room in place of the one that runs.
    pub fn start(tested: &mut TestBox, room: &str) -> Self {
        Self::start_at(tested, room, 0)
    }

    /// The same, with a clock that is so many seconds from the true time from the start.
    pub fn start_at(tested: &mut TestBox, room: &str, offset: i64) -> Self {
        tested.stage.rooms().kill(room);
        let command = Rooms::command(&tested.stage.home, room).unwrap();
        let journal = tested.stage.home.journal(room);
        Self::spawn(tested, room, offset, command, &journal, r#""event":"ready""#)
    }

    /// Starts the witness in place of the one that runs.
    fn start_witness(tested: &mut TestBox) -> Self {
        tested.stage.kill_witness();
        let command = tested.stage.witness_command().unwrap();
        let journal = tested.directory().join("skewed-witness.log");
        Self::spawn(tested, "witness", 0, command, &journal, "listens on")
    }

    fn spawn(
        tested: &TestBox,
        room: &str,
        seconds: i64,
        mut command: Command,
        told: &Path,
        ready: &str,
    ) -> Self {
        let library = tested.directory().join("clock.so");
        if !library.exists() {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/clock/clock.c");
            let built =
                Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
            assert!(built.expect("a C compiler").success());
        }
        let offset = tested.directory().join(format!("{room}.offset"));
        std::fs::write(&offset, seconds.to_string()).unwrap();
        let journal = std::fs::File::create(told).unwrap();
        command.env("LD_PRELOAD", &library).env("CLOCK_OFFSET", &offset);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(told).unwrap().contains(ready) {
            assert!(Instant::now() < deadline, "the {room} does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, offset }
    }

    /// Sets its clock to so many seconds from the true time. Renamed into place: half a number would be another jump.
    pub fn set(&self, seconds: i64) {
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

/// A person's profile with a certificate that is good for ten days before and after now, so that a room whose clock is
/// wrong still lets them in.
pub fn lasting(tested: &TestBox, id: &str, role: &str) -> Profile {
    let profile = tested.stage.profile(id);
    let keys = tested.directory().join(format!("lasting-{id}"));
    std::fs::create_dir(&keys).unwrap();
    for entry in std::fs::read_dir(&profile.keys).unwrap().flatten() {
        std::fs::copy(entry.path(), keys.join(entry.file_name())).unwrap();
    }
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    let home = &tested.stage.home;
    let authority = rcgen::KeyPair::from_pem(&read(home.tls("ca", "key"))).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read(home.tls("ca", "pem")), authority).unwrap();
    let key = rcgen::KeyPair::from_pem(&read(keys.join(format!("{id}.tls.key")))).unwrap();
    let mut params = rcgen::CertificateParams::default();
    let uri = format!("spiffe://demo.databox.example/{role}/{id}");
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.as_str().try_into().unwrap())];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let now = std::time::SystemTime::now();
    let far = Duration::from_secs(10 * DAY.unsigned_abs());
    (params.not_before, params.not_after) = ((now - far).into(), (now + far).into());
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    std::fs::write(keys.join(format!("{id}.tls.pem")), certificate).unwrap();
    Profile { keys, ..profile }
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
    let kim = lasting(&tested, "kim", "researcher");
    wait(async {
        let reviewed = submitted(&tested, "reviewed", 0).await;
        assert_eq!(tested.wait("kim", &reviewed, State::InReview).await, State::InReview);
        let running = submitted(&tested, "running", 20).await;
        assert_eq!(tested.wait("kim", &running, State::Running).await, State::Running);
        skewed.iter().for_each(|room| room.set(jump));
        if rooms.contains(&"gateway") {
            // Certificates are good for a day: by that clock they are over, or have not begun.
            tokio::time::sleep(Duration::from_secs(12)).await;
            let refused = Bench::connect(tested.stage.profile("kim")).await.err().expect("a wrong clock");
            assert_eq!(refused.reason, "CERTIFICATE_EXPIRED", "by {jump} s");
        }
        // The rooms look at their clocks each second.
        tokio::time::sleep(Duration::from_secs(3)).await;
        // Whose certificate is valid by the wrong clock, too, sees that the work goes on.
        let bench = Bench::connect(kim.clone()).await.unwrap();
        assert_eq!(state(&bench.job(&running).await.unwrap()), State::Running, "by {jump} s");
        assert_eq!(state(&bench.job(&reviewed).await.unwrap()), State::InReview, "by {jump} s");
        let ended = bench.wait(&running, &[State::InReview], PATIENCE).await.unwrap();
        assert_eq!(state(&ended), State::InReview, "a run ends while the clock is wrong by {jump} s");
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
    drop(skewed);
    examined(&mut tested);
}

/// What the stopped box has on disk keeps every promise, the limits of states among them.
fn examined(tested: &mut TestBox) {
    tested.stage.stop();
    let report =
        databox::fsck::examine(&tested.stage.home, &[]).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.broken().is_empty(), "{:?}", report.broken());
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

/// A steward's approval of a job's outputs.
async fn approved(tested: &TestBox, steward: &Profile, job: &str) -> Result<(), String> {
    let opened = tested.opened(steward.id.as_str(), job).await;
    let mut desk = Desk::connect(steward.clone()).await.map_err(|failure| failure.to_string())?;
    desk.approve(&opened).await.map(drop).map_err(|failure| failure.to_string())
}

/// What becomes of approvals that come while the clock of a room behind the enclave, or of the witness, is wrong.
fn approvals_meanwhile(room: &str, jump: i64) {
    let mut tested = TestBox::start();
    let stewards = ["ana", "ben"].map(|id| lasting(&tested, id, "steward"));
    let skewed = match room {
        "witness" => Skewed::start_witness(&mut tested),
        room => Skewed::start(&mut tested, room),
    };
    wait(async {
        let [first, second] = [submitted(&tested, "first", 0).await, submitted(&tested, "second", 0).await];
        for job in [&first, &second] {
            assert_eq!(tested.wait("kim", job, State::InReview).await, State::InReview);
        }
        let opened = tested.opened("ana", &first).await;
        skewed.set(jump);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut refused = Vec::new();
        for steward in &stewards {
            let mut desk = Desk::connect(steward.clone()).await.unwrap();
            if let Err(failure) = desk.approve(&opened).await {
                // The rule's name; what was refused for a clock is asked again when it is right.
                assert!(failure.text.contains("(out-of-force)"), "{room} by {jump} s: {failure}");
                refused.push(steward);
            }
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let bench = tested.bench("kim").await;
        let meanwhile = state(&bench.job(&first).await.unwrap());
        assert!([State::InReview, State::Approved, State::Released].contains(&meanwhile), "{meanwhile}");
        skewed.set(0);
        tokio::time::sleep(Duration::from_secs(3)).await;
        for steward in refused {
            approved(&tested, steward, &first).await.unwrap();
        }
        assert_eq!(tested.wait("kim", &first, State::Released).await, State::Released, "{room} by {jump} s");
        for steward in &stewards {
            approved(&tested, steward, &second).await.unwrap();
        }
        assert_eq!(tested.wait("kim", &second, State::Released).await, State::Released, "{room} by {jump} s");
    });
    drop(skewed);
    examined(&mut tested);
}

#[test]
fn approvals_that_come_while_a_clock_behind_the_enclave_is_wrong_lead_to_a_release_once_it_is_right() {
    std::thread::scope(|scope| {
        for room in ["console", "witness", "signer"] {
            for jump in [2 * DAY, -2 * DAY] {
                scope.spawn(move || approvals_meanwhile(room, jump));
            }
        }
    });
}
