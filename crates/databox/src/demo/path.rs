//! The path: from keys to a verified release.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use api::reason::Word as _;
use lifecycle::State;
use release::file::{GivenFiles, Pinned};
use release::statement::{Catalogue, CatalogueEntry, VerdictResult};
use release::value::Count;

use super::{Steps, examples};
use crate::failure::{Failure, file_failure, whole};
use crate::job::{self, Bench};
use crate::programs;
use crate::release_files::Shelf;
use crate::review::Desk;
use crate::throwaway::{ANSWER_BITS, Endpoints, RELEASE_BITS, Throwaway};

/// How long one step may take before the demonstration fails.
const PATIENCE: Duration = Duration::from_secs(50);

/// Makes the box, its people, data, runtime and grant, and starts the rooms.
pub fn set_up(directory: &Path, endpoints: Endpoints, steps: &mut Steps) -> Result<Throwaway, Failure> {
    let mut stage = Throwaway::make(directory, endpoints, None)?;
    steps.done(
        "keys",
        "box (verdict, release, log, TLS), researchers kim and lee, stewards ana and ben, a witness",
    )?;
    steps.more(format!("roles 1: {}", stage.pin));
    stage.start()?;
    let endpoints = stage.endpoints().clone();
    steps.done(
        "rooms",
        format!(
            "signer, console {}, gateway {}, enclave (no network), witness {}",
            endpoints.console, endpoints.gateway, endpoints.witness
        ),
    )?;
    let data = examples::write_data(&directory.join("data"))?;
    let catalogue = stage.add_dataset("hie", &data, "zper", &["plan"])?;
    let (rows, people) = (rows(&data.join("randhie.csv"))?, units(&catalogue));
    steps.done(
        "data",
        format!(
            "hie: RAND Health Insurance Experiment, {rows} rows of {people} people; catalogue signed by 2"
        ),
    )?;
    stage.add_runtime()?;
    steps.done("runtime", "host-python: this machine's Python, read-only, named by its digest")?;
    stage.add_grant()?;
    steps.done(
        "grant",
        format!(
            "grant-1: project hie, {RELEASE_BITS} bits to release, {ANSWER_BITS} bits of answers; signed by 2"
        ),
    )?;
    Ok(stage)
}

fn rows(csv: &Path) -> Result<usize, Failure> {
    let text = std::fs::read_to_string(csv).map_err(file_failure(csv))?;
    Ok(text.lines().count().saturating_sub(1))
}

/// How many people the enclave counted in the newest snapshot.
fn units(catalogue: &Catalogue) -> Count {
    match &catalogue.entry {
        CatalogueEntry::Dataset { snapshots, .. } => {
            snapshots.last().map_or(Count(0), |snapshot| snapshot.units)
        }
        CatalogueEntry::Runtime { .. } => Count(0),
    }
}

/// A release, on the researcher's disk.
pub struct Released {
    /// Its directory.
    pub directory: PathBuf,
    /// The release file.
    pub file: PathBuf,
}

/// The honest job, from bundle to verified release.
pub async fn release(stage: &Throwaway, steps: &mut Steps) -> Result<Released, Failure> {
    let bundle = examples::write(&examples::ANY_VISIT, &stage.directory().join("any-visit"))?;
    let bench = Bench::connect(stage.profile("kim")).await?;
    let prepared = bench.prepare(&bundle).await?;
    let submitted = bench.submit(&prepared).await?;
    steps.done(
        "submit",
        format!(
            "kim: examples/any-visit, bundle of {} bytes → job {}",
            prepared.bundle.len(),
            short(&submitted.job)
        ),
    )?;
    let run = bench.wait(&submitted.job, &[State::InReview], PATIENCE).await?;
    if job::state(&run) != State::InReview {
        return Err(unexpected(&run));
    }
    let answer = lifecycle::ANSWER_BITS;
    steps.done(
        "run",
        format!("run {}, {answer} bits of answers charged before it began → {}", run.run, job::state(&run)),
    )?;
    review(stage, steps).await?;
    let file = fetch(stage, &bench, &submitted.job, steps).await?;
    verify(stage, &file, steps)?;
    score(stage, &file, steps)?;
    let directory = file.parent().unwrap_or(Path::new(".")).to_owned();
    Ok(Released { directory, file })
}

/// What a job that went another way than expected tells.
pub fn unexpected(job: &api::v1::Job) -> Failure {
    let outcome = job.outcome.clone().unwrap_or_default();
    let reason = outcome.reason().word();
    Failure::new(
        "DEMO",
        format!("the job ended {} ({reason} {} {})", job::state(job), outcome.rule, outcome.file),
    )
}

/// The first characters of an id.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

async fn review(stage: &Throwaway, steps: &mut Steps) -> Result<(), Failure> {
    for (steward, place) in [("ana", "first"), ("ben", "second")] {
        let mut desk = Desk::connect(stage.profile(steward)).await?;
        let review = open_review(&mut desk).await?;
        let opened = desk.open(&review).await?;
        if place == "first" {
            let verdict = &opened.verdict;
            let result = if verdict.result == VerdictResult::Pass { "PASS" } else { "BLOCKED" };
            steps.done(
                "verdict",
                format!(
                    "{result}: {} files carry at most {} bits, and {} for the verdict itself",
                    verdict.files.len(),
                    verdict.released_bits,
                    verdict.verdict_bits
                ),
            )?;
            steps.more(crate::review::words(&opened));
        }
        desk.approve(&opened).await?;
        steps.done(
            "approval",
            format!("{steward} ({place}): opened the packet, judged it again behind a wall, signed"),
        )?;
    }
    Ok(())
}

/// The one review that waits for a decision.
pub async fn open_review(desk: &mut Desk) -> Result<String, Failure> {
    for _ in 0..100 {
        let reviews = desk.list().await?;
        let is_open = |review: &api::v1::Review| {
            review.state() == api::v1::ReviewState::Open && review.kind() == api::v1::ReviewKind::Outputs
        };
        if let Some(review) = reviews.into_iter().find(is_open) {
            return Ok(review.review);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Failure::new("DEMO", "the verdict did not reach the console"))
}

async fn fetch(stage: &Throwaway, bench: &Bench, job: &str, steps: &mut Steps) -> Result<PathBuf, Failure> {
    let released = bench.wait(job, &[State::Released], PATIENCE).await?;
    if job::state(&released) != State::Released {
        return Err(unexpected(&released));
    }
    let mut shelf = Shelf::new(stage.profile("kim"), bench.channel());
    let file = shelf.get(job, &stage.directory().join("released")).await?;
    let bytes = std::fs::read(&file).map_err(file_failure(&file))?;
    let demo = |error: &dyn std::error::Error| Failure::new("DEMO", whole(error));
    let parsed = release::file::ReleaseFile::parse(&bytes).map_err(|error| demo(&error))?;
    let pinned = Pinned { accept_on_box_witness: true, ..Pinned::new(stage.pin) };
    let logged =
        parsed.verify(&pinned, crate::site::now(), GivenFiles::NotGiven).map_err(|error| demo(&error))?;
    let witnessed = logged.witnessed();
    steps.done(
        "release",
        format!(
            "signed, leaf {} of the log, cosigned by {}; kim fetched and verified it",
            witnessed.index,
            witnessed.witnesses.join(", ")
        ),
    )?;
    Ok(file)
}

/// Runs the auditor's verifier on a release file, as an auditor would.
pub fn verifier(stage: &Throwaway, file: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(programs::find("databox-verify")?);
    command.arg(file).arg("--files").arg(file.parent().unwrap_or(Path::new(".")));
    command.arg("--roles").arg(stage.pin.to_string()).arg("--accept-on-box-witness").env_clear();
    Ok(command)
}

fn verify(stage: &Throwaway, file: &Path, steps: &mut Steps) -> Result<(), Failure> {
    let output = verifier(stage, file)?.output().map_err(file_failure(file))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(Failure::new("DEMO", format!("the verifier refused: {text}")));
    }
    let rows = text.lines().filter(|line| line.trim_start().starts_with("ok ")).count();
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    steps.done("audit", format!("databox-verify, offline: VERIFIED {} ({rows} checks)", short(&name)))?;
    Ok(())
}

/// Scores the released weights outside of the box and compares with the released metrics.
fn score(stage: &Throwaway, file: &Path, steps: &mut Steps) -> Result<(), Failure> {
    let directory = file.parent().unwrap_or(Path::new("."));
    let script = stage.directory().join("any-visit/score.py");
    let output = Command::new("/usr/bin/python3")
        .arg(&script)
        .arg(directory.join("model.safetensors"))
        .arg(stage.directory().join("data/randhie.csv"))
        .env_clear()
        .output()
        .map_err(file_failure(&script))?;
    let read = |bytes: &[u8]| -> Result<serde_json::Value, Failure> {
        serde_json::from_slice(bytes).map_err(|error| Failure::new("DEMO", format!("no score: {error}")))
    };
    let outside = read(&output.stdout)?;
    let metrics = directory.join("metrics.json");
    let inside = read(&std::fs::read(&metrics).map_err(file_failure(&metrics))?)?;
    let number = |value: &serde_json::Value, name: &str| value[name].as_f64().unwrap_or(f64::NAN);
    let (log_loss, baseline) = (number(&inside, "log_loss"), number(&inside, "baseline_log_loss"));
    let (low, high) = (number(&inside, "gain_low"), number(&inside, "gain_high"));
    // Released metrics carry four significant digits.
    let same = (number(&outside, "log_loss") - log_loss).abs() <= 0.000_05 + 1e-12;
    if !(same && low > 0.0 && log_loss < baseline) {
        return Err(Failure::new(
            "DEMO",
            format!(
                "the model is not better than its base rate, or scores differently outside: {outside} {inside}"
            ),
        ));
    }
    steps.done("model", format!("held-out log loss {log_loss} against {baseline}; gain {low} to {high} (95 %, by person); the same outside"))?;
    Ok(())
}
