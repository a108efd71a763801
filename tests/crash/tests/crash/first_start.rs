//! The rooms die while they start for the first time, when nothing of theirs is on the disk yet.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::TestBox;

use crate::plan::Mode;
use crate::points::Points;
use crate::stage::TracedBox;

/// Stores, tables, keys and the first leaves of the log are made.
const FIRST: &str = "first start";

/// How often the rooms are started for the first time without a new point before the missing ones count as never
/// reached.
const IN_VAIN: u32 = 4;

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "{} is copied", from.display());
}

/// Lays the home and the witness as they were before the first start.
fn lay_anew(directory: &Path) {
    for name in ["box", "witness"] {
        let _ = std::fs::remove_dir_all(directory.join(name));
        copy(&directory.join("before").join(name), &directory.join(name));
    }
}

fn first_start(traced: &mut TracedBox, mode: Mode) {
    lay_anew(traced.tested.directory());
    traced.situation.enter(FIRST, mode);
    traced.start_all();
    // The first head is published a moment after the rooms are there: whoever did not wait for it would sometimes find
    // its calls in a recording, and sometimes not.
    let checkpoint = traced.tested.stage.home.join("public/log/checkpoint");
    let begun = Instant::now();
    while !checkpoint.exists() {
        assert!(begun.elapsed() < harness::PATIENCE, "the first head is published");
        std::thread::sleep(Duration::from_millis(20));
    }
    traced.situation.settle();
    // What one start left half made the next has completed; and a start of what is complete changes nothing.
    for _ in 0..2 {
        traced.stop_all();
        let last = traced.situation.last_orders();
        let faults = traced.situation.faults();
        assert!(faults.is_empty(), "{faults:#?}; the last orders were{last}");
        let report = traced.examine().unwrap_or_else(|failure| panic!("no fsck: {failure}"));
        assert!(report.broken().is_empty(), "{:#?}; the last orders were{last}", report.broken());
        traced.situation.enter("second start", Mode::Quiet);
        traced.start_all();
    }
    traced.stop_all();
}

fn die_in_first_start(each_call: bool) {
    let points = Arc::new(Points::default());
    let mut traced = TracedBox::stopped(TestBox::unstarted(), &points, each_call);
    let directory = traced.tested.directory().to_owned();
    std::fs::create_dir(directory.join("before")).expect("a new directory");
    ["box", "witness"]
        .iter()
        .for_each(|name| copy(&directory.join(name), &directory.join("before").join(name)));
    for _ in 0..2 {
        points.recording(FIRST);
        first_start(&mut traced, Mode::Record(FIRST));
    }
    let (mut in_vain, mut starts) = (0, 0);
    while !points.open().is_empty() && in_vain < IN_VAIN {
        let before = points.open().len();
        first_start(&mut traced, Mode::Kill);
        starts += 1;
        in_vain = if points.open().len() < before { 0 } else { in_vain + 1 };
    }
    println!(
        "{} kills in {starts} first starts, {} recorded calls",
        traced.situation.kills(),
        points.recorded().len()
    );
    let open = points.open();
    assert!(open.is_empty(), "recorded calls that were never killed at: {open:#?}");
    assert!(!points.recorded().is_empty(), "nothing was recorded");
}

#[test]
fn every_room_may_die_at_every_durable_call_of_its_first_start() {
    die_in_first_start(false);
}

#[test]
#[ignore = "longer: every single call is a point of its own"]
fn every_room_may_die_at_every_single_call_of_its_first_start() {
    die_in_first_start(true);
}
