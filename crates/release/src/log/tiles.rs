//! The tree as plain files that never change (<https://c2sp.org/tlog-tiles>, v0.1.0): tiles of up to 256 hashes,
//! and bundles of up to 256 entries.

use super::Tree;

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u64 = 256;

/// Levels of the tree that a tile spans.
pub(super) const TILE_HEIGHT: u32 = 8;

/// Why an entry bundle is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It ends inside an entry or inside a length.
    #[error("an entry bundle that ends early")]
    Truncated,
    /// It has more or fewer entries than its name says.
    #[error("an entry bundle with another number of entries")]
    Width,
}

/// A tile or a bundle: its place in the tree, and how many items it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// The level, 0 for leaf hashes; `None` for the entries themselves.
    pub level: Option<u32>,
    /// Its number on the level, from 0.
    pub index: u64,
    /// Its items: 256, or fewer for the last one of a level.
    pub width: u64,
}

impl Tile {
    /// Its path below the log's directory: `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
    pub fn path(&self) -> String {
        let level = self.level.map_or("entries".to_owned(), |level| level.to_string());
        let partial = if self.width == TILE_WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{level}/{}{partial}", index_path(self.index))
    }

    /// The hashes of a tile of this tree, one after the other. Nothing if the tree does not have it, or if it is a
    /// bundle.
    pub fn hashes(&self, tree: &Tree) -> Option<Vec<u8>> {
        let level = self.level?.checked_mul(TILE_HEIGHT)?;
        let first = self.index.checked_mul(TILE_WIDTH)?;
        let mut bytes = Vec::new();
        for item in first..first + self.width {
            bytes.extend_from_slice(tree.subtree(level, item)?.as_bytes());
        }
        Some(bytes)
    }
}

/// Every tile and bundle that a tree of size `new` has and one of size `old` has not: what a log writes when it grows.
pub fn new_tiles(old: u64, new: u64) -> Vec<Tile> {
    let mut tiles: Vec<_> = level_tiles(None, old, new).collect();
    let mut level = 0;
    while new >> (level * TILE_HEIGHT) > 0 {
        let shift = level * TILE_HEIGHT;
        tiles.extend(level_tiles(Some(level), old >> shift, new >> shift));
        level += 1;
    }
    tiles
}

fn level_tiles(level: Option<u32>, old: u64, new: u64) -> impl Iterator<Item = Tile> {
    let tile = move |index: u64| Tile { level, index, width: (new - index * TILE_WIDTH).min(TILE_WIDTH) };
    let end = if old == new { old / TILE_WIDTH } else { new.div_ceil(TILE_WIDTH) };
    (old / TILE_WIDTH..end).map(tile)
}

/// Every bundle of entries of a tree of this size, in order.
pub fn bundles(size: u64) -> Vec<Tile> {
    bundles_from(0, size).collect()
}

/// The bundles that hold the entries from `old` up to `new`, in order. The first may begin before `old`. They are named one
/// by one: a mirror that says its log has 2⁶⁴ entries must not take that much memory before the first is missing.
pub fn bundles_from(old: u64, new: u64) -> impl Iterator<Item = Tile> {
    level_tiles(None, old, new)
}

/// A tile's number as path: three digits an element, all but the last after an `x`.
fn index_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

/// The bytes of a bundle: each entry after its length as 16 bits, the most significant byte first.
///
/// Panics if an entry is longer than 65,535 bytes; a [`Leaf`](super::Leaf) never is.
pub fn write_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).expect("leaves fit into a bundle");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    bytes
}

/// The entries of a bundle that must have `width` of them.
pub fn read_bundle(mut bytes: &[u8], width: u64) -> Result<Vec<Vec<u8>>, BundleError> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or(BundleError::Truncated)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, rest) = rest.split_at_checked(length).ok_or(BundleError::Truncated)?;
        entries.push(entry.to_vec());
        bytes = rest;
    }
    if entries.len() as u64 == width { Ok(entries) } else { Err(BundleError::Width) }
}

#[cfg(test)]
mod tests {
    use super::super::merkle;
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |level, index, width| Tile { level, index, width }.path();
        assert_eq!(path(Some(0), 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path(Some(1), 0, 17), "tile/1/000.p/17");
        assert_eq!(path(None, 999, 256), "tile/entries/999");
        assert_eq!(path(None, 1000, 1), "tile/entries/x001/000.p/1");
    }

    #[test]
    fn a_tree_of_70000_leaves_has_the_tiles_that_the_specification_counts() {
        let tiles = new_tiles(0, 70_000);
        let count = |level, full| {
            tiles.iter().filter(|tile| tile.level == level && (tile.width == TILE_WIDTH) == full).count()
        };
        let partial =
            |level| tiles.iter().find(|tile| tile.level == level && tile.width < TILE_WIDTH).unwrap().width;
        assert_eq!((count(Some(0), true), partial(Some(0))), (273, 112));
        assert_eq!((count(Some(1), true), partial(Some(1))), (1, 17));
        assert_eq!((count(Some(2), true), partial(Some(2))), (0, 1));
        assert_eq!((count(None, true), partial(None)), (273, 112));
        assert_eq!(tiles.len(), 274 + 274 + 2 + 1);
        assert_eq!(bundles(70_000).len(), 274);
    }

    #[test]
    fn a_tree_of_256_leaves_has_a_full_tile_and_one_above_it() {
        let paths: Vec<_> = new_tiles(255, 256).iter().map(Tile::path).collect();
        assert_eq!(paths, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(new_tiles(256, 256), []);
    }

    #[test]
    fn the_hashes_of_tiles_are_those_of_their_subtrees() {
        let mut tree = Tree::new();
        (0..600u64).for_each(|leaf| {
            tree.append(merkle::leaf_hash(&leaf.to_be_bytes()));
        });
        let above = Tile { level: Some(1), index: 0, width: 2 }.hashes(&tree).unwrap();
        let mut below = Tree::new();
        let leaves = Tile { level: Some(0), index: 0, width: 256 }.hashes(&tree).unwrap();
        for hash in leaves.chunks_exact(32) {
            below.append(blobs::Digest::from_bytes(hash.try_into().unwrap()));
        }
        assert_eq!(&above[..32], below.root().as_bytes());
        assert_eq!(Tile { level: Some(1), index: 0, width: 3 }.hashes(&tree), None);
    }

    #[test]
    fn a_bundle_gives_back_its_entries_and_nothing_shorter_or_longer() {
        let entries: [&[u8]; 3] = [b"", b"a", &[7; 65_535]];
        let bytes = write_bundle(entries);
        assert_eq!(read_bundle(&bytes, 3).unwrap(), entries);
        assert_eq!(read_bundle(&bytes, 2), Err(BundleError::Width));
        assert_eq!(read_bundle(&bytes[..bytes.len() - 1], 3), Err(BundleError::Truncated));
        assert_eq!(read_bundle(&[0], 0), Err(BundleError::Truncated));
    }
}
