//! Whether what a job declares can be judged at all. The box asks this before it runs a job.

use std::collections::BTreeSet;

use release::report::OUTPUT_LIMIT;
use release::rule::Rule;
use release::statement::{Catalogue, ColumnType, DeclaredColumn, DeclaredOutput, DeclaredTensor, Query};
use release::value::{Count, Name};

use crate::policy::Policy;
use crate::weights;

/// Declared outputs that are refused before a job runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum DeclarationError {
    #[error("more than {OUTPUT_LIMIT} outputs")]
    TooManyOutputs,
    #[error("the output {path} is declared twice")]
    PathTwice { path: Name },
    #[error("the output {path} names {name} twice")]
    NameTwice { path: Name, name: Name },
    #[error("the output {path} uses the name {name}, which the format reserves")]
    NameReserved { path: Name, name: Name },
    #[error("the tensor {name} of {path} has a dimension of length 0, or too many dimensions or parameters")]
    Shape { path: Name, name: Name },
    #[error("the output {path} declares more than {limit} tensors")]
    TooManyTensors { path: Name, limit: u64 },
    #[error("the output {path} has no column {name}, which it names for its counts or shares")]
    NoSuchColumn { path: Name, name: Name },
    #[error("the column {name} of {path} holds counts and must be of type integer")]
    CountNotInteger { path: Name, name: Name },
    #[error("the column {name} of {path} holds shares and must be of type decimal, and hold nothing else")]
    ShareNotDecimal { path: Name, name: Name },
    #[error("the output {path} says the share of its two largest units and not that of the largest")]
    LargestMissing { path: Name },
    #[error("the output {path} has a structural zero without one value for each category, or one twice")]
    StructuralZeros { path: Name },
    #[error(
        "the output {path} fixes the tensor {name} in one precision and ships an evaluation to find another"
    )]
    FixedAndEvaluated { path: Name, name: Name },
    #[error("the output {path} has no metric {name}, which it names for its degrees of freedom")]
    NoSuchMetric { path: Name, name: Name },
    #[error("the weights {path} can carry {bits} bits as declared; the policy allows {limit}")]
    TooManyBits { path: Name, bits: u64, limit: u64 },
    #[error("the declared weights can carry {bits} bits together; the policy allows {limit}")]
    ReleaseTooManyBits { bits: u64, limit: u64 },
    #[error(
        "the policy allows no quantile above {percent} % of the rows; it allows those above {allowed:?} %"
    )]
    Quantile { percent: u8, allowed: Vec<u64> },
    #[error(
        "the answer with noise has {cells} cells, whoever stands in its groups; the policy allows {limit}"
    )]
    NoisyCells { cells: u64, limit: u64 },
}

/// Checks that each declared output can be judged: names once, shapes that can be multiplied, columns that exist.
/// Limits that are rules of the policy are left to the judge.
pub fn check_declarations(policy: &Policy, outputs: &[DeclaredOutput]) -> Result<(), DeclarationError> {
    use DeclarationError as E;
    if outputs.len() > OUTPUT_LIMIT {
        return Err(E::TooManyOutputs);
    }
    let mut paths = BTreeSet::new();
    for output in outputs {
        let path = output.path();
        if !paths.insert(path.as_str().to_ascii_lowercase()) {
            return Err(E::PathTwice { path: path.clone() });
        }
        match output {
            DeclaredOutput::Weights { tensors, evaluation, .. } => {
                check_tensors(policy, path, tensors, evaluation.is_some())?;
            }
            DeclaredOutput::Metrics { names, degrees_of_freedom, .. } => {
                check_names(path, names)?;
                if let Some(name) = degrees_of_freedom
                    && !names.is_empty()
                    && !names.contains(name)
                {
                    return Err(E::NoSuchMetric { path: path.clone(), name: name.clone() });
                }
            }
            DeclaredOutput::Table { columns, structural_zeros, .. } => {
                check_columns(path, columns, output)?;
                check_structural_zeros(path, columns, structural_zeros)?;
            }
            DeclaredOutput::Figure { columns, .. } => check_columns(path, columns, output)?,
        }
    }
    Ok(())
}

/// Checks that weights as declared could leave at all, in the smallest precision that the box may choose for them. What they
/// carry follows from their shapes: a job with others would run for hours, be searched for hours, and be blocked.
pub fn check_sizes(policy: &Policy, outputs: &[DeclaredOutput]) -> Result<(), DeclarationError> {
    let mut sum = 0u64;
    for output in outputs {
        let DeclaredOutput::Weights { path, tensors, .. } = output else { continue };
        let capacity = |precision| weights::capacity_bits(precision, tensors);
        let least = policy.precisions(output).into_iter().map(capacity).min().unwrap_or(0);
        let (bits, limit) = (least.saturating_add(policy.choice_bits(output)), policy.weights.max_bits);
        if bits > limit {
            return Err(DeclarationError::TooManyBits { path: path.clone(), bits, limit });
        }
        sum = sum.saturating_add(bits);
    }
    let limit = policy.release_bits;
    if sum > limit { Err(DeclarationError::ReleaseTooManyBits { bits: sum, limit }) } else { Ok(()) }
}

/// Bytes of the canonical files of declared weights, each in the policy's own precision. Those of tables, figures and metrics
/// are bounded by the policy alone.
pub fn declared_bytes(policy: &Policy, outputs: &[DeclaredOutput]) -> u64 {
    let precision = policy.weights.precision;
    let bytes = |output: &DeclaredOutput| match output {
        DeclaredOutput::Weights { tensors, .. } => {
            let header = weights::header(precision, tensors).len() as u64;
            weights::data_bytes(precision, tensors).saturating_add(header)
        }
        DeclaredOutput::Metrics { .. } | DeclaredOutput::Table { .. } | DeclaredOutput::Figure { .. } => 0,
    };
    outputs.iter().map(bytes).fold(0, u64::saturating_add)
}

/// Checks that the policy allows a question: the quantiles that it asks for, and how many cells an answer with noise has, which
/// is known before.
pub fn check_question(policy: &Policy, query: &Query, catalogue: &Catalogue) -> Result<(), DeclarationError> {
    check_quantiles(policy, query)?;
    let (cells, limit) = (query.noisy_cells(catalogue), policy.table.max_cells);
    if cells > limit { Err(DeclarationError::NoisyCells { cells, limit }) } else { Ok(()) }
}

/// Each quantile that a question asks for is one of the policy's. Were any level allowed, a hundred answers would trace
/// a group's values nearly one by one.
pub(crate) fn check_quantiles(policy: &Policy, query: &Query) -> Result<(), DeclarationError> {
    let allowed = &policy.table.quantile_percents;
    match query.quantiles().find(|percent| !allowed.contains(&u64::from(*percent))) {
        Some(percent) => Err(DeclarationError::Quantile { percent, allowed: allowed.clone() }),
        None => Ok(()),
    }
}

fn check_names<'a>(path: &Name, names: impl IntoIterator<Item = &'a Name>) -> Result<(), DeclarationError> {
    let mut seen = BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(DeclarationError::NameTwice { path: path.clone(), name: name.clone() }),
        None => Ok(()),
    }
}

fn check_tensors(
    policy: &Policy,
    path: &Name,
    tensors: &[DeclaredTensor],
    is_evaluated: bool,
) -> Result<(), DeclarationError> {
    use DeclarationError as E;
    let smaller = policy.weights.smaller_precisions.iter().filter(|_| is_evaluated);
    let has_scales =
        [&policy.weights.precision].into_iter().chain(smaller).any(|one| one.largest_whole().is_some());
    let limit = policy.weights.max_tensors;
    if tensors.len() as u64 > limit {
        return Err(E::TooManyTensors { path: path.clone(), limit });
    }
    check_names(path, tensors.iter().map(|tensor| &tensor.name))?;
    let names: BTreeSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut sum = 0u64;
    for tensor in tensors {
        let (path, name) = (path.clone(), tensor.name.clone());
        let scale = format!("{name}.scale");
        let taken = has_scales && names.contains(scale.as_str());
        if name.as_str() == "__metadata__" || taken {
            return Err(E::NameReserved { path, name });
        }
        if is_evaluated && tensor.sha256.is_some() {
            return Err(E::FixedAndEvaluated { path, name });
        }
        let parameters = parameters(&tensor.shape);
        let many = tensor.shape.len() as u64 > policy.weights.max_dimensions;
        // 2^48 parameters of 8 bytes are far from the end of a 64-bit number, and far above any limit of bits.
        match parameters.and_then(|parameters| sum.checked_add(parameters)).filter(|sum| *sum <= 1 << 48) {
            Some(total) if !many => sum = total,
            _ => return Err(E::Shape { path, name }),
        }
    }
    Ok(())
}

/// How many parameters a shape has; none if a dimension is 0 or they cannot be counted.
pub(crate) fn parameters(shape: &[Count]) -> Option<u64> {
    shape
        .iter()
        .try_fold(1u64, |product, length| product.checked_mul(length.0))
        .filter(|product| *product > 0)
}

fn check_columns(
    path: &Name,
    columns: &[DeclaredColumn],
    output: &DeclaredOutput,
) -> Result<(), DeclarationError> {
    use DeclarationError as E;
    let (count, shares) = match output {
        DeclaredOutput::Table { count_column, largest_column, two_largest_column, .. } => {
            (count_column, [largest_column, two_largest_column])
        }
        DeclaredOutput::Figure { count_column, .. } => (count_column, [&None, &None]),
        DeclaredOutput::Weights { .. } | DeclaredOutput::Metrics { .. } => (&None, [&None, &None]),
    };
    check_names(path, columns.iter().map(|column| &column.name))?;
    if shares[0].is_none() && shares[1].is_some() {
        return Err(E::LargestMissing { path: path.clone() });
    }
    if columns.is_empty() {
        // A table without declared columns is refused by its form, or has those that were written.
        return Ok(());
    }
    let find = |name: &Name| {
        let column = columns.iter().find(|column| column.name == *name);
        column.ok_or_else(|| E::NoSuchColumn { path: path.clone(), name: name.clone() })
    };
    for share in shares.into_iter().flatten() {
        let is_decimal = matches!(find(share)?.column_type, ColumnType::Decimal(_));
        if !is_decimal || shares[0] == shares[1] {
            return Err(E::ShareNotDecimal { path: path.clone(), name: share.clone() });
        }
    }
    match count.as_ref().map(find).transpose()? {
        Some(column) if column.column_type != ColumnType::Integer => {
            Err(E::CountNotInteger { path: path.clone(), name: column.name.clone() })
        }
        _ => Ok(()),
    }
}

fn check_structural_zeros(
    path: &Name,
    columns: &[DeclaredColumn],
    zeros: &[Vec<String>],
) -> Result<(), DeclarationError> {
    let is_category = |column: &&DeclaredColumn| matches!(column.column_type, ColumnType::Category { .. });
    let width = columns.iter().filter(is_category).count();
    let sound = columns.is_empty() || zeros.iter().all(|row| width > 0 && row.len() == width);
    let once = zeros.iter().collect::<BTreeSet<_>>().len() == zeros.len();
    match sound && once {
        true => Ok(()),
        false => Err(DeclarationError::StructuralZeros { path: path.clone() }),
    }
}

/// Whether a rule cannot run for one of these outputs, by what was declared: a job that says no shares has none to judge.
/// The policy may ask for them; then nothing is left out.
pub fn is_left_out(policy: &Policy, rule: Rule, outputs: &[DeclaredOutput]) -> bool {
    outputs.iter().any(|output| match (rule, output) {
        (
            Rule::TableDominance | Rule::TablePPercent,
            DeclaredOutput::Table { columns, count_column, largest_column: None, noised: false, .. }
            | DeclaredOutput::Figure { columns, count_column, .. },
        ) => {
            let is_value = |column: &DeclaredColumn| {
                Some(&column.name) != count_column.as_ref()
                    && !matches!(column.column_type, ColumnType::Category { .. })
            };
            !policy.table.shares_required && columns.iter().any(is_value)
        }
        (Rule::MetricsDegreesOfFreedom, DeclaredOutput::Metrics { degrees_of_freedom: None, .. }) => true,
        _ => false,
    })
}
