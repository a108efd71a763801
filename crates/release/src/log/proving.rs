//! Roots and proofs from the hashes of complete subtrees, wherever these come from: a tree in memory, or tiles.

use blobs::Digest;

use super::merkle::{MerkleError, empty_root, node_hash};

/// Whoever knows the hashes of the complete subtrees of a tree.
pub trait Subtrees {
    /// Why a hash cannot be had, or a proof not be given.
    type Error: From<MerkleError>;

    /// Number of leaves.
    fn leaves(&self) -> u64;

    /// Hash of the complete subtree number `index` of 2^`level` leaves. It is asked for subtrees within the tree only.
    fn complete(&self, level: u32, index: u64) -> Result<Digest, Self::Error>;

    /// Root of the first `size` leaves.
    fn root_of(&self, size: u64) -> Result<Digest, Self::Error> {
        if size > self.leaves() {
            return Err(MerkleError::SizesReversed.into());
        }
        range_hash(self, 0, size)
    }

    /// Proof that leaf `index` is in the tree of the first `size` leaves (RFC 6962, 2.1.1), the leaf's sibling
    /// first.
    fn prove_inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, Self::Error> {
        if size > self.leaves() {
            return Err(MerkleError::SizesReversed.into());
        }
        if index >= size {
            return Err(MerkleError::IndexPastSize.into());
        }
        let mut proof = Vec::new();
        let (mut start, mut end) = (0, size);
        while end - start > 1 {
            let middle = start + left_size(end - start);
            if index < middle {
                proof.push(range_hash(self, middle, end)?);
                end = middle;
            } else {
                proof.push(range_hash(self, start, middle)?);
                start = middle;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    /// Proof that the first `old` leaves of the first `new` ones are the tree that it was at size `old`
    /// (RFC 6962, 2.1.2). Empty for equal sizes and for `old` 0.
    fn prove_consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, Self::Error> {
        if old > new || new > self.leaves() {
            return Err(MerkleError::SizesReversed.into());
        }
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        let mut proof = Vec::new();
        let (mut start, mut end) = (0, new);
        while end != old {
            let middle = start + left_size(end - start);
            if old <= middle {
                proof.push(range_hash(self, middle, end)?);
                end = middle;
            } else {
                proof.push(range_hash(self, start, middle)?);
                start = middle;
            }
        }
        // When the old tree is one complete subtree, the verifier has its hash already: the old root.
        if start != 0 {
            proof.push(range_hash(self, start, end)?);
        }
        proof.reverse();
        Ok(proof)
    }
}

/// Hash of the leaves from `start` up to `end`, where `start` is as the recursion of RFC 6962 reaches it.
fn range_hash<S: Subtrees + ?Sized>(tree: &S, start: u64, end: u64) -> Result<Digest, S::Error> {
    let count = end - start;
    if count == 0 {
        return Ok(empty_root());
    }
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return tree.complete(level, start >> level);
    }
    let middle = start + left_size(count);
    Ok(node_hash(&range_hash(tree, start, middle)?, &range_hash(tree, middle, end)?))
}

/// The largest power of two below `count`, which is at least 2: how many leaves go to the left.
fn left_size(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}
