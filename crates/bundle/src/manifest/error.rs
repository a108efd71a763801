use release::report::OUTPUT_LIMIT;
use release::value::Name;

use super::convert;

/// What is wrong with a manifest, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file is not UTF-8.
    #[error("databox.toml is not UTF-8 text; save it as UTF-8")]
    NotText,
    /// Not TOML, a key is missing, or a key is not known. The cause names line and key.
    #[error("databox.toml has not the form of a manifest; `databox job new` writes one that has")]
    Form(#[source] Box<toml::de::Error>),
    /// A value is not a name.
    #[error(
        "databox.toml: {key} = {value:?} is no name; use 1 to 128 of A-Z a-z 0-9 . _ -, the first not a dot"
    )]
    NotAName {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// The command is empty, too long, or has an item that no program can receive.
    #[error(
        "databox.toml: job.command must have 1 to {items} items of at most {bytes} bytes, none empty or with a \
         zero byte",
        items = convert::COMMAND_ITEMS,
        bytes = convert::COMMAND_ITEM_BYTES
    )]
    Command,
    /// A question beside code.
    #[error(
        "databox.toml: with [query] there is no job.command and no [[output]]; the box runs its own program"
    )]
    QueryAndCode,
    /// A price of noise that is none.
    #[error(
        "databox.toml: query.privacy.rho is a number such as \"0.01\", from 0.000001 to 4, and not {rho:?}"
    )]
    Rho {
        /// What stands there.
        rho: String,
    },
    /// A question that was not read, or read for a manifest that has none.
    #[error("databox.toml: the question was not brought into its closed form")]
    QueryUnread,
    /// The purpose is empty or too long.
    #[error(
        "databox.toml: job.purpose must be 1 to {bytes} bytes of text without control characters; stewards read it",
        bytes = convert::PURPOSE_BYTES
    )]
    Purpose,
    /// No dataset, or too many.
    #[error("databox.toml: name 1 to {limit} datasets, each as [data.NAME]", limit = convert::DATASETS)]
    Datasets,
    /// A snapshot is neither `latest` nor a digest.
    #[error("databox.toml: data.{dataset}.snapshot = {value:?}; use \"latest\" or 64 hexadecimal digits")]
    Snapshot {
        /// The dataset.
        dataset: Name,
        /// The value.
        value: String,
    },
    /// The newest snapshot of a dataset was asked for and is not known.
    #[error("the catalogue has no snapshot of {dataset}; `databox data ls` lists the datasets")]
    SnapshotUnknown {
        /// The dataset.
        dataset: Name,
    },
    /// Not a number of processors.
    #[error("databox.toml: limits.cpus must be 1 to {limit}", limit = convert::CPUS)]
    Cpus,
    /// Not a size.
    #[error("databox.toml: limits.memory = {value:?}; use a whole number and MiB or GiB, 16MiB to 4096GiB")]
    Memory {
        /// The value.
        value: String,
    },
    /// Not a duration.
    #[error("databox.toml: limits.time = {value:?}; use a whole number and s, min or h, 1s to 720h")]
    Time {
        /// The value.
        value: String,
    },
    /// Not a number of devices.
    #[error("databox.toml: each of [devices] must be 1 to {limit}", limit = release::statement::DEVICES_LIMIT)]
    Devices,
    /// No output, or too many.
    #[error("databox.toml: declare 1 to {OUTPUT_LIMIT} outputs, each as [[output]]")]
    Outputs,
    /// Two outputs have one path, or paths that differ in case only.
    #[error("databox.toml: the output {path} is declared twice; upper and lower case count as the same")]
    OutputTwice {
        /// The path.
        path: Name,
    },
    /// The kind is not known.
    #[error("databox.toml: output {path}: kind = {kind:?}; use weights, metrics, table or figure")]
    OutputKind {
        /// The path.
        path: Name,
        /// The kind.
        kind: String,
    },
    /// A key that this kind needs is missing.
    #[error("databox.toml: output {path}: a {kind} output needs {key}")]
    OutputKeyMissing {
        /// The path.
        path: Name,
        /// The kind.
        kind: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A key that this kind does not have.
    #[error("databox.toml: output {path}: a {kind} output has no {key}; remove it")]
    OutputKeyForeign {
        /// The path.
        path: Name,
        /// The kind.
        kind: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A list of tensors, names or columns is empty or too long.
    #[error("databox.toml: output {path}: {key} must have 1 to {limit} items")]
    OutputItems {
        /// The path.
        path: Name,
        /// The key.
        key: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A tensor, metric or column is declared twice.
    #[error("databox.toml: output {path}: {name} is declared twice")]
    OutputItemTwice {
        /// The path.
        path: Name,
        /// The item.
        name: Name,
    },
    /// A shape has too many dimensions, a dimension of zero, or too many values.
    #[error(
        "databox.toml: output {path}: the shape of {tensor} must have at most {dimensions} dimensions, none of 0, \
         and fewer than 2^40 values",
        dimensions = convert::DIMENSIONS
    )]
    Shape {
        /// The path.
        path: Name,
        /// The tensor.
        tensor: Name,
    },
    /// A tensor's digest is none.
    #[error(
        "databox.toml: output {path}: tensor {tensor} has sha256 {value:?}; use 64 of 0-9 a-f, as `databox tensors` \
         prints them"
    )]
    TensorDigest {
        /// The path.
        path: Name,
        /// The tensor.
        tensor: Name,
        /// What was written.
        value: String,
    },
    /// The command of an evaluation is empty, too long, or has an item that no program can receive.
    #[error(
        "databox.toml: output {path}: evaluation.command must have 1 to {items} items of at most {bytes} bytes, none empty \
         or with a zero byte",
        items = convert::COMMAND_ITEMS,
        bytes = convert::COMMAND_ITEM_BYTES
    )]
    EvaluationCommand {
        /// The path.
        path: Name,
    },
    /// Neither `higher` nor `lower`.
    #[error("databox.toml: output {path}: evaluation.better = {value:?}; use \"higher\" or \"lower\"")]
    EvaluationBetter {
        /// The path.
        path: Name,
        /// What was written.
        value: String,
    },
    /// A tensor has a digest, which is that of one precision, and another precision may be chosen.
    #[error(
        "databox.toml: output {path}: tensor {tensor} has a sha256, which is that of one precision; with an evaluation \
         another may be chosen, so leave one of the two out"
    )]
    FixedAndEvaluated {
        /// The path.
        path: Name,
        /// The tensor.
        tensor: Name,
    },
    /// A column's type is not known.
    #[error(
        "databox.toml: output {path}: column {column} has type {value:?}; use integer, decimal:DIGITS (0 to 9) or \
         category:DATASET.COLUMN"
    )]
    ColumnType {
        /// The path.
        path: Name,
        /// The column.
        column: Name,
        /// The type.
        value: String,
    },
    /// A category of a dataset that the job does not read.
    #[error("databox.toml: output {path}: column {column} is a category of {dataset}; add [data.{dataset}]")]
    CategoryWithoutData {
        /// The path.
        path: Name,
        /// The column.
        column: Name,
        /// The dataset.
        dataset: Name,
    },
    /// `degrees_of_freedom` is none of the metrics.
    #[error("databox.toml: output {path}: degrees_of_freedom = {name:?} must be one of its names")]
    DegreesOfFreedom {
        /// The path.
        path: Name,
        /// The name.
        name: String,
    },
    /// A structural zero does not have one value for each category column, stands twice, or there are too many.
    #[error(
        "databox.toml: output {path}: structural_zeros must be at most {limit} different rows, each with one value for \
         each category column",
        limit = convert::STRUCTURAL_ZEROS
    )]
    StructuralZeros {
        /// The path.
        path: Name,
    },
    /// The share of the two largest is named and that of the largest is not.
    #[error(
        "databox.toml: output {path}: two_largest_column needs largest_column beside it: the share of the largest unit alone"
    )]
    ShareAlone {
        /// The path.
        path: Name,
    },
    /// `count_column` or a column of shares names no column of the right type.
    #[error("databox.toml: output {path}: {key} = {column:?} must name one of its columns, of type {wanted}")]
    RoleColumn {
        /// The path.
        path: Name,
        /// The key.
        key: &'static str,
        /// The column.
        column: String,
        /// The type that it must have.
        wanted: &'static str,
    },
}

impl ManifestError {
    /// Its name in answers of the command line and in scripts: one a case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotText => "MANIFEST_NOT_TEXT",
            Self::Form(error) => form_name(error),
            Self::NotAName { .. } => "MANIFEST_NOT_A_NAME",
            Self::Command => "MANIFEST_COMMAND",
            Self::Purpose => "MANIFEST_PURPOSE",
            Self::Datasets => "MANIFEST_DATASETS",
            Self::Snapshot { .. } => "MANIFEST_SNAPSHOT",
            Self::SnapshotUnknown { .. } => "MANIFEST_SNAPSHOT_UNKNOWN",
            Self::Cpus => "MANIFEST_CPUS",
            Self::Devices => "MANIFEST_DEVICES",
            Self::Memory { .. } => "MANIFEST_MEMORY",
            Self::Time { .. } => "MANIFEST_TIME",
            Self::Outputs => "MANIFEST_OUTPUTS",
            Self::OutputTwice { .. } => "MANIFEST_OUTPUT_TWICE",
            Self::OutputKind { .. } => "MANIFEST_OUTPUT_KIND",
            Self::OutputKeyMissing { .. } => "MANIFEST_OUTPUT_KEY_MISSING",
            Self::OutputKeyForeign { .. } => "MANIFEST_OUTPUT_KEY_FOREIGN",
            Self::OutputItems { .. } => "MANIFEST_OUTPUT_ITEMS",
            Self::OutputItemTwice { .. } => "MANIFEST_OUTPUT_ITEM_TWICE",
            Self::Shape { .. } => "MANIFEST_SHAPE",
            Self::EvaluationCommand { .. } => "MANIFEST_EVALUATION_COMMAND",
            Self::EvaluationBetter { .. } => "MANIFEST_EVALUATION_BETTER",
            Self::FixedAndEvaluated { .. } => "MANIFEST_FIXED_AND_EVALUATED",
            Self::TensorDigest { .. } => "MANIFEST_TENSOR_DIGEST",
            Self::ColumnType { .. } => "MANIFEST_COLUMN_TYPE",
            Self::CategoryWithoutData { .. } => "MANIFEST_CATEGORY_WITHOUT_DATA",
            Self::DegreesOfFreedom { .. } => "MANIFEST_DEGREES_OF_FREEDOM",
            Self::StructuralZeros { .. } => "MANIFEST_STRUCTURAL_ZEROS",
            Self::RoleColumn { .. } => "MANIFEST_ROLE_COLUMN",
            Self::ShareAlone { .. } => "MANIFEST_SHARE_ALONE",
            Self::QueryAndCode => "MANIFEST_QUERY_AND_CODE",
            Self::Rho { .. } => "MANIFEST_RHO",
            Self::QueryUnread => "MANIFEST_QUERY_UNREAD",
        }
    }
}

/// What is wrong with the form. serde tells its cases apart in the first words of its message only
/// (`serde::de::Error::{unknown_field, missing_field, invalid_type, invalid_value}`); all else is not TOML.
fn form_name(error: &toml::de::Error) -> &'static str {
    let words = error.message();
    let begins = |with: &str| words.starts_with(with);
    match () {
        () if begins("unknown field") => "MANIFEST_KEY_UNKNOWN",
        () if begins("missing field") => "MANIFEST_KEY_MISSING",
        () if begins("invalid type") || begins("invalid value") => "MANIFEST_TYPE",
        () if begins("duplicate key") => "MANIFEST_KEY_TWICE",
        () => "MANIFEST_NOT_TOML",
    }
}
