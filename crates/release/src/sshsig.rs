//! Signatures of OpenSSH keys, as `ssh-keygen -Y sign` and an ssh-agent make them (`PROTOCOL.sshsig` of OpenSSH).
//!
//! A key that roles or a grant pin to the suite `sshsig` signs the DSSE encoding of a statement inside these bytes, under
//! one namespace and one hash. All of it but 64 bytes is fixed by that, so an envelope carries the 64 bytes alone and a
//! verifier parses nothing. The armoured form is for people who use OpenSSH's own tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha512};

/// The namespace of every signature of ours. A signature that a key made for another use, such as a commit of git, counts
/// for nothing here.
pub const NAMESPACE: &str = "databox";

const MAGIC: &[u8; 6] = b"SSHSIG";
const VERSION: u32 = 1;
const HASH: &str = "sha512";
const KEY_TYPE: &str = "ssh-ed25519";
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
    /// A key or a signature of another type than `ssh-ed25519`.
    #[error("not of type {KEY_TYPE}")]
    KeyType,
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

/// What the key signs for a message.
pub fn signed_bytes(message: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    // The empty one is reserved by the format.
    let parts: [&[u8]; 4] = [NAMESPACE.as_bytes(), b"", HASH.as_bytes(), &Sha512::digest(message)];
    parts.iter().for_each(|part| push(&mut bytes, part));
    bytes
}

/// The public key as OpenSSH's formats hold it.
pub fn public_blob(public: &[u8; 32]) -> Vec<u8> {
    let mut blob = Vec::new();
    push(&mut blob, KEY_TYPE.as_bytes());
    push(&mut blob, public);
    blob
}

/// The 64 bytes in what an agent or a signature file holds: the type, and the signature.
pub fn parse_signature_blob(blob: &[u8]) -> Result<[u8; 64], SshError> {
    let mut reader = Reader(blob);
    if reader.string()? != KEY_TYPE.as_bytes() {
        return Err(SshError::KeyType);
    }
    let signature = reader.string()?.try_into().map_err(|_| SshError::Form)?;
    reader.end()?;
    Ok(signature)
}

/// The armoured form, which `ssh-keygen -Y verify -n databox` reads.
pub fn to_armour(public: &[u8; 32], signature: &[u8; 64]) -> String {
    let mut signed = Vec::new();
    push(&mut signed, KEY_TYPE.as_bytes());
    push(&mut signed, signature);
    let mut bytes = [&MAGIC[..], &VERSION.to_be_bytes()].concat();
    let key = public_blob(public);
    let parts: [&[u8]; 5] = [&key, NAMESPACE.as_bytes(), b"", HASH.as_bytes(), &signed];
    parts.iter().for_each(|part| push(&mut bytes, part));
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = (0..text.len()).step_by(70).map(|at| &text[at..text.len().min(at + 70)]).collect();
    format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
}

/// The public key and the 64 bytes in an armoured signature of ours. It says nothing about who signed what.
pub fn from_armour(text: &str) -> Result<([u8; 32], [u8; 64]), SshError> {
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
    let public = parse_public_blob(reader.string()?)?;
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
    let signature = parse_signature_blob(reader.string()?)?;
    reader.end()?;
    Ok((public, signature))
}

/// The key in a line of a public key file, such as `~/.ssh/id_ed25519.pub`.
pub fn parse_public_line(text: &str) -> Result<[u8; 32], SshError> {
    let mut words = text.trim_end().splitn(3, ' ');
    let (Some(key_type), Some(blob)) = (words.next(), words.next()) else {
        return Err(SshError::PublicKey);
    };
    if key_type != KEY_TYPE {
        return Err(SshError::KeyType);
    }
    parse_public_blob(&STANDARD.decode(blob).map_err(|_| SshError::PublicKey)?)
}

fn parse_public_blob(blob: &[u8]) -> Result<[u8; 32], SshError> {
    let mut reader = Reader(blob);
    if reader.string()? != KEY_TYPE.as_bytes() {
        return Err(SshError::KeyType);
    }
    let public = reader.string()?.try_into().map_err(|_| SshError::Form)?;
    reader.end()?;
    Ok(public)
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

    fn armour_of(edit: impl Fn(&mut Vec<u8>)) -> String {
        let text = to_armour(&[3; 32], &[9; 64]);
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let mut bytes = STANDARD.decode(body).unwrap();
        edit(&mut bytes);
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(bytes))
    }

    #[test]
    fn an_armoured_signature_is_read_as_it_was_written_and_each_defect_has_its_name() {
        assert_eq!(from_armour(&to_armour(&[3; 32], &[9; 64])), Ok(([3; 32], [9; 64])));
        assert_eq!(from_armour(&armour_of(|_| ())), Ok(([3; 32], [9; 64])));
        let replaced = |from: &'static [u8], to: &'static [u8]| {
            from_armour(&armour_of(move |bytes| {
                let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
                bytes[at..at + from.len()].copy_from_slice(to);
            }))
        };
        assert_eq!(replaced(b"SSHSIG", b"SSHSIH"), Err(SshError::Form));
        assert_eq!(replaced(&[0, 0, 0, 1], &[0, 0, 0, 2]), Err(SshError::Version));
        assert_eq!(replaced(b"databox", b"git-tag"), Err(SshError::Namespace));
        assert_eq!(replaced(b"sha512", b"sha256"), Err(SshError::Hash));
        assert_eq!(replaced(b"ssh-ed25519", b"ssh-ed25518"), Err(SshError::KeyType));
        assert_eq!(from_armour(&armour_of(|bytes| bytes.push(0))), Err(SshError::Form));
        assert_eq!(from_armour(&armour_of(|bytes| bytes.truncate(bytes.len() - 1))), Err(SshError::Form));
        assert_eq!(
            from_armour(&to_armour(&[3; 32], &[9; 64]).replace("BEGIN", "begin")),
            Err(SshError::Armour)
        );
        assert_eq!(from_armour(&format!("{BEGIN}\n{}\n{END}\n", "A".repeat(5000))), Err(SshError::Armour));
    }

    #[test]
    fn a_public_key_line_is_of_the_one_type() {
        let line = format!("ssh-ed25519 {} ana@desk of hers\n", STANDARD.encode(public_blob(&[5; 32])));
        assert_eq!(parse_public_line(&line), Ok([5; 32]));
        assert_eq!(parse_public_line(&line.replace("ssh-ed25519 ", "ssh-rsa ")), Err(SshError::KeyType));
        assert_eq!(parse_public_line("ssh-ed25519"), Err(SshError::PublicKey));
        let long = [public_blob(&[5; 32]), vec![0]].concat();
        assert_eq!(parse_public_line(&format!("ssh-ed25519 {}", STANDARD.encode(long))), Err(SshError::Form));
    }
}
