//! Makes an index: the data is read once, its windows are laid down in groups of parts, and each group is sorted.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::IndexError;
use super::chunks::{CHUNK_BITS, Chunks};
use super::grams;
use super::laid::{self, Laid, Scratch};
use super::layout::{
    BLOCK_BYTES, BLOCK_ENTRIES, ENTRY_BYTES, Entry, FILTER_BYTES, Head, Parts, ROW_BYTES, Row, WITHIN_BITS,
    Within, checksum, filter_offset, grams_offset, insert, of_block, of_lengths, of_sides, rows_offset,
    sides,
};
use crate::Source;
use crate::data::Stream;
use crate::hash::{GRAM, HashKey, array_at};
use crate::search::Measure;
use crate::window::{Distinct, is_exempt, is_plain};

/// Bytes of data read at a time.
const READ_BYTES: usize = 1 << 20;

/// Bytes of a window that is laid down, and of a gram.
const WINDOW_BYTES: usize = 12;
const GRAM_BYTES: usize = 4;

/// Makes the index of a snapshot's files, in the order in which a search reads them, and writes it to an empty file. It
/// takes about 11 bytes for each 16 of data. `scratch` is an empty file too; for each 16 bytes of data it takes 20, and
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
    let scratch = Scratch::of(scratch);
    let mut windows = Windows {
        key: &key,
        chunks: &chunks,
        laid: LaidParts::new(&scratch, parts),
        measure: Measure::default(),
        grams_end: 0,
    };
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
    laid: LaidParts<'a>,
    measure: Measure,
    /// Where in the file the grams end that were laid down.
    grams_end: u64,
}

impl Windows<'_> {
    fn add(&mut self, file: usize, opened: impl Read) -> Result<(), IndexError> {
        let mut stream = Stream::new(opened, READ_BYTES);
        let mut offset = 0;
        self.grams_end = 0;
        loop {
            let read = stream.advance().map_err(|source| IndexError::ReadData { file, source })?;
            let Some((data, range)) = read else { return Ok(()) };
            let length = self.chunks.length(file);
            if offset + range.len() as u64 > length {
                return Err(IndexError::DataChanged);
            }
            self.measure.bytes += range.len() as u64;
            for start in range.clone().step_by(64) {
                let within = offset + (start - range.start) as u64;
                let at = Place { offset: within, chunk: self.chunks.at(file, within) };
                self.add_block(data, start..range.end.min(start + 64), at)?;
            }
            offset += range.len() as u64;
        }
    }

    /// Adds the windows of 64 bytes of data, or of what the file has left, which begin at `place`.
    fn add_block(&mut self, data: &[u8], block: Range<usize>, place: Place) -> io::Result<()> {
        let mut plain = 0;
        for at in block.clone().step_by(16) {
            let Some(window) = data.get(at..at + 16) else { break };
            if is_plain(array_at(window, 0)) {
                plain += 1;
            } else {
                let around = of_sides(sides(self.key, data, at));
                self.laid.add_window(self.key.narrow(array_at(window, 0)), around, place.chunk)?;
                self.add_grams(data, at, place.offset + (at - block.start) as u64)?;
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
        let richest = (0..4).max_by_key(|part| Distinct::of(&parts[*part]).count());
        let richest = richest.expect("a block has four parts");
        self.laid.add_window(self.key.narrow(&parts[richest]), of_block(self.key, whole), place.chunk)?;
        self.add_grams(data, block.start + 16 * richest, place.offset + 16 * richest as u64)
    }

    /// Adds the grams around the window at `at`, which begins at `offset` of the file. Windows come in order, so that those
    /// which stand there already are all before an end.
    fn add_grams(&mut self, data: &[u8], at: usize, offset: u64) -> io::Result<()> {
        let there = self.grams_end.max(offset.saturating_sub(grams::BEFORE as u64));
        for gram in (there..offset + grams::BEHIND as u64).step_by(GRAM) {
            let start = at + gram as usize - offset as usize;
            let Some(bytes) = data.get(start..start + GRAM) else { break };
            self.laid.add_gram(self.key.gram(array_at(bytes, 0)))?;
            self.grams_end = gram + GRAM as u64;
        }
        Ok(())
    }
}

/// Where a block stands.
#[derive(Clone, Copy)]
struct Place {
    /// In its file.
    offset: u64,
    chunk: u32,
}

/// What stands in the parts of the index, laid down in groups of them.
struct LaidParts<'a> {
    parts: Parts,
    /// Parts of a group, as a power of two.
    log2: u32,
    windows: Laid<'a, WINDOW_BYTES>,
    grams: Laid<'a, GRAM_BYTES>,
}

impl<'a> LaidParts<'a> {
    fn new(scratch: &'a Scratch<'a>, parts: Parts) -> Self {
        let log2 = laid::group_log2(parts.count());
        let groups = parts.count().div_ceil(1 << log2) as usize;
        Self { parts, log2, windows: Laid::new(scratch, groups), grams: Laid::new(scratch, groups) }
    }

    /// The group of a part, and the part's number in it.
    #[inline]
    fn group(&self, part: u64) -> (usize, u64) {
        ((part >> self.log2) as usize, part & ((1 << self.log2) - 1))
    }

    #[inline]
    fn add_window(&mut self, hash: u64, around: u8, chunk: u32) -> io::Result<()> {
        let (part, Within(within)) = self.parts.of(hash);
        let (group, part) = self.group(part);
        let place = part << WITHIN_BITS | within;
        let window = u128::from(place) << 32 | u128::from(around) << CHUNK_BITS | u128::from(chunk);
        self.windows.add(group, *array_at(&window.to_le_bytes(), 0))
    }

    #[inline]
    fn add_gram(&mut self, hash: u64) -> io::Result<()> {
        let (part, place) = grams::place(self.parts, hash);
        let (group, part) = self.group(part);
        self.grams.add(group, (grams::in_parts(part, place) as u32).to_le_bytes())
    }

    /// The windows of a group in order, each chunk once.
    fn sorted(&mut self, group: usize) -> io::Result<Vec<u128>> {
        let mut windows = Vec::new();
        self.windows.take(group, |some| {
            windows.extend(some.iter().map(|laid| {
                let mut bytes = [0; 16];
                bytes[..WINDOW_BYTES].copy_from_slice(laid);
                u128::from_le_bytes(bytes)
            }));
        })?;
        windows.sort_unstable();
        windows.dedup();
        Ok(windows)
    }

    /// The filters of the grams of a group, one behind the other.
    fn filters_of_grams(&mut self, group: usize) -> io::Result<Vec<u8>> {
        let mut filters = vec![0; (FILTER_BYTES / 8) << self.log2];
        self.grams.take(group, |some| {
            some.iter().for_each(|gram| grams::insert(&mut filters, u64::from(u32::from_le_bytes(*gram))));
        })?;
        Ok(bytes_of(&filters))
    }
}

/// Writes filters and blocks of all parts, and returns their rows.
fn write_parts(mut laid: LaidParts<'_>, parts: Parts, index: &File) -> io::Result<Vec<u8>> {
    let mut offset = rows_offset(parts) + parts.count() * ROW_BYTES as u64;
    let mut rows = Vec::new();
    for group in 0..laid.group(parts.count() - 1).0 + 1 {
        let sorted = laid.sorted(group)?;
        let grams = laid.filters_of_grams(group)?;
        let mut left = &sorted[..];
        let first = (group as u64) << laid.log2;
        let numbers = first..parts.count().min(first + (1 << laid.log2));
        for (part, grams) in numbers.zip(grams.chunks_exact(FILTER_BYTES)) {
            let count = left.partition_point(|window| (*window >> (32 + WITHIN_BITS)) as u64 <= part - first);
            let (of_part, others) = left.split_at(count);
            left = others;
            let filter = filter_of(of_part);
            index.write_all_at(&filter, filter_offset(part))?;
            index.write_all_at(grams, grams_offset(parts, part))?;
            let (blocks, keys) = blocks_of(of_part);
            index.write_all_at(&blocks, offset)?;
            index.write_all_at(&keys, offset + blocks.len() as u64)?;
            let row = Row {
                offset,
                blocks: (blocks.len() / BLOCK_BYTES) as u64,
                filter: checksum(&filter),
                grams: checksum(grams),
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
    bytes_of(&filter)
}

fn bytes_of(filter: &[u64]) -> Vec<u8> {
    filter.iter().flat_map(|word| word.to_le_bytes()).collect()
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

    /// A window in each chunk of 8 MiB, its two grams, and what is held before any is laid down.
    #[test]
    fn of_a_value_that_fills_a_file_little_is_laid_down() {
        let (scratch, index) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let filled = 0.1_f64.to_le_bytes().repeat(1 << 20);
        build(&[filled], &scratch, &index).unwrap();
        let windows = (8 << 20) / (1 << 12) + laid::HELD;
        assert!(scratch.metadata().unwrap().len() <= (windows * WINDOW_BYTES) as u64);
    }
}
