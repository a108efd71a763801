//! The keyed hash of a window's distances.

use std::ops::RangeInclusive;

use crate::hash::HashKey;

/// Symbols of a window, and the distance of two windows of the data.
pub(crate) const WINDOW: usize = 64;

/// No equal symbol before.
pub(crate) const FAR: u32 = u32::MAX;

/// Different distances that a window must hold. Where a few symbols alternate or repeat with a period, equal distances
/// show nothing: they are those of any other such window.
const TELLING: u32 = 10;

/// The prime 2^61 - 1, modulo which hashes are polynomials in a secret number.
const PRIME: u64 = (1 << 61) - 1;

/// The keyed hash of distances. For two windows that differ, it is equal with a chance of at most 64 / 2^61.
pub(crate) struct Distances {
    /// Powers of the secret number, from the highest to 1.
    powers: [u64; WINDOW],
    spread: u64,
}

impl Distances {
    pub(crate) fn keyed(key: &HashKey) -> Self {
        let [secret, spread] = key.two_words();
        let secret = secret % PRIME;
        let mut powers = [1; WINDOW];
        for at in (0..WINDOW - 1).rev() {
            powers[at] = times(powers[at + 1], secret);
        }
        Self { powers, spread: spread | 1 }
    }

    /// Spreads a hash over 64 bits, as filters and tables expect.
    fn spread(&self, hash: u64) -> u64 {
        let product = u128::from(hash) * u128::from(self.spread);
        product as u64 ^ (product >> 64) as u64 ^ hash << 3
    }

    /// The hash of a window of the data; none if it holds fewer than two equal symbols.
    pub(crate) fn of_window(&self, window: &[u8; WINDOW]) -> Option<u64> {
        let mut last = [0_u8; 256];
        let mut hash = 0_u64;
        for (at, symbol) in window.iter().enumerate() {
            let before = std::mem::replace(&mut last[usize::from(*symbol)], at as u8 + 1);
            if before > 0 {
                hash = plus(hash, times(self.powers[at], (at + 1) as u64 - u64::from(before)));
            }
        }
        (hash > 0).then(|| self.spread(hash))
    }

    /// Hands on the hash of each window of a view that holds so many different symbols. `back` says how far back the last
    /// equal symbol of each is.
    pub(crate) fn of_each_window(
        &self,
        back: &[u32],
        different: &RangeInclusive<u32>,
        each: &mut dyn FnMut(usize, u64),
    ) {
        // How far ahead the next equal symbol is.
        let mut ahead = vec![FAR; back.len()];
        for (at, distance) in back.iter().enumerate() {
            if *distance != FAR {
                ahead[at - *distance as usize] = *distance;
            }
        }
        // The hash of the window before, if it was asked for.
        let (mut count, mut before) = (0, None);
        for (end, distance) in back.iter().enumerate() {
            // The window that ends here: the first symbol of the one before leaves it, and this one is added.
            let leaving = end.checked_sub(WINDOW).map(|leaving| ahead[leaving]);
            count += u32::from(*distance as usize >= WINDOW);
            count -= u32::from(leaving.is_some_and(|next| next as usize >= WINDOW));
            if end + 1 < WINDOW || !different.contains(&count) {
                before = None;
                continue;
            }
            let start = end + 1 - WINDOW;
            let hash = match (before, leaving) {
                (Some(before), Some(leaving)) => self.moved(before, leaving, *distance),
                _ => self.of_back(&back[start..=end]),
            };
            before = Some(hash);
            if hash > 0 {
                each(start, self.spread(hash));
            }
        }
    }

    /// The hash of a window from that of the one before: all move up by one, the symbol leaves of which the next equal one
    /// was so far ahead, and one is added of which the last equal one is so far back.
    fn moved(&self, before: u64, ahead: u32, back: u32) -> u64 {
        let (next, mut hash) = (ahead as usize, before);
        if next < WINDOW {
            hash = minus(hash, times(self.powers[next], next as u64));
        }
        hash = times(hash, self.powers[WINDOW - 2]);
        if (back as usize) < WINDOW { plus(hash, u64::from(back)) } else { hash }
    }

    /// The hash of a window of a view.
    fn of_back(&self, back: &[u32]) -> u64 {
        let within = back.iter().enumerate().filter(|(at, distance)| **distance as usize <= *at);
        within.fold(0, |hash, (at, distance)| plus(hash, times(self.powers[at], u64::from(*distance))))
    }
}

/// Whether a window of these symbols may hold so many different ones: false only if none does. Of most views no window is like
/// any of the data, and little of them is looked at: where the end of a window holds too many already, so does each that
/// begins before that end does.
pub(crate) fn may_hold(symbols: &[u32], different: &RangeInclusive<u32>) -> bool {
    let mut start = 0;
    while let Some(window) = symbols.get(start..start + WINDOW) {
        let mut seen = Symbols::default();
        let too_many = window.iter().rposition(|symbol| seen.add(*symbol) > *different.end());
        if let Some(at) = too_many {
            start += at + 1;
            continue;
        }
        if !seen.are_bytes || seen.count >= *different.start() {
            return true;
        }
        // Until there are enough of them, no window has.
        let behind = symbols[start + WINDOW..].iter();
        let too_few = behind.take_while(|symbol| seen.add(**symbol) < *different.start() && seen.are_bytes);
        let too_few = too_few.count();
        start += too_few + 1;
    }
    false
}

/// Different symbols: all if they are bytes, else at least so many.
struct Symbols {
    set: [u64; 4],
    count: u32,
    are_bytes: bool,
}

impl Default for Symbols {
    fn default() -> Self {
        Self { set: [0; 4], count: 0, are_bytes: true }
    }
}

impl Symbols {
    /// Adds a symbol and returns how many there are.
    #[inline]
    fn add(&mut self, symbol: u32) -> u32 {
        self.are_bytes &= symbol < 256;
        // Symbols that are no bytes may be taken for the same one.
        let bit = if symbol < 256 { symbol } else { symbol.wrapping_mul(0x9e37_79b1) >> 24 };
        let word = &mut self.set[bit as usize / 64];
        let before = *word;
        *word |= 1 << (bit % 64);
        self.count += u32::from(before != *word);
        self.count
    }
}

/// How many different symbols a window holds.
pub(crate) fn different(window: &[u8; WINDOW]) -> u32 {
    let mut set = [0_u64; 4];
    window.iter().for_each(|symbol| set[usize::from(symbol >> 6)] |= 1 << (symbol & 63));
    set.iter().map(|part| part.count_ones()).sum()
}

/// Whether a window's distances are various enough to tell it from others.
pub(crate) fn is_telling(window: &[u8; WINDOW]) -> bool {
    let mut last = [0_u8; 256];
    let mut distances = 0_u64;
    for (at, symbol) in window.iter().enumerate() {
        let before = std::mem::replace(&mut last[usize::from(*symbol)], at as u8 + 1);
        if before > 0 {
            distances |= 1 << (at as u8 + 1 - before);
        }
    }
    distances.count_ones() >= TELLING
}

fn times(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    plus(product as u64 & PRIME, (product >> 61) as u64)
}

fn plus(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= PRIME { sum - PRIME } else { sum }
}

fn minus(a: u64, b: u64) -> u64 {
    if a >= b { a - b } else { a + PRIME - b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_views_have_the_hashes_of_the_same_windows_of_data() {
        let distances = Distances::keyed(&HashKey::random().unwrap());
        let text: Vec<u8> = (0..1000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 27) as u8).collect();
        let last = |at: usize| text[..at].iter().rposition(|byte| *byte == text[at]);
        let back: Vec<u32> =
            (0..text.len()).map(|at| last(at).map_or(FAR, |last| (at - last) as u32)).collect();
        let windows = || text.array_windows::<WINDOW>();
        let mut counts: Vec<u32> = windows().map(different).collect();
        counts.sort_unstable();
        for wanted in [0..=64, counts[100]..=counts[400], counts[500]..=counts[500], 65..=70] {
            let expected: Vec<usize> = windows()
                .enumerate()
                .filter(|(_, window)| wanted.contains(&different(window)))
                .map(|(at, _)| at)
                .collect();
            let mut seen = Vec::new();
            distances.of_each_window(&back, &wanted, &mut |at, hash| {
                assert_eq!(distances.of_window(text[at..].first_chunk().unwrap()), Some(hash), "{at}");
                seen.push(at);
            });
            assert_eq!(seen, expected, "{wanted:?}");
        }
    }

    /// Of stretches of any length, of as many different symbols as windows have or not.
    #[test]
    fn whether_a_window_has_so_many_symbols_is_told_as_by_looking_at_each() {
        let mut state = 1_u32;
        let mut below = |bound: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % bound
        };
        let mut held = 0;
        for _ in 0..2000 {
            let mut symbols = Vec::new();
            for _ in 0..1 + below(4) {
                let (kinds, length) = (1 + below(90), below(120));
                symbols.extend((0..length).map(|_| below(kinds)));
            }
            let wanted = below(40)..=below(60);
            let any = symbols.windows(WINDOW).any(|window| {
                let window: Vec<u8> = window.iter().map(|symbol| *symbol as u8).collect();
                wanted.contains(&different(window.first_chunk().unwrap()))
            });
            assert_eq!(may_hold(&symbols, &wanted), any);
            let large: Vec<u32> = symbols.iter().map(|symbol| symbol * 1_000_003 + 256).collect();
            assert!(may_hold(&large, &wanted) || !any);
            held += u32::from(any);
        }
        assert!((200..1800).contains(&held), "{held}");
    }

    #[test]
    fn windows_of_few_symbols_or_of_a_period_tell_nothing() {
        let telling = |text: &[u8]| is_telling(text.first_chunk().unwrap());
        assert!(!telling(&[0; 64]));
        assert!(!telling(&b"0,0,1,0,".repeat(8)));
        assert!(!telling(&std::array::from_fn::<u8, 64, _>(|at| at as u8)));
        assert!(telling(b"125024,Individual deductible plan,3,11289.4\n125025,Family plan without"));
    }
}
