//! Rows of the data in weights, three ways, all found. Rounding to bf16 takes half of each four bytes of text laid into
//! f32; the halves that are left are found too. The twin is a model.

use databox::job::state;
use harness::{TestBox, manifest};
use lifecycle::State;

use crate::wait;

const WEIGHTS: &str = r#"[[output]]
path = "model.safetensors"
kind = "weights"
tensors = [{ name = "w", shape = [2048] }]
"#;

/// Python that writes one tensor. `dtype` and `raw` (its bytes) are set by the attack.
const WRITE: &str = r#"
import json, struct
def write(dtype, raw):
    header = json.dumps({"w": {"dtype": dtype, "shape": [2048], "data_offsets": [0, len(raw)]}}).encode()
    header += b" " * (-len(header) % 8)
    open("/out/model.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + raw)
text = open("/data/hie/hie.csv", "rb").read()
"#;

const ONE_CHARACTER_A_WEIGHT: &str = "write('F32', struct.pack('<2048f', *text[100:2148]))\n";
const TEXT_AS_BF16: &str = "write('BF16', text[100:4196])\n";
const TEXT_AS_F32: &str = "write('F32', text[100:8292])\n";
const HONEST: &str = "import random\nrandom.seed(1)\nwrite('F32', struct.pack('<2048f', *(random.gauss(0, 0.05) for _ in range(2048))))\n";

async fn job_of(tested: &TestBox, name: &str, code: &str) -> api::v1::Job {
    let text = format!("{WRITE}{code}");
    let bundle = tested.bundle(name, &[("databox.toml", &manifest(WEIGHTS)), ("job.py", &text)]);
    tested.run_job("kim", &bundle).await
}

#[test]
fn rows_in_weights_are_found_and_a_model_passes() {
    let tested = TestBox::start();
    wait(async {
        for (name, code) in [
            ("one-character-a-weight", ONE_CHARACTER_A_WEIGHT),
            ("text-as-bf16", TEXT_AS_BF16),
            ("text-as-f32", TEXT_AS_F32),
        ] {
            let job = job_of(&tested, name, code).await;
            let outcome = job.outcome.clone().unwrap_or_default();
            assert_eq!((state(&job), outcome.rule.as_str()), (State::Blocked, "copy.exact"), "{name}");
        }
        let honest = job_of(&tested, "honest", HONEST).await;
        assert_eq!(state(&honest), State::InReview, "{:?}", honest.outcome);
    });
}
