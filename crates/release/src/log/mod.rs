//! The public log: what a leaf is, how leaves are hashed into a tree, how the tree's head is signed and witnessed,
//! and how a reader checks one leaf without the log.
//!
//! Everything here is pure: bytes in, bytes or a named refusal out. Whoever keeps a log (the signer) or a head (a
//! witness) writes files itself. Formats, with their sources, are in `docs/formats/log.md`:
//!
//! - [`leaf`]: the text of one entry, rebuilt by a verifier from the statement itself.
//! - [`merkle`]: RFC 6962 hashes, the tree, inclusion and consistency proofs.
//! - [`note`]: C2SP signed notes and their keys.
//! - [`checkpoint`]: the tree's head, signed by the log (0x01) and cosigned by witnesses (0x04).
//! - [`proving`], [`frontier`], [`tiled`]: roots and proofs from a tree in memory, its right edge, or a mirror's tiles.
//! - [`proof`]: `c2sp.org/tlog-proof@v1`, one leaf's evidence in one text.
//! - [`socket`]: the messages between console and signer.
//! - [`tiles`]: `c2sp.org/tlog-tiles`, the tree as plain immutable files.
//! - [`witness`]: `c2sp.org/tlog-witness`, what a witness answers.

pub mod checkpoint;
pub mod frontier;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod proving;
pub mod socket;
pub mod tiled;
pub mod tiles;
pub mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, Cosigned};
pub use leaf::{Event, Leaf, LeafError, LeafSignature};
pub use merkle::{MerkleError, Tree};
pub use note::{KeyType, Note, NoteError, NoteSignature, VerifierKey};
pub use proof::{LOG_PROOF_LIMIT, LogProof, ProofError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::Digest;

/// Most hashes in one proof. A tree of 2^63 leaves needs no more.
pub const PROOF_LIMIT: usize = 63;

/// A number as the log's texts write it: decimal, without leading zeros.
fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    // Otherwise `+5` and `05` would be second texts of 5.
    (number.to_string() == text).then_some(number)
}

/// Bytes as the log's texts write them: base64 with padding, one text for each value.
fn parse_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text).ok()?;
    (STANDARD.encode(&bytes) == text).then_some(bytes)
}

fn parse_hash(text: &str) -> Option<Digest> {
    let bytes: [u8; 32] = parse_base64(text)?.try_into().ok()?;
    Some(Digest::from_bytes(bytes))
}

fn hash_text(hash: &Digest) -> String {
    STANDARD.encode(hash.as_bytes())
}

#[cfg(test)]
mod tests;
