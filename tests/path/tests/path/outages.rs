//! A room, or the witness, that is missing or hangs for a while: what was begun waits, and goes on when it is back.

use std::time::Duration;

use databox::job::state;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// How long a room is missing: longer than any pause before something is tried again.
const MISSING: Duration = Duration::from_secs(45);

/// The same, when there is time.
const LONG_MISSING: Duration = Duration::from_secs(240);

/// Submits a job and waits until it is in one of these states, or has ended.
async fn begun(tested: &TestBox, until: &[State]) -> String {
    running_for(tested, Duration::ZERO, until).await
}

/// The same with a job that takes so long.
async fn running_for(tested: &TestBox, time: Duration, until: &[State]) -> String {
    let code = format!("import time\ntime.sleep({})\n{}", time.as_secs(), write_metric("1"));
    let text = manifest(ONE_METRIC).replace("30s", "20min");
    let bundle = tested.bundle("one", &[("databox.toml", &text), ("job.py", &code)]);
    let bench = tested.bench("kim").await;
    let prepared = bench.prepare(&bundle).await.unwrap_or_else(|failure| panic!("{failure}"));
    let job = bench.submit(&prepared).await.unwrap_or_else(|failure| panic!("{failure}")).job;
    bench.wait(&job, until, PATIENCE).await.unwrap_or_else(|failure| panic!("{failure}"));
    job
}

/// From review to release, with both stewards.
async fn released(tested: &TestBox, job: &str) {
    assert_eq!(tested.wait("kim", job, State::InReview).await, State::InReview);
    for steward in ["ana", "ben"] {
        let opened = tested.opened(steward, job).await;
        tested.desk(steward).await.approve(&opened).await.unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert_eq!(tested.wait("kim", job, State::Released).await, State::Released);
}

fn missing(tested: &mut TestBox, room: &'static str, time: Duration) {
    tested.stage.rooms().kill(room);
    std::thread::sleep(time);
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, room).unwrap();
}

/// Jobs are taken in while the enclave is missing, and run when it is back.
fn without_the_enclave(time: Duration) {
    let mut tested = TestBox::start();
    tested.stage.rooms().kill("enclave");
    let waiting = wait(begun(&tested, &[State::Submitted]));
    missing(&mut tested, "enclave", time);
    wait(released(&tested, &waiting));
}

fn runs_ended(tested: &TestBox) -> usize {
    let journal = std::fs::read_to_string(tested.stage.home.journal("enclave")).unwrap();
    journal.matches(r#""event":"run ends""#).count()
}

/// A run goes on and ends while the gateway is missing, and its requester learns of it afterwards.
fn without_the_gateway(time: Duration) {
    let mut tested = TestBox::start();
    let running = wait(running_for(&tested, time / 2, &[State::Running]));
    assert_eq!(runs_ended(&tested), 0, "it runs when the gateway goes");
    tested.stage.rooms().kill("gateway");
    std::thread::sleep(time);
    assert_eq!(runs_ended(&tested), 1, "it ended while the gateway was missing");
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "gateway").unwrap();
    wait(released(&tested, &running));
}

/// A verdict waits for the console.
fn without_the_console(time: Duration) {
    let mut tested = TestBox::start();
    tested.stage.rooms().kill("console");
    let judged = wait(begun(&tested, &[State::InReview]));
    missing(&mut tested, "console", time);
    wait(released(&tested, &judged));
}

/// Approvals wait for the signer or the witness.
fn approved_meanwhile(tested: &TestBox, judged: &str) {
    wait(async {
        for steward in ["ana", "ben"] {
            tested.approve(steward).await;
        }
        let job = tested.bench("kim").await.job(judged).await.unwrap();
        assert!(matches!(state(&job), State::InReview | State::Approved), "released by nobody");
    });
}

fn without_the_signer(time: Duration) {
    let mut tested = TestBox::start();
    let judged = wait(begun(&tested, &[State::InReview]));
    tested.stage.rooms().kill("signer");
    approved_meanwhile(&tested, &judged);
    missing(&mut tested, "signer", time);
    assert_eq!(wait(tested.wait("kim", &judged, State::Released)), State::Released);
}

fn without_the_witness(time: Duration) {
    let mut tested = TestBox::start();
    let judged = wait(begun(&tested, &[State::InReview]));
    tested.stage.kill_witness();
    approved_meanwhile(&tested, &judged);
    std::thread::sleep(time);
    tested.stage.start_witness().unwrap();
    assert_eq!(wait(tested.wait("kim", &judged, State::Released)), State::Released);
}

fn each(time: Duration) {
    let tests = [
        without_the_enclave,
        without_the_gateway,
        without_the_console,
        without_the_signer,
        without_the_witness,
    ];
    std::thread::scope(|scope| {
        for test in tests {
            scope.spawn(move || test(time));
        }
    });
}

/// How long a room hangs: longer than an HTTP/2 ping and its answer may take, and than the console waits for the signer.
const HANGING: Duration = Duration::from_secs(45);

/// A stopped process keeps its sockets and its locks, and answers nothing: it cannot be told from one that is only slow.
pub struct Hanging(Pid);

impl Hanging {
    pub fn room(tested: &mut TestBox, room: &str) -> Self {
        let process = tested.stage.rooms().process(room).unwrap();
        let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
        kill_process(process, Signal::STOP).unwrap();
        Self(process)
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

/// Jobs are taken in while the enclave hangs, another one's run is cut short by nothing, and both end.
fn while_the_enclave_hangs() {
    let mut tested = TestBox::start();
    let running = wait(running_for(&tested, HANGING / 3, &[State::Running]));
    let hanging = Hanging::room(&mut tested, "enclave");
    let waiting = wait(begun(&tested, &[State::Submitted]));
    std::thread::sleep(HANGING);
    let state_of = |job: &str| state(&wait(async { tested.bench("kim").await.job(job).await.unwrap() }));
    assert_eq!((state_of(&running), state_of(&waiting)), (State::Running, State::Submitted));
    drop(hanging);
    for job in [&running, &waiting] {
        assert_eq!(wait(tested.wait("kim", job, State::InReview)), State::InReview);
    }
    wait(released(&tested, &running));
}

/// A gateway that hangs is seen as gone by the enclave, whose run goes on.
fn while_the_gateway_hangs() {
    let mut tested = TestBox::start();
    let running = wait(running_for(&tested, HANGING / 3, &[State::Running]));
    let hanging = Hanging::room(&mut tested, "gateway");
    std::thread::sleep(HANGING);
    assert_eq!(runs_ended(&tested), 1, "it ended while the gateway hung");
    drop(hanging);
    wait(released(&tested, &running));
}

fn while_the_console_hangs() {
    let mut tested = TestBox::start();
    let hanging = Hanging::room(&mut tested, "console");
    let judged = wait(begun(&tested, &[State::InReview]));
    std::thread::sleep(HANGING);
    drop(hanging);
    wait(released(&tested, &judged));
}

fn while_the_signer_hangs() {
    let mut tested = TestBox::start();
    let judged = wait(begun(&tested, &[State::InReview]));
    let hanging = Hanging::room(&mut tested, "signer");
    approved_meanwhile(&tested, &judged);
    std::thread::sleep(HANGING);
    // The console itself answers as ever.
    let listed = wait(async { tested.desk("ana").await.list().await.unwrap() });
    assert_eq!(listed.len(), 1);
    drop(hanging);
    assert_eq!(wait(tested.wait("kim", &judged, State::Released)), State::Released);
}

fn while_the_witness_hangs() {
    let tested = TestBox::start();
    let judged = wait(begun(&tested, &[State::InReview]));
    let process = tested.stage.witness_process().unwrap();
    let hanging = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(hanging, Signal::STOP).unwrap();
    let hanging = Hanging(hanging);
    approved_meanwhile(&tested, &judged);
    std::thread::sleep(HANGING);
    drop(hanging);
    assert_eq!(wait(tested.wait("kim", &judged, State::Released)), State::Released);
}

#[test]
fn a_room_or_the_witness_may_hang_for_a_while_and_what_was_begun_goes_on() {
    let tests: [(&str, fn()); 5] = [
        ("enclave", while_the_enclave_hangs),
        ("gateway", while_the_gateway_hangs),
        ("console", while_the_console_hangs),
        ("signer", while_the_signer_hangs),
        ("witness", while_the_witness_hangs),
    ];
    let started = tests.map(|(name, test)| (name, std::thread::spawn(test)));
    let failed = started.map(|(name, test)| test.join().is_err().then_some(name));
    assert_eq!(failed, [None; 5]);
}

#[test]
fn a_room_or_the_witness_may_be_missing_for_a_while_and_what_was_begun_goes_on() {
    each(MISSING);
}

#[test]
#[ignore = "longer: each is missing for four minutes"]
fn a_room_or_the_witness_may_be_missing_for_minutes_and_what_was_begun_goes_on() {
    each(LONG_MISSING);
}
