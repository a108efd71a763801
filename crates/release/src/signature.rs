//! A signature on a statement, as envelopes and the leaves of the log carry it.

use std::fmt;

/// What a security key says beside a signature, and signs with it: five bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Presence {
    /// Whether somebody touched the key, and whether it knows who (FIDO CTAP 2.1, section 6.1).
    pub flags: u8,
    /// How many signatures the key has made so far, as it says. Nothing here is decided on it: a verifier that sees one
    /// release has nothing to compare it with.
    pub counter: u32,
}

impl Presence {
    /// Somebody touched the key.
    pub const TOUCHED: u8 = 0x01;
    /// The key knew its owner, by PIN or finger.
    pub const VERIFIED: u8 = 0x04;

    /// The bytes that are signed and carried: the flags, and the counter, most significant byte first.
    pub fn to_bytes(self) -> [u8; 5] {
        let [first, second, third, fourth] = self.counter.to_be_bytes();
        [self.flags, first, second, third, fourth]
    }

    /// True if somebody touched the key and, where that is demanded, proved to it who they are. Any other flag says that
    /// more was signed than these five bytes, which nobody here would have seen.
    pub fn satisfies(self, pin: bool) -> bool {
        let known = Self::TOUCHED | Self::VERIFIED;
        let demanded = if pin { known } else { Self::TOUCHED };
        self.flags & demanded == demanded && self.flags & !known == 0
    }
}

/// A signature: the 64 bytes of Ed25519 and, of a security key, five more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    ed25519: [u8; 64],
    presence: Option<Presence>,
}

impl Signature {
    /// What a security key gave.
    pub fn of_security_key(ed25519: [u8; 64], presence: Presence) -> Self {
        Self { ed25519, presence: Some(presence) }
    }

    /// Reads 64 or 69 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ed25519, rest) = bytes.split_first_chunk::<64>()?;
        let presence = match *rest {
            [] => None,
            [flags, first, second, third, fourth] => {
                Some(Presence { flags, counter: u32::from_be_bytes([first, second, third, fourth]) })
            }
            _ => return None,
        };
        Some(Self { ed25519: *ed25519, presence })
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.ed25519.to_vec();
        bytes.extend(self.presence.into_iter().flat_map(Presence::to_bytes));
        bytes
    }

    /// The 64 bytes of Ed25519.
    pub fn ed25519(&self) -> &[u8; 64] {
        &self.ed25519
    }

    /// What a security key says beside it.
    pub fn presence(&self) -> Option<Presence> {
        self.presence
    }
}

impl From<[u8; 64]> for Signature {
    fn from(ed25519: [u8; 64]) -> Self {
        Self { ed25519, presence: None }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_64_or_69_bytes() {
        for length in 0..80 {
            let bytes: Vec<u8> = (0..length).collect();
            let read = Signature::from_bytes(&bytes);
            assert_eq!(read.is_some(), length == 64 || length == 69, "{length}");
            assert!(read.is_none_or(|read| read.to_bytes() == bytes));
        }
    }

    #[test]
    fn a_touch_is_demanded_a_pin_only_where_it_is_asked_for_and_no_other_flag_is_taken() {
        let satisfying = |pin| {
            let flags = (0..=255).filter(|flags| Presence { flags: *flags, counter: 7 }.satisfies(pin));
            flags.collect::<Vec<u8>>()
        };
        assert_eq!(satisfying(false), [0x01, 0x05]);
        assert_eq!(satisfying(true), [0x05]);
    }
}
