//! Encodings that say in each line how much of it encodes: uuencode (POSIX.1-2017), and hexadecimal dumps with the offset of
//! each line before it and its characters behind it (`xxd`, `hexdump -C`, `od -tx1`).

use super::{DecodeError, Emit, SHORTEST};
use crate::views::View;

/// Most bytes that a line of uuencode says it holds.
const LONGEST: usize = 45;

/// Digits of an offset, at least and at most.
const OFFSET: std::ops::RangeInclusive<usize> = 6..=16;

/// Decodes lines in a row, as many as are whole.
pub(super) fn decode(text: &[u8], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    lines_in_a_row(text, uuencoded, &mut |bytes| emit(View::Base64, bytes))?;
    lines_in_a_row(text, dumped, &mut |bytes| emit(View::Hexadecimal, bytes))
}

fn lines_in_a_row(
    text: &[u8],
    read: fn(&[u8], &mut Vec<u8>) -> bool,
    found: &mut dyn FnMut(&[u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut bytes = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let before = bytes.len();
        if !read(line.strip_suffix(b"\r").unwrap_or(line), &mut bytes) {
            bytes.truncate(before);
            if before >= SHORTEST {
                found(&bytes)?;
            }
            bytes.clear();
        }
    }
    if bytes.len() < SHORTEST { Ok(()) } else { found(&bytes) }
}

/// Reads a line of uuencode, or several without a break between them; false if it is none. Spaces at its end may be missing.
fn uuencoded(mut line: &[u8], into: &mut Vec<u8>) -> bool {
    let value = |letter: u8| (b' '..=b'`').contains(&letter).then(|| (letter - b' ') & 0x3f);
    loop {
        let Some((first, letters)) = line.split_first() else { return false };
        let length = value(*first).map_or(0, usize::from);
        let whole = 4 * length.div_ceil(3);
        let least = (4 * length).div_ceil(3);
        if !(1..=LONGEST).contains(&length) || letters.len() < least {
            return false;
        }
        let (letters, behind) = letters.split_at(whole.min(letters.len()));
        let begin = into.len();
        for group in letters.chunks(4) {
            let mut held = 0;
            for at in 0..4 {
                let Some(value) = value(group.get(at).copied().unwrap_or(b' ')) else { return false };
                held = held << 6 | u32::from(value);
            }
            into.extend(&held.to_be_bytes()[1..]);
        }
        into.truncate(begin + length);
        // Some writers add a letter that checks the line.
        if behind.len() <= 1 {
            return true;
        }
        line = behind;
    }
}

/// Reads a line of a dump; false if it is none.
fn dumped(line: &[u8], into: &mut Vec<u8>) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let offset = digits(line);
    let rest = &line[offset..];
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    if !OFFSET.contains(&offset) || !matches!(rest.first(), Some(b' ' | b'\t')) {
        return false;
    }
    let (mut rest, before, mut width) = (rest.trim_ascii_start(), into.len(), 0);
    loop {
        let group = digits(rest);
        let is_first = into.len() == before;
        // The characters stand behind two spaces; `hexdump` has two in the middle as well.
        if group == 0 || group % 2 == 1 || (!is_first && group > width) {
            return into.len() > before;
        }
        width = group;
        let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
        into.extend(rest[..group].chunks(2).map(|two| nibble(two[0]) << 4 | nibble(two[1])));
        let behind = &rest[group..];
        let spaces = behind.iter().take_while(|byte| **byte == b' ').count();
        let is_middle = spaces == 2 && group == 2 && into.len() - before == 8;
        if spaces != 1 && !is_middle {
            return true;
        }
        rest = &behind[spaces..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"125024,free,3,patient 00f1 of 1974, Jane Roe, 12 Elm Street; moved to York, then came back.";

    fn decoded(text: &str) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut emit = |_, bytes: &[u8]| {
            all.push(bytes.to_vec());
            Ok(())
        };
        decode(text.as_bytes(), &mut emit).unwrap();
        all
    }

    fn uuencode(bytes: &[u8], end: &str) -> String {
        let letter = |value: u8| char::from(if value == 0 { b'`' } else { b' ' + value });
        let line = |line: &[u8]| {
            let groups = line.chunks(3).flat_map(|group| {
                let held =
                    group.iter().chain(&[0, 0]).take(3).fold(0, |held, byte| held << 8 | u32::from(*byte));
                (0..4).rev().map(move |at| letter((held >> (6 * at) & 0x3f) as u8))
            });
            std::iter::once(letter(line.len() as u8)).chain(groups).collect::<String>() + end
        };
        bytes.chunks(45).map(line).collect()
    }

    #[test]
    fn uuencode_is_read_with_and_without_line_breaks() {
        for end in ["\n", "\r\n", ""] {
            let text = format!("begin 644 rows.csv\n{}", uuencode(TEXT, end));
            assert_eq!(decoded(&text), [TEXT], "{end:?}");
        }
    }

    #[test]
    fn dumps_are_read_without_offsets_and_characters() {
        let dump = |width: usize, line: &dyn Fn(usize, &[u8]) -> String| -> String {
            TEXT.chunks(width).enumerate().map(|(at, bytes)| line(at * width, bytes) + "\n").collect()
        };
        let digits = |bytes: &[u8], each: usize, between: &str| {
            let groups =
                bytes.chunks(each).map(|group| group.iter().map(|byte| format!("{byte:02x}")).collect());
            groups.collect::<Vec<String>>().join(between)
        };
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let xxd = dump(16, &|at, bytes| format!("{at:08x}: {:<39}  {}", digits(bytes, 2, " "), shown(bytes)));
        assert_eq!(decoded(&xxd), [TEXT]);
        let hexdump = dump(16, &|at, bytes| {
            let halves: Vec<String> = bytes.chunks(8).map(|half| digits(half, 1, " ")).collect();
            format!("{at:08x}  {:<48}  |{}|", halves.join("  "), shown(bytes))
        });
        assert_eq!(decoded(&hexdump), [TEXT]);
        let od = dump(16, &|at, bytes| format!("{at:07o} {}", digits(bytes, 1, " ")));
        assert_eq!(decoded(&od), [TEXT]);
    }

    #[test]
    fn text_and_tables_are_neither() {
        assert!(decoded("plan,n,mean\nfree,120,3.25\ndeductible,80,2.5\n").is_empty());
        assert!(decoded("MEAN AND DEVIATION OF EACH COLUMN\n1974 3.5 12\n1975 3.25 11\n").is_empty());
        let rows: String =
            (0..40).map(|row| format!("{},{},{}\n", 100_000 + row, row * 7, row % 3)).collect();
        assert!(decoded(&rows).is_empty());
    }
}
