//! Text in an older character set than UTF-8, and text in UTF-8 as such a set has it (The Encoding Standard): the data may be in
//! either. Only alphabets other than ASCII matter; the rest is the same in all of them.

use std::ops::Range;
use std::sync::LazyLock;

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, IBM866, ISO_8859_2, ISO_8859_5, KOI8_R, SHIFT_JIS, WINDOWS_1250,
    WINDOWS_1251, WINDOWS_1252,
};

use super::{DecodeError, Emit, SHORTEST, long_stretches};
use crate::views::View;

/// Bytes of the shortest text: characters of two bytes in UTF-8 that a run of 31 has whole.
const LEAST: usize = SHORTEST.div_ceil(2);

/// Bytes that are handed on at a time, and how many of them again with the next ones.
const PIECE: usize = 1 << 20;
const OVERLAP: usize = 4096;

/// Characters other than ASCII that it has at least.
const OTHERS: usize = 8;

/// Decodes each stretch of Cyrillic and of Hangul, and encodes each stretch of UTF-8 in the sets of its alphabet.
pub(super) fn decode(stream: &[u8], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    // With the letters of Ukrainian and Belarusian; quotation marks of their own end a stretch.
    let cyrillic = |byte: u8| matches!(byte, 0xa1 | 0xa2 | 0xa5 | 0xa8 | 0xaa | 0xaf | 0xb2..=0xb4 | 0xb8..=0xba | 0xbf..=0xff);
    let (letters, halves) =
        (|byte| is_plain(byte) || cyrillic(byte), |byte| is_plain(byte) || (0xa1..=0xfe).contains(&byte));
    for stretch in long_stretches(stream, LEAST, letters) {
        said(&stream[stretch], WINDOWS_1251, OTHERS, emit)?;
    }
    for stretch in long_stretches(stream, LEAST, halves) {
        // From either half of the first character.
        for text in [&stream[stretch.clone()], &stream[stretch.start + 1..stretch.end]] {
            if may_say_hangul(text) {
                said(text, EUC_KR, 2 * OTHERS, emit)?;
            }
        }
    }
    let others = |stretch: &Range<usize>| has_others(&stream[stretch.clone()], OTHERS);
    for chunk in utf8_stretches(stream).filter(others).flat_map(|stretch| stream[stretch].utf8_chunks()) {
        let text = chunk.valid();
        if text.len() >= LEAST
            && text.chars().filter(|character| !character.is_ascii()).take(OTHERS).count() == OTHERS
        {
            written(text, emit)?;
        }
    }
    Ok(())
}

/// Stretches of at least [`LEAST`] bytes in which each byte may follow the one before in UTF-8 (RFC 3629, section 4). Of noise next to nothing is
/// left, and few bytes of it are looked at, as in [`long_stretches`].
fn utf8_stretches(stream: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let follows = |[before, byte]: &[u8; 2]| {
        // Which classes may follow one, a bit for each.
        const FOLLOWING: [u8; 4] = [0, 0b1010, 0b1110, 0b0100];
        FOLLOWING[usize::from(CLASSES[usize::from(*before)])] >> CLASSES[usize::from(*byte)] & 1 != 0
    };
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let needed = stream.get(at..at + LEAST)?;
            match needed.array_windows().rposition(|pair| !follows(pair)) {
                Some(other) => at += other + 1,
                None => {
                    let start = at;
                    let rest = stream[at + LEAST - 1..].array_windows();
                    at += LEAST + rest.take_while(|pair| follows(pair)).count();
                    return Some(start..at);
                }
            }
        }
    })
}

/// Of each byte in UTF-8: 1 if it is plain, 2 if it goes on with a character, 3 if it begins one, 0 if it is none of these.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b' '..=b'~' | b'\n' | b'\r' | b'\t' => 1,
            0x80..=0xbf => 2,
            0xc2..=0xf4 => 3,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// Whether so many bytes are not of ASCII.
fn has_others(bytes: &[u8], least: usize) -> bool {
    bytes.iter().filter(|byte| !byte.is_ascii()).take(least).count() == least
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t')
}

/// What bytes say in a set, piece by piece between what says nothing, if so many of them are not of ASCII.
fn said(bytes: &[u8], set: &'static Encoding, least: usize, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    if !has_others(bytes, least) {
        return Ok(());
    }
    let (text, _) = set.decode_without_bom_handling(bytes);
    let is_of_set = |character: char| {
        character.is_ascii()
            || matches!(character, '\u{400}'..='\u{45f}' | '\u{490}' | '\u{491}' | '\u{2116}' | '\u{ac00}'..='\u{d7a3}')
    };
    for piece in text.split(|character| !is_of_set(character)) {
        let others = piece.chars().filter(|character| !character.is_ascii());
        if piece.len() >= SHORTEST && others.take(OTHERS).count() == OTHERS {
            in_pieces(piece.as_bytes(), emit)?;
        }
    }
    Ok(())
}

/// Whether somewhere [`OTHERS`] characters are of rows of EUC-KR that hold what [`said`] keeps, with at most ASCII between them. Bytes of noise
/// are seldom whole characters for so long, and decoding them costs far more than this look.
fn may_say_hangul(bytes: &[u8]) -> bool {
    let (mut at, mut others) = (0, 0);
    while let Some(first) = bytes.get(at) {
        match (first, bytes.get(at + 1)) {
            (0..=0x7f, _) => at += 1,
            // The numero sign, Cyrillic and Hangul, and Hangul whose second half is a letter.
            (0xa2 | 0xac | 0xb0..=0xc8, Some(0xa1..=0xfe))
            | (0xa1..=0xc6, Some(b'A'..=b'Z' | b'a'..=b'z')) => (at, others) = (at + 2, others + 1),
            // Another character, whole.
            (_, Some(0xa1..=0xfe)) => (at, others) = (at + 2, 0),
            _ => (at, others) = (at + 1, 0),
        }
        if others == OTHERS {
            return true;
        }
    }
    false
}

/// Writes a text in the older sets of its alphabets: of each set the stretches of characters that it has. A run of data in the
/// set is of no others.
fn written(text: &str, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    for set in sets_for(text) {
        let may_have = may_have(set);
        for piece in text.split(|character| !may_have(character)) {
            let others = piece.chars().filter(|character| !character.is_ascii()).count();
            let ascii = piece.bytes().filter(u8::is_ascii).count();
            let width = if set.is_single_byte() { 1 } else { 2 };
            if others > 0 && (ascii + width * others >= SHORTEST || set == GB18030) {
                in_pieces(&encoded(piece, set), emit)?;
            }
        }
    }
    Ok(())
}

/// The sets that a text may have been in.
fn sets_for(text: &str) -> Vec<&'static Encoding> {
    let has = |first: char, last: char| text.chars().any(|character| (first..=last).contains(&character));
    let mut sets: Vec<&'static Encoding> = Vec::new();
    if has('\u{100}', '\u{17f}') {
        sets.extend([WINDOWS_1250, ISO_8859_2]);
    }
    if has('\u{a0}', '\u{ff}') {
        sets.push(WINDOWS_1252);
    }
    if has('\u{400}', '\u{45f}') {
        sets.extend([WINDOWS_1251, KOI8_R, IBM866, ISO_8859_5]);
    }
    if has('\u{ac00}', '\u{d7a3}') {
        sets.push(EUC_KR);
    }
    let has_han = has('\u{4e00}', '\u{9fff}');
    if has_han || has('\u{3040}', '\u{30ff}') || has('\u{ff61}', '\u{ff9f}') {
        sets.extend([SHIFT_JIS, EUC_JP]);
    }
    if has_han {
        sets.extend([GB18030, BIG5]);
    }
    sets
}

/// Sets that have not every character.
static PARTIAL: [&Encoding; 11] = [
    WINDOWS_1250,
    WINDOWS_1251,
    WINDOWS_1252,
    ISO_8859_2,
    ISO_8859_5,
    KOI8_R,
    IBM866,
    EUC_KR,
    SHIFT_JIS,
    EUC_JP,
    BIG5,
];

/// Which of [`PARTIAL`] have a character, a bit for each: those that one or two bytes stand for. Looking a character up here takes far less
/// than encoding it, for which some sets are gone through from one end to the other.
static HAVING: LazyLock<Vec<u16>> = LazyLock::new(|| {
    // Big5 has some characters of the plane of supplementary ideographs.
    let mut having = vec![0; 3 << 16];
    for (index, set) in PARTIAL.iter().enumerate() {
        let mut add = |bytes: &[u8]| {
            let text = set.decode_without_bom_handling_and_without_replacement(bytes);
            let mut characters = text.iter().flat_map(|text| text.chars());
            if let (Some(character), None) = (characters.next(), characters.next())
                && let Some(having) = having.get_mut(character as usize)
            {
                *having |= 1 << index;
            }
        };
        (0x80..=0xff).for_each(|byte| add(&[byte]));
        if !set.is_single_byte() {
            (0x81..=0xfe).for_each(|first| (0x40..=0xfe).for_each(|second| add(&[first, second])));
        }
        if [SHIFT_JIS, EUC_JP].contains(set) {
            // These are written as others are.
            for character in ['\u{a5}', '\u{203e}', '\u{2212}'] {
                having[character as usize] |= 1 << index;
            }
        }
    }
    having
});

/// Whether a set has a character, as far as is known.
fn may_have(set: &'static Encoding) -> impl Fn(char) -> bool {
    let index = PARTIAL.iter().position(|partial| *partial == set);
    let having = |character: char| HAVING.get(character as usize).copied().unwrap_or_default();
    move |character| character.is_ascii() || index.is_none_or(|index| having(character) >> index & 1 != 0)
}

/// A text in a set. What the set does not have after all is left out.
fn encoded(text: &str, set: &'static Encoding) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut encoder, mut rest) = (set.new_encoder(), text);
    while !rest.is_empty() {
        let room = encoder.max_buffer_length_from_utf8_without_replacement(rest.len()).unwrap_or(rest.len());
        bytes.reserve(room.max(16));
        let (_, read) = encoder.encode_from_utf8_to_vec_without_replacement(rest, &mut bytes, true);
        // What cannot be written at all ends it, rather than going on for ever.
        rest = if read == 0 { "" } else { &rest[read..] };
        encoder = set.new_encoder();
    }
    bytes
}

/// Hands on what is long enough, a MiB at a time.
fn in_pieces(bytes: &[u8], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    if bytes.len() < LEAST {
        return Ok(());
    }
    let mut end = bytes.len().min(PIECE);
    emit(View::WideText, &bytes[..end])?;
    while end < bytes.len() {
        let start = end - OVERLAP;
        end = bytes.len().min(start + PIECE);
        emit(View::WideText, &bytes[start..end])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(stream: &[u8]) -> Vec<Vec<u8>> {
        let mut results = Vec::new();
        decode(stream, &mut |_, bytes| {
            results.push(bytes.to_vec());
            Ok(())
        })
        .unwrap();
        results
    }

    const TEXTS: [(&str, &Encoding, bool); 10] = [
        ("історія хвороби пацієнтки: інфаркт міокарда, ішемічна хвороба, її стан", WINDOWS_1251, true),
        ("佐藤次郎,東京都千代田区,高血圧症,山田花子,大阪市北区,糖尿病", SHIFT_JIS, false),
        ("El niño de nueve años tenía daño, y œuvre été à côté où", WINDOWS_1252, false),
        ("больной 42 лет жалуется на головную боль", WINDOWS_1251, true),
        ("환자는 두통과 발열을 호소하며 약을 처방받았다", EUC_KR, true),
        ("больной 42 лет жалуется на головную боль", KOI8_R, false),
        ("かんじゃは頭痛と発熱を訴えており、くすりを処方された。", SHIFT_JIS, false),
        ("患者主诉头痛发热，医生开具药物并建议休息三天后复诊", GB18030, false),
        ("患者主訴頭痛發熱，醫生開具藥物並建議休息三天後複診", BIG5, false),
        ("Le malade se plaint d'être fatigué après l'été: fièvre élevée, tête à côté", WINDOWS_1252, false),
    ];

    #[test]
    fn text_is_read_in_an_older_set_and_written_in_it() {
        for (text, set, is_read) in TEXTS {
            let older = set.encode(text).0.into_owned();
            let holds = |stream: &[u8], text: &[u8]| {
                let around = [&[0x80, 0xff, 0][..], stream, &[0x00, 0x80]].concat();
                decoded(&around).iter().any(|found| found.windows(text.len()).any(|window| window == text))
            };
            assert!(holds(text.as_bytes(), &older), "{text} in {}", set.name());
            assert!(!is_read || holds(&older, text.as_bytes()), "{text} of {}", set.name());
        }
    }

    /// What is left out of a text before it is encoded, no set could have written.
    #[test]
    fn a_set_has_each_character_that_it_encodes() {
        for set in PARTIAL {
            let encodes = |character: &char| !set.encode(&character.to_string()).2;
            let has = may_have(set);
            let missing = ('\u{80}'..='\u{ffff}').filter(|one| !has(*one) && set != BIG5).find(encodes);
            assert_eq!(missing, None, "{}", set.name());
        }
        // It is searched from one end to the other for what it has not.
        let some = ('\u{4e00}'..='\u{9fff}')
            .step_by(50)
            .chain('\u{20000}'..='\u{2ffff}')
            .filter(|one| !may_have(BIG5)(*one));
        assert_eq!(some.clone().find(|one| !BIG5.encode(&one.to_string()).2), None);
        assert!(some.count() > 100);
    }

    /// Quotation marks of the set, and syllables that it has beyond the standard's.
    #[test]
    fn hangul_is_read_between_other_characters_of_its_set() {
        for text in [
            "“환자 두통 발열 있음 1234”",
            "힣자는 두통과 힣열을 호소 힣며 약을 처방",
            "『환자 두통 발열 있음 1234』",
        ] {
            let (older, _, unmapped) = EUC_KR.encode(text);
            assert!(!unmapped);
            let inner = text.trim_matches(['“', '”', '『', '』']);
            for before in [&b"\0\0"[..], b"\0", b"", b"\xff"] {
                let found = decoded(&[before, &older, b"\0\0"].concat());
                let holds = |found: &Vec<u8>| String::from_utf8_lossy(found).contains(inner);
                assert!(found.iter().any(holds), "{text}: {found:?}");
            }
        }
    }

    #[test]
    fn what_is_long_is_handed_on_in_pieces_that_overlap() {
        let text = "больной 42 лет жалуется на головную боль; ".repeat(60_000);
        let pieces = decoded(text.as_bytes());
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
        let whole = WINDOWS_1251.encode(&text).0.into_owned();
        assert!(whole.len() > 2 * PIECE);
        assert_eq!(pieces[1][..OVERLAP], pieces[0][PIECE - OVERLAP..]);
        assert_eq!([&pieces[0][..], &pieces[1][OVERLAP..], &pieces[2][OVERLAP..]].concat(), whole);
    }

    #[test]
    fn plain_text_and_noise_are_no_text_in_an_older_set() {
        assert!(decoded(&b"a text of letters and digits 12345 of some length, ".repeat(40)).is_empty());
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..1 << 20)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let found: usize = decoded(&noise).iter().map(Vec::len).sum();
        assert!(found < 1 << 12, "{found} bytes of noise read as text");
    }
}
