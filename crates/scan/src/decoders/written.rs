//! What decoders wrote already.
//!
//! Noise of a few values is read as DEFLATE from many beginnings, and after some codes all of them read the same: what comes
//! of one is the end of what came of another. So a result is cut where its bytes say so, and a part that was written before, with
//! what stands around it, is left out.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::ops::Range;

use crate::views::View;

/// Bytes on each side of a part that must be the same, too. A run of up to so many bytes that touches a part which is left out
/// was written as a whole before.
const MARGIN: usize = 4096;

/// Bits of a sum over the last 64 bytes that are zero where a part ends: one byte of 8,192.
const CUT_BITS: u32 = 13;

/// Shortest part but for a last one: each is looked at with its margins, so that bytes which are cut at every second place, as whoever knows
/// the sum can write them, would take thousands of times as long.
const SHORTEST: usize = 1 << 10;

/// Longest part.
const LONGEST: usize = 1 << 16;

/// Bytes that a sum is of: those before are shifted out of it.
const SUMMED: usize = 64;

/// Keyed hashes of what was there before.
#[derive(Debug, Default)]
pub(super) struct Known(HashSet<u64, RandomState>);

impl Known {
    /// Whether it was not there before, and is now.
    pub(super) fn is_new(&mut self, what: &impl Hash) -> bool {
        let hash = self.0.hasher().hash_one(what);
        self.0.insert(hash)
    }
}

/// Parts with their margins, and how closely they are looked at.
#[derive(Debug, Default)]
pub(super) struct Written(Known);

impl Written {
    /// What of a result was not written before in a view that is looked at as closely, with its margins, and is now.
    pub(super) fn new_of(&mut self, view: View, bytes: &[u8]) -> Vec<Range<usize>> {
        let closely = closely(view);
        let mut new: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        while start < bytes.len() {
            // Values of four bytes are not cut.
            let whole = view == View::WordSubstitution;
            let end = if whole { bytes.len() } else { start + part(&bytes[start..]) };
            let around = start.saturating_sub(MARGIN)..bytes.len().min(end + MARGIN);
            if self.0.is_new(&(closely, &bytes[around.clone()])) {
                match new.last_mut() {
                    Some(last) if around.start <= last.end => last.end = around.end,
                    _ => new.push(around),
                }
            }
            start = end;
        }
        new
    }
}

/// A number for views that are read through the same lenses. Were what stands in one that is read through few known in one that is
/// read through many, whoever writes it twice would choose which.
fn closely(view: View) -> u8 {
    match view {
        View::WordSubstitution => 0,
        View::Packed => 1,
        view if view.holds_bytes() => 3,
        _ => 2,
    }
}

/// Length of the part that the bytes begin with. Where it ends depends on the bytes before its end alone (M. Xia and others,
/// "FastCDC", 2016), unless it would be too short or too long.
fn part(bytes: &[u8]) -> usize {
    let longest = &bytes[..bytes.len().min(LONGEST)];
    let Some(summed) = longest.get(SHORTEST - SUMMED..) else { return longest.len() };
    let mut sum = 0_u64;
    let ends = |(at, byte): (usize, &u8)| {
        sum = (sum << 1).wrapping_add(SPREAD[usize::from(*byte)]);
        at + 1 >= SUMMED && sum >> (64 - CUT_BITS) == 0
    };
    let last = summed.iter().enumerate().position(ends);
    last.map_or(longest.len(), |last| SHORTEST - SUMMED + last + 1)
}

/// Some number for each byte (G. Steele and others, SplitMix64, 2014).
static SPREAD: [u64; 256] = {
    let mut spread = [0; 256];
    let mut at = 0;
    while at < spread.len() {
        let state = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        spread[at] = mixed ^ mixed >> 31;
        at += 1;
    }
    spread
};

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(|_| byte()).collect()
    }

    #[test]
    fn bytes_that_are_cut_everywhere_are_parts_of_some_length() {
        let cut_everywhere = b"\nc".repeat(20_000);
        let mut start = 0;
        while start < cut_everywhere.len() {
            let length = part(&cut_everywhere[start..]);
            assert!(length >= SHORTEST || start + length == cut_everywhere.len(), "{length}");
            start += length;
        }
    }

    /// Results that share long stretches, at other places and after other bytes, and one that holds a part twice.
    #[test]
    fn each_run_as_long_as_a_margin_is_written_and_what_was_written_is_mostly_left_out() {
        let shared = noise(1, 300_000);
        let results = [
            [noise(2, 5_000), shared.clone()].concat(),
            [noise(3, 7), shared[20_000..].to_vec(), noise(4, 100)].concat(),
            [shared[100_000..150_000].to_vec(), shared[50_000..250_000].to_vec()].concat(),
            vec![7; 200_000],
            noise(5, 40),
        ];
        let (mut written, mut shown) = (Written::default(), Vec::new());
        for result in &results {
            let new = written.new_of(View::Deflate, result);
            assert!(
                new.is_sorted_by_key(|range| range.start)
                    && new.windows(2).all(|two| two[0].end < two[1].start)
            );
            shown.extend(new.into_iter().map(|range| result[range].to_vec()));
            let runs = (0..result.len().saturating_sub(MARGIN))
                .step_by(997)
                .chain([result.len().saturating_sub(MARGIN)]);
            for at in runs {
                let run = &result[at..result.len().min(at + MARGIN)];
                let first: &[u8; 16] = run.first_chunk().unwrap();
                let holds = |bytes: &Vec<u8>| {
                    bytes
                        .array_windows()
                        .enumerate()
                        .any(|(at, window)| window == first && bytes[at..].starts_with(run))
                };
                assert!(shown.iter().any(holds), "{at}");
            }
        }
        let sum: usize = shown.iter().map(Vec::len).sum();
        // All of them are more than a million.
        assert!(sum < 700_000, "{sum}");
        assert!(written.new_of(View::Deflate, &results[0]).is_empty());
    }
}
