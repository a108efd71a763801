//! Data comes in while the rooms die.

use std::sync::atomic::{AtomicU32, Ordering};

use databox::data::{self, DataArguments};
use databox::failure::Failure;

use crate::life::{Stuck, enter, until};
use crate::plan::Mode;
use crate::stage::TracedBox;

/// A newer state of a dataset is laid down, and the enclave drafts its catalogue entry.
pub const INTAKE: &str = "intake";

/// Lays down a newer state of the dataset; ends once the enclave has its whole copy and drafted its entry.
pub async fn take_in(traced: &TracedBox, mode: Mode) -> Result<(), Stuck> {
    static STATES: AtomicU32 = AtomicU32::new(0);
    let people = 310 + STATES.fetch_add(1, Ordering::Relaxed) as usize;
    let home = traced.tested.stage.home.clone();
    let source = traced.tested.directory().join(format!("data-{people}"));
    let words = |error: std::io::Error| error.to_string();
    std::fs::create_dir(&source).map_err(words)?;
    std::fs::write(source.join("hie.csv"), harness::small_data(people)).map_err(words)?;
    let (tree, _) = blobs::tree_digest(&source).map_err(|error| error.to_string())?;
    let name = |text: &str| text.parse().expect("a name");
    enter(traced, INTAKE, mode);
    // What the operator does before a newer state is laid down.
    std::fs::remove_dir_all(home.join("drop/datasets/hie")).map_err(words)?;
    let draft = home.join("drafts/hie.packet");
    let before = std::fs::read(&draft).map_err(words)?;
    let laid = data::add_dataset(&DataArguments {
        name: name("hie"),
        directory: source,
        home: home.directory().to_owned(),
        unit_column: name("zper"),
        categories: vec![name("plan")],
        release_bits: 4_000_000,
        answer_bits: 100_000,
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
