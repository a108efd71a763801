//! Records in groups of parts, of which most are in a file: where a snapshot is larger than memory, what belongs together
//! is laid down together before it is read again.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Most groups in which records are laid down. Of each some are held in memory.
const MOST_GROUPS: u64 = 4096;

/// Records of a group that are held, and written at once.
pub(super) const HELD: usize = 1 << 10;

/// The file that records are laid down in.
pub(super) struct Scratch<'a> {
    file: &'a File,
    /// Bytes that are taken.
    taken: Cell<u64>,
}

impl<'a> Scratch<'a> {
    pub(super) fn of(file: &'a File) -> Self {
        Self { file, taken: Cell::new(0) }
    }
}

/// Parts of a group, as a power of two.
pub(super) fn group_log2(parts: u64) -> u32 {
    parts.div_ceil(MOST_GROUPS).next_power_of_two().trailing_zeros()
}

/// Records of so many bytes each.
pub(super) struct Laid<'a, const BYTES: usize> {
    scratch: &'a Scratch<'a>,
    groups: Vec<Group<BYTES>>,
}

struct Group<const BYTES: usize> {
    held: Vec<[u8; BYTES]>,
    last: Option<[u8; BYTES]>,
    /// Where they were laid down, [`HELD`] at a time.
    laid: Vec<u64>,
}

impl<'a, const BYTES: usize> Laid<'a, BYTES> {
    pub(super) fn new(scratch: &'a Scratch<'a>, groups: usize) -> Self {
        let group = || Group { held: Vec::new(), last: None, laid: Vec::new() };
        Self { scratch, groups: std::iter::repeat_with(group).take(groups).collect() }
    }

    #[inline]
    pub(super) fn add(&mut self, group: usize, record: [u8; BYTES]) -> io::Result<()> {
        let group = &mut self.groups[group];
        // A value that fills a file would else be laid down, and its group sorted in memory, as often as it stands there.
        if group.last.replace(record) == Some(record) {
            return Ok(());
        }
        group.held.push(record);
        if group.held.len() < HELD {
            return Ok(());
        }
        let offset = self.scratch.taken.get();
        self.scratch.file.write_all_at(group.held.as_flattened(), offset)?;
        self.scratch.taken.set(offset + (HELD * BYTES) as u64);
        group.held.clear();
        group.laid.push(offset);
        Ok(())
    }

    /// Shows all records of a group, some at a time, and forgets them.
    pub(super) fn take(&mut self, group: usize, mut show: impl FnMut(&[[u8; BYTES]])) -> io::Result<()> {
        let group = &mut self.groups[group];
        show(&std::mem::take(&mut group.held));
        let mut records = vec![[0; BYTES]; if group.laid.is_empty() { 0 } else { HELD }];
        for offset in std::mem::take(&mut group.laid) {
            self.scratch.file.read_exact_at(records.as_flattened_mut(), offset)?;
            show(&records);
        }
        Ok(())
    }
}
