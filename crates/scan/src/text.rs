//! Views of a text, CSV or JSON: its numbers in other ways than one byte each, and its words.

use std::io::{self, Write};

use crate::number::value_as_byte;
use crate::tensor::push_integer;
use crate::text_numbers::Numbers;

/// Numbers or cells of one line that are followed down the text as a column of their own.
const COLUMN_LIMIT: usize = 1024;

/// Factors of the view [`View::TextNumbersScaled`](crate::View::TextNumbersScaled).
const FACTORS: [f64; 7] = [10.0, 100.0, 1000.0, 127.0, 128.0, 255.0, 256.0];

/// Longest number of digits that is read as one whole number: what a `u128` holds.
const INTEGER_DIGITS: usize = 38;

/// Writes the view [`View::TextNumbersScaled`](crate::View::TextNumbersScaled).
pub fn text_numbers_scaled(text: &[u8], sink: &mut dyn Write) -> io::Result<()> {
    for factor in FACTORS {
        let byte = |number: &Number<'_>| number.value().and_then(|value| value_as_byte(value * factor));
        sink.write_all(&in_both_orders(text, |number, into| into.extend(byte(number))))?;
    }
    Ok(())
}

/// Writes the view [`View::TextDigits`](crate::View::TextDigits).
pub fn text_digits(text: &[u8], sink: &mut dyn Write) -> io::Result<()> {
    let all = in_both_orders(text, |number, into| {
        into.extend(number.0.iter().filter(|byte| byte.is_ascii_digit()))
    });
    let fractions = in_both_orders(text, |number, into| into.extend(number.fraction()));
    for digits in [all, fractions] {
        for size in [3, 2] {
            for from in 0..size {
                let groups = digits[from.min(digits.len())..].chunks_exact(size);
                let value =
                    |group: &[u8]| group.iter().fold(0, |sum, digit| 10 * sum + u32::from(digit - b'0'));
                let bytes: Vec<u8> = groups.filter_map(|group| u8::try_from(value(group)).ok()).collect();
                sink.write_all(&bytes)?;
            }
        }
    }
    Ok(())
}

/// Writes the views [`View::IntegersBig`](crate::View::IntegersBig) and
/// [`View::IntegersLittle`](crate::View::IntegersLittle) of a text.
pub fn text_integers(text: &[u8], big: &mut dyn Write, little: &mut dyn Write) -> io::Result<()> {
    let push = |number: &Number<'_>, into: &mut Vec<u8>, high_first: bool| {
        if let Some(value) = number.digits_as_one() {
            let (mut big, mut little) = (Vec::new(), Vec::new());
            push_integer(value, &mut big, &mut little);
            into.extend(if high_first { big } else { little });
        }
    };
    big.write_all(&in_both_orders(text, |number, into| push(number, into, true)))?;
    little.write_all(&in_both_orders(text, |number, into| push(number, into, false)))
}

/// Writes the cells of a CSV text that are no numbers, unquoted and without anything between them: by row, and then by
/// column. Anything is read as CSV (RFC 4180); a quote that is not closed ends with the text.
pub fn text_strings(text: &[u8], sink: &mut dyn Write) -> io::Result<()> {
    let mut by_row = Vec::new();
    let mut by_column: Vec<Vec<u8>> = Vec::new();
    let mut column = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (cell, length) = cell(rest);
        if !is_number(&cell) {
            by_row.extend(&cell);
            if column < COLUMN_LIMIT {
                by_column.resize_with(by_column.len().max(column + 1), Vec::new);
                by_column[column].extend(&cell);
            }
        }
        let ends_line = rest.get(length).is_none_or(|byte| *byte == b'\n');
        column = if ends_line { 0 } else { column + 1 };
        rest = &rest[(length + 1).min(rest.len())..];
    }
    sink.write_all(&by_row)?;
    by_column.iter().try_for_each(|column| sink.write_all(column))
}

/// The first cell of a text, and how many bytes it takes.
fn cell(text: &[u8]) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let mut at = 0;
    if text.first() == Some(&b'"') {
        at = 1;
        while let Some(byte) = text.get(at) {
            at += 1;
            if *byte != b'"' {
                bytes.push(*byte);
            } else if text.get(at) == Some(&b'"') {
                bytes.push(b'"');
                at += 1;
            } else {
                break;
            }
        }
    }
    let plain = text[at..].iter().take_while(|byte| !matches!(byte, b',' | b'\n'));
    bytes.extend(plain.clone().filter(|byte| **byte != b'\r'));
    (bytes, at + plain.count())
}

fn is_number(cell: &[u8]) -> bool {
    std::str::from_utf8(cell).is_ok_and(|cell| cell.parse::<f64>().is_ok())
}

/// The text of a number without its sign, and whether it is negative.
struct Number<'a>(&'a [u8], bool);

impl Number<'_> {
    fn value(&self) -> Option<f64> {
        let value: f64 = std::str::from_utf8(self.0).ok()?.parse().ok()?;
        Some(if self.1 { -value } else { value })
    }

    fn mantissa(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(self.0.len());
        &self.0[..end]
    }

    fn fraction(&self) -> &[u8] {
        let mantissa = self.mantissa();
        mantissa.iter().position(|byte| *byte == b'.').map_or(&[], |point| &mantissa[point + 1..])
    }

    /// Its digits before and behind the point, read as one whole number.
    fn digits_as_one(&self) -> Option<u128> {
        let digits = self.mantissa().iter().filter(|byte| byte.is_ascii_digit());
        if digits.clone().count() > INTEGER_DIGITS {
            return None;
        }
        Some(digits.fold(0, |sum, digit| 10 * sum + u128::from(digit - b'0')))
    }
}

/// What `show` writes of each number, in the order of the text, and then down each column.
fn in_both_orders(text: &[u8], mut show: impl FnMut(&Number<'_>, &mut Vec<u8>)) -> Vec<u8> {
    let mut by_row = Vec::new();
    let mut by_column: Vec<Vec<u8>> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        for (column, (number, negative)) in Numbers::of(line).enumerate() {
            let number = Number(number, negative);
            show(&number, &mut by_row);
            if column < COLUMN_LIMIT {
                by_column.resize_with(by_column.len().max(column + 1), Vec::new);
                show(&number, &mut by_column[column]);
            }
        }
    }
    if by_column.len() > 1 {
        by_column.iter().for_each(|column| by_row.extend(column));
    }
    by_row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    fn written(write: impl Fn(&[u8], &mut dyn Write) -> io::Result<()>, text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(text.as_bytes(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn scaled_numbers_are_characters_again() {
        let text = "{\"a\":0.072,\"b\":0.101,\"c\":0.108}";
        assert!(holds(&written(text_numbers_scaled, text), b"Hel"));
        assert!(holds(&written(text_numbers_scaled, "0.2824,0.3961,0.4235"), b"Hel"));
    }

    #[test]
    fn digits_are_read_across_numbers_and_without_what_stands_before_the_point() {
        assert!(holds(&written(text_digits, "0721,0110,8108\n111"), b"Hello"));
        assert!(holds(&written(text_digits, "{\"a\":0.0721,\"b\":9.0110,\"c\":0.8108}"), b"Hell"));
    }

    #[test]
    fn whole_numbers_are_their_bytes() {
        let (mut big, mut little) = (Vec::new(), Vec::new());
        text_integers(b"310939249775,10\n32.68,0", &mut big, &mut little).unwrap();
        assert!(holds(&big, b"Hello\n\x0c\xc4"), "{big:?}");
        assert!(holds(&little, b"olleH\n"), "{little:?}");
    }

    #[test]
    fn cells_are_words_by_row_and_by_column() {
        let shown = written(text_strings, "name,n,\"a \"\"b\"\",\"\r\nx,1,y\nz,-2.5e3,w");
        assert_eq!(shown, b"namena \"b\",xyzwnamexzna \"b\",yw");
    }
}
