//! What the operator is told, and what a full disk does.

use databox::data::{DataArguments, add_dataset};
use databox::job::state;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::wait;

fn lay(tested: &TestBox, name: &str, csv: &str) {
    let directory = tested.directory().join(format!("laid-{name}"));
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("rows.csv"), csv).unwrap();
    add_dataset(&DataArguments {
        name: name.parse().unwrap(),
        directory,
        home: tested.stage.home.directory().to_owned(),
        unit_column: "person".parse().unwrap(),
        categories: vec![],
        release_bits: 1000,
        answer_bits: 1000,
        licence: "none".to_owned(),
        source: "a test".to_owned(),
    })
    .unwrap();
}

fn answer(tested: &TestBox, name: &str) -> (String, String) {
    let path = tested.stage.home.join(format!("drafts/{name}.answer.json"));
    let deadline = std::time::Instant::now() + PATIENCE;
    let text = loop {
        if let Ok(text) = std::fs::read_to_string(&path) {
            break text;
        }
        assert!(std::time::Instant::now() < deadline, "no answer about {name}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    (value["state"].as_str().unwrap().to_owned(), value["reason"].as_str().unwrap().to_owned())
}

#[test]
fn an_operator_is_told_by_name_what_became_of_data_that_was_laid_down() {
    let tested = TestBox::start();
    lay(&tested, "unnamed", "person,visits\n1,2\n");
    assert_eq!(answer(&tested, "unnamed"), ("WAITING".into(), "ROLES".into()));
    assert_eq!(answer(&tested, "hie"), ("TAKEN".into(), String::new()));
    assert_eq!(answer(&tested, "runtime-host-python"), ("TAKEN".into(), String::new()));
    // Laid down anew without its unit column.
    std::fs::remove_dir_all(tested.stage.home.join("drop/datasets/hie")).unwrap();
    std::fs::remove_file(tested.stage.home.join("drafts/hie.answer.json")).unwrap();
    lay(&tested, "hie", "patient,visits\n1,2\n");
    assert_eq!(answer(&tested, "hie"), ("REFUSED".into(), "TABLE".into()));
}

/// Says how much of the disk a run needs, and starts the enclave anew.
fn set_run_disk(tested: &mut TestBox, bytes: u64) {
    let path = tested.stage.home.configuration("enclave");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| match line.starts_with("run_disk_bytes") {
        true => format!("run_disk_bytes = {bytes}\n"),
        false => format!("{line}\n"),
    });
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    tested.stage.kill_and_restart("enclave").unwrap();
}

#[test]
fn a_full_disk_refuses_new_work_by_name_and_finishes_what_it_has() {
    let mut tested = TestBox::start();
    let text = manifest(ONE_METRIC);
    let bundle = tested.bundle("one", &[("databox.toml", &text), ("job.py", &write_metric("1"))]);
    let begun = wait(tested.run_job("kim", &bundle));
    assert_eq!(state(&begun), State::InReview);

    // No disk is that large, so to this box it is full.
    set_run_disk(&mut tested, 1 << 60);
    let refused = wait(tested.run_job("kim", &bundle));
    assert_eq!(state(&refused), State::Refused);
    assert_eq!(refused.outcome.unwrap().reason(), api::v1::Reason::Disk);
    wait(async {
        for steward in ["ana", "ben"] {
            tested.approve(steward).await;
        }
        assert_eq!(tested.wait("kim", &begun.job, State::Released).await, State::Released);
    });

    set_run_disk(&mut tested, 1 << 20);
    assert_eq!(state(&wait(tested.run_job("kim", &bundle))), State::InReview, "there is room again");
}

#[test]
fn a_job_that_fills_its_space_fails_by_name_and_one_that_asks_for_too_much_is_refused_by_name() {
    let tested = TestBox::start();
    let cases = [
        (
            "open('/out/metrics.json', 'wb').write(bytes(300 << 20))",
            "1",
            State::Failed,
            api::v1::Reason::OutputLimit,
        ),
        (
            "for n in range(10000): open(f'/out/{n}', 'w').close()",
            "1",
            State::Failed,
            api::v1::Reason::OutputLimit,
        ),
        ("pass", "64", State::Refused, api::v1::Reason::Limits),
    ];
    for (index, (code, cpus, end, reason)) in cases.into_iter().enumerate() {
        let text = manifest(ONE_METRIC).replace("cpus = 1", &format!("cpus = {cpus}"));
        let bundle = tested.bundle(&format!("case-{index}"), &[("databox.toml", &text), ("job.py", code)]);
        let job = wait(tested.run_job("kim", &bundle));
        assert_eq!((state(&job), job.outcome.unwrap().reason()), (end, reason), "{code}");
    }
}
