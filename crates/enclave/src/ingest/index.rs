//! The index of a snapshot, by which the scanner finds copies without reading all of the data.
//!
//! Nothing needs it: without one, or with one that is damaged, the scanner reads the data and finds the same. It is made
//! before the draft of the dataset's entry is, and so before any job can use the snapshot.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use scan::{IndexError, SnapshotIndex};

use super::copy::Copied;
use crate::room::{Places, Room};
use crate::space;

/// Makes the index of a snapshot that has none that fits, and writes down a failure.
pub fn make(room: &Room, copied: &Copied) {
    let index = Places::index_of(&copied.path);
    if fits(&copied.path, &index) {
        return;
    }
    if !space::is_there_for_an_index(room, copied.bytes) {
        let event = room.journal.warning("no room for the index of a snapshot");
        event.digest("tree", copied.tree.as_bytes()).write();
        return;
    }
    if let Err(error) = write(&copied.path, &room.places.incoming, &index) {
        let event = room.journal.warning("no index of a snapshot").digest("tree", copied.tree.as_bytes());
        event.own_error(&error).write();
    }
}

/// Whether there is an index, of this snapshot and with a head that is whole.
fn fits(snapshot: &Path, index: &Path) -> bool {
    let opened = File::open(index).ok().zip(scan::files_below(snapshot).ok());
    opened.is_some_and(|(index, files)| SnapshotIndex::open(index, &files).is_ok())
}

/// Makes an index in `incoming`, which the next start empties, and gives it its name once all of it is on the disk.
fn write(snapshot: &Path, incoming: &Path, index: &Path) -> Result<(), IndexError> {
    let files = scan::files_below(snapshot)?;
    let scratch = tempfile::tempfile_in(incoming)?;
    let made = tempfile::Builder::new().prefix("index-").tempfile_in(incoming)?;
    scan::build_index(&files, &scratch, made.as_file())?;
    // The scanner reads it as a user of its own; the directory above keeps everyone else out.
    made.as_file().set_permissions(Permissions::from_mode(0o444))?;
    made.as_file().sync_all()?;
    made.persist(index).map_err(|error| error.error)?;
    let above = index.parent().unwrap_or(Path::new("."));
    Ok(File::open(above)?.sync_all()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_index_lies_beside_its_snapshot_and_is_whole_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let (snapshot, incoming) = (directory.path().join("snapshot"), directory.path().join("incoming"));
        fs::create_dir_all(snapshot.join("deep")).unwrap();
        fs::create_dir(&incoming).unwrap();
        fs::write(snapshot.join("rows.csv"), "person,x\n1,2\n").unwrap();
        fs::write(snapshot.join("deep/more"), vec![7; 100_000]).unwrap();
        let index = Places::index_of(&snapshot);
        write(&snapshot, &incoming, &index).unwrap();
        assert_eq!(index, directory.path().join("snapshot.index"));
        assert!(fits(&snapshot, &index));
        assert_eq!(fs::metadata(&index).unwrap().permissions().mode() & 0o777, 0o444);
        assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
        // A torn one does not fit, and is replaced.
        fs::remove_file(&index).unwrap();
        fs::write(&index, "torn").unwrap();
        assert!(!fits(&snapshot, &index));
        write(&snapshot, &incoming, &index).unwrap();
        assert!(fits(&snapshot, &index));
    }

    #[test]
    fn an_index_that_could_not_be_finished_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let snapshot = directory.path().join("snapshot");
        fs::create_dir(&snapshot).unwrap();
        std::os::unix::fs::symlink("elsewhere", snapshot.join("link")).unwrap();
        assert!(write(&snapshot, directory.path(), &Places::index_of(&snapshot)).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
