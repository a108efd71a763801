//! The columns of one CSV file: names, types, and the public values of categories.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use release::statement::{Column, ValueType};
use release::value::Name;

/// Most different values of a category. More is no category.
const CATEGORY_LIMIT: usize = 4096;

/// Longest value of a category, in bytes.
const VALUE_BYTES: usize = 256;

/// A table that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Not CSV with a header and rows of the same length.
    #[error("not CSV in UTF-8 with a header and rows of one length")]
    Form,
    /// The file's name is no name.
    #[error("a file's name holds other characters than A-Z a-z 0-9 . _ -")]
    FileName,
    /// A column's name is no name, or stands twice.
    #[error("a column's name is empty, stands twice, or holds other characters than A-Z a-z 0-9 . _ -")]
    ColumnName,
    /// A category is named in a table without the unit column, so that units cannot be counted.
    #[error("a table has a category but not the unit column")]
    NoUnitColumn,
    /// No table names a unit.
    #[error("no table has the unit column, or none has rows")]
    NoUnits,
    /// A category that no table has.
    #[error("a category names a column that no table has")]
    NoSuchColumn,
    /// Too many values.
    #[error("a category has more than {CATEGORY_LIMIT} values, or one longer than {VALUE_BYTES} bytes")]
    TooManyValues,
}

/// What is known of a column so far.
struct Seen {
    name: Name,
    all_integer: bool,
    all_decimal: bool,
    any: bool,
    /// For a category, which units have each value.
    values: Option<BTreeMap<String, HashSet<u64>>>,
}

/// Reads a table and adds its units to `units`.
pub fn read(
    from: impl Read,
    unit_column: &Name,
    categories: &[Name],
    smallest: u64,
    units: &mut HashSet<String>,
) -> Result<Vec<Column>, TableError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(from);
    let header = reader.headers().map_err(|_| TableError::Form)?.clone();
    let mut columns = columns(&header, categories)?;
    let unit = columns.iter().position(|column| column.name == *unit_column);
    if unit.is_none() && columns.iter().any(|column| column.values.is_some()) {
        return Err(TableError::NoUnitColumn);
    }
    // Within one table a unit is a number, so that each value does not hold its text again.
    let mut numbers: std::collections::HashMap<String, u64> = std::collections::HashMap::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|_| TableError::Form)? {
        let number = unit.and_then(|unit| record.get(unit)).filter(|text| !text.is_empty()).map(|text| {
            let next = numbers.len() as u64;
            *numbers.entry(text.to_owned()).or_insert(next)
        });
        for (column, cell) in columns.iter_mut().zip(&record) {
            column.see(cell, number)?;
        }
    }
    units.extend(numbers.into_keys());
    Ok(columns.into_iter().map(|column| column.finish(smallest)).collect())
}

fn columns(header: &csv::StringRecord, categories: &[Name]) -> Result<Vec<Seen>, TableError> {
    let mut columns: Vec<Seen> = Vec::new();
    for text in header {
        let name: Name = text.parse().map_err(|_| TableError::ColumnName)?;
        if columns.iter().any(|column| column.name == name) {
            return Err(TableError::ColumnName);
        }
        let values = categories.contains(&name).then(BTreeMap::new);
        columns.push(Seen { name, all_integer: true, all_decimal: true, any: false, values });
    }
    if columns.is_empty() { Err(TableError::Form) } else { Ok(columns) }
}

impl Seen {
    fn see(&mut self, cell: &str, unit: Option<u64>) -> Result<(), TableError> {
        if cell.is_empty() {
            return Ok(());
        }
        if let Some(values) = &mut self.values {
            if cell.len() > VALUE_BYTES {
                return Err(TableError::TooManyValues);
            }
            if let Some(unit) = unit {
                values.entry(cell.to_owned()).or_default().insert(unit);
            }
            return if values.len() > CATEGORY_LIMIT { Err(TableError::TooManyValues) } else { Ok(()) };
        }
        self.any = true;
        self.all_integer = self.all_integer && cell.parse::<i64>().is_ok();
        self.all_decimal = self.all_decimal && cell.parse::<f64>().is_ok_and(f64::is_finite);
        Ok(())
    }

    /// A value that too few units have is left out: its name alone could single them out.
    fn finish(self, smallest: u64) -> Column {
        let (value_type, categories) = match self.values {
            Some(values) => {
                let enough = values.into_iter().filter(|(_, units)| units.len() as u64 >= smallest);
                (ValueType::Category, enough.map(|(value, _)| value).collect())
            }
            None if self.any && self.all_integer => (ValueType::Integer, Vec::new()),
            None if self.any && self.all_decimal => (ValueType::Decimal, Vec::new()),
            None => (ValueType::Text, Vec::new()),
        };
        Column { name: self.name, value_type, categories }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, categories: &[&str], smallest: u64) -> Result<(Vec<Column>, usize), TableError> {
        let categories: Vec<Name> = categories.iter().map(|name| name.parse().unwrap()).collect();
        let mut units = HashSet::new();
        let columns = read(text.as_bytes(), &"person".parse().unwrap(), &categories, smallest, &mut units)?;
        Ok((columns, units.len()))
    }

    #[test]
    fn columns_are_typed_by_what_they_hold() {
        let text = "person,visits,cost,note,none\n1,2,0.5,a,\n2,,1,3,\n";
        let (columns, units) = read_text(text, &[], 10).unwrap();
        let types: Vec<_> = columns.iter().map(|column| column.value_type).collect();
        use ValueType::{Decimal, Integer, Text};
        assert_eq!(types, [Integer, Integer, Decimal, Text, Text]);
        assert_eq!(units, 2);
    }

    #[test]
    fn a_value_that_one_unit_has_many_times_is_not_published() {
        let mut text = "person,plan\n".to_owned();
        (0..3).for_each(|person| text += &format!("{person},free\n"));
        (0..10).for_each(|_| text += "7,secret\n");
        let (columns, _) = read_text(&text, &["plan"], 3).unwrap();
        assert_eq!(columns[1].value_type, ValueType::Category);
        assert_eq!(columns[1].categories, ["free"]);
    }

    #[test]
    fn a_table_that_cannot_be_read_as_declared_is_refused_by_name() {
        let refused = |text: &str, categories: &[&str]| read_text(text, categories, 1).unwrap_err();
        assert!(matches!(refused("person,plan\n1\n", &[]), TableError::Form));
        assert!(matches!(refused("person,a b\n", &[]), TableError::ColumnName));
        assert!(matches!(refused("person,a,a\n", &[]), TableError::ColumnName));
        assert!(matches!(refused("plan\nx\n", &["plan"]), TableError::NoUnitColumn));
        let many: String = (0..=CATEGORY_LIMIT).map(|row| format!("{row},v{row}\n")).collect();
        assert!(matches!(refused(&format!("person,plan\n{many}"), &["plan"]), TableError::TooManyValues));
    }
}
