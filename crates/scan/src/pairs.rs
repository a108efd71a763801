//! Which bytes follow which in the data: what no run can hold is passed over with next to no work.
//!
//! A run holds pairs of neighbouring bytes that the data has, and no other. So a view is cut where the data has no such
//! pair, and only stretches that have room for a run are looked at. Text has some thousands of the 65,536 pairs: of weights
//! beside a table nothing is left. Nothing is lost, and the memory is the same for any size of the data.

use std::io::{self, Read};
use std::ops::Range;

use crate::RUN;
use crate::data::Stream;
use crate::search::Measure;
use crate::window::{DISTINCT, WEAK_DISTINCT, is_exempt};

/// Pairs of bytes.
const PAIRS: usize = 1 << 16;

/// The pairs of neighbouring bytes in one reading of the data.
pub(crate) struct Pairs {
    /// A bit for each pair.
    there: Vec<u64>,
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
        // A byte for each, which is quicker to write than a bit.
        let mut seen = vec![0_u8; PAIRS];
        read(&mut |file| {
            let mut stream = Stream::new(file, chunk_bytes);
            while let Some((data, range)) = stream.advance()? {
                measure.bytes += range.len() as u64;
                if !weak {
                    let (blocks, _) = data[range.clone()].as_chunks::<64>();
                    measure.exempt += 64 * blocks.iter().filter(|block| is_exempt(block)).count() as u64;
                }
                let end = data.len().min(range.end + 1);
                data[range.start..end].array_windows().for_each(|pair| seen[number(pair)] = 1);
            }
            Ok(())
        })?;
        let (words, _) = seen.as_chunks::<64>();
        let word = |word: &[u8; 64]| word.iter().rev().fold(0, |bits, bit| bits << 1 | u64::from(*bit));
        Ok(Self { there: words.iter().map(word).collect(), weak, measure })
    }

    /// Shows each stretch of `bytes` within `range` in which a run may lie. A run within the range lies in one as a whole.
    pub(crate) fn stretches(&self, bytes: &[u8], range: Range<usize>, mut show: impl FnMut(Range<usize>)) {
        let there: &[u64; PAIRS / 64] = self.there.first_chunk().expect("there is a bit for each pair");
        let holds = |pair: &[u8; 2]| there[number(pair) / 64] >> (number(pair) % 64) & 1 != 0;
        let piece = &bytes[range.clone()];
        let mut at = 0;
        // From the last pair that a run would need: behind the first that the data does not have, the next one begins.
        while let Some(needed) = piece.get(at..at + RUN) {
            if let Some(other) = needed.array_windows().rposition(|pair| !holds(pair)) {
                at += other + 1;
                continue;
            }
            let rest = piece[at + RUN - 1..].array_windows();
            let end = at + RUN + rest.take_while(|pair| holds(pair)).count();
            if self.may_tell(&piece[at..end]) {
                show(range.start + at..range.start + end);
            }
            at = end;
        }
    }

    /// As [`Self::stretches`] of so many bytes, of which `byte` makes each when it is looked at. It ends with the first one of
    /// which `is_near` says yes, and tells whether there was one.
    pub(crate) fn any_stretch<E>(
        &self,
        length: usize,
        byte: impl Fn(usize) -> u8,
        mut is_near: impl FnMut(Range<usize>) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let there: &[u64; PAIRS / 64] = self.there.first_chunk().expect("there is a bit for each pair");
        let holds = |first: u8, second: u8| {
            let number = number(&[first, second]);
            there[number / 64] >> (number % 64) & 1 != 0
        };
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
    usize::from(u16::from_be_bytes(*pair))
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
