//! Ed25519 keys (RFC 8032): who may be enrolled, how keys are named, and signing through a trait, so that the rooms
//! which hold keys can hand them over for one call.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::Digest;
use ed25519_dalek::{Signer as _, SigningKey};

use crate::checked_key::CheckedKey;
use crate::signature::Signature;
use crate::sshsig;
use crate::statement::{PublicKey, Suite};
use crate::value::{Bytes, KeyId};

/// DER of a SubjectPublicKeyInfo with an Ed25519 key, up to the 32 bytes of the key (RFC 8410, section 4).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// DER of a PKCS#8 v1 Ed25519 private key, up to the 32 bytes of the seed (RFC 8410, section 7).
const SECRET_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A key that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The public key is not a point of the curve, or not in its one encoding.
    #[error("not an Ed25519 public key in its one encoding")]
    Encoding,
    /// The public key is of small order: everyone can sign for it.
    #[error("an Ed25519 public key of small order")]
    SmallOrder,
    /// The public key has a part of small order: verifiers would disagree about its signatures.
    #[error("an Ed25519 public key outside the prime-order group")]
    MixedOrder,
    /// The private key is not PKCS#8 PEM as `openssl genpkey -algorithm ed25519` writes it.
    #[error("not an unencrypted Ed25519 private key in PKCS#8 PEM")]
    Pem,
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
}

/// A signature that does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureError;

/// Whoever can sign with one key.
pub trait Sign {
    /// The public key.
    fn public(&self) -> PublicKey;

    /// The signature of a message.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// Why a statement was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The agent or token does not answer.
    #[error("the agent or token that holds the key does not answer")]
    Unreachable,
    /// The agent does not have the key, or its owner did not agree.
    #[error("the agent does not have the key, or did not agree to sign")]
    Refused,
    /// The answer is no signature by the key.
    #[error("the answer of the agent or token is not a signature by the key")]
    Answer,
}

/// Whoever signs statements with one key, in its suite, and may fail to: an agent may ask its owner, a token may be gone.
pub trait SignStatement {
    /// The public key, with the suite in which it signs.
    fn public(&self) -> PublicKey;

    /// The signature of a DSSE pre-authentication encoding.
    fn sign_statement(&self, message: &[u8]) -> Result<Signature, SignError>;
}

impl<T: Sign + ?Sized> SignStatement for T {
    fn public(&self) -> PublicKey {
        Sign::public(self)
    }

    fn sign_statement(&self, message: &[u8]) -> Result<Signature, SignError> {
        Ok(self.sign(message).into())
    }
}

/// A private key. It is wiped from memory when dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new key from the operating system's random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| KeyError::Random)?;
        Ok(Self::from_seed(*seed))
    }

    /// The key with this seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed.
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// Reads PKCS#8 PEM without encryption, in the one form of RFC 8410 without a public key.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        let body = pem
            .trim_end()
            .strip_prefix("-----BEGIN PRIVATE KEY-----")
            .and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"))
            .ok_or(KeyError::Pem)?;
        let der = zeroize::Zeroizing::new(STANDARD.decode(body.trim()).map_err(|_| KeyError::Pem)?);
        let seed = der.strip_prefix(&SECRET_PREFIX).ok_or(KeyError::Pem)?;
        Ok(Self::from_seed(seed.try_into().map_err(|_| KeyError::Pem)?))
    }

    /// PKCS#8 PEM without encryption, which `openssl pkey` reads.
    pub fn to_pkcs8_pem(&self) -> zeroize::Zeroizing<String> {
        let der = zeroize::Zeroizing::new([&SECRET_PREFIX[..], &self.seed()[..]].concat());
        let body = zeroize::Zeroizing::new(STANDARD.encode(&*der));
        zeroize::Zeroizing::new(format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            &*body
        ))
    }
}

impl Sign for SecretKey {
    fn public(&self) -> PublicKey {
        PublicKey { suite: Suite::Ed25519, public: Bytes(self.0.verifying_key().to_bytes()) }
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SecretKey({})", key_id(&Sign::public(self)))
    }
}

/// The name of a key: SHA-256 of its SubjectPublicKeyInfo in DER.
pub fn key_id(key: &PublicKey) -> KeyId {
    Digest::of(&public_der(key))
}

/// The key as `openssl pkey -pubin` reads it.
pub fn to_public_pem(key: &PublicKey) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(public_der(key)))
}

fn public_der(key: &PublicKey) -> Vec<u8> {
    [&PUBLIC_PREFIX[..], &key.public.0].concat()
}

/// Refuses a public key about whose signatures verifiers could disagree: in another encoding, of small order, or
/// with a part of small order.
pub fn enrolable(key: &PublicKey) -> Result<(), KeyError> {
    enrolable_bytes(&key.public.0)
}

/// The same for the bare 32 bytes, as log and witness keys are written.
pub fn enrolable_bytes(public: &[u8; 32]) -> Result<(), KeyError> {
    CheckedKey::of(public).map(drop)
}

/// Verifies strictly: S below the group's order, no commitment of small order, and no key that could not be enrolled. Of a
/// security key, what it says beside the signature must be there and say what the suite demands; of another key it must
/// not be there, or one signature would have many texts.
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
    let public = CheckedKey::of(&key.public.0).map_err(|_| SignatureError)?;
    // The suite is the one that roles or a grant pin. Were it read from the signature, whoever has a signature that a
    // key made in one suite could look for a statement that it fits in another.
    let message = match (key.suite, signature.presence()) {
        (Suite::Ed25519, None) => Cow::Borrowed(message),
        (Suite::Sshsig, None) => sshsig::signed_bytes(message).into(),
        (Suite::SkSshsig | Suite::SkSshsigPin, Some(presence))
            if presence.satisfies(key.suite == Suite::SkSshsigPin) =>
        {
            sshsig::security_key_bytes(presence, message).into()
        }
        (Suite::Ed25519 | Suite::Sshsig | Suite::SkSshsig | Suite::SkSshsigPin, _) => {
            return Err(SignatureError);
        }
    };
    public.verify(&message, signature.ed25519())
}
