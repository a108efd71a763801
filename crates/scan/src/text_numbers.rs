//! The numbers of a text, read as characters.

use std::io::{self, Write};

use crate::number::value_as_byte;

/// Numbers of one line that are followed down the text as a column of their own; further ones are read by row alone.
const COLUMN_LIMIT: usize = 1024;

/// Writes the view [`View::TextNumbers`](crate::views::View::TextNumbers) of a CSV or JSON file: its decimal numbers,
/// each rounded to nearest, as one byte; a number outside 0..=255 is left out. First all of them in the order of the
/// text, then those that stand first in their line, second, and so on, so that a text written down a column is found.
///
/// It looks for digits alone and knows neither quotes nor separators, so a cell `"72 101"` counts as two numbers.
pub fn text_numbers(text: &[u8], sink: &mut dyn Write) -> io::Result<()> {
    let mut by_row = Vec::new();
    let mut by_column: Vec<Vec<u8>> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        for (column, byte) in Numbers::of(line).map(as_byte).enumerate() {
            by_row.extend(byte);
            if column >= COLUMN_LIMIT {
                continue;
            }
            if column == by_column.len() {
                by_column.push(Vec::new());
            }
            by_column[column].extend(byte);
        }
    }
    sink.write_all(&by_row)?;
    if by_column.len() > 1 {
        by_column.iter().try_for_each(|column| sink.write_all(column))?;
    }
    Ok(())
}

/// The numbers of a line: the text of each without its sign, and whether it is negative.
pub(crate) struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    pub(crate) fn of(line: &'a [u8]) -> Self {
        Self(line)
    }
}

impl<'a> Iterator for Numbers<'a> {
    type Item = (&'a [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        let first_digit = self.0.iter().position(u8::is_ascii_digit)?;
        let negative = first_digit > 0 && self.0[first_digit - 1] == b'-';
        let (number, rest) = self.0[first_digit..].split_at(length_of_number(&self.0[first_digit..]));
        self.0 = rest;
        Some((number, negative))
    }
}

fn as_byte((number, negative): (&[u8], bool)) -> Option<u8> {
    let value = std::str::from_utf8(number).ok()?.parse::<f64>().ok()?;
    value_as_byte(if negative { -value } else { value })
}

/// How many bytes of `text`, which begins with a digit, are one number without sign.
fn length_of_number(text: &[u8]) -> usize {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = digits(0);
    if text.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if matches!(text.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(length + 1), Some(b'+' | b'-')));
        let exponent = length + 1 + sign;
        if exponent < text.len() && digits(exponent) > 0 {
            length = exponent + digits(exponent);
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::text_numbers;

    fn view(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        text_numbers(text.as_bytes(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn numbers_are_read_by_row_and_then_by_column() {
        assert_eq!(view("plan,n,mean\na,72,97.0\nb,105,98\n"), b"HaibHiab");
        assert_eq!(view("{\"a\":72,\"b\":1.05e2}"), b"HiHi");
    }

    #[test]
    fn a_number_that_is_no_byte_is_left_out_and_parts_nothing() {
        assert_eq!(view("72\n-5\n256\n1e400\n104.6\n255.4\n"), [72, 105, 255]);
        assert_eq!(view("no number . e - +"), b"");
        assert_eq!(view("7e 8. 9e+"), [7, 8, 9, 7, 8, 9]);
    }

    #[test]
    fn a_number_that_is_left_out_still_holds_its_column() {
        assert_eq!(view("900,72\n901,105\n"), b"HiHi");
        assert_eq!(view("900,72\n1,105\n"), b"H\x01i\x01Hi");
    }
}
