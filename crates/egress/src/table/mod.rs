//! Tables: typed columns, sorted rows, one text for each number.

mod columns;
pub(crate) mod compared;
mod number;
mod shares;
pub(crate) mod suppression;
pub(crate) mod tabulation;
mod zeros;

use std::cmp::Ordering;

use release::rule::Rule;
use release::statement::{ColumnType, DeclaredColumn, DeclaredOutput};
use release::value::Name;

use crate::finding::{Notes, Record, quoted};
use crate::policy::TablePolicy;
pub(crate) use columns::{Cell, Columns, Declared, as_written, planned};
use number::NumberError;
use tabulation::{Tabulation, behind};

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
    #[error("its counts before rounding are not those of its rows")]
    Counts,
    #[error("{0} is no column name: A-Z a-z 0-9 . _ - are expected")]
    NotName(String),
}

/// A table in its canonical form, and what else the rules look at.
pub(crate) struct Form {
    pub(crate) bytes: Vec<u8>,
    pub(crate) notes: Notes,
    /// Cells, the header not counted.
    pub(crate) cells: u64,
    /// Whether its numbers have noise.
    pub(crate) noised: bool,
    /// Whether a column counts units.
    pub(crate) counted: bool,
    /// The smallest count of units as it was written, before rounding, rows of nobody left out; none without rows or a
    /// column of counts.
    pub(crate) smallest: Option<i128>,
    /// What the rules about zeros and shares found, row by row.
    pub(crate) findings: Vec<(Rule, String)>,
    /// The counts as they were written, before rounding, in the order of the rows; none without a column of counts.
    pub(crate) counts: Vec<i128>,
    /// What its counts say to a reader.
    pub(crate) tabulation: Option<Tabulation>,
}

/// The first line of the canonical form, which the request fixes.
pub(crate) fn header(output: &DeclaredOutput, columns: &[DeclaredColumn]) -> Vec<u8> {
    let released = columns.iter().filter(|column| !output.is_withheld(&column.name));
    let names: Vec<&str> = released.map(|column| column.name.as_str()).collect();
    format!("{}\n", names.join(",")).into_bytes()
}

/// What a cell holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i128),
    Text(String),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Number(scaled) => scaled.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// The name of a column's category, by which tables are compared: `hie.plan`, or the column's own where nothing is
/// declared.
fn dimension_name(declared: &[DeclaredColumn], name: &Name) -> String {
    let column = declared.iter().find(|column| column.name == *name);
    match column.map(|column| &column.column_type) {
        Some(ColumnType::Category { dataset, category }) => format!("{dataset}.{category}"),
        Some(ColumnType::Integer | ColumnType::Decimal(_)) | None => name.to_string(),
    }
}

/// The canonical form of what was written, and what was changed. More cells than the policy allows are not read to the
/// end; the count of them then says enough.
pub(crate) fn form(
    policy: &TablePolicy,
    declared: &[DeclaredColumn],
    columns: &Columns,
    written: &[u8],
) -> Result<Form, TableError> {
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
    let (mut smallest, mut findings) = (None, Vec::new());
    while reader.read_record(&mut record).map_err(not_csv)? {
        let row = rows.len() as u64 + 1;
        if record.len() as u64 != width {
            return Err(TableError::Cells { row });
        }
        let mut values = read_row(policy.max_integer_digits, columns, &record, row, &mut changes)?;
        let units = columns.count.map(|index| count_of(&values[index]));
        findings.extend(shares::judge_row(policy, columns, &values, units));
        if let (Some(index), Some(count)) = (columns.count, units) {
            match zeros::judge_row(policy, columns, &values, count) {
                zeros::Row::OfUnits => {
                    smallest = Some(smallest.map_or(count, |least: i128| least.min(count)));
                }
                zeros::Row::OfNobody => {}
                zeros::Row::Refused(detail) => findings.push((Rule::TableZeroCells, detail)),
            }
            let rounded = number::round_to_multiple(count, i128::from(policy.rounding_base));
            changes.counts += u64::from(rounded != count);
            values[index] = Value::Number(rounded);
            // Behind the columns, where nothing but `take_counts` looks, it is sorted with its row.
            values.push(Value::Number(count));
        }
        rows.push(values);
        if row * width > policy.max_cells {
            break;
        }
    }
    sort(columns, &mut rows)?;
    let cells = rows.len() as u64 * width;
    let counted = columns.count.is_some();
    let counts = if counted { take_counts(&mut rows) } else { Vec::new() };
    let tabulation = Tabulation::new(declared, columns, &rows, |_, shown| behind(policy, shown));
    let (bytes, notes) = (write(columns, &rows), changes.notes(policy));
    Ok(Form { bytes, notes, cells, noised: columns.noised, counted, smallest, findings, counts, tabulation })
}

fn take_counts(rows: &mut [Vec<Value>]) -> Vec<i128> {
    rows.iter_mut().filter_map(|row| row.pop()).map(|value| count_of(&value)).collect()
}

/// A count was read as a number that is not negative.
fn count_of(value: &Value) -> i128 {
    match value {
        Value::Number(count) => *count,
        Value::Text(_) => 0,
    }
}

/// What the rules say of a table besides its form.
pub(crate) fn check(policy: &TablePolicy, form: &Form, record: &mut Record) {
    check_size(policy, form, record);
    form.findings.iter().for_each(|(rule, detail)| record.block(*rule, detail.clone()));
}

/// The rules about counts, which run for every table but one whose numbers have noise.
pub(crate) fn begin(columns: &Columns, record: &mut Record) {
    record.ran(Rule::TableCells);
    record.ran(Rule::TableForm);
    if !columns.noised {
        for rule in [Rule::TableRounding, Rule::TableSmallestCount, Rule::TableZeroCells] {
            record.ran(rule);
        }
    }
}

/// Which rules about shares run, where the columns of shares still stand.
pub(crate) fn begin_shares(policy: &TablePolicy, columns: &Columns, record: &mut Record) {
    if columns.noised {
        return;
    }
    for rule in [Rule::TableDominance, Rule::TablePPercent] {
        if columns.largest.is_some() || !columns.has_values() {
            record.ran(rule);
        } else if policy.shares_required {
            record.block(rule, "no column is declared that says the share of each row's largest unit");
        } else {
            record.leave_out(rule);
        }
    }
}

fn check_size(policy: &TablePolicy, form: &Form, record: &mut Record) {
    if form.cells > policy.max_cells {
        let limit = policy.max_cells;
        record.block(Rule::TableCells, format!("it has more than the {limit} cells that the policy allows"));
    }
    let least = policy.smallest_count;
    match form.smallest {
        _ if form.noised => {}
        _ if !form.counted => {
            record.block(
                Rule::TableSmallestCount,
                "no column is declared that counts the units behind each row",
            );
        }
        Some(count) if count < i128::from(least) => {
            // Not how many: findings go to stewards, and what is counted exactly stays in the box.
            let detail = format!("a row stands for fewer units than the policy asks for, which is {least}");
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
    integer_digits: u64,
    columns: &Columns,
    record: &csv::StringRecord,
    row: u64,
    changes: &mut Changes,
) -> Result<Vec<Value>, TableError> {
    let mut values = Vec::with_capacity(columns.list.len());
    for (index, ((name, cell), text)) in columns.list.iter().zip(record).enumerate() {
        let value = match cell {
            Cell::Number { digits } => {
                let number = number::read(text, *digits, integer_digits as u32);
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
    let released: Vec<usize> = (0..columns.list.len()).filter(|index| !columns.is_withheld(*index)).collect();
    let names: Vec<&str> = released.iter().map(|index| columns.list[*index].0.as_str()).collect();
    let mut text = names.join(",");
    text.push('\n');
    for row in rows {
        for (place, index) in released.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            text.push_str(&cell_text(columns, *index, &row[*index]));
        }
        text.push('\n');
    }
    text.into_bytes()
}

/// The categories of a row, for people.
fn row_text(columns: &Columns, row: &[Value]) -> String {
    let keys = columns.list.iter().zip(row).filter(|((_, cell), _)| cell.is_key());
    let texts: Vec<String> = keys.map(|(_, value)| value.text()).collect();
    if texts.is_empty() { "the row".to_owned() } else { quoted(texts.join(",").as_bytes()) }
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
