//! What the manifest declares. At the desk an output may declare nothing but its path and kind.

use std::fs;
use std::path::Path;

use blobs::Digest;
use release::statement::{ColumnType, DeclaredColumn, DeclaredOutput, DeclaredTensor, Evaluation};
use release::value::{Count, Name};
use serde::Deserialize;

use crate::failure::{Exit, Failure, file_failure, whole};

/// The outputs of a manifest. One that the box would not accept as a whole is read for its outputs alone, and the
/// reason is printed.
pub(super) fn outputs(manifest: &Path) -> Result<Vec<DeclaredOutput>, Failure> {
    let text = fs::read_to_string(manifest).map_err(file_failure(manifest))?;
    let outputs = match bundle::Manifest::parse(&text) {
        Ok(manifest) => manifest.outputs,
        Err(refused) => {
            let outputs = alone(&text).map_err(|error| failure(manifest, &whole(&error)))?;
            if outputs.is_empty() {
                return Err(failure(manifest, &whole(&refused)));
            }
            eprintln!("note: the box would not accept {}: {}", manifest.display(), whole(&refused));
            outputs
        }
    };
    match outputs.is_empty() {
        true => Err(failure(manifest, "it declares no output")),
        false => Ok(outputs),
    }
}

fn failure(manifest: &Path, text: &str) -> Failure {
    Failure::new("MANIFEST", format!("{}: {text}", manifest.display())).exit(Exit::Usage)
}

/// The part of a manifest that says what is written. Other parts are not looked at.
#[derive(Deserialize)]
struct OutputsAlone {
    #[serde(default)]
    output: Vec<Output>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Output {
    Weights {
        path: Name,
        #[serde(default)]
        tensors: Vec<Tensor>,
        evaluation: Option<Evaluation>,
    },
    Metrics {
        path: Name,
        #[serde(default)]
        names: Vec<Name>,
        degrees_of_freedom: Option<Name>,
    },
    Table {
        path: Name,
        #[serde(default)]
        columns: Vec<Column>,
        count_column: Option<Name>,
        largest_column: Option<Name>,
        two_largest_column: Option<Name>,
        #[serde(default)]
        structural_zeros: Vec<Vec<String>>,
    },
    Figure {
        path: Name,
        #[serde(default)]
        columns: Vec<Column>,
        count_column: Option<Name>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    name: Name,
    shape: Vec<u64>,
    sha256: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: Name,
    #[serde(rename = "type")]
    column_type: ColumnType,
}

fn alone(text: &str) -> Result<Vec<DeclaredOutput>, toml::de::Error> {
    let outputs: OutputsAlone = toml::from_str(text)?;
    let columns = |columns: Vec<Column>| {
        let column = |column: Column| DeclaredColumn { name: column.name, column_type: column.column_type };
        columns.into_iter().map(column).collect()
    };
    let declared = outputs.output.into_iter().map(|output| match output {
        Output::Weights { path, tensors, evaluation } => {
            let tensor = |tensor: Tensor| DeclaredTensor {
                name: tensor.name,
                shape: tensor.shape.into_iter().map(Count).collect(),
                sha256: tensor.sha256,
            };
            DeclaredOutput::Weights { path, tensors: tensors.into_iter().map(tensor).collect(), evaluation }
        }
        Output::Metrics { path, names, degrees_of_freedom } => {
            DeclaredOutput::Metrics { path, names, degrees_of_freedom }
        }
        Output::Table {
            path,
            columns: list,
            count_column,
            largest_column,
            two_largest_column,
            structural_zeros,
        } => DeclaredOutput::Table {
            path,
            columns: columns(list),
            count_column,
            largest_column,
            two_largest_column,
            structural_zeros,
            noised: false,
        },
        Output::Figure { path, columns: list, count_column } => {
            DeclaredOutput::Figure { path, columns: columns(list), count_column }
        }
    });
    Ok(declared.collect())
}
