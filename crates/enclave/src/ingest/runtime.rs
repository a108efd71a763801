//! Registers a runtime: a tree of programs and libraries, which every job of it sees read-only.

use std::fs;
use std::path::Path;

use release::json;
use release::statement::{Catalogue, CatalogueEntry};
use release::value::{Count, Name};
use sandbox::job::top_directory;

use super::answer::Awaited;
use super::description::RuntimeDescription;
use super::{IngestError, Look, RUNTIMES, copy, draft_name, write_draft};
use crate::room::Room;

/// Copies a runtime and writes its draft in plain: programs are no private data.
pub fn register(room: &Room, name: &Name, path: &Path) -> Result<Look, IngestError> {
    let Some(site) = room.site.current() else { return Ok(Look::Waiting(Awaited::Site)) };
    let description: RuntimeDescription = toml::from_str(&fs::read_to_string(path.join("runtime.toml"))?)?;
    let copied = copy::into_store(room, &path.join("tree"), &[], copy::Links::Kept, &room.places.runtimes)?;
    check_top(&copied.path)?;
    let version = site.runtime(name).map_or(0, |entry| entry.statement().version.0) + 1;
    let entry = Catalogue {
        site: site.name().clone(),
        name: name.clone(),
        version: Count(version),
        entry: CatalogueEntry::Runtime {
            tree: copied.tree.into(),
            description: description.description,
            answers_queries: description.answers_queries,
        },
        issued_at: room.now(),
    };
    write_draft(room, &draft_name(RUNTIMES, name), &json::to_bytes(&entry), &copied.tree)?;
    room.journal.info("runtime registered").digest("tree", copied.tree.as_bytes()).write();
    Ok(Look::Taken)
}

/// Each directory at the top is shown to jobs at its own place, and so is one that a link at the top leads to; nothing
/// else may stand there.
fn check_top(tree: &Path) -> Result<(), IngestError> {
    let mut any = false;
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| IngestError::TopLevel)?;
        if top_directory(tree, &name)?.is_none() {
            return Err(IngestError::TopLevel);
        }
        any |= entry.file_type()?.is_dir();
    }
    if any { Ok(()) } else { Err(IngestError::TopLevel) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_cannot_stand_in_for_what_the_wall_shows() {
        let tree = tempfile::tempdir().unwrap();
        assert!(check_top(tree.path()).is_err());
        fs::create_dir(tree.path().join("usr")).unwrap();
        assert!(check_top(tree.path()).is_ok());
        fs::create_dir(tree.path().join("data")).unwrap();
        assert!(matches!(check_top(tree.path()), Err(IngestError::TopLevel)));
        fs::remove_dir(tree.path().join("data")).unwrap();
        fs::write(tree.path().join("file"), "").unwrap();
        assert!(matches!(check_top(tree.path()), Err(IngestError::TopLevel)));
        fs::remove_file(tree.path().join("file")).unwrap();
        let link = |target: &str| {
            let _ = fs::remove_file(tree.path().join("lib"));
            std::os::unix::fs::symlink(target, tree.path().join("lib")).unwrap();
            check_top(tree.path())
        };
        assert!(link("usr").is_ok(), "a link to a directory of the tree is shown as that directory");
        for bad in [".", "..", "/etc", "usr/nothing", "lib"] {
            assert!(matches!(link(bad), Err(IngestError::TopLevel)), "{bad}");
        }
    }
}
