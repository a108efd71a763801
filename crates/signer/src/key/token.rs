//! Keys in a token: a hardware security module or a card behind PKCS #11 (OASIS, v2.40; EdDSA as in v3.0, section 2.3.14).
//!
//! The token's library runs in this process and could do what the process can. What it says is not believed: a signature
//! counts only if it verifies with the public key that roles name.

#[cfg(test)]
pub(crate) mod tests;

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as CallError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use release::key::{self, KeyError, SignError};
use release::signature::Signature;
use release::statement::{PublicKey, Suite};
use release::value::Bytes;
use serde::Deserialize;
use zeroize::Zeroizing;

/// DER of an OCTET STRING of 32 bytes, as which PKCS #11 2.40 writes a point. Some tokens give the bare bytes.
const OCTET_STRING: [u8; 2] = [0x04, 0x20];

/// The `[token]` of `signer.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfiguration {
    /// The token's library. It runs in this process.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// A file with the PIN, readable for the signer's user alone.
    pub pin_file: PathBuf,
    /// Label of the key of release manifests, if it is there.
    pub release_key: Option<String>,
    /// Label of the key of the log, if it is there.
    pub log_key: Option<String>,
}

/// A token, or a key in one, that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The library cannot be loaded or does not begin.
    #[error("the library {path} cannot be used: {source}")]
    Module {
        /// Which.
        path: PathBuf,
        /// Why.
        source: CallError,
    },
    /// No token has this label, or several have it.
    #[error("{found} tokens are labelled {label}, and one is needed")]
    Tokens {
        /// The label.
        label: String,
        /// How many.
        found: usize,
    },
    /// The PIN cannot be read.
    #[error("the file {path} with the PIN cannot be read: {source}")]
    PinFile {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others than the signer's user may read the PIN.
    #[error(
        "the file {0} with the PIN is readable for others: its mode must be 0400 or 0600, or systemd's own"
    )]
    PinMode(PathBuf),
    /// The token does not take the PIN. It is not asked again by this process: most tokens lock themselves after a few
    /// wrong ones.
    #[error("the token does not take the PIN, and is not asked again")]
    PinRefused,
    /// The token lets nobody in, whatever the PIN.
    #[error("the token does not let the signer in: {0}")]
    Login(#[source] CallError),
    /// The token fails.
    #[error("the token fails: {0}")]
    Call(#[from] CallError),
    /// There is no Ed25519 key of this label, or several.
    #[error("{found} Ed25519 keys of kind {kind} are labelled {label}, and one is needed")]
    Keys {
        /// The label.
        label: String,
        /// Private or public.
        kind: &'static str,
        /// How many.
        found: usize,
    },
    /// The token would give the key away.
    #[error("the key {0} can be read out of the token")]
    Readable(String),
    /// The public key is not accepted.
    #[error("the public key {label} is not accepted: {source}")]
    Public {
        /// Which.
        label: String,
        /// Why.
        source: KeyError,
    },
    /// The token's signature does not verify with the public key of the same label.
    #[error("the two keys labelled {0} do not belong together")]
    Pair(String),
}

/// A token whose library runs in this process.
#[derive(Clone)]
pub struct Token {
    module: Pkcs11,
    label: String,
    pin_file: PathBuf,
    /// Set once the token has refused the PIN, for every key in it.
    refused: Arc<AtomicBool>,
}

impl Token {
    /// Loads the library. Once a process.
    pub fn load(configuration: &TokenConfiguration) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Module { path: configuration.module.clone(), source };
        let module = Pkcs11::new(&configuration.module).map_err(failed)?;
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(failed)?;
        Ok(Self {
            module,
            label: configuration.label.clone(),
            pin_file: configuration.pin_file.clone(),
            refused: Arc::default(),
        })
    }

    fn slot(&self) -> Result<Slot, TokenError> {
        let mut found = Vec::new();
        for slot in self.module.get_slots_with_initialized_token()? {
            if self.module.get_token_info(slot)?.label() == self.label {
                found.push(slot);
            }
        }
        match found[..] {
            [slot] => Ok(slot),
            _ => Err(TokenError::Tokens { label: self.label.clone(), found: found.len() }),
        }
    }

    fn pin(&self) -> Result<AuthPin, TokenError> {
        let failed = |source| TokenError::PinFile { path: self.pin_file.clone(), source };
        let file = Access::of(&self.pin_file).map_err(failed)?;
        let above = Access::of(self.pin_file.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        // Whoever reads the PIN and reaches the token signs what they like.
        if !file.is_private(above) {
            return Err(TokenError::PinMode(self.pin_file.clone()));
        }
        let text = fs::read_to_string(&self.pin_file).map(Zeroizing::new).map_err(failed)?;
        Ok(AuthPin::new(text.trim_end_matches('\n').into()))
    }

    fn session(&self) -> Result<Session, TokenError> {
        // Without this each signature asked for would be a try more, until the token locks itself.
        if self.refused.load(Ordering::Relaxed) {
            return Err(TokenError::PinRefused);
        }
        let session = self.module.open_ro_session(self.slot()?)?;
        match session.login(UserType::User, Some(&self.pin()?)) {
            // The other key's session is let in already, and with it this one.
            Ok(()) | Err(CallError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(CallError::Pkcs11(error, _)) if is_about_the_pin(error) => {
                self.refused.store(true, Ordering::Relaxed);
                Err(TokenError::PinRefused)
            }
            Err(error) => Err(TokenError::Login(error)),
        }
    }
}

fn is_about_the_pin(error: RvError) -> bool {
    matches!(
        error,
        RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
    )
}

/// Who may reach a file or a directory, as far as its mode says.
#[derive(Debug, Clone, Copy)]
struct Access {
    mode: u32,
    of_root: bool,
}

impl Access {
    fn of(path: &Path) -> std::io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self { mode: found.mode() & 0o777, of_root: found.uid() == 0 && found.gid() == 0 })
    }

    /// True if only the file's owner may read it, or if it lies as systemd lays a credential down: root's, below a
    /// directory of root's, both open to the service by an access list, whose mask stands where the group's rights
    /// would. Another mode with a right of the group, or of everybody, would let others of this machine have the PIN.
    fn is_private(self, above: Self) -> bool {
        let credential = self.of_root && above.of_root && self.mode == 0o440 && above.mode & !0o550 == 0;
        self.mode & 0o077 == 0 || credential
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Token({})", self.label)
    }
}

/// A key in a token.
#[derive(Debug)]
pub struct TokenKey {
    token: Token,
    label: String,
    public: PublicKey,
    /// Closed after a failure, and opened anew for the next signature: a token may have been taken out, or restarted.
    open: RefCell<Option<(Session, ObjectHandle)>>,
}

impl TokenKey {
    /// Finds the key pair of this label and tries it.
    pub fn open(token: &Token, label: &str) -> Result<Self, TokenError> {
        let session = token.session()?;
        let public = public_key(&session, label)?;
        let private = private_key(&session, label)?;
        let open = RefCell::new(Some((session, private)));
        let key = Self { token: token.clone(), label: label.to_owned(), public, open };
        // Found now, it is a mistake of whoever made the keys; later it would stop a release.
        match key.sign(b"databox: a key of the box is tried") {
            Ok(_) => Ok(key),
            Err(_) => Err(TokenError::Pair(label.to_owned())),
        }
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The signature of a message. A token that fails is asked once more, in a new session.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let signature = match self.ask(message) {
            Ok(signature) => signature,
            Err(_) => {
                self.open.replace(None);
                self.ask(message).map_err(|_| SignError::Unreachable)?
            }
        };
        let signature: [u8; 64] = signature.try_into().map_err(|_| SignError::Answer)?;
        // A token that is broken or replaced must not put into the log what no verifier accepts.
        key::verify(&self.public, message, &Signature::from(signature)).map_err(|_| SignError::Answer)?;
        Ok(signature)
    }

    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.open.replace(None);
    }

    fn ask(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let mut open = self.open.borrow_mut();
        if open.is_none() {
            let session = self.token.session()?;
            let private = private_key(&session, &self.label)?;
            *open = Some((session, private));
        }
        let Some((session, private)) = &*open else { return Err(CallError::InvalidValue.into()) };
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        Ok(session.sign(&mechanism, *private, message)?)
    }
}

fn find(
    session: &Session,
    class: ObjectClass,
    kind: &'static str,
    label: &str,
) -> Result<ObjectHandle, TokenError> {
    let template = [
        Attribute::Class(class),
        Attribute::KeyType(KeyType::EC_EDWARDS),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    match session.find_objects(&template)?[..] {
        [found] => Ok(found),
        ref found => Err(TokenError::Keys { label: label.to_owned(), kind, found: found.len() }),
    }
}

/// The private key, which the token must keep to itself.
fn private_key(session: &Session, label: &str) -> Result<ObjectHandle, TokenError> {
    let found = find(session, ObjectClass::PRIVATE_KEY, "private", label)?;
    let asked = [AttributeType::Sensitive, AttributeType::Extractable];
    let said = session.get_attributes(found, &asked)?;
    // Without these two a copy may exist anywhere, and a token proves nothing that a file does not.
    let kept = said.contains(&Attribute::Sensitive(true)) && said.contains(&Attribute::Extractable(false));
    if kept { Ok(found) } else { Err(TokenError::Readable(label.to_owned())) }
}

fn public_key(session: &Session, label: &str) -> Result<PublicKey, TokenError> {
    let found = find(session, ObjectClass::PUBLIC_KEY, "public", label)?;
    let refused = |source| TokenError::Public { label: label.to_owned(), source };
    let said = session.get_attributes(found, &[AttributeType::EcPoint])?;
    let point = said.iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => Some(&point[..]),
        _ => None,
    });
    let point = point.unwrap_or_default();
    let bytes = <[u8; 32]>::try_from(point.strip_prefix(&OCTET_STRING).unwrap_or(point));
    let public = bytes.map_err(|_| refused(KeyError::Encoding))?;
    let public = PublicKey { suite: Suite::Ed25519, public: Bytes(public) };
    key::enrolable(&public).map_err(refused)?;
    Ok(public)
}
