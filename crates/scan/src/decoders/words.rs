//! Words as symbols: text in which a word, a number or a cell of a table stands for each byte.

use std::collections::HashMap;

use super::{DecodeError, Emit};
use crate::substitution::SUBSTITUTED_RUN;
use crate::views::View;

/// Words of a line that are followed down the text as a column of their own.
const COLUMN_LIMIT: usize = 1024;

/// Numbers of words begin here, so that their bytes are never equal ones in a row, which would be left out as filler.
const FIRST: u32 = 1 << 24;

/// Writes which words are equal to which, four bytes each: as they follow each other, parted by what is no letter and no
/// digit, then parted by spaces and by what parts cells alone, then such cells down each column.
pub(super) fn decode(text: &[u8], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric();
    let in_cell = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b';' | b'|');
    symbols(words(text, is_letter), emit)?;
    if text.iter().any(|byte| is_letter(byte) != in_cell(byte)) {
        symbols(words(text, in_cell), emit)?;
    }
    let mut columns: Vec<Vec<&[u8]>> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        for (column, cell) in words(line, in_cell).take(COLUMN_LIMIT).enumerate() {
            columns.resize_with(columns.len().max(column + 1), Vec::new);
            columns[column].push(cell);
        }
    }
    if columns.len() == 1 { Ok(()) } else { columns.into_iter().try_for_each(|column| symbols(column, emit)) }
}

fn words(text: &[u8], holds: impl Fn(&u8) -> bool) -> impl Iterator<Item = &[u8]> {
    text.split(move |byte| !holds(byte)).filter(|word| !word.is_empty())
}

fn symbols<'a>(words: impl IntoIterator<Item = &'a [u8]>, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    let (mut numbers, mut view) = (HashMap::new(), Vec::new());
    for word in words {
        let next = FIRST + numbers.len() as u32;
        view.extend(numbers.entry(word).or_insert(next).to_le_bytes());
    }
    if view.len() < 4 * SUBSTITUTED_RUN { Ok(()) } else { emit(View::WordSubstitution, &view) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Vec<Vec<u32>> {
        let mut all = Vec::new();
        let mut emit = |_, bytes: &[u8]| {
            let (groups, _) = bytes.as_chunks();
            all.push(groups.iter().map(|group| u32::from_le_bytes(*group) - FIRST).collect());
            Ok(())
        };
        decode(text.as_bytes(), &mut emit).unwrap();
        all
    }

    #[test]
    fn equal_words_are_equal_symbols_in_their_order_and_down_each_column() {
        let text = "ab cd ab\n".repeat(127);
        let views = decoded(&text);
        assert_eq!(views[0][..6], [0, 1, 0, 0, 1, 0]);
        assert_eq!(views.len(), 4);
        assert!(views[1..].iter().all(|column| *column == [0; 127]));
        let numbers = decoded(&"1.5,-2.5,1.5\n".repeat(127));
        assert_eq!(numbers[0][..4], [0, 1, 2, 1]);
        assert_eq!(numbers[1][..3], [0, 1, 0]);
        assert!(decoded(&"ab cd ".repeat(63)).is_empty());
    }
}
