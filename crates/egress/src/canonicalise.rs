//! From what a job wrote to canonical forms.

use std::io::{self, Read};

use release::rule::Rule;
use release::statement::{DeclaredColumn, DeclaredOutput};

use crate::figure;
use crate::files::{ReadSeek, Sink, Source};
use crate::finding::{Judgement, Notes, Record, Recorded, conclude};
use crate::metrics;
use crate::policy::Policy;
use crate::survey::{applies, size_limit, survey};
use crate::table::{self, Columns, compared::counts_to_bytes, tabulation::Tabulation};
use crate::task::{EgressError, Task};
use crate::weights::{self, FormError};

/// Writes the canonical form of each declared output under its declared name, and says what was changed or refused.
/// An output without a canonical form is not written. The bits are the judge's to say and read 0 here.
///
/// # Errors
/// Only if the task is not accepted or a file cannot be read or written: whatever a job wrote ends in a judgement.
pub fn canonicalise(
    task: &Task,
    source: &mut dyn Source,
    sink: &mut dyn Sink,
) -> Result<Judgement, EgressError> {
    let policy = task.checked_policy()?;
    let entries = source.entries()?;
    let survey = survey(&task.outputs, &entries, |output| size_limit(&policy, output.kind()));
    let (mut files, mut counts) = (Vec::new(), Vec::new());
    for (index, (output, (mut record, size))) in task.outputs.iter().zip(survey.declared).enumerate() {
        let name = output.path();
        let mut bytes = 0;
        if size.is_some() {
            let (mut reader, size) = source.open(name)?;
            let policy = task.policy_of(&policy, output);
            let written = write_form(task, &policy, output, &mut *reader, size, sink, &mut record)?;
            match written {
                Some(written) => {
                    bytes = written.bytes;
                    counts.extend(written.counts.map(|counts| (index, counts)));
                }
                None => sink.discard(name)?,
            }
        }
        files.push(Recorded { record, name: name.to_string(), kind: Some(output.kind()), bytes, bits: 0 });
    }
    files.extend(survey.undeclared);
    let judgement =
        conclude(files, task.outputs.len(), |rule| applies(rule, &task.outputs, task.query.as_ref()));
    Ok(Judgement { counts, ..judgement })
}

/// A canonical file.
struct Written {
    bytes: u64,
    /// The counts of a table that has some, before rounding.
    counts: Option<Vec<u8>>,
}

/// Writes one output; none if it has no canonical form.
fn write_form(
    task: &Task,
    policy: &Policy,
    output: &DeclaredOutput,
    reader: &mut dyn ReadSeek,
    size: u64,
    sink: &mut dyn Sink,
    record: &mut Record,
) -> Result<Option<Written>, EgressError> {
    let formed = match output {
        DeclaredOutput::Weights { path, tensors, .. } => {
            record.ran(Rule::WeightsForm);
            let declared = (!task.as_written || !tensors.is_empty()).then_some(&tensors[..]);
            let mut writer = Counted { inner: sink.create(path)?, bytes: 0 };
            let formed = weights::canonicalise(&policy.weights, declared, reader, size, &mut writer);
            writer.inner.flush()?;
            return match formed {
                Ok(notes) => {
                    record.note_all(notes);
                    Ok(Some(Written { bytes: writer.bytes, counts: None }))
                }
                Err(FormError::Sink(error)) => Err(error.into()),
                Err(error) => refuse(record, Rule::WeightsForm, &error),
            };
        }
        DeclaredOutput::Metrics { .. } | DeclaredOutput::Table { .. } | DeclaredOutput::Figure { .. } => {
            let mut written = Vec::new();
            reader.take(size).read_to_end(&mut written)?;
            form_text(task, policy, output, &written, Reading::Written, record)
        }
    };
    let Some(Formed { bytes, notes, counts, .. }) = formed else { return Ok(None) };
    record.note_all(notes);
    sink.create(output.path())?.write_all(&bytes)?;
    Ok(Some(Written { bytes: bytes.len() as u64, counts }))
}

fn refuse(
    record: &mut Record,
    rule: Rule,
    error: &dyn std::error::Error,
) -> Result<Option<Written>, EgressError> {
    record.block(rule, error.to_string());
    Ok(None)
}

/// What is read: a job's own file, or one that should be canonical already and so has no columns that are withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Written,
    Canonical,
}

/// The canonical form of metrics, a table or a figure.
pub(crate) struct Formed {
    pub(crate) bytes: Vec<u8>,
    /// What was changed.
    pub(crate) notes: Notes,
    /// The counts of a table that has some, before rounding, as [`counts_to_bytes`] writes them.
    pub(crate) counts: Option<Vec<u8>>,
    /// What a table's counts say to a reader.
    pub(crate) tabulation: Option<Tabulation>,
}

/// The canonical form of metrics, a table or a figure, and what was changed. What the rules say of it is recorded; the smallest
/// count is looked at before rounding, which would hide it.
pub(crate) fn form_text(
    task: &Task,
    policy: &Policy,
    output: &DeclaredOutput,
    written: &[u8],
    reading: Reading,
    record: &mut Record,
) -> Option<Formed> {
    let formed = match output {
        DeclaredOutput::Metrics { names, degrees_of_freedom, .. } => {
            record.ran(Rule::MetricsForm);
            let declared = (!task.as_written || !names.is_empty()).then_some(&names[..]);
            let formed = metrics::form(&policy.metrics, declared, degrees_of_freedom.as_ref(), written);
            let form = formed.map_err(|error| record.block(Rule::MetricsForm, error.to_string())).ok()?;
            metrics::check(&policy.metrics, &form, record);
            Formed { bytes: form.bytes, notes: form.notes, counts: None, tabulation: None }
        }
        DeclaredOutput::Table { .. } => {
            let (columns, here) = plan(task, output, Some(written), reading, record)?;
            form_table(policy, &columns, &here, written, reading, record)?
        }
        DeclaredOutput::Figure { .. } => form_figure(task, policy, output, written, reading, record)?,
        DeclaredOutput::Weights { .. } => return None,
    };
    let limit = size_limit(policy, output.kind());
    if formed.bytes.len() as u64 > limit {
        record.block(
            output.kind().form_rule(),
            format!("its canonical form has {} bytes; the policy allows {limit}", formed.bytes.len()),
        );
        return None;
    }
    Some(formed)
}

/// The columns of a table or figure, and their declarations without those that do not stand there. Where nothing is
/// declared, a table's first line says which it has.
fn plan(
    task: &Task,
    output: &DeclaredOutput,
    table: Option<&[u8]>,
    reading: Reading,
    record: &mut Record,
) -> Option<(Columns, Vec<DeclaredColumn>)> {
    let (columns, count, shares, structural_zeros) = match output {
        DeclaredOutput::Table {
            columns,
            count_column,
            largest_column,
            two_largest_column,
            structural_zeros,
            ..
        } => (
            columns,
            count_column,
            [largest_column.as_ref(), two_largest_column.as_ref()],
            &structural_zeros[..],
        ),
        DeclaredOutput::Figure { columns, count_column, .. } => {
            (columns, count_column, [None, None], &[][..])
        }
        DeclaredOutput::Weights { .. } | DeclaredOutput::Metrics { .. } => return None,
    };
    let stands = |column: &&DeclaredColumn| reading == Reading::Written || !output.is_withheld(&column.name);
    let here: Vec<DeclaredColumn> = columns.iter().filter(stands).cloned().collect();
    let noised = output.is_noised();
    let declared =
        table::Declared { columns: &here, noised, count: count.as_ref(), shares, structural_zeros };
    let digits = task.checked_policy().ok()?.table.max_integer_digits as u32;
    let planned = match table.filter(|_| task.as_written && columns.is_empty()) {
        Some(table) => table::as_written(table, declared, digits),
        None => table::planned(declared, &task.catalogue, task.as_written),
    };
    let planned = planned.map_err(|error| record.block(output.kind().form_rule(), error.to_string())).ok()?;
    Some((planned, here))
}

fn form_table(
    policy: &Policy,
    columns: &Columns,
    declared: &[DeclaredColumn],
    written: &[u8],
    reading: Reading,
    record: &mut Record,
) -> Option<Formed> {
    table::begin(columns, record);
    if reading == Reading::Written {
        table::begin_shares(&policy.table, columns, record);
    }
    let formed = table::form(&policy.table, declared, columns, written);
    let form = formed.map_err(|error| record.block(Rule::TableForm, error.to_string())).ok()?;
    table::check(&policy.table, &form, record);
    // What was not read to the end has no form.
    if form.cells > policy.table.max_cells {
        return None;
    }
    let counts = form.counted.then(|| counts_to_bytes(&form.counts));
    Some(Formed { bytes: form.bytes, notes: form.notes, counts, tabulation: form.tabulation })
}

/// A figure is its table, under every rule for tables, and how it is drawn.
fn form_figure(
    task: &Task,
    policy: &Policy,
    output: &DeclaredOutput,
    written: &[u8],
    reading: Reading,
    record: &mut Record,
) -> Option<Formed> {
    record.ran(Rule::FigureForm);
    let (columns, here) = plan(task, output, None, reading, record)?;
    let read = figure::read(&columns, written);
    let figure = read.map_err(|error| record.block(Rule::FigureForm, error.to_string())).ok()?;
    let formed = form_table(policy, &columns, &here, &figure.table, reading, record)?;
    Some(Formed { bytes: figure.write(&formed.bytes), ..formed })
}

/// A writer that counts.
struct Counted<'a> {
    inner: Box<dyn io::Write + 'a>,
    bytes: u64,
}

impl io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
