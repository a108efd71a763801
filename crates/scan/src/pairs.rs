//! Which bytes follow which in the data: what no run can hold is passed over with next to no work.
//!
//! A run holds pairs of neighbouring bytes that the data has, and no other. So a view is cut where the data has no such
//! pair, and only stretches that have room for a run are looked at. Text has some thousands of the 65,536 pairs: of weights
//! beside a table nothing is left. Nothing is lost, and the memory is the same for any size of the data.

use std::io::{self, Read};
use std::ops::Range;

use crate::RUN;
use crate::data::Stream;
use crate::hash::array_at;
use crate::search::Measure;
use crate::window::{DISTINCT, WEAK_DISTINCT, exempt_bytes};

/// Pairs of bytes.
const PAIRS: usize = 1 << 16;

/// How many pairs a run has.
const STEP: usize = RUN - 1;

/// Pairs that are looked at together, one for each bit of a word.
const TOGETHER: usize = 64;

/// A bit for each pair of bytes.
pub(crate) struct PairSet(Box<[u64; PAIRS / 64]>);

impl PairSet {
    /// The pairs that `add` puts into it.
    pub(crate) fn of<E>(add: impl FnOnce(&mut Seen) -> Result<(), E>) -> Result<Self, E> {
        let mut seen = Seen(vec![0; PAIRS]);
        add(&mut seen)?;
        let (words, _) = seen.0.as_chunks::<64>();
        let mut there = Box::new([0; PAIRS / 64]);
        for (word, seen) in there.iter_mut().zip(words) {
            *word = seen.iter().rev().fold(0, |bits, bit| bits << 1 | u64::from(*bit));
        }
        Ok(Self(there))
    }

    #[inline]
    pub(crate) fn holds(&self, first: u8, second: u8) -> bool {
        self.bit(&[first, second]) != 0
    }

    /// 1 if it is there.
    #[inline]
    fn bit(&self, pair: &[u8; 2]) -> u64 {
        let number = number(pair);
        self.0[number / 64] >> (number % 64) & 1
    }

    /// Which share of all pairs are in it, in hundredths.
    pub(crate) fn hundredths(&self) -> usize {
        let count: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        100 * count as usize / PAIRS
    }

    /// Shows each stretch of `bytes` within `range` that is as long as a run or longer and has no other pairs.
    ///
    /// A run has so many pairs that one of them begins at a multiple of [`STEP`]: those are looked at first. Around those that are
    /// there, four in a row of each quarter of a step must be there, too. So it goes, of [`TOGETHER`] of them before any is looked
    /// at further, that the processor need not guess what comes of each.
    pub(crate) fn stretches(&self, bytes: &[u8], range: Range<usize>, mut show: impl FnMut(Range<usize>)) {
        let piece = &bytes[range.clone()];
        let mut end = 0;
        for (group, cells) in piece.chunks(STEP * TOGETHER).enumerate() {
            let first = STEP * TOGETHER * group;
            let mut maybe = self.firsts(cells);
            if first > 0 && first + cells.len() + STEP <= piece.len() {
                let looked_at = maybe;
                maybe = 0;
                for at in ones(looked_at) {
                    maybe |= u64::from(self.are_around(piece, first + STEP * at)) << at;
                }
            }
            for at in ones(maybe).map(|at| first + STEP * at) {
                if at >= end {
                    let stretch = self.stretch_around(piece, at);
                    end = stretch.end;
                    if stretch.len() >= RUN {
                        show(range.start + stretch.start..range.start + stretch.end);
                    }
                }
            }
        }
    }

    /// Of which cells of [`STEP`] bytes the first pair is there, a bit for each.
    #[inline]
    fn firsts(&self, cells: &[u8]) -> u64 {
        let (whole, rest) = cells.as_chunks::<STEP>();
        let held = |cell: &[u8]| cell.first_chunk().map_or(0, |pair| self.bit(pair));
        whole.iter().rev().fold(held(rest), |maybe, cell| maybe << 1 | held(cell))
    }

    /// Whether pairs are there that a run with the pair at `at` has, at one of its places. There are so many bytes around it.
    #[inline]
    fn are_around(&self, piece: &[u8], at: usize) -> bool {
        let around: &[u8; 2 * STEP] = array_at(piece, at - STEP);
        let held = |at: usize| self.bit(array_at(around, at));
        let (b, c, d, e) = (held(15), held(23), held(37), held(45));
        (held(8) & b & c | b & c & d | c & d & e | d & e & held(52)) != 0
    }

    /// The longest stretch around the pair at `at`, which is held.
    fn stretch_around(&self, piece: &[u8], at: usize) -> Range<usize> {
        let holds = |pair: &&[u8; 2]| self.holds(pair[0], pair[1]);
        let before = piece[..=at].array_windows().rev().take_while(holds).count();
        let after = piece[at + 1..].array_windows().take_while(holds).count();
        at - before..at + 2 + after
    }
}

/// Which bits are set.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (bits != 0).then_some(bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        bit
    })
}

/// A byte for each pair, which is quicker to write than a bit.
pub(crate) struct Seen(Vec<u8>);

impl Seen {
    /// Adds the pairs of neighbours in these bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        bytes.array_windows().for_each(|pair| self.0[number(pair)] = 1);
    }
}

/// The pairs of neighbouring bytes in one reading of the data.
pub(crate) struct Pairs {
    there: PairSet,
    weak: bool,
    /// How much data there is.
    pub(crate) measure: Measure,
}

impl Pairs {
    /// Reads the data. `weak` as in [`Comparison`](crate::comparison::Comparison). `read` shows each private file.
    pub(crate) fn of<E>(
        weak: bool,
        chunk_bytes: usize,
        read: impl FnOnce(&mut dyn FnMut(&mut dyn Read) -> io::Result<()>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut measure = Measure::default();
        let there = PairSet::of(|seen| {
            read(&mut |file| {
                let mut stream = Stream::new(file, chunk_bytes);
                while let Some((data, range)) = stream.advance()? {
                    measure.bytes += range.len() as u64;
                    if !weak {
                        measure.exempt += exempt_bytes(&data[range.clone()]);
                    }
                    seen.add(&data[range.start..data.len().min(range.end + 1)]);
                }
                Ok(())
            })
        })?;
        Ok(Self { there, weak, measure })
    }

    /// Shows each stretch of `bytes` within `range` in which a run may lie. A run within the range lies in one as a whole.
    pub(crate) fn stretches(&self, bytes: &[u8], range: Range<usize>, mut show: impl FnMut(Range<usize>)) {
        self.there.stretches(bytes, range, |stretch| {
            if self.may_tell(&bytes[stretch.clone()]) {
                show(stretch);
            }
        });
    }

    /// As [`Self::stretches`] of so many bytes, of which `byte` makes each when it is looked at. It ends with the first one of
    /// which `is_near` says yes, and tells whether there was one.
    pub(crate) fn any_stretch<E>(
        &self,
        length: usize,
        byte: impl Fn(usize) -> u8,
        mut is_near: impl FnMut(Range<usize>) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let holds = |first: u8, second: u8| self.there.holds(first, second);
        let mut at = 0;
        while at + RUN <= length {
            let (mut end, mut later) = (at + RUN - 1, byte(at + RUN - 1));
            while end > at {
                let before = byte(end - 1);
                if !holds(before, later) {
                    break;
                }
                (end, later) = (end - 1, before);
            }
            if end > at {
                at = end;
                continue;
            }
            let (start, mut last) = (at, later);
            let (mut set, mut distinct) = ([0_u64; 4], 0);
            loop {
                let (part, bit) = (&mut set[usize::from(last >> 6)], 1 << (last & 63));
                distinct += u32::from(*part & bit == 0);
                *part |= bit;
                at += 1;
                if at == length {
                    break;
                }
                let next = byte(at);
                if at >= start + RUN && !holds(last, next) {
                    break;
                }
                last = next;
            }
            if distinct >= self.least(at - start) && is_near(start..at)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a stretch has enough distinct bytes: for a window that gives a run away, or, where 64 bytes in a row may do it,
    /// for any that are not one byte repeated.
    fn may_tell(&self, stretch: &[u8]) -> bool {
        let least = self.least(stretch.len());
        let mut set = [0_u64; 4];
        stretch.chunks(64).any(|some| {
            some.iter().for_each(|byte| set[usize::from(byte >> 6)] |= 1 << (byte & 63));
            set.iter().map(|part| part.count_ones()).sum::<u32>() >= least
        })
    }

    /// How many distinct bytes a stretch of so many needs.
    fn least(&self, length: usize) -> u32 {
        match (self.weak, length < crate::PLAIN_RUN) {
            (true, _) => WEAK_DISTINCT,
            (false, true) => DISTINCT,
            (false, false) => 2,
        }
    }
}

#[inline]
fn number(pair: &[u8; 2]) -> usize {
    usize::from(u16::from_le_bytes(*pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs_of(weak: bool, files: &[&[u8]]) -> Pairs {
        Pairs::of(weak, 64, |read| files.iter().try_for_each(|file| read(&mut &file[..]))).unwrap()
    }

    fn stretches(pairs: &Pairs, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut shown = Vec::new();
        pairs.stretches(bytes, 0..bytes.len(), |stretch| shown.push(stretch));
        let mut asked = Vec::new();
        let is_near = |stretch| {
            asked.push(stretch);
            Ok::<_, ()>(false)
        };
        assert_eq!(pairs.any_stretch(bytes.len(), |at| bytes[at], is_near), Ok(false));
        assert_eq!(asked, shown);
        shown
    }

    /// What each pair of bytes shows, one after the other.
    fn plainly(files: &[&[u8]], bytes: &[u8]) -> Vec<Range<usize>> {
        let is_there = |pair: &[u8; 2]| files.iter().any(|file| file.array_windows().any(|of| of == pair));
        let mut ends = vec![0];
        ends.extend(
            bytes.array_windows().enumerate().filter(|(_, pair)| !is_there(pair)).map(|(at, _)| at + 1),
        );
        ends.push(bytes.len());
        ends.array_windows().map(|[start, end]| *start..*end).filter(|stretch| stretch.len() >= RUN).collect()
    }

    #[test]
    fn stretches_are_those_whose_every_pair_stands_in_the_data() {
        let mut state = 9_u64;
        let mut below = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % bound
        };
        let mut shown = 0;
        for round in 0..100 {
            let letters = 6 + round % 20;
            let files: Vec<Vec<u8>> =
                (0..2).map(|_| (0..600).map(|_| below(letters) as u8).collect()).collect();
            let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
            let mut bytes: Vec<u8> = Vec::new();
            for _ in 0..40 {
                let (length, filler, at) = (20 + below(60), below(40), below(500));
                bytes.extend(&files[below(2)][at..at + length]);
                bytes.extend((0..filler).map(|_| below(letters + 2) as u8));
            }
            let expected = plainly(&files, &bytes);
            assert_eq!(stretches(&pairs_of(false, &files), &bytes), expected, "{round}");
            shown += expected.len();
        }
        assert!(shown > 1000, "{shown}");
    }

    #[test]
    fn a_stretch_of_too_few_distinct_bytes_holds_no_run() {
        let (plain, short) = (b"0101020".repeat(30), b"01010203".repeat(8));
        for data in [&plain[..], &short, &[0; 500]] {
            assert!(stretches(&pairs_of(true, &[data]), data).is_empty());
        }
        assert!(stretches(&pairs_of(false, &[&[0; 500]]), &[0; 500]).is_empty());
        assert!(stretches(&pairs_of(false, &[&short]), &short).is_empty());
        assert_eq!(stretches(&pairs_of(false, &[&plain]), &plain), vec![0..plain.len()]);
    }

    #[test]
    fn the_data_is_measured_as_it_is_read() {
        let (zeros, text) = ([0; 64 * 3], b"a text of 31 bytes and some more".repeat(4));
        let measure = pairs_of(false, &[&zeros, &text]).measure;
        assert_eq!((measure.bytes, measure.exempt), (64 * 3 + 128, 64 * 3));
        assert_eq!(pairs_of(true, &[&zeros]).measure.exempt, 0);
    }
}
