//! The signer's log: entries, head, head outside, checkpoint, and what its leaves stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use blobs::Digest;
use release::file::{GivenFiles, Pinned, ReleaseFile};
use release::log::merkle::leaf_hash;
use release::log::{Checkpoint, Event, Leaf, Note, Tree, tiles};
use serde_json::Value;

use super::places::Places;
use super::{Report, Rule};
use crate::failure::{Failure, file_failure};

/// A decision that is a leaf.
pub struct Decided {
    /// Which leaf.
    pub index: u64,
    /// A release, or a denial of outputs or of code.
    pub is_release: bool,
}

/// The log, as far as others are checked against it.
#[derive(Default)]
pub struct Log {
    /// Decisions by verdict; refusals of code by request.
    pub decisions: BTreeMap<Digest, Decided>,
    /// Leaves that the published checkpoint covers.
    pub published: u64,
    /// The published checkpoint, with its signatures.
    pub checkpoint: Option<Note>,
    /// The log up to its durable head.
    pub durable: Tree,
    /// What releases are verified from.
    pinned: Option<Pinned>,
}

impl Log {
    /// The release file that stands in the log for this verdict under the published checkpoint, if there is one.
    pub fn is_published_release(&self, verdict: &Digest) -> bool {
        self.decisions
            .get(verdict)
            .is_some_and(|decided| decided.is_release && decided.index < self.published)
    }

    /// True if the log has a denial of this verdict, or a refusal of this request's code.
    pub fn is_denied(&self, verdict: &Digest) -> bool {
        self.decisions.get(verdict).is_some_and(|decided| !decided.is_release)
    }

    /// Verifies a finished release file as everyone does, and that this log has it; gives the verdict's digest.
    pub fn verify(&self, bytes: &[u8]) -> Result<Digest, String> {
        let file = ReleaseFile::parse(bytes).map_err(|refusal| refusal.to_string())?;
        let pinned = self.pinned.as_ref().ok_or("there is no log")?;
        let now = crate::site::now();
        let logged = file.verify(pinned, now, GivenFiles::NotGiven).map_err(|refusal| refusal.to_string())?;
        let verdict = logged.verdict().payload_digest();
        if self.is_published_release(&verdict) {
            Ok(verdict)
        } else {
            Err("the log does not have it".to_owned())
        }
    }
}

/// Examines the log.
pub fn examine(places: &Places, report: &mut Report) -> Result<Log, Failure> {
    let pinned = Pinned { accept_on_box_witness: places.accept_on_box_witness, ..Pinned::new(places.pin) };
    let mut log = Log { pinned: Some(pinned), ..Log::default() };
    let Some(state) = json(&places.signer.join("state.json"))? else { return Ok(log) };
    let (tree, leaves) = entries(places, head_size(&state["head"]), report)?;
    report.leaves = tree.size();
    let is_head = |head: &Value, tree: &Tree| {
        head_size(head) == tree.size() && head["root"] == Value::String(tree.root().to_string())
    };
    report.check(is_head(&state["head"], &tree), Rule::Log, || {
        "the entries do not lead to the head".to_owned()
    });
    let mut grown = tree.clone();
    let pending = state["pending"].as_array().cloned().unwrap_or_default();
    for entry in &pending {
        grown.append(leaf_hash(entry["leaf"].as_str().unwrap_or_default().as_bytes()));
        report.add(Rule::Unfinished, "an entry of the log is decided and not complete");
    }
    let outside = json(&places.log_head)?.unwrap_or(Value::Null);
    log.durable = grown.clone();
    let fits = is_head(&outside, &tree) || (!pending.is_empty() && is_head(&outside, &grown));
    report.check(fits, Rule::Log, || "the head outside is not that of the log".to_owned());
    checkpoint(places, &tree, head_size(&outside), &mut log, report)?;
    decisions(places, &leaves, &mut log, report)?;
    finished(places, &log, report)?;
    Ok(log)
}

fn head_size(head: &Value) -> u64 {
    head["size"].as_str().and_then(|text| text.parse().ok()).or_else(|| head["size"].as_u64()).unwrap_or(0)
}

fn json(path: &Path) -> Result<Option<Value>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(file_failure(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_failure(path)(error)),
    }
}

fn entries(places: &Places, size: u64, report: &mut Report) -> Result<(Tree, Vec<String>), Failure> {
    let (mut tree, mut leaves) = (Tree::new(), Vec::new());
    for bundle in tiles::bundles(size) {
        let path = places.public.join("log").join(bundle.path());
        let read = std::fs::read(&path).ok().and_then(|bytes| tiles::read_bundle(&bytes, bundle.width).ok());
        let Some(read) = read else {
            report.add(Rule::Log, format!("{} is missing or cut short", path.display()));
            break;
        };
        for leaf in read {
            tree.append(leaf_hash(&leaf));
            leaves.push(String::from_utf8_lossy(&leaf).into_owned());
        }
    }
    Ok((tree, leaves))
}

fn checkpoint(
    places: &Places,
    tree: &Tree,
    durable: u64,
    log: &mut Log,
    report: &mut Report,
) -> Result<(), Failure> {
    let path = places.public.join("log/checkpoint");
    let Ok(bytes) = std::fs::read(&path) else { return Ok(()) };
    let note = Note::parse(&bytes).map_err(file_failure(&path))?;
    let head = Checkpoint::parse(note.text()).map_err(file_failure(&path))?;
    report.check(head.size <= durable, Rule::CheckpointBehindHead, || {
        format!("the published checkpoint has {} leaves, and the durable head {durable}", head.size)
    });
    if head.size <= tree.size() {
        let same = tree.root_at(head.size) == Some(head.root);
        report.check(same, Rule::Log, || "the published checkpoint is of another history".to_owned());
    }
    log.published = head.size;
    log.checkpoint = Some(note);
    Ok(())
}

/// Each release and denial leaf has the one evidence of its verdict.
fn decisions(places: &Places, leaves: &[String], log: &mut Log, report: &mut Report) -> Result<(), Failure> {
    let mut evidence: BTreeMap<String, (Digest, bool)> = BTreeMap::new();
    for path in files_in(&places.signer.join("evidence")) {
        let Some(entry) = json(&path)? else { continue };
        let decision = &entry["content"]["decision"];
        let verdict = decision["verdict"].as_str().and_then(|text| text.parse().ok());
        let (Some(leaf), Some(verdict)) = (entry["leaf"].as_str(), verdict) else { continue };
        let is_release = decision["outcome"].as_str() == Some("release");
        evidence.insert(leaf.to_owned(), (verdict, is_release));
    }
    for (index, text) in leaves.iter().enumerate() {
        let event = Leaf::parse(text.as_bytes()).map(|leaf| leaf.event());
        if !matches!(event, Ok(Event::Release | Event::Denial | Event::CodeDenial)) {
            continue;
        }
        let Some((verdict, is_release)) = evidence.remove(text) else {
            report.add(Rule::OneDecision, format!("leaf {index} has nothing that it stands for"));
            continue;
        };
        let decided = Decided { index: index as u64, is_release };
        if log.decisions.insert(verdict, decided).is_some() {
            report.add(Rule::OneDecision, format!("verdict {verdict} was decided twice"));
        }
    }
    Ok(())
}

/// Every published release file verifies, stands in the log, and is the only one of its verdict.
fn finished(places: &Places, log: &Log, report: &mut Report) -> Result<(), Failure> {
    let mut released = BTreeSet::new();
    for path in files_in(&places.public.join("releases")) {
        let bytes = std::fs::read(&path).map_err(file_failure(&path))?;
        match log.verify(&bytes) {
            Ok(verdict) => report.check(released.insert(verdict), Rule::OneDecision, || {
                format!("verdict {verdict} has two release files")
            }),
            Err(why) => report.add(Rule::OneDecision, format!("{}: {why}", path.display())),
        }
    }
    for (verdict, decided) in &log.decisions {
        let is_there = !decided.is_release || released.contains(verdict);
        report.check(is_there || decided.index >= log.published, Rule::Unfinished, || {
            format!("verdict {verdict} has no release file yet")
        });
        let covered = decided.index < log.published;
        report.check(covered, Rule::Unfinished, || format!("leaf {} is not witnessed yet", decided.index));
    }
    Ok(())
}

/// Plain files of a directory whose names are final.
pub fn files_in(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.is_file() && !is_temporary(path)).collect();
    files.sort();
    files
}

/// True for a file that was being written when its room died.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(".writing") || name.ends_with(".writing")
}
