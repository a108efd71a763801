//! Asks an index which windows of an output may stand in the data, and in which chunks of it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use super::IndexError;
use super::chunks::Chunks;
use super::grams;
use super::layout::{
    FILTER_BYTES, HEAD_BYTES, Head, ROW_BYTES, Row, checksum, filter_offset, first_pattern, grams_offset,
    of_lengths, rows_offset, second,
};
use super::lookup::Lookup;
use super::sorted::Sorted;
use crate::Source;
use crate::bits::Bits;
use crate::hash::array_at;
use crate::hints::FileStretches;
use crate::search::Measure;

/// Most windows or grams that are asked for at once. Each takes 8 bytes of memory, 3 of which say where it is.
const AT_ONCE: usize = 1 << 24;

/// Most windows around grams that are asked for at once. Each takes 4 bytes more.
const LISTED: usize = 1 << 22;

/// Bytes of the filter of grams for each byte of views up to which asking for them first is the lesser work: reading them takes
/// some seventh of a nanosecond a byte, and the two thirds that need not be asked some four a byte.
const FILTERS_FOR_EACH: u64 = 24;

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
        let filters = self.head.parts.count() * FILTER_BYTES as u64;
        self.mark_by((asked.bytes.len() as u64).saturating_mul(FILTERS_FOR_EACH) >= filters, asked, marks)
    }

    /// The same, with grams asked first or not. What is marked holds each window of a run either way.
    pub(super) fn mark_by(
        &self,
        by_grams: bool,
        asked: &Asked<'_>,
        marks: &mut Marks<'_>,
    ) -> Result<(), IndexError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut lookup = Lookup::new(&self.file, &self.rows, &self.head, asked);
        let length = asked.bytes.len();
        let together = if by_grams { grams::STEP * AT_ONCE } else { AT_ONCE };
        for start in (0..length).step_by(together) {
            let stretch = start..length.min(start + together);
            lookup.allow(stretch.len());
            if by_grams {
                self.mark_around_grams(&stretch, &mut used, &mut lookup, marks)?;
            } else {
                let windows = Windows::Every(stretch);
                self.mark_some(&windows, &mut used, &mut lookup, marks)?;
            }
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(used);
        Ok(())
    }

    /// Asks for the grams that begin in a stretch, and for the windows around those that are held.
    fn mark_around_grams(
        &self,
        stretch: &Range<usize>,
        used: &mut Option<Sorted>,
        lookup: &mut Lookup<'_>,
        marks: &mut Marks<'_>,
    ) -> Result<(), IndexError> {
        let held = self.held_grams(stretch, lookup.asked, used)?;
        let base = stretch.start.saturating_sub(16);
        let mut listed = Vec::new();
        let mut asked = Ok(());
        grams::windows(&held, stretch.start, lookup.asked.pieces, |at| {
            if asked.is_err() {
                return;
            }
            listed.push((at - base) as u32);
            if listed.len() == LISTED {
                asked = self.mark_some(&Windows::Listed(base, &listed), used, lookup, marks);
                listed.clear();
            }
        });
        asked?;
        self.mark_some(&Windows::Listed(base, &listed), used, lookup, marks)
    }

    /// The numbers of the grams that begin in a stretch and are held.
    fn held_grams(
        &self,
        stretch: &Range<usize>,
        asked: &Asked<'_>,
        used: &mut Option<Sorted>,
    ) -> Result<Bits, IndexError> {
        let Head { key, parts, .. } = &self.head;
        let most = stretch.len().div_ceil(grams::STEP);
        let mut sorted =
            Sorted::with_room(used.take(), most, parts.groups()).map_err(IndexError::NoMemory)?;
        grams::sort(key, *parts, (asked.bytes, asked.pieces), stretch, &mut sorted);
        let mut held = Bits::zeros(most);
        let offset = |part| grams_offset(*parts, part);
        self.each_group(
            &sorted,
            offset,
            |row| row.grams,
            |group, filters| {
                sorted.of(group).for_each(|some| grams::mark(some, filters, &mut held));
                Ok(())
            },
        )?;
        *used = Some(sorted);
        Ok(held)
    }

    /// Asks for windows.
    fn mark_some(
        &self,
        windows: &Windows<'_>,
        used: &mut Option<Sorted>,
        lookup: &mut Lookup<'_>,
        marks: &mut Marks<'_>,
    ) -> Result<(), IndexError> {
        let sorted = self.sort(windows, lookup.asked, used.take()).map_err(IndexError::NoMemory)?;
        let mut maybe = Vec::new();
        self.each_group(
            &sorted,
            filter_offset,
            |row| row.filter,
            |group, filters| {
                maybe.clear();
                sorted.of(group).for_each(|some| may_stand(some, filters, &mut maybe));
                lookup.look(&maybe, |number| windows.position(number), marks)
            },
        )?;
        *used = Some(sorted);
        Ok(())
    }

    /// Sorts windows by groups of parts.
    fn sort(&self, windows: &Windows<'_>, asked: &Asked<'_>, used: Option<Sorted>) -> io::Result<Sorted> {
        let Head { key, parts, .. } = &self.head;
        let log2 = parts.group_log2();
        let mut sorted = Sorted::with_room(used, windows.most(), parts.groups())?;
        windows.each(asked, |number, window| {
            let (part, within) = parts.of(key.narrow(window));
            let word = (part & ((1 << log2) - 1)) << 15 | within.word();
            sorted.push((part >> log2) as usize, (word << 19 | within.bits()) << 24 | u64::from(number));
        });
        Ok(sorted)
    }

    /// Shows each group of which something is asked, with its filters, which begin at `offset` and have this checksum.
    fn each_group(
        &self,
        sorted: &Sorted,
        offset: impl Fn(u64) -> u64,
        sum: impl Fn(&Row) -> u64,
        mut show: impl FnMut(usize, &[[u8; 8]]) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let log2 = self.head.parts.group_log2();
        let mut filters = vec![0; FILTER_BYTES << log2];
        for group in (0..self.head.parts.groups()).filter(|group| !sorted.is_empty(*group)) {
            let first = (group as u64) << log2;
            self.file.read_exact_at(&mut filters, offset(first)).map_err(|_| IndexError::Damaged)?;
            let rows = &self.rows[first as usize..];
            let is_whole = |(filter, row): (&[u8], &Row)| checksum(filter) == sum(row);
            if !filters.chunks_exact(FILTER_BYTES).zip(rows).all(is_whole) {
                return Err(IndexError::Damaged);
            }
            show(group, filters.as_chunks().0)?;
        }
        Ok(())
    }
}

/// Windows that are asked for together, each by a number.
enum Windows<'a> {
    /// All that begin in a stretch of the bytes and lie in a piece, from its begin on.
    Every(Range<usize>),
    /// Those that begin so many bytes behind a position.
    Listed(usize, &'a [u32]),
}

impl Windows<'_> {
    /// Where the window of a number begins.
    fn position(&self, number: u32) -> usize {
        match self {
            Self::Every(stretch) => stretch.start + number as usize,
            Self::Listed(base, listed) => base + listed[number as usize] as usize,
        }
    }

    /// There are not more. Pieces do not overlap, so that at most one window begins at each position.
    fn most(&self) -> usize {
        match self {
            Self::Every(stretch) => stretch.len(),
            Self::Listed(_, listed) => listed.len(),
        }
    }

    #[inline]
    fn each(&self, asked: &Asked<'_>, mut show: impl FnMut(u32, &[u8; 16])) {
        match self {
            Self::Every(stretch) => {
                for piece in asked.pieces {
                    let first = piece.start.max(stretch.start);
                    let end = piece.end.min(stretch.end.saturating_add(15));
                    let windows = asked.bytes.get(first..end).unwrap_or_default().array_windows();
                    let number = (first - stretch.start) as u32;
                    (number..).zip(windows).for_each(|(number, window)| show(number, window));
                }
            }
            Self::Listed(base, listed) => {
                let window = |at: &u32| array_at(asked.bytes, base + *at as usize);
                (0..).zip(*listed).for_each(|(number, at)| show(number, window(at)));
            }
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
