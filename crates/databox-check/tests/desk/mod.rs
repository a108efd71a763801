//! One output of a job beside private data, and the children that look at it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use egress::{ScanTask, Task};
use release::report::{OutputReport, ScanReport};

/// A request for one output under the standard policy, and its directories.
pub struct Desk {
    root: tempfile::TempDir,
    task: Task,
}

impl Desk {
    /// An output as it was declared and as the job wrote it.
    pub fn new(declared: &str, written: &[u8]) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        for name in ["out", "canonical", "views", "data", "data/hie"] {
            fs::create_dir(root.path().join(name)).expect("a directory");
        }
        let output: release::statement::DeclaredOutput =
            serde_json::from_str(declared).expect("a declaration");
        fs::write(root.path().join("out").join(output.path().as_str()), written).expect("an output");
        let task = Task {
            policy: include_str!("../../../../policies/egress/standard.toml").to_owned(),
            outputs: vec![output],
            catalogue: Vec::new(),
            query: None,
            precisions: BTreeMap::new(),
            as_written: false,
        };
        Self { root, task }
    }

    /// Where the private data's one file is to stand.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data/hie/hie.csv")
    }

    /// What `canonicalise` or `judge` says.
    pub fn report(&self, subcommand: &str) -> OutputReport {
        let output = run(subcommand, self.root.path(), None, &self.task.to_json());
        assert!(output.status.success(), "{output:?}");
        OutputReport::from_bytes(&output.stdout[..OutputReport::BYTES]).expect("a report")
    }

    /// Makes the views of what became canonical.
    pub fn view(&self) {
        let output = run("views", self.root.path(), None, &self.task.to_json());
        assert!(output.status.success(), "{output:?}");
    }

    /// Searches, with a limit of what the scanner may allocate, in bytes, that the kernel keeps.
    pub fn scan(&self, memory: Option<u64>) -> Output {
        let task = ScanTask::new(&self.task.outputs, &self.task.catalogue).to_json();
        run("scan", self.root.path(), memory, &task)
    }

    /// The same, which must succeed.
    pub fn scanned(&self, memory: Option<u64>) -> ScanReport {
        let output = self.scan(memory);
        assert!(output.status.success(), "{output:?}");
        ScanReport::from_bytes(&output.stdout).expect("a report")
    }
}

fn run(subcommand: &str, root: &Path, memory: Option<u64>, task: &[u8]) -> Output {
    let limit = memory.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={limit}")).arg(env!("CARGO_BIN_EXE_databox-check")).arg(subcommand);
    for name in ["out", "canonical", "views", "data", "index", "public"] {
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
