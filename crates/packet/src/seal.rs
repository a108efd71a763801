//! Sealing to stewards and opening by one of them.
//!
//! One random content key encrypts the content; HPKE (RFC 9180, base mode) wraps that key for each steward.
//! ChaCha20-Poly1305 does not commit to its key: a taken-over enclave could craft one ciphertext that opens to two
//! contents under two keys, and show each steward another one. So the header commits to the content key.

use std::collections::BTreeSet;

use blobs::Digest;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce};
use hpke::aead::ChaCha20Poly1305 as HpkeAead;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use release::statement::PACKET_ADDED_BYTES;
use release::value::Name;
use zeroize::Zeroizing;

use crate::key::ReviewSecret;
use crate::wire::{Reader, put_count, put_name};
use crate::{Content, PacketError};

/// Most stewards that a packet is sealed to.
pub const RECIPIENT_LIMIT: usize = 16;

const MAGIC: &[u8; 8] = b"dboxpkt\x01";
const WRAP_INFO: &[u8] = b"databox review packet 1 content key\n";
const COMMIT: &[u8] = b"databox review packet 1 commitment\n";
const TAG: usize = 16;
const ENCAPSULATED: usize = 32;
const WRAPPED: usize = 32 + TAG;

/// A steward to seal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub steward: Name,
    /// Their X25519 review key, from the roles.
    pub key: [u8; 32],
}

/// Size in bytes of a packet with this many bytes of canonical files. Sealed packets have exactly this size, so the
/// size tells nothing that the verdict does not, and whoever stores packets can refuse any other.
pub fn sealed_size(canonical_bytes: u64) -> u64 {
    canonical_bytes.saturating_add(PACKET_ADDED_BYTES)
}

/// Seals a content to the stewards, bound to the payload digest of the request.
pub fn seal(recipients: &[Recipient], content: &Content, binding: &Digest) -> Result<Vec<u8>, PacketError> {
    check_recipients(recipients)?;
    let mut content_key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *content_key).map_err(|_| PacketError::Random)?;
    let commitment = commitment(&content_key);
    let size = usize::try_from(sealed_size(content.canonical_bytes()));
    let size = size.map_err(|_| PacketError::ContentTooLarge { part: "packet" })?;
    // What it holds is encrypted where it stands: canonical files may be large, and their plain text is left nowhere.
    let mut packet = Zeroizing::new(Vec::with_capacity(size));
    packet.extend(MAGIC);
    packet.extend(binding.as_bytes());
    packet.extend(commitment.as_bytes());
    put_count(&mut packet, recipients.len());
    for recipient in recipients {
        put_name(&mut packet, &recipient.steward);
        packet.extend(wrap(recipient, &content_key, binding, &commitment)?);
    }
    let header = packet.len();
    let room = size.checked_sub(header + TAG).ok_or(PacketError::ContentTooLarge { part: "packet" })?;
    content.put_padded(&mut packet, room)?;
    let (header, plain) = packet.split_at_mut(header);
    let tag = ChaCha20Poly1305::new(&(*content_key).into())
        .encrypt_inout_detached(&NONCE.into(), header, plain.into())
        .map_err(|_| PacketError::ContentTooLarge { part: "packet" })?;
    packet.extend(tag);
    Ok(std::mem::take(&mut *packet))
}

/// The content key encrypts one message only, so its nonce is fixed.
const NONCE: [u8; 12] = [0; 12];

/// Opens a packet as one of its stewards. `binding` is the payload digest of the request under review.
pub fn open(
    packet: &[u8],
    steward: &Name,
    secret: &ReviewSecret,
    binding: &Digest,
) -> Result<Content, PacketError> {
    let header = Header::read(packet)?;
    if header.binding != *binding {
        return Err(PacketError::OtherRequest);
    }
    let wrapped = header.recipients.iter().find(|wrapped| wrapped.steward == *steward);
    let wrapped = wrapped.ok_or_else(|| PacketError::NotForSteward { steward: steward.clone() })?;
    let content_key = unwrap(wrapped, secret, &header)?;
    if commitment(&content_key) != header.commitment {
        return Err(PacketError::KeyNotCommitted);
    }
    let (aad, sealed) = packet.split_at(header.bytes);
    let plain = ChaCha20Poly1305::new(&(*content_key).into())
        .decrypt(&Nonce::from(NONCE), Payload { msg: sealed, aad })
        .map_err(|_| PacketError::ContentChanged)?;
    let content = Content::from_padded(&Zeroizing::new(plain))?;
    if packet.len() as u64 != sealed_size(content.canonical_bytes()) {
        return Err(PacketError::Form { part: "size" });
    }
    Ok(content)
}

/// The stewards that a packet says it is sealed to, without opening it; to compare with the verdict's.
pub fn recipients(packet: &[u8]) -> Result<Vec<Name>, PacketError> {
    Ok(Header::read(packet)?.recipients.into_iter().map(|wrapped| wrapped.steward).collect())
}

fn check_recipients(recipients: &[Recipient]) -> Result<(), PacketError> {
    if !(1..=RECIPIENT_LIMIT).contains(&recipients.len()) {
        return Err(PacketError::Recipients { limit: RECIPIENT_LIMIT });
    }
    let mut seen = BTreeSet::new();
    match recipients.iter().find(|recipient| !seen.insert(&recipient.steward)) {
        Some(twice) => Err(PacketError::RecipientTwice { steward: twice.steward.clone() }),
        None => Ok(()),
    }
}

fn commitment(content_key: &[u8; 32]) -> Digest {
    Digest::of(&Zeroizing::new([COMMIT, content_key].concat()))
}

/// Binds the wrapping to request, content key and steward, so that none can be moved to another packet or name.
fn wrap_info(binding: &Digest, commitment: &Digest, steward: &Name) -> Vec<u8> {
    [WRAP_INFO, binding.as_bytes(), commitment.as_bytes(), steward.as_str().as_bytes()].concat()
}

fn wrap(
    recipient: &Recipient,
    content_key: &[u8; 32],
    binding: &Digest,
    commitment: &Digest,
) -> Result<Vec<u8>, PacketError> {
    let refused = || PacketError::ReviewKey { steward: recipient.steward.clone() };
    let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&recipient.key).map_err(|_| refused())?;
    let (encapsulated, wrapped) = hpke::single_shot_seal::<HpkeAead, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &key,
        &wrap_info(binding, commitment, &recipient.steward),
        content_key,
        b"",
    )
    .map_err(|_| refused())?;
    Ok([&encapsulated.to_bytes()[..], &wrapped].concat())
}

fn unwrap(
    wrapped: &Wrapped<'_>,
    secret: &ReviewSecret,
    header: &Header<'_>,
) -> Result<Zeroizing<[u8; 32]>, PacketError> {
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(wrapped.encapsulated)
        .map_err(|_| PacketError::WrongKey)?;
    let content_key = hpke::single_shot_open::<HpkeAead, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret.hpke_key(),
        &encapsulated,
        &wrap_info(&header.binding, &header.commitment, &wrapped.steward),
        wrapped.wrapped,
        b"",
    );
    let content_key = Zeroizing::new(content_key.map_err(|_| PacketError::WrongKey)?);
    let array: [u8; 32] = content_key[..].try_into().map_err(|_| PacketError::WrongKey)?;
    Ok(Zeroizing::new(array))
}

/// What stands before the sealed content, in clear.
struct Header<'a> {
    binding: Digest,
    commitment: Digest,
    recipients: Vec<Wrapped<'a>>,
    bytes: usize,
}

struct Wrapped<'a> {
    steward: Name,
    encapsulated: &'a [u8],
    wrapped: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(packet: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(packet.strip_prefix(MAGIC).ok_or(PacketError::NotAPacket)?);
        let binding = Digest::from_bytes(reader.array("request")?);
        let commitment = Digest::from_bytes(reader.array("commitment")?);
        let mut recipients: Vec<Wrapped<'_>> = Vec::new();
        for _ in 0..reader.count(RECIPIENT_LIMIT, "recipients")? {
            let steward = reader.name("steward")?;
            if recipients.iter().any(|earlier| earlier.steward == steward) {
                return Err(PacketError::RecipientTwice { steward });
            }
            let encapsulated = reader.bytes(ENCAPSULATED, "encapsulated key")?;
            let wrapped = reader.bytes(WRAPPED, "wrapped key")?;
            recipients.push(Wrapped { steward, encapsulated, wrapped });
        }
        if recipients.is_empty() {
            return Err(PacketError::Form { part: "recipients" });
        }
        Ok(Self { binding, commitment, recipients, bytes: packet.len() - reader.rest().len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn content(file: &[u8]) -> Content {
        Content {
            purpose: "p".into(),
            salt: [0; 32],
            bundle: Digest::of(b""),
            canonical: vec![(name("file"), file.to_vec())],
            details: vec![],
            places: vec![],
        }
    }

    /// A packet as a taken-over enclave would craft it: each steward's wrapping holds a content key of their own.
    fn two_keys_in_one_packet(keys: [[u8; 32]; 2], stewards: [Recipient; 2], binding: &Digest) -> Vec<u8> {
        let commitment = commitment(&keys[0]);
        let mut packet = [&MAGIC[..], binding.as_bytes(), commitment.as_bytes(), &[2]].concat();
        for (recipient, key) in stewards.iter().zip(&keys) {
            put_name(&mut packet, &recipient.steward);
            packet.extend(wrap(recipient, key, binding, &commitment).unwrap());
        }
        let mut plain = Vec::new();
        content(b"file").put_padded(&mut plain, sealed_size(4) as usize - packet.len() - TAG).unwrap();
        let sealed = ChaCha20Poly1305::new(&keys[0].into())
            .encrypt(&NONCE.into(), Payload { msg: &plain, aad: &packet })
            .unwrap();
        packet.extend(sealed);
        packet
    }

    #[test]
    fn two_stewards_cannot_be_shown_two_contents() {
        let binding = Digest::of(b"request");
        let secrets = [ReviewSecret::from_bytes([1; 32]), ReviewSecret::from_bytes([2; 32])];
        let stewards = || {
            [("ada", &secrets[0]), ("eve", &secrets[1])]
                .map(|(steward, secret)| Recipient { steward: name(steward), key: secret.public() })
        };
        let packet = two_keys_in_one_packet([[3; 32], [4; 32]], stewards(), &binding);
        assert_eq!(open(&packet, &name("ada"), &secrets[0], &binding), Ok(content(b"file")));
        assert_eq!(open(&packet, &name("eve"), &secrets[1], &binding), Err(PacketError::KeyNotCommitted));
        let innocent = two_keys_in_one_packet([[3; 32]; 2], stewards(), &binding);
        assert_eq!(open(&innocent, &name("eve"), &secrets[1], &binding), Ok(content(b"file")));
    }

    fn from_hex(text: &str) -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    }

    /// `testdata/make_packet.py` made this packet. Its file keeps header and digest; the sealed part follows from
    /// the content key, so that 64 KiB of noise need not be kept.
    #[test]
    fn a_packet_of_another_implementation_opens() {
        let mut lines = include_str!("../testdata/packet.txt").lines();
        let mut packet = from_hex(lines.next().unwrap().strip_prefix("header ").unwrap());
        let digest: Digest = lines.next().unwrap().strip_prefix("sha256 ").unwrap().parse().unwrap();
        let expected = Content {
            purpose: "Why: to see über".into(),
            salt: [7; 32],
            bundle: Digest::of(b"bundle"),
            canonical: vec![(name("by_plan.csv"), b"plan,n\n1,100\n".to_vec())],
            details: vec![(name("judge"), b"detail".to_vec())],
            places: vec![release::report::Place { output: 0, view: 3, offset: 70_000, length: 31 }],
        };
        let content_key: [u8; 32] = std::array::from_fn(|index| index as u8);
        let size = sealed_size(expected.canonical_bytes()) as usize;
        let mut plain = Vec::new();
        expected.put_padded(&mut plain, size - packet.len() - TAG).unwrap();
        let payload = Payload { msg: &plain, aad: &packet };
        let sealed = ChaCha20Poly1305::new(&content_key.into()).encrypt(&NONCE.into(), payload).unwrap();
        packet.extend(sealed);
        assert_eq!(Digest::of(&packet), digest);
        for (steward, secret) in [("ada", [1; 32]), ("eve", [2; 32])] {
            let secret = ReviewSecret::from_bytes(secret);
            assert_eq!(open(&packet, &name(steward), &secret, &Digest::of(b"request")), Ok(expected.clone()));
        }
    }
}
