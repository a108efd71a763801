//! One bit for each byte of a pass.

use std::ops::Range;

#[derive(Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn zeros(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub(crate) fn set(&mut self, range: Range<usize>) {
        each_word(range, |word, mask| {
            self.0[word] |= mask;
            true
        });
    }

    /// Sets one.
    #[inline]
    pub(crate) fn set_one(&mut self, bit: usize) {
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    /// Sets all.
    pub(crate) fn set_all(&mut self) {
        self.0.fill(u64::MAX);
    }

    /// How many of the range are not set, counted up to `enough`.
    pub(crate) fn count_zeros(&self, range: Range<usize>, enough: usize) -> usize {
        let mut count = 0;
        each_word(range, |word, mask| {
            count += (!self.0[word] & mask).count_ones() as usize;
            count < enough
        });
        count
    }

    /// How many are set.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The set stretches of the range, in order.
    pub(crate) fn stretches(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut at = range.start;
        std::iter::from_fn(move || {
            let start = self.find(true, at..range.end)?;
            at = self.find(false, start..range.end).unwrap_or(range.end);
            Some(start..at)
        })
    }

    /// Each that is set, in order.
    pub(crate) fn each(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            let mut left = *bits;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| 64 * word + left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(bit)
            })
        })
    }

    fn find(&self, value: bool, range: Range<usize>) -> Option<usize> {
        let mut found = None;
        each_word(range, |word, mask| {
            let matching = if value { self.0[word] } else { !self.0[word] } & mask;
            found = (matching != 0).then(|| word * 64 + matching.trailing_zeros() as usize);
            found.is_none()
        });
        found
    }
}

/// Calls `look` for each word that the range touches, with the bits of the range in it, until it says false.
fn each_word(range: Range<usize>, mut look: impl FnMut(usize, u64) -> bool) {
    let mut at = range.start;
    while at < range.end {
        let (word, first) = (at / 64, at % 64);
        let count = (64 - first).min(range.end - at);
        if !look(word, (u64::MAX >> (64 - count)) << first) {
            return;
        }
        at += count;
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn stretches_are_those_that_were_set() {
        let mut bits = Bits::zeros(400);
        for range in [3..5, 60..70, 70..72, 128..320, 399..400] {
            bits.set(range);
        }
        let expected = [3..5, 60..72, 128..320, 399..400];
        assert_eq!(Vec::from_iter(bits.stretches(0..400)), expected);
        assert_eq!(Vec::from_iter(bits.stretches(61..130)), [61..72, 128..130]);
        assert!(bits.each().eq(expected.into_iter().flatten()));
        assert_eq!(bits.count_zeros(0..400, usize::MAX), 400 - 2 - 12 - 192 - 1);
        assert_eq!(bits.count_zeros(60..72, usize::MAX), 0);
        assert!(bits.count_zeros(320..399, 10) >= 10);
    }
}
