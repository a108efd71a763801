//! One question, answered: a table with the shares by which it is judged.

use std::collections::BTreeSet;
use std::path::Path;

use egress::{Policy, QueryTask, TablePolicy};
use release::statement::{
    QueryFunction, QueryValue, SHARE_COLUMNS, SHARE_DIGITS, SIGNIFICANT_DIGITS, UNITS_COLUMN, VALUE_DIGITS,
};
use release::value::Name;

use crate::AnswerError;
use crate::aggregate::Source;
use crate::cells::{Group, Groups};
use crate::noisy;
use crate::window::{Units, windows};

/// The answer to the task's question, as CSV; each dataset lies below `data` under its name.
///
/// # Errors
/// By name, and never with a value.
pub fn answer(task: &QueryTask, data: &Path) -> Result<Vec<u8>, AnswerError> {
    let policy = allowing(task)?;
    if let Some(privacy) = &task.query.privacy {
        return noisy::answer(task, privacy, data);
    }
    let numbers: BTreeSet<&Name> = task.query.values.iter().map(|value| &value.column).collect();
    let numbers: Vec<&Name> = numbers.into_iter().collect();
    let source = Source::open(task, data, &[&task.query], &numbers)?;
    let place = |column: &Name| numbers.iter().position(|number| *number == column);
    let columns: Vec<usize> = task.query.values.iter().filter_map(|value| place(&value.column)).collect();
    let mut groups = Groups::new(task.query.values.iter().map(|value| value.function));
    let mut classes: Vec<u32> = Vec::new();
    source.each_unit(|class, _, summed| {
        let class = class as usize;
        if class >= classes.len() {
            // Of one question each class is a group of its own.
            classes = source.classes().patterns().iter().filter_map(|pattern| pattern[0]).collect();
        }
        groups.add(classes[class], columns.iter().map(|column| summed[*column]));
    })?;
    put_windows(task, &policy, &source, &columns, &mut groups)?;
    write(task, &policy, &groups, &source.classes().cells(0))
}

/// The policy, if it allows what is asked: it may have changed since the question was admitted.
fn allowing(task: &QueryTask) -> Result<TablePolicy, AnswerError> {
    let policy = Policy::parse(&task.policy)?;
    egress::check_question(&policy, &task.query, &task.catalogue).map_err(|_| AnswerError::Question)?;
    Ok(policy.table)
}

/// Each quantile's rows in the place of its column. A column is read once more for them.
fn put_windows(
    task: &QueryTask,
    policy: &TablePolicy,
    source: &Source,
    columns: &[usize],
    groups: &mut Groups,
) -> Result<(), AnswerError> {
    let mut units = Units::default();
    let asked = || task.query.values.iter().zip(columns).enumerate();
    let quantiles = || {
        asked().filter_map(|(value, (of, column))| match of.function {
            QueryFunction::Sum | QueryFunction::Mean => None,
            QueryFunction::Quantile(percent) => Some((value, *column, percent)),
        })
    };
    for column in quantiles().map(|(_, column, _)| column).collect::<BTreeSet<_>>() {
        let valued = source.sorted(column, &mut units)?;
        let patterns = source.classes().patterns();
        for (value, _, percent) in quantiles().filter(|(_, of, _)| *of == column) {
            let cell = |class: u32| patterns[class as usize][0];
            groups.put_windows(value, &windows(&valued, cell, percent, policy.smallest_count), &valued);
        }
    }
    Ok(())
}

fn write(
    task: &QueryTask,
    policy: &TablePolicy,
    groups: &Groups,
    cells: &[Vec<String>],
) -> Result<Vec<u8>, AnswerError> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let query = &task.query;
    let mut header: Vec<String> = query.groups.iter().map(Name::to_string).collect();
    header.push(UNITS_COLUMN.to_owned());
    header.extend(query.values.iter().map(QueryValue::name));
    if !query.values.is_empty() {
        header.extend(SHARE_COLUMNS.map(str::to_owned));
    }
    writer.write_record(&header).map_err(|_| AnswerError::Engine)?;
    // Groups are numbered as the threads come to them; what is written has an order of its own.
    let mut told: Vec<_> = groups.cells.iter().filter(|(_, group)| group.is_told(policy)).collect();
    told.sort_by_key(|(cell, _)| &cells[**cell as usize]);
    for (cell, group) in told {
        let mut record = cells[*cell as usize].clone();
        record.push(group.units.to_string());
        record.extend(values(task, group)?);
        writer.write_record(&record).map_err(|_| AnswerError::Engine)?;
    }
    writer.into_inner().map_err(|_| AnswerError::Engine)
}

fn values(task: &QueryTask, group: &Group) -> Result<Vec<String>, AnswerError> {
    let mut texts = Vec::new();
    for (index, value) in task.query.values.iter().enumerate() {
        let summed = group.summed(index)?;
        texts.push(number_text(match value.function {
            QueryFunction::Sum => summed.sum,
            // A group that is told has units with numbers.
            QueryFunction::Mean | QueryFunction::Quantile(_) => summed.sum / summed.rows.max(1) as f64,
        }));
    }
    if !task.query.values.is_empty() {
        texts.extend(group.shares().map(|share| {
            let whole = 10i128.pow(SHARE_DIGITS.into());
            format!("{}.{:0width$}", share / whole, share % whole, width = SHARE_DIGITS.into())
        }));
    }
    Ok(texts)
}

/// A number to its significant digits, with so many digits after the point as a value has.
fn number_text(number: f64) -> String {
    let rounded = format!("{number:.*e}", SIGNIFICANT_DIGITS as usize - 1);
    let rounded: f64 = rounded.parse().unwrap_or(number);
    let text = format!("{rounded:.*}", usize::from(VALUE_DIGITS));
    // There is one zero.
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::number_text;

    #[test]
    fn a_sum_or_a_mean_has_three_significant_digits_and_one_text() {
        let texts = [
            (0.0, "0.000"),
            (-0.0, "0.000"),
            (-0.0001, "0.000"),
            (4.16161, "4.160"),
            (-5.42828, "-5.430"),
            (0.012345, "0.012"),
            (99.96, "100.000"),
            (123_456.0, "123000.000"),
            (1_999_999.0, "2000000.000"),
        ];
        for (number, text) in texts {
            assert_eq!(number_text(number), text);
        }
    }
}
