//! One leaf's evidence in one text (<https://c2sp.org/tlog-proof>, not tagged; as of 2026-07-22).

use std::fmt;

use blobs::Digest;

use super::checkpoint::{self, Checkpoint, CheckpointError, Cosigned};
use super::note::{NOTE_LIMIT, Note, NoteError, VerifierKey};
use super::{Leaf, MerkleError, PROOF_LIMIT, hash_text, merkle, parse_decimal, parse_hash};

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Largest proof in bytes.
pub const LOG_PROOF_LIMIT: usize = NOTE_LIMIT + 8 * 1024;

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Longer than [`LOG_PROOF_LIMIT`].
    #[error("a log proof of more than {LOG_PROOF_LIMIT} bytes")]
    TooLarge,
    /// Not the text of a proof. An `extra` line is refused too: nobody signs it.
    #[error("not the text of a log proof")]
    Text,
    /// The checkpoint is refused.
    #[error("the checkpoint of the log proof is refused")]
    Checkpoint(#[from] CheckpointError),
    /// The leaf is not where the proof says.
    #[error("the leaf is not in the tree of the checkpoint")]
    Inclusion(#[from] MerkleError),
}

impl From<NoteError> for ProofError {
    fn from(error: NoteError) -> Self {
        Self::Checkpoint(error.into())
    }
}

/// Where a leaf stands, the way up to the root, and the signed root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    /// The leaf's index, from 0.
    pub index: u64,
    /// The hashes beside the way from leaf to root, the leaf's sibling first.
    pub hashes: Vec<Digest>,
    /// The checkpoint, with whatever cosignatures it has.
    pub checkpoint: Note,
}

impl LogProof {
    /// Reads a proof. It says nothing yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > LOG_PROOF_LIMIT {
            return Err(ProofError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProofError::Text)?;
        let (head, note) = text.split_once("\n\n").ok_or(ProofError::Text)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(ProofError::Text);
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(parse_decimal);
        let index = index.ok_or(ProofError::Text)?;
        let hashes = lines.map(parse_hash).collect::<Option<Vec<_>>>().ok_or(ProofError::Text)?;
        if hashes.len() > PROOF_LIMIT {
            return Err(ProofError::Text);
        }
        Ok(Self { index, hashes, checkpoint: Note::parse(note.as_bytes())? })
    }

    /// Checks that the log signed a tree in which exactly this leaf stands at the index, and returns that tree's
    /// head and who witnessed it. How many witnesses are enough, and when, the caller decides
    /// ([`checkpoint::quorum`]).
    pub fn verify(
        &self,
        leaf: &Leaf,
        log: &VerifierKey,
        witnesses: &[VerifierKey],
    ) -> Result<(Checkpoint, Vec<Cosigned>), ProofError> {
        let head = Checkpoint::open(&self.checkpoint, log)?;
        // The size comes from the signed head alone: one taken from elsewhere would let an inner node pass as leaf.
        merkle::verify_inclusion(&leaf.hash(), self.index, head.size, &self.hashes, &head.root)?;
        Ok((head, checkpoint::cosignatures(&self.checkpoint, witnesses)?))
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{HEADER}\nindex {}\n", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(formatter, "{}", hash_text(hash)))?;
        write!(formatter, "\n{}", self.checkpoint)
    }
}
