//! The outputs that a job declares before it runs. What is declared is fixed by the signed request and so carries
//! nothing out; what a job may still choose is values.

use blobs::Digest;
use serde::{Deserialize, Serialize};

use crate::rule::Rule;
use crate::value::{Count, Name, ValueError};

/// One declared output, written by the job to `/out/<path>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum DeclaredOutput {
    /// Tensors in a safetensors file.
    Weights {
        /// File name under `/out`.
        path: Name,
        /// Every tensor, in the order in which it will be released.
        tensors: Vec<DeclaredTensor>,
        /// How the box measures whether a smaller precision would do; none if it takes the policy's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evaluation: Option<Evaluation>,
    },
    /// A flat JSON object of scalars.
    Metrics {
        /// File name under `/out`.
        path: Name,
        /// Every name, in the order in which it will be released.
        names: Vec<Name>,
        /// The name under which a model's residual degrees of freedom stand: observations less estimated parameters.
        #[serde(skip_serializing_if = "Option::is_none")]
        degrees_of_freedom: Option<Name>,
    },
    /// A CSV table with a header.
    Table {
        /// File name under `/out`.
        path: Name,
        /// Every column, in order.
        columns: Vec<DeclaredColumn>,
        /// The column that says how many *units* (people, say; not rows) stand behind each row.
        #[serde(skip_serializing_if = "Option::is_none")]
        count_column: Option<Name>,
        /// The column that says which share, from 0 to 1, the largest unit has in a row's values; in that column of
        /// them in which it is largest. It is judged and never released: with a total it would tell the unit's value.
        #[serde(skip_serializing_if = "Option::is_none")]
        largest_column: Option<Name>,
        /// The same for the two largest units together.
        #[serde(skip_serializing_if = "Option::is_none")]
        two_largest_column: Option<Name>,
        /// Rows in which nobody can stand (structural zeros), each by the values of its category columns in their
        /// order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        structural_zeros: Vec<Vec<String>>,
        /// True for an answer whose numbers have noise: it is what protects people, and no rule about counts or shares looks at
        /// it. Of questions that ask for noise alone.
        #[serde(default, skip_serializing_if = "is_false")]
        noised: bool,
    },
    /// A Vega-Lite chart with inline values.
    Figure {
        /// File name under `/out`.
        path: Name,
        /// The fields of the inline values, as a table's columns.
        columns: Vec<DeclaredColumn>,
        /// As for a table.
        #[serde(skip_serializing_if = "Option::is_none")]
        count_column: Option<Name>,
    },
}

/// The kinds of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutputKind {
    /// Tensors.
    Weights,
    /// Scalars.
    Metrics,
    /// A table.
    Table,
    /// A chart.
    Figure,
}

impl OutputKind {
    /// Whether the rules for tables hold: a chart is a table and how it is drawn.
    pub fn is_tabular(self) -> bool {
        matches!(self, Self::Table | Self::Figure)
    }

    /// The rule about its canonical form.
    pub fn form_rule(self) -> Rule {
        match self {
            Self::Weights => Rule::WeightsForm,
            Self::Metrics => Rule::MetricsForm,
            Self::Table => Rule::TableForm,
            Self::Figure => Rule::FigureForm,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

impl DeclaredOutput {
    /// Whether its numbers have noise, which is what protects people then.
    pub fn is_noised(&self) -> bool {
        matches!(self, Self::Table { noised: true, .. })
    }

    /// File name under `/out`.
    pub fn path(&self) -> &Name {
        match self {
            Self::Weights { path, .. } | Self::Metrics { path, .. } => path,
            Self::Table { path, .. } | Self::Figure { path, .. } => path,
        }
    }

    /// True for the columns that are judged and never released.
    pub fn is_withheld(&self, column: &Name) -> bool {
        match self {
            Self::Table { largest_column, two_largest_column, .. } => {
                largest_column.as_ref() == Some(column) || two_largest_column.as_ref() == Some(column)
            }
            Self::Weights { .. } | Self::Metrics { .. } | Self::Figure { .. } => false,
        }
    }

    /// Whether it says how many units stand behind its rows, or which shares they have.
    pub fn states_counts(&self) -> bool {
        match self {
            Self::Table { count_column, largest_column, .. } => {
                count_column.is_some() || largest_column.is_some()
            }
            Self::Figure { count_column, .. } => count_column.is_some(),
            Self::Weights { .. } | Self::Metrics { .. } => false,
        }
    }

    /// How the box measures whether a smaller precision would do.
    pub fn evaluation(&self) -> Option<&Evaluation> {
        match self {
            Self::Weights { evaluation, .. } => evaluation.as_ref(),
            Self::Metrics { .. } | Self::Table { .. } | Self::Figure { .. } => None,
        }
    }

    /// What kind it is.
    pub fn kind(&self) -> OutputKind {
        match self {
            Self::Weights { .. } => OutputKind::Weights,
            Self::Metrics { .. } => OutputKind::Metrics,
            Self::Table { .. } => OutputKind::Table,
            Self::Figure { .. } => OutputKind::Figure,
        }
    }
}

/// A program of the bundle that measures weights. The box runs it on the same weights in several precisions, where the job
/// ran. What it writes goes no further than a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The command, the first item the program. It reads `/weights/<path>` and writes `/out/evaluation.json`.
    pub command: Vec<String>,
    /// The number in `evaluation.json` that counts.
    pub metric: Name,
    /// Which numbers are better.
    pub better: Better,
}

/// The file that an evaluation writes to `/out`: a flat JSON object of numbers.
pub const EVALUATION_FILE: &str = "evaluation.json";

/// Which numbers of a metric are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Higher ones, as of an accuracy.
    Higher,
    /// Lower ones, as of a loss.
    Lower,
}

/// How a parameter is stored in a canonical weights file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// bfloat16, 16 bits.
    Bf16,
    /// IEEE 754 binary16, 16 bits.
    F16,
    /// IEEE 754 binary32, 32 bits.
    F32,
    /// Whole numbers from −127 to 127, 8 bits, and one binary32 scale for each tensor.
    Int8,
    /// Whole numbers from −31 to 31, 6 bits, and scales.
    Int6,
    /// Whole numbers from −15 to 15, 5 bits, and scales.
    Int5,
    /// Whole numbers from −7 to 7, 4 bits, and scales.
    Int4,
    /// Whole numbers from −3 to 3, 3 bits, and scales.
    Int3,
}

impl Precision {
    /// Its word in a policy and in statements.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::Int8 => "int8",
            Self::Int6 => "int6",
            Self::Int5 => "int5",
            Self::Int4 => "int4",
            Self::Int3 => "int3",
        }
    }

    /// Bits of one parameter: no more values than 2 to this power are canonical.
    pub fn bits(self) -> u64 {
        match self {
            Self::Bf16 | Self::F16 => 16,
            Self::F32 => 32,
            Self::Int8 => 8,
            Self::Int6 => 6,
            Self::Int5 => 5,
            Self::Int4 => 4,
            Self::Int3 => 3,
        }
    }

    /// The largest whole number of a precision that stores whole numbers and scales; none of the others.
    pub fn largest_whole(self) -> Option<u8> {
        match self {
            Self::Bf16 | Self::F16 | Self::F32 => None,
            Self::Int8 | Self::Int6 | Self::Int5 | Self::Int4 | Self::Int3 => {
                Some((1 << (self.bits() - 1)) - 1)
            }
        }
    }
}

/// A tensor's name and shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredTensor {
    /// Its name in the file.
    pub name: Name,
    /// Length of each dimension, outermost first; empty for a scalar.
    pub shape: Vec<Count>,
    /// SHA-256 of its canonical data, if that is known before the run: a tensor of a public base model that is not
    /// trained. Then it must be these bytes and carries nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// A column's name and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredColumn {
    /// Its name in the header.
    pub name: Name,
    /// What its cells may hold.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
}

/// What a cell may hold. Text forms: `integer`, `decimal:3`, `category:hie.plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ColumnType {
    /// A whole number.
    Integer,
    /// A decimal number with this many digits after the point (0 to 9); surplus digits are rounded.
    Decimal(u8),
    /// One of the values that the signed catalogue lists for this category of this dataset.
    Category {
        /// The dataset.
        dataset: Name,
        /// The category, a column of the dataset.
        category: Name,
    },
}

impl std::fmt::Display for ColumnType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer => formatter.write_str("integer"),
            Self::Decimal(digits) => write!(formatter, "decimal:{digits}"),
            Self::Category { dataset, category } => write!(formatter, "category:{dataset}.{category}"),
        }
    }
}

impl From<ColumnType> for String {
    fn from(column: ColumnType) -> String {
        column.to_string()
    }
}

impl std::str::FromStr for ColumnType {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parsed = match text.split_once(':') {
            None if text == "integer" => Self::Integer,
            Some(("decimal", digits)) => {
                Self::Decimal(digits.parse().ok().filter(|digits| *digits <= 9).ok_or(ValueError::Name)?)
            }
            Some(("category", name)) => {
                let (dataset, category) = name.split_once('.').ok_or(ValueError::Name)?;
                Self::Category { dataset: dataset.parse()?, category: category.parse()? }
            }
            _ => return Err(ValueError::Name),
        };
        if parsed.to_string() == text { Ok(parsed) } else { Err(ValueError::Name) }
    }
}

impl TryFrom<String> for ColumnType {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}
