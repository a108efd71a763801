//! A tree that is read from the tiles of a mirror, as far as it is asked for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use blobs::Digest;

use super::merkle::{MerkleError, Tree};
use super::proving::Subtrees;
use super::tiles::{TILE_HEIGHT, TILE_WIDTH, Tile};

/// Most tiles that are kept: 16 KiB each with the hashes between theirs.
const KEPT_LIMIT: usize = 2048;

/// Why a hash cannot be had from tiles.
#[derive(Debug, thiserror::Error)]
pub enum TiledError {
    /// A tile cannot be read.
    #[error("a tile cannot be read")]
    Io(#[from] io::Error),
    /// A tile is not there, or shorter than its name says.
    #[error("the tile {0} is not there or too short")]
    Missing(String),
    /// There is no such proof.
    #[error(transparent)]
    Merkle(#[from] MerkleError),
}

/// The tree of a head, by its tiles. Nothing that it says is to be believed before a proof of it was held against a
/// root.
pub struct TiledTree<R> {
    size: u64,
    read: R,
    kept: RefCell<HashMap<(u32, u64), Rc<Tree>>>,
}

impl<R: Fn(&str) -> io::Result<Option<Vec<u8>>>> TiledTree<R> {
    /// The tree of this many leaves. `read` gives the file at a path below the log's directory, if it is there.
    pub fn new(size: u64, read: R) -> Self {
        Self { size, read, kept: RefCell::default() }
    }

    fn tile(&self, level: u32, index: u64) -> Result<Rc<Tree>, TiledError> {
        if let Some(kept) = self.kept.borrow().get(&(level, index)) {
            return Ok(kept.clone());
        }
        let width = ((self.size >> (level * TILE_HEIGHT)) - index * TILE_WIDTH).min(TILE_WIDTH);
        let named = Tile { level: Some(level), index, width };
        let full = Tile { width: TILE_WIDTH, ..named };
        // A log may take a part away once the full tile is there, which begins with it.
        let bytes = match (self.read)(&named.path())? {
            Some(bytes) => bytes,
            None => (self.read)(&full.path())?.ok_or_else(|| TiledError::Missing(named.path()))?,
        };
        let hashes = bytes.get(..width as usize * 32).ok_or_else(|| TiledError::Missing(named.path()))?;
        let mut tree = Tree::new();
        for hash in hashes.chunks_exact(32) {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(hash);
            tree.append(Digest::from_bytes(bytes));
        }
        let tree = Rc::new(tree);
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT_LIMIT {
            kept.clear();
        }
        kept.insert((level, index), tree.clone());
        Ok(tree)
    }
}

impl<R: Fn(&str) -> io::Result<Option<Vec<u8>>>> Subtrees for TiledTree<R> {
    type Error = TiledError;

    fn leaves(&self) -> u64 {
        self.size
    }

    fn complete(&self, level: u32, index: u64) -> Result<Digest, TiledError> {
        let (tile_level, above) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << above;
        let tile = self.tile(tile_level, first / TILE_WIDTH)?;
        let within = (first % TILE_WIDTH) >> above;
        tile.subtree(above, within).ok_or(TiledError::Merkle(MerkleError::IndexPastSize))
    }
}

#[cfg(test)]
mod tests {
    use super::super::merkle::{leaf_hash, verify_consistency, verify_inclusion};
    use super::super::tiles::new_tiles;
    use super::*;

    const SIZE: u64 = 70_000;

    /// A log that wrote its tiles at two sizes, and the tree in memory.
    fn log() -> (Tree, HashMap<String, Vec<u8>>) {
        let mut tree = Tree::new();
        let mut files = HashMap::new();
        let mut written = 0;
        for size in [300, SIZE] {
            for leaf in written..size {
                tree.append(leaf_hash(&leaf.to_be_bytes()));
            }
            let tiles = new_tiles(written, size).into_iter().filter(|tile| tile.level.is_some());
            files.extend(tiles.map(|tile| (tile.path(), tile.hashes(&tree).unwrap())));
            written = size;
        }
        (tree, files)
    }

    #[test]
    fn proofs_from_tiles_are_those_of_the_tree_and_touch_few_of_them() {
        let (tree, files) = log();
        let touched = RefCell::new(Vec::new());
        let tiled = TiledTree::new(SIZE, |path: &str| {
            touched.borrow_mut().push(path.to_owned());
            Ok(files.get(path).cloned())
        });
        assert_eq!(tiled.root_of(SIZE).unwrap(), tree.root());
        assert!(touched.borrow().len() <= 3, "{:?}", touched.borrow());
        for index in [0, 1, 255, 256, 65_535, 65_536, SIZE - 1] {
            let proof = tiled.prove_inclusion(index, SIZE).unwrap();
            assert_eq!(proof, tree.inclusion_proof(index, SIZE).unwrap());
            verify_inclusion(&leaf_hash(&index.to_be_bytes()), index, SIZE, &proof, &tree.root()).unwrap();
        }
        for old in [1, 255, 256, 257, 300, 65_536, SIZE] {
            let proof = tiled.prove_consistency(old, SIZE).unwrap();
            verify_consistency(old, &tree.root_at(old).unwrap(), SIZE, &tree.root(), &proof).unwrap();
        }
        assert!(touched.borrow().len() <= 16, "{:?}", touched.borrow());
    }

    #[test]
    fn the_tiles_of_a_larger_tree_serve_a_smaller_one() {
        let (tree, mut files) = log();
        files.retain(|path, _| !path.contains(".p/44"));
        let tiled = TiledTree::new(300, |path: &str| Ok(files.get(path).cloned()));
        assert_eq!(Some(tiled.root_of(300).unwrap()), tree.root_at(300));
    }

    #[test]
    fn a_tile_that_is_missing_or_cut_is_named() {
        let (_, files) = log();
        let without = TiledTree::new(SIZE, |_: &str| Ok(None));
        assert!(matches!(without.root_of(SIZE), Err(TiledError::Missing(path)) if path == "tile/2/000.p/1"));
        let cut = TiledTree::new(SIZE, |path: &str| {
            Ok(files.get(path).map(|bytes| bytes[..bytes.len() - 1].to_vec()))
        });
        assert!(matches!(cut.root_of(SIZE), Err(TiledError::Missing(_))));
    }
}
