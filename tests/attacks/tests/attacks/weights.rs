//! Rows of the data in weights, three ways: found, or shown by the attack's own decoder to be gone from the canonical
//! bytes. The twin is a model.

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
fn rows_in_weights_are_found_or_gone_and_a_model_passes() {
    let tested = TestBox::start();
    wait(async {
        for (name, code) in
            [("one-character-a-weight", ONE_CHARACTER_A_WEIGHT), ("text-as-bf16", TEXT_AS_BF16)]
        {
            let job = job_of(&tested, name, code).await;
            let outcome = job.outcome.clone().unwrap_or_default();
            assert_eq!((state(&job), outcome.rule.as_str()), (State::Blocked, "copy.exact"), "{name}");
        }
        let honest = job_of(&tested, "honest", HONEST).await;
        assert_eq!(state(&honest), State::InReview, "{:?}", honest.outcome);
    });
}

#[test]
fn text_laid_into_f32_is_found_or_its_own_decoder_finds_nothing_in_the_canonical_bytes() {
    let tested = TestBox::start();
    wait(async {
        let job = job_of(&tested, "text-as-f32", TEXT_AS_F32).await;
        let outcome = job.outcome.clone().unwrap_or_default();
        if state(&job) == State::Blocked && outcome.rule == "copy.exact" {
            return;
        }
        // Not found: then the theft must have failed. The attacker's decoder takes each weight's four bytes as text.
        let opened = tested.opened("ana", &job.job).await;
        let (_, canonical) = &opened.content.canonical[0];
        let data = std::fs::read(tested.directory().join("data/hie.csv")).unwrap();
        let decoded = decode_as_f32(canonical);
        let longest = longest_common_run(&decoded, &data[100..8292]);
        assert!(longest < 31, "{longest} bytes of the data came through");
    });
}

/// The weights of a canonical bf16 file as the bytes of single precision numbers.
fn decode_as_f32(canonical: &[u8]) -> Vec<u8> {
    let header = u64::from_le_bytes(canonical[..8].try_into().unwrap()) as usize;
    canonical[8 + header..].chunks_exact(2).flat_map(|pair| [0, 0, pair[0], pair[1]]).collect()
}

/// Longest run that stands in both at the same place: the decoder knows where each weight came from.
fn longest_common_run(left: &[u8], right: &[u8]) -> usize {
    let (mut longest, mut current) = (0, 0);
    for (a, b) in left.iter().zip(right) {
        current = if a == b { current + 1 } else { 0 };
        longest = longest.max(current);
    }
    longest
}
