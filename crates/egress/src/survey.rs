//! Whether what was declared, and nothing else, was written.

use release::rule::Rule;
use release::statement::{DeclaredOutput, OutputKind, Query};

use crate::files::{ENTRY_LIMIT, Entry, EntryKind};
use crate::finding::{Record, Recorded, shown};
use crate::policy::Policy;

/// Most undeclared entries that are named; further ones are only counted.
const NAMED_LIMIT: usize = 8;

/// What a directory holds, compared with the declaration.
pub(crate) struct Survey {
    /// For each declared output its record so far and, if it is a file that may be read, its size.
    pub(crate) declared: Vec<(Record, Option<u64>)>,
    /// Entries that were not declared.
    pub(crate) undeclared: Vec<Recorded>,
}

/// Compares entries with declared outputs. Nothing is opened that is not a regular file with one name, declared, and
/// no larger than `limit` allows: a link could lead elsewhere, and reading a pipe may never end.
pub(crate) fn survey(
    outputs: &[DeclaredOutput],
    entries: &[Entry],
    limit: impl Fn(&DeclaredOutput) -> u64,
) -> Survey {
    let declared = outputs.iter().map(|output| {
        let mut record = Record::new();
        record.ran(Rule::OutputDeclared);
        let path = output.path().as_str();
        let size = match entries.iter().find(|entry| entry.name == path.as_bytes()) {
            None => Err("it is declared and missing".to_owned()),
            Some(entry) => readable(entry, limit(output)),
        };
        let size = size.map_err(|detail| record.block(Rule::OutputDeclared, detail)).ok();
        (record, size)
    });
    let declared = declared.collect();
    let is_declared =
        |entry: &Entry| outputs.iter().any(|output| output.path().as_str().as_bytes() == entry.name);
    let surplus: Vec<&Entry> = entries.iter().filter(|entry| !is_declared(entry)).collect();
    let mut undeclared: Vec<Recorded> =
        surplus.iter().take(NAMED_LIMIT).map(|entry| undeclared_entry(entry)).collect();
    if let (Some(last), true) = (undeclared.last_mut(), surplus.len() > NAMED_LIMIT) {
        let more = surplus.len() - NAMED_LIMIT;
        let at_least = if entries.len() > ENTRY_LIMIT { "at least " } else { "" };
        last.record.block(Rule::OutputDeclared, format!("{at_least}{more} more entries are not declared"));
    }
    Survey { declared, undeclared }
}

fn readable(entry: &Entry, limit: u64) -> Result<u64, String> {
    match entry.kind {
        EntryKind::File if entry.bytes <= limit => Ok(entry.bytes),
        EntryKind::File => Err(format!("it has {} bytes; the policy allows {limit}", entry.bytes)),
        EntryKind::HardLink => Err("it is a file with a second name (hard link)".to_owned()),
        EntryKind::SymbolicLink => Err("it is a symbolic link".to_owned()),
        EntryKind::Directory => Err("it is a directory".to_owned()),
        EntryKind::Special => Err("it is a device, pipe or socket".to_owned()),
    }
}

fn undeclared_entry(entry: &Entry) -> Recorded {
    let what = match entry.kind {
        EntryKind::File | EntryKind::HardLink => "a file",
        EntryKind::SymbolicLink => "a symbolic link",
        EntryKind::Directory => "a directory",
        EntryKind::Special => "a device, pipe or socket",
    };
    let mut record = Record::new();
    record.block(Rule::OutputDeclared, format!("{what} that is not declared"));
    Recorded { record, name: shown(&entry.name), kind: None, bytes: 0, bits: 0 }
}

/// Largest file of a kind that is read, in bytes.
pub(crate) fn size_limit(policy: &Policy, kind: OutputKind) -> u64 {
    match kind {
        OutputKind::Weights => policy.weights.max_file_bytes,
        OutputKind::Metrics => policy.metrics.max_file_bytes,
        OutputKind::Table | OutputKind::Figure => policy.table.max_file_bytes,
    }
}

/// Whether a rule looks at any of these outputs, or at the question that was asked. Rules without a kind look at all.
pub(crate) fn applies(rule: Rule, outputs: &[DeclaredOutput], query: Option<&Query>) -> bool {
    let has = |kind| outputs.iter().any(|output| output.kind() == kind);
    let has_tables = |counts: bool| {
        outputs.iter().any(|output| output.kind().is_tabular() && !(counts && output.is_noised()))
    };
    match rule {
        Rule::CopyBundle
        | Rule::CopyExact
        | Rule::CopyNumeric
        | Rule::CopyViews
        | Rule::OutputDeclared
        | Rule::ReleaseBits => true,
        Rule::FigureForm => has(OutputKind::Figure),
        Rule::MetricsCount | Rule::MetricsDegreesOfFreedom | Rule::MetricsForm => has(OutputKind::Metrics),
        Rule::TableCells | Rule::TableDifferencing | Rule::TableForm => has_tables(false),
        // Where numbers have noise, that is what protects people.
        Rule::TableDominance
        | Rule::TablePPercent
        | Rule::TableRounding
        | Rule::TableSmallestCount
        | Rule::TableSuppression
        | Rule::TableZeroCells => has_tables(true),
        // What code wrote may be quantiles of any level: nothing tells them from other numbers.
        Rule::TableQuantiles => query.is_some_and(|query| query.quantiles().next().is_some()),
        Rule::WeightsCapacity | Rule::WeightsForm => has(OutputKind::Weights),
    }
}
