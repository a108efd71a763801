//! What a witness keeps, against the log: `--witness` names its directory.

use std::path::Path;

use release::log::checkpoint::cosignatures;
use release::log::{Checkpoint, Note, VerifierKey};
use rustix::fs::{FlockOperation, flock};

use super::log::{Log, files_in};
use super::running::runs;
use super::{Report, Rule};
use crate::failure::{Failure, file_failure};

/// Examines the state of a stopped witness. Heads of other logs are not looked at.
pub fn examine(directory: &Path, log: &Log, report: &mut Report) -> Result<(), Failure> {
    if let Ok(lock) = std::fs::File::open(directory.join("lock"))
        && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
    {
        return Err(runs("witness"));
    }
    let key = key(directory)?;
    let Some(published) = &log.checkpoint else { return Ok(()) };
    let head = Checkpoint::parse(published.text()).map_err(file_failure(directory))?;
    let mut seen = 0;
    for path in files_in(&directory.join("heads")).into_iter().filter(|path| !is_being_written(path)) {
        let bytes = std::fs::read(&path).map_err(file_failure(&path))?;
        let kept = Note::parse(&bytes).ok().and_then(|note| Checkpoint::parse_of_any_log(note.text()).ok());
        let Some(kept) = kept else {
            report.add(Rule::Witness, format!("{} is no checkpoint", path.display()));
            continue;
        };
        if kept.origin == head.origin {
            seen = kept.size;
            let same = log.durable.root_at(kept.size) == Some(kept.root);
            report.check(same, Rule::Witness, || {
                format!(
                    "the witness saw {} leaves that the log of {} does not have",
                    kept.size,
                    log.durable.size()
                )
            });
        }
    }
    let cosigned = cosignatures(published, std::slice::from_ref(&key)).is_ok_and(|found| !found.is_empty());
    report.check(!cosigned || seen >= head.size, Rule::Witness, || {
        format!(
            "the witness cosigned {} leaves and keeps a head of {seen}: it would cosign another history",
            head.size
        )
    });
    Ok(())
}

fn is_being_written(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "writing")
}

fn key(directory: &Path) -> Result<VerifierKey, Failure> {
    let path = directory.join("witness.public.json");
    let bytes = std::fs::read(&path).map_err(file_failure(&path))?;
    let public: serde_json::Value = serde_json::from_slice(&bytes).map_err(file_failure(&path))?;
    public["verifierKey"].as_str().unwrap_or_default().parse().map_err(file_failure(&path))
}
