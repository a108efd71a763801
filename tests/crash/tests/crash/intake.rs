//! Data and runtimes come in while the rooms die.

use std::sync::atomic::{AtomicU32, Ordering};

use databox::data::{self, DataArguments};
use databox::failure::Failure;

use crate::life::{Stuck, enter, until};
use crate::plan::Mode;
use crate::stage::TracedBox;

/// A newer state of a dataset is laid down, and the enclave drafts its catalogue entry.
pub const DATA_INTAKE: &str = "data intake";
/// The same with a runtime.
pub const RUNTIME_INTAKE: &str = "runtime intake";

/// What comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// A newer state of the dataset.
    Data,
    /// A runtime.
    Runtime,
}

impl Intake {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Data, Self::Runtime];

    /// The state in which it comes in.
    pub fn state(self) -> &'static str {
        match self {
            Self::Data => DATA_INTAKE,
            Self::Runtime => RUNTIME_INTAKE,
        }
    }

    /// Lays it down; ends once the enclave has its whole copy and drafted its entry.
    pub async fn take_in(self, traced: &TracedBox, mode: Mode) -> Result<(), Stuck> {
        match self {
            Self::Data => data(traced, mode).await,
            Self::Runtime => runtime(traced, mode).await,
        }
    }
}

async fn runtime(traced: &TracedBox, mode: Mode) -> Result<(), Stuck> {
    static RUNTIMES: AtomicU32 = AtomicU32::new(0);
    let name = format!("tools-{}", RUNTIMES.fetch_add(1, Ordering::Relaxed));
    let home = traced.tested.stage.home.clone();
    let source = traced.tested.directory().join(&name);
    let words = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(source.join("tree/usr/bin")).map_err(words)?;
    std::fs::write(source.join("tree/usr/bin/tool"), format!("#!/usr/bin/{name}\n")).map_err(words)?;
    std::os::unix::fs::symlink("tool", source.join("tree/usr/bin/other")).map_err(words)?;
    let (tree, _) = blobs::tree_digest(&source.join("tree")).map_err(|error| error.to_string())?;
    enter(traced, RUNTIME_INTAKE, mode);
    // Laid down whole: its description comes last.
    std::fs::write(source.join("runtime.toml"), "description = \"Tools\"\n").map_err(words)?;
    std::fs::rename(&source, home.join("drop/runtimes").join(&name)).map_err(words)?;
    let (draft, copy) = (
        home.join(format!("drafts/runtime-{name}.json")),
        home.join("enclave/runtimes").join(tree.to_string()),
    );
    until(traced, "take a runtime in", async || {
        let is_whole = blobs::tree_digest(&copy).is_ok_and(|(found, _)| found == tree);
        if draft.is_file() && is_whole {
            Ok(())
        } else {
            Err(Failure::new("NOT_YET", "the runtime is not taken in"))
        }
    })
    .await?;
    enter(traced, "between lives", Mode::Quiet);
    Ok(())
}

async fn data(traced: &TracedBox, mode: Mode) -> Result<(), Stuck> {
    static STATES: AtomicU32 = AtomicU32::new(0);
    let people = 310 + STATES.fetch_add(1, Ordering::Relaxed) as usize;
    let home = traced.tested.stage.home.clone();
    let source = traced.tested.directory().join(format!("data-{people}"));
    let words = |error: std::io::Error| error.to_string();
    std::fs::create_dir(&source).map_err(words)?;
    std::fs::write(source.join("hie.csv"), harness::small_data(people)).map_err(words)?;
    let (tree, _) = blobs::tree_digest(&source).map_err(|error| error.to_string())?;
    let name = |text: &str| text.parse().expect("a name");
    enter(traced, DATA_INTAKE, mode);
    // What the operator does before a newer state is laid down.
    std::fs::remove_dir_all(home.join("drop/datasets/hie")).map_err(words)?;
    let draft = home.join("drafts/hie.packet");
    // None after a kill between its withdrawal and the new one.
    let before = std::fs::read(&draft).unwrap_or_default();
    let laid = data::add_dataset(&DataArguments {
        name: name("hie"),
        directory: source,
        home: home.directory().to_owned(),
        unit_column: name("zper"),
        categories: vec![name("plan")],
        release_bits: 4_000_000,
        answer_bits: 100_000,
        privacy_rho: None,
        privacy_rho_per_answer: None,
        privacy_delta_exponent: 6,
        public: None,
        licence: "public domain".to_owned(),
        source: "RAND Health Insurance Experiment".to_owned(),
    });
    laid.map_err(|failure| failure.to_string())?;
    let copy = home.join("enclave/datasets/hie").join(tree.to_string());
    until(traced, "take data in", async || {
        let is_drafted = std::fs::read(&draft).is_ok_and(|now| now != before);
        let is_whole = blobs::tree_digest(&copy).is_ok_and(|(found, _)| found == tree);
        if is_drafted && is_whole { Ok(()) } else { Err(Failure::new("NOT_YET", "the data is not taken in")) }
    })
    .await?;
    enter(traced, "between lives", Mode::Quiet);
    Ok(())
}
