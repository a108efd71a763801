//! When a run ends within a step of the time grid is told to nobody: not to its requester, not to whoever waits for its
//! slot, and not by what is refused meanwhile.

use std::time::Duration;

use api::v1::WatchJobRequest;
use api::v1::job_service_client::JobServiceClient;
use databox::job::state;
use databox::site::now;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::site_changes::{change_policy, until};
use crate::wait;

/// Seconds of a step. A run of half a step ends within it also on a busy machine.
const GRID: i64 = 10;

/// What two people see of two jobs: the first one's run takes a while, the second one waits for its slot.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// Job, state, and the step of the grid of each event, counted from the start of the first run.
    events: Vec<(&'static str, State, i64)>,
    /// The second one's place in the queue in each step.
    places: Vec<(i64, u32)>,
}

async fn widen_the_grid(tested: &TestBox) {
    change_policy(tested, "time_grid_seconds = 1\n", &format!("time_grid_seconds = {GRID}\n")).await;
}

async fn submitted(tested: &TestBox, researcher: &str, name: &str, code: &str) -> String {
    let bundle = tested.bundle(name, &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", code)]);
    let bench = tested.bench(researcher).await;
    let prepared = bench.prepare(&bundle).await.unwrap_or_else(|failure| panic!("{failure}"));
    bench.submit(&prepared).await.unwrap_or_else(|failure| panic!("{failure}")).job
}

async fn events(tested: &TestBox, job: &str) -> Vec<(State, i64)> {
    let mut client = JobServiceClient::new(tested.bench("kim").await.channel());
    let watch = WatchJobRequest { job: job.to_owned(), after_event: 0 };
    let mut stream = client.watch_job(watch).await.unwrap().into_inner();
    let mut events = Vec::new();
    loop {
        let event = stream.message().await.unwrap().expect("an event");
        let outcome = event.outcome.clone().unwrap_or_default();
        let told = State::try_from(event.state()).unwrap();
        events.push((told, outcome.at.unwrap().seconds));
        if matches!(told, State::InReview | State::Failed) {
            return events;
        }
    }
}

/// Runs a job of so many seconds and one behind it, and says what is seen of both.
fn seen(seconds: f64) -> Seen {
    let tested = TestBox::start();
    wait(async {
        widen_the_grid(&tested).await;
        // Both are taken in in the same step.
        until("a new step", async || (now().seconds() % GRID == 1).then_some(())).await;
        let slow = format!("import time\ntime.sleep({seconds})\n{}", write_metric("1"));
        let first = submitted(&tested, "kim", "first", &slow).await;
        let second = submitted(&tested, "kim", "second", &write_metric("1")).await;
        let bench = tested.bench("kim").await;
        let mut places = Vec::new();
        loop {
            let before = now().seconds();
            let job = bench.job(&second).await.unwrap();
            // Just after a step has begun, its reports are on their way.
            if before % GRID >= 3 && before / GRID == now().seconds() / GRID {
                places.push((before / GRID, job.queue_place));
            }
            if state(&job) == State::InReview {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        places.dedup();
        let (first, second) = (events(&tested, &first).await, events(&tested, &second).await);
        let started = first.iter().find(|(state, _)| *state == State::Running).unwrap().1 / GRID;
        let named = |name, events: Vec<(State, i64)>| {
            events.into_iter().map(move |(state, at)| (name, state, at / GRID - started))
        };
        Seen {
            events: named("first", first).chain(named("second", second)).collect(),
            places: places.into_iter().map(|(step, place)| (step - started, place)).collect(),
        }
    })
}

#[test]
fn when_a_run_ends_within_a_step_moves_nothing_that_anyone_is_shown() {
    let (short, long) = std::thread::scope(|scope| {
        let short = scope.spawn(|| seen(0.1));
        let long = seen(GRID as f64 / 2.0);
        (short.join().unwrap(), long)
    });
    assert_eq!(short, long);
    let ends: Vec<_> = short.events.iter().filter(|event| event.1 == State::InReview).collect();
    assert_eq!(ends, [&("first", State::InReview, 1), &("second", State::InReview, 2)]);
}
