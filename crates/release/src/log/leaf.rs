//! One entry of the log: a short text over a statement's digest and signatures.
//!
//! A verifier rebuilds it from the statement that it has, so a proof about any other entry is of no use to whoever
//! would like to show it in place of the right one (CVE-2022-36056, CVE-2026-22703). Nothing else stands in it: a
//! log cannot forget.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::Digest;

use super::{merkle, parse_base64};
use crate::envelope::Envelope;
use crate::signature::Signature;
use crate::statement::Kind;

/// Largest leaf in bytes: an entry bundle gives its length as 16 bits.
pub const LEAF_LIMIT: usize = 65_535;

const HEADER: &str = "databox-leaf/v1";

/// What happened, by the statement that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Roles came into force.
    Roles,
    /// A policy did.
    Policy,
    /// A grant did.
    Grant,
    /// A catalogue entry did.
    Catalogue,
    /// A revocation did.
    Revocation,
    /// A release was signed.
    Release,
    /// A verdict was refused by a steward.
    Denial,
    /// The code of a job was refused by a steward, before it ran.
    CodeDenial,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 8] = [
        Self::Roles,
        Self::Policy,
        Self::Grant,
        Self::Catalogue,
        Self::Revocation,
        Self::Release,
        Self::Denial,
        Self::CodeDenial,
    ];

    /// The word in the leaf.
    pub fn word(self) -> &'static str {
        match self {
            Self::Roles => "roles",
            Self::Policy => "policy",
            Self::Grant => "grant",
            Self::Catalogue => "catalogue",
            Self::Revocation => "revocation",
            Self::Release => "release",
            Self::Denial => "denial",
            Self::CodeDenial => "code-denial",
        }
    }

    /// The event that a statement of this kind is, if its kind is one that the log holds.
    pub fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Roles => Some(Self::Roles),
            Kind::Policy => Some(Self::Policy),
            Kind::Grant => Some(Self::Grant),
            Kind::Catalogue => Some(Self::Catalogue),
            Kind::Revocation => Some(Self::Revocation),
            Kind::Manifest => Some(Self::Release),
            Kind::Denial => Some(Self::Denial),
            Kind::CodeDenial => Some(Self::CodeDenial),
            Kind::Request | Kind::Cancel | Kind::Verdict | Kind::Approval | Kind::CodeApproval => None,
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.word() == word)
    }
}

/// A signature of the statement, as its envelope carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeafSignature {
    /// The key's name.
    pub key_id: Digest,
    /// The signature.
    pub signature: Signature,
}

/// Why a leaf cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// A leaf without a signature says nothing.
    #[error("a leaf needs a signature")]
    NoSignature,
    /// One key twice.
    #[error("one key signs a leaf twice")]
    KeyTwice,
    /// Longer than an entry bundle can hold.
    #[error("a leaf of more than {LEAF_LIMIT} bytes")]
    TooLarge,
    /// Not the text of a leaf.
    #[error("not the text of a leaf")]
    Text,
    /// A statement of a kind that the log does not hold.
    #[error("a statement of a kind that the log does not hold")]
    Kind,
    /// An event that this version does not know.
    #[error("a leaf with an event that is not known")]
    Event,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    event: Event,
    payload: Digest,
    signatures: Vec<LeafSignature>,
}

impl Leaf {
    /// The leaf for a statement: its payload's digest and its signatures, in any order.
    pub fn new(
        event: Event,
        payload: Digest,
        signatures: impl IntoIterator<Item = LeafSignature>,
    ) -> Result<Self, LeafError> {
        let mut signatures: Vec<_> = signatures.into_iter().collect();
        signatures.sort();
        if signatures.is_empty() {
            return Err(LeafError::NoSignature);
        }
        if signatures.windows(2).any(|pair| pair[0].key_id == pair[1].key_id) {
            return Err(LeafError::KeyTwice);
        }
        let leaf = Self { event, payload, signatures };
        if leaf.to_text().len() > LEAF_LIMIT { Err(LeafError::TooLarge) } else { Ok(leaf) }
    }

    /// The leaf of a statement of the site, which several people sign. It says nothing about who signed it: check
    /// that before. A signature whose key id is not the SHA-256 of a public key is another tool's, or rubbish laid
    /// beside the others so that the statement could not be logged; it is left out. What one key signs has its leaf
    /// from [`crate::file::leaf`], which takes no hint.
    pub fn of(envelope: &Envelope) -> Result<Self, LeafError> {
        let event = Event::of(envelope.kind()).ok_or(LeafError::Kind)?;
        let signatures = envelope.signatures().iter().filter_map(|one| {
            let key_id = one.key_id.parse().ok()?;
            Some(LeafSignature { key_id, signature: one.signature })
        });
        Self::new(event, envelope.payload_digest(), signatures)
    }

    /// Reads an entry of the log. Its text is accepted only in its one form.
    pub fn parse(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > LEAF_LIMIT {
            return Err(LeafError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| LeafError::Text)?;
        let mut lines = text.strip_suffix('\n').ok_or(LeafError::Text)?.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(LeafError::Text);
        }
        let event = Event::from_word(lines.next().ok_or(LeafError::Text)?).ok_or(LeafError::Event)?;
        let payload = lines.next().and_then(|line| line.parse().ok()).ok_or(LeafError::Text)?;
        let mut signatures = Vec::new();
        while let Some(key_id) = lines.next() {
            let key_id = key_id.parse().map_err(|_| LeafError::Text)?;
            let signature = lines.next().and_then(parse_base64).ok_or(LeafError::Text)?;
            let signature = Signature::from_bytes(&signature).ok_or(LeafError::Text)?;
            signatures.push(LeafSignature { key_id, signature });
        }
        let leaf = Self::new(event, payload, signatures)?;
        if leaf.to_text().as_bytes() == bytes { Ok(leaf) } else { Err(LeafError::Text) }
    }

    /// What happened.
    pub fn event(&self) -> Event {
        self.event
    }

    /// Digest of the statement's payload.
    pub fn payload(&self) -> Digest {
        self.payload
    }

    /// The statement's signatures, sorted by key.
    pub fn signatures(&self) -> &[LeafSignature] {
        &self.signatures
    }

    /// The text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n{}\n{}\n", self.event.word(), self.payload);
        for LeafSignature { key_id, signature } in &self.signatures {
            text += &format!("{key_id}\n{}\n", STANDARD.encode(signature.to_bytes()));
        }
        text
    }

    /// The hash under which it stands in the tree.
    pub fn hash(&self) -> Digest {
        merkle::leaf_hash(self.to_text().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(byte: u8) -> LeafSignature {
        LeafSignature { key_id: Digest::of(&[byte]), signature: [byte; 64].into() }
    }

    #[test]
    fn a_leaf_has_one_text_whatever_the_order_of_its_signatures() {
        let payload = Digest::of(b"payload");
        for event in Event::ALL {
            let one = Leaf::new(event, payload, [signature(1), signature(2), signature(3)]).unwrap();
            let other = Leaf::new(event, payload, [signature(3), signature(1), signature(2)]).unwrap();
            assert_eq!(one.to_text(), other.to_text());
            assert_eq!(Leaf::parse(one.to_text().as_bytes()), Ok(one));
        }
    }

    #[test]
    fn a_leaf_needs_a_signature_and_counts_no_key_twice() {
        let payload = Digest::of(b"payload");
        assert_eq!(Leaf::new(Event::Roles, payload, []), Err(LeafError::NoSignature));
        let twice = [signature(1), LeafSignature { signature: [9; 64].into(), ..signature(1) }];
        assert_eq!(Leaf::new(Event::Roles, payload, twice), Err(LeafError::KeyTwice));
        let many = (0..=255).chain(0..=255).enumerate().map(|(number, byte)| LeafSignature {
            key_id: Digest::of(&number.to_be_bytes()),
            signature: [byte; 64].into(),
        });
        assert_eq!(Leaf::new(Event::Roles, payload, many), Err(LeafError::TooLarge));
    }

    #[test]
    fn other_texts_of_a_leaf_are_refused() {
        let text = Leaf::new(Event::Grant, Digest::of(b"x"), [signature(1), signature(2)]).unwrap().to_text();
        let lines: Vec<_> = text.lines().collect();
        let swapped = [&lines[..3], &lines[5..7], &lines[3..5]].concat().join("\n") + "\n";
        for wrong in [
            text.trim_end().to_owned(),
            text.clone() + "\n",
            text.replace('\n', "\r\n"),
            text.replace("/v1", "/v2"),
            text.to_uppercase(),
            swapped,
            lines[..4].join("\n") + "\n",
        ] {
            assert_eq!(Leaf::parse(wrong.as_bytes()), Err(LeafError::Text), "{wrong}");
        }
        let event = text.replace("\ngrant\n", "\nGrant\n");
        assert_eq!(Leaf::parse(event.as_bytes()), Err(LeafError::Event));
    }
}
