//! Jobs in a row leave nothing behind. A program of its own: what other tests hold open would count.

use std::fs;
use std::path::Path;

use sandbox::Outcome;
use test_attacks::held::Held;
use test_attacks::stage::{Stage, open_directory};

fn jobs_in_a_row(jobs: usize) {
    let directory = open_directory().expect("a directory");
    let python = directory.path().join("runtime");
    sandbox::host_python(Path::new("/usr/bin/python3"), &python).expect("a runtime");
    let stage = Stage::new(&harness::programs().join("databox-launch"), &python).expect("a stage");
    let files = || fs::read_dir(stage.path(".")).expect("the stage").count();
    // Each has two processes at its end, of which one must be killed, and a file in its output space.
    let job =
        stage.text("import os, time\nopen('/out/one', 'w').write('x')\nif os.fork() == 0: time.sleep(600)");
    let run = || stage.launch(&job).expect("a run");
    assert_eq!(run().outcome, Outcome::Succeeded);
    let (before, files_before) = (Held::now(), files());
    // The twin: what a run holds while its output is held is seen.
    let held = run();
    assert_ne!(Held::now(), before, "an output space is a descriptor");
    drop(held);
    for _ in 0..jobs {
        assert_eq!(run().outcome, Outcome::Succeeded);
    }
    assert_eq!((Held::now(), files()), (before, files_before), "after {jobs} jobs");
    println!("{jobs} jobs in a row left nothing");
}

#[test]
#[ignore = "long: 10,000 jobs, one after the other"]
fn ten_thousand_jobs_in_a_row_leave_no_mount_group_namespace_descriptor_or_file() {
    jobs_in_a_row(10_000);
}
