//! Which rules hold for canonical bytes, and how many bits they can carry.
//!
//! The judge believes nobody that the bytes are canonical: whoever wrote them read what a job wrote. It makes the form
//! anew and compares, so that a change which the canonicaliser would have noted is a reason to block here.

use std::io::Read;

use release::rule::Rule;
use release::statement::{DeclaredOutput, OutputKind};

use crate::bits::floor_bits;
use crate::canonicalise::{Formed, Reading, form_text};
use crate::declaration::check_quantiles;
use crate::files::{ReadSeek, Source};
use crate::finding::{Judgement, Record, Recorded, conclude, quoted};
use crate::policy::Policy;
use crate::survey::{applies, size_limit, survey};
use crate::table::suppression::{Audit, audit};
use crate::table::tabulation::Tabulation;
use crate::task::{EgressError, Task};
use crate::weights;

/// Judges canonical files.
///
/// # Errors
/// Only if the task is not accepted or a file cannot be read.
pub fn judge(task: &Task, source: &mut dyn Source) -> Result<Judgement, EgressError> {
    let policy = task.checked_policy()?;
    let entries = source.entries()?;
    // Weights must be as long as their declaration makes them, whatever the limit for what a job writes.
    let limit = |output: &DeclaredOutput| match output.kind() {
        OutputKind::Weights => u64::MAX,
        kind => size_limit(&policy, kind),
    };
    let survey = survey(&task.outputs, &entries, limit);
    let (mut files, mut tables, mut tabular, mut counted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (output, (mut record, size)) in task.outputs.iter().zip(survey.declared) {
        let (mut bytes, mut bits) = (0, 0);
        if output.kind().is_tabular() && !output.is_noised() {
            tabular.push(files.len());
        }
        if size.is_some() {
            let (mut reader, size) = source.open(output.path())?;
            let policy = task.policy_of(&policy, output);
            (bytes, bits) = (size, charge(task, &policy, output, size));
            if has_counts(output) {
                counted.push(files.len());
            }
            let table = judge_form(task, &policy, output, &mut *reader, size, &mut record)?;
            tables.extend(table.map(|table| (files.len(), table)));
            judge_size(&policy, output, bits, &mut record);
        }
        let kind = Some(output.kind());
        files.push(Recorded { record, name: output.path().to_string(), kind, bytes, bits });
    }
    judge_sum(&policy, &mut files);
    judge_suppression(&policy, &mut files, &tables, (&tabular, &counted));
    judge_quantiles(task, &policy, &mut files);
    files.extend(survey.undeclared);
    Ok(conclude(files, task.outputs.len(), |rule| applies(rule, &task.outputs, task.query.as_ref())))
}

/// What a canonical file is charged. What was not declared is not fixed by any request, so that all of it is charged.
fn charge(task: &Task, policy: &Policy, output: &DeclaredOutput, bytes: u64) -> u64 {
    let declared = match output {
        DeclaredOutput::Weights { tensors, .. } => !tensors.is_empty(),
        DeclaredOutput::Metrics { names, .. } => !names.is_empty(),
        DeclaredOutput::Table { columns, .. } | DeclaredOutput::Figure { columns, .. } => !columns.is_empty(),
    };
    match task.as_written && !declared {
        true => bytes.saturating_mul(8),
        false => floor_bits(policy, output, bytes),
    }
}

fn judge_form(
    task: &Task,
    policy: &Policy,
    output: &DeclaredOutput,
    reader: &mut dyn ReadSeek,
    size: u64,
    record: &mut Record,
) -> Result<Option<Tabulation>, EgressError> {
    let rule = output.kind().form_rule();
    match output {
        DeclaredOutput::Weights { tensors, .. } => {
            record.ran(rule);
            let declared = (!task.as_written || !tensors.is_empty()).then_some(&tensors[..]);
            if let Err(error) = weights::check(&policy.weights, declared, reader, size) {
                record.block(rule, error.to_string());
            }
        }
        DeclaredOutput::Metrics { .. } | DeclaredOutput::Table { .. } | DeclaredOutput::Figure { .. } => {
            let mut written = Vec::new();
            reader.take(size).read_to_end(&mut written)?;
            let formed = form_text(task, policy, output, &written, Reading::Canonical, record);
            if let Some(Formed { bytes, notes, tabulation, .. }) = formed {
                if bytes != written {
                    record.block(rule, "these bytes are not in their canonical form");
                }
                record.block_all(notes);
                return Ok(tabulation);
            }
        }
    }
    Ok(None)
}

fn has_counts(output: &DeclaredOutput) -> bool {
    match output {
        DeclaredOutput::Table { count_column, .. } | DeclaredOutput::Figure { count_column, .. } => {
            count_column.is_some()
        }
        DeclaredOutput::Weights { .. } | DeclaredOutput::Metrics { .. } => false,
    }
}

/// Whether the tables of this job tell of each other what they leave out.
fn judge_suppression(
    policy: &Policy,
    files: &mut [Recorded],
    tables: &[(usize, Tabulation)],
    (tabular, counted): (&[usize], &[usize]),
) {
    for index in tabular {
        files[*index].record.ran(Rule::TableSuppression);
    }
    for index in counted.iter().filter(|_| counted.len() > 1) {
        if !tables.iter().any(|(of, _)| of == index) {
            let words =
                "its categories do not tell its rows apart, so nothing was subtracted from it or by it";
            files[*index].record.note(Rule::TableSuppression, words);
        }
    }
    let all: Vec<&Tabulation> = tables.iter().map(|(_, table)| table).collect();
    for (index, table) in tables {
        let record = &mut files[*index].record;
        let width = policy.table.suppression_width;
        match audit(&policy.table, table, &all) {
            Audit::Protected => {}
            Audit::NotAdditive => record.note(
                Rule::TableSuppression,
                "its counts do not add up with those of the other tables, so nothing was subtracted",
            ),
            Audit::TooLarge => record.block(
                Rule::TableSuppression,
                "too large to tell what the other tables say of the rows that it leaves out",
            ),
            Audit::Told(rows) => {
                for (row, range) in rows {
                    let (row, least, most) = (quoted(row.join(",").as_bytes()), range.least, range.most);
                    let detail = format!(
                        "{row} is left out, and the other tables tell that {least} to {most} units stand in it; the \
                         policy asks for a width of at least {width}"
                    );
                    record.block(Rule::TableSuppression, detail);
                }
            }
        }
    }
}

/// Whether each quantile that was asked for is at a level of the policy's. Request and policy alone decide it, so that stewards
/// and auditors come to the same without the data.
fn judge_quantiles(task: &Task, policy: &Policy, files: &mut [Recorded]) {
    let Some(query) = task.query.as_ref().filter(|query| query.quantiles().next().is_some()) else { return };
    // The one output of a question is its answer.
    let Some(answer) = files.first_mut() else { return };
    answer.record.ran(Rule::TableQuantiles);
    if let Err(error) = check_quantiles(policy, query) {
        answer.record.block(Rule::TableQuantiles, error.to_string());
    }
}

fn judge_size(policy: &Policy, output: &DeclaredOutput, bits: u64, record: &mut Record) {
    match output {
        DeclaredOutput::Weights { .. } => {
            record.ran(Rule::WeightsCapacity);
            let limit = policy.weights.max_bits;
            if bits > limit {
                record.block(
                    Rule::WeightsCapacity,
                    format!("it can carry {bits} bits; the policy allows {limit}"),
                );
            }
        }
        DeclaredOutput::Metrics { names, .. } => {
            record.ran(Rule::MetricsCount);
            let (count, limit) = (names.len() as u64, policy.metrics.max_count);
            if count > limit {
                record.block(
                    Rule::MetricsCount,
                    format!("it declares {count} metrics; the policy allows {limit}"),
                );
            }
        }
        // The cells of a table were counted with its form.
        DeclaredOutput::Table { .. } | DeclaredOutput::Figure { .. } => {}
    }
}

/// The sum of bits. A file that carries too much is named at the largest.
fn judge_sum(policy: &Policy, files: &mut [Recorded]) {
    let sum = files.iter().map(|file| file.bits).fold(0, u64::saturating_add);
    let Some(largest) = files.iter_mut().max_by_key(|file| file.bits) else { return };
    largest.record.ran(Rule::ReleaseBits);
    if sum > policy.release_bits {
        let limit = policy.release_bits;
        let detail = format!("all files together can carry {sum} bits; the policy allows {limit}");
        largest.record.block(Rule::ReleaseBits, detail);
    }
}
