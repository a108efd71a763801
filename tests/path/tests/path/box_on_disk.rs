//! What a box keeps where, and what nobody but the room it belongs to may read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::{ONE_METRIC, TestBox, manifest};
use lifecycle::State;

use crate::wait;

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let metadata = std::fs::symlink_metadata(entry.path()).unwrap();
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file() {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn each_rooms_state_is_for_its_user_alone() {
    let tested = TestBox::start();
    for room in ["gateway", "enclave", "console", "signer"] {
        let mode = std::fs::metadata(tested.stage.home.join(room)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{room}");
    }
    for key in ["enclave", "signer", "log"] {
        let mode = std::fs::metadata(tested.stage.home.key(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{key}");
    }
}

#[test]
fn a_box_that_was_initialised_has_its_own_keys_and_nobody_elses() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("box");
    let made = std::process::Command::new(harness::programs().join("databox"))
        .args(["init", "--site", "hospital.example", "--witness", "http://127.0.0.1:7445", "--dir"])
        .arg(&home)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let is_private = |path: &&std::path::PathBuf| {
        std::fs::read_to_string(path).is_ok_and(|text| text.contains("PRIVATE KEY-----"))
    };
    let mut private: Vec<String> = files(&home)
        .iter()
        .filter(is_private)
        .map(|path| path.strip_prefix(&home).unwrap().display().to_string())
        .collect();
    private.sort();
    // The three keys that sign for the box, and those of its transport. People make theirs themselves.
    let expected = [
        "keys/enclave.pem",
        "keys/log.pem",
        "keys/signer.pem",
        "tls/ca.key",
        "tls/console.key",
        "tls/gateway.key",
    ];
    assert_eq!(private, expected);
}

#[test]
fn no_row_of_the_data_lies_outside_the_enclave_after_a_theft() {
    let tested = TestBox::start();
    let row = "patient-";
    let stolen = tested.bundle("theft", &[("databox.toml", &manifest(ONE_METRIC)), ("job.py", THEFT)]);
    let job = wait(tested.run_job("kim", &stolen));
    assert_ne!(databox::job::state(&job), State::InReview);
    let outside = ["gateway", "console", "signer", "public", "hand-over", "run"];
    for path in outside.iter().flat_map(|below| files(&tested.stage.home.join(below))) {
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(row.len()).any(|window| window == row.as_bytes());
        assert!(!found, "{} holds a row", path.display());
    }
    let inside = files(&tested.stage.home.join("enclave"));
    let kept = inside.iter().any(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(row.len()).any(|window| window == row.as_bytes())
    });
    assert!(kept, "the search would find a row where there is one");
}

/// Rows everywhere that a job can write: the declared file, standard output and error, a file name, the exit code.
const THEFT: &str = r#"
import sys
row = open("/data/hie/hie.csv").read().split("\n")[5]
open("/out/metrics.json", "w").write('{"value": 1, "' + row + '": 2}')
try:
    open("/out/" + row.replace(",", "_"), "w").write(row)
except OSError:
    pass
print(row)
print(row, file=sys.stderr)
sys.exit(len(row) % 256)
"#;

#[test]
fn each_snapshot_has_an_index_beside_it_and_there_is_none_elsewhere() {
    let tested = TestBox::start();
    let datasets = tested.stage.home.join("enclave/datasets");
    let is_index = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "index");
    let indexes: Vec<_> = files(tested.stage.home.directory()).into_iter().filter(is_index).collect();
    assert_eq!(indexes.len(), 1, "{indexes:?}");
    assert!(indexes[0].starts_with(&datasets) && indexes[0].with_extension("").is_dir());
}
