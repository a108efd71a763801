//! A set of hashes that sometimes says yes when it should say no, and never the reverse.

/// Register-blocked Bloom filter: 3 bits in one word of 64, and at least 16 bits for each key. It answers wrongly for
/// about one key in a hundred. Which bits comes out of a table, which is quicker than shifting three times (F. Putze,
/// P. Sanders, J. Singler, "Cache-, Hash- and Space-Efficient Bloom Filters").
///
/// In front of it stands a *sketch*: one bit for each key, in at most half a MiB, so that it lies next to the processor.
/// Most of what is asked ends there.
pub(crate) struct Filter {
    words: Vec<u64>,
    shift: u32,
    sketch: Vec<u64>,
    sketch_shift: u32,
}

/// Hashes that are asked for together.
pub(crate) const TOGETHER: usize = 64;

/// Most words of a sketch: half of what a processor core holds next to itself.
const SKETCH_WORDS: usize = 1 << 16;

/// Words of a part of a large filter: 256 KiB, which a processor holds near to itself.
const PART_WORDS: usize = 1 << 15;

/// Parts from which it is quicker to sort what is asked by parts than to ask at once: 4 MiB.
const FEWEST_PARTS: usize = 16;

/// What is asked in one part of a filter.
#[derive(Clone, Copy)]
pub(crate) struct InPart(u32);

impl Filter {
    pub(crate) fn for_keys(keys: usize) -> Self {
        let words = (keys / 4).next_power_of_two().max(4);
        let sketch = (words / 2).min(SKETCH_WORDS);
        Self {
            words: vec![0; words],
            shift: 64 - words.trailing_zeros(),
            sketch: vec![0; sketch],
            sketch_shift: 64 - sketch.trailing_zeros(),
        }
    }

    /// How many keys it has room for.
    pub(crate) fn keys(&self) -> usize {
        4 * self.words.len()
    }

    /// How many parts it has, or none if all of it is near to the processor.
    pub(crate) fn parts(&self) -> Option<usize> {
        Some(self.words.len() / PART_WORDS).filter(|parts| *parts >= FEWEST_PARTS)
    }

    /// In which part a hash is asked for, and what is asked there.
    #[inline]
    pub(crate) fn part(&self, hash: u64) -> (usize, InPart) {
        let word = (hash >> self.shift) as usize;
        let pattern = (hash % PATTERNS.len() as u64) as usize;
        (word / PART_WORDS, InPart((word % PART_WORDS * PATTERNS.len() + pattern) as u32))
    }

    /// As [`Self::may_hold`].
    #[inline]
    pub(crate) fn part_may_hold(&self, part: usize, InPart(asked): InPart) -> bool {
        let bits = PATTERNS[asked as usize % PATTERNS.len()];
        self.words[part * PART_WORDS + asked as usize / PATTERNS.len()] & bits == bits
    }

    #[inline]
    pub(crate) fn insert(&mut self, hash: u64) {
        self.words[(hash >> self.shift) as usize] |= bits(hash);
        self.sketch[(hash >> self.sketch_shift) as usize] |= 1 << (hash & 63);
    }

    /// Which of these hashes, [`TOGETHER`] at most, may be held, a bit for each: the sketch is asked first.
    #[inline]
    pub(crate) fn held_of(&self, hashes: &[u64]) -> u64 {
        let mut maybe = 0;
        for (index, hash) in hashes.iter().enumerate() {
            maybe |= (self.sketch[(hash >> self.sketch_shift) as usize] >> (hash & 63) & 1) << index;
        }
        let mut held = 0;
        while maybe != 0 {
            let index = maybe.trailing_zeros();
            held |= u64::from(self.may_hold(hashes[index as usize])) << index;
            maybe &= maybe - 1;
        }
        held
    }

    #[inline]
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let bits = bits(hash);
        self.words[(hash >> self.shift) as usize] & bits == bits
    }
}

#[inline]
fn bits(hash: u64) -> u64 {
    PATTERNS[(hash % PATTERNS.len() as u64) as usize]
}

/// Words with three bits, spread by the multiples of an odd number.
pub(crate) static PATTERNS: [u64; 2048] = {
    let mut patterns = [0_u64; 2048];
    let mut at = 0;
    while at < patterns.len() {
        let mut state = at as u64;
        while patterns[at].count_ones() < 3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            patterns[at] |= 1 << (state >> 58);
        }
        at += 1;
    }
    patterns
};

#[cfg(test)]
mod tests {
    use super::{Filter, PATTERNS};

    #[test]
    fn what_was_added_is_held_and_little_else() {
        let key =
            |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).swap_bytes().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut filter = Filter::for_keys(100_000);
        (0..100_000).for_each(|at| filter.insert(key(at)));
        assert!((0..100_000).all(|at| filter.may_hold(key(at))));
        let wrong = (100_000..1_100_000).filter(|at| filter.may_hold(key(*at))).count();
        assert!(wrong < 20_000, "{wrong}");
        let asked: [u64; super::TOGETHER] = std::array::from_fn(|at| key(99_968 + at as u64));
        let held = |(at, hash): (usize, &u64)| u64::from(filter.may_hold(*hash)) << at;
        assert_eq!(filter.held_of(&asked), asked.iter().enumerate().map(held).sum::<u64>());
        assert!(filter.parts().is_none());
        let mut large = Filter::for_keys(3_000_000);
        (0..1000).for_each(|at| large.insert(key(at)));
        let asked = |at| large.part(key(at));
        assert!((0..1000).all(|at| large.part_may_hold(asked(at).0, asked(at).1)));
        assert!((0..2000).all(|at| large.may_hold(key(at)) == large.part_may_hold(asked(at).0, asked(at).1)));
        assert_eq!((0..100_000).map(|at| asked(at).0).max(), large.parts().map(|parts| parts - 1));
        assert!(PATTERNS.iter().all(|pattern| pattern.count_ones() == 3));
    }
}
