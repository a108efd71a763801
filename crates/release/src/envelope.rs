//! DSSE v1.0.2 envelopes: signatures over exact bytes.
//!
//! A signature covers the pre-authentication encoding of payload type and payload, so no parser stands between what
//! was signed and what is verified. The key id in an envelope is a hint: which keys count, and in which suite, is
//! said by roles and grants only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use blobs::Digest;
use serde::{Deserialize, Serialize};

use crate::json;
use crate::key::{self, Sign, SignStatement};
use crate::refusal::Refusal;
use crate::signature::Signature;
use crate::statement::PublicKey;
use crate::statement::{self, Kind, PAYLOAD_LIMIT, Predicate};
use crate::value::Name;

/// Largest envelope in bytes.
pub const ENVELOPE_LIMIT: usize = 2 << 20;

/// Most signatures on one statement. More would be work for a verifier and no more trust.
pub const SIGNATURE_LIMIT: usize = 64;

/// The payload type of every envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A statement and signatures on it. Holding one says nothing about who signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Wire", try_from = "Wire")]
pub struct Envelope {
    // Shared, since a checked statement is kept with the envelope that it came in.
    payload: Arc<[u8]>,
    payload_digest: Digest,
    kind: Kind,
    signatures: Arc<Vec<EnvelopeSignature>>,
}

/// A signature and the hint that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeSignature {
    /// The key id that the envelope claims; a hint.
    pub key_id: String,
    /// The signature.
    pub signature: Signature,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Wire {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: String,
    sig: String,
}

/// An envelope that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The JSON is not accepted.
    #[error("the envelope is not accepted as JSON")]
    Json(#[from] json::JsonError),
    /// Another payload type.
    #[error("the envelope's payload type is not {PAYLOAD_TYPE}")]
    PayloadType,
    /// Base64 in another than its one form, in either alphabet.
    #[error("the envelope has base64 that is not in its one form")]
    Base64,
    /// No signature, or too many.
    #[error("the envelope has no signature, or more than {SIGNATURE_LIMIT}")]
    SignatureCount,
    /// The payload is no statement of a known kind.
    #[error("the envelope holds no statement of a known kind")]
    Payload(#[from] statement::PayloadError),
    /// Whoever holds the key did not sign.
    #[error("the statement was not signed")]
    NotSigned(#[from] key::SignError),
    /// The payload is larger than [`PAYLOAD_LIMIT`].
    #[error("the envelope's payload has more than {PAYLOAD_LIMIT} bytes")]
    PayloadSize,
    /// The same key has signed before, or a signature is there twice.
    #[error("this key has signed already")]
    SignedAlready,
    /// Signatures of another payload prove nothing about this one.
    #[error("the envelopes hold different payloads")]
    OtherPayload,
}

impl EnvelopeError {
    /// The rule that was broken.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Json(json::JsonError::TooLarge { .. }) | Self::PayloadSize => Refusal::SizeLimit,
            Self::Json(_) => Refusal::JsonForm,
            Self::PayloadType | Self::Base64 => Refusal::EnvelopeForm,
            Self::SignatureCount | Self::SignedAlready | Self::NotSigned(_) => Refusal::SignatureCount,
            Self::Payload(_) | Self::OtherPayload => Refusal::StatementForm,
        }
    }
}

impl Envelope {
    /// Reads an envelope in any strict JSON form; white space and the order of fields are free, since other tools
    /// write them differently. Unknown and repeated fields, trailing bytes and lists in place of objects are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Self::try_from(json::from_any_form::<Wire>(bytes, ENVELOPE_LIMIT)?)
    }

    /// An envelope whose payload is looked at by [`Envelope::unverified`] only. Until then its form is as open as its
    /// signatures are.
    pub(crate) fn to_be_read(wire: Wire) -> Result<Self, EnvelopeError> {
        if wire.payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeError::PayloadType);
        }
        if wire.signatures.len() > SIGNATURE_LIMIT {
            return Err(EnvelopeError::SignatureCount);
        }
        let payload = decode(&wire.payload)?;
        if payload.len() > PAYLOAD_LIMIT {
            return Err(EnvelopeError::PayloadSize);
        }
        let kind = statement::claimed_kind(&payload)?;
        let signatures = wire.signatures.into_iter().map(|signature| {
            let bytes = Signature::from_bytes(&decode(&signature.sig)?).ok_or(EnvelopeError::Base64)?;
            Ok(EnvelopeSignature { key_id: signature.keyid, signature: bytes })
        });
        let signatures = signatures.collect::<Result<Vec<EnvelopeSignature>, EnvelopeError>>()?;
        // One signature twice would be a second text of the same statement.
        let twice = |(at, one): (usize, &EnvelopeSignature)| {
            signatures[..at].iter().any(|before| before.signature == one.signature)
        };
        if signatures.iter().enumerate().any(twice) {
            return Err(EnvelopeError::SignedAlready);
        }
        let payload_digest = Digest::of(&payload);
        Ok(Self { payload_digest, payload: payload.into(), kind, signatures: Arc::new(signatures) })
    }

    /// The envelope's one text.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::to_bytes(self)
    }

    /// Signs a statement with each of these keys.
    pub fn sign<P: Predicate>(predicate: &P, keys: &[&dyn Sign]) -> Result<Self, EnvelopeError> {
        let mut envelope = Self::unsigned(predicate)?;
        for key in keys {
            envelope.add_signature(*key)?;
        }
        if envelope.signatures.is_empty() { Err(EnvelopeError::SignatureCount) } else { Ok(envelope) }
    }

    /// A statement before its first signature. It is written and read as a file, but no check accepts it.
    pub fn unsigned<P: Predicate>(predicate: &P) -> Result<Self, EnvelopeError> {
        let payload = statement::payload(predicate);
        if payload.len() > PAYLOAD_LIMIT {
            return Err(EnvelopeError::PayloadSize);
        }
        let payload_digest = Digest::of(&payload);
        Ok(Self { payload_digest, payload: payload.into(), kind: P::KIND, signatures: Arc::default() })
    }

    /// Adds the signature of one more key.
    pub fn add_signature<S: SignStatement + ?Sized>(&mut self, signer: &S) -> Result<(), EnvelopeError> {
        let key_id = key::key_id(&signer.public()).to_string();
        if self.signatures.iter().any(|signature| signature.key_id == key_id) {
            return Err(EnvelopeError::SignedAlready);
        }
        if self.signatures.len() == SIGNATURE_LIMIT {
            return Err(EnvelopeError::SignatureCount);
        }
        let signature = signer.sign_statement(&pre_authentication_encoding(&self.payload))?;
        Arc::make_mut(&mut self.signatures).push(EnvelopeSignature { key_id, signature });
        Ok(())
    }

    /// Adds the signatures that another envelope around the same payload has more, and returns how many. Whether they
    /// count is not asked.
    pub fn add_signatures_of(&mut self, other: &Self) -> Result<usize, EnvelopeError> {
        if other.payload != self.payload {
            return Err(EnvelopeError::OtherPayload);
        }
        let more = other.signatures.iter().filter(|one| !self.signatures.contains(one));
        let more: Vec<_> = more.cloned().collect();
        if self.signatures.len() + more.len() > SIGNATURE_LIMIT {
            return Err(EnvelopeError::SignatureCount);
        }
        Arc::make_mut(&mut self.signatures).extend(more.iter().cloned());
        Ok(more.len())
    }

    /// The bytes that are signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The digest of the signed bytes: what other statements name this one by.
    pub fn payload_digest(&self) -> Digest {
        self.payload_digest
    }

    /// The kind that the payload claims.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The signatures.
    pub fn signatures(&self) -> &[EnvelopeSignature] {
        &self.signatures
    }

    /// What the payload says, whoever signed it. For display and for finding the keys that must have signed.
    pub fn unverified<P: Predicate>(&self) -> Result<P, Refusal> {
        if self.kind != P::KIND {
            return Err(Refusal::StatementKind);
        }
        statement::parse_payload(&self.payload).map_err(|_| Refusal::StatementForm)
    }

    /// True if there is exactly one signature and one of these keys made it.
    pub(crate) fn signed_once_by<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a PublicKey>,
        refusal: Refusal,
    ) -> Result<&'a PublicKey, Refusal> {
        let [signature] = &self.signatures[..] else {
            return Err(Refusal::SignatureCount);
        };
        let message = pre_authentication_encoding(&self.payload);
        let keys: Vec<_> = keys.into_iter().collect();
        find_key(&message, signature, &keys).map_err(|_| refusal)?.copied().ok_or(refusal)
    }

    /// Which of these people signed. A signature by none of them is passed over, as DSSE says; one that names a
    /// key of theirs and does not verify refuses the whole statement. `made` is of earlier questions about the same
    /// envelope: what verified with a key once is not verified with it again.
    pub(crate) fn signed_by<'a>(
        &self,
        people: impl IntoIterator<Item = (&'a Name, &'a PublicKey)>,
        made: &mut SignaturesMade,
        refusal: Refusal,
    ) -> Result<BTreeSet<Name>, Refusal> {
        let people: Vec<_> = people.into_iter().collect();
        let keys: Vec<_> = people.iter().map(|(_, key)| *key).collect();
        let message = pre_authentication_encoding(&self.payload);
        let mut signed = BTreeSet::new();
        for (place, signature) in self.signatures.iter().enumerate() {
            let before = made.0.get(&place).and_then(|made| keys.iter().find(|key| **key == made));
            let found = match before {
                Some(key) => Some(key),
                None => find_key(&message, signature, &keys).map_err(|_| refusal)?,
            };
            if let Some(key) = found {
                made.0.insert(place, **key);
                signed.extend(people.iter().filter(|(_, held)| held == key).map(|(name, _)| (*name).clone()));
            }
        }
        Ok(signed)
    }
}

/// Which key made which signature of one envelope, as far as it was asked.
#[derive(Default)]
pub(crate) struct SignaturesMade(BTreeMap<usize, PublicKey>);

/// Finds the key that made a signature. The hint is tried first; another tool's ids match none, so then all keys are.
fn find_key<'a, 'k>(
    message: &[u8],
    signature: &EnvelopeSignature,
    keys: &'a [&'k PublicKey],
) -> Result<Option<&'a &'k PublicKey>, key::SignatureError> {
    let hint = signature.key_id.parse::<Digest>();
    let hinted = hint.ok().and_then(|hint| keys.iter().find(|key| key::key_id(key) == hint));
    match hinted {
        Some(key) => key::verify(key, message, &signature.signature).map(|()| Some(key)),
        None => Ok(keys.iter().find(|key| key::verify(key, message, &signature.signature).is_ok())),
    }
}

/// DSSE v1.0.2: `DSSEv1 SP LEN(type) SP type SP LEN(payload) SP payload`.
pub fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl From<Envelope> for Wire {
    fn from(envelope: Envelope) -> Self {
        Self {
            payload: STANDARD.encode(&envelope.payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: envelope
                .signatures
                .iter()
                .map(|signature| WireSignature {
                    keyid: signature.key_id.clone(),
                    sig: STANDARD.encode(signature.signature.to_bytes()),
                })
                .collect(),
        }
    }
}

impl TryFrom<Wire> for Envelope {
    type Error = EnvelopeError;

    fn try_from(wire: Wire) -> Result<Self, EnvelopeError> {
        let envelope = Self::to_be_read(wire)?;
        // A statement that nobody reads again, but someone signs, must have its one form here.
        statement::kind(&envelope.payload)?;
        Ok(envelope)
    }
}

/// Standard or URL-safe base64, with padding and without surplus bits: DSSE lets writers choose the alphabet.
fn decode(text: &str) -> Result<Vec<u8>, EnvelopeError> {
    let decoded = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
    decoded.map_err(|_| EnvelopeError::Base64)
}
