//! From the file's text to checked values.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;
use release::report::OUTPUT_LIMIT;
use release::statement::{
    Better, Bounds, ColumnType, DEVICES_LIMIT, DeclaredColumn, DeclaredOutput, DeclaredTensor, Evaluation,
    Limits, QUERY_PROGRAM, QueryPrivacy, read_rho,
};
use release::value::{Count, Name, Whole};

use super::file::{self, ManifestFile};
use super::{Manifest, ManifestError, Question, SnapshotChoice};

pub(super) const COMMAND_ITEMS: usize = 64;
pub(super) const COMMAND_ITEM_BYTES: usize = 4096;
pub(super) const PURPOSE_BYTES: usize = 2000;
pub(super) const DATASETS: usize = 16;
pub(super) const CPUS: u64 = 1024;
pub(super) const DIMENSIONS: usize = 8;
const TENSORS: usize = 4096;
const METRICS: usize = 256;
const COLUMNS: usize = 64;
/// Most structural zeros of a table.
pub(super) const STRUCTURAL_ZEROS: usize = 4096;

pub(super) fn manifest(file: ManifestFile) -> Result<Manifest, ManifestError> {
    let job = file.job;
    let mut data = BTreeMap::new();
    for (dataset, wanted) in file.data {
        let dataset = name("data", dataset)?;
        let choice = snapshot(&dataset, wanted.snapshot)?;
        data.insert(dataset, choice);
    }
    if data.is_empty() || data.len() > DATASETS {
        return Err(ManifestError::Datasets);
    }
    let query = file.query.map(question).transpose()?;
    let command = match (&query, job.command) {
        (None, items) => command(items.unwrap_or_default())?,
        (Some(_), None) if file.output.is_empty() => vec![QUERY_PROGRAM.to_owned()],
        (Some(_), _) => return Err(ManifestError::QueryAndCode),
    };
    let manifest = Manifest {
        job: name("job.name", job.name)?,
        project: name("job.project", job.project)?,
        runtime: name("job.runtime", job.runtime)?,
        command,
        purpose: purpose(job.purpose)?,
        data,
        limits: limits(file.limits)?,
        query,
        outputs: file.output.into_iter().map(output).collect::<Result<_, _>>()?,
        devices: devices(file.devices)?,
    };
    if manifest.query.is_none() {
        check_outputs(&manifest)?;
    }
    Ok(manifest)
}

fn name(key: &str, value: String) -> Result<Name, ManifestError> {
    value.parse().map_err(|_| ManifestError::NotAName { key: key.to_owned(), value })
}

fn question(query: file::Query) -> Result<Question, ManifestError> {
    let privacy = query.privacy.map(privacy).transpose()?;
    Ok(Question { sql: query.sql, privacy })
}

/// Whether its numbers fit the question and the dataset is told where the catalogue is at hand.
fn privacy(asked: file::Privacy) -> Result<QueryPrivacy, ManifestError> {
    let rho = read_rho(&asked.rho).map_err(|_| ManifestError::Rho { rho: asked.rho.clone() })?;
    let mut bounds = BTreeMap::new();
    for (column, [least, most]) in asked.bounds {
        let bound = Bounds { least: Whole(least), most: Whole(most) };
        bounds.insert(name("query.privacy.bounds", column)?, bound);
    }
    Ok(QueryPrivacy { rho_millionths: Count(rho), groups_per_unit: Count(asked.groups_per_unit), bounds })
}

fn command(items: Vec<String>) -> Result<Vec<String>, ManifestError> {
    let fits = |item: &String| !item.is_empty() && item.len() <= COMMAND_ITEM_BYTES && !item.contains('\0');
    match (1..=COMMAND_ITEMS).contains(&items.len()) && items.iter().all(fits) {
        true => Ok(items),
        false => Err(ManifestError::Command),
    }
}

/// Control characters could move the cursor of the terminal on which a steward reads the purpose.
fn purpose(text: String) -> Result<String, ManifestError> {
    let printable = text.chars().all(|character| character == '\n' || !character.is_control());
    match (1..=PURPOSE_BYTES).contains(&text.len()) && !text.trim().is_empty() && printable {
        true => Ok(text),
        false => Err(ManifestError::Purpose),
    }
}

fn snapshot(dataset: &Name, value: String) -> Result<SnapshotChoice, ManifestError> {
    if value == "latest" {
        return Ok(SnapshotChoice::Latest);
    }
    let tree = value.parse().map(SnapshotChoice::Tree);
    tree.map_err(|_| ManifestError::Snapshot { dataset: dataset.clone(), value })
}

fn limits(file: file::Limits) -> Result<Limits, ManifestError> {
    if !(1..=CPUS).contains(&file.cpus) {
        return Err(ManifestError::Cpus);
    }
    let memory = quantity(&file.memory, &[("MiB", 1 << 20), ("GiB", 1 << 30)])
        .filter(|bytes| (16 << 20..=4096 << 30).contains(bytes))
        .ok_or(ManifestError::Memory { value: file.memory })?;
    let seconds = quantity(&file.time, &[("s", 1), ("min", 60), ("h", 3600)])
        .filter(|seconds| (1..=720 * 3600).contains(seconds))
        .ok_or(ManifestError::Time { value: file.time })?;
    Ok(Limits { cpus: Count(file.cpus), memory_bytes: Count(memory), seconds: Count(seconds) })
}

fn devices(file: BTreeMap<String, u64>) -> Result<BTreeMap<Name, Count>, ManifestError> {
    let one = |(kind, count): (String, u64)| match (1..=DEVICES_LIMIT).contains(&count) {
        true => Ok((name("devices", kind)?, Count(count))),
        false => Err(ManifestError::Devices),
    };
    file.into_iter().map(one).collect()
}

/// A whole number and one of the units, without anything between.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    let factor = units.iter().find(|(known, _)| *known == unit)?.1;
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn output(file: file::Output) -> Result<DeclaredOutput, ManifestError> {
    let path = name("output.path", file.path)?;
    let keys = Keys {
        tensors: file.tensors,
        names: file.names,
        columns: file.columns,
        count_column: file.count_column,
        largest_column: file.largest_column,
        two_largest_column: file.two_largest_column,
        structural_zeros: file.structural_zeros,
        degrees_of_freedom: file.degrees_of_freedom,
        evaluation: file.evaluation,
        path: &path,
    };
    match file.kind.as_str() {
        "weights" => keys.weights(),
        "metrics" => keys.metrics(),
        "table" => keys.table(),
        "figure" => keys.figure(),
        _ => Err(ManifestError::OutputKind { path, kind: file.kind }),
    }
}

struct Keys<'a> {
    tensors: Option<Vec<file::Tensor>>,
    names: Option<Vec<String>>,
    columns: Option<Vec<file::Column>>,
    count_column: Option<String>,
    largest_column: Option<String>,
    two_largest_column: Option<String>,
    structural_zeros: Option<Vec<Vec<String>>>,
    degrees_of_freedom: Option<String>,
    evaluation: Option<file::Evaluation>,
    path: &'a Name,
}

impl Keys<'_> {
    fn weights(self) -> Result<DeclaredOutput, ManifestError> {
        self.allow("weights", &["tensors", "evaluation"])?;
        let path = self.path.clone();
        let tensors = needed(&path, "weights", "tensors", self.tensors)?;
        let tensors: Vec<_> =
            tensors.into_iter().map(|item| tensor(&path, item)).collect::<Result<_, _>>()?;
        check_items(&path, "tensors", TENSORS, tensors.iter().map(|tensor| &tensor.name))?;
        let evaluation = self.evaluation.map(|file| evaluation(&path, file)).transpose()?;
        let fixed = tensors.iter().find(|tensor| evaluation.is_some() && tensor.sha256.is_some());
        if let Some(tensor) = fixed {
            return Err(ManifestError::FixedAndEvaluated { path, tensor: tensor.name.clone() });
        }
        Ok(DeclaredOutput::Weights { path, tensors, evaluation })
    }

    fn metrics(self) -> Result<DeclaredOutput, ManifestError> {
        self.allow("metrics", &["names", "degrees_of_freedom"])?;
        let path = self.path.clone();
        let names = needed(&path, "metrics", "names", self.names)?;
        let names: Vec<_> =
            names.into_iter().map(|item| name("output.names", item)).collect::<Result<_, _>>()?;
        check_items(&path, "names", METRICS, names.iter())?;
        let degrees_of_freedom = match self.degrees_of_freedom {
            None => None,
            Some(wanted) => match names.iter().find(|name| name.as_str() == wanted) {
                None => return Err(ManifestError::DegreesOfFreedom { path, name: wanted }),
                found => found.cloned(),
            },
        };
        Ok(DeclaredOutput::Metrics { path, names, degrees_of_freedom })
    }

    fn table(self) -> Result<DeclaredOutput, ManifestError> {
        let keys = ["columns", "count_column", "largest_column", "two_largest_column", "structural_zeros"];
        self.allow("table", &keys)?;
        let path = self.path.clone();
        let columns = columns(&path, "table", self.columns)?;
        let count_column = role_column(&path, "count_column", &columns, self.count_column)?;
        let largest_column = role_column(&path, "largest_column", &columns, self.largest_column)?;
        let two_largest_column = role_column(&path, "two_largest_column", &columns, self.two_largest_column)?;
        if largest_column.is_none() && two_largest_column.is_some() {
            return Err(ManifestError::ShareAlone { path });
        }
        let structural_zeros = self.structural_zeros.unwrap_or_default();
        check_structural_zeros(&path, &columns, &structural_zeros)?;
        Ok(DeclaredOutput::Table {
            path,
            columns,
            count_column,
            largest_column,
            two_largest_column,
            structural_zeros,
            noised: false,
        })
    }

    fn figure(self) -> Result<DeclaredOutput, ManifestError> {
        self.allow("figure", &["columns", "count_column"])?;
        let path = self.path.clone();
        let columns = columns(&path, "figure", self.columns)?;
        let count_column = role_column(&path, "count_column", &columns, self.count_column)?;
        Ok(DeclaredOutput::Figure { path, columns, count_column })
    }

    fn allow(&self, kind: &'static str, allowed: &[&str]) -> Result<(), ManifestError> {
        let given = [
            ("tensors", self.tensors.is_some()),
            ("names", self.names.is_some()),
            ("columns", self.columns.is_some()),
            ("count_column", self.count_column.is_some()),
            ("largest_column", self.largest_column.is_some()),
            ("two_largest_column", self.two_largest_column.is_some()),
            ("structural_zeros", self.structural_zeros.is_some()),
            ("degrees_of_freedom", self.degrees_of_freedom.is_some()),
            ("evaluation", self.evaluation.is_some()),
        ];
        match given.iter().find(|(key, given)| *given && !allowed.contains(key)) {
            Some((key, _)) => Err(ManifestError::OutputKeyForeign { path: self.path.clone(), kind, key }),
            None => Ok(()),
        }
    }
}

fn needed<T>(
    path: &Name,
    kind: &'static str,
    key: &'static str,
    value: Option<T>,
) -> Result<T, ManifestError> {
    value.ok_or_else(|| ManifestError::OutputKeyMissing { path: path.clone(), kind, key })
}

fn evaluation(path: &Name, file: file::Evaluation) -> Result<Evaluation, ManifestError> {
    let command =
        command(file.command).map_err(|_| ManifestError::EvaluationCommand { path: path.clone() })?;
    let better = match file.better.as_str() {
        "higher" => Better::Higher,
        "lower" => Better::Lower,
        _ => return Err(ManifestError::EvaluationBetter { path: path.clone(), value: file.better }),
    };
    Ok(Evaluation { command, metric: name("output.evaluation.metric", file.metric)?, better })
}

fn tensor(path: &Name, file: file::Tensor) -> Result<DeclaredTensor, ManifestError> {
    let name = name("output.tensors.name", file.name)?;
    let values = file.shape.iter().try_fold(1u64, |product, length| product.checked_mul(*length));
    match values {
        Some(1..1_099_511_627_776) if file.shape.len() <= DIMENSIONS => {
            let sha256 = file.sha256.map(|text| tensor_digest(path, &name, text)).transpose()?;
            Ok(DeclaredTensor { name, shape: file.shape.into_iter().map(Count).collect(), sha256 })
        }
        _ => Err(ManifestError::Shape { path: path.clone(), tensor: name }),
    }
}

fn tensor_digest(path: &Name, tensor: &Name, text: String) -> Result<Digest, ManifestError> {
    text.parse().map_err(|_| ManifestError::TensorDigest {
        path: path.clone(),
        tensor: tensor.clone(),
        value: text,
    })
}

fn columns(
    path: &Name,
    kind: &'static str,
    file: Option<Vec<file::Column>>,
) -> Result<Vec<DeclaredColumn>, ManifestError> {
    let columns: Vec<_> = needed(path, kind, "columns", file)?
        .into_iter()
        .map(|item| column(path, item))
        .collect::<Result<_, _>>()?;
    check_items(path, "columns", COLUMNS, columns.iter().map(|column| &column.name))?;
    Ok(columns)
}

fn column(path: &Name, file: file::Column) -> Result<DeclaredColumn, ManifestError> {
    let name = name("output.columns.name", file.name)?;
    match file.column_type.parse() {
        Ok(column_type) => Ok(DeclaredColumn { name, column_type }),
        Err(_) => {
            Err(ManifestError::ColumnType { path: path.clone(), column: name, value: file.column_type })
        }
    }
}

/// Counts are whole numbers, shares are not: a job that mixes them up would be judged by the wrong column.
fn role_column(
    path: &Name,
    key: &'static str,
    columns: &[DeclaredColumn],
    value: Option<String>,
) -> Result<Option<Name>, ManifestError> {
    let Some(value) = value else { return Ok(None) };
    let wanted = if key == "count_column" { "integer" } else { "decimal" };
    let fits = |column: &&DeclaredColumn| match column.column_type {
        ColumnType::Integer => wanted == "integer",
        ColumnType::Decimal(_) => wanted == "decimal",
        ColumnType::Category { .. } => false,
    };
    match columns.iter().filter(fits).find(|column| column.name.as_str() == value) {
        Some(column) => Ok(Some(column.name.clone())),
        None => Err(ManifestError::RoleColumn { path: path.clone(), key, column: value, wanted }),
    }
}

/// A row in which nobody can stand is told by one value for each category, once.
fn check_structural_zeros(
    path: &Name,
    columns: &[DeclaredColumn],
    zeros: &[Vec<String>],
) -> Result<(), ManifestError> {
    let is_category = |column: &&DeclaredColumn| matches!(column.column_type, ColumnType::Category { .. });
    let width = columns.iter().filter(is_category).count();
    let mut seen = BTreeSet::new();
    let sound = zeros.len() <= STRUCTURAL_ZEROS
        && zeros.iter().all(|row| width > 0 && row.len() == width && seen.insert(row));
    if sound { Ok(()) } else { Err(ManifestError::StructuralZeros { path: path.clone() }) }
}

fn check_items<'a>(
    path: &Name,
    key: &'static str,
    limit: usize,
    names: impl ExactSizeIterator<Item = &'a Name>,
) -> Result<(), ManifestError> {
    if !(1..=limit).contains(&names.len()) {
        return Err(ManifestError::OutputItems { path: path.clone(), key, limit });
    }
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(ManifestError::OutputItemTwice { path: path.clone(), name: name.clone() });
        }
    }
    Ok(())
}

fn check_outputs(manifest: &Manifest) -> Result<(), ManifestError> {
    if !(1..=OUTPUT_LIMIT).contains(&manifest.outputs.len()) {
        return Err(ManifestError::Outputs);
    }
    let mut seen = BTreeSet::new();
    for output in &manifest.outputs {
        if !seen.insert(output.path().as_str().to_ascii_lowercase()) {
            return Err(ManifestError::OutputTwice { path: output.path().clone() });
        }
        check_categories(manifest, output)?;
    }
    Ok(())
}

fn check_categories(manifest: &Manifest, output: &DeclaredOutput) -> Result<(), ManifestError> {
    let columns = match output {
        DeclaredOutput::Table { columns, .. } | DeclaredOutput::Figure { columns, .. } => columns,
        DeclaredOutput::Weights { .. } | DeclaredOutput::Metrics { .. } => return Ok(()),
    };
    for column in columns {
        match &column.column_type {
            ColumnType::Category { dataset, .. } if !manifest.data.contains_key(dataset) => {
                return Err(ManifestError::CategoryWithoutData {
                    path: output.path().clone(),
                    column: column.name.clone(),
                    dataset: dataset.clone(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}
