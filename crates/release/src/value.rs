//! The values that statements are made of. Each has exactly one text form, so that signed bytes have one too.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use blobs::{Digest, from_text};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Count(pub u64);

impl FromStr for Count {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // `parse` takes a plus and leading zeros too, which would be other texts of the same number.
        if text != "0" && !text.starts_with(|first| matches!(first, '1'..='9')) {
            return Err(ValueError::Count);
        }
        text.parse().map(Self).map_err(|_| ValueError::Count)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// A whole number that may be below zero, written as a decimal string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Whole(pub i64);

impl FromStr for Whole {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number = text.parse().map(Self).map_err(|_| ValueError::Count)?;
        // One text for each: no plus, no zero in front, and zero has no sign.
        if number.to_string() == text { Ok(number) } else { Err(ValueError::Count) }
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// A name of a person, project, dataset, file, tensor or the like: 1 to 128 of `A-Z a-z 0-9 . _ -`, the first
/// not a dot. It is safe as a file name and never a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = text.as_bytes().get(from..to)?;
            let mut number = 0;
            for digit in digits {
                number = number * 10 + i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
            }
            Some(number)
        };
        let read = || {
            let days = days_before(number(0, 4)?, number(5, 7)?, number(8, 10)?);
            Some(days * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?)
        };
        let moment = Self::from_seconds(read().ok_or(ValueError::Timestamp)?)?;
        // Whatever was no day or hour, and any other sign between the numbers, comes out differently.
        if moment.text() == text.as_bytes() { Ok(moment) } else { Err(ValueError::Timestamp) }
    }
}

/// Days from 1970-01-01 to this day of the Gregorian calendar. The year is counted from March, so that the day that
/// leap years add is its last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

impl Timestamp {
    /// Its text. Statements have many moments, so it is put together without the machinery of formatting.
    fn text(self) -> [u8; 20] {
        let (days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        // 400 years have 146,097 days. Within them, days are counted in years of 365 first, then put right.
        let (eras, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let year = 400 * eras + year;
        let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
        let mut text = *b"0000-00-00T00:00:00Z";
        let mut put = |at: usize, number: i64| {
            text[at] += (number / 10) as u8;
            text[at + 1] += (number % 10) as u8;
        };
        put(0, year / 100);
        put(2, year % 100);
        put(5, month);
        put(8, day);
        put(11, seconds / 3_600);
        put(14, seconds / 60 % 60);
        put(17, seconds % 60);
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

/// Exactly `N` bytes, written as base64 with padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
        fmt::Display::fmt(&Base64Display::new(&self.0, &STANDARD), formatter)
    }
}

macro_rules! text_form {
    ($([$($generics:tt)*] $type:ty),* $(,)?) => {$(
        impl<$($generics)*> Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de, $($generics)*> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer)
            }
        }
    )*};
}

text_form!([] Count, [] Whole, [] Name, [] Timestamp, [const N: usize] Bytes<N>);

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

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339_has_them() {
        let text = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap().format(&Rfc3339).unwrap();
        // Steps of a prime number of days less a second: every day of the year and every hour, in every century.
        let many = (0..=Timestamp::LAST.0).step_by(37 * 86_400 - 1);
        for seconds in many.chain([0, 951_782_399, 951_782_400, Timestamp::LAST.0]) {
            let moment = Timestamp(seconds);
            assert_eq!(moment.to_string(), text(seconds));
            assert_eq!(text(seconds).parse(), Ok(moment));
        }
    }

    #[test]
    fn a_count_has_one_text() {
        for right in ["0", "1", "10", "18446744073709551615"] {
            assert_eq!(right.parse::<Count>().unwrap().to_string(), right);
        }
        for wrong in ["", "+1", "-1", "00", "01", " 1", "1 ", "1.0", "1e3", "18446744073709551616", "١"] {
            assert_eq!(wrong.parse::<Count>(), Err(ValueError::Count), "{wrong}");
        }
    }

    #[test]
    fn a_number_below_zero_has_one_text_too() {
        for right in ["0", "1", "-1", "-9223372036854775808", "9223372036854775807"] {
            assert_eq!(right.parse::<Whole>().unwrap().to_string(), right);
        }
        for wrong in ["", "+1", "-0", "00", "-01", "- 1", "1.0", "9223372036854775808"] {
            assert_eq!(wrong.parse::<Whole>(), Err(ValueError::Count), "{wrong}");
        }
    }

    #[test]
    fn other_texts_of_a_moment_are_refused() {
        for wrong in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T23:60:00Z",
            "2026-01-01T23:59:60Z",
            "2026-01-01 23:59:59Z",
            "2026-01-01t23:59:59z",
            "2026-01-01T23:59:59.0Z",
            "2026-01-01T23:59:59+00:00",
            "+026-01-01T23:59:59Z",
            "1969-12-31T23:59:59Z",
            "2026-01-01T23:59:59ZZ",
            "２026-01-01T23:59:5",
        ] {
            assert_eq!(wrong.parse::<Timestamp>(), Err(ValueError::Timestamp), "{wrong}");
        }
        assert!("2028-02-29T23:59:59Z".parse::<Timestamp>().is_ok());
    }
}
