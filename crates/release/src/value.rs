//! The values that statements are made of. Each has exactly one text form, so that signed bytes have one too.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::Digest;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A value whose text is not in its one form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a count.
    #[error("not a count: a decimal number from 0 to 18446744073709551615 without leading zeros is expected")]
    Count,
    /// Not a name.
    #[error("not a name: 1 to 128 of the characters A-Z a-z 0-9 . _ - are expected, the first not a dot")]
    Name,
    /// Not a time.
    #[error("not a time: the form 2026-11-24T09:00:00Z is expected")]
    Timestamp,
    /// Not base64 of the expected length.
    #[error("not base64 in its one form, with padding, of the expected length")]
    Base64,
}

/// A whole number, written as a decimal string, since JSON numbers above 2^53 differ between readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Count(pub u64);

impl FromStr for Count {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number: u64 = text.parse().map_err(|_| ValueError::Count)?;
        if number.to_string() == text { Ok(Self(number)) } else { Err(ValueError::Count) }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// A name of a person, project, dataset, file, tensor or the like: 1 to 128 of `A-Z a-z 0-9 . _ -`, the first
/// not a dot. It is safe as a file name and never a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let sized = (1..=128).contains(&text.len());
        if sized && !text.starts_with('.') && text.bytes().all(known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::Name)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A moment, in whole seconds since 1970-01-01 UTC; written as RFC 3339 with `Z`, without fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment that can be written, 9999-12-31T23:59:59Z.
    pub const LAST: Self = Self(253_402_300_799);

    /// The moment this many seconds after 1970-01-01T00:00:00Z. Years outside 1970 to 9999 are refused.
    pub fn from_seconds(seconds: i64) -> Result<Self, ValueError> {
        if (0..=Self::LAST.0).contains(&seconds) { Ok(Self(seconds)) } else { Err(ValueError::Timestamp) }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// This moment plus so many seconds, or the last one that can be written.
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds).clamp(0, Self::LAST.0))
    }
}

impl FromStr for Timestamp {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| ValueError::Timestamp)?;
        let moment = Self::from_seconds(moment.unix_timestamp())?;
        if moment.to_string() == text { Ok(moment) } else { Err(ValueError::Timestamp) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        formatter.write_str(&moment.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

/// Exactly `N` bytes, written as base64 with padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bytes<const N: usize>(pub [u8; N]);

impl<const N: usize> FromStr for Bytes<N> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bytes = STANDARD.decode(text).map_err(|_| ValueError::Base64)?;
        let bytes = Self(bytes.try_into().map_err(|_| ValueError::Base64)?);
        if bytes.to_string() == text { Ok(bytes) } else { Err(ValueError::Base64) }
    }
}

impl<const N: usize> fmt::Display for Bytes<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&STANDARD.encode(self.0))
    }
}

macro_rules! text_form {
    ($($type:ty),*) => {$(
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }
    )*};
}

text_form!(Count, Name, Timestamp);

impl<const N: usize> From<Bytes<N>> for String {
    fn from(value: Bytes<N>) -> String {
        value.to_string()
    }
}

impl<const N: usize> TryFrom<String> for Bytes<N> {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

/// An in-toto DigestSet that holds a SHA-256 and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestSet {
    /// The digest.
    pub sha256: Digest,
}

impl From<Digest> for DigestSet {
    fn from(sha256: Digest) -> Self {
        Self { sha256 }
    }
}

/// The name of a key: SHA-256 of its SubjectPublicKeyInfo in DER, as `openssl pkey -pubin -outform DER | sha256sum`
/// prints it. A hint for finding the key; trust comes from roles and grants only.
pub type KeyId = Digest;
