//! Whoever compares evaluations of weights was taken over by what one of them wrote.

use databox::job::state;
use lifecycle::State;
use release::statement::{Judgement, Precision};

use crate::children::{run, shared};
use crate::held::Held;
use crate::{assert_no_row_outside, wait};

/// A model whose evaluation is this Python expression of its data type, under a metric of this name.
fn bundle(metric: &str, value: &str) -> (String, String) {
    let output = format!(
        "[[output]]\npath = \"model.safetensors\"\nkind = \"weights\"\ntensors = [{{ name = \"w\", shape = [64] }}]\n\
         evaluation = {{ command = [\"python3\", \"job.py\", \"evaluate\"], metric = \"{metric}\", better = \"higher\" }}\n"
    );
    let code = format!(
        r#"
import json, struct, sys
if sys.argv[1:] == ["evaluate"]:
    model = open("/weights/model.safetensors", "rb").read()
    header = json.loads(model[8:8 + int.from_bytes(model[:8], "little")])
    dtype = header["w"]["dtype"]
    rows = open("/data/hie/hie.csv").read()
    json.dump({{"{metric}": {value}, "rows": rows[:4096]}}, open("/out/evaluation.json", "w"))
else:
    head = json.dumps({{"w": {{"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}}}}).encode()
    model = struct.pack("<Q", len(head)) + head + struct.pack("<64f", *[0.5] * 64)
    open("/out/model.safetensors", "wb").write(model)
"#
    );
    (output, code)
}

#[test]
fn a_lying_comparer_of_evaluations_chooses_among_the_policys_precisions_alone() {
    let tested = shared();
    let ruined = "1.0 if dtype == 'BF16' else 0.0";
    // The metric, what the evaluation measures, the precision that leaves, and its price with that of the choice.
    let cases = [
        ("honest", ruined, Precision::Bf16, 64 * 16 + 2),
        ("honest", "1.0", Precision::Int4, 64 * 4 + 32 + 2),
        // All that such a child gains is fewer bits, at their own price.
        ("evaluation-lenient", ruined, Precision::Int4, 64 * 4 + 32 + 2),
        ("evaluation-foreign", "1.0", Precision::Bf16, 64 * 16 + 2),
        // It has an answer if its wall showed it what it must see and nothing else.
        ("evaluation-reach", "1.0", Precision::Int4, 64 * 4 + 32 + 2),
    ];
    wait(async {
        for (index, (metric, value, precision, bits)) in cases.into_iter().enumerate() {
            let (output, code) = bundle(metric, value);
            let job = run(&tested, &format!("evaluated-{index}"), &output, &code).await;
            assert_eq!(state(&job), State::InReview, "{metric}: {:?}", job.outcome);
            let held = Held::of_review(&tested, &job.job).await;
            let file = &held.opened.verdict.files[0];
            assert_eq!((file.precision, file.released_bits.0), (Some(precision), bits), "{metric}: {value}");
            assert_eq!(held.opened.judged_again, Judgement::Same);
        }
    });
    assert_no_row_outside(&tested);
}
