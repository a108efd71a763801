//! How long a box takes for a job that does next to nothing, and from the last approval to its release. A measurement, run
//! by `cargo xtask bench job`.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;
use rusqlite::{Connection, OpenFlags};

use crate::wait;

const JOBS: usize = 25;

/// Waits until a query of one number about a job is not zero, and tells when it was.
fn when(database: &Connection, query: &str, job: &[u8]) -> Instant {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found: i64 = database.query_row(query, [job], |row| row.get(0)).unwrap();
        if found > 0 {
            return Instant::now();
        }
        assert!(Instant::now() < deadline, "it did not come: {query}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The middle one of some durations, in milliseconds.
fn median(mut all: Vec<Duration>) -> f64 {
    all.sort_unstable();
    all[all.len() / 2].as_secs_f64() * 1000.0
}

/// From the last approval until the requester is told that the release is there.
fn approved(tested: &TestBox, job: &str) -> Duration {
    let decided = async |steward: &str| {
        let opened = tested.opened(steward, job).await;
        let begun = Instant::now();
        tested.desk(steward).await.approve(&opened).await.unwrap();
        begun
    };
    wait(async {
        decided("ana").await;
        let begun = decided("ben").await;
        assert_eq!(tested.wait("kim", job, State::Released).await, State::Released);
        begun.elapsed()
    })
}

#[test]
#[ignore = "a measurement: cargo xtask bench job"]
fn an_empty_job_from_its_start_to_its_verdict() {
    let tested = TestBox::start();
    let account = tested.stage.home.join("enclave/account.db");
    let database = Connection::open_with_flags(account, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let (mut judged, mut bare, mut released) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..=JOBS {
        let files = [
            ("databox.toml", &manifest(ONE_METRIC)[..]),
            ("job.py", &format!("# {number}\n{}", write_metric("1"))[..]),
        ];
        let bundle = tested.bundle(&format!("empty-{number}"), &files);
        let job = wait(async {
            let bench = tested.bench("kim").await;
            let prepared = bench.prepare(&bundle).await.unwrap();
            bench.submit(&prepared).await.unwrap();
            prepared.job()
        });
        // What waits is started on the time grid, which is no part of this.
        let started = "SELECT count(*) FROM jobs WHERE request = ?1 AND state NOT IN ('SUBMITTED', 'QUEUED')";
        let begun = when(&database, started, job.as_bytes());
        let ended = when(&database, "SELECT count(*) FROM verdicts WHERE request = ?1", job.as_bytes());
        assert_eq!(wait(tested.wait("kim", &job.to_string(), State::InReview)), State::InReview);
        let alone = Instant::now();
        assert!(Command::new("/usr/bin/python3").args(["-c", "import json"]).status().unwrap().success());
        let alone = alone.elapsed();
        let release = approved(&tested, &job.to_string());
        // The first one warms the caches.
        if number > 0 {
            released.push(release);
            judged.push(ended - begun);
            bare.push(alone);
        }
    }
    let (judged, bare) = (median(judged), median(bare));
    let met = if judged <= 250.0 { "met" } else { "NOT MET" };
    println!(
        "empty job, from its start to its verdict row: {judged:.0} ms (bar: 250, {met}), the median of {JOBS}"
    );
    println!("  over python3 that starts and reads json: {:.1}", judged / bare);
    let longest = released.iter().max().copied().unwrap_or_default();
    let released = median(released);
    println!(
        "last approval to a release that can be fetched, its witness on the loopback: {released:.0} ms (bar: 2000)"
    );
    println!("  the longest of {JOBS}: {:.0} ms", longest.as_secs_f64() * 1000.0);
}
