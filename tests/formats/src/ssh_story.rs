//! People in the story who sign with keys of OpenSSH, rightly and in each wrong way; a security key is played by software.

use release::key::{SecretKey, Sign, SignError, SignStatement};
use release::signature::{Presence, Signature};
use release::sshsig::{self, NAMESPACE};
use release::statement::PublicKey;
use sha2::{Digest as _, Sha256, Sha512};

use crate::second_signature::{with_neutral_commitment, with_second_s};
use crate::story;

/// A key and what it makes of a statement. The story names it `steward-ben/ssh`, with the way after the stroke.
pub struct StoryKey {
    secret: SecretKey,
    way: Option<String>,
}

impl StoryKey {
    /// The key of this name; it signs as `ed25519` if no way is named.
    pub fn named(name: &str) -> Self {
        let (name, way) =
            name.split_once('/').map_or((name, None), |(name, way)| (name, Some(way.to_owned())));
        Self { secret: story::key(name), way }
    }
}

impl SignStatement for StoryKey {
    fn public(&self) -> PublicKey {
        Sign::public(&self.secret)
    }

    fn sign_statement(&self, message: &[u8]) -> Result<Signature, SignError> {
        let of_blob = |namespace: &str, reserved: &[u8], hash: &str| -> Signature {
            self.secret.sign(&blob(namespace, reserved, hash, message)).into()
        };
        let touched = |flags| security_key(&self.secret, Presence { flags, counter: 42 }, "ssh:", message);
        Ok(match self.way.as_deref() {
            None => self.secret.sign(message).into(),
            Some("second-s") => with_second_s(self.secret.sign(message)).into(),
            Some("neutral-commitment") => with_neutral_commitment(&self.secret, message).into(),
            Some("ssh") => self.secret.sign(&sshsig::signed_bytes(message)).into(),
            Some("ssh-for-git") => of_blob("git", b"", "sha512"),
            Some("ssh-with-sha256") => of_blob(NAMESPACE, b"", "sha256"),
            Some("ssh-with-reserved-bytes") => of_blob(NAMESPACE, b"more", "sha512"),
            Some("ssh-twice") => {
                self.secret.sign(&sshsig::signed_bytes(&sshsig::signed_bytes(message))).into()
            }
            Some("security-key") => touched(Presence::TOUCHED),
            Some("security-key-with-pin") => touched(Presence::TOUCHED | Presence::VERIFIED),
            Some("security-key-untouched") => touched(0),
            Some("security-key-with-pin-untouched") => touched(Presence::VERIFIED),
            Some("security-key-with-extensions") => touched(Presence::TOUCHED | 0x80),
            Some("security-key-for-a-site") => {
                let presence = Presence { flags: Presence::TOUCHED, counter: 42 };
                security_key(&self.secret, presence, "https://example.org", message)
            }
            Some("security-key-counting-on") => {
                let signed = touched(Presence::TOUCHED);
                let presence = Presence { flags: Presence::TOUCHED, counter: 43 };
                Signature::of_security_key(*signed.ed25519(), presence)
            }
            Some("security-key-claiming-a-pin") => {
                let signed = touched(Presence::TOUCHED);
                let presence = Presence { flags: Presence::TOUCHED | Presence::VERIFIED, counter: 42 };
                Signature::of_security_key(*signed.ed25519(), presence)
            }
            Some("security-key-without-flags") => (*touched(Presence::TOUCHED).ed25519()).into(),
            Some("ssh-with-flags") => {
                let signed = self.secret.sign(&sshsig::signed_bytes(message));
                Signature::of_security_key(signed, Presence { flags: Presence::TOUCHED, counter: 42 })
            }
            Some(other) => panic!("no key signs in the way {other}"),
        })
    }
}

/// What OpenSSH signs, put together anew, as `PROTOCOL.sshsig` says.
fn blob(namespace: &str, reserved: &[u8], hash: &str, message: &[u8]) -> Vec<u8> {
    let digest = match hash {
        "sha256" => Sha256::digest(message).to_vec(),
        _ => Sha512::digest(message).to_vec(),
    };
    let mut bytes = b"SSHSIG".to_vec();
    for part in [namespace.as_bytes(), reserved, hash.as_bytes(), &digest] {
        bytes.extend((part.len() as u32).to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

/// What a security key signs, as `PROTOCOL.u2f` says, without one: no hardware takes part.
pub fn security_key(secret: &SecretKey, presence: Presence, application: &str, message: &[u8]) -> Signature {
    let (application, signed) =
        (Sha256::digest(application), Sha256::digest(blob(NAMESPACE, b"", "sha512", message)));
    let bytes = [&application[..], &[presence.flags], &presence.counter.to_be_bytes(), &signed].concat();
    Signature::of_security_key(secret.sign(&bytes), presence)
}
