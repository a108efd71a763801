//! What lies beside the stores, and what the catalogue promises of them: heads kept outside, registered runtimes and
//! data, files that a crash left half written. The stores themselves are for `databox fsck`.

use std::fs;
use std::path::Path;

use release::site::Site;
use release::statement::CatalogueEntry;

use super::Check;
use super::configurations::Configurations;

pub fn examine(configurations: &Configurations, site: Option<&Site>) -> Vec<Check> {
    let mut checks: Vec<Check> =
        configurations.heads.iter().map(|(what, path)| head(what, path, configurations)).collect();
    checks.push(half_written(configurations));
    if let Some(site) = site {
        checks.extend(runtimes(configurations, site));
        checks.extend(datasets(configurations, site));
    }
    checks
}

/// A head in the directory that it is to be compared with goes back with it when an old copy is put there.
fn head(what: &str, path: &Path, configurations: &Configurations) -> Check {
    let inside = configurations.states.iter().any(|(_, state)| path.starts_with(state));
    if inside {
        return Check::fail(
            "heads",
            format!("the {what}'s head {} lies within a room's own directory", path.display()),
            "move it to a directory that is not backed up and put back together with the store",
        );
    }
    match fs::metadata(path) {
        Ok(_) => Check::ok("heads", format!("the {what}'s head is kept outside of its store")),
        // Before the first entry there is none.
        Err(_) => Check::ok("heads", format!("the {what} has no head yet")),
    }
}

fn half_written(configurations: &Configurations) -> Check {
    let mut found = Vec::new();
    let states = configurations.states.iter().map(|(_, path)| path);
    for directory in states.chain(&configurations.hand_over) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age.as_secs() > 3600));
            if entry.file_name().to_string_lossy().starts_with(".writing-") && old {
                found.push(entry.path().display().to_string());
            }
        }
    }
    match &found[..] {
        [] => Check::ok("half-written", "no file of a crash is left"),
        [first, ..] => Check::warn(
            "half-written",
            format!("{} files that a crash left half written, such as {first}", found.len()),
            "with the rooms down they can be removed",
        ),
    }
}

fn runtimes(configurations: &Configurations, site: &Site) -> Vec<Check> {
    let mut checks = Vec::new();
    for entry in site.runtimes().map(|entry| entry.statement()) {
        let CatalogueEntry::Runtime { tree, .. } = &entry.entry else { continue };
        let place = configurations.state("enclave").join("runtimes").join(tree.sha256.to_string());
        let text = format!("runtime {}", entry.name);
        checks.push(match blobs::tree_digest(&place) {
            Ok((digest, _)) if digest == tree.sha256 => Check::ok("runtimes", format!("{text} is whole")),
            Ok(_) => Check::fail(
                "runtimes",
                format!("{text} is not what the stewards signed: its tree has another digest"),
                "find out who changed it; lay the runtime into the drop directory again and remove the changed tree",
            ),
            Err(error) => Check::fail(
                "runtimes",
                format!("{text} is not in the enclave's store: {error}"),
                "`databox runtime add` lays it into the drop directory",
            ),
        });
    }
    if checks.is_empty() {
        checks.push(Check::warn(
            "runtimes",
            "the catalogue has no runtime",
            "`databox runtime add host-python --from-host-python --home BOX`",
        ));
    }
    checks
}

fn datasets(configurations: &Configurations, site: &Site) -> Vec<Check> {
    let mut checks = Vec::new();
    for entry in site.datasets().map(|entry| entry.statement()) {
        let CatalogueEntry::Dataset { snapshots, .. } = &entry.entry else { continue };
        let Some(newest) = snapshots.last() else { continue };
        let place = configurations
            .state("enclave")
            .join("datasets")
            .join(entry.name.as_str())
            .join(newest.tree.sha256.to_string());
        let text = format!("dataset {}", entry.name);
        checks.push(if place.is_dir() {
            Check::ok("datasets", format!("{text}: its newest snapshot is there"))
        } else {
            Check::fail(
                "datasets",
                format!("{text}: its newest snapshot is not in the enclave's store"),
                "`databox data add` lays it into the drop directory",
            )
        });
        let public = configurations.state("enclave").join("public");
        let missing =
            entry.public().iter().filter(|file| !public.join(file.file.sha256.to_string()).is_file());
        checks.extend(missing.map(|file| {
            Check::fail(
                "datasets",
                format!("{text}: its public file {} is not in the enclave's store", file.name),
                "`databox data add --public` lays it into the drop directory; until then no job on the dataset runs",
            )
        }));
    }
    if checks.is_empty() {
        checks.push(Check::warn(
            "datasets",
            "the catalogue has no dataset",
            "`databox data add NAME DIRECTORY --home BOX --unit-column COLUMN`",
        ));
    }
    checks
}
