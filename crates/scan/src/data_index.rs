//! The windows of the data as filters: what a view shares none of, the data need not be read for.
//!
//! Of an honest output almost nothing stands in the data. So views are asked first which of their windows may, with
//! one look into a filter for each third position; only what lies around those is searched for. Which runs are
//! found does not change: a run that is found holds a window of the data, and so do all of its windows lie around one.
//!
//! A window is told by three *grams* of 8 bytes, which begin 0, 4 and 8 bytes behind it. These have different remainders by
//! 3. So wherever the window stands in a view, just one of them begins at a third position.

use std::io::{self, Read};
use std::ops::Range;

use crate::background::KeyedBackground;
use crate::bits::Bits;
use crate::data::Stream;
use crate::filter::{Filter, TOGETHER};
use crate::hash::{GRAM, HashKey, Kind, array_at};
use crate::search::Measure;
use crate::window::{Distinct, is_all_plain, is_exempt, is_plain, is_weak};

/// Bytes of data for each byte of views from which indexing the data costs more than it saves.
const DATA_FOR_EACH: u64 = 8;

/// Where the grams of a window begin.
const GRAMS: [usize; 3] = [0, 4, 8];

/// Positions that lie between two for which is asked.
const STEP: usize = 3;

/// The data's windows that give a run away.
pub(crate) struct DataIndex {
    /// The grams of windows of 16 bytes that are looked for, and of one in each block of 64 that is.
    grams: Filter,
    /// Windows that begin half a window behind those. Of the two that lie half a window before and behind a window, a run
    /// that holds the window holds one.
    halves: Filter,
    /// Blocks that are looked for; none if there are none.
    blocks: Option<Filter>,
    weak: bool,
    /// How much data there is.
    pub(crate) measure: Measure,
}

/// Whether to index so many bytes of data for so many of views.
pub(crate) fn is_worth(data_bytes: u64, view_bytes: u64) -> bool {
    data_bytes <= view_bytes.saturating_mul(DATA_FOR_EACH)
}

impl DataIndex {
    /// An index of at most so many bytes. `weak` as in [`Comparison`](crate::comparison::Comparison).
    pub(crate) fn new(bytes: u64, weak: bool) -> Self {
        let windows = bytes as usize / 16 + 1;
        Self {
            grams: Filter::for_keys(GRAMS.len() * windows),
            halves: Filter::for_keys(windows),
            blocks: None,
            weak,
            measure: Measure::default(),
        }
    }

    /// Adds a private file. What grew since it was measured makes wrong answers of the filters more frequent, no run lost.
    pub(crate) fn add(
        &mut self,
        file: impl Read,
        chunk_bytes: usize,
        key: &HashKey,
        background: &KeyedBackground,
    ) -> io::Result<()> {
        let mut stream = Stream::new(file, chunk_bytes);
        while let Some((data, range)) = stream.advance()? {
            self.measure.bytes += range.len() as u64;
            for start in range.clone().step_by(64) {
                self.add_block(data, start..range.end.min(start + 64), key, background);
            }
        }
        Ok(())
    }

    fn add_block(&mut self, data: &[u8], block: Range<usize>, key: &HashKey, background: &KeyedBackground) {
        let mut plain = 0;
        for at in block.clone().step_by(16) {
            if let Some(half) = data.get(at + 8..at + 24) {
                self.halves.insert(key.narrow(array_at(half, 0)));
            }
            let Some(window) = data.get(at..at + 16) else { break };
            let window = array_at(window, 0);
            if is_searched(window, self.weak) {
                if background.is_empty() || !background.holds(key.narrow(window), window) {
                    self.add_grams(window, key);
                }
            } else {
                plain += 1;
            }
        }
        if self.weak || plain < 4 {
            return;
        }
        let whole: &[u8; 64] = array_at(data, block.start);
        if is_exempt(whole) {
            self.measure.exempt += 64;
            return;
        }
        let (parts, _) = whole.as_chunks::<16>();
        let richest =
            parts.iter().max_by_key(|part| Distinct::of(part).count()).expect("a block has four parts");
        self.add_grams(richest, key);
        let expected = self.halves.keys() / 4;
        self.blocks.get_or_insert_with(|| Filter::for_keys(expected)).insert(key.window(
            Kind::Wide,
            whole,
            0,
        ));
    }

    fn add_grams(&mut self, window: &[u8; 16], key: &HashKey) {
        GRAMS.iter().for_each(|gram| self.grams.insert(key.gram(array_at(window, *gram))));
    }

    /// Marks in `near` where each window begins that lies, in `bytes` from `range` on, in a run of the shortest length
    /// around one that may stand in the data. `range` is a stretch of a view: a run lies in it as a whole.
    pub(crate) fn mark(&self, bytes: &[u8], range: Range<usize>, key: &HashKey, near: &mut Bits) {
        let piece = &bytes[range.clone()];
        let positions = piece.len().saturating_sub(GRAM - 1);
        let mut hashes = [0; TOGETHER];
        for start in (0..positions).step_by(STEP * TOGETHER) {
            let asked = (start..positions).step_by(STEP);
            let count = asked.clone().take(TOGETHER).count();
            hashes.iter_mut().zip(asked).for_each(|(hash, at)| *hash = key.gram(array_at(piece, at)));
            let mut maybe = self.grams.held_of(&hashes[..count]);
            while maybe != 0 {
                let at = start + STEP * maybe.trailing_zeros() as usize;
                self.windows_of(piece, at, key, &mut |stretch| {
                    near.set(range.start + stretch.start..range.start + stretch.end);
                });
                maybe &= maybe - 1;
            }
        }
    }

    /// Whether a run of the data may stand in these bytes.
    pub(crate) fn may_hold(&self, bytes: &[u8], key: &HashKey) -> bool {
        let mut near = Bits::zeros(bytes.len());
        self.mark(bytes, 0..bytes.len(), key, &mut near);
        near.count() > 0
    }

    /// Looks at each window of which the gram at `at`, which may stand in the data, is one of three.
    #[cold]
    fn windows_of(&self, piece: &[u8], at: usize, key: &HashKey, mark: &mut dyn FnMut(Range<usize>)) {
        for gram in GRAMS {
            let Some(window) = at.checked_sub(gram).filter(|start| start + 16 <= piece.len()) else {
                continue;
            };
            let may_hold = |other: &usize| self.grams.may_hold(key.gram(array_at(piece, window + other)));
            if GRAMS.iter().filter(|other| **other != gram).all(may_hold) {
                self.examine(piece, window, key, mark);
            }
        }
    }

    /// Looks closer at a window that may stand in the data.
    fn examine(&self, piece: &[u8], at: usize, key: &HashKey, mark: &mut dyn FnMut(Range<usize>)) {
        if is_searched(array_at(piece, at), self.weak) {
            let is_half = |half: usize| {
                piece
                    .get(half..half + 16)
                    .is_some_and(|half| self.halves.may_hold(key.narrow(array_at(half, 0))))
            };
            if is_half(at + 8) || at >= 8 && is_half(at - 8) {
                mark(at.saturating_sub(15)..piece.len().min(at + 16));
            }
            return;
        }
        let Some(blocks) = &self.blocks else { return };
        for start in [0, 16, 32, 48].into_iter().filter_map(|part| at.checked_sub(part)) {
            let Some(block) = piece.get(start..start + 64) else { continue };
            let block: &[u8; 64] = array_at(block, 0);
            if !is_exempt(block) && is_all_plain(block) && blocks.may_hold(key.window(Kind::Wide, block, 0)) {
                mark(start.saturating_sub(63)..piece.len().min(start + 64));
            }
        }
    }
}

/// Whether a window gives a run of 31 bytes away.
#[inline]
fn is_searched(window: &[u8; 16], weak: bool) -> bool {
    !(if weak { is_weak(window) } else { is_plain(window) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever a run begins in the data and in the view, all of its windows are marked.
    #[test]
    fn each_window_of_a_run_is_marked_at_any_alignment() {
        let key = HashKey::random().unwrap();
        let background = crate::Background::default().keyed(&key, &[]);
        let data: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut index = DataIndex::new(data.len() as u64, false);
        index.add(&data[..], 64, &key, &background).unwrap();
        for (begin, run) in (0..64).flat_map(|begin| [(begin, 31), (begin, 32), (begin, 100)]) {
            for before in 0..12 {
                let view = [&vec![0xee; before][..], &data[1024 + begin..][..run], &[0xee; 3]].concat();
                let mut near = Bits::zeros(view.len());
                index.mark(&view, 0..view.len(), &key, &mut near);
                assert_eq!(
                    near.count_zeros(before..before + run - 15, usize::MAX),
                    0,
                    "{begin} {before} {run}"
                );
            }
        }
    }

    #[test]
    fn of_other_bytes_next_to_nothing_is_marked() {
        let key = HashKey::random().unwrap();
        let background = crate::Background::default().keyed(&key, &[]);
        let bytes = |seed: u32| -> Vec<u8> {
            (0..200_000_u32)
                .map(|at| (at.wrapping_mul(seed) >> 11 ^ at.wrapping_mul(seed ^ 77) >> 19) as u8)
                .collect()
        };
        let mut index = DataIndex::new(200_000, false);
        index.add(&bytes(2_654_435_761)[..], 1 << 16, &key, &background).unwrap();
        let other = bytes(0x9e37_79b1 ^ 0x5555);
        let mut near = Bits::zeros(other.len());
        index.mark(&other, 0..other.len(), &key, &mut near);
        assert!(near.count() < 200, "{}", near.count());
    }
}
