//! What a witness answers (<https://c2sp.org/tlog-witness>, v1.0.0, `add-checkpoint`): a request, a rule, an answer.
//!
//! The rule looks at the head that the witness remembers and says what to remember next. Its caller must do both
//! and the cosigning under one lock, and make the new head durable before it answers: a witness that forgets can be
//! shown a second history.

use std::fmt;

use blobs::Digest;

use super::checkpoint::Checkpoint;
use super::note::{NOTE_LIMIT, Note, VerifierKey};
use super::{CheckpointError, PROOF_LIMIT, hash_text, merkle, parse_decimal, parse_hash};

/// Largest request in bytes.
pub const REQUEST_LIMIT: usize = NOTE_LIMIT + 8 * 1024;

/// A log's wish to have a head cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the head that the witness cosigned last, as far as the log knows.
    pub old: u64,
    /// Proof that the new tree continues that one.
    pub proof: Vec<Digest>,
    /// The new head, signed by the log.
    pub checkpoint: Note,
}

/// A head that a witness has cosigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Digest,
}

impl Head {
    /// The head of a log that was never cosigned.
    pub fn empty() -> Self {
        Self { size: 0, root: merkle::empty_root() }
    }
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WitnessRefusal {
    /// The request is not one, or names an old size above the new one.
    #[error("not a request to cosign a checkpoint")]
    Malformed,
    /// A log that this witness does not know.
    #[error("a log that this witness does not know")]
    UnknownLog,
    /// The log's signature is missing or does not verify.
    #[error("the log has not signed this checkpoint")]
    NotSigned,
    /// The witness has cosigned another size than the request names.
    #[error("the witness has cosigned size {size}")]
    Conflict {
        /// The size that it has cosigned.
        size: u64,
    },
    /// The new tree does not continue the old one, or this is not shown.
    #[error("the new tree is not shown to continue the old one")]
    Inconsistent,
}

impl WitnessRefusal {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::NotSigned => 403,
            Self::UnknownLog => 404,
            Self::Conflict { .. } => 409,
            Self::Inconsistent => 422,
        }
    }

    /// The body of the answer and its content type. A conflict tells the size, so that the log can catch up.
    pub fn body(self) -> (String, &'static str) {
        match self {
            Self::Conflict { size } => (format!("{size}\n"), "text/x.tlog.size"),
            other => (format!("{other}\n"), "text/plain; charset=utf-8"),
        }
    }
}

impl AddCheckpoint {
    /// Reads the body of a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, WitnessRefusal> {
        let text = std::str::from_utf8(bytes).map_err(|_| WitnessRefusal::Malformed)?;
        if bytes.len() > REQUEST_LIMIT {
            return Err(WitnessRefusal::Malformed);
        }
        let (head, note) = text.split_once("\n\n").ok_or(WitnessRefusal::Malformed)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(parse_decimal);
        let old = old.ok_or(WitnessRefusal::Malformed)?;
        let proof = lines.map(parse_hash).collect::<Option<Vec<_>>>().ok_or(WitnessRefusal::Malformed)?;
        if proof.len() > PROOF_LIMIT {
            return Err(WitnessRefusal::Malformed);
        }
        let checkpoint = Note::parse(note.as_bytes()).map_err(|_| WitnessRefusal::Malformed)?;
        Ok(Self { old, proof, checkpoint })
    }

    /// The origin that the checkpoint claims, so that the caller can look up key and head.
    pub fn origin(&self) -> Result<String, WitnessRefusal> {
        Checkpoint::parse_of_any_log(self.checkpoint.text())
            .map(|head| head.origin)
            .map_err(|_| WitnessRefusal::Malformed)
    }

    /// Decides, and returns the head to remember before the cosignature is given. `log` is the key that the witness
    /// trusts for the claimed origin, `last` the head that it cosigned last.
    pub fn decide(&self, log: Option<&VerifierKey>, last: &Head) -> Result<Head, WitnessRefusal> {
        let origin = self.origin()?;
        let log = log.filter(|log| log.name() == origin).ok_or(WitnessRefusal::UnknownLog)?;
        let new = Checkpoint::open_of_any_log(&self.checkpoint, log).map_err(|error| match error {
            CheckpointError::Text | CheckpointError::Origin(_) => WitnessRefusal::Malformed,
            _ => WitnessRefusal::NotSigned,
        })?;
        if self.old > new.size {
            return Err(WitnessRefusal::Malformed);
        }
        if self.old != last.size {
            return Err(WitnessRefusal::Conflict { size: last.size });
        }
        merkle::verify_consistency(last.size, &last.root, new.size, &new.root, &self.proof)
            .map_err(|_| WitnessRefusal::Inconsistent)?;
        Ok(Head { size: new.size, root: new.root })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(formatter, "{}", hash_text(hash)))?;
        write!(formatter, "\n{}", self.checkpoint)
    }
}
