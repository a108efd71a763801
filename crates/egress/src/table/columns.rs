//! What each column of a table may hold.

use std::collections::BTreeSet;

use release::statement::{Catalogue, CatalogueEntry, ColumnType, DeclaredColumn, ValueType};
use release::value::Name;

use super::{TableError, not_csv, number, reader};
use crate::finding::quoted;

/// The columns of a table, resolved against the catalogue.
pub(crate) struct Columns {
    pub(crate) list: Vec<(Name, Cell)>,
    /// Whether their numbers have noise, which is what protects people then.
    pub(crate) noised: bool,
    /// Which of them counts units.
    pub(crate) count: Option<usize>,
    /// Which of them is the share of the largest unit.
    pub(crate) largest: Option<usize>,
    /// Which of them is the share of the two largest units.
    pub(crate) two_largest: Option<usize>,
    /// Rows in which nobody can stand, by their categories in the order of the columns.
    pub(crate) structural_zeros: BTreeSet<Vec<String>>,
}

impl Columns {
    /// True for the columns that are judged and never released.
    pub(crate) fn is_withheld(&self, index: usize) -> bool {
        self.largest == Some(index) || self.two_largest == Some(index)
    }

    /// Columns of numbers that say something of the units, and neither count them nor are shares.
    pub(crate) fn has_values(&self) -> bool {
        self.list
            .iter()
            .enumerate()
            .any(|(index, (_, cell))| !cell.is_key() && self.count != Some(index) && !self.is_withheld(index))
    }
}

/// What a job declares of a table.
#[derive(Clone, Copy)]
pub(crate) struct Declared<'a> {
    pub(crate) columns: &'a [DeclaredColumn],
    pub(crate) noised: bool,
    pub(crate) count: Option<&'a Name>,
    /// The two columns of shares; none where a canonical file is read, which does not have them.
    pub(crate) shares: [Option<&'a Name>; 2],
    pub(crate) structural_zeros: &'a [Vec<String>],
}

impl Declared<'_> {
    /// Gives each column of a list its part.
    fn columns(&self, list: Vec<(Name, Cell)>) -> Columns {
        let place = |wanted: Option<&Name>| {
            let wanted = wanted?;
            let is_number = |cell: &Cell| matches!(cell, Cell::Number { .. });
            list.iter().position(|(name, cell)| name == wanted && is_number(cell))
        };
        // Counts that are not whole are no counts, and the table then has none.
        let whole = |index: &usize| matches!(list[*index].1, Cell::Number { digits: None });
        let count = place(self.count).filter(whole);
        let [largest, two_largest] = self.shares.map(place);
        let structural_zeros = self.structural_zeros.iter().cloned().collect();
        Columns { noised: self.noised, count, largest, two_largest, structural_zeros, list }
    }
}

/// What a cell may hold.
pub(crate) enum Cell {
    /// A number with so many digits after the point; none: it must be whole.
    Number { digits: Option<u8> },
    /// One of the signed catalogue's values.
    Category(BTreeSet<String>),
    /// Any text. At the researcher's desk only.
    Text,
}

impl Cell {
    /// Whether it takes part in what tells rows apart.
    pub(crate) fn is_key(&self) -> bool {
        !matches!(self, Self::Number { .. })
    }

    pub(crate) fn digits(&self) -> u8 {
        match self {
            Self::Number { digits } => digits.unwrap_or(0),
            Self::Category(_) | Self::Text => 0,
        }
    }
}

/// The declared columns. With `any_text`, a category that the catalogue does not have holds any text.
pub(crate) fn planned(
    declared: Declared<'_>,
    catalogue: &[Catalogue],
    any_text: bool,
) -> Result<Columns, TableError> {
    let mut list = Vec::new();
    for column in declared.columns {
        let cell = match &column.column_type {
            ColumnType::Integer => Cell::Number { digits: None },
            ColumnType::Decimal(digits) => Cell::Number { digits: Some(*digits) },
            ColumnType::Category { dataset, category } => match categories(catalogue, dataset, category) {
                Some(values) => Cell::Category(values),
                None if any_text => Cell::Text,
                None => {
                    return Err(TableError::NoCategory {
                        dataset: dataset.clone(),
                        category: category.clone(),
                    });
                }
            },
        };
        list.push((column.name.clone(), cell));
    }
    Ok(declared.columns(list))
}

/// The values of a category: all that the signed catalogue lists for a column of this name in any file of the dataset.
pub(super) fn categories(
    catalogue: &[Catalogue],
    dataset: &Name,
    category: &Name,
) -> Option<BTreeSet<String>> {
    let tables =
        catalogue.iter().filter(|entry| entry.name == *dataset).flat_map(|entry| match &entry.entry {
            CatalogueEntry::Dataset { tables, .. } => &tables[..],
            CatalogueEntry::Runtime { .. } => &[],
        });
    let columns = tables.flat_map(|table| &table.columns);
    let mut found = columns
        .filter(|column| column.name == *category && column.value_type == ValueType::Category)
        .map(|column| column.categories.iter().cloned())
        .peekable();
    found.peek()?;
    Some(found.flatten().collect())
}

/// Columns as the first line names them, each of the narrowest type that holds its cells.
pub(crate) fn as_written(
    written: &[u8],
    declared: Declared<'_>,
    integer_digits: u32,
) -> Result<Columns, TableError> {
    let mut reader = reader(written);
    let mut record = csv::StringRecord::new();
    if !reader.read_record(&mut record).map_err(not_csv)? {
        return Err(TableError::Header);
    }
    let name = |text: &str| text.parse().map_err(|_| TableError::NotName(quoted(text.as_bytes())));
    let names: Vec<Name> = record.iter().map(name).collect::<Result<_, _>>()?;
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        return Err(TableError::Header);
    }
    let mut cells: Vec<Cell> = names.iter().map(|_| Cell::Number { digits: None }).collect();
    while reader.read_record(&mut record).map_err(not_csv)? {
        cells.iter_mut().zip(&record).for_each(|(cell, text)| widen(cell, text, integer_digits));
    }
    Ok(declared.columns(names.into_iter().zip(cells).collect()))
}

fn widen(cell: &mut Cell, text: &str, integer_digits: u32) {
    let Cell::Number { digits } = cell else { return };
    let first = digits.map_or(0, |digits| digits + 1);
    if digits.is_none() && number::read(text, None, integer_digits).is_ok() {
        return;
    }
    // Nine digits after the point are the most that a column can declare; what has more is rounded to them.
    let exact =
        |digits: &u8| number::read(text, Some(*digits), integer_digits).is_ok_and(|number| !number.rounded);
    let kept = digits.filter(exact).or_else(|| (first.max(1)..=9).find(exact));
    *cell = match kept {
        Some(digits) => Cell::Number { digits: Some(digits) },
        None if number::read(text, Some(9), integer_digits).is_ok() => Cell::Number { digits: Some(9) },
        None => Cell::Text,
    };
}
