//! A person's two keys, each in an encrypted file that `openssl pkey` reads.
//!
//! The files are PKCS#8 (RFC 5958) with PBES2 (RFC 8018): scrypt (RFC 7914) and AES-256-CBC. scrypt runs with
//! N = 2^14, r = 8, p = 5, which the OWASP password storage cheat sheet holds equal to N = 2^17, p = 1; OpenSSL
//! refuses to give a larger N the memory it needs.

use std::io;
use std::path::{Path, PathBuf};

use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, Serializable};
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::{EncryptionScheme, pbes2};
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use release::key::SecretKey;
use zeroize::Zeroizing;

/// File of the signing key, in the directory of a person's keys.
pub const SIGNING_FILE: &str = "signing.key.pem";
/// File of the review key, in the directory of a person's keys.
pub const REVIEW_FILE: &str = "review.key.pem";
/// Fewest bytes of a passphrase under which a key is written.
pub const PASSPHRASE_LEAST: usize = 8;

const LABEL: &str = "ENCRYPTED PRIVATE KEY";
const FILE_LIMIT: u64 = 16 * 1024;

/// Why a key file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The passphrase is too short to keep anyone out.
    #[error("the passphrase is too short: {PASSPHRASE_LEAST} bytes are the least")]
    PassphraseTooShort,
    /// There is a file already; a key is never overwritten.
    #[error("{path} is there already, and a key is never overwritten; choose another directory")]
    AlreadyThere {
        /// The file.
        path: PathBuf,
    },
    /// No such file.
    #[error("there is no key file {path}; `databox key new` makes one")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("the key file {path} cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is an unencrypted key.
    #[error("{path} holds a key without encryption; `openssl pkcs8 -topk8 -scrypt` encrypts it")]
    NotEncrypted {
        /// The file.
        path: PathBuf,
    },
    /// The file is not PEM with an encrypted PKCS#8 key.
    #[error("{path} is no encrypted PKCS#8 key in PEM")]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// The file is encrypted in another way, or with a work factor out of bounds.
    #[error(
        "{path} is not encrypted with scrypt (N from 2^14 to 2^18) and AES-256-CBC; \
         `openssl pkcs8 -topk8 -scrypt` encrypts it anew"
    )]
    Encryption {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase is wrong. A damaged file looks the same, since nothing else tells them apart.
    #[error("wrong passphrase for {path}, or the file is damaged")]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// The file holds a key of another kind.
    #[error("{path} holds no {wanted} key")]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// The kind that was wanted.
        wanted: KeyKind,
    },
    /// The operating system gives no random bytes, or refuses the memory that scrypt needs.
    #[error("the key cannot be made or encrypted on this machine")]
    Machine,
}

/// The two kinds of key that a person has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519, for signing.
    Signing,
    /// X25519, for opening review packets.
    Review,
}

impl std::fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Signing => "Ed25519",
            Self::Review => "X25519",
        })
    }
}

impl KeyKind {
    /// DER of a PKCS#8 v1 private key up to its 32 bytes (RFC 8410, section 7); the kinds differ in the last byte
    /// of the object identifier, 1.3.101.112 and 1.3.101.110.
    fn prefix(self) -> [u8; 16] {
        let last = match self {
            Self::Signing => 0x70,
            Self::Review => 0x6e,
        };
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, last, 0x04, 0x22, 0x04, 0x20]
    }
}

/// The secret half of an X25519 review key. It is wiped from memory when dropped.
#[derive(Clone)]
pub struct ReviewSecret(Zeroizing<[u8; 32]>);

impl ReviewSecret {
    /// A new key from the operating system's random bytes.
    pub fn generate() -> Result<Self, KeyFileError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|_| KeyFileError::Machine)?;
        Ok(Self(bytes))
    }

    /// The key with these 32 bytes (RFC 7748).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The public key, as roles hold it.
    pub fn public(&self) -> [u8; 32] {
        X25519HkdfSha256::sk_to_pk(&self.hpke_key()).to_bytes().into()
    }

    pub(crate) fn hpke_key(&self) -> <X25519HkdfSha256 as Kem>::PrivateKey {
        <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&*self.0).expect("32 bytes are an X25519 key")
    }
}

impl std::fmt::Debug for ReviewSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ReviewSecret")
    }
}

/// A person's keys.
#[derive(Debug, Clone)]
pub struct PersonKeys {
    /// Signs requests, approvals, denials and site statements.
    pub signing: SecretKey,
    /// Opens review packets.
    pub review: ReviewSecret,
}

impl PersonKeys {
    /// New keys.
    pub fn generate() -> Result<Self, KeyFileError> {
        let signing = SecretKey::generate().map_err(|_| KeyFileError::Machine)?;
        Ok(Self { signing, review: ReviewSecret::generate()? })
    }

    /// Writes both files into a directory, mode 0600, durably; neither replaces a file. If one is there already,
    /// neither is written.
    pub fn write(&self, directory: &Path, passphrase: &str) -> Result<(), KeyFileError> {
        let (signing, review) = (directory.join(SIGNING_FILE), directory.join(REVIEW_FILE));
        for path in [&signing, &review] {
            if path.symlink_metadata().is_ok() {
                return Err(KeyFileError::AlreadyThere { path: path.clone() });
            }
        }
        write_signing(&signing, &self.signing, passphrase)?;
        write_review(&review, &self.review, passphrase).inspect_err(|_| {
            // Half a pair would block the next attempt; this one is ours and nobody has seen its public key.
            let _ = std::fs::remove_file(&signing);
        })
    }

    /// Reads both files of a directory.
    pub fn read(directory: &Path, passphrase: &str) -> Result<Self, KeyFileError> {
        Ok(Self {
            signing: read_signing(&directory.join(SIGNING_FILE), passphrase)?,
            review: read_review(&directory.join(REVIEW_FILE), passphrase)?,
        })
    }
}

/// Writes a signing key, mode 0600, durably, never over another file.
pub fn write_signing(path: &Path, key: &SecretKey, passphrase: &str) -> Result<(), KeyFileError> {
    write(path, KeyKind::Signing, &key.seed(), passphrase)
}

/// Writes a review key, mode 0600, durably, never over another file.
pub fn write_review(path: &Path, key: &ReviewSecret, passphrase: &str) -> Result<(), KeyFileError> {
    write(path, KeyKind::Review, &key.0, passphrase)
}

/// Reads a signing key.
pub fn read_signing(path: &Path, passphrase: &str) -> Result<SecretKey, KeyFileError> {
    Ok(SecretKey::from_seed(*read(path, KeyKind::Signing, passphrase)?))
}

/// Reads a review key.
pub fn read_review(path: &Path, passphrase: &str) -> Result<ReviewSecret, KeyFileError> {
    Ok(ReviewSecret(read(path, KeyKind::Review, passphrase)?))
}

fn write(path: &Path, kind: KeyKind, key: &[u8; 32], passphrase: &str) -> Result<(), KeyFileError> {
    if passphrase.len() < PASSPHRASE_LEAST {
        return Err(KeyFileError::PassphraseTooShort);
    }
    let pem = encrypt(kind, key, passphrase).ok_or(KeyFileError::Machine)?;
    let path = path.to_owned();
    blobs::write_new_file_durably(&path, pem.as_bytes(), 0o600).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::AlreadyThere { path },
        _ => KeyFileError::Io { path, source },
    })
}

fn encrypt(kind: KeyKind, key: &[u8; 32], passphrase: &str) -> Option<Zeroizing<String>> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    getrandom::fill(&mut salt).ok()?;
    getrandom::fill(&mut iv).ok()?;
    let work = scrypt::Params::new(14, 8, 5).ok()?;
    let parameters = pbes2::Parameters::generate_scrypt_aes256cbc(work, &salt, iv).ok()?;
    let plain = Zeroizing::new([&kind.prefix()[..], key].concat());
    let encrypted = parameters.encrypt(passphrase, &plain).ok()?;
    let encrypted = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: parameters.into(),
        encrypted_data: OctetStringRef::new(&encrypted).ok()?,
    };
    SecretDocument::try_from(&encrypted).ok()?.to_pem(LABEL, LineEnding::LF).ok()
}

fn read(path: &Path, wanted: KeyKind, passphrase: &str) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let path = path.to_owned();
    let pem = read_text(&path)?;
    let Ok((label, document)) = SecretDocument::from_pem(&pem) else {
        return Err(KeyFileError::Form { path });
    };
    match label {
        LABEL => {}
        "PRIVATE KEY" => return Err(KeyFileError::NotEncrypted { path }),
        _ => return Err(KeyFileError::Form { path }),
    }
    let Ok(encrypted) = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()) else {
        return Err(KeyFileError::Form { path });
    };
    if !acceptable(&encrypted.encryption_algorithm) {
        return Err(KeyFileError::Encryption { path });
    }
    let Ok(plain) = encrypted.decrypt(passphrase) else {
        return Err(KeyFileError::WrongPassphrase { path });
    };
    let key = plain.as_bytes().strip_prefix(&wanted.prefix()).and_then(|key| key.try_into().ok());
    key.map(Zeroizing::new).ok_or(KeyFileError::OtherKind { path, wanted })
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing { path: path.to_owned() },
        _ => KeyFileError::Io { path: path.to_owned(), source },
    };
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(refused)?;
    match io::Read::read_to_string(&mut io::Read::take(file, FILE_LIMIT), &mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(KeyFileError::Form { path: path.to_owned() })
        }
        Err(error) => Err(refused(error)),
    }
}

/// Less work than our own files would let guesses in; far more would let a planted file exhaust the machine.
fn acceptable(scheme: &EncryptionScheme) -> bool {
    let EncryptionScheme::Pbes2(parameters) = scheme else { return false };
    let cipher = matches!(parameters.encryption, pbes2::EncryptionScheme::Aes256Cbc { .. });
    cipher
        && parameters.kdf.scrypt().is_some_and(|scrypt| {
            // 128 N r bytes of memory: 16 MiB at least, 256 MiB at most.
            let blocks = scrypt.cost_parameter.saturating_mul(scrypt.block_size.into());
            (1 << 14..=1 << 18).contains(&scrypt.cost_parameter)
                && scrypt.block_size >= 8
                && blocks <= 1 << 21
                && (1..=16).contains(&scrypt.parallelization)
        })
}
