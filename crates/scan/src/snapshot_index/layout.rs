//! Where what stands in the file of an index. Numbers are little-endian.
//!
//! | what | bytes |
//! |-|-|
//! | head | [`HEAD_BYTES`] |
//! | filter of each part | [`FILTER_BYTES`] |
//! | filter of grams of each part | [`FILTER_BYTES`] |
//! | row of each part | [`ROW_BYTES`] |
//! | of each part its blocks, and the first key of each | [`BLOCK_BYTES`] and 4 for each block |
//!
//! A block is a checksum and up to [`BLOCK_ENTRIES`] entries of [`ENTRY_BYTES`]; those behind the last are all ones.

use super::IndexError;
use crate::filter::PATTERNS;
use crate::hash::{HashKey, array_at};

/// Bytes of the head.
pub(super) const HEAD_BYTES: usize = 4096;

/// Windows for which a part has room; more make wrong answers more frequent.
const PART_WINDOWS: u64 = 1 << 17;

/// Words of a part's filter: 256 KiB, which a processor core holds near to itself.
const FILTER_WORDS: usize = 1 << 15;

/// Bytes of a part's filter.
pub(super) const FILTER_BYTES: usize = 8 * FILTER_WORDS;

/// Most parts. The larger the parts of more data than 128 GiB, the more often their filters answer wrongly.
const MOST_PARTS: u64 = 1 << 16;

/// Bytes of the row of a part.
pub(super) const ROW_BYTES: usize = 40;

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Bytes of an entry: 3 of the hash, 1 of what stands around the window, 3 of the chunk's number.
pub(super) const ENTRY_BYTES: usize = 7;

/// Entries of a block.
pub(super) const BLOCK_ENTRIES: usize = (BLOCK_BYTES - 8) / ENTRY_BYTES;

/// Says what the file is, and of which layout.
const MAGIC: [u8; 16] = *b"copy index 2\n\0\0\0";

/// Bits of the hash that are used within a part: 15 choose the word, 9 more are the entry's, 19 choose bits of words.
pub(super) const WITHIN_BITS: u32 = 43;

/// Checksum of bytes, against damage by accident. Four sums, each of every fourth word, so that the processor makes them side by
/// side. No step of a sum takes two values to one: of two stretches of one length that differ in one word the sums differ.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let (groups, rest) = bytes.as_chunks::<32>();
    let mut sums = [1, 2, 3, 4];
    for group in groups {
        let (words, _) = group.as_chunks();
        sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = step(*sum, u64::from_le_bytes(*word)));
    }
    let sum = sums.into_iter().fold(bytes.len() as u64, step);
    let sum = rest.iter().fold(sum, |sum, byte| step(sum, u64::from(*byte)));
    // The highest bits, which are changed by all others, change the lowest too.
    (sum ^ sum >> 32).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// How hashes are divided among parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts(u64);

impl Parts {
    /// For so many windows: a multiple of 1024 where there are more.
    pub(super) fn for_windows(windows: u64) -> Self {
        let parts = windows.div_ceil(PART_WINDOWS).clamp(1, MOST_PARTS);
        let together = parts.div_ceil(MOST_GROUPS).next_power_of_two();
        Self(parts.next_multiple_of(together))
    }

    pub(super) fn count(self) -> u64 {
        self.0
    }

    /// Parts that one group has, as a power of two. There are at most 1024 groups.
    pub(super) fn group_log2(self) -> u32 {
        self.0.div_ceil(MOST_GROUPS).next_power_of_two().trailing_zeros()
    }

    pub(super) fn groups(self) -> usize {
        (self.0 >> self.group_log2()) as usize
    }

    /// The part of a hash, and its place there.
    #[inline]
    pub(super) fn of(self, hash: u64) -> (u64, Within) {
        let product = u128::from(hash) * u128::from(self.0);
        ((product >> 64) as u64, Within((product as u64) >> (64 - WITHIN_BITS)))
    }
}

/// Most groups of parts: what is asked is sorted by groups, and each costs a place of memory near to the processor.
const MOST_GROUPS: u64 = 1024;

/// What of a hash is used within its part, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Within(pub(super) u64);

impl Within {
    /// The word of the filter, the first 15 bits.
    #[inline]
    pub(super) fn word(self) -> u64 {
        self.0 >> 28
    }

    /// Which bits are set, 19 bits.
    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0 & 0x7_ffff
    }

    /// The first so many bits.
    #[inline]
    pub(super) fn first(self, bits: u32) -> u64 {
        self.0 >> (WITHIN_BITS - bits)
    }

    /// What stands in an entry, the first 24 bits.
    #[inline]
    pub(super) fn key(self) -> u32 {
        (self.0 >> 19) as u32
    }
}

/// Three bits of the first word, chosen by the first 11 of 19 bits.
#[inline]
pub(super) fn first_pattern(bits: u64) -> u64 {
    PATTERNS[(bits >> 8) as usize & (PATTERNS.len() - 1)]
}

/// The second word and three bits of it, chosen by the last 8 of 19 bits.
#[inline]
pub(super) fn second(word: usize, bits: u64) -> (usize, u64) {
    let chosen = (bits & 255) as usize;
    (word ^ ((chosen + 1) * 97), PATTERNS[chosen])
}

/// Sets what tells of a window in a part's filter.
pub(super) fn insert(filter: &mut [u64], within: Within) {
    let (word, bits) = (within.word() as usize, within.bits());
    let (other, pattern) = second(word, bits);
    filter[word] |= first_pattern(bits);
    filter[other] |= pattern;
}

/// Four bits of 8 bytes.
#[inline]
fn four_bits(key: u64, bytes: &[u8; 8]) -> u8 {
    ((u64::from_le_bytes(*bytes) ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as u8
}

/// Bits of the 8 bytes before and of those behind the window at `at`, where they are there.
pub(super) fn sides(key: &HashKey, bytes: &[u8], at: usize) -> [Option<u8>; 2] {
    let [before, behind] = key.two_words();
    [
        at.checked_sub(8).map(|start| four_bits(before, array_at(bytes, start))),
        bytes.get(at + 16..at + 24).map(|side| four_bits(behind, array_at(side, 0))),
    ]
}

/// What an entry tells of both sides.
pub(super) fn of_sides([before, behind]: [Option<u8>; 2]) -> u8 {
    before.unwrap_or(0) << 4 | behind.unwrap_or(0)
}

/// Whether one side of a window of an output may be that of an entry. A run of 31 bytes that holds a window holds the 8
/// bytes on one of its sides.
pub(super) fn is_of_sides(entry: u8, [before, behind]: [Option<u8>; 2]) -> bool {
    before.is_some_and(|before| before == entry >> 4) || behind.is_some_and(|behind| behind == entry & 15)
}

/// What an entry tells of the whole block of 64 bytes that it stands for.
pub(super) fn of_block(key: &HashKey, block: &[u8; 64]) -> u8 {
    (key.window(crate::hash::Kind::Wide, block, 0) >> 56) as u8
}

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: u32,
    pub(super) around: u8,
    pub(super) chunk: u32,
}

impl Entry {
    pub(super) fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let [a, b, c, _] = self.key.to_le_bytes();
        let [d, e, f, _] = self.chunk.to_le_bytes();
        [a, b, c, self.around, d, e, f]
    }

    pub(super) fn from_bytes([a, b, c, around, d, e, f]: [u8; ENTRY_BYTES]) -> Self {
        Self { key: u32::from_le_bytes([a, b, c, 0]), around, chunk: u32::from_le_bytes([d, e, f, 0]) }
    }
}

/// Where the blocks of a part stand, and what their parts' bytes sum up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Where the part's blocks begin in the file.
    pub(super) offset: u64,
    /// How many there are. The first key of each stands behind them.
    pub(super) blocks: u64,
    /// Checksum of the filter.
    pub(super) filter: u64,
    /// Checksum of the filter of grams.
    pub(super) grams: u64,
    /// Checksum of the first keys.
    pub(super) keys: u64,
}

impl Row {
    pub(super) fn to_bytes(self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        let values = [self.offset, self.blocks, self.filter, self.grams, self.keys];
        bytes.as_chunks_mut().0.iter_mut().zip(values).for_each(|(at, value)| *at = value.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; ROW_BYTES]) -> Self {
        let value = |at: usize| u64::from_le_bytes(*array_at(bytes, 8 * at));
        Self { offset: value(0), blocks: value(1), filter: value(2), grams: value(3), keys: value(4) }
    }
}

/// What stands first.
pub(super) struct Head {
    pub(super) key: HashKey,
    pub(super) parts: Parts,
    /// Checksum of the lengths of all files.
    pub(super) lengths: u64,
    /// Bytes of the data.
    pub(super) bytes: u64,
    /// How many of them are exempt.
    pub(super) exempt: u64,
    /// Checksum of all rows.
    pub(super) rows: u64,
}

impl Head {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let numbers = [self.parts.0, self.lengths, self.bytes, self.exempt, self.rows];
        let mut bytes = [&MAGIC[..], &self.key.to_bytes()].concat();
        numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.resize(HEAD_BYTES - 8, 0);
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Result<Self, IndexError> {
        let (told, sum) = bytes.split_at(HEAD_BYTES - 8);
        let numbers = MAGIC.len() + HashKey::BYTES;
        let number = |at: usize| u64::from_le_bytes(*array_at(bytes, numbers + 8 * at));
        let parts = Parts(number(0));
        if !told.starts_with(&MAGIC)
            || *sum != checksum(told).to_le_bytes()
            || !(1..=MOST_PARTS).contains(&parts.0)
        {
            return Err(IndexError::Damaged);
        }
        let key = HashKey::from_bytes(array_at(bytes, MAGIC.len()));
        Ok(Self { key, parts, lengths: number(1), bytes: number(2), exempt: number(3), rows: number(4) })
    }
}

/// Where the filter of a part stands.
pub(super) fn filter_offset(part: u64) -> u64 {
    HEAD_BYTES as u64 + part * FILTER_BYTES as u64
}

/// Where the filter of grams of a part stands.
pub(super) fn grams_offset(parts: Parts, part: u64) -> u64 {
    filter_offset(parts.0 + part)
}

/// Where the rows stand.
pub(super) fn rows_offset(parts: Parts) -> u64 {
    grams_offset(parts, parts.0)
}

/// Checksum of the lengths of files.
pub(super) fn of_lengths(lengths: &[u64]) -> u64 {
    checksum(&lengths.iter().flat_map(|length| length.to_le_bytes()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_divided_in_order_among_parts_of_whole_groups() {
        for windows in [1, PART_WINDOWS, 100 * PART_WINDOWS + 1, 1025 * PART_WINDOWS, u64::MAX / 2] {
            let parts = Parts::for_windows(windows);
            assert!(parts.groups() <= 1024);
            assert_eq!((parts.groups() as u64) << parts.group_log2(), parts.count());
            let hashes = [0, 1 << 40, u64::MAX / 3, u64::MAX / 2, u64::MAX].map(|hash| parts.of(hash));
            assert!(hashes.is_sorted() && hashes[4].0 == parts.count() - 1 && hashes[0].0 == 0);
        }
    }

    #[test]
    fn a_checksum_tells_bytes_that_differ_in_one_or_were_exchanged_or_cut_off() {
        let bytes: Vec<u8> = (0..300_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut sums = vec![checksum(&bytes)];
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1 << (at % 8);
            sums.extend([checksum(&other), checksum(&bytes[..at])]);
            other.copy_from_slice(&bytes);
            other.swap(at, (at + 32) % 300);
            sums.extend((other != bytes).then(|| checksum(&other)));
        }
        let count = sums.len();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!((sums.len(), count > 850), (count, true));
        assert_eq!(sums.iter().filter(|sum| **sum == checksum(&bytes)).count(), 1);
    }

    #[test]
    fn entries_rows_and_heads_are_read_as_they_were_written() {
        let entry = Entry { key: 0xab_cdef, around: 7, chunk: 0x12_3456 };
        assert_eq!(Entry::from_bytes(entry.to_bytes()), entry);
        let row = Row { offset: 1, blocks: 2, filter: u64::MAX, grams: 3, keys: 4 };
        assert_eq!(Row::from_bytes(&row.to_bytes()), row);
        let key = HashKey::random().unwrap();
        let parts = Parts::for_windows(1 << 30);
        let head = Head { key, parts, lengths: 1, bytes: 2, exempt: 3, rows: 4 };
        let mut bytes: [u8; HEAD_BYTES] = head.to_bytes().try_into().unwrap();
        let read = Head::from_bytes(&bytes).unwrap();
        assert_eq!((read.parts, read.lengths, read.exempt, read.rows), (parts, 1, 3, 4));
        assert_eq!(read.key.to_bytes(), head.key.to_bytes());
        bytes[100] ^= 1;
        assert!(matches!(Head::from_bytes(&bytes), Err(IndexError::Damaged)));
    }
}
