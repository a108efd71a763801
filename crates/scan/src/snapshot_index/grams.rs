//! Grams: where windows of the data may stand in an output, with a third of the questions.
//!
//! A *gram* is 8 bytes; those of the data begin at a multiple of 8 of a file. Around each window of the index four of them
//! stand in a filter: the one before it, its own two, and the one behind, where the file has them. A run of 31 bytes that
//! holds the window holds three of the four in a row, wherever it begins: at least 15 - 8 = 7 bytes short of the window's
//! begin, it holds the one before; else the one behind. So does a run that holds a block of 64 bytes around the window
//! that stands for it. Three grams in a row begin 8 bytes apart, and so at three different remainders by 3. Wherever the run
//! stands in an output, one of them begins at a multiple of 3. So only those are asked for, and around each that may be there the
//! four windows that it may be a gram of.

use std::ops::Range;

use super::layout::{FILTER_BYTES, Parts};
use super::sorted::Sorted;
use crate::bits::Bits;
use crate::filter::PATTERNS;
use crate::hash::{GRAM, HashKey};

/// Positions of an output between two for which is asked.
pub(super) const STEP: usize = 3;

/// Where grams stand of which a run with a window holds three in a row, from the window's begin on and 8 bytes before it.
pub(super) const BEFORE: usize = GRAM;
pub(super) const BEHIND: usize = 3 * GRAM;

/// Bits that say what is asked for in a part: 15 choose the word, 11 the bits that are set.
const IN_PART_BITS: u32 = 26;
const PATTERN_BITS: u32 = 11;

const _: () = assert!(PATTERNS.len() == 1 << PATTERN_BITS);
const _: () = assert!(FILTER_BYTES == 8 << (IN_PART_BITS - PATTERN_BITS));

/// The part of a gram, and what is set or asked for there.
#[inline]
pub(super) fn place(parts: Parts, hash: u64) -> (u64, u64) {
    let (part, within) = parts.of(hash);
    (part, within.first(IN_PART_BITS))
}

/// The word and the bits of it, of what is set or asked for in the filters of one part or of several in a row.
#[inline]
fn word_and_bits(place: u64) -> (usize, u64) {
    let pattern = place as usize & (PATTERNS.len() - 1);
    ((place >> PATTERN_BITS) as usize, PATTERNS[pattern])
}

/// Sets what tells of a gram at a place of the `part`-th of several parts in a row.
pub(super) fn insert(filters: &mut [u64], in_parts: u64) {
    let (word, bits) = word_and_bits(in_parts);
    filters[word] |= bits;
}

/// The place among several parts in a row, of which this is the one of that number.
#[inline]
pub(super) fn in_parts(number: u64, place: u64) -> u64 {
    number << IN_PART_BITS | place
}

/// Sorts the grams that begin in `stretch` of the bytes, in one of their pieces, by groups of parts. `stretch` begins at a
/// multiple of [`STEP`]; grams are numbered from there.
pub(super) fn sort(
    key: &HashKey,
    parts: Parts,
    (bytes, pieces): (&[u8], &[Range<usize>]),
    stretch: &Range<usize>,
    sorted: &mut Sorted,
) {
    let log2 = parts.group_log2();
    for piece in pieces {
        let first = piece.start.max(stretch.start).next_multiple_of(STEP);
        let end = piece.end.min(stretch.end.saturating_add(GRAM - 1));
        let grams = bytes.get(first..end).unwrap_or_default().array_windows().step_by(STEP);
        let number = (first - stretch.start) / STEP;
        for (number, gram) in (number..).zip(grams) {
            let (part, place) = place(parts, key.gram(gram));
            let place = in_parts(part & ((1 << log2) - 1), place);
            sorted.push((part >> log2) as usize, place << 24 | number as u64);
        }
    }
}

/// Marks the numbers of the grams that the filters of a group hold.
pub(super) fn mark(asked: &[[u8; 8]], filters: &[[u8; 8]], held: &mut Bits) {
    const TOGETHER: usize = 64;
    let mut numbers = [0; TOGETHER];
    for some in asked.chunks(TOGETHER) {
        let mut count = 0;
        for gram in some {
            let gram = u64::from_ne_bytes(*gram);
            let (word, bits) = word_and_bits(gram >> 24);
            numbers[count] = gram & 0xff_ffff;
            count += usize::from(u64::from_le_bytes(filters[word]) & bits == bits);
        }
        numbers[..count].iter().for_each(|number| held.set_one(*number as usize));
    }
}

/// Shows where each window begins that one of these grams may be one of the four of, as far as it lies in a piece. `held`
/// are numbers of grams from `start` on.
pub(super) fn windows(held: &Bits, start: usize, pieces: &[Range<usize>], mut show: impl FnMut(usize)) {
    let mut pieces = pieces.iter();
    let mut piece = 0..0;
    for gram in held.each().map(|number| start + STEP * number) {
        while piece.end <= gram {
            piece = pieces.next().expect("each gram lies in a piece").clone();
        }
        for window in [gram.checked_sub(16), gram.checked_sub(8), Some(gram), Some(gram + 8)] {
            window.filter(|at| *at >= piece.start && at + 16 <= piece.end).into_iter().for_each(&mut show);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot_index::ask::{Asked, Marks, SnapshotIndex};

    /// Wherever a run of 31 bytes with a window begins, one of the window's grams that it holds is asked for.
    #[test]
    fn a_run_that_holds_a_window_holds_one_of_its_grams_at_each_remainder() {
        let window = 64_usize;
        for run in window - 15..=window {
            let grams = (window - BEFORE..window + BEHIND).step_by(GRAM);
            let held = grams.filter(|gram| *gram >= run && gram + GRAM <= run + 31);
            let remainders: std::collections::BTreeSet<_> = held.map(|gram| gram % STEP).collect();
            assert_eq!(remainders.len(), STEP, "{run}");
        }
    }

    fn index_of(data: &[u8]) -> SnapshotIndex {
        let (scratch, index) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        crate::snapshot_index::build(&[data], &scratch, &index).unwrap();
        SnapshotIndex::open(index, &[data]).unwrap()
    }

    /// Where windows begin in the middle of three pieces that are marked.
    fn marked(index: &SnapshotIndex, by_grams: bool, view: &[u8], piece: Range<usize>) -> Bits {
        let (mut near, mut chunks) = (Bits::zeros(view.len()), index.no_chunks());
        let pieces = [0..piece.start, piece.clone(), piece.end..view.len()];
        let asked = Asked { bytes: view, pieces: &pieces, is_public: &|_| false };
        index.mark_by(by_grams, &asked, &mut Marks { near: &mut near, chunks: &mut chunks }).unwrap();
        near
    }

    /// However a run is aligned in the data and in a view, at whatever end of either it stands, and if it is as short as it may be.
    #[test]
    fn each_window_of_a_run_is_marked_with_grams_asked_first_and_without() {
        let rich: Vec<u8> = (0..2048_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let plain: Vec<u8> = rich.iter().map(|byte| b"ACGT"[usize::from(byte >> 6)]).collect();
        for (data, shortest, alignments) in [(rich, crate::RUN, 16), (plain, crate::PLAIN_RUN, 64)] {
            let index = index_of(&data);
            let middle = (0..alignments).map(|begin| 512 + begin);
            for begin in middle.chain([0, 1, data.len() - shortest - 1, data.len() - shortest]) {
                for before in 0..6 {
                    let run = &data[begin..begin + shortest];
                    let view = [&vec![0xee; before][..], run, &[0xee; 4]].concat();
                    for by_grams in [true, false] {
                        let piece = before..before + shortest;
                        let near = marked(&index, by_grams, &view, piece.clone());
                        let windows = piece.start..piece.end - 15;
                        assert_eq!(near.count_zeros(windows, usize::MAX), 0, "{begin} {before} {by_grams}");
                    }
                }
            }
        }
    }

    #[test]
    fn of_other_bytes_next_to_nothing_is_marked() {
        let bytes = |seed: u32, count: u32| -> Vec<u8> {
            (0..count)
                .map(|at| (at.wrapping_mul(seed) >> 11 ^ at.wrapping_mul(seed ^ 77) >> 19) as u8)
                .collect()
        };
        let index = index_of(&bytes(2_654_435_761, 200_000));
        let view = bytes(0x9e37_79b1 ^ 0x5555, 300_000);
        for by_grams in [true, false] {
            let near = marked(&index, by_grams, &view, 1000..200_000);
            assert!(near.count() < 200, "{}", near.count());
        }
    }

    /// More is asked for than what is asked at once: grams, and windows around grams that are held.
    #[test]
    fn a_run_at_the_end_of_what_is_asked_at_once_is_marked() {
        let data: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let pattern = b"abcdefgh";
        let rotated = (0..8).flat_map(|begin| [&pattern[begin..], &pattern[..begin]].concat().repeat(8));
        let data = [data, rotated.collect()].concat();
        let index = index_of(&data);
        let mut view = pattern.repeat(1 << 19);
        view.resize((48 << 20) + 200, 0);
        let runs = [(view.len() - 31, 700), ((48 << 20) - 13, 1000), ((48 << 20) - 60, 2001), (1 << 23, 77)];
        for (at, from) in runs {
            view[at..at + 31].copy_from_slice(&data[from..from + 31]);
        }
        let near = marked(&index, true, &view, 8..view.len());
        assert!(runs.iter().all(|(at, _)| near.count_zeros(*at..at + 16, 1) == 0));
        assert_eq!(near.count_zeros(8..(1 << 22) - 31, 1), 0);
    }
}
