//! Starts EgressBench, which is Python's standard library alone, on the repository's data and programs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

const DATA: &[u8] = include_bytes!("../../../examples/data/randhie.csv.zst");

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The person-years of the RAND Health Insurance Experiment, as CSV.
pub fn rows_of_health_insurance() -> io::Result<Vec<u8>> {
    zstd::decode_all(DATA)
}

/// Runs the benchmark with these arguments to its end. A checker among them replaces the one that was built.
pub fn run(arguments: &[String]) -> io::Result<ExitStatus> {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("randhie.csv");
    std::fs::write(&data, rows_of_health_insurance()?)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let built = target.join("databox/bin/databox");
    Command::new("python3")
        .arg(root().join("tests/egress-bench/bench"))
        .arg("--hie")
        .arg(&data)
        .arg("--standard")
        .arg(root().join("policies/egress/standard.toml"))
        .arg("--checker")
        .arg(built)
        .args(arguments)
        .status()
}
