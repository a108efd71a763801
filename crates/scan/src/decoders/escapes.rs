//! Encodings in which a mark stands before a character's number: percent signs (RFC 3986), quoted-printable (RFC 2045),
//! escapes of JSON, C and Python, character references of XML; and lists of decimal numbers.

use super::{DecodeError, Emit, SHORTEST};
use crate::views::View;

/// Decodes a printable text if it has any such mark. What is no mark stands for itself.
pub(super) fn decode(text: &[u8], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    let percent = replaced(text, percent);
    if !percent.is_empty() {
        emit(View::Percent, &percent)?;
    }
    let escapes = replaced(text, escape);
    if !escapes.is_empty() {
        emit(View::Escapes, &escapes)?;
    }
    decimal(text, emit)
}

/// The text with each mark replaced by what it stands for. Nothing if there is none.
fn replaced(text: &[u8], read: fn(&[u8], &mut Vec<u8>) -> Option<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut rest, mut any) = (text, false);
    while let Some((first, behind)) = rest.split_first() {
        match read(rest, &mut bytes) {
            Some(length) => {
                any = true;
                rest = &rest[length..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    if any { bytes } else { Vec::new() }
}

fn percent(text: &[u8], into: &mut Vec<u8>) -> Option<usize> {
    if text.starts_with(b"=\r\n") || text.starts_with(b"=\n") {
        return Some(if text[1] == b'\n' { 2 } else { 3 });
    }
    if !matches!(text.first(), Some(b'%' | b'=')) {
        return None;
    }
    into.push(u8::try_from(number(text.get(1..3)?, 16)?).ok()?);
    Some(3)
}

/// Reads an escape at the beginning of the text, adds what it stands for, and returns its length.
fn escape(text: &[u8], into: &mut Vec<u8>) -> Option<usize> {
    match *text {
        [b'\\', b'u' | b'x' | b'U', ..] | [b'&', b'#', ..] => {
            let (code, length) = code(text)?;
            let mut buffer = [0; 4];
            into.extend(char::from_u32(code)?.encode_utf8(&mut buffer).as_bytes());
            Some(length)
        }
        [b'\\', b'0'..=b'3', b'0'..=b'7', b'0'..=b'7', ..] => {
            into.push(u8::try_from(number(&text[1..4], 8)?).ok()?);
            Some(4)
        }
        [b'\\', letter, ..] => {
            into.push(match letter {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'"' | b'\'' | b'\\' | b'/' => letter,
                _ => return None,
            });
            Some(2)
        }
        [b'&', ..] => {
            let named: [(&[u8], u8); 5] =
                [(b"&amp;", b'&'), (b"&lt;", b'<'), (b"&gt;", b'>'), (b"&quot;", b'"'), (b"&apos;", b'\'')];
            let (name, byte) = named.into_iter().find(|(name, _)| text.starts_with(name))?;
            into.push(byte);
            Some(name.len())
        }
        _ => None,
    }
}

/// The number of a character, and how many bytes say it.
fn code(text: &[u8]) -> Option<(u32, usize)> {
    let (digits, end, base): (&[u8], _, _) = match *text {
        [b'\\', b'u', b'{', ..] => (&text[3..], b'}', 16),
        [b'&', b'#', b'x' | b'X', ..] => (&text[3..], b';', 16),
        [b'&', b'#', ..] => (&text[2..], b';', 10),
        [b'\\', letter, ..] => {
            let length = match letter {
                b'x' => 2,
                b'u' => 4,
                _ => 8,
            };
            return Some((number(text.get(2..2 + length)?, 16)?, 2 + length));
        }
        _ => return None,
    };
    let length = digits.iter().take(9).position(|byte| *byte == end)?;
    Some((number(&digits[..length], base)?, text.len() - digits.len() + length + 1))
}

fn number(digits: &[u8], base: u32) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok()
}

/// Decodes each list of decimal numbers below 256 with up to four other characters between two of them.
fn decimal(text: &[u8], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    const BETWEEN: usize = 4;
    let mut bytes = Vec::new();
    let mut rest = text;
    loop {
        let apart = rest.iter().position(u8::is_ascii_digit);
        if apart.is_none_or(|apart| apart > BETWEEN) {
            if bytes.len() >= SHORTEST {
                emit(View::Decimal, &bytes)?;
            }
            bytes.clear();
        }
        let Some(apart) = apart else { return Ok(()) };
        let digits = rest[apart..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let list = &rest[apart..apart + digits];
        match digits {
            0..9 => bytes.extend(number(list, 10).and_then(|value| u8::try_from(value).ok())),
            // Numbers of three digits with nothing between them.
            _ if digits >= 3 * SHORTEST => {
                for from in 0..3 {
                    let values = list[from..].chunks_exact(3).filter_map(|three| number(three, 10));
                    let values: Vec<u8> = values.filter_map(|value| u8::try_from(value).ok()).collect();
                    if values.len() >= SHORTEST {
                        emit(View::Decimal, &values)?;
                    }
                }
            }
            _ => {
                let zeros = list.iter().take_while(|digit| **digit == b'0').count();
                let value = list.get(zeros..).filter(|digits| digits.len() < 9);
                bytes.extend(value.and_then(|digits| u8::try_from(number(digits, 10)?).ok()));
            }
        }
        rest = &rest[apart + digits..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut emit = |_, bytes: &[u8]| {
            all.push(bytes.to_vec());
            Ok(())
        };
        decimal(text.as_bytes(), &mut emit).unwrap();
        all
    }

    #[test]
    fn numbers_are_read_with_zeros_before_them_and_with_nothing_between_them() {
        let run = b"125024,free,3,patient 00f1 of 1974, Jane Roe";
        for width in [0, 3, 5, 12] {
            let list: String = run.iter().map(|byte| format!("{byte:0width$}, ")).collect();
            assert_eq!(decoded(&list), [run], "{width}");
        }
        let joined: String = run.iter().map(|byte| format!("{byte:03}")).collect();
        for before in ["", "7", "42"] {
            let found = decoded(&format!("{before}{joined}"));
            assert!(found.iter().any(|bytes| bytes.ends_with(run)), "{before}");
        }
        assert!(decoded("1000000001 2000000002 3000000003 ").is_empty());
    }
}
