//! Signed notes and their keys (<https://c2sp.org/signed-note>, v1.0.0).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::Digest;

use super::parse_base64;
use crate::checked_key::CheckedKey;
use crate::statement::{LogKey, Witness};

/// Largest note in bytes. It leaves room for the 16 signatures that every reader must accept, post-quantum ones
/// of nearly 5 kB included.
pub const NOTE_LIMIT: usize = 128 * 1024;

/// Most signatures in one note.
pub const SIGNATURE_LIMIT: usize = 100;

/// What a key signs, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// Ed25519 over the note's text: a log's own key.
    Log,
    /// A timestamp and Ed25519 over it and the checkpoint: a witness's key (`cosignature/v1`).
    Witness,
}

impl KeyType {
    /// The byte that stands for it in key ids and key texts.
    pub fn byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Witness => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Log, Self::Witness].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// Why a note, or a key for notes, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`NOTE_LIMIT`].
    #[error("a note of more than {NOTE_LIMIT} bytes")]
    TooLarge,
    /// More than [`SIGNATURE_LIMIT`] signatures.
    #[error("a note with more than {SIGNATURE_LIMIT} signatures")]
    TooManySignatures,
    /// Not UTF-8, a control character, no blank line before the signatures, or no newline at an end.
    #[error("not the text of a note")]
    Text,
    /// A line after the text that is not a signature line.
    #[error("a line of the note is not a signature line")]
    SignatureLine,
    /// A key's name is empty or has a space or a plus.
    #[error("not a key name: no spaces and no plus are allowed")]
    KeyName,
    /// A key's text is wrong: its parts, its id, its type or its length.
    #[error("not a verifier key")]
    KeyText,
    /// A known key's signature does not verify. Such a note is refused whole, whatever else signed it.
    #[error("the signature of {0} does not verify")]
    BadSignature(String),
}

/// A public key that signs notes. Its text form is the `vkey` of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    key_type: KeyType,
    public: [u8; 32],
}

impl VerifierKey {
    /// A key from its parts.
    pub fn new(name: &str, key_type: KeyType, public: [u8; 32]) -> Result<Self, NoteError> {
        check_key_name(name)?;
        Ok(Self { name: name.to_owned(), key_type, public })
    }

    /// The key of the log that roles name.
    pub fn of_log(log: &LogKey) -> Result<Self, NoteError> {
        Self::new(&log.origin, KeyType::Log, log.public.0)
    }

    /// The key of a witness that roles name.
    pub fn of_witness(witness: &Witness) -> Result<Self, NoteError> {
        Self::new(&witness.name, KeyType::Witness, witness.public.0)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The raw Ed25519 key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Its id: the first four bytes of SHA-256 over name, newline, type byte and key.
    pub fn id(&self) -> [u8; 4] {
        let preimage = [self.name.as_bytes(), b"\n", &[self.key_type.byte()], &self.public].concat();
        let digest = Digest::of(&preimage);
        let [a, b, c, d, ..] = *digest.as_bytes();
        [a, b, c, d]
    }

    /// Verifies 64 bytes over a message, strictly: no small-order or non-canonical key or signature.
    pub(super) fn verify_raw(&self, message: &[u8], signature: &[u8]) -> Result<(), NoteError> {
        let refused = || NoteError::BadSignature(self.name.clone());
        let key = CheckedKey::of(&self.public).map_err(|_| refused())?;
        let signature = signature.try_into().map_err(|_| refused())?;
        key.verify(message, signature).map_err(|_| refused())
    }

    /// This key's signature lines in a note. The id is short, so name and id must both be the same.
    pub(super) fn lines<'a>(&self, note: &'a Note) -> impl Iterator<Item = &'a NoteSignature> {
        let (name, id) = (self.name.clone(), self.id());
        note.signatures.iter().filter(move |line| line.name == name && line.key_id == id)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let material = [&[self.key_type.byte()][..], &self.public].concat();
        write!(formatter, "{}+{id:08x}+{}", self.name, STANDARD.encode(material))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        // Base64 may hold a plus, so only the first two separate.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(material)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::KeyText);
        };
        let material = parse_base64(material).ok_or(NoteError::KeyText)?;
        let (type_byte, public) = material.split_first().ok_or(NoteError::KeyText)?;
        let key_type = KeyType::from_byte(*type_byte).ok_or(NoteError::KeyText)?;
        let key = Self::new(name, key_type, public.try_into().map_err(|_| NoteError::KeyText)?)?;
        if key.to_string() == text { Ok(key) } else { Err(NoteError::KeyText) }
    }
}

fn check_key_name(name: &str) -> Result<(), NoteError> {
    let forbidden = |letter: char| letter.is_whitespace() || letter == '+' || letter.is_control();
    if name.is_empty() || name.contains(forbidden) { Err(NoteError::KeyName) } else { Ok(()) }
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub key_id: [u8; 4],
    /// The bytes after the id.
    pub bytes: Vec<u8>,
}

impl NoteSignature {
    /// A line of this key.
    pub fn new(key: &VerifierKey, bytes: Vec<u8>) -> Self {
        Self { name: key.name.clone(), key_id: key.id(), bytes }
    }

    /// Reads one line, without its newline.
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let refused = || NoteError::SignatureLine;
        let (name, signature) =
            line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or_else(refused)?;
        check_key_name(name).map_err(|_| refused())?;
        let signature = parse_base64(signature).ok_or_else(refused)?;
        let (key_id, bytes) = signature.split_first_chunk::<4>().ok_or_else(refused)?;
        if bytes.is_empty() {
            return Err(refused());
        }
        Ok(Self { name: name.to_owned(), key_id: *key_id, bytes: bytes.to_vec() })
    }

    /// Reads several lines, such as a witness's answer. Each ends in a newline; there is at least one.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, NoteError> {
        if text.len() > NOTE_LIMIT {
            return Err(NoteError::TooLarge);
        }
        let lines: Vec<_> = text.strip_suffix('\n').ok_or(NoteError::Text)?.split('\n').collect();
        if lines.len() > SIGNATURE_LIMIT {
            return Err(NoteError::TooManySignatures);
        }
        lines.into_iter().map(Self::parse).collect()
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id[..], &self.bytes].concat();
        writeln!(formatter, "— {} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A text and the lines of those who signed it. Nothing in it may be believed before a known key verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// A note that nobody has signed yet. The text ends in a newline.
    pub fn unsigned(text: String) -> Result<Self, NoteError> {
        if text.ends_with('\n') && is_plain(&text) {
            Ok(Self { text, signatures: Vec::new() })
        } else {
            Err(NoteError::Text)
        }
    }

    /// Reads a signed note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_LIMIT {
            return Err(NoteError::TooLarge);
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::Text)?;
        if !is_plain(whole) {
            return Err(NoteError::Text);
        }
        // The text may hold blank lines of its own; the last one ends it.
        let blank = whole.rfind("\n\n").ok_or(NoteError::Text)?;
        let (text, lines) = (&whole[..=blank], &whole[blank + 2..]);
        if lines.is_empty() {
            return Err(NoteError::Text);
        }
        Ok(Self { text: text.to_owned(), signatures: NoteSignature::parse_lines(lines)? })
    }

    /// The text that was signed, its last newline included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, known or not.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a line.
    pub fn push(&mut self, line: NoteSignature) {
        self.signatures.push(line);
    }

    /// The note without lines of keys other than these.
    pub fn only(&self, keys: &[&VerifierKey]) -> Self {
        let known =
            |line: &&NoteSignature| keys.iter().any(|key| key.name == line.name && key.id() == line.key_id);
        Self { text: self.text.clone(), signatures: self.signatures.iter().filter(known).cloned().collect() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| fmt::Display::fmt(line, formatter))
    }
}

fn is_plain(text: &str) -> bool {
    // A carriage return or an escape could show a reader another text than the signed one.
    text.bytes().all(|byte| byte >= 0x20 || byte == b'\n')
}
