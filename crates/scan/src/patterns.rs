//! Short patterns of equal symbols: what no window of the data has is passed over with little work.
//!
//! How far back the last equal symbol is stays the same, whatever symbols are replaced by. Of twelve neighbours in a row, each
//! within a window with all that it is compared with, the distances make a pattern. Those of the data's windows are noted.
//! A window of a view is one of the data's only if each of its patterns is there: so it is looked at from its end, and where
//! a pattern is not there, no window that holds all of it is.

use std::ops::Range;

use crate::distances::WINDOW;

/// Symbols before one that it is compared with.
const LOOKED_BACK: usize = 15;

/// Bits of a distance; it is zero where no symbol looked at is equal.
const BITS: usize = 4;

/// Distances in a pattern.
const LENGTH: usize = 12;

/// Symbols that a pattern depends on, but for the last one.
const BEHIND: usize = LOOKED_BACK + LENGTH - 1;

/// The lowest bits, which hold a pattern.
const PATTERN: u64 = (1 << (BITS * LENGTH)) - 1;

/// Bits for each pattern that is noted, and bounds of all bits, as powers of two: an eighth of a MiB and 16.
const BITS_EACH: u64 = 4;
const FEWEST: u32 = 20;
const MOST: u32 = 27;

/// The patterns of windows: a bit for each that is there, and for some that are not.
pub(crate) struct Patterns {
    there: Vec<u64>,
    shift: u32,
}

impl Patterns {
    /// With room for those of so many windows.
    pub(crate) fn for_windows(count: u64) -> Self {
        let patterns = count.saturating_mul((WINDOW - BEHIND) as u64).saturating_mul(BITS_EACH);
        let bits = patterns.max(1).ilog2().clamp(FEWEST, MOST);
        Self { there: vec![0; 1 << (bits - 6)], shift: u64::BITS - bits }
    }

    /// Where a pattern has its bit.
    #[inline]
    fn bit(&self, pattern: u64) -> usize {
        (pattern.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    #[inline]
    fn holds(&self, pattern: u64) -> bool {
        let bit = self.bit(pattern);
        self.there[bit / 64] >> (bit % 64) & 1 != 0
    }

    /// Notes all patterns of a window.
    pub(crate) fn add(&mut self, window: &[u8; WINDOW]) {
        let mut pattern = 0;
        for (at, some) in window.array_windows().enumerate() {
            pattern = (pattern << BITS | distance(some)) & PATTERN;
            if at + 1 >= LENGTH {
                let bit = self.bit(pattern);
                self.there[bit / 64] |= 1 << (bit % 64);
            }
        }
    }

    /// Shows each stretch of symbols of which every window may be there. No other window is.
    pub(crate) fn stretches(&self, symbols: &[u32], mut show: impl FnMut(Range<usize>)) {
        let distance_at =
            |at: usize| distance(symbols[at - LOOKED_BACK..].first_chunk().expect("all before it are there"));
        let pattern_to =
            |end: usize| (end - LENGTH..end).fold(0, |pattern, at| pattern << BITS | distance_at(at));
        let mut start = 0;
        while start + WINDOW <= symbols.len() {
            // From the end of the window on: the last pattern stands before it.
            let mut end = start + WINDOW;
            let mut pattern = pattern_to(end);
            while self.holds(pattern) && end > start + BEHIND + 1 {
                end -= 1;
                pattern = pattern >> BITS | distance_at(end - LENGTH) << (BITS * (LENGTH - 1));
            }
            if !self.holds(pattern) {
                start = end - BEHIND;
                continue;
            }
            end = start + WINDOW;
            pattern = pattern_to(end);
            while end < symbols.len() {
                pattern = (pattern << BITS | distance_at(end)) & PATTERN;
                if !self.holds(pattern) {
                    break;
                }
                end += 1;
            }
            show(start..end);
            start = end + 1 - BEHIND;
        }
    }
}

/// How far back the last symbol is that is equal to the last of these.
#[inline]
fn distance<T: PartialEq + Copy>(symbols: &[T; LOOKED_BACK + 1]) -> u64 {
    let last = symbols[LOOKED_BACK];
    let mut equal = 0_u32;
    for (at, symbol) in symbols[..LOOKED_BACK].iter().enumerate() {
        equal |= u32::from(*symbol == last) << at;
    }
    // The highest bit is that of the neighbour.
    match equal {
        0 => 0,
        _ => (LOOKED_BACK as u32 - equal.ilog2()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(state: &mut u32, bound: u32) -> u32 {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state >> 8) % bound
    }

    /// How far back the last equal symbol of a window is.
    fn distances(window: &[u32]) -> Vec<Option<usize>> {
        let last = |at: usize| window[..at].iter().rposition(|symbol| *symbol == window[at]);
        (0..window.len()).map(|at| last(at).map(|last| at - last)).collect()
    }

    #[test]
    fn each_window_of_the_data_is_in_a_stretch_whatever_its_symbols_are_replaced_by() {
        let (mut state, mut shown, mut all) = (3, 0, 0);
        for round in 0..300 {
            let kinds = 8 + round % 40;
            let data: Vec<u8> = (0..WINDOW * 6).map(|_| below(&mut state, kinds) as u8).collect();
            let mut patterns = Patterns::for_windows(6);
            data.as_chunks().0.iter().for_each(|window| patterns.add(window));
            let mut view: Vec<u32> = Vec::new();
            for _ in 0..6 {
                let noise = below(&mut state, 90);
                view.extend((0..noise).map(|_| below(&mut state, 60)));
                let at = below(&mut state, 5 * WINDOW as u32) as usize;
                let key = below(&mut state, 1 << 20);
                view.extend(data[at..][..WINDOW].iter().map(|byte| u32::from(*byte) * 7 + key));
            }
            let mut stretches = Vec::new();
            patterns.stretches(&view, |stretch| stretches.push(stretch));
            let of_data: Vec<_> =
                data.as_chunks::<WINDOW>().0.iter().map(|window| distances(&window.map(u32::from))).collect();
            for (at, window) in view.windows(WINDOW).enumerate() {
                let is_shown =
                    stretches.iter().any(|stretch| stretch.start <= at && at + WINDOW <= stretch.end);
                let is_there = of_data.contains(&distances(window));
                assert!(is_shown || !is_there, "{round} {at}");
                (shown, all) = (shown + u32::from(is_shown), all + 1);
            }
        }
        assert!(shown > 100 && shown < all / 3, "{shown} of {all}");
    }

    #[test]
    fn stretches_are_those_of_which_each_pattern_is_there() {
        let mut state = 7;
        for round in 0..200 {
            let kinds = 4 + round % 12;
            let window: Vec<u8> = (0..WINDOW).map(|_| below(&mut state, kinds) as u8).collect();
            let mut patterns = Patterns::for_windows(6);
            patterns.add(window.first_chunk().unwrap());
            let view: Vec<u32> = (0..5)
                .flat_map(|_| window[below(&mut state, 3) as usize..].to_vec())
                .map(u32::from)
                .collect();
            let mut starts = vec![false; view.len()];
            patterns.stretches(&view, |stretch| starts[stretch.start..stretch.end + 1 - WINDOW].fill(true));
            for (at, some) in view.windows(WINDOW).enumerate() {
                let some: Vec<u8> = some.iter().map(|symbol| *symbol as u8).collect();
                let mut of_window = Patterns::for_windows(6);
                of_window.add(some.first_chunk().unwrap());
                let each = of_window.there.iter().zip(&patterns.there).all(|(own, there)| own & !there == 0);
                assert_eq!(starts[at], each, "{round} {at}");
            }
        }
    }
}
