//! A box whose rooms are all traced.

use std::collections::BTreeMap;
use std::path::PathBuf;
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
    /// A room whose program is another one than the built.
    other: Option<(&'static str, PathBuf)>,
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
        let bench = tokio::sync::OnceCell::new();
        Self { keepers: BTreeMap::new(), situation, bench, other: None, tested }
    }

    /// Makes a box of which one room is this program.
    pub fn start_with(room: &'static str, program: PathBuf, points: &Arc<Points>) -> Self {
        let mut traced = Self::stopped(TestBox::start(), points, false);
        traced.other = Some((room, program));
        traced.start_all();
        traced
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
        let command = match process {
            "witness" => stage.witness_command(),
            room => Rooms::command(&stage.home, room),
        };
        let command = command.expect("the program is built");
        let program = match &self.other {
            Some((room, program)) if *room == process => program.clone(),
            _ => command.get_program().into(),
        };
        let command = copied(program, &command);
        let keeper =
            Keeper::start(process, command, self.journal(process), directory, self.situation.clone());
        self.keepers.insert(process, keeper);
    }

    fn journal(&self, process: &str) -> PathBuf {
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

/// A command of this program that can be made again and again.
fn copied(program: PathBuf, of: &Command) -> Box<dyn Fn() -> Command + Send> {
    let arguments: Vec<_> = of.get_args().map(ToOwned::to_owned).collect();
    Box::new(move || {
        let mut command = Command::new(&program);
        command.args(&arguments).env_clear();
        command
    })
}
