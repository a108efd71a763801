//! The private data as records of numbers. Files are the owner's, read line by line: comma, tab, semicolon or bar
//! separated, or JSON; nothing that a job shaped is read here.

use std::io::{self, BufRead, BufReader, Read};

/// Longest line in bytes that is read as one record. A longer one is several.
const LINE_LIMIT: u64 = 1 << 20;

/// Numbers of a record that are kept. A longer record is several.
pub(super) const FIELD_LIMIT: usize = 4096;

/// Bytes by which the kind of a file is told.
const HEAD: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Separated(u8),
    /// JSON, or text of which nothing is known: numbers in the order in which they stand.
    Loose,
    /// Not text.
    Binary,
}

/// Reads the records of a file.
pub(super) struct Records<'a> {
    reader: BufReader<Box<dyn Read + 'a>>,
    form: Form,
    line: Vec<u8>,
}

impl<'a> Records<'a> {
    pub(super) fn new(file: Box<dyn Read + 'a>) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(HEAD, file);
        let form = form(reader.fill_buf()?);
        Ok(Self { reader, form, line: Vec::new() })
    }

    /// Reads the next record: a value for each field, NaN where there is no number, 0 where there is nothing. False at
    /// the end.
    pub(super) fn next(&mut self, into: &mut Vec<f64>) -> io::Result<bool> {
        into.clear();
        if self.form == Form::Binary {
            return Ok(false);
        }
        self.line.clear();
        if (&mut self.reader).take(LINE_LIMIT).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(false);
        }
        let line = self.line.trim_ascii_end();
        match self.form {
            Form::Separated(separator) => separated(line, separator, into),
            Form::Loose | Form::Binary => loose(line, into),
        }
        Ok(true)
    }
}

impl Records<'_> {
    /// A name of the line that was read last (the hash FNV-1a). The columns of files that begin alike are the same.
    pub(super) fn line_name(&self) -> u64 {
        let start = 0xcbf2_9ce4_8422_2325_u64;
        self.line
            .iter()
            .fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

fn form(head: &[u8]) -> Form {
    if head.contains(&0) {
        return Form::Binary;
    }
    if matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return Form::Loose;
    }
    let lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').take(32).collect();
    // The last one may be cut off.
    let lines = if lines.len() > 1 { &lines[..lines.len() - 1] } else { &lines[..] };
    let fewest = |separator: u8| {
        let count = |line: &&[u8]| line.iter().filter(|byte| **byte == separator).count();
        lines.iter().map(count).min().unwrap_or(0)
    };
    let best = [b',', b'\t', b';', b'|'].into_iter().max_by_key(|separator| fewest(*separator));
    match best {
        Some(separator) if lines.len() > 1 && fewest(separator) > 0 => Form::Separated(separator),
        _ => Form::Loose,
    }
}

fn separated(line: &[u8], separator: u8, into: &mut Vec<f64>) {
    let (mut quoted, mut start) = (false, 0);
    for at in 0..=line.len() {
        match line.get(at) {
            Some(b'"') => quoted = !quoted,
            Some(byte) if *byte != separator || quoted => {}
            _ => {
                into.push(number(&line[start..at]));
                start = at + 1;
            }
        }
    }
}

/// The number in a cell: 0 in an empty one, NaN where there is none.
fn number(cell: &[u8]) -> f64 {
    let cell = cell.trim_ascii();
    let cell = cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")).unwrap_or(cell);
    match cell.first() {
        None => 0.0,
        // Words such as `inf` and `nan` are numbers to the parser.
        Some(byte) if !byte.is_ascii_digit() && !b"+-.".contains(byte) => f64::NAN,
        Some(_) => {
            let parsed = std::str::from_utf8(cell).ok().and_then(|text| text.parse().ok());
            parsed.filter(|value: &f64| value.is_finite()).unwrap_or(f64::NAN)
        }
    }
}

/// The numbers of a text, those in quotes with nothing else included, those within words left out.
pub(super) fn loose(line: &[u8], into: &mut Vec<f64>) {
    let of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let mut at = 0;
    while at < line.len() {
        let begins = line[at].is_ascii_digit() || line[at] == b'-';
        let within_word = at > 0 && (line[at - 1].is_ascii_alphanumeric() || b"_.".contains(&line[at - 1]));
        if !begins || within_word {
            at += 1;
            continue;
        }
        let length = line[at..].iter().take_while(|byte| of_number(byte)).count();
        let ends_word = line.get(at + length).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        let value = number(&line[at..at + length]);
        if !ends_word && !value.is_nan() {
            into.push(value);
        }
        at += length.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str) -> Vec<Vec<f64>> {
        let mut records = Records::new(Box::new(text.as_bytes())).unwrap();
        let (mut all, mut record) = (Vec::new(), Vec::new());
        while records.next(&mut record).unwrap() {
            all.push(record.iter().map(|value| if value.is_nan() { -1.0 } else { *value }).collect());
        }
        all
    }

    #[test]
    fn cells_are_read_whatever_separates_them() {
        let expected = vec![vec![-1.0, -1.0, -1.0], vec![1.5, 0.0, 20.0]];
        for separator in [",", "\t", ";", "|"] {
            let text = format!("a{separator}b{separator}c\r\n1.5{separator}{separator}\"20\"\r\n");
            assert_eq!(records(&text), expected, "{separator:?}");
        }
        assert_eq!(records("a,b\n\"x,y\",2\n"), [vec![-1.0, -1.0], vec![-1.0, 2.0]]);
        assert_eq!(records("a,b\nnan,inf\n"), [vec![-1.0, -1.0], vec![-1.0, -1.0]]);
    }

    #[test]
    fn json_lines_and_text_are_read_for_their_numbers() {
        assert_eq!(records("{\"x1\":5,\"y\":\"7\",\"z\":-2.5e1}\n"), [vec![5.0, 7.0, -25.0]]);
        assert_eq!(records("on day 12 he weighed 70.5 kg, see A4\n"), [vec![12.0, 70.5]]);
    }

    #[test]
    fn what_is_no_text_has_no_records() {
        assert!(records("\0\u{1}1,2\n").is_empty());
    }
}
