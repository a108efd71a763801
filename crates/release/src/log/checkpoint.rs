//! The head of the tree: signed by the log (<https://c2sp.org/tlog-checkpoint>, v1.0.0) and cosigned by witnesses
//! (<https://c2sp.org/tlog-cosignature>, v1.0.1, type 0x04).

use blobs::Digest;

use super::note::{KeyType, Note, NoteError, NoteSignature, VerifierKey};
use super::{hash_text, parse_decimal, parse_hash};
use crate::value::Timestamp;

/// Why a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note or one of its known signatures is refused.
    #[error("the checkpoint's note is refused")]
    Note(#[from] NoteError),
    /// The text is not origin, size and root, each on its line, and nothing else.
    #[error("not a checkpoint: origin, size and root are expected, and no other line")]
    Text,
    /// A checkpoint of another log.
    #[error("a checkpoint of another log: {0}")]
    Origin(String),
    /// The log's own signature is not there.
    #[error("the log has not signed the checkpoint")]
    NotSigned,
    /// A key of the wrong type: a witness's in place of the log's, or the reverse.
    #[error("a key of the wrong type")]
    KeyType,
    /// A cosignature without a time, or with one past the year 9999.
    #[error("a cosignature whose time is not one")]
    CosignatureTime,
    /// Too few witnesses.
    #[error("{found} of the {needed} witnesses needed have cosigned")]
    Quorum {
        /// How many are needed.
        needed: u64,
        /// How many different ones have.
        found: u64,
    },
}

/// The head of a log: how many leaves it has, and their root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's origin, which is its key's name too.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed: three lines and no more, since nobody could audit a fourth.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, hash_text(&self.root))
    }

    /// Reads the text. It says nothing about who signed it.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        match Self::and_extensions(text)? {
            (checkpoint, None) => Ok(checkpoint),
            (_, Some(_)) => Err(CheckpointError::Text),
        }
    }

    /// Reads the text of any C2SP log, which may have further lines of its own. This is for a witness alone, who says that
    /// the tree grew and nothing of such lines: were a verifier of releases to take them, a log could say to each reader
    /// what it likes under one cosigned root.
    pub fn parse_of_any_log(text: &str) -> Result<Self, CheckpointError> {
        match Self::and_extensions(text)? {
            (_, Some(lines)) if lines.split('\n').any(str::is_empty) => Err(CheckpointError::Text),
            (checkpoint, _) => Ok(checkpoint),
        }
    }

    /// The head, and the lines after it if there are any.
    fn and_extensions(text: &str) -> Result<(Self, Option<&str>), CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Text)?.splitn(4, '\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Text);
        };
        let size = parse_decimal(size).ok_or(CheckpointError::Text)?;
        let root = parse_hash(root).ok_or(CheckpointError::Text)?;
        if origin.is_empty() {
            return Err(CheckpointError::Text);
        }
        Ok((Self { origin: origin.to_owned(), size, root }, lines.next()))
    }

    /// Signs it with the log's key. `sign` gives the Ed25519 signature of its argument.
    pub fn sign(
        &self,
        log: &VerifierKey,
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<Note, CheckpointError> {
        if log.key_type() != KeyType::Log {
            return Err(CheckpointError::KeyType);
        }
        if log.name() != self.origin {
            return Err(CheckpointError::Origin(self.origin.clone()));
        }
        let mut note = Note::unsigned(self.text())?;
        let signature = sign(note.text().as_bytes());
        note.push(NoteSignature::new(log, signature.to_vec()));
        Ok(note)
    }

    /// Reads a signed checkpoint of this log. Lines of other keys are ignored; a line of the log's key that does
    /// not verify refuses the whole.
    pub fn open(note: &Note, log: &VerifierKey) -> Result<Self, CheckpointError> {
        Self::parse(note.text())?.signed_by(log, note)
    }

    /// The same for a witness of any C2SP log, as [`Checkpoint::parse_of_any_log`] has it.
    pub fn open_of_any_log(note: &Note, log: &VerifierKey) -> Result<Self, CheckpointError> {
        Self::parse_of_any_log(note.text())?.signed_by(log, note)
    }

    fn signed_by(self, log: &VerifierKey, note: &Note) -> Result<Self, CheckpointError> {
        if log.key_type() != KeyType::Log {
            return Err(CheckpointError::KeyType);
        }
        if self.origin != log.name() {
            return Err(CheckpointError::Origin(self.origin));
        }
        let mut signed = false;
        for line in log.lines(note) {
            log.verify_raw(note.text().as_bytes(), &line.bytes)?;
            signed = true;
        }
        if signed { Ok(self) } else { Err(CheckpointError::NotSigned) }
    }
}

/// A witness's word that it saw this head, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// The witness.
    pub witness: VerifierKey,
    /// When it cosigned.
    pub time: Timestamp,
}

/// Cosigns a checkpoint's text. `sign` gives the Ed25519 signature of its argument.
pub fn cosign(
    text: &str,
    witness: &VerifierKey,
    time: Timestamp,
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Result<NoteSignature, CheckpointError> {
    if witness.key_type() != KeyType::Witness {
        return Err(CheckpointError::KeyType);
    }
    let seconds = u64::try_from(time.seconds()).unwrap_or(0);
    // A time of zero means "no time", which a witness of whole trees must not say.
    if seconds == 0 {
        return Err(CheckpointError::CosignatureTime);
    }
    let signature = sign(&cosigned_message(text, seconds));
    Ok(NoteSignature::new(witness, [&seconds.to_be_bytes()[..], &signature].concat()))
}

/// The cosignatures of these witnesses on a note, one a witness. Lines of other keys are ignored; a line of a known
/// key that does not verify refuses the whole. Of two cosignatures by one witness the earlier counts.
pub fn cosignatures(note: &Note, witnesses: &[VerifierKey]) -> Result<Vec<Cosigned>, CheckpointError> {
    let mut cosigned = Vec::new();
    for witness in witnesses {
        if witness.key_type() != KeyType::Witness {
            return Err(CheckpointError::KeyType);
        }
        let times = witness.lines(note).map(|line| verify_cosignature(note.text(), witness, &line.bytes));
        let times = times.collect::<Result<Vec<_>, _>>()?;
        if let Some(time) = times.into_iter().min() {
            cosigned.push(Cosigned { witness: witness.clone(), time });
        }
    }
    Ok(cosigned)
}

/// Checks that at least `needed` different keys have cosigned, none of them the log's own.
pub fn quorum(cosigned: &[Cosigned], log: &VerifierKey, needed: u64) -> Result<(), CheckpointError> {
    // Keys count, not names: one key under two names is one witness, and a log that witnesses itself is none.
    let mut keys: Vec<_> = cosigned.iter().map(|one| *one.witness.public()).collect();
    keys.sort_unstable();
    keys.dedup();
    let found = keys.iter().filter(|key| *key != log.public()).count() as u64;
    if found >= needed { Ok(()) } else { Err(CheckpointError::Quorum { needed, found }) }
}

fn verify_cosignature(text: &str, witness: &VerifierKey, bytes: &[u8]) -> Result<Timestamp, CheckpointError> {
    let bad = || NoteError::BadSignature(witness.name().to_owned());
    let (time, signature) = bytes.split_first_chunk::<8>().ok_or_else(bad)?;
    let seconds = u64::from_be_bytes(*time);
    witness.verify_raw(&cosigned_message(text, seconds), signature)?;
    let time = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    time.and_then(|seconds| Timestamp::from_seconds(seconds).ok()).ok_or(CheckpointError::CosignatureTime)
}

fn cosigned_message(text: &str, seconds: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes()
}
