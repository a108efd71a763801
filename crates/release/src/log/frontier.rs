//! The right edge of a tree: enough to add leaves and to know the root, in memory that does not grow with the tree.

use blobs::Digest;

use super::merkle::{empty_root, node_hash};
use super::proving::Subtrees;

/// The hashes of the complete subtrees that a tree of this size is made of, the largest and leftmost first.
#[derive(Debug, Clone, Default)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Digest>,
}

impl Frontier {
    /// The edge of the first `size` leaves of a tree. What it is worth shows its root.
    pub fn of<S: Subtrees>(tree: &S, size: u64) -> Result<Self, S::Error> {
        let mut hashes = Vec::new();
        let mut start = 0;
        for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
            hashes.push(tree.complete(level, start >> level)?);
            start += 1 << level;
        }
        Ok(Self { size, hashes })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    pub fn append(&mut self, leaf: Digest) {
        let mut hash = leaf;
        // Each one bit at the end of the size is a complete subtree that the new leaf completes further.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.hashes.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// Root of the tree.
    pub fn root(&self) -> Digest {
        let from_the_right = self.hashes.iter().rev().copied();
        from_the_right.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
    }
}

#[cfg(test)]
mod tests {
    use super::super::merkle::{Tree, leaf_hash};
    use super::*;

    #[test]
    fn the_edge_of_a_tree_grows_to_the_root_of_every_larger_one() {
        let mut tree = Tree::new();
        for index in 0..300u64 {
            tree.append(leaf_hash(&index.to_be_bytes()));
        }
        for begin in [0, 1, 2, 3, 7, 8, 100, 255, 256, 257, 299] {
            let mut edge = Frontier::of(&tree, begin).unwrap();
            for size in begin..=300 {
                assert_eq!((edge.size(), Some(edge.root())), (size, tree.root_at(size)));
                edge.append(leaf_hash(&size.to_be_bytes()));
            }
        }
    }
}
