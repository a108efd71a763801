//! A box whose rooms are all traced.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use databox::failure::Failure;
use databox::fsck;
use databox::home::ROOMS;
use databox::job::Bench;
use databox::up::Rooms;
use harness::TestBox;

use crate::plan::Situation;
use crate::points::Points;
use crate::tracer::Keeper;

/// The rooms and the witness.
pub const PROCESSES: [&str; 5] = ["witness", "signer", "console", "gateway", "enclave"];

/// A box on small data, with its tracers.
pub struct TracedBox {
    keepers: BTreeMap<&'static str, Keeper>,
    /// What the tracers know.
    pub situation: Arc<Situation>,
    /// A researcher's connection that lasts: it is made anew by itself when the gateway died.
    bench: tokio::sync::OnceCell<Bench>,
    /// The box.
    pub tested: TestBox,
}

impl TracedBox {
    /// Makes a box, and starts its rooms once more, traced.
    pub fn start(points: &Arc<Points>, each_call: bool) -> Self {
        Self::of(TestBox::start(), points, each_call)
    }

    /// Takes a running box over.
    pub fn of(tested: TestBox, points: &Arc<Points>, each_call: bool) -> Self {
        let mut traced = Self::stopped(tested, points, each_call);
        traced.start_all();
        traced
    }

    /// Stops a box; nothing of it runs until [`Self::start_all`].
    pub fn stopped(mut tested: TestBox, points: &Arc<Points>, each_call: bool) -> Self {
        tested.stage.stop();
        let situation = Situation::new(points.clone(), each_call);
        Self { keepers: BTreeMap::new(), situation, bench: tokio::sync::OnceCell::new(), tested }
    }

    /// A researcher's connection for whoever asks again and again.
    pub async fn bench(&self) -> Result<&Bench, Failure> {
        self.bench.get_or_try_init(|| Bench::connect(self.tested.stage.profile("kim"))).await
    }

    /// What `databox fsck` says about the stopped box and its witness.
    pub fn examine(&self) -> Result<fsck::Report, Failure> {
        fsck::examine(&self.tested.stage.home, &[self.tested.stage.directory().join("witness")])
    }

    /// Starts what does not run.
    pub fn start_all(&mut self) {
        for process in PROCESSES {
            let _ = std::fs::remove_file(self.journal(process));
            self.start_one(process);
        }
        self.wait_until_ready();
    }

    fn start_one(&mut self, process: &'static str) {
        let directory = self.tested.stage.directory().canonicalize().expect("the box is there");
        let stage = &self.tested.stage;
        let command: Box<dyn Fn() -> Command + Send> = if process == "witness" {
            copied(stage.witness_command().expect("the program is built"))
        } else {
            copied(Rooms::command(&stage.home, process).expect("the program is built"))
        };
        let keeper =
            Keeper::start(process, command, self.journal(process), directory, self.situation.clone());
        self.keepers.insert(process, keeper);
    }

    fn journal(&self, process: &str) -> std::path::PathBuf {
        match process {
            "witness" => self.tested.stage.directory().join("witness.log"),
            room => self.tested.stage.home.journal(room),
        }
    }

    /// Ends every process at once.
    pub fn stop_all(&mut self) {
        self.keepers.clear();
    }

    /// Waits until each room said once that it is ready since the journals were begun.
    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        for room in ROOMS {
            let path = self.journal(room);
            while !std::fs::read_to_string(&path).unwrap_or_default().contains(r#""event":"ready""#) {
                assert!(
                    Instant::now() < deadline,
                    "the {room} does not start: {:?}",
                    self.situation.faults()
                );
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// A command that can be made again and again.
fn copied(of: Command) -> Box<dyn Fn() -> Command + Send> {
    let program = of.get_program().to_owned();
    let arguments: Vec<_> = of.get_args().map(ToOwned::to_owned).collect();
    Box::new(move || {
        let mut command = Command::new(&program);
        command.args(&arguments).env_clear();
        command
    })
}
