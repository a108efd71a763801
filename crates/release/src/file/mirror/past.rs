//! Whether a release was proven in the log that the mirror shows, or in another one.

use std::cell::RefCell;
use std::collections::BTreeMap;

use blobs::Digest;

use super::{Found, Mirror, from_tiles, tiles_of};
use crate::file::examination::{Outcome, Rows};
use crate::file::log_check;
use crate::file::verify::LoggedRelease;
use crate::log::proving::Subtrees as _;
use crate::log::tiled::TiledError;
use crate::log::{Checkpoint, Event, merkle};
use crate::refusal::Refusal;

/// The mirror's log up to its head, and what releases show of it beyond.
pub(super) struct Past<'a> {
    mirror: &'a dyn Mirror,
    head: &'a Checkpoint,
    tiles: Tiles<'a>,
    /// Roots of larger heads, under which releases were proven.
    newer: RefCell<BTreeMap<u64, Digest>>,
}

type Tiles<'a> = crate::log::tiled::TiledTree<super::ReadTile<'a>>;

impl<'a> Past<'a> {
    pub(super) fn of(mirror: &'a dyn Mirror, head: &'a Checkpoint) -> Self {
        Self { mirror, head, tiles: tiles_of(mirror, head.size), newer: RefCell::default() }
    }

    /// Refuses a release that was proven in another past than this log's. Its leaf is under the head of its own proof; that
    /// head being the beginning of the mirror's, it is in the mirror's tree too, at the same place.
    ///
    /// A head may be larger than the mirror's, as when files are copied while the box works. Then the leaf itself is looked
    /// for in the mirror's tree, and the mirror's head must be the beginning of the larger one, as far as the tiles are
    /// there to show it. What could not be shown is said.
    pub(super) fn compare(&self, release: &LoggedRelease, rows: &mut Rows) -> Found<()> {
        let own = &release.witnessed().head;
        if own.size <= self.head.size {
            let proof = from_tiles(self.tiles.prove_consistency(own.size, self.head.size))?;
            return Ok(proof.and_then(|proof| is_beginning(own, self.head, &proof)));
        }
        if let Err(refusal) = self.included(release)? {
            return Ok(Err(refusal));
        }
        let root = *self.newer.borrow_mut().entry(own.size).or_insert(own.root);
        if root != own.root {
            return Ok(Err(Refusal::LogEntries));
        }
        match tiles_of(self.mirror, own.size).prove_consistency(self.head.size, own.size) {
            Ok(proof) => return Ok(is_beginning(self.head, own, &proof)),
            Err(TiledError::Io(error)) => return Err(error),
            Err(TiledError::Missing(_) | TiledError::Merkle(_)) => {}
        }
        let said = format!(
            "proven under a head of {} leaves, newer than the mirror's {}, whose tiles are not here: not compared",
            own.size, self.head.size
        );
        rows.say(&format!("release {}", release.manifest_digest()), Outcome::NotChecked, said);
        Ok(Ok(()))
    }

    /// Whether the leaf stands at its place under the mirror's head, if that head reaches so far.
    fn included(&self, release: &LoggedRelease) -> Found<()> {
        let (index, head) = (release.witnessed().index, self.head);
        if index >= head.size {
            return Ok(Ok(()));
        }
        let signer = &release.site().roles().box_keys.signer;
        let leaf = match log_check::leaf(Event::Release, release.manifest_envelope(), signer) {
            Ok(leaf) => leaf,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let proof = from_tiles(self.tiles.prove_inclusion(index, head.size))?;
        Ok(proof.and_then(|proof| {
            merkle::verify_inclusion(&leaf.hash(), index, head.size, &proof, &head.root)
                .map_err(|_| Refusal::LogEntries)
        }))
    }
}

fn is_beginning(old: &Checkpoint, new: &Checkpoint, proof: &[Digest]) -> Result<(), Refusal> {
    merkle::verify_consistency(old.size, &old.root, new.size, &new.root, proof)
        .map_err(|_| Refusal::LogEntries)
}
