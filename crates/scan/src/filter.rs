//! A set of hashes that sometimes says yes when it should say no, and never the reverse.

/// Register-blocked Bloom filter: 3 bits in one word of 64, and at least 16 bits for each key. It answers wrongly for
/// about one key in a hundred. Which bits comes out of a table, which is quicker than shifting three times (F. Putze,
/// P. Sanders, J. Singler, "Cache-, Hash- and Space-Efficient Bloom Filters").
pub(crate) struct Filter {
    words: Vec<u64>,
    shift: u32,
}

impl Filter {
    pub(crate) fn for_keys(keys: usize) -> Self {
        let words = (keys / 4).next_power_of_two().max(2);
        Self { words: vec![0; words], shift: 64 - words.trailing_zeros() }
    }

    /// How many keys it has room for.
    pub(crate) fn keys(&self) -> usize {
        4 * self.words.len()
    }

    #[inline]
    pub(crate) fn insert(&mut self, hash: u64) {
        self.words[(hash >> self.shift) as usize] |= bits(hash);
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
static PATTERNS: [u64; 2048] = {
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
        assert!(PATTERNS.iter().all(|pattern| pattern.count_ones() == 3));
    }
}
