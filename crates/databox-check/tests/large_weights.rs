//! Weights that are larger than the memory that the canonicaliser and the judge get.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use egress::Task;
use release::report::OutputReport;
use release::rule::Rule;
use release::statement::RuleResult;

/// What a child may map, program and libraries among it, in bytes: a quarter of the 256 MiB that are promised, and less
/// than any of the files here and their canonical forms.
const MEMORY: u64 = 64 << 20;

/// Values in a row of the tensor.
const COLUMNS: u64 = 1 << 12;

/// A file of one tensor, and the desk on which it becomes canonical.
struct Large {
    root: tempfile::TempDir,
    rows: u64,
}

impl Large {
    /// Writes `rows` rows of values that differ from each other and need rounding.
    fn new(dtype: &str, rows: u64) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        for name in ["out", "canonical"] {
            fs::create_dir(root.path().join(name)).expect("a directory");
        }
        let width = if dtype == "F64" { 8 } else { 4 };
        let bytes = rows * COLUMNS * width;
        let header =
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":[{rows},{COLUMNS}],"data_offsets":[0,{bytes}]}}}}"#);
        let file = File::create(root.path().join("out/m.safetensors")).expect("a file");
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&(header.len() as u64).to_le_bytes()).expect("a length");
        file.write_all(header.as_bytes()).expect("a header");
        for row in 0..rows {
            let values = (0..COLUMNS).map(|column| (row * COLUMNS + column) as f64 * 1e-7 - 0.7);
            let data: Vec<u8> = match dtype {
                "F64" => values.flat_map(f64::to_le_bytes).collect(),
                _ => values.flat_map(|value| (value as f32).to_le_bytes()).collect(),
            };
            file.write_all(&data).expect("a row");
        }
        file.flush().expect("a file");
        Self { root, rows }
    }

    /// The standard policy with another precision and room for the file.
    fn task(&self, precision: &str) -> Task {
        let policy = include_str!("../../../policies/egress/standard.toml")
            .replace("\nprecision = \"bf16\"\n", &format!("\nprecision = \"{precision}\"\n"))
            .replace("bits = 134217728\n", &format!("bits = {}\n", 1u64 << 36))
            .replace("max_file_bytes = 68157440\n", &format!("max_file_bytes = {}\n", 1u64 << 34));
        let rows = self.rows;
        let declared = format!(
            r#"{{"kind":"weights","path":"m.safetensors","tensors":[{{"name":"w","shape":["{rows}","{COLUMNS}"]}}]}}"#
        );
        let outputs = vec![serde_json::from_str(&declared).expect("a declaration")];
        Task {
            policy,
            outputs,
            catalogue: Vec::new(),
            query: None,
            precisions: BTreeMap::new(),
            as_written: false,
        }
    }

    /// Canonicalises the file and judges the result, each in [`MEMORY`]. Returns the bytes of the canonical file and
    /// the bits that it is charged.
    fn canonicalised_and_judged(&self, precision: &str) -> (u64, u64) {
        let task = self.task(precision).to_json();
        let formed = report(&run("canonicalise", self.root.path(), MEMORY, &task));
        assert_eq!(formed.rules[Rule::WeightsForm.index()], RuleResult::Noted);
        let judged = report(&run("judge", self.root.path(), MEMORY, &task));
        assert!(!judged.rules.contains(&RuleResult::Blocked), "{judged:?}");
        let canonical = self.root.path().join("canonical/m.safetensors");
        let bytes = fs::metadata(&canonical).expect("a canonical file").len();
        fs::remove_file(canonical).expect("it is removed");
        (bytes, judged.bits[0])
    }
}

/// A child of the box with a limit of memory that the kernel keeps.
fn run(subcommand: &str, root: &Path, memory: u64, task: &[u8]) -> Output {
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={memory}")).arg(env!("CARGO_BIN_EXE_databox-check")).arg(subcommand);
    for name in ["out", "canonical"] {
        command.arg(format!("--{name}")).arg(root.join(name));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("prlimit is installed");
    // One that has no memory to begin with does not wait for its task.
    if let Err(error) = child.stdin.take().expect("a pipe").write_all(task) {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
    child.wait_with_output().expect("an end")
}

fn report(output: &Output) -> OutputReport {
    assert!(output.status.success(), "{output:?}");
    OutputReport::from_bytes(&output.stdout[..OutputReport::BYTES]).expect("a report")
}

#[test]
fn weights_larger_than_memory_are_written_anew_and_judged_in_64_mebibytes() {
    let large = Large::new("F64", 4352);
    let values = large.rows * COLUMNS;
    assert!(4 * values > MEMORY);
    let (bytes, bits) = large.canonicalised_and_judged("f32");
    assert!(bytes > MEMORY);
    assert_eq!(bits, 32 * values);
    // Whole numbers are read twice: once for the scale.
    let (bytes, bits) = large.canonicalised_and_judged("int8");
    assert!(bytes > values && bytes < values + 1024);
    assert_eq!(bits, 8 * values + 32);
}

#[test]
fn the_limit_of_memory_is_kept_by_the_kernel() {
    let large = Large::new("F64", 1);
    let task = large.task("f32").to_json();
    report(&run("canonicalise", large.root.path(), MEMORY, &task));
    let little = run("judge", large.root.path(), 1 << 20, &task);
    assert!(!little.status.success(), "no program runs in one mebibyte: {little:?}");
}

#[test]
#[ignore = "longer: a file of 4 GiB"]
fn weights_of_four_gibibytes_are_written_anew_and_judged_in_64_mebibytes() {
    let large = Large::new("F32", 1 << 18);
    let values = large.rows * COLUMNS;
    assert_eq!(4 * values, 4 << 30);
    let (bytes, bits) = large.canonicalised_and_judged("bf16");
    assert!(bytes > 2 * values && bytes < 2 * values + 1024);
    assert_eq!(bits, 16 * values);
}
