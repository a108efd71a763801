//! Numbers of texts, laid out: those of a table or of metrics, and those of a text that is written one character a
//! weight, whatever separates them. Run by the process that has no data.

use std::io::{self, Write};

use super::layout::{Block, Element};
use super::records::Records;
use crate::decoders::printable;
use crate::number::value_as_byte;

/// Characters in a row from which values count as text.
const TEXT: usize = 24;

/// Characters of one tensor that are kept.
const KEPT: usize = 16 << 20;

/// Shortest text within something packed, and fewest numbers of it: three measurements of a few records.
const PACKED_TEXT: usize = 48;
const PACKED_NUMBERS: usize = 12;

/// Lays out the numbers of a CSV or JSON file: a row for each line, a NaN for what is no number.
pub fn write_text(text: &[u8], sink: &mut dyn Write) -> io::Result<()> {
    lay_out(rows_of(text)?, 4 * text.len(), sink)
}

/// Lays out the numbers of each text that stands in what a decoder wrote, as many values as are left of an output's.
pub fn write_decoded(decoded: &[u8], left: &mut usize, sink: &mut dyn Write) -> io::Result<()> {
    for stretch in printable(decoded, PACKED_TEXT) {
        let rows = rows_of(&decoded[stretch])?;
        let values = rows.iter().map(Vec::len).sum::<usize>();
        if 2 * values > *left {
            return Ok(());
        }
        if rows.iter().flatten().filter(|value| value.is_finite()).count() >= PACKED_NUMBERS {
            *left -= 2 * values;
            lay_out(rows, 2 * values, sink)?;
        }
    }
    Ok(())
}

fn rows_of(text: &[u8]) -> io::Result<Vec<Vec<f64>>> {
    let mut records = Records::new(Box::new(text))?;
    let (mut record, mut rows) = (Vec::new(), Vec::new());
    while records.next(&mut record)? {
        rows.push(record.clone());
    }
    Ok(rows)
}

/// As a table, if it has at most so many values.
fn lay_out(mut rows: Vec<Vec<f64>>, most: usize, sink: &mut dyn Write) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    // Lines of any length would make a table of any size.
    match columns.saturating_mul(rows.len()) <= most {
        true => {
            Block { rows: rows.len() as u64, columns: columns as u64, element: Element::F64 }.write(sink)?;
            rows.iter_mut().for_each(|row| row.resize(columns, f64::NAN));
        }
        false => {
            let count = rows.iter().map(Vec::len).sum::<usize>() as u64;
            Block { rows: 1, columns: count, element: Element::F64 }.write(sink)?;
        }
    }
    rows.iter().flatten().try_for_each(|value| sink.write_all(&value.to_le_bytes()))
}

/// Text among the values of a tensor.
#[derive(Default)]
pub struct Characters {
    text: Vec<u8>,
    /// How many of the last bytes of the text are characters in a row.
    run: usize,
}

impl Characters {
    /// Takes values, each of whole bytes.
    pub fn add(&mut self, element: Element, values: &[u8]) {
        for value in element.read(values) {
            let character = value_as_byte(value);
            let character = character.filter(|byte| byte.is_ascii_graphic() || b" \t\r\n".contains(byte));
            match character {
                Some(character) if self.text.len() < KEPT => {
                    self.text.push(character);
                    self.run += 1;
                }
                _ => self.end(),
            }
        }
    }

    fn end(&mut self) {
        if self.run < TEXT {
            self.text.truncate(self.text.len() - self.run);
        } else {
            self.text.push(b'\n');
        }
        self.run = 0;
    }

    /// Lays out the numbers of the text, one after the other.
    pub fn write(mut self, sink: &mut dyn Write) -> io::Result<()> {
        self.end();
        let mut numbers = Vec::new();
        for line in self.text.split(|byte| *byte == b'\n') {
            super::records::loose(line, &mut numbers);
        }
        if numbers.is_empty() {
            return Ok(());
        }
        Block { rows: 1, columns: numbers.len() as u64, element: Element::F64 }.write(sink)?;
        numbers.iter().try_for_each(|value| sink.write_all(&value.to_le_bytes()))
    }
}
