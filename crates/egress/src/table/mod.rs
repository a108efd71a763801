//! Tables: typed columns, sorted rows, one text for each number.

mod columns;
mod number;

use std::cmp::Ordering;

use release::rule::Rule;
use release::statement::DeclaredColumn;
use release::value::Name;

use crate::finding::{Notes, Record, quoted};
use crate::policy::TablePolicy;
use columns::Cell;
pub(crate) use columns::{Columns, as_written, planned};
use number::NumberError;

/// A table that has no canonical form.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum TableError {
    #[error("no column is declared")]
    NothingDeclared,
    #[error("not CSV in UTF-8, comma separated: {0}")]
    NotCsv(String),
    #[error("the first line is not the declared columns in their order")]
    Header,
    #[error("row {row} does not have one cell for each column")]
    Cells { row: u64 },
    #[error("row {row}, column {column}: {found} {error}")]
    Number { row: u64, column: Name, found: String, error: NumberError },
    #[error("row {row}, column {column}: {found} is no category of the signed catalogue")]
    Category { row: u64, column: Name, found: String },
    #[error("row {row}, column {column}: a count is not negative")]
    NegativeCount { row: u64, column: Name },
    #[error("two rows have the same categories: {0}")]
    RowTwice(String),
    #[error("the signed catalogue has no category {dataset}.{category}")]
    NoCategory { dataset: Name, category: Name },
    #[error("{0} is no column name: A-Z a-z 0-9 . _ - are expected")]
    NotName(String),
}

/// A table in its canonical form, and what else the rules look at.
pub(crate) struct Form {
    pub(crate) bytes: Vec<u8>,
    pub(crate) notes: Notes,
    /// Cells, the header not counted.
    pub(crate) cells: u64,
    /// Whether a column counts units.
    pub(crate) counted: bool,
    /// The smallest count of units as it was written, before rounding; none without rows or a column of counts.
    pub(crate) smallest: Option<i128>,
}

/// The first line, which the request fixes.
pub(crate) fn header(columns: &[DeclaredColumn]) -> Vec<u8> {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    format!("{}\n", names.join(",")).into_bytes()
}

/// What a cell holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i128),
    Text(String),
}

/// The canonical form of what was written, and what was changed. More cells than the policy allows are not read to the
/// end; the count of them then says enough.
pub(crate) fn form(policy: &TablePolicy, columns: &Columns, written: &[u8]) -> Result<Form, TableError> {
    if columns.list.is_empty() {
        return Err(TableError::NothingDeclared);
    }
    let mut reader = reader(written);
    let mut record = csv::StringRecord::new();
    let header_read = reader.read_record(&mut record).map_err(not_csv)?;
    if !header_read || !record.iter().eq(columns.list.iter().map(|(name, _)| name.as_str())) {
        return Err(TableError::Header);
    }
    let mut changes = Changes::default();
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let width = columns.list.len() as u64;
    let mut smallest = None;
    while reader.read_record(&mut record).map_err(not_csv)? {
        let row = rows.len() as u64 + 1;
        if record.len() as u64 != width {
            return Err(TableError::Cells { row });
        }
        let mut values = read_row(policy, columns, &record, row, &mut changes)?;
        if let Some(Value::Number(count)) = columns.count.map(|index| &mut values[index]) {
            smallest = Some(smallest.map_or(*count, |least: i128| least.min(*count)));
            let rounded = number::round_to_multiple(*count, i128::from(policy.rounding_base));
            changes.counts += u64::from(rounded != *count);
            *count = rounded;
        }
        rows.push(values);
        if row * width > policy.max_cells {
            break;
        }
    }
    sort(columns, &mut rows)?;
    let cells = rows.len() as u64 * width;
    let counted = columns.count.is_some();
    Ok(Form { bytes: write(columns, &rows), notes: changes.notes(policy), cells, counted, smallest })
}

/// What the rules say of a table besides its form.
pub(crate) fn check(policy: &TablePolicy, form: &Form, record: &mut Record) {
    if form.cells > policy.max_cells {
        let limit = policy.max_cells;
        record.block(Rule::TableCells, format!("it has more than the {limit} cells that the policy allows"));
    }
    let least = policy.smallest_count;
    match form.smallest {
        _ if !form.counted => {
            record.block(
                Rule::TableSmallestCount,
                "no column is declared that counts the units behind each row",
            );
        }
        Some(count) if count < i128::from(least) => {
            let detail = format!("a row stands for {count} units; the policy asks for at least {least}");
            record.block(Rule::TableSmallestCount, detail);
        }
        _ => {}
    }
}

fn reader(written: &[u8]) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(written)
}

fn not_csv(error: csv::Error) -> TableError {
    TableError::NotCsv(quoted(error.to_string().as_bytes()))
}

#[derive(Default)]
struct Changes {
    decimals: u64,
    zeros: u64,
    counts: u64,
}

impl Changes {
    fn notes(&self, policy: &TablePolicy) -> Notes {
        let mut notes = Notes::default();
        notes.changed(Rule::TableForm, self.decimals, "rounded to the declared digits");
        notes.changed(Rule::TableForm, self.zeros, "-0, set to 0");
        let base = format!("rounded to a multiple of {}", policy.rounding_base);
        notes.changed(Rule::TableRounding, self.counts, &base);
        notes
    }
}

fn read_row(
    policy: &TablePolicy,
    columns: &Columns,
    record: &csv::StringRecord,
    row: u64,
    changes: &mut Changes,
) -> Result<Vec<Value>, TableError> {
    let mut values = Vec::with_capacity(columns.list.len());
    for (index, ((name, cell), text)) in columns.list.iter().zip(record).enumerate() {
        let value = match cell {
            Cell::Number { digits } => {
                let number = number::read(text, *digits, policy.max_integer_digits as u32);
                let number = number.map_err(|error| TableError::Number {
                    row,
                    column: name.clone(),
                    found: quoted(text.as_bytes()),
                    error,
                })?;
                changes.decimals += u64::from(number.rounded);
                changes.zeros += u64::from(number.negative_zero);
                if columns.count == Some(index) && number.scaled < 0 {
                    return Err(TableError::NegativeCount { row, column: name.clone() });
                }
                Value::Number(number.scaled)
            }
            Cell::Category(values) if !values.contains(text) => {
                let found = quoted(text.as_bytes());
                return Err(TableError::Category { row, column: name.clone(), found });
            }
            Cell::Category(_) | Cell::Text => Value::Text(text.to_owned()),
        };
        values.push(value);
    }
    Ok(values)
}

/// Rows sorted by their categories in the order of the columns, and by all their cells if there is no category. Two
/// rows of the same key would let their order, or the split of a group in two, say something.
fn sort(columns: &Columns, rows: &mut [Vec<Value>]) -> Result<(), TableError> {
    let mut key: Vec<usize> =
        (0..columns.list.len()).filter(|index| columns.list[*index].1.is_key()).collect();
    if key.is_empty() {
        key = (0..columns.list.len()).collect();
    }
    let compare = |one: &Vec<Value>, other: &Vec<Value>| {
        let cells = key.iter().map(|index| one[*index].cmp(&other[*index]));
        cells.fold(Ordering::Equal, Ordering::then)
    };
    rows.sort_by(compare);
    match rows.windows(2).find(|pair| compare(&pair[0], &pair[1]).is_eq()) {
        Some(pair) => {
            let shown: Vec<String> =
                key.iter().map(|index| cell_text(columns, *index, &pair[0][*index])).collect();
            Err(TableError::RowTwice(quoted(shown.join(",").as_bytes())))
        }
        None => Ok(()),
    }
}

fn write(columns: &Columns, rows: &[Vec<Value>]) -> Vec<u8> {
    let names: Vec<&str> = columns.list.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = names.join(",");
    text.push('\n');
    for row in rows {
        for (index, value) in row.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&cell_text(columns, index, value));
        }
        text.push('\n');
    }
    text.into_bytes()
}

fn cell_text(columns: &Columns, index: usize, value: &Value) -> String {
    match value {
        Value::Number(scaled) => number::text(*scaled, columns.list[index].1.digits()),
        // RFC 4180, section 2: quotes where a cell could be taken for more than one. An empty line is no row, so an
        // empty cell is quoted too.
        Value::Text(text) if text.is_empty() || text.contains([',', '"', '\r', '\n']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::Text(text) => text.clone(),
    }
}
