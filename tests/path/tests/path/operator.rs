//! What the operator is told, and a job that takes too much.

use databox::data::{DataArguments, add_dataset};
use databox::failure::Failure;
use databox::job::state;
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest};
use lifecycle::State;

use crate::wait;

fn lay(tested: &TestBox, name: &str, csv: &str) {
    try_lay(tested, name, csv, &[]).unwrap();
}

fn try_lay(tested: &TestBox, name: &str, csv: &str, categories: &[&str]) -> Result<(), Failure> {
    let directory = tested.directory().join(format!("laid-{name}"));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("rows.csv"), csv).unwrap();
    add_dataset(&DataArguments {
        name: name.parse().unwrap(),
        directory,
        home: tested.stage.home.directory().to_owned(),
        unit_column: "person".parse().unwrap(),
        categories: categories.iter().map(|category| category.parse().unwrap()).collect(),
        release_bits: 1000,
        answer_bits: 1000,
        privacy_rho: None,
        privacy_rho_per_answer: None,
        privacy_delta_exponent: 6,
        public: None,
        licence: "none".to_owned(),
        source: "a test".to_owned(),
    })
    .map(drop)
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
    // Laid down anew, with a row that is too long.
    std::fs::remove_dir_all(tested.stage.home.join("drop/datasets/hie")).unwrap();
    std::fs::remove_file(tested.stage.home.join("drafts/hie.answer.json")).unwrap();
    let offered =
        || ["hie.packet", "hie.packet.done"].map(|draft| tested.stage.home.drafts().join(draft).exists());
    assert_eq!(offered(), [true; 2]);
    lay(&tested, "hie", "person,visits\n1,2,3\n");
    assert_eq!(answer(&tested, "hie"), ("REFUSED".into(), "TABLE".into()));
    assert_eq!(offered(), [false; 2], "the draft of the state before is not signed in its place");
}

#[test]
fn a_column_that_no_file_has_is_told_at_once_and_nothing_is_laid_down() {
    let tested = TestBox::start();
    let laid = tested.stage.home.join("drop/datasets/wrong");
    for (csv, categories, words) in [
        ("patient,visits\n1,2\n", &[][..], "has the column person"),
        ("person,visits\n1,2\n", &["plan"][..], "has the column plan"),
    ] {
        let refused = try_lay(&tested, "wrong", csv, categories).unwrap_err();
        assert_eq!(refused.reason, "COLUMN");
        assert!(refused.text.contains(words), "{refused}");
        assert!(refused.advice().contains("visits"), "it lists those that there are");
        assert!(!laid.exists());
    }
    try_lay(&tested, "wrong", "person,visits\n1,2\n", &["visits"]).unwrap();
    assert!(laid.exists());
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
