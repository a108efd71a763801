//! Which bytes follow which in what is searched for: most windows of the data have a pair that it has not, and are asked
//! for no further.
//!
//! It is the reverse of [`Pairs`](crate::pairs::Pairs), for data that is too large to be read twice. A window of the data that stands in a
//! view has no other pairs than the view, so nothing is lost.

use std::ops::Range;

/// Pairs of bytes.
const PAIRS: usize = 1 << 16;

/// Most pairs that are worth to be asked for: with more, too few windows end here.
const MOST: usize = PAIRS / 2;

/// Where in a window the pairs begin that are asked for. Beginnings of both parities: values of two bytes have other pairs within
/// than between them.
const ASKED: [usize; 2] = [3, 10];

/// Windows of a stretch of data that are looked at to see whether it is worth to ask.
const TRIED: usize = 128;

/// The pairs of neighbouring bytes in stretches of views, a bit for each.
pub(crate) struct ViewPairs {
    there: Box<[u64; PAIRS / 64]>,
}

impl ViewPairs {
    /// Those of these stretches; `None` if there are so many that it is not worth to ask.
    pub(crate) fn of(bytes: &[u8], stretches: impl Iterator<Item = Range<usize>>) -> Option<Self> {
        // A byte for each, which is quicker to write than a bit.
        let mut seen = vec![0_u8; PAIRS];
        for stretch in stretches {
            bytes[stretch].array_windows().for_each(|pair| seen[number(*pair)] = 1);
        }
        let (words, _) = seen.as_chunks::<64>();
        let mut there = Box::new([0; PAIRS / 64]);
        for (word, seen) in there.iter_mut().zip(words) {
            *word = seen.iter().rev().fold(0, |bits, bit| bits << 1 | u64::from(*bit));
        }
        let count: u32 = there.iter().map(|word| word.count_ones()).sum();
        (count as usize <= MOST).then_some(Self { there })
    }

    /// Whether it is worth to ask for pairs in data that begins like this: whether more than half of its windows end here.
    pub(crate) fn is_worth(&self, data: &[u8]) -> bool {
        let (windows, _) = data.as_chunks::<16>();
        let some = &windows[..windows.len().min(TRIED)];
        let held: u32 = some.chunks(64).map(|some| self.held_of(some).count_ones()).sum();
        2 * (held as usize) < some.len()
    }

    /// Which of at most 64 windows may stand in the views, a bit for each.
    #[inline]
    pub(crate) fn held_of(&self, windows: &[[u8; 16]]) -> u64 {
        let mut maybe = 0;
        for (index, window) in windows.iter().enumerate() {
            let holds = |at: usize| {
                let pair = number([window[at], window[at + 1]]);
                self.there[pair / 64] >> (pair % 64)
            };
            maybe |= (ASKED.iter().fold(1, |held, at| held & holds(*at))) << index;
        }
        maybe
    }
}

#[inline]
fn number(pair: [u8; 2]) -> usize {
    usize::from(u16::from_be_bytes(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_the_views_is_held_and_one_with_another_pair_is_not() {
        let view: Vec<u8> = (0..400_u32).map(|at| b'a' + (at * at % 23) as u8).collect();
        let pairs = ViewPairs::of(&view, std::iter::once(0..view.len())).unwrap();
        let windows: Vec<[u8; 16]> = view.array_windows().copied().collect();
        for some in windows.chunks(64) {
            assert_eq!(pairs.held_of(some), u64::MAX >> (64 - some.len()));
        }
        for at in ASKED {
            let mut other = windows[7];
            other[at] = b'~';
            assert_eq!(pairs.held_of(&[windows[6], other, windows[8]]), 0b101, "{at}");
        }
    }

    #[test]
    fn it_is_worth_to_ask_where_most_windows_have_other_pairs() {
        let view = b"a text that is looked for, of no great length".repeat(3);
        let pairs = ViewPairs::of(&view, std::iter::once(0..view.len())).unwrap();
        let others: Vec<u8> = (0..1000_u32).map(|at| b'A' + (at * at % 23) as u8).collect();
        assert!(pairs.is_worth(&others) && !pairs.is_worth(&view) && !pairs.is_worth(&[]));
    }

    #[test]
    fn of_views_with_nearly_all_pairs_nothing_is_kept() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_be_bytes).collect();
        assert!(ViewPairs::of(&all, std::iter::once(0..all.len())).is_none());
    }
}
