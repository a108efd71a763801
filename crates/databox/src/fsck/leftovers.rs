//! What a room that died leaves behind, and what its next start clears away.

use std::path::Path;

use super::log::is_temporary;
use super::places::Places;
use super::{Report, Rule};

/// Reports what was being written, and what a run left in its workspace.
pub fn examine(places: &Places, report: &mut Report) {
    let stores = [
        &places.gateway,
        &places.to_enclave,
        &places.enclave,
        &places.outbox,
        &places.packets,
        &places.console,
        &places.signer,
        &places.public,
    ];
    let heads = [&places.account_head, &places.log_head].map(|head| head.parent().unwrap_or(Path::new("")));
    for directory in stores.into_iter().map(AsRef::as_ref).chain(heads) {
        look_for_temporaries(directory, report);
    }
    for name in ["work", "incoming"] {
        for entry in std::fs::read_dir(places.enclave.join(name)).into_iter().flatten().flatten() {
            report.add(Rule::Unfinished, format!("{} is left over", entry.path().display()));
        }
    }
}

fn look_for_temporaries(directory: &Path, report: &mut Report) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // Data and runtimes are what somebody else wrote; their names mean nothing here.
        if is_directory && !path.ends_with("runtimes") && !path.ends_with("datasets") {
            look_for_temporaries(&path, report);
        } else if is_temporary(&path) {
            report.add(Rule::Unfinished, format!("{} was being written", path.display()));
        }
    }
}
