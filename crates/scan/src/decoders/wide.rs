//! Text in units of two or four bytes, in either order: UTF-16 and UTF-32 (The Unicode Standard, section 3.10). What it
//! says is handed on as UTF-8, as data mostly is: an alphabet other than Latin looks like nothing else in the two.

use std::ops::Range;
use std::sync::LazyLock;

use super::{DecodeError, Emit, SHORTEST};
use crate::views::View;

/// Units of the shortest text: characters of three bytes that a run of 31 has whole.
const LEAST: usize = SHORTEST.div_ceil(3);

/// How many characters of a text are ideographs only if all others that it needs stand beside them. A third of all units
/// are ideographs, so that noise has some in a row.
const IDEOGRAPHS: usize = SHORTEST;

/// How a unit is read.
#[derive(Clone, Copy)]
struct Units<'a> {
    bytes: &'a [u8],
    width: usize,
    high_first: bool,
}

impl Units<'_> {
    fn count(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// The character that a unit is, if it is one of text.
    #[inline]
    fn character(&self, at: usize) -> Option<char> {
        let unit = &self.bytes[at * self.width..][..self.width];
        let code = match (unit, self.high_first) {
            (&[low, high], false) | (&[high, low], true) => u32::from(u16::from_be_bytes([high, low])),
            (&[a, b, c, d], false) => u32::from_le_bytes([a, b, c, d]),
            (&[a, b, c, d], true) => u32::from_be_bytes([a, b, c, d]),
            _ => return None,
        };
        char::from_u32(code).filter(|character| is_of_text(*character))
    }
}

/// Of each unit of two bytes, the highest one first, whether it is a character of text: a bit for each.
static OF_TEXT: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut of_text = vec![0; 1 << 10];
    for unit in 0..=u16::MAX {
        if char::from_u32(unit.into()).is_some_and(is_of_text) {
            of_text[usize::from(unit / 64)] |= 1 << (unit % 64);
        }
    }
    of_text
});

/// ASCII, Latin to Arabic, punctuation, kana, ideographs, Hangul, fullwidth forms.
fn is_of_text(character: char) -> bool {
    matches!(
        character,
        ' '..='~' | '\n' | '\r' | '\t' | '\u{a0}'..='\u{6ff}' | '\u{2000}'..='\u{20cf}' | '\u{3000}'..='\u{30ff}'
            | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{ff00}'..='\u{ffef}'
    )
}

/// Decodes each stretch that reads as such text, wherever it begins.
pub(super) fn decode(stream: &[u8], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    for width in [2, 4] {
        for begin in 0..width.min(stream.len()) {
            for high_first in [false, true] {
                let units = Units { bytes: &stream[begin..], width, high_first };
                texts(units, &mut |text| said(units, text, emit))?;
            }
        }
    }
    Ok(())
}

/// Shows each stretch of at least [`LEAST`] characters of units of either width.
fn texts(
    units: Units<'_>,
    show: &mut dyn FnMut(Range<usize>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let of_text: &[u64; 1 << 10] = OF_TEXT.first_chunk().expect("there is a bit for each unit");
    let of_pair =
        |[high, low]: [u8; 2]| of_text[usize::from(high) << 2 | usize::from(low >> 6)] >> (low & 63) & 1 != 0;
    let (pairs, _) = units.bytes.as_chunks::<2>();
    match (units.width, units.high_first) {
        (2, true) => stretches(units.count(), |unit| of_pair(pairs[unit]), show),
        (2, false) => stretches(units.count(), |unit| of_pair([pairs[unit][1], pairs[unit][0]]), show),
        _ => stretches(units.count(), |unit| units.character(unit).is_some(), show),
    }
}

/// Shows each stretch of at least [`LEAST`] of so many units. As elsewhere, the last one that is needed is looked at first.
fn stretches(
    count: usize,
    is_character: impl Fn(usize) -> bool,
    show: &mut dyn FnMut(Range<usize>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut at = 0;
    while at + LEAST <= count {
        match (at..at + LEAST).rev().find(|unit| !is_character(*unit)) {
            Some(other) => at = other + 1,
            None => {
                let end = (at + LEAST..count).find(|unit| !is_character(*unit)).unwrap_or(count);
                show(at..end)?;
                at = end + 1;
            }
        }
    }
    Ok(())
}

fn said(units: Units<'_>, text: Range<usize>, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    let bytes = &units.bytes[text.start * units.width..text.end * units.width];
    // Two letters of ASCII are an ideograph.
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t')) {
        return Ok(());
    }
    let others = text
        .clone()
        .filter(|unit| !units.character(*unit).is_some_and(|one| matches!(one, '\u{4e00}'..='\u{9fff}')));
    if text.len() < IDEOGRAPHS && others.take(LEAST).count() < LEAST {
        return Ok(());
    }
    let said: String = text.filter_map(|unit| units.character(unit)).collect();
    if said.len() < SHORTEST { Ok(()) } else { emit(View::WideText, said.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_two_bytes_are_characters_as_each_one_says() {
        let units = |high_first: bool| -> Vec<u8> {
            let of = |unit: u16| if high_first { unit.to_be_bytes() } else { unit.to_le_bytes() };
            (0..=u16::MAX).flat_map(|unit| of(unit).repeat(LEAST)).collect()
        };
        for high_first in [false, true] {
            let bytes = units(high_first);
            let units = Units { bytes: &bytes, width: 2, high_first };
            let mut there = vec![false; units.count()];
            texts(units, &mut |text| {
                there[text].fill(true);
                Ok(())
            })
            .unwrap();
            for (at, is_there) in there.into_iter().enumerate() {
                assert_eq!(is_there, units.character(at).is_some(), "{at:x}");
            }
        }
    }

    fn decoded(stream: &[u8]) -> Vec<String> {
        let mut results = Vec::new();
        decode(stream, &mut |_, bytes| {
            results.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(())
        })
        .unwrap();
        results
    }

    #[test]
    fn text_of_several_alphabets_is_read_in_each_width_and_order_wherever_it_begins() {
        let texts = [
            "person,plan,visits: 125024,deductible,3",
            "больной жалуется на головную боль",
            "환자는 두통과 발열을 호소하며 약을 처방받았다",
            "かんじゃは頭痛と発熱を訴えており、くすりを処方された。",
            "患者主诉头痛，发热三天，医生开具药物，建议休息（三天），复诊：必要时住院，体温：三十八度，脉搏：正常，血压：正常",
            "患者主诉头痛发热医生开具药物并建议休息三天后复诊若症状加重应立即就医并携带既往病历资料以供参考",
        ];
        for text in texts {
            let wide =
                |show: fn(u32) -> Vec<u8>| text.chars().flat_map(|one| show(one.into())).collect::<Vec<u8>>();
            let encodings = [
                wide(|code| (code as u16).to_le_bytes().to_vec()),
                wide(|code| (code as u16).to_be_bytes().to_vec()),
                wide(|code| code.to_le_bytes().to_vec()),
                wide(|code| code.to_be_bytes().to_vec()),
            ];
            for encoded in encodings {
                for before in 0..4 {
                    let stream = [&[0xff; 4][..before], &encoded, &[0xff; 5]].concat();
                    let found = decoded(&stream);
                    assert!(found.iter().any(|found| found.contains(text)), "{text}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn plain_text_and_noise_are_no_wide_text() {
        let text = b"a text of letters and digits 12345 of some length, ".repeat(40);
        assert!(decoded(&text).is_empty());
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..1 << 20)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let found: usize = decoded(&noise).iter().map(String::len).sum();
        assert!(found < 1 << 12, "{found} bytes of noise read as text");
    }
}
