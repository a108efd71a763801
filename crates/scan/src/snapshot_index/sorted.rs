//! What is asked of an index, sorted by groups of its parts in one go.

use std::io;

use memmap2::{Advice, MmapMut};

/// Words that one group has together: 8 KiB, since of what lies together the processor reads on by itself.
const CHUNK: usize = 1024;

/// No chunk.
const NONE: u32 = u32::MAX;

/// Words by group, as chains of chunks. How many each group gets is not known before, and hashing twice to know it costs more
/// than the chains.
pub(super) struct Sorted {
    memory: MmapMut,
    /// Of each chunk that is taken the one behind it.
    behind: Vec<u32>,
    groups: Vec<Chain>,
}

#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    /// Where the next word goes; a multiple of a chunk's length if the chunk before is full, or there is none.
    end: u32,
}

impl Sorted {
    /// Room for so many words in so many groups, in memory that was used before or new one.
    pub(super) fn with_room(used: Option<Self>, words: usize, groups: usize) -> io::Result<Self> {
        let bytes = 8 * CHUNK * (words.div_ceil(CHUNK) + groups);
        let empty = vec![Chain { first: NONE, end: 0 }; groups];
        if let Some(mut used) = used.filter(|used| used.memory.len() >= bytes) {
            used.behind.clear();
            used.groups = empty;
            return Ok(used);
        }
        let memory = MmapMut::map_anon(bytes)?;
        // Where every few words lie on another page most of the time is looking pages up. A kernel without large ones
        // refuses, and all is as before.
        let _ = memory.advise(Advice::HugePage);
        Ok(Self { memory, behind: Vec::new(), groups: empty })
    }

    /// Adds a word to a group. There are not more than there is room for.
    #[inline]
    pub(super) fn push(&mut self, group: usize, word: u64) {
        let chain = &mut self.groups[group];
        let mut at = chain.end as usize;
        if at.is_multiple_of(CHUNK) {
            let chunk = self.behind.len() as u32;
            self.behind.push(NONE);
            match chain.first {
                NONE => chain.first = chunk,
                _ => self.behind[at / CHUNK - 1] = chunk,
            }
            at = chunk as usize * CHUNK;
        }
        chain.end = at as u32 + 1;
        self.memory.as_chunks_mut().0[at] = word.to_ne_bytes();
    }

    /// The words of a group, as many together as lie together.
    pub(super) fn of(&self, group: usize) -> impl Iterator<Item = &[[u8; 8]]> {
        let Chain { first, end } = self.groups[group];
        let there = |chunk: u32| (chunk != NONE).then_some(chunk);
        let chunks = std::iter::successors(there(first), move |chunk| there(self.behind[*chunk as usize]));
        chunks.map(move |chunk| {
            let start = chunk as usize * CHUNK;
            let end = if self.behind[chunk as usize] == NONE { end as usize } else { start + CHUNK };
            &self.memory.as_chunks().0[start..end]
        })
    }

    /// Whether a group has no word.
    pub(super) fn is_empty(&self, group: usize) -> bool {
        self.groups[group].first == NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_its_words_in_order_whatever_they_are() {
        let group_of = [|at: u64| at % 7, |at: u64| at * at % 7, |_| 3, |at: u64| (at / 200) % 7];
        let mut used = None;
        for group_of in group_of {
            let words = 10_000;
            let mut sorted = Sorted::with_room(used.take(), words as usize, 7).unwrap();
            (0..words).for_each(|at| sorted.push(group_of(at) as usize, at * 3));
            for group in 0..7 {
                let expected = (0..words).filter(|at| group_of(*at) as usize == group).map(|at| at * 3);
                let found = sorted.of(group).flatten().map(|word| u64::from_ne_bytes(*word));
                assert!(found.eq(expected));
                assert_eq!(sorted.is_empty(group), sorted.of(group).next().is_none());
            }
            used = Some(sorted);
        }
        assert!(Sorted::with_room(used, 20_000, 9).unwrap().is_empty(8), "room for more is made");
    }
}
