//! A question that the box answers itself: a closed form that can ask for counts, sums, means and quantiles of groups, and for
//! nothing else. It is part of the signed request, so that enclave, stewards and auditors read what was asked, and never SQL.
//!
//! What it may name is public: columns of the signed catalogue, and those values of them that the catalogue lists. A
//! comparison with any other value would be a guess at one person, and its answer a yes or no about them.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::condition::{category, column_of};
use super::{
    Catalogue, CatalogueEntry, ColumnType, Condition, DeclaredColumn, DeclaredOutput, QueryPrivacy, Table,
    ValueType, rho_text,
};
use crate::value::{Name, ValueError};

/// The program of every question, in a runtime that the catalogue says answers them.
pub const QUERY_PROGRAM: &str = "/usr/bin/databox-query";

/// The one file that an answer is.
pub const ANSWER_FILE: &str = "answer.csv";

/// The column of an answer that counts units.
pub const UNITS_COLUMN: &str = "units";

/// What an exact answer without rows says, and all that it says.
pub const WITHOUT_ROWS: &str = "the answer has no rows: in each group too few people stand, or nobody does, or one or two people \
    have nearly all of a number; which of these, it does not say. Of coarser groups more is told";

/// What stands before the name of a column whose numbers have noise.
const NOISY: &str = "noisy";

/// The columns of an answer that hold the shares of the largest unit and of the two largest. Judged, never released.
pub const SHARE_COLUMNS: [&str; 2] = ["share.largest", "share.two-largest"];

/// Digits after the point of a share.
pub const SHARE_DIGITS: u8 = 6;

/// Significant digits of a sum or a mean; what comes after is rounded away, ties to even.
pub const SIGNIFICANT_DIGITS: u32 = 3;

/// Most digits after the point of a sum or a mean.
pub const VALUE_DIGITS: u8 = 3;

/// Most columns that group.
const COLUMN_LIMIT: usize = 8;

/// Most numbers that are told of each group besides how many units it has.
const VALUE_LIMIT: usize = 16;

/// Per cent of a group's rows below a quantile.
const PERCENTS: std::ops::RangeInclusive<u8> = 1..=99;

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
    /// What is told of each group besides how many units it has: of each column one sum or mean, and any quantiles.
    pub values: Vec<QueryValue>,
    /// Which rows count; all if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Condition>,
    /// The noise that the answer is to have; none: what is told is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<QueryPrivacy>,
}

/// A sum, a mean or a quantile of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryValue {
    /// A column of numbers.
    pub column: Name,
    /// Of the rows in which it is not empty.
    pub function: QueryFunction,
}

/// What may be asked of a column of numbers. Text forms: `sum`, `mean`, `quantile:25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum QueryFunction {
    /// The sum over rows.
    Sum,
    /// The mean over rows.
    Mean,
    /// The mean over the rows around a rank, of enough units: so many per cent of the rows lie below it. The one value at the
    /// rank would be a person's own.
    Quantile(u8),
}

/// A question that the catalogue does not cover.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum QueryError {
    #[error("the catalogue has no file {table} of a dataset {dataset}")]
    NoTable { dataset: Name, table: Name },
    #[error("the file {table} has no column {unit}, by which people are counted")]
    NoUnits { table: Name, unit: Name },
    #[error("the file {table} has no column {column}")]
    NoColumn { table: Name, column: Name },
    #[error("{column} is no category of the file: the catalogue lists no public values of it")]
    NotCategory { column: Name },
    #[error("{column} is no column of numbers, so that it has no sum, mean or quantile")]
    NotNumber { column: Name },
    #[error("{column} is the column by which people are counted, and nothing else is told of it")]
    Unit { column: Name },
    #[error("{value:?} is no public value of {column}")]
    NotPublic { column: Name, value: String },
    #[error("it groups by {column} twice")]
    GroupTwice { column: Name },
    #[error("{column} is named twice: a sum and a mean of one column tell how many rows there are")]
    Twice { column: Name },
    #[error("a quantile lies above 1 to 99 % of the rows, and not above {percent} %")]
    Percent { percent: u8 },
    #[error(
        "more than {COLUMN_LIMIT} columns group, or more than {VALUE_LIMIT} numbers are asked of each group"
    )]
    TooManyColumns,
    #[error("the filter is too large, nested too deep, or not in its one form")]
    Filter,
    #[error("two columns of the answer would have the name {name}")]
    SameName { name: String },
    #[error(
        "the owner of {dataset} lets nothing be answered with noise: its catalogue entry has no privacy budget"
    )]
    NoBudget { dataset: Name },
    #[error(
        "the answer would cost ρ = {}, and the owner of {dataset} lets one answer cost {} at most",
        rho_text(*.asked),
        rho_text(*.most)
    )]
    Price { dataset: Name, asked: u64, most: u64 },
    #[error("ρ is at least 0.000001 and at most 4")]
    Rho,
    #[error(
        "with noise COUNT(*) and SUM are answered, and not {function}: SUM by COUNT(*) is the mean of all people, a quantile has no noise here"
    )]
    NotNoisy { function: QueryFunction },
    #[error(
        "{column} has no bounds, or bounds that are none: for each column that is summed up, and for no other, the least and the most that one person may add, whole numbers up to a thousand million"
    )]
    Bounds { column: Name },
    #[error("one person counts in at least 1 and at most {groups} groups, which is how many the answer has")]
    GroupsPerUnit { groups: u64 },
    #[error(
        "an answer with noise has a row for each group that the catalogue allows, and {groups} are too many"
    )]
    NoisyGroups { groups: u64 },
}

impl fmt::Display for QueryFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum => formatter.write_str("sum"),
            Self::Mean => formatter.write_str("mean"),
            Self::Quantile(percent) => write!(formatter, "quantile:{percent}"),
        }
    }
}

impl From<QueryFunction> for String {
    fn from(function: QueryFunction) -> Self {
        function.to_string()
    }
}

impl TryFrom<String> for QueryFunction {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let function = match (text.as_str(), text.strip_prefix("quantile:")) {
            ("sum", _) => Self::Sum,
            ("mean", _) => Self::Mean,
            (_, Some(percent)) => Self::Quantile(percent.parse().map_err(|_| ValueError::Name)?),
            _ => return Err(ValueError::Name),
        };
        // One text for each: no sign and no zero in front.
        if function.to_string() == text { Ok(function) } else { Err(ValueError::Name) }
    }
}

impl QueryValue {
    /// The column's name in an answer, such as `mean.visits` or `quantile-25.visits`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.function.to_string().replace(':', "-"), self.column)
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
        self.check_privacy(found, catalogue)?;
        if let Some(filter) = &self.filter {
            filter.check(found)?;
        }
        self.output()?;
        Ok(Asked { table: found, unit: unit_column })
    }

    fn check_columns(&self, table: &Table, unit: &Name) -> Result<(), QueryError> {
        if self.groups.len() > COLUMN_LIMIT || self.values.len() > VALUE_LIMIT {
            return Err(QueryError::TooManyColumns);
        }
        if let Some(percent) = self.quantiles().find(|percent| !PERCENTS.contains(percent)) {
            return Err(QueryError::Percent { percent });
        }
        let mut named = BTreeSet::new();
        for group in &self.groups {
            category(table, group)?;
            if !named.insert(group) {
                return Err(QueryError::GroupTwice { column: group.clone() });
            }
        }
        for QueryValue { column, function } in &self.values {
            let found = column_of(table, column)?;
            if column == unit {
                return Err(QueryError::Unit { column: column.clone() });
            }
            if !matches!(found.value_type, ValueType::Integer | ValueType::Decimal) {
                return Err(QueryError::NotNumber { column: column.clone() });
            }
            if !matches!(function, QueryFunction::Quantile(_)) && !named.insert(column) {
                return Err(QueryError::Twice { column: column.clone() });
            }
        }
        Ok(())
    }

    fn check_privacy(&self, table: &Table, catalogue: &Catalogue) -> Result<(), QueryError> {
        let Some(privacy) = &self.privacy else { return Ok(()) };
        let CatalogueEntry::Dataset { privacy: Some(budget), .. } = &catalogue.entry else {
            return Err(QueryError::NoBudget { dataset: self.dataset.clone() });
        };
        if let Some(value) = self.values.iter().find(|value| value.function != QueryFunction::Sum) {
            return Err(QueryError::NotNoisy { function: value.function });
        }
        let summed: BTreeSet<&Name> = self.values.iter().map(|value| &value.column).collect();
        let bounded: BTreeSet<&Name> = privacy.bounds.keys().collect();
        if let Some(column) = summed.symmetric_difference(&bounded).next() {
            return Err(QueryError::Bounds { column: (*column).clone() });
        }
        privacy.check(self.public_groups(table))?;
        let (asked, most) = (privacy.rho_millionths.0, budget.answer_rho_millionths.0);
        match asked > most {
            true => Err(QueryError::Price { dataset: self.dataset.clone(), asked, most }),
            false => Ok(()),
        }
    }

    /// How many cells an answer with noise has, which is public: every group has a row. None of another answer.
    pub fn noisy_cells(&self, catalogue: &Catalogue) -> u64 {
        let CatalogueEntry::Dataset { tables, .. } = &catalogue.entry else { return 0 };
        let table = tables.iter().find(|table| table.file == self.table);
        let groups = table.filter(|_| self.privacy.is_some()).map_or(0, |table| self.public_groups(table));
        groups.saturating_mul((self.groups.len() + self.values.len() + 1) as u64)
    }

    /// How many groups the catalogue allows: an answer with noise has a row for each, whoever stands in it.
    fn public_groups(&self, table: &Table) -> u64 {
        let values = |name: &Name| category(table, name).map_or(0, |column| column.categories.len() as u64);
        self.groups.iter().map(values).fold(1, u64::saturating_mul)
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
        let path = ANSWER_FILE.parse().expect("the file of answers has a name");
        if self.privacy.is_some() {
            add(format!("{NOISY}.{UNITS_COLUMN}"), ColumnType::Integer)?;
            for value in &self.values {
                add(format!("{NOISY}.{}", value.name()), ColumnType::Integer)?;
            }
            return Ok(DeclaredOutput::Table {
                path,
                columns,
                count_column: None,
                largest_column: None,
                two_largest_column: None,
                structural_zeros: Vec::new(),
                noised: true,
            });
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
        Ok(DeclaredOutput::Table {
            path,
            columns,
            count_column,
            largest_column,
            two_largest_column,
            structural_zeros: Vec::new(),
            noised: false,
        })
    }

    /// Whether an exact answer of so many bytes is a header alone. Its columns follow from the question, so that the length that
    /// a verdict or a manifest states tells as much, and nothing else is looked at.
    pub fn is_without_rows(&self, answer_bytes: u64) -> bool {
        let Ok(output) = self.output() else { return false };
        let DeclaredOutput::Table { columns, noised: false, .. } = &output else { return false };
        let told = columns.iter().filter(|column| !output.is_withheld(&column.name));
        // Each name, and a comma or the line's end behind it.
        answer_bytes == told.map(|column| column.name.as_str().len() as u64 + 1).sum::<u64>()
    }

    /// The quantiles that are asked for, in per cent of the rows below them.
    pub fn quantiles(&self) -> impl Iterator<Item = u8> {
        self.values.iter().filter_map(|value| match value.function {
            QueryFunction::Sum | QueryFunction::Mean => None,
            QueryFunction::Quantile(percent) => Some(percent),
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
            let _ = match value.function {
                QueryFunction::Sum | QueryFunction::Mean => {
                    write!(text, ", the {} of {}", value.function, value.column)
                }
                QueryFunction::Quantile(percent) => {
                    write!(text, ", the mean of {} around the rank above {percent} %", value.column)
                }
            };
        }
        if let Some(filter) = &self.filter {
            let _ = write!(text, ", of the rows where {filter}");
        }
        let groups: Vec<&str> = self.groups.iter().map(Name::as_str).collect();
        let groups = match groups.is_empty() {
            true => "all together".to_owned(),
            false => format!("for each {}", groups.join(", ")),
        };
        let _ = match &self.privacy {
            Some(privacy) => write!(text, ", {groups}; counted by the box, {}", privacy.words()),
            None => {
                write!(text, ", {groups}; counted by the box, sums and means to {SIGNIFICANT_DIGITS} digits")
            }
        };
        text
    }
}
