//! The data in chunks of equal size, numbered from one file to the next. A chunk is what is read for one window.

use std::ops::Range;

use super::IndexError;
use crate::bits::Bits;
use crate::data::MARGIN;
use crate::hints::FileStretches;

/// Bits of a number of a chunk.
pub(super) const CHUNK_BITS: u32 = 24;

/// Fewest bytes of a chunk, as a power of two.
const SMALLEST: u32 = 12;

/// The chunks of some files.
pub(super) struct Chunks {
    /// Bytes of a chunk, as a power of two.
    log2: u32,
    /// Number of the first chunk of each file, and behind the last one how many there are.
    first: Vec<u64>,
    lengths: Vec<u64>,
}

impl Chunks {
    /// The smallest chunks of which there are not too many. One number is left, for no chunk.
    pub(super) fn of(lengths: &[u64]) -> Result<Self, IndexError> {
        if lengths.len() >= 1 << CHUNK_BITS {
            return Err(IndexError::TooManyFiles);
        }
        let sized = (SMALLEST..u64::BITS).map(|log2| Self::sized(lengths, log2));
        let mut enough = sized.filter(|chunks| chunks.count() < 1 << CHUNK_BITS);
        enough.next().ok_or(IndexError::TooManyFiles)
    }

    fn sized(lengths: &[u64], log2: u32) -> Self {
        let mut first = vec![0];
        let mut count = 0_u64;
        for length in lengths {
            count = count.saturating_add(length.div_ceil(1 << log2));
            first.push(count);
        }
        Self { log2, first, lengths: lengths.to_vec() }
    }

    pub(super) fn count(&self) -> u64 {
        self.first.last().copied().unwrap_or(0)
    }

    /// How many files there are.
    pub(super) fn files(&self) -> usize {
        self.lengths.len()
    }

    /// Bytes of a file.
    pub(super) fn length(&self, file: usize) -> u64 {
        self.lengths[file]
    }

    /// The number of the chunk that a byte of a file lies in.
    pub(super) fn at(&self, file: usize, offset: u64) -> u32 {
        (self.first[file] + (offset >> self.log2)) as u32
    }

    /// What is read of each file, in order, if these chunks are: those that lie close together are read as one.
    pub(super) fn stretches(&self, marked: &Bits) -> Vec<FileStretches> {
        let mut files = Vec::new();
        for (file, length) in self.lengths.iter().enumerate() {
            let (first, end) = (self.first[file], self.first[file + 1]);
            let mut stretches: Vec<Range<u64>> = Vec::new();
            for stretch in marked.stretches(first as usize..end as usize) {
                let start = (stretch.start as u64 - first) << self.log2;
                let end = ((stretch.end as u64 - first) << self.log2).min(*length);
                match stretches.last_mut() {
                    Some(last) if start - last.end <= 2 * MARGIN as u64 => last.end = end,
                    _ => stretches.push(start..end),
                }
            }
            if !stretches.is_empty() {
                files.push((file, stretches));
            }
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_lie_close_together_are_read_as_one_and_no_file_is_read_past_its_end() {
        let chunks = Chunks::of(&[10_000, 0, 5, 100_000]).unwrap();
        assert_eq!(chunks.count(), 3 + 1 + 25);
        assert_eq!(
            [chunks.at(0, 9_999), chunks.at(2, 0), chunks.at(3, 4095), chunks.at(3, 4096)],
            [2, 3, 4, 5]
        );
        let mut marked = Bits::zeros(29);
        for chunk in [2, 3, 4, 6, 20] {
            marked.set(chunk..chunk + 1);
        }
        let one = |range: Range<u64>| std::iter::once(range).collect::<Vec<_>>();
        let expected = vec![(0, one(8192..10_000)), (2, one(0..5)), (3, vec![0..12_288, 65_536..69_632])];
        assert_eq!(chunks.stretches(&marked), expected);
    }

    #[test]
    fn much_data_has_larger_chunks_and_too_many_files_have_no_index() {
        let chunks = Chunks::of(&[1 << 40]).unwrap();
        assert_eq!((chunks.log2, chunks.count()), (17, 1 << 23));
        assert!(matches!(Chunks::of(&vec![1; 1 << 24]), Err(IndexError::TooManyFiles)));
    }
}
