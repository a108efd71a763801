//! The Merkle tree of RFC 6962, section 2.1, over SHA-256: hashes, the tree, and both kinds of proof.

use blobs::{Digest, Hasher};

use super::proving::Subtrees;

/// A proof that does not hold, or that nobody can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    /// The leaf's index is not below the tree's size.
    #[error("the leaf's index is not below the tree's size")]
    IndexPastSize,
    /// The old tree is larger than the new one, or larger than the tree here.
    #[error("the older tree is the larger one")]
    SizesReversed,
    /// The proof has another number of hashes than index and sizes demand.
    #[error("the proof has too few or too many hashes")]
    ProofLength,
    /// The proof leads to another root.
    #[error("the proof leads to another root")]
    RootDiffers,
}

/// Hash of a leaf: SHA-256 of 0x00 and its bytes.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    // Without the two prefixes a node's 64 bytes could be passed off as a leaf, and the reverse.
    hash(&[&[0x00], leaf])
}

/// Hash of an inner node: SHA-256 of 0x01 and its two children.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    hash(&[&[0x01], left.as_bytes(), right.as_bytes()])
}

/// Root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

fn hash(parts: &[&[u8]]) -> Digest {
    let mut hasher = Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finish().0
}

/// A tree that grows at its right end. It keeps the hash of every complete subtree (64 bytes a leaf), so that an
/// append, a root and a proof each take a number of steps logarithmic in its size, also for past sizes.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// `levels[k][i]` is the hash of the leaves from `i * 2^k` up to `(i + 1) * 2^k`.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Adds a leaf by its hash and returns its index.
    pub fn append(&mut self, leaf: Digest) -> u64 {
        let index = self.size();
        let mut hash = leaf;
        let mut level = 0;
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(hash);
            match *self.levels[level].as_slice() {
                [.., left, right] if self.levels[level].len().is_multiple_of(2) => {
                    hash = node_hash(&left, &right)
                }
                _ => return index,
            }
            level += 1;
        }
    }

    /// Hash of the complete subtree number `index` of 2^`level` leaves, if the tree has it.
    pub fn subtree(&self, level: u32, index: u64) -> Option<Digest> {
        self.levels.get(level as usize)?.get(usize::try_from(index).ok()?).copied()
    }

    /// Root of the whole tree.
    pub fn root(&self) -> Digest {
        self.root_of(self.size()).expect("a tree has its own subtrees")
    }

    /// Root of the first `size` leaves, if there are so many.
    pub fn root_at(&self, size: u64) -> Option<Digest> {
        self.root_of(size).ok()
    }

    /// Proof that leaf `index` is in the tree of the first `size` leaves, as [`Subtrees::prove_inclusion`] has it.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Digest>, MerkleError> {
        self.prove_inclusion(index, size)
    }

    /// Proof that the first `old` leaves of the first `new` ones are the tree that it was at size `old`, as
    /// [`Subtrees::prove_consistency`] has it.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Digest>, MerkleError> {
        self.prove_consistency(old, new)
    }
}

impl Subtrees for Tree {
    type Error = MerkleError;

    fn leaves(&self) -> u64 {
        self.size()
    }

    fn complete(&self, level: u32, index: u64) -> Result<Digest, MerkleError> {
        self.subtree(level, index).ok_or(MerkleError::SizesReversed)
    }
}

/// Checks that the leaf with this hash is number `index` of the tree with `size` leaves and this root
/// (RFC 9162, 2.1.3.2). The proof must have exactly as many hashes as index and size demand.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), MerkleError> {
    if index >= size {
        return Err(MerkleError::IndexPastSize);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(MerkleError::ProofLength);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(MerkleError::ProofLength);
    }
    if hash == *root { Ok(()) } else { Err(MerkleError::RootDiffers) }
}

/// Checks that the tree of size `old` with root `old_root` is the beginning of the tree of size `new` with root
/// `new_root` (RFC 9162, 2.1.4.2). The empty tree is the beginning of every tree.
pub fn verify_consistency(
    old: u64,
    old_root: &Digest,
    new: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), MerkleError> {
    if old > new {
        return Err(MerkleError::SizesReversed);
    }
    if old == 0 || old == new {
        return trivially_consistent(old, old_root, new, new_root, proof);
    }
    // A complete old tree is its own first hash, and the proof leaves it out.
    let (first, rest) = match proof {
        _ if old.is_power_of_two() => (old_root, proof),
        [first, rest @ ..] => (first, rest),
        [] => return Err(MerkleError::ProofLength),
    };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(MerkleError::ProofLength);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(MerkleError::ProofLength);
    }
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(MerkleError::RootDiffers) }
}

fn trivially_consistent(
    old: u64,
    old_root: &Digest,
    new: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), MerkleError> {
    if !proof.is_empty() {
        return Err(MerkleError::ProofLength);
    }
    let empty_is_empty = |size: u64, root: &Digest| size != 0 || *root == empty_root();
    let same = old != new || old_root == new_root;
    if same && empty_is_empty(old, old_root) && empty_is_empty(new, new_root) {
        Ok(())
    } else {
        Err(MerkleError::RootDiffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u64 = 65;

    fn leaf(index: u64) -> Digest {
        leaf_hash(&index.to_be_bytes())
    }

    fn tree(size: u64) -> Tree {
        let mut tree = Tree::new();
        (0..size).for_each(|index| assert_eq!(tree.append(leaf(index)), index));
        tree
    }

    /// MTH as RFC 6962 writes it, without memory: the oracle.
    fn root_by_recursion(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&root_by_recursion(left), &root_by_recursion(right))
            }
        }
    }

    /// The eight leaves and roots of certificate-transparency-go and transparency-dev/merkle.
    #[test]
    fn roots_are_those_of_the_reference_tree() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::new();
        assert_eq!(
            tree.root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (bytes, root) in leaves.iter().zip(roots) {
            tree.append(leaf_hash(bytes));
            assert_eq!(tree.root().to_string(), root);
        }
    }

    #[test]
    fn every_root_is_the_one_of_the_recursion() {
        let tree = tree(LARGEST);
        let leaves: Vec<_> = (0..LARGEST).map(leaf).collect();
        for size in 0..=LARGEST {
            assert_eq!(tree.root_at(size), Some(root_by_recursion(&leaves[..size as usize])));
        }
        assert_eq!(tree.root_at(LARGEST + 1), None);
    }

    #[test]
    fn every_inclusion_proof_holds_for_its_leaf_alone() {
        let tree = tree(LARGEST);
        for size in 1..=LARGEST {
            let root = tree.root_at(size).unwrap();
            for index in 0..size {
                let proof = tree.inclusion_proof(index, size).unwrap();
                assert_eq!(verify_inclusion(&leaf(index), index, size, &proof, &root), Ok(()));
                assert!(verify_inclusion(&leaf(index + 1), index, size, &proof, &root).is_err());
                for other in (0..size).filter(|other| *other != index) {
                    assert!(verify_inclusion(&leaf(index), other, size, &proof, &root).is_err());
                }
            }
        }
    }

    #[test]
    fn an_inclusion_proof_with_one_hash_more_less_or_changed_is_refused() {
        let tree = tree(LARGEST);
        for size in 1..=LARGEST {
            let root = tree.root_at(size).unwrap();
            for index in 0..size {
                let proof = tree.inclusion_proof(index, size).unwrap();
                let refused = |proof: &[Digest]| verify_inclusion(&leaf(index), index, size, proof, &root);
                for wrong in with_one_defect(&proof) {
                    assert!(refused(&wrong).is_err(), "index {index} size {size}");
                }
                assert_eq!(refused(&[proof, vec![root]].concat()), Err(MerkleError::ProofLength));
            }
        }
    }

    #[test]
    fn an_index_at_or_past_the_size_is_refused() {
        let tree = tree(4);
        let root = tree.root();
        for (index, size) in [(0, 0), (4, 4), (5, 4), (u64::MAX, 4), (u64::MAX, u64::MAX)] {
            assert_eq!(verify_inclusion(&leaf(0), index, size, &[], &root), Err(MerkleError::IndexPastSize));
        }
        assert_eq!(tree.inclusion_proof(4, 4), Err(MerkleError::IndexPastSize));
        assert_eq!(tree.inclusion_proof(0, 5), Err(MerkleError::SizesReversed));
    }

    #[test]
    fn every_consistency_proof_holds_and_with_one_defect_does_not() {
        let tree = tree(LARGEST);
        for new in 0..=LARGEST {
            let new_root = tree.root_at(new).unwrap();
            for old in 0..=new {
                let old_root = tree.root_at(old).unwrap();
                let proof = tree.consistency_proof(old, new).unwrap();
                let verify = |proof: &[Digest]| verify_consistency(old, &old_root, new, &new_root, proof);
                assert_eq!(verify(&proof), Ok(()), "{old} to {new}");
                for wrong in with_one_defect(&proof) {
                    assert!(verify(&wrong).is_err(), "{old} to {new}");
                }
                assert_eq!(verify(&[proof.clone(), vec![new_root]].concat()), Err(MerkleError::ProofLength));
                // From nothing to something any root will do: nothing was promised.
                if old != 0 {
                    let other = leaf(1000);
                    assert!(verify_consistency(old, &other, new, &new_root, &proof).is_err());
                    assert!(verify_consistency(old, &old_root, new, &other, &proof).is_err());
                }
            }
        }
    }

    #[test]
    fn a_tree_does_not_shrink_and_the_empty_root_is_fixed() {
        let tree = tree(3);
        let root = tree.root();
        assert_eq!(verify_consistency(3, &root, 2, &root, &[]), Err(MerkleError::SizesReversed));
        assert_eq!(tree.consistency_proof(3, 2), Err(MerkleError::SizesReversed));
        assert_eq!(tree.consistency_proof(1, 4), Err(MerkleError::SizesReversed));
        assert_eq!(verify_consistency(0, &root, 3, &root, &[]), Err(MerkleError::RootDiffers));
        assert_eq!(verify_consistency(0, &empty_root(), 0, &root, &[]), Err(MerkleError::RootDiffers));
    }

    fn with_one_defect(proof: &[Digest]) -> Vec<Vec<Digest>> {
        let mut wrong = Vec::new();
        for place in 0..proof.len() {
            let mut changed = proof.to_vec();
            changed[place] = leaf(999);
            wrong.push(changed);
            let mut shorter = proof.to_vec();
            shorter.remove(place);
            wrong.push(shorter);
        }
        wrong
    }
}
