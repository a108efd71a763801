//! A canonical table with its counts as they were before rounding, for comparing it with other tables.

use std::borrow::Cow;
use std::collections::BTreeSet;

use release::statement::{Catalogue, ColumnType, DeclaredColumn, DeclaredOutput, OutputKind};

use super::columns::{self, Declared, planned};
use super::number::round_to_multiple;
use super::tabulation::{Range, Tabulation};
use super::{Changes, TableError, count_of, dimension_name, not_csv, read_row, reader};
use crate::figure::figure_table;

/// Bytes of one count.
const COUNT_BYTES: usize = 8;

/// The most digits before the point that any policy allows. Tables are compared that were judged by another one.
const INTEGER_DIGITS: u64 = 18;

/// Counts before rounding: eight bytes each, the lowest first.
pub(crate) fn counts_to_bytes(counts: &[i128]) -> Vec<u8> {
    // A count of at most 18 digits was read, which is not negative.
    counts.iter().flat_map(|count| u64::try_from(*count).unwrap_or(u64::MAX).to_le_bytes()).collect()
}

/// A canonical table with its exact counts. The catalogue says which rows there could be; a category that it does not
/// have holds what was written. With `base`, each count must be rounded to what the table shows: whoever wrote the
/// counts has read what a job wrote. None if no count can be told apart by categories.
pub(crate) fn tabulate(
    output: &DeclaredOutput,
    catalogue: &[Catalogue],
    canonical: &[u8],
    counts: &[u8],
    base: Option<u64>,
) -> Result<Option<Tabulation>, TableError> {
    let (declared, count_column, structural_zeros) = match output {
        DeclaredOutput::Table { columns, count_column, structural_zeros, .. } => {
            (columns, count_column, &structural_zeros[..])
        }
        DeclaredOutput::Figure { columns, count_column, .. } => (columns, count_column, &[][..]),
        DeclaredOutput::Weights { .. } | DeclaredOutput::Metrics { .. } => return Ok(None),
    };
    let table = match output.kind() {
        OutputKind::Figure => Cow::Owned(figure_table(canonical).ok_or(TableError::Header)?),
        OutputKind::Table | OutputKind::Weights | OutputKind::Metrics => Cow::Borrowed(canonical),
    };
    let released: Vec<DeclaredColumn> =
        declared.iter().filter(|column| !output.is_withheld(&column.name)).cloned().collect();
    let count = count_column.as_ref();
    // Whatever the catalogue was when the table was judged, its values are read as they stand.
    let columns = planned(
        Declared {
            columns: &released,
            noised: output.is_noised(),
            count,
            shares: [None; 2],
            structural_zeros,
        },
        &[],
        true,
    )?;
    let Some(count) = columns.count else { return Ok(None) };
    let mut reader = reader(&table);
    let mut record = csv::StringRecord::new();
    let header_read = reader.read_record(&mut record).map_err(not_csv)?;
    if !header_read || !record.iter().eq(columns.list.iter().map(|(name, _)| name.as_str())) {
        return Err(TableError::Header);
    }
    let mut rows = Vec::new();
    while reader.read_record(&mut record).map_err(not_csv)? {
        let row = rows.len() as u64 + 1;
        if record.len() != columns.list.len() {
            return Err(TableError::Cells { row });
        }
        rows.push(read_row(INTEGER_DIGITS, &columns, &record, row, &mut Changes::default())?);
    }
    let exact = counts_of(counts, rows.len()).ok_or(TableError::Counts)?;
    let shown = rows.iter().map(|row| count_of(&row[count]));
    let rounds = |(exact, shown): (&i128, i128)| {
        base.is_none_or(|base| round_to_multiple(*exact, i128::from(base)) == shown)
    };
    if !exact.iter().zip(shown).all(rounds) {
        return Err(TableError::Counts);
    }
    let range = |index: usize, _| Range { least: exact[index], most: exact[index] };
    let mut table = Tabulation::new(&released, &columns, &rows, range);
    if let Some(table) = &mut table {
        add_categories(table, &released, catalogue);
    }
    Ok(table)
}

fn counts_of(bytes: &[u8], rows: usize) -> Option<Vec<i128>> {
    let (counts, rest) = bytes.as_chunks::<COUNT_BYTES>();
    let counts: Vec<i128> = counts.iter().map(|count| u64::from_le_bytes(*count).into()).collect();
    (rest.is_empty() && counts.len() == rows).then_some(counts)
}

/// The rows that could be there: every value that the catalogue has, besides those that were written.
fn add_categories(table: &mut Tabulation, declared: &[DeclaredColumn], catalogue: &[Catalogue]) {
    for column in declared {
        let ColumnType::Category { dataset, category } = &column.column_type else { continue };
        let values: BTreeSet<String> =
            columns::categories(catalogue, dataset, category).into_iter().flatten().collect();
        let name = dimension_name(declared, &column.name);
        for dimension in table.dimensions.iter_mut().filter(|dimension| dimension.name == name) {
            dimension.values.extend(values.iter().cloned());
        }
    }
}
