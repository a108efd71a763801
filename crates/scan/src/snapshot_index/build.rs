//! Makes an index: the data is read once, its windows are laid down in groups of parts, and each group is sorted.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::IndexError;
use super::chunks::{CHUNK_BITS, Chunks};
use super::layout::{
    BLOCK_BYTES, BLOCK_ENTRIES, ENTRY_BYTES, Entry, FILTER_BYTES, Head, Parts, ROW_BYTES, Row, WITHIN_BITS,
    Within, checksum, filter_offset, insert, of_block, of_lengths, of_sides, rows_offset, sides,
};
use crate::Source;
use crate::data::Stream;
use crate::hash::{HashKey, array_at};
use crate::search::Measure;
use crate::window::{Distinct, is_exempt, is_plain};

/// Bytes of data read at a time.
const READ_BYTES: usize = 1 << 20;

/// Most groups in which windows are laid down. Of each some are held in memory.
const MOST_GROUPS: u64 = 4096;

/// Windows of a group that are held, and written at once.
const HELD: usize = 1 << 10;

/// Bytes of a window that is laid down.
const LAID_BYTES: usize = 12;

/// Makes the index of a snapshot's files, in the order in which a search reads them, and writes it to an empty file. It
/// takes about 9 bytes for each 16 of data. `scratch` is an empty file too; for each 16 bytes of data it takes 12, and
/// whoever may read it learns as much as from the index. Memory is about 64 MiB, and a thousandth of the data if it is
/// much more; of data that one value fills, a 250th.
///
/// The index is whole once this returns; that it reaches the disk, and gets its name only then, is the caller's task.
pub fn build<S: Source>(files: &[S], scratch: &File, index: &File) -> Result<(), IndexError> {
    let failed = |file| move |source| IndexError::ReadData { file, source };
    let lengths = files.iter().enumerate().map(|(file, source)| source.length().map_err(failed(file)));
    let lengths = lengths.collect::<Result<Vec<_>, _>>()?;
    let key = HashKey::random().map_err(IndexError::NoRandomness)?;
    let parts = Parts::for_windows(lengths.iter().map(|length| length / 16).sum());
    let chunks = Chunks::of(&lengths)?;
    let mut windows =
        Windows { key: &key, chunks: &chunks, laid: Laid::new(scratch, parts), measure: Measure::default() };
    for (file, source) in files.iter().enumerate() {
        let opened = source.open_at(0).map_err(failed(file))?;
        windows.add(file, opened)?;
    }
    let Windows { laid, measure, .. } = windows;
    if measure.bytes != lengths.iter().sum::<u64>() {
        return Err(IndexError::DataChanged);
    }
    let rows = write_parts(laid, parts, index)?;
    index.write_all_at(&rows, rows_offset(parts))?;
    let Measure { bytes, exempt } = measure;
    let head = Head { key, parts, lengths: of_lengths(&lengths), bytes, exempt, rows: checksum(&rows) };
    Ok(index.write_all_at(&head.to_bytes(), 0)?)
}

/// The windows of the data that give a run away.
struct Windows<'a> {
    key: &'a HashKey,
    chunks: &'a Chunks,
    laid: Laid<'a>,
    measure: Measure,
}

impl Windows<'_> {
    fn add(&mut self, file: usize, opened: impl Read) -> Result<(), IndexError> {
        let mut stream = Stream::new(opened, READ_BYTES);
        let mut offset = 0;
        loop {
            let read = stream.advance().map_err(|source| IndexError::ReadData { file, source })?;
            let Some((data, range)) = read else { return Ok(()) };
            let length = self.chunks.length(file);
            if offset + range.len() as u64 > length {
                return Err(IndexError::DataChanged);
            }
            self.measure.bytes += range.len() as u64;
            for start in range.clone().step_by(64) {
                let chunk = self.chunks.at(file, offset + (start - range.start) as u64);
                self.add_block(data, start..range.end.min(start + 64), chunk)?;
            }
            offset += range.len() as u64;
        }
    }

    /// Adds the windows of 64 bytes of data, or of what the file has left.
    fn add_block(&mut self, data: &[u8], block: Range<usize>, chunk: u32) -> io::Result<()> {
        let mut plain = 0;
        for at in block.clone().step_by(16) {
            let Some(window) = data.get(at..at + 16) else { break };
            if is_plain(array_at(window, 0)) {
                plain += 1;
            } else {
                let around = of_sides(sides(self.key, data, at));
                self.laid.add(self.key.narrow(array_at(window, 0)), around, chunk)?;
            }
        }
        if plain < 4 {
            return Ok(());
        }
        let whole: &[u8; 64] = array_at(data, block.start);
        if is_exempt(whole) {
            self.measure.exempt += 64;
            return Ok(());
        }
        let (parts, _) = whole.as_chunks::<16>();
        let richest = parts.iter().max_by_key(|part| Distinct::of(part).count());
        let richest = richest.expect("a block has four parts");
        self.laid.add(self.key.narrow(richest), of_block(self.key, whole), chunk)
    }
}

/// Windows in groups of parts, of which most are in a file.
struct Laid<'a> {
    scratch: &'a File,
    parts: Parts,
    /// Parts of a group, as a power of two.
    log2: u32,
    groups: Vec<Group>,
    /// Stretches of the file that are taken, of [`HELD`] windows each.
    taken: u64,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Group {
    held: Vec<u128>,
    last: Option<u128>,
    stretches: Vec<u64>,
}

impl<'a> Laid<'a> {
    fn new(scratch: &'a File, parts: Parts) -> Self {
        let log2 = parts.count().div_ceil(MOST_GROUPS).next_power_of_two().trailing_zeros();
        let groups = (0..parts.count().div_ceil(1 << log2)).map(|_| Group::default()).collect();
        Self { scratch, parts, log2, groups, taken: 0, bytes: Vec::new() }
    }

    #[inline]
    fn add(&mut self, hash: u64, around: u8, chunk: u32) -> io::Result<()> {
        let (part, Within(within)) = self.parts.of(hash);
        let group = &mut self.groups[(part >> self.log2) as usize];
        let part = part & ((1 << self.log2) - 1);
        let place = part << WITHIN_BITS | within;
        let window = u128::from(place) << 32 | u128::from(around) << CHUNK_BITS | u128::from(chunk);
        // A value that fills a file would else be laid down, and its group sorted in memory, as often as it stands there.
        if group.last.replace(window) == Some(window) {
            return Ok(());
        }
        group.held.push(window);
        if group.held.len() < HELD {
            return Ok(());
        }
        self.bytes.clear();
        self.bytes.extend(
            group.held.drain(..).flat_map(|window| *array_at::<LAID_BYTES>(&window.to_le_bytes(), 0)),
        );
        self.scratch.write_all_at(&self.bytes, self.taken * (HELD * LAID_BYTES) as u64)?;
        group.stretches.push(self.taken);
        self.taken += 1;
        Ok(())
    }

    /// The windows of a group in order, each chunk once.
    fn sorted(&mut self, group: usize) -> io::Result<Vec<u128>> {
        let group = std::mem::take(&mut self.groups[group]);
        let mut windows = group.held;
        self.bytes.resize(HELD * LAID_BYTES, 0);
        for stretch in group.stretches {
            self.scratch.read_exact_at(&mut self.bytes, stretch * (HELD * LAID_BYTES) as u64)?;
            windows.extend(self.bytes.as_chunks::<LAID_BYTES>().0.iter().map(|laid| {
                let mut bytes = [0; 16];
                bytes[..LAID_BYTES].copy_from_slice(laid);
                u128::from_le_bytes(bytes)
            }));
        }
        windows.sort_unstable();
        windows.dedup();
        Ok(windows)
    }
}

/// Writes filters and blocks of all parts, and returns their rows.
fn write_parts(mut laid: Laid<'_>, parts: Parts, index: &File) -> io::Result<Vec<u8>> {
    let mut offset = rows_offset(parts) + parts.count() * ROW_BYTES as u64;
    let mut rows = Vec::new();
    for group in 0..laid.groups.len() {
        let sorted = laid.sorted(group)?;
        let mut left = &sorted[..];
        let first = (group as u64) << laid.log2;
        for part in first..parts.count().min(first + (1 << laid.log2)) {
            let count = left.partition_point(|window| (*window >> (32 + WITHIN_BITS)) as u64 <= part - first);
            let (of_part, others) = left.split_at(count);
            left = others;
            let filter = filter_of(of_part);
            index.write_all_at(&filter, filter_offset(part))?;
            let (blocks, keys) = blocks_of(of_part);
            index.write_all_at(&blocks, offset)?;
            index.write_all_at(&keys, offset + blocks.len() as u64)?;
            let row = Row {
                offset,
                blocks: (blocks.len() / BLOCK_BYTES) as u64,
                filter: checksum(&filter),
                keys: checksum(&keys),
            };
            offset += (blocks.len() + keys.len()) as u64;
            rows.extend(row.to_bytes());
        }
    }
    Ok(rows)
}

/// What of a laid window is used within its part.
fn within(window: u128) -> Within {
    Within((window >> 32) as u64 & ((1 << WITHIN_BITS) - 1))
}

fn filter_of(windows: &[u128]) -> Vec<u8> {
    let mut filter = vec![0; FILTER_BYTES / 8];
    windows.iter().for_each(|window| insert(&mut filter, within(*window)));
    filter.iter().flat_map(|word: &u64| word.to_le_bytes()).collect()
}

/// The blocks of a part, and the first key of each.
fn blocks_of(windows: &[u128]) -> (Vec<u8>, Vec<u8>) {
    let (mut blocks, mut keys) = (Vec::new(), Vec::new());
    for windows in windows.chunks(BLOCK_ENTRIES) {
        let entry = |window: u128| Entry {
            key: within(window).key(),
            around: (window >> CHUNK_BITS) as u8,
            chunk: window as u32 & ((1 << CHUNK_BITS) - 1),
        };
        keys.extend(entry(windows[0]).key.to_le_bytes());
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        windows.iter().for_each(|window| block.extend(entry(*window).to_bytes()));
        block.resize(BLOCK_ENTRIES * ENTRY_BYTES, 0xff);
        blocks.extend(checksum(&block).to_le_bytes());
        blocks.extend(block);
    }
    (blocks, keys)
}

const _: () = assert!(BLOCK_ENTRIES * ENTRY_BYTES + 8 == BLOCK_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_value_that_fills_a_file_little_is_laid_down() {
        let (scratch, index) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let filled = 0.1_f64.to_le_bytes().repeat(1 << 20);
        build(&[filled], &scratch, &index).unwrap();
        assert!(scratch.metadata().unwrap().len() <= (filled_chunks() * LAID_BYTES) as u64);
    }

    /// A window in each chunk of 8 MiB.
    fn filled_chunks() -> usize {
        (8 << 20) / (1 << 12) + HELD
    }
}
