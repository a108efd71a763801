//! The windows of the data as filters: what a view shares none of, the data need not be read for.
//!
//! Of an honest output almost nothing stands in the data. So views are asked first which of their windows may, with
//! one look into a filter of the data's windows for each; only what lies around those is searched for. Which runs are
//! found does not change: a run that is found holds a window of the data, and so do all of its windows lie around one.

use std::io::{self, Read};
use std::ops::Range;

use crate::background::KeyedBackground;
use crate::bits::Bits;
use crate::data::Stream;
use crate::filter::Filter;
use crate::hash::{HashKey, Kind, array_at};
use crate::search::Measure;
use crate::window::{Distinct, is_all_plain, is_exempt, is_plain, is_weak};

/// Bytes of data for each byte of views from which indexing the data costs more than it saves.
const DATA_FOR_EACH: u64 = 8;

/// Positions whose windows are hashed before any is asked for, one for each bit of a word.
const GROUP: usize = 64;

/// The data's windows that give a run away.
pub(crate) struct DataIndex {
    /// Windows of 16 bytes that are looked for, and one in each block of 64 that is.
    windows: Filter,
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
            windows: Filter::for_keys(windows),
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
                    self.windows.insert(key.narrow(window));
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
        self.windows.insert(key.narrow(richest));
        let expected = self.windows.keys() / 4;
        self.blocks.get_or_insert_with(|| Filter::for_keys(expected)).insert(key.window(
            Kind::Wide,
            whole,
            0,
        ));
    }

    /// Marks in `near` where each window begins that lies, in `bytes` from `range` on, in a run of the shortest length
    /// around one that may stand in the data. `range` is a stretch of a view: a run lies in it as a whole.
    pub(crate) fn mark(&self, bytes: &[u8], range: Range<usize>, key: &HashKey, near: &mut Bits) {
        let piece = &bytes[range.clone()];
        let mut hashes = [0; GROUP];
        for (group, start) in (0..piece.len().saturating_sub(15)).step_by(GROUP).enumerate() {
            debug_assert_eq!(group * GROUP, start);
            let some = &piece[start..piece.len().min(start + GROUP + 15)];
            hashes.iter_mut().zip(some.array_windows()).for_each(|(hash, window)| *hash = key.narrow(window));
            // Where there are fewer windows than bits, the others are none.
            let there = u64::MAX >> (GROUP + 15 - some.len());
            let mut maybe = self.windows.held_of(&hashes) & there;
            while maybe != 0 {
                self.examine(piece, start + maybe.trailing_zeros() as usize, key, &mut |stretch| {
                    near.set(range.start + stretch.start..range.start + stretch.end);
                });
                maybe &= maybe - 1;
            }
        }
    }

    /// Looks closer at a window that may stand in the data.
    #[cold]
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
