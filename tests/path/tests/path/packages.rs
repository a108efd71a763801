//! A job with packages of others, in a runtime that is made from a list of them. pip fetches the wheels.

use std::path::Path;

use databox::job::state;
use harness::{PATIENCE, TestBox};
use lifecycle::State;

use crate::wait;

#[test]
fn the_example_with_scikit_learn_runs_in_a_runtime_made_from_its_requirements() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sklearn");
    let packed = std::fs::File::open(example.join("../data/randhie.csv.zst")).unwrap();
    let data = String::from_utf8(zstd::decode_all(packed).unwrap()).unwrap();
    let tested = TestBox::with_file("randhie.csv", &data, "zper", &["plan"]);
    tested.stage.add_python("sklearn", Some(&example.join("requirements.txt"))).unwrap_or_else(|failure| {
        panic!("no runtime: {failure}");
    });
    wait(async {
        let bench = tested.bench("kim").await;
        let prepared = loop {
            // The gateway learns of the runtime within a second.
            match bench.prepare(&example).await {
                Ok(prepared) => break prepared,
                Err(failure) => assert_eq!(failure.reason, "NO_RUNTIME", "{failure}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        };
        let job = bench.submit(&prepared).await.unwrap().job;
        let ended = bench.wait(&job, &[State::InReview], 3 * PATIENCE).await.unwrap();
        assert_eq!(state(&ended), State::InReview, "{:?}", ended.outcome);
        let opened = tested.opened("ana", &job).await;
        let weights = opened.verdict.files.iter().find(|file| file.precision.is_some()).unwrap();
        let whole = weights.precision.unwrap().largest_whole().is_some();
        assert!(whole && weights.released_bits.0 < 16 * 89, "its evaluation found that fewer bits do");
        let (_, metrics) =
            opened.content.canonical.iter().find(|(name, _)| name.as_str() == "metrics.json").unwrap();
        let metrics: serde_json::Value = serde_json::from_slice(metrics).unwrap();
        let loss = |name: &str| metrics[name].as_f64().unwrap();
        assert!(
            loss("log_loss") < loss("logistic_log_loss")
                && loss("logistic_log_loss") < loss("baseline_log_loss")
        );
    });
}
