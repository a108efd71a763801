//! Where each run of fixed length stands in the views of a pass.

/// No position. All others are one more than they say, so that what was never written costs no memory.
const NONE: u32 = 0;

/// A table from hashes to positions. Chains hold every position of a hash, so nothing is forgotten when many are equal.
///
/// Beside the head of each chain stand 16 bits, of which each hash in it has one: most that is not there ends there, and
/// chains are far apart in memory.
pub(crate) struct Positions {
    heads: Vec<u32>,
    bits: Vec<u16>,
    next: Vec<u32>,
    shift: u32,
}

/// Whether a position stays in the table after it was looked at.
#[derive(PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Remove,
}

impl Positions {
    /// A table for about `count` positions, all below `bound`, which is below 2^32 - 1.
    pub(crate) fn below(bound: usize, count: usize) -> Self {
        assert!(bound < u32::MAX as usize, "a pass is smaller than 4 GiB");
        let heads = (count / 2).next_power_of_two().max(2);
        let shift = 64 - heads.trailing_zeros();
        Self { heads: vec![NONE; heads], bits: vec![0; heads], next: vec![NONE; bound], shift }
    }

    /// Adds a position that was not added before.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, position: usize) {
        let (chain, bit) = self.place(hash);
        self.bits[chain] |= bit;
        let head = &mut self.heads[chain];
        self.next[position] = *head;
        *head = position as u32 + 1;
    }

    /// The chain of a hash, and its bit there.
    #[inline]
    fn place(&self, hash: u64) -> (usize, u16) {
        ((hash >> self.shift) as usize, 1 << (hash >> (self.shift - 4) & 15))
    }

    /// Takes out the bits of hashes that are no longer in the chain of this one.
    pub(crate) fn refresh(&mut self, hash: u64, hash_of: impl Fn(usize) -> u64) {
        let (chain, _) = self.place(hash);
        let (mut bits, mut position) = (0, self.heads[chain]);
        while position != NONE {
            let at = position as usize - 1;
            bits |= self.place(hash_of(at)).1;
            position = self.next[at];
        }
        self.bits[chain] = bits;
    }

    /// Shows every position of this hash, and some of others. Returns whether one was removed.
    #[inline]
    pub(crate) fn visit(&mut self, hash: u64, look: impl FnMut(usize) -> Then) -> bool {
        let (chain, bit) = self.place(hash);
        self.bits[chain] & bit != 0 && self.walk(chain, look)
    }

    fn walk(&mut self, head: usize, mut look: impl FnMut(usize) -> Then) -> bool {
        let mut removed = false;
        let mut before = NONE;
        let mut position = self.heads[head];
        while position != NONE {
            let at = position as usize - 1;
            let after = self.next[at];
            let then = look(at);
            removed |= then == Then::Remove;
            match then {
                Then::Keep => before = position,
                Then::Remove if before == NONE => self.heads[head] = after,
                Then::Remove => self.next[before as usize - 1] = after,
            }
            position = after;
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(positions: &mut Positions, hash: u64) -> Vec<usize> {
        let mut all = Vec::new();
        positions.visit(hash, |position| {
            all.push(position);
            Then::Keep
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn every_position_of_a_hash_is_shown_until_it_is_removed() {
        let mut positions = Positions::below(10, 10);
        (0..10).for_each(|position| positions.insert(u64::MAX, position));
        assert_eq!(visited(&mut positions, u64::MAX), Vec::from_iter(0..10));
        let removed = |position| if position % 3 == 0 { Then::Remove } else { Then::Keep };
        positions.visit(u64::MAX, removed);
        assert_eq!(visited(&mut positions, u64::MAX), [1, 2, 4, 5, 7, 8]);
        assert!(visited(&mut positions, 0).is_empty());
        positions.refresh(u64::MAX, |_| u64::MAX);
        assert_eq!(visited(&mut positions, u64::MAX), [1, 2, 4, 5, 7, 8]);
        positions.visit(u64::MAX, |_| Then::Remove);
        positions.refresh(u64::MAX, |_| unreachable!("none is left"));
        assert!(!positions.visit(u64::MAX, |_| unreachable!("none is left")));
    }
}
