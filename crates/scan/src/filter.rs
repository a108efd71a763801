//! A set of hashes that sometimes says yes when it should say no, and never the reverse.

/// Register-blocked Bloom filter: 3 bits in one word of 64, and at least 16 bits for each key. It answers wrongly for
/// about one key in a hundred (F. Putze, P. Sanders, J. Singler, "Cache-, Hash- and Space-Efficient Bloom Filters").
pub(crate) struct Filter {
    words: Vec<u64>,
    shift: u32,
}

impl Filter {
    pub(crate) fn for_keys(keys: usize) -> Self {
        let words = (keys / 4).next_power_of_two().max(2);
        Self { words: vec![0; words], shift: 64 - words.trailing_zeros() }
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
    1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63)
}
