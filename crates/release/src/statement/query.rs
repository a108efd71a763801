//! A question that the box answers itself: a closed form that can ask for counts, sums and means of groups, and for nothing
//! else. It is part of the signed request, so that enclave, stewards and auditors read what was asked, and never SQL.
//!
//! What it may name is public: columns of the signed catalogue, and those values of them that the catalogue lists. A
//! comparison with any other value would be a guess at one person, and its answer a yes or no about them.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::{
    Catalogue, CatalogueEntry, Column, ColumnType, DeclaredColumn, DeclaredOutput, Table, ValueType,
};
use crate::value::Name;

/// The program of every question, in a runtime that the catalogue says answers them.
pub const QUERY_PROGRAM: &str = "/usr/bin/databox-query";

/// The one file that an answer is.
pub const ANSWER_FILE: &str = "answer.csv";

/// The column of an answer that counts units.
pub const UNITS_COLUMN: &str = "units";

/// The columns of an answer that hold the shares of the largest unit and of the two largest. Judged, never released.
pub const SHARE_COLUMNS: [&str; 2] = ["share.largest", "share.two-largest"];

/// Digits after the point of a share.
pub const SHARE_DIGITS: u8 = 6;

/// Significant digits of a sum or a mean; what comes after is rounded away, ties to even.
pub const SIGNIFICANT_DIGITS: u32 = 3;

/// Most digits after the point of a sum or a mean.
pub const VALUE_DIGITS: u8 = 3;

/// Most columns that group, and most that are summed up.
const COLUMN_LIMIT: usize = 8;

/// Most comparisons of a filter, and how deep they may be nested: a signed payload is at most 16 levels deep.
const CONDITION_LIMITS: (usize, usize) = (64, 4);

/// Most bytes of column names and values in a filter together.
const FILTER_BYTES: usize = 64 << 10;

/// What is asked about one file of one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The dataset.
    pub dataset: Name,
    /// Its file.
    pub table: Name,
    /// Columns by whose public categories rows are put into groups; none: all rows are one group.
    pub groups: Vec<Name>,
    /// What is told of each group besides how many units it has, each of another column.
    pub values: Vec<QueryValue>,
    /// Which rows count; all if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Condition>,
}

/// A sum or a mean of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryValue {
    /// A column of numbers.
    pub column: Name,
    /// Of the rows in which it is not empty.
    pub function: QueryFunction,
}

/// What may be asked of a column of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum QueryFunction {
    /// The sum over rows.
    Sum,
    /// The mean over rows.
    Mean,
}

/// Which rows count. It says yes to public categories only: no "not", no comparison of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum Condition {
    /// The column has one of these values.
    Among {
        /// A category of the file.
        column: Name,
        /// Sorted, each once.
        values: Vec<String>,
    },
    /// All of these hold; at least two.
    All {
        /// The conditions.
        of: Vec<Condition>,
    },
    /// One of these holds; at least two.
    Any {
        /// The conditions.
        of: Vec<Condition>,
    },
}

/// A question that the catalogue does not cover.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum QueryError {
    #[error("the catalogue has no file {table} of a dataset {dataset}")]
    NoTable { dataset: Name, table: Name },
    #[error("the file {table} has no column {unit}, by which people are counted")]
    NoUnits { table: Name, unit: Name },
    #[error("{column} is no category of the file")]
    NotCategory { column: Name },
    #[error("{column} is no column of numbers of the file, or is the one by which people are counted")]
    NotNumber { column: Name },
    #[error("{value:?} is no public value of {column}")]
    NotPublic { column: Name, value: String },
    #[error("{column} is named twice: a sum and a mean of one column tell how many rows there are")]
    Twice { column: Name },
    #[error("more than {COLUMN_LIMIT} columns group, or are summed up")]
    TooManyColumns,
    #[error("the filter is too large, nested too deep, or not in its one form")]
    Filter,
    #[error("two columns of the answer would have the name {name}")]
    SameName { name: String },
}

impl QueryFunction {
    /// The word in front of the column's name in an answer.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
        }
    }
}

impl QueryValue {
    /// The column's name in an answer, such as `mean.visits`.
    fn name(&self) -> String {
        format!("{}.{}", self.function.word(), self.column)
    }
}

/// The file that a question is about, as the catalogue has it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The file.
    pub table: &'a Table,
    /// The column that names the unit.
    pub unit: &'a Name,
}

impl Query {
    /// Checks the question against the signed catalogue, and finds the file that it asks.
    ///
    /// # Errors
    /// It names what is not public, or is not in its one form.
    pub fn check<'a>(&self, catalogue: &'a Catalogue) -> Result<Asked<'a>, QueryError> {
        let (dataset, table) = (&self.dataset, &self.table);
        let no_table = || QueryError::NoTable { dataset: dataset.clone(), table: table.clone() };
        let CatalogueEntry::Dataset { unit_column, tables, .. } = &catalogue.entry else {
            return Err(no_table());
        };
        let found = tables.iter().find(|one| one.file == *table).filter(|_| catalogue.name == *dataset);
        let found = found.ok_or_else(no_table)?;
        if !found.columns.iter().any(|column| column.name == *unit_column) {
            return Err(QueryError::NoUnits { table: table.clone(), unit: unit_column.clone() });
        }
        self.check_columns(found, unit_column)?;
        if let Some(filter) = &self.filter {
            filter.check(found)?;
        }
        self.output()?;
        Ok(Asked { table: found, unit: unit_column })
    }

    fn check_columns(&self, table: &Table, unit: &Name) -> Result<(), QueryError> {
        if self.groups.len() > COLUMN_LIMIT || self.values.len() > COLUMN_LIMIT {
            return Err(QueryError::TooManyColumns);
        }
        let mut named = BTreeSet::new();
        let columns = self.groups.iter().chain(self.values.iter().map(|value| &value.column));
        for column in columns {
            if !named.insert(column) {
                return Err(QueryError::Twice { column: column.clone() });
            }
        }
        for column in &self.groups {
            category(table, column)?;
        }
        for value in &self.values {
            let is_number = |found: &Column| {
                found.name == value.column
                    && found.name != *unit
                    && matches!(found.value_type, ValueType::Integer | ValueType::Decimal)
            };
            if !table.columns.iter().any(is_number) {
                return Err(QueryError::NotNumber { column: value.column.clone() });
            }
        }
        Ok(())
    }

    /// The one output that a job with this question declares.
    ///
    /// # Errors
    /// Two of its columns would have one name.
    pub fn output(&self) -> Result<DeclaredOutput, QueryError> {
        let mut columns = Vec::new();
        let mut add = |text: String, column_type: ColumnType| {
            let taken = columns.iter().any(|column: &DeclaredColumn| column.name.as_str() == text);
            // Longer than a name can be is the same fault: the answer has no such column.
            let name = text.parse().ok().filter(|_| !taken);
            let name: Name = name.ok_or(QueryError::SameName { name: text })?;
            columns.push(DeclaredColumn { name: name.clone(), column_type });
            Ok(name)
        };
        for group in &self.groups {
            let (dataset, category) = (self.dataset.clone(), group.clone());
            add(group.to_string(), ColumnType::Category { dataset, category })?;
        }
        let count_column = Some(add(UNITS_COLUMN.to_owned(), ColumnType::Integer)?);
        for value in &self.values {
            add(value.name(), ColumnType::Decimal(VALUE_DIGITS))?;
        }
        let mut share = |name: &str| -> Result<Option<Name>, QueryError> {
            match self.values.is_empty() {
                true => Ok(None),
                false => add(name.to_owned(), ColumnType::Decimal(SHARE_DIGITS)).map(Some),
            }
        };
        let (largest_column, two_largest_column) = (share(SHARE_COLUMNS[0])?, share(SHARE_COLUMNS[1])?);
        let path = ANSWER_FILE.parse().expect("the file of answers has a name");
        Ok(DeclaredOutput::Table {
            path,
            columns,
            count_column,
            largest_column,
            two_largest_column,
            structural_zeros: Vec::new(),
        })
    }

    /// The columns whose categories decide in which group a row is, and whether it counts; sorted.
    pub fn categories(&self) -> BTreeSet<&Name> {
        let mut found: BTreeSet<&Name> = self.groups.iter().collect();
        if let Some(filter) = &self.filter {
            filter.add_columns(&mut found);
        }
        found
    }

    /// What is asked, in a sentence for people. Values are quoted as Rust quotes strings, without characters that steer a
    /// terminal.
    pub fn words(&self) -> String {
        let mut text = format!("how many people {} of {} has", self.table, self.dataset);
        for value in &self.values {
            let _ = write!(text, ", the {} of {}", value.function.word(), value.column);
        }
        if let Some(filter) = &self.filter {
            let _ = write!(text, ", of the rows where {filter}");
        }
        let groups: Vec<&str> = self.groups.iter().map(Name::as_str).collect();
        let groups = match groups.is_empty() {
            true => "all together".to_owned(),
            false => format!("for each {}", groups.join(", ")),
        };
        let _ = write!(text, ", {groups}; counted by the box, sums and means to {SIGNIFICANT_DIGITS} digits");
        text
    }
}

fn category<'a>(table: &'a Table, name: &Name) -> Result<&'a Column, QueryError> {
    let found = table.columns.iter().find(|column| column.name == *name);
    let found = found.filter(|column| column.value_type == ValueType::Category);
    found.ok_or_else(|| QueryError::NotCategory { column: name.clone() })
}

impl Condition {
    fn check(&self, table: &Table) -> Result<(), QueryError> {
        let (mut comparisons, mut bytes) = (0, 0);
        self.check_part(table, CONDITION_LIMITS.1, &mut comparisons, &mut bytes)?;
        match comparisons <= CONDITION_LIMITS.0 && bytes <= FILTER_BYTES {
            true => Ok(()),
            false => Err(QueryError::Filter),
        }
    }

    fn check_part(
        &self,
        table: &Table,
        depth: usize,
        comparisons: &mut usize,
        bytes: &mut usize,
    ) -> Result<(), QueryError> {
        match self {
            Self::Among { column, values } => {
                let public = &category(table, column)?.categories;
                if let Some(value) = values.iter().find(|value| !public.contains(value)) {
                    return Err(QueryError::NotPublic { column: column.clone(), value: value.clone() });
                }
                *comparisons += 1;
                *bytes += column.as_str().len() + values.iter().map(String::len).sum::<usize>();
                let in_form = !values.is_empty() && values.is_sorted_by(|one, other| one < other);
                if in_form { Ok(()) } else { Err(QueryError::Filter) }
            }
            Self::All { of } | Self::Any { of } => {
                if depth == 0 || of.len() < 2 || of.len() > CONDITION_LIMITS.0 {
                    return Err(QueryError::Filter);
                }
                of.iter().try_for_each(|part| part.check_part(table, depth - 1, comparisons, bytes))
            }
        }
    }

    fn add_columns<'a>(&'a self, to: &mut BTreeSet<&'a Name>) {
        match self {
            Self::Among { column, .. } => drop(to.insert(column)),
            Self::All { of } | Self::Any { of } => of.iter().for_each(|part| part.add_columns(to)),
        }
    }

    /// Whether it holds where `value` gives each column's category; none for one that is not public, which is among no
    /// values.
    pub fn holds<'v>(&self, value: &impl Fn(&Name) -> Option<&'v str>) -> bool {
        match self {
            Self::Among { column, values } => {
                value(column).is_some_and(|found| values.iter().any(|value| value == found))
            }
            Self::All { of } => of.iter().all(|part| part.holds(value)),
            Self::Any { of } => of.iter().any(|part| part.holds(value)),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |formatter: &mut fmt::Formatter<'_>, of: &[Self], word: &str| {
            formatter.write_char('(')?;
            for (index, part) in of.iter().enumerate() {
                if index > 0 {
                    write!(formatter, " {word} ")?;
                }
                write!(formatter, "{part}")?;
            }
            formatter.write_char(')')
        };
        match self {
            Self::Among { column, values } => {
                let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
                let word = if quoted.len() == 1 { "is" } else { "is one of" };
                write!(formatter, "{column} {word} {}", quoted.join(", "))
            }
            Self::All { of } => join(formatter, of, "and"),
            Self::Any { of } => join(formatter, of, "or"),
        }
    }
}
