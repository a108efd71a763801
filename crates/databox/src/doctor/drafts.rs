//! Drafts of the catalogue: what the enclave drafted and nobody signed and installed yet, and what it refused.

use std::fs;
use std::path::Path;

use blobs::Digest;
use release::site::Site;
use release::statement::CatalogueEntry;
use release::value::Name;
use serde::Deserialize;

use super::Check;
use crate::home::Home;

/// What the enclave answered about what was laid down.
#[derive(Deserialize)]
struct Answer {
    state: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    detail: String,
}

pub fn examine(home: &Home, site: Option<&Site>) -> Vec<Check> {
    let mut names: Vec<_> = fs::read_dir(home.drafts())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    let mut checks = Vec::new();
    for name in &names {
        let path = home.drafts().join(name);
        if let Some(draft) = name.strip_suffix(".done") {
            checks.extend(site.and_then(|site| waiting(&path, draft, site)));
        } else if let Some(of) = name.strip_suffix(".answer.json") {
            checks.extend(unanswered(&path, of));
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok("drafts", "every draft of the catalogue is installed"));
    }
    checks
}

/// A whole draft whose tree the site does not name yet: jobs cannot use it.
fn waiting(mark: &Path, draft: &str, site: &Site) -> Option<Check> {
    let tree: Digest = fs::read_to_string(mark).ok()?.trim_end().parse().ok()?;
    let (stem, _) = draft.rsplit_once('.')?;
    let runtime = stem.strip_prefix("runtime-").filter(|_| draft.ends_with(".json"));
    let name: Name = runtime.unwrap_or(stem).parse().ok()?;
    let installed = match runtime {
        Some(_) => site.runtime(&name),
        None => site.dataset(&name),
    };
    let is_named = installed.is_some_and(|entry| match &entry.statement().entry {
        CatalogueEntry::Dataset { snapshots, .. } => {
            snapshots.iter().any(|snapshot| snapshot.tree.sha256 == tree)
        }
        CatalogueEntry::Runtime { tree: signed, .. } => signed.sha256 == tree,
    });
    let file = mark.with_file_name(draft);
    (!is_named).then(|| {
        Check::warn(
            "drafts",
            format!("{name} is drafted and not in the catalogue: no job can use it"),
            format!(
                "`databox site draft {}` (with --as ID for data), then `databox site sign` and `databox site install`",
                file.display()
            ),
        )
    })
}

/// What was laid down and has no draft.
fn unanswered(path: &Path, of: &str) -> Option<Check> {
    let answer: Answer = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let remedy = match answer.state.as_str() {
        "REFUSED" => "take what was laid down away, mend it, and add it again",
        "WAITING" => "it is looked at again by itself once that has changed",
        _ => return None,
    };
    let found = format!("{of}: {} {}: {}", answer.state, answer.reason, answer.detail);
    Some(Check::warn("drafts", found, remedy))
}
