//! Defects that are planted, each of which must be found. No shipped program has a switch for any of them. Three are
//! made by the tracer, which leaves calls of a running room out and says that they were made. The others are [`rebuilt`]
//! into a room from a changed copy of its source, which takes minutes; and what such a room leaves on disk is also laid
//! there by hand, where `databox fsck` must name the promise.

mod rebuilt;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use databox::fsck::Rule;
use databox::home::Home;
use rusqlite::Connection;

use crate::disk::FileSystem;
use crate::life::{End, Life};
use crate::plan::{Defect, Mode};
use crate::points::Points;
use crate::power::PoweredBox;
use crate::stage::TracedBox;
use crate::wait;

/// Releases a job while a defect leaves calls out, cuts the power once everybody has their answer, and looks whether
/// what people were told is there. None where no power can be cut.
fn power_cut_finds(file_system: FileSystem, defect: Defect) -> Option<Result<(), String>> {
    Some(PoweredBox::start(file_system)?.without(defect))
}

/// The defect is found, and its innocent twin on the same disk is not.
fn is_found(file_system: FileSystem, defect: Defect) {
    if let Some(innocent) = power_cut_finds(file_system, Defect::None) {
        innocent.unwrap_or_else(|lost| panic!("the innocent twin: {lost}"));
        let found = power_cut_finds(file_system, defect).expect("the twin had its power cut");
        println!("found: {defect:?}: {}", found.expect_err("what was left out is missed"));
    }
}

#[test]
fn a_room_that_does_not_sync_before_it_answers_is_found() {
    is_found(FileSystem::Journaled, Defect::FileSyncs);
}

#[test]
fn a_room_that_does_not_sync_its_directories_is_found() {
    is_found(FileSystem::WithoutJournal, Defect::DirectorySyncs);
}

/// What a defect does to the files of a home.
type Laid = (&'static str, Rule, fn(&Home, &Before));

/// What stood on disk before the last decision.
struct Before {
    log_head: Vec<u8>,
    signer_state: Vec<u8>,
    witness_head: Vec<u8>,
}

/// The witness's last head of the log.
fn witness_head(home: &Home) -> PathBuf {
    let heads = home.directory().with_file_name("witness").join("heads");
    fs::read_dir(heads).expect("heads").flatten().next().expect("a head").path()
}

fn database(home: &Home, path: &str) -> Connection {
    Connection::open(home.join(path)).expect("the database is there")
}

fn change(home: &Home, path: &str, statement: &str) {
    let changed = database(home, path).execute_batch(statement);
    changed.unwrap_or_else(|error| panic!("{path}: {error}"));
}

const DEFECTS: [Laid; 7] = [
    // The enclave died after the start and before the charge.
    ("charge after start", Rule::ChargeBeforeRun, |home, _| {
        change(home, "enclave/account.db", "DELETE FROM account; UPDATE jobs SET state = 'RUNNING'");
        fs::remove_file(home.join("heads/enclave/account")).expect("a head");
    }),
    // The enclave died after the charge and before the request's own nonce was kept.
    ("nonce outside the charging transaction", Rule::Nonce, |home, _| {
        change(home, "enclave/account.db", "UPDATE jobs SET nonce = randomblob(32)");
    }),
    // The signer died after the checkpoint and before head and state.
    ("checkpoint before the head", Rule::CheckpointBehindHead, |home, before| {
        fs::write(home.join("heads/signer/log"), &before.log_head).expect("a head");
        fs::write(home.join("signer/state.json"), &before.signer_state).expect("a state");
    }),
    // The signer signed another manifest for a verdict that has one: its release file lies beside the first.
    ("second manifest for one verdict", Rule::OneDecision, |home, _| {
        let releases = home.join("public/releases");
        let first = fs::read_dir(&releases).expect("releases").flatten().next().expect("a release").path();
        let second = releases.join(format!("{}.release.json", blobs::Digest::of(b"another manifest")));
        fs::copy(first, second).expect("a second release file");
    }),
    // The console took every review up as open when it started again.
    ("denial dropped on restart", Rule::Denial, |home, _| {
        let reopened = "UPDATE reviews SET standing = 'open', file = NULL WHERE standing = 'denied'";
        change(home, "console/reviews.db", reopened);
    }),
    // The witness cosigned before its own head was durable, and the power was cut.
    ("cosignature before the witness's head", Rule::Witness, |home, before| {
        fs::write(witness_head(home), &before.witness_head).expect("a head");
    }),
    // The enclave laid files down that no witnessed leaf stands for.
    ("outbox before the cosignature", Rule::Outbox, |home, _| {
        let bytes = b"{\"value\":0.75}\n";
        let path = home.join("hand-over/enclave-to-gateway").join(blobs::Digest::of(bytes).to_string());
        fs::write(path, bytes).expect("a file in the outbox");
    }),
];

#[test]
fn a_signer_that_publishes_before_its_head_is_kept_is_found() {
    let points = Arc::new(Points::default());
    let mut traced = TracedBox::start(&points, false);
    let lived = wait(async {
        let mut life = Life::prepare(&traced, End::Released).await?;
        life.run(&traced, Mode::Quiet).await?;
        life.decide(&traced, Mode::Without(Defect::HeadOutside)).await
    });
    lived.unwrap_or_else(|stuck| panic!("{stuck}"));
    traced.situation.settle();
    traced.stop_all();
    let found = traced.examine().expect("a stopped box is examined");
    let named = found.broken().into_iter().find(|finding| finding.rule == Rule::CheckpointBehindHead);
    println!("found: {}", named.unwrap_or_else(|| panic!("{:#?}", found.findings)));
}

#[test]
fn what_a_defective_room_leaves_on_disk_is_named_by_fsck() {
    let points = Arc::new(Points::default());
    let mut traced = TracedBox::start(&points, false);
    let home = traced.tested.stage.home.clone();
    let live = |end, traced: &TracedBox| {
        let lived = wait(async {
            let mut life = Life::prepare(traced, end).await?;
            life.run(traced, Mode::Quiet).await?;
            life.decide(traced, Mode::Quiet).await
        });
        lived.unwrap_or_else(|stuck| panic!("{stuck}"));
    };
    live(End::Denied, &traced);
    let read = |path: &str| fs::read(home.join(path)).expect("a file of the signer");
    let witness_before = fs::read(witness_head(&home)).expect("a head");
    let before = Before {
        log_head: read("heads/signer/log"),
        signer_state: read("signer/state.json"),
        witness_head: witness_before,
    };
    let running = traced.examine().expect_err("a running room is named");
    assert_eq!(running.reason, "ROOM_RUNS");
    live(End::Released, &traced);
    traced.situation.settle();
    traced.stop_all();
    let sound = traced.examine().expect("a stopped box is examined");
    assert!(sound.broken().is_empty(), "the innocent twin: {:#?}", sound.broken());
    let kept = traced.tested.directory().join("kept");
    let witness_kept = fs::read(witness_head(&home)).expect("a head");
    for (name, rule, plant) in DEFECTS {
        copy_tree(home.directory(), &kept);
        plant(&home, &before);
        let found = traced.examine().expect("a stopped box is examined");
        let names_it = found.broken().iter().any(|finding| finding.rule == rule);
        assert!(names_it, "{name} is not found: {:#?}", found.findings);
        println!("found: {name}: {}", found.broken().iter().find(|finding| finding.rule == rule).unwrap());
        copy_tree(&kept, home.directory());
        fs::write(witness_head(&home), &witness_kept).expect("a head");
    }
}

/// Makes the rooms' own files in `to` those of `from`. Data and runtimes are left alone.
fn copy_tree(from: &Path, to: &Path) {
    for below in ["enclave", "console", "gateway", "signer", "heads", "public", "hand-over"] {
        let _ = fs::remove_dir_all(to.join(below)).or_else(|_| fs::remove_dir_all(to.join(below)));
        fs::create_dir_all(to).expect("a directory");
        let copied =
            std::process::Command::new("cp").arg("-a").arg(from.join(below)).arg(to.join(below)).status();
        assert!(copied.is_ok_and(|status| status.success()), "{below} is copied");
    }
}
