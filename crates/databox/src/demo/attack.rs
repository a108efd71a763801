//! The attacks: a theft, three forgeries, and a file laid into the outbox by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifecycle::State;

use super::path::{Released, short, unexpected, verifier};
use super::{Steps, examples};
use crate::failure::{Failure, file_failure};
use crate::job::{self, Bench};
use crate::release_files::Shelf;
use crate::review::{self, Desk};
use crate::throwaway::Throwaway;

/// A job that writes rows of the data into weights, one character a weight.
pub async fn steal(stage: &Throwaway, steps: &mut Steps) -> Result<(), Failure> {
    let bundle = examples::write(&examples::STEAL_ROWS, &stage.directory().join("steal-rows"))?;
    let bench = Bench::connect(stage.profile("lee")).await?;
    let prepared = bench.prepare(&bundle).await?;
    let submitted = bench.submit(&prepared).await?;
    let ended = bench.wait(&submitted.job, &[State::InReview], Duration::from_secs(50)).await?;
    if job::state(&ended) != State::Blocked {
        return Err(unexpected(&ended));
    }
    let outcome = ended.outcome.clone().unwrap_or_default();
    steps.done(
        "theft",
        format!(
            "lee: examples/steal-rows, rows of the data as weights, one character a weight → {}",
            State::Blocked
        ),
    )?;
    steps.more(format!(
        "lee sees    job {} {}: rule {} in {}",
        short(&ended.job),
        State::Blocked,
        outcome.rule,
        outcome.file
    ));
    let mut desk = Desk::connect(stage.profile("ana")).await?;
    let review = blocked_review(&mut desk).await?;
    let opened = desk.open(&review).await?;
    for line in review::words(&opened)
        .lines()
        .filter(|line| ["verdict", "blocked", "copied"].iter().any(|word| line.starts_with(word)))
        .take(5)
    {
        steps.more(format!("a steward sees  {line}"));
    }
    Ok(())
}

async fn blocked_review(desk: &mut Desk) -> Result<String, Failure> {
    for _ in 0..100 {
        let reviews = desk.list().await?;
        if let Some(review) =
            reviews.into_iter().find(|review| review.state() == api::v1::ReviewState::Blocked)
        {
            return Ok(review.review);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Failure::new("DEMO", "the blocked verdict did not reach the console"))
}

/// Flips one bit in turn in a weights file, an approval and the log proof.
pub fn tamper(stage: &Throwaway, released: &Released, steps: &mut Steps) -> Result<(), Failure> {
    type Forge = fn(&Path, &Path) -> Result<(), Failure>;
    let forgeries: [(&str, Forge); 3] = [
        ("one bit of model.safetensors", flip_weights),
        ("one bit of an approval", flip_approval),
        ("one bit of the log proof", flip_proof),
    ];
    let mut codes = Vec::new();
    for (what, forge) in forgeries {
        let copy = copy_of(&released.directory, &stage.directory().join("forged"))?;
        let file = copy.join(released.file.file_name().unwrap_or_default());
        forge(&copy, &file)?;
        let output = verifier(stage, &file)?.output().map_err(file_failure(&file))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let refused = text.lines().find(|line| line.starts_with("REFUSED")).unwrap_or("").to_owned();
        let code = output.status.code().unwrap_or(0);
        if refused.is_empty() || !(40..100).contains(&code) || codes.contains(&code) {
            return Err(Failure::new(
                "DEMO",
                format!("{what} changed, and the verifier ended with {code}: {text}"),
            ));
        }
        codes.push(code);
        steps.done("forgery", format!("{what} → {}, exit {code}", cut(&refused, 70)))?;
    }
    Ok(())
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

fn copy_of(directory: &Path, to: &Path) -> Result<PathBuf, Failure> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).map_err(file_failure(to))?;
    for entry in fs::read_dir(directory).map_err(file_failure(directory))?.flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).map_err(file_failure(to))?;
    }
    Ok(to.to_owned())
}

fn flip_weights(directory: &Path, _: &Path) -> Result<(), Failure> {
    let path = directory.join("model.safetensors");
    let mut bytes = fs::read(&path).map_err(file_failure(&path))?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    fs::write(&path, bytes).map_err(file_failure(&path))
}

/// Changes one base64 digit in the signature of the first approval: one bit of it, as it is decoded.
fn flip_approval(_: &Path, file: &Path) -> Result<(), Failure> {
    change(file, |text| {
        let approvals = text.find("\"approvals\":")?;
        text[approvals..].find("\"sig\":\"").map(|at| approvals + at + "\"sig\":\"".len() + 10)
    })
}

/// The same in the first hash of the inclusion proof.
fn flip_proof(_: &Path, file: &Path) -> Result<(), Failure> {
    change(file, |text| {
        let index = text.find("\\nindex ")? + 2;
        text[index..].find("\\n").map(|at| index + at + 2 + 10)
    })
}

fn change(file: &Path, place: impl Fn(&str) -> Option<usize>) -> Result<(), Failure> {
    let mut text = fs::read_to_string(file).map_err(file_failure(file))?;
    let at = place(&text)
        .ok_or_else(|| Failure::new("DEMO", "the release file has another form than expected"))?;
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let found = text[at..].chars().next().and_then(|digit| digits.find(digit));
    let value =
        found.ok_or_else(|| Failure::new("DEMO", "the release file has another form than expected"))?;
    text.replace_range(at..=at, &digits[value ^ 1..=value ^ 1]);
    fs::write(file, text).map_err(file_failure(file))
}

/// Lays a file into the outbox, as somebody who can write there would, and asks for it.
pub async fn lay_by_hand(stage: &Throwaway, steps: &mut Steps) -> Result<(), Failure> {
    let secret = b"rows of the data, laid into the outbox by hand";
    let digest = blobs::Digest::of(secret);
    let path = stage.home.join("hand-over/enclave-to-gateway").join(digest.to_string());
    fs::write(&path, secret).map_err(file_failure(&path))?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let bench = Bench::connect(stage.profile("lee")).await?;
    let mut shelf = Shelf::new(stage.profile("lee"), bench.channel());
    let listed = shelf.list().await?.len();
    let asked = shelf.get(&digest.to_string(), &stage.directory().join("by-hand")).await;
    match asked {
        Err(failure) if listed == 0 => {
            steps.done("outbox", format!("a file laid there by hand is not served: {}", failure.reason))?;
            Ok(())
        }
        _ => Err(Failure::new("DEMO", "a file laid into the outbox by hand was served")),
    }
}
