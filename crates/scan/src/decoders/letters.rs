//! Encodings in which letters stand for groups of bits: base64, base32, base85 and hexadecimal (RFC 4648; Ascii85 as in
//! Adobe's PostScript Language Reference; RFC 1924; ZeroMQ RFC 32).

use super::{DecodeError, Emit, SHORTEST};
use crate::views::View;

/// No letter: it ends a stretch.
const END: u8 = 0xff;

/// No letter: it is passed over.
const SKIP: u8 = 0xfe;

type Alphabet = [u8; 256];

const fn alphabet(letters: &[u8], skipped: &[u8]) -> Alphabet {
    let mut table = [END; 256];
    let mut value = 0;
    while value < letters.len() {
        table[letters[value] as usize] = value as u8;
        value += 1;
    }
    let mut index = 0;
    while index < skipped.len() {
        table[skipped[index] as usize] = SKIP;
        index += 1;
    }
    table
}

/// Lower-case letters count as upper-case ones.
const fn of_any_case(mut table: Alphabet) -> Alphabet {
    let mut letter = b'A';
    while letter <= b'Z' {
        table[letter.to_ascii_lowercase() as usize] = table[letter as usize];
        letter += 1;
    }
    table
}

const LINE_BREAKS: &[u8] = b"\r\n\t ";

const BASE64: Alphabet = {
    let mut table =
        alphabet(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", LINE_BREAKS);
    table[b'-' as usize] = 62;
    table[b'_' as usize] = 63;
    table
};
const BASE32: [Alphabet; 3] = [
    of_any_case(alphabet(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"\r\n\t -")),
    of_any_case(alphabet(b"0123456789ABCDEFGHIJKLMNOPQRSTUV", b"\r\n\t -")),
    of_any_case(alphabet(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", b"\r\n\t -")),
];
const HEXADECIMAL: Alphabet = of_any_case(alphabet(b"0123456789ABCDEF", b"\r\n\t ,:;-_|\\xX\"'[]{}%h"));
const BASE85: [Alphabet; 3] = [
    alphabet(
        b"!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstu",
        LINE_BREAKS,
    ),
    alphabet(
        b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~",
        LINE_BREAKS,
    ),
    alphabet(
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#",
        LINE_BREAKS,
    ),
];

/// Decodes each stretch of letters from each beginning that groups could have.
pub(super) fn decode(text: &[u8], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    stretches(text, &BASE64, 8 * SHORTEST / 6 + 1, &mut |values| {
        (0..4).try_for_each(|from| emit(View::Base64, &bits(&values[from..], 6)))
    })?;
    let mut hexadecimal = |text: &[u8]| {
        stretches(text, &HEXADECIMAL, 2 * SHORTEST, &mut |values| {
            (0..2).try_for_each(|from| emit(View::Hexadecimal, &bits(&values[from..], 4)))
        })
    };
    hexadecimal(text)?;
    // The zero of `0x` is no digit.
    let unmarked = without_marks(text);
    if unmarked.len() < text.len() {
        hexadecimal(&unmarked)?;
    }
    for table in &BASE32 {
        stretches(text, table, 8 * SHORTEST / 5 + 1, &mut |values| {
            (0..8).try_for_each(|from| emit(View::Base32, &bits(&values[from..], 5)))
        })?;
    }
    for table in &BASE85 {
        stretches(text, table, 5 * SHORTEST / 4 + 1, &mut |values| {
            (0..5).try_for_each(|from| emit(View::Base85, &base85(&values[from..])))
        })?;
    }
    Ok(())
}

fn without_marks(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = match rest {
            [b'0', b'x' | b'X', digits @ ..] => digits,
            _ => {
                bytes.push(*first);
                behind
            }
        };
    }
    bytes
}

/// Equal letters in a row that end a stretch. They stand for equal or periodic bytes, which are exempt, and outputs
/// are full of them. What stands on both sides is decoded from each beginning, so that nothing is lost but they.
const FILLER: usize = 32;

/// The values of the letters in each stretch of at least `least`.
fn stretches(
    text: &[u8],
    table: &Alphabet,
    least: usize,
    found: &mut dyn FnMut(&[u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut values: Vec<u8> = Vec::new();
    let mut equal = 0;
    for byte in text.iter().chain(&[0]) {
        let value = table[usize::from(*byte)];
        if value == SKIP {
            continue;
        }
        equal = if values.last() == Some(&value) { equal + 1 } else { 0 };
        if value == END || equal >= FILLER {
            // Of equal letters in a row the first are kept on the left side, and the last on the right.
            if values.len() >= least {
                found(&values)?;
            }
            values.clear();
        }
        if value != END {
            values.push(value);
        }
    }
    Ok(())
}

/// Values of so many bits each, the highest first, as bytes. Bits that fill no byte are left out.
fn bits(values: &[u8], each: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * each as usize / 8 + 1);
    let (mut held, mut count) = (0_u32, 0);
    for value in values {
        held = held << each | u32::from(*value);
        count += each;
        if count >= 8 {
            count -= 8;
            bytes.push((held >> count) as u8);
        }
    }
    bytes
}

/// Groups of five letters as four bytes. A group that no bytes encode is four zeros, so that it moves nothing.
fn base85(values: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() / 5 * 4 + 4);
    for group in values.chunks(5) {
        // The last group of n letters is n - 1 bytes, filled up with the last letter.
        let filled = group.iter().copied().chain(std::iter::repeat_n(84, 5 - group.len()));
        let value = filled.fold(0_u64, |sum, value| 85 * sum + u64::from(value));
        let four = u32::try_from(value).unwrap_or(0).to_be_bytes();
        bytes.extend(&four[..group.len() - 1]);
    }
    bytes
}
