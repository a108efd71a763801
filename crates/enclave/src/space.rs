//! Room on the disk. What a run may need is set aside before it starts, so that no run can take another one's part,
//! and what finishes work that was begun keeps a part that no new work gets.
//!
//! A job itself writes to memory only, bounded by the kernel. What goes before and follows it (its bundle unpacked, the
//! images of its machine, copies of its outputs, canonical forms, views) goes to the disk, and is counted by [`used`] while
//! the run lasts.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use blobs::Digest;
use release::statement::Request;
use sandbox::Wall;

use crate::configuration::JobLimits;
use crate::room::Room;
use crate::store::{StoreError, trees};

/// Files and directories of the runs that go on. A child that was taken over could else make names without end.
const MOST_ENTRIES: u64 = 100_000;

/// True if there is room for one more run beside so many that keep a slot.
///
/// What runs have taken so far counts as free, and a slot counts until the grid frees it: how full the disk is, or
/// whether a run has ended, would else be told off the time grid by an answer that nobody pays for.
pub fn is_there_for_a_run(room: &Room, beside: usize) -> bool {
    let limits = &room.configuration.limits;
    let most = limits.run_disk_bytes.saturating_mul(u64::from(room.configuration.slots).max(1));
    let work = free(&room.places.work).saturating_add(used(&room.places.work, most).min(most));
    let handed = [room.places.outbox.directory(), room.places.packets.directory()].map(free);
    is_enough(limits, work, beside) && handed.iter().all(|free| *free >= limits.disk_reserve_bytes)
}

/// True if the index of so many bytes of data, and what its making needs, leave the reserve alone. See
/// [`scan::build_index`].
pub fn is_there_for_an_index(room: &Room, data_bytes: u64) -> bool {
    let needed = data_bytes.saturating_mul(2).saturating_add(16 << 20);
    let directories = [&room.places.incoming, &room.places.datasets];
    let reserve = room.configuration.limits.disk_reserve_bytes;
    directories.iter().all(|directory| free(directory) >= needed.saturating_add(reserve))
}

fn is_enough(limits: &JobLimits, free: u64, beside: usize) -> bool {
    let runs = u64::try_from(beside).unwrap_or(u64::MAX).saturating_add(1);
    free >= limits.disk_reserve_bytes.saturating_add(limits.run_disk_bytes.saturating_mul(runs))
}

/// True if jobs have no machines, or images of these trees leave a run some of its part of the disk. Of a run that begins all
/// the same its researcher would hear that its outputs are too large. It depends on the site and the request alone, and so
/// tells nothing of the data. A tree whose size is not known fits nowhere.
pub fn images_fit(room: &Room, request: &Request) -> Result<bool, StoreError> {
    if !matches!(room.jobs.wall(), Wall::Vm | Wall::VmEmulated) {
        return Ok(true);
    }
    let shown = request.datasets.iter().map(|dataset| &dataset.tree).chain([&request.runtime.tree]);
    let shown: Vec<Digest> = shown.map(|tree| tree.sha256).collect();
    let sizes = room.store.read(move |connection| {
        shown.iter().map(|tree| trees::image_bytes(connection, tree)).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(fit(&sizes, room.configuration.limits.run_disk_bytes))
}

fn fit(sizes: &[Option<u64>], most: u64) -> bool {
    sizes.iter().try_fold(0u64, |sum, size| sum.checked_add((*size)?)).is_some_and(|sum| sum < most)
}

/// Bytes that this user may still write there; none if that cannot be told.
fn free(directory: &Path) -> u64 {
    rustix::fs::statvfs(directory).map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize))
}

/// Bytes that what runs made takes on the disk, counted until they are more than `most`. Names and contents are not read as
/// anything; a part that cannot be listed counts as nothing.
pub fn used(tree: &Path, most: u64) -> u64 {
    let (mut bytes, mut entries) = (0u64, 0u64);
    let mut open = vec![tree.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(listed) = fs::read_dir(&directory) else { continue };
        for entry in listed.flatten() {
            entries += 1;
            let Ok(found) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(found.blocks().saturating_mul(512));
            if found.is_dir() {
                open.push(entry.path());
            }
            if entries > MOST_ENTRIES {
                return u64::MAX;
            }
            if bytes > most {
                return bytes;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_that_goes_on_keeps_its_part_and_the_reserve_is_nobodys() {
        let limits = JobLimits { run_disk_bytes: 10, disk_reserve_bytes: 5, ..JobLimits::default() };
        assert!(!is_enough(&limits, 14, 0));
        assert!(is_enough(&limits, 15, 0));
        assert!(!is_enough(&limits, 24, 1));
        assert!(is_enough(&limits, 25, 1));
        assert!(!is_enough(&limits, u64::MAX - 1, usize::MAX));
    }

    #[test]
    fn images_fit_if_all_sizes_are_known_and_something_is_left_for_the_run() {
        assert!(fit(&[Some(4), Some(5)], 10) && fit(&[], 1));
        assert!(!fit(&[Some(4), Some(6)], 10) && !fit(&[Some(4), None], 10));
        assert!(!fit(&[Some(u64::MAX), Some(u64::MAX)], u64::MAX));
    }

    #[test]
    fn what_a_tree_takes_is_counted_through_directories_and_not_through_links() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("large"), vec![1; 8 << 20]).unwrap();
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        fs::write(directory.path().join("a/b/file"), vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), directory.path().join("link")).unwrap();
        let found = used(directory.path(), u64::MAX);
        assert!((1 << 20..2 << 20).contains(&found), "{found}");
        assert!(used(directory.path(), 1000) > 1000);
    }
}
