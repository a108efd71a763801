//! Asks an index which windows of an output may stand in the data, and in which chunks of it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use super::IndexError;
use super::chunks::Chunks;
use super::layout::{
    FILTER_BYTES, HEAD_BYTES, Head, ROW_BYTES, Row, Within, checksum, filter_offset, first_pattern,
    is_of_sides, of_block, of_lengths, rows_offset, second, sides,
};
use super::sorted::Sorted;
use super::table::Table;
use crate::Source;
use crate::bits::Bits;
use crate::hash::{HashKey, array_at};
use crate::hints::FileStretches;
use crate::search::Measure;
use crate::window::{is_all_plain, is_exempt, is_plain};

/// Most windows that are asked for at once. Each takes 8 bytes of memory, 3 of which say where it is.
const AT_ONCE: usize = 1 << 24;

/// Entries that may be looked at for each window that is asked for, and besides. An output that repeats what the data
/// repeats would else take as long as both multiplied.
const ENTRIES_EACH: u64 = 4;
const ENTRIES_FIRST: u64 = 1 << 16;

/// Most windows that are looked up in the order of the table. Together they take 1.5 MiB.
const SORTED: usize = 1 << 16;

/// An index of a snapshot, opened.
pub struct SnapshotIndex {
    file: File,
    head: Head,
    rows: Vec<Row>,
    chunks: Chunks,
    /// Memory that was used and is used again: fresh memory takes a good part of the time.
    used: Mutex<Vec<Sorted>>,
}

impl SnapshotIndex {
    /// Opens the index of these files.
    ///
    /// # Errors
    /// It is damaged, or the index of others.
    pub fn open<S: Source>(file: File, files: &[S]) -> Result<Self, IndexError> {
        let mut head = [0; HEAD_BYTES];
        file.read_exact_at(&mut head, 0).map_err(|_| IndexError::Damaged)?;
        let head = Head::from_bytes(&head)?;
        let lengths = files.iter().map(Source::length).collect::<Result<Vec<_>, _>>()?;
        if of_lengths(&lengths) != head.lengths {
            return Err(IndexError::Foreign);
        }
        let mut rows = vec![0; head.parts.count() as usize * ROW_BYTES];
        file.read_exact_at(&mut rows, rows_offset(head.parts)).map_err(|_| IndexError::Damaged)?;
        if checksum(&rows) != head.rows {
            return Err(IndexError::Damaged);
        }
        let rows = rows.as_chunks().0.iter().map(Row::from_bytes).collect();
        Ok(Self { file, head, rows, chunks: Chunks::of(&lengths)?, used: Mutex::default() })
    }

    /// How much data there is.
    pub(crate) fn measure(&self) -> Measure {
        Measure { bytes: self.head.bytes, exempt: self.head.exempt }
    }

    /// How many files it is of.
    pub(crate) fn files(&self) -> usize {
        self.chunks.files()
    }

    /// No chunk.
    pub(crate) fn no_chunks(&self) -> Bits {
        Bits::zeros(self.chunks.count() as usize)
    }

    /// What is read of each file for these chunks.
    pub(crate) fn stretches(&self, chunks: &Bits) -> Vec<FileStretches> {
        self.chunks.stretches(chunks)
    }

    /// Marks what of the pieces of `asked` may stand in the data, and the chunks in which it may stand.
    pub(crate) fn mark(&self, asked: &Asked<'_>, marks: &mut Marks<'_>) -> Result<(), IndexError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut lookup = Lookup::new(self, asked);
        for start in (0..asked.bytes.len()).step_by(AT_ONCE) {
            lookup.left =
                lookup.left.saturating_add(ENTRIES_EACH * AT_ONCE.min(asked.bytes.len() - start) as u64);
            used = Some(self.mark_some(start, used.take(), &mut lookup, marks)?);
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(used);
        Ok(())
    }

    /// Asks for the windows that begin at `start` or at most so many bytes behind it.
    fn mark_some(
        &self,
        start: usize,
        used: Option<Sorted>,
        lookup: &mut Lookup<'_>,
        marks: &mut Marks<'_>,
    ) -> Result<Sorted, IndexError> {
        let sorted = self.sort(start, lookup.asked, used).map_err(IndexError::NoMemory)?;
        let log2 = self.head.parts.group_log2();
        let mut filter = vec![0; FILTER_BYTES << log2];
        let mut maybe = Vec::new();
        for group in (0..self.head.parts.groups()).filter(|group| !sorted.is_empty(*group)) {
            let first = (group as u64) << log2;
            self.read_filters(first, &mut filter)?;
            maybe.clear();
            sorted.of(group).for_each(|some| may_stand(some, filter.as_chunks().0, &mut maybe));
            lookup.look(start, &maybe, marks)?;
        }
        Ok(sorted)
    }

    /// Sorts what is asked for by groups of parts.
    fn sort(&self, start: usize, asked: &Asked<'_>, used: Option<Sorted>) -> io::Result<Sorted> {
        let parts = self.head.parts;
        let log2 = parts.group_log2();
        // Pieces do not overlap, so that at most one window begins at each position.
        let most = asked.bytes.len().saturating_sub(start).min(AT_ONCE);
        let mut sorted = Sorted::with_room(used, most, parts.groups())?;
        self.each_hash(start, asked, |at, hash| {
            let (part, within) = parts.of(hash);
            let word = (part & ((1 << log2) - 1)) << 15 | within.word();
            sorted.push((part >> log2) as usize, (word << 19 | within.bits()) << 24 | (at - start) as u64);
        });
        Ok(sorted)
    }

    #[inline]
    fn each_hash(&self, start: usize, asked: &Asked<'_>, mut show: impl FnMut(usize, u64)) {
        for piece in asked.pieces {
            let first = piece.start.max(start);
            let end = piece.end.min(start.saturating_add(AT_ONCE + 15));
            let windows = asked.bytes.get(first..end).unwrap_or_default().array_windows();
            windows.enumerate().for_each(|(at, window)| show(first + at, self.head.key.narrow(window)));
        }
    }

    fn read_filters(&self, first: u64, filters: &mut [u8]) -> Result<(), IndexError> {
        self.file.read_exact_at(filters, filter_offset(first)).map_err(|_| IndexError::Damaged)?;
        let rows = &self.rows[first as usize..];
        let is_whole = |(filter, row): (&[u8], &Row)| checksum(filter) == row.filter;
        if filters.chunks_exact(FILTER_BYTES).zip(rows).all(is_whole) {
            Ok(())
        } else {
            Err(IndexError::Damaged)
        }
    }
}

/// Which windows the filters of a group hold, as where they are.
fn may_stand(asked: &[[u8; 8]], filter: &[[u8; 8]], maybe: &mut Vec<u32>) {
    const TOGETHER: usize = 64;
    let word = |at: usize| u64::from_le_bytes(filter[at]);
    let mut first = [0; TOGETHER];
    for some in asked.chunks(TOGETHER) {
        let mut count = 0;
        for window in some {
            let window = u64::from_ne_bytes(*window);
            let pattern = first_pattern(window >> 24);
            first[count] = window;
            count += usize::from(word((window >> 43) as usize) & pattern == pattern);
        }
        for window in &first[..count] {
            // The second word lies in the same part: only the last 15 bits of its number differ.
            let (other, pattern) = second((window >> 43) as usize, window >> 24);
            if word(other) & pattern == pattern {
                maybe.push(*window as u32 & 0xff_ffff);
            }
        }
    }
}

/// Bytes of views, and in which pieces of them windows stand.
pub(crate) struct Asked<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) pieces: &'a [Range<usize>],
    /// Whether a window is public, and makes no run count.
    pub(crate) is_public: &'a dyn Fn(&[u8; 16]) -> bool,
}

/// What an index marks.
pub(crate) struct Marks<'a> {
    /// Where the windows of views begin that are looked for.
    pub(crate) near: &'a mut Bits,
    /// The chunks of the data that they are looked for in.
    pub(crate) chunks: &'a mut Bits,
}

/// Looks up windows that the filters hold.
struct Lookup<'a> {
    index: &'a SnapshotIndex,
    asked: &'a Asked<'a>,
    table: Table<'a>,
    /// Entries that may still be looked at. With none left no entry is, and all chunks are marked.
    left: u64,
    marked_all: bool,
    found: Vec<(u64, Within, u32)>,
}

impl<'a> Lookup<'a> {
    fn new(index: &'a SnapshotIndex, asked: &'a Asked<'a>) -> Self {
        let table = Table::of(&index.file, &index.rows);
        Self { index, asked, table, left: ENTRIES_FIRST, marked_all: false, found: Vec::new() }
    }

    /// Looks up windows of one group.
    fn look(&mut self, start: usize, maybe: &[u32], marks: &mut Marks<'_>) -> Result<(), IndexError> {
        let Head { key, parts, .. } = &self.index.head;
        // In the order of the table, so that a block is read once for many.
        for some in maybe.chunks(SORTED) {
            let mut found = std::mem::take(&mut self.found);
            found.extend(some.iter().map(|at| {
                let (part, within) = parts.of(key.narrow(array_at(self.asked.bytes, start + *at as usize)));
                (part, within, *at)
            }));
            found.sort_unstable();
            for (part, within, at) in found.drain(..) {
                self.look_up(part, within, start + at as usize, marks)?;
            }
            self.found = found;
        }
        Ok(())
    }

    fn look_up(
        &mut self,
        part: u64,
        within: Within,
        at: usize,
        marks: &mut Marks<'_>,
    ) -> Result<(), IndexError> {
        let window = array_at(self.asked.bytes, at);
        let plain = is_plain(window);
        if !plain && (self.asked.is_public)(window) {
            return Ok(());
        }
        let around = Around::of(&self.index.head.key, self.asked, at, plain);
        let mut may_stand = false;
        if self.left > 0 {
            let (left, chunks) = (&mut self.left, &mut *marks.chunks);
            self.table.visit(part, within, |entry| {
                *left = left.saturating_sub(1);
                if around.may_be(entry.around) {
                    may_stand = true;
                    chunks.set(entry.chunk as usize..entry.chunk as usize + 1);
                }
                *left > 0
            })?;
        }
        if self.left == 0 {
            if !self.marked_all {
                marks.chunks.set(0..self.index.chunks.count() as usize);
            }
            (self.marked_all, may_stand) = (true, true);
        }
        if may_stand {
            around.mark(at, marks.near);
        }
        Ok(())
    }
}

/// What stands around a window of an output.
enum Around {
    /// A window that is not plain: its sides, and the piece that it stands in.
    Window([Option<u8>; 2], Range<usize>),
    /// A plain one: where the blocks begin that it may be a part of, with what an entry says of them.
    Blocks(Vec<(usize, u8)>, Range<usize>),
}

impl Around {
    fn of(key: &HashKey, asked: &Asked<'_>, at: usize, plain: bool) -> Self {
        let piece = asked.pieces[asked.pieces.partition_point(|piece| piece.end <= at)].clone();
        let bytes = &asked.bytes[piece.clone()];
        let within = at - piece.start;
        if !plain {
            return Self::Window(sides(key, bytes, within), piece);
        }
        let starts = [0, 16, 32, 48].into_iter().filter_map(|part| within.checked_sub(part));
        let blocks = starts.filter_map(|start| {
            let block: &[u8; 64] = bytes.get(start..)?.first_chunk()?;
            let searched = !is_exempt(block) && is_all_plain(block);
            searched.then(|| (piece.start + start, of_block(key, block)))
        });
        Self::Blocks(blocks.collect(), piece)
    }

    fn may_be(&self, entry: u8) -> bool {
        match self {
            Self::Window(sides, _) => is_of_sides(entry, *sides),
            Self::Blocks(blocks, _) => blocks.iter().any(|(_, block)| *block == entry),
        }
    }

    /// Marks where each window begins that a shortest run around the window, or around one of the blocks, may have.
    fn mark(&self, at: usize, near: &mut Bits) {
        let mut set = |at: usize, before: usize, behind: usize, piece: &Range<usize>| {
            near.set(at.saturating_sub(before).max(piece.start)..piece.end.min(at + behind));
        };
        match self {
            Self::Window(_, piece) => set(at, 15, 16, piece),
            Self::Blocks(blocks, piece) => blocks.iter().for_each(|(start, _)| set(*start, 63, 64, piece)),
        }
    }
}
