//! Which rows of a file a question counts.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::{Column, QueryError, Table, ValueType};
use crate::value::Name;

/// Most comparisons of a filter, and how deep they may be nested: a signed payload is at most 16 levels deep.
const CONDITION_LIMITS: (usize, usize) = (64, 4);

/// Most bytes of column names and values in a filter together.
const FILTER_BYTES: usize = 64 << 10;

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

/// The column of a file with this name.
pub(super) fn column_of<'a>(table: &'a Table, name: &Name) -> Result<&'a Column, QueryError> {
    let found = table.columns.iter().find(|column| column.name == *name);
    found.ok_or_else(|| QueryError::NoColumn { table: table.file.clone(), column: name.clone() })
}

/// The column of a file that has public values.
pub(super) fn category<'a>(table: &'a Table, name: &Name) -> Result<&'a Column, QueryError> {
    match column_of(table, name)? {
        column if column.value_type == ValueType::Category => Ok(column),
        _ => Err(QueryError::NotCategory { column: name.clone() }),
    }
}

impl Condition {
    pub(super) fn check(&self, table: &Table) -> Result<(), QueryError> {
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

    pub(super) fn add_columns<'a>(&'a self, to: &mut BTreeSet<&'a Name>) {
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
