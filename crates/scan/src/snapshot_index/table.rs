//! The table of an index: entries in order, in blocks of which each is read only if it may hold what is looked for.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::IndexError;
use super::layout::{BLOCK_BYTES, ENTRY_BYTES, Entry, Row, Within, checksum};
use crate::hash::array_at;

/// The table, with the block that was read last.
pub(super) struct Table<'a> {
    file: &'a File,
    rows: &'a [Row],
    part: Option<u64>,
    /// The first key of each block of the part.
    keys: Vec<u32>,
    block: Option<usize>,
    bytes: Vec<u8>,
}

impl<'a> Table<'a> {
    pub(super) fn of(file: &'a File, rows: &'a [Row]) -> Self {
        Self { file, rows, part: None, keys: Vec::new(), block: None, bytes: vec![0; BLOCK_BYTES] }
    }

    /// Shows each entry of a hash, and some of others, until `show` says that it is enough.
    pub(super) fn visit(
        &mut self,
        part: u64,
        within: Within,
        mut show: impl FnMut(Entry) -> bool,
    ) -> Result<(), IndexError> {
        if self.part != Some(part) {
            self.read_keys(part)?;
        }
        let key = within.key();
        // Entries of the key may stand at the end of the block before the first that begins with it.
        let first = self.keys.partition_point(|first| *first < key).saturating_sub(1);
        for block in first..self.keys.len() {
            if self.keys[block] > key {
                break;
            }
            if self.block != Some(block) {
                self.read_block(block)?;
            }
            let (entries, _) = self.bytes[8..].as_chunks::<ENTRY_BYTES>();
            let of = |bytes: &[u8; ENTRY_BYTES]| Entry::from_bytes(*bytes);
            let begin = entries.partition_point(|entry| of(entry).key < key);
            let mut equal =
                entries[begin..].iter().map(of).take_while(|entry| entry.key == key && !is_none(*entry));
            if !equal.all(&mut show) {
                break;
            }
        }
        Ok(())
    }

    fn read_keys(&mut self, part: u64) -> Result<(), IndexError> {
        let row = self.rows[part as usize];
        let mut bytes = vec![0; 4 * row.blocks as usize];
        let offset = row.offset + row.blocks * BLOCK_BYTES as u64;
        self.file.read_exact_at(&mut bytes, offset).map_err(|_| IndexError::Damaged)?;
        if checksum(&bytes) != row.keys {
            return Err(IndexError::Damaged);
        }
        self.keys = bytes.as_chunks().0.iter().map(|key| u32::from_le_bytes(*key)).collect();
        (self.part, self.block) = (Some(part), None);
        Ok(())
    }

    fn read_block(&mut self, block: usize) -> Result<(), IndexError> {
        let part = self.part.expect("its keys were read");
        let offset = self.rows[part as usize].offset + (block * BLOCK_BYTES) as u64;
        self.file.read_exact_at(&mut self.bytes, offset).map_err(|_| IndexError::Damaged)?;
        if checksum(&self.bytes[8..]) != u64::from_le_bytes(*array_at(&self.bytes, 0)) {
            return Err(IndexError::Damaged);
        }
        self.block = Some(block);
        Ok(())
    }
}

/// Whether it stands behind the last entry of a part.
fn is_none(entry: Entry) -> bool {
    entry == Entry::from_bytes([0xff; ENTRY_BYTES])
}
