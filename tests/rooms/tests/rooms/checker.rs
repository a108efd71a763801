//! A canonicaliser that smuggles: its bytes are judged like any other.

use databox::job::state;
use harness::{TestBox, manifest};
use lifecycle::State;

use crate::wait;

const WEIGHTS: &str = r#"[[output]]
path = "model.safetensors"
kind = "weights"
tensors = [{ name = "w", shape = [2048] }]
"#;

const MODEL: &str = r#"
import json, random, struct
random.seed(1)
raw = struct.pack("<2048f", *(random.gauss(0, 0.05) for _ in range(2048)))
header = json.dumps({"w": {"dtype": "F32", "shape": [2048], "data_offsets": [0, len(raw)]}}).encode()
header += b" " * (-len(header) % 8)
open("/out/model.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + raw)
"#;

/// Beside the model the job lays rows for the canonicaliser that it has taken over.
const ROWS: &str = "open('/out/rows', 'wb').write(open('/data/hie/hie.csv', 'rb').read()[100:4196])\n";

async fn job_of(tested: &TestBox, name: &str, code: &str) -> api::v1::Job {
    let bundle = tested.bundle(name, &[("databox.toml", &manifest(WEIGHTS)), ("job.py", code)]);
    tested.run_job("kim", &bundle).await
}

fn rule(job: &api::v1::Job) -> String {
    job.outcome.clone().unwrap_or_default().rule
}

#[test]
fn rows_that_a_lying_canonicaliser_puts_into_weights_are_judged_and_blocked_and_its_honest_forms_pass() {
    let mut tested = TestBox::start();
    let theft = format!("{MODEL}{ROWS}");
    wait(async {
        let job = job_of(&tested, "before", &theft).await;
        assert_eq!(
            (state(&job), rule(&job).as_str()),
            (State::Blocked, "output.declared"),
            "the true one says so"
        );
    });
    put_in_place(&mut tested);
    wait(async {
        let honest = job_of(&tested, "honest", MODEL).await;
        assert_eq!(state(&honest), State::InReview, "{:?}", honest.outcome);
        let job = job_of(&tested, "theft", &theft).await;
        assert_eq!((state(&job), rule(&job).as_str()), (State::Blocked, "copy.exact"), "{:?}", job.outcome);
        let opened = tested.opened("ana", &job.job).await;
        let data = std::fs::read(tested.directory().join("data/hie.csv")).unwrap();
        let (_, canonical) = &opened.content.canonical[0];
        assert!(canonical.ends_with(&data[100..4196]), "the lie went as far as the sealed bytes");
    });
}

/// Has the enclave use the liar.
fn put_in_place(tested: &mut TestBox) {
    let liar = harness::programs().join("../liars/lying-checker").canonicalize();
    let liar = liar.expect("the liar is not built: run `cargo xtask build` first");
    let path = tested.stage.home.configuration("enclave");
    let text = std::fs::read_to_string(&path).unwrap();
    let set = |line: &str| match line.starts_with("checker = ") {
        true => format!("checker = \"{}\"\n", liar.display()),
        false => format!("{line}\n"),
    };
    let changed: String = text.lines().map(set).collect();
    assert_ne!(text, changed);
    std::fs::write(&path, changed).unwrap();
    tested.stage.kill_and_restart("enclave").unwrap();
}
