//! Signatures of OpenSSH keys, as `ssh-keygen -Y sign` and an ssh-agent make them (`PROTOCOL.sshsig` of OpenSSH, and
//! `PROTOCOL.u2f` for security keys).
//!
//! A key that roles or a grant pin to such a suite signs the DSSE encoding of a statement inside these bytes, under one
//! namespace, one hash and, for a security key, one application. All of it but the signature is fixed by that, so an
//! envelope carries the signature alone and a verifier parses nothing. The armoured form is for people who use OpenSSH's
//! own tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};

use crate::signature::{Presence, Signature};
use crate::statement::{PublicKey, Suite};

/// The namespace of every signature of ours. A signature that a key made for another use, such as a commit of git, counts
/// for nothing here.
pub const NAMESPACE: &str = "databox";

/// The application of a security key. OpenSSH gives this one to every key for which nobody asked for another.
pub const APPLICATION: &str = "ssh:";

const MAGIC: &[u8; 6] = b"SSHSIG";
const VERSION: u32 = 1;
const HASH: &str = "sha512";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// Largest armoured signature in bytes. One of Ed25519 has some 300.
const ARMOUR_LIMIT: usize = 4096;

/// Why an OpenSSH key or signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// Not the text of an armoured signature.
    #[error("not an armoured SSH signature")]
    Armour,
    /// The bytes are not those of a signature: a part is missing, too long or left over.
    #[error("not an SSH signature")]
    Form,
    /// Another version of the format.
    #[error("an SSH signature of another version")]
    Version,
    /// A key or a signature of another type: certificates too, since nothing here asks who issued them.
    #[error("not of type ssh-ed25519 or sk-ssh-ed25519@openssh.com")]
    KeyType,
    /// A security key for another use.
    #[error("a security key for another application than {APPLICATION}")]
    Application,
    /// Made for another use.
    #[error("an SSH signature for another use than {NAMESPACE}")]
    Namespace,
    /// Over another hash than SHA-512.
    #[error("an SSH signature over another hash than {HASH}")]
    Hash,
    /// Not one line of a public key file.
    #[error("not a line of an OpenSSH public key file")]
    PublicKey,
}

/// Where a private key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// In a file or an agent.
    Software,
    /// In a security key (FIDO2), which is touched for each signature.
    SecurityKey,
}

impl Holder {
    /// OpenSSH's name of the type of key and signature.
    fn key_type(self) -> &'static str {
        match self {
            Self::Software => "ssh-ed25519",
            Self::SecurityKey => "sk-ssh-ed25519@openssh.com",
        }
    }

    fn of_type(key_type: &[u8]) -> Result<Self, SshError> {
        let all = [Self::Software, Self::SecurityKey];
        all.into_iter().find(|holder| holder.key_type().as_bytes() == key_type).ok_or(SshError::KeyType)
    }
}

/// A public key of OpenSSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SshKey {
    /// Where its private half is.
    pub holder: Holder,
    /// The 32 bytes of Ed25519.
    pub public: [u8; 32],
}

impl SshKey {
    /// The key that roles or a grant name, if its suite is one of OpenSSH's.
    pub fn of(key: &PublicKey) -> Option<Self> {
        let holder = match key.suite {
            Suite::Ed25519 => return None,
            Suite::Sshsig => Holder::Software,
            Suite::SkSshsig | Suite::SkSshsigPin => Holder::SecurityKey,
        };
        Some(Self { holder, public: key.public.0 })
    }

    /// The key as OpenSSH's formats hold it.
    pub fn to_blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        push(&mut blob, self.holder.key_type().as_bytes());
        push(&mut blob, &self.public);
        if self.holder == Holder::SecurityKey {
            push(&mut blob, APPLICATION.as_bytes());
        }
        blob
    }

    fn from_blob(blob: &[u8]) -> Result<Self, SshError> {
        let mut reader = Reader(blob);
        let holder = Holder::of_type(reader.string()?)?;
        let public = reader.string()?.try_into().map_err(|_| SshError::Form)?;
        if holder == Holder::SecurityKey && reader.string()? != APPLICATION.as_bytes() {
            return Err(SshError::Application);
        }
        reader.end()?;
        Ok(Self { holder, public })
    }

    /// The key in a line of a public key file, such as `~/.ssh/id_ed25519.pub`.
    ///
    /// # Errors
    /// If the line is another, or the key of another type or application.
    pub fn from_public_line(text: &str) -> Result<Self, SshError> {
        let mut words = text.trim_end().splitn(3, ' ');
        let (Some(key_type), Some(blob)) = (words.next(), words.next()) else {
            return Err(SshError::PublicKey);
        };
        let holder = Holder::of_type(key_type.as_bytes())?;
        let key = Self::from_blob(&STANDARD.decode(blob).map_err(|_| SshError::PublicKey)?)?;
        if key.holder == holder { Ok(key) } else { Err(SshError::PublicKey) }
    }
}

/// What the key signs for a message; a security key signs [`security_key_bytes`] of it.
pub fn signed_bytes(message: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    // The empty one is reserved by the format.
    let parts: [&[u8]; 4] = [NAMESPACE.as_bytes(), b"", HASH.as_bytes(), &Sha512::digest(message)];
    parts.iter().for_each(|part| push(&mut bytes, part));
    bytes
}

/// What a security key signs for a message: digests of its application and of what another key would sign, and between
/// them what it says itself.
pub fn security_key_bytes(presence: Presence, message: &[u8]) -> Vec<u8> {
    let (application, signed) = (Sha256::digest(APPLICATION), Sha256::digest(signed_bytes(message)));
    [&application[..], &presence.to_bytes(), &signed].concat()
}

/// The signature in what an agent or a signature file holds: the type, the signature and, of a security key, the five
/// bytes more.
///
/// # Errors
/// If it is of another type than this holder's, or not exactly a signature.
pub fn parse_signature_blob(holder: Holder, blob: &[u8]) -> Result<Signature, SshError> {
    let mut reader = Reader(blob);
    if Holder::of_type(reader.string()?)? != holder {
        return Err(SshError::KeyType);
    }
    let ed25519: [u8; 64] = reader.string()?.try_into().map_err(|_| SshError::Form)?;
    match holder {
        Holder::Software => {
            reader.end()?;
            Ok(ed25519.into())
        }
        // No length stands before the five bytes.
        Holder::SecurityKey => {
            let whole = [&ed25519[..], reader.0].concat();
            let signature = Signature::from_bytes(&whole).filter(|signature| signature.presence().is_some());
            signature.ok_or(SshError::Form)
        }
    }
}

fn signature_blob(holder: Holder, signature: &Signature) -> Vec<u8> {
    let mut blob = Vec::new();
    push(&mut blob, holder.key_type().as_bytes());
    push(&mut blob, signature.ed25519());
    blob.extend(signature.presence().into_iter().flat_map(Presence::to_bytes));
    blob
}

/// The armoured form, which `ssh-keygen -Y verify -n databox` reads.
pub fn to_armour(key: &SshKey, signature: &Signature) -> String {
    let mut bytes = [&MAGIC[..], &VERSION.to_be_bytes()].concat();
    let (key, signed) = (key.to_blob(), signature_blob(key.holder, signature));
    let parts: [&[u8]; 5] = [&key, NAMESPACE.as_bytes(), b"", HASH.as_bytes(), &signed];
    parts.iter().for_each(|part| push(&mut bytes, part));
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = (0..text.len()).step_by(70).map(|at| &text[at..text.len().min(at + 70)]).collect();
    format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
}

/// The public key and the signature in an armoured signature of ours. It says nothing about who signed what.
///
/// # Errors
/// If it is not in the one form, or for another use.
pub fn from_armour(text: &str) -> Result<(SshKey, Signature), SshError> {
    if text.len() > ARMOUR_LIMIT {
        return Err(SshError::Armour);
    }
    let lines = text.trim_end().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let lines = lines.ok_or(SshError::Armour)?.replace(['\n', '\r'], "");
    let bytes = STANDARD.decode(lines).map_err(|_| SshError::Armour)?;
    let mut reader = Reader(bytes.strip_prefix(MAGIC).ok_or(SshError::Form)?);
    if reader.number()? != VERSION {
        return Err(SshError::Version);
    }
    let key = SshKey::from_blob(reader.string()?)?;
    if reader.string()? != NAMESPACE.as_bytes() {
        return Err(SshError::Namespace);
    }
    // Reserved; readers of the format pass it over, but it is signed, and ours is empty.
    if !reader.string()?.is_empty() {
        return Err(SshError::Form);
    }
    if reader.string()? != HASH.as_bytes() {
        return Err(SshError::Hash);
    }
    let signature = parse_signature_blob(key.holder, reader.string()?)?;
    reader.end()?;
    Ok((key, signature))
}

/// Adds a string of RFC 4251: its length as 32 bits, and its bytes.
fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
    bytes.extend_from_slice(part);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<u32, SshError> {
        let (number, rest) = self.0.split_first_chunk::<4>().ok_or(SshError::Form)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Result<&'a [u8], SshError> {
        let length = self.number()? as usize;
        let (part, rest) = self.0.split_at_checked(length).ok_or(SshError::Form)?;
        self.0 = rest;
        Ok(part)
    }

    fn end(&self) -> Result<(), SshError> {
        if self.0.is_empty() { Ok(()) } else { Err(SshError::Form) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [SshKey; 2] = [
        SshKey { holder: Holder::Software, public: [3; 32] },
        SshKey { holder: Holder::SecurityKey, public: [3; 32] },
    ];

    fn signature(key: &SshKey) -> Signature {
        match key.holder {
            Holder::Software => [9; 64].into(),
            Holder::SecurityKey => Signature::of_security_key([9; 64], Presence { flags: 1, counter: 2 }),
        }
    }

    fn armour_of(key: &SshKey, edit: impl Fn(&mut Vec<u8>)) -> String {
        let text = to_armour(key, &signature(key));
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let mut bytes = STANDARD.decode(body).unwrap();
        edit(&mut bytes);
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(bytes))
    }

    #[test]
    fn an_armoured_signature_is_read_as_it_was_written_and_each_defect_has_its_name() {
        for key in &KEYS {
            let read = Ok((*key, signature(key)));
            assert_eq!(from_armour(&to_armour(key, &signature(key))), read);
            assert_eq!(from_armour(&armour_of(key, |_| ())), read);
            let replaced = |from: &'static [u8], to: &'static [u8]| {
                from_armour(&armour_of(key, move |bytes| {
                    let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
                    bytes[at..at + from.len()].copy_from_slice(to);
                }))
            };
            assert_eq!(replaced(b"SSHSIG", b"SSHSIH"), Err(SshError::Form));
            assert_eq!(replaced(&[0, 0, 0, 1], &[0, 0, 0, 2]), Err(SshError::Version));
            assert_eq!(replaced(b"databox", b"git-tag"), Err(SshError::Namespace));
            assert_eq!(replaced(b"sha512", b"sha256"), Err(SshError::Hash));
            assert_eq!(replaced(b"ssh-ed25519", b"ssh-ed25518"), Err(SshError::KeyType));
            assert_eq!(from_armour(&armour_of(key, |bytes| bytes.push(0))), Err(SshError::Form));
            for cut in 1..80 {
                let short = from_armour(&armour_of(key, move |bytes| bytes.truncate(bytes.len() - cut)));
                assert_eq!(short, Err(SshError::Form), "{cut} bytes less");
            }
        }
        let plain = to_armour(&KEYS[0], &signature(&KEYS[0]));
        assert_eq!(from_armour(&plain.replace("BEGIN", "begin")), Err(SshError::Armour));
        assert_eq!(from_armour(&format!("{BEGIN}\n{}\n{END}\n", "A".repeat(5000))), Err(SshError::Armour));
    }

    #[test]
    fn the_signature_in_an_armour_is_of_the_keys_own_type() {
        let [software, security_key] = &KEYS;
        assert_eq!(from_armour(&to_armour(software, &signature(security_key))), Err(SshError::Form));
        assert_eq!(from_armour(&to_armour(security_key, &signature(software))), Err(SshError::Form));
        for (holder, other) in [(software, security_key), (security_key, software)] {
            let blob = signature_blob(other.holder, &signature(other));
            assert_eq!(parse_signature_blob(holder.holder, &blob), Err(SshError::KeyType));
            assert_eq!(parse_signature_blob(other.holder, &blob), Ok(signature(other)));
        }
    }

    #[test]
    fn a_public_key_line_is_of_one_of_two_types_and_no_certificate() {
        let line =
            |key_type: &str, blob: &[u8]| format!("{key_type} {} ana@desk of hers\n", STANDARD.encode(blob));
        for key in KEYS {
            let (key_type, blob) = (key.holder.key_type(), key.to_blob());
            assert_eq!(SshKey::from_public_line(&line(key_type, &blob)), Ok(key));
            assert_eq!(SshKey::from_public_line(&line("ssh-rsa", &blob)), Err(SshError::KeyType));
            assert_eq!(SshKey::from_public_line(key_type), Err(SshError::PublicKey));
            let long = [&blob[..], &[0]].concat();
            assert_eq!(SshKey::from_public_line(&line(key_type, &long)), Err(SshError::Form));
        }
        let other = line(KEYS[0].holder.key_type(), &KEYS[1].to_blob());
        assert_eq!(SshKey::from_public_line(&other), Err(SshError::PublicKey));
        // A certificate is a key, who vouches for it and until when; none of that is looked at here.
        for certificate in ["ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519-cert-v01@openssh.com"] {
            let mut blob = Vec::new();
            push(&mut blob, certificate.as_bytes());
            push(&mut blob, &[7; 32]);
            push(&mut blob, &[3; 32]);
            assert_eq!(SshKey::from_public_line(&line(certificate, &blob)), Err(SshError::KeyType));
            assert_eq!(SshKey::from_public_line(&line("ssh-ed25519", &blob)), Err(SshError::KeyType));
        }
    }

    #[test]
    fn a_security_key_is_for_the_one_application() {
        let mut blob = Vec::new();
        let parts: [&[u8]; 3] = [KEYS[1].holder.key_type().as_bytes(), &[3; 32], b"ssh:work"];
        parts.iter().for_each(|part| push(&mut blob, part));
        let line = format!("sk-ssh-ed25519@openssh.com {}", STANDARD.encode(blob));
        assert_eq!(SshKey::from_public_line(&line), Err(SshError::Application));
    }
}
