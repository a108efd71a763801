//! Comparing a job's tables with those that left or may leave, and keeping them for the next.
//!
//! Comparing and storing the verdict happen under the locks of the job's datasets, so that of any two verdicts on one dataset
//! the later one was compared with the earlier. The tables are read by a process behind the wall, which has no data; here only files are copied.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use blobs::{BlobStore, Digest};
use egress::{Compared, Detail, EARLIER_BYTES_LIMIT, EarlierTable, Finding, JudgedFile};
use release::differencing::{ComparedSet, PLACE_LIMIT, SET_LIMIT};
use release::envelope::Envelope;
use release::report::OutputReport;
use release::rule::Rule;
use release::statement::{ANSWER_FILE, DatasetSnapshot, DeclaredOutput, OutputKind, Request, RuleResult};
use release::value::{Count, Name};

use crate::files;
use crate::judgement::Found;
use crate::outputs::{Outputs, OutputsError};
use crate::room::{Room, RoomError};
use crate::store::tables::{self, KeptTable};
use crate::wall::{Child, Program};

/// What a verdict's tables were compared with, as the store must still have it when the verdict is stored.
#[derive(Debug, Clone, Default)]
pub struct ComparedWith {
    /// The verdicts.
    pub set: ComparedSet,
    /// The datasets by which they were found.
    pub datasets: Vec<Name>,
    /// The job's own tables, in the quarantine.
    pub tables: Vec<KeptTable>,
}

/// True if a job declares what is compared.
pub fn has_tables(declared: &[DeclaredOutput]) -> bool {
    declared.iter().any(|output| output.kind().is_tabular())
}

/// Compares what was sealed. The caller holds [`Room::table_order`] until the verdict is stored.
pub fn compare(
    outputs: &Outputs<'_>,
    asked: &Request,
    found: &mut Found,
) -> Result<ComparedWith, OutputsError> {
    if !has_tables(outputs.declared) {
        let mut report = OutputReport::unchecked();
        report.rules[Rule::TableDifferencing.index()] = RuleResult::NotApplicable;
        found.comparer = Some(report);
        return Ok(ComparedWith::default());
    }
    let names = names(asked);
    let is_noised = outputs.declared.iter().all(DeclaredOutput::is_noised);
    let of = names.clone();
    let read = outputs.room.store.read(move |connection| {
        let set = tables::set(connection, &of)?;
        Ok((set, tables::earlier(connection, &of)?, tables::next_place(connection)?))
    });
    let (set, mut earlier, place) = read.map_err(RoomError::from)?;
    let bytes = earlier.iter().fold(0u64, |sum, table| sum.saturating_add(table.kept.bytes));
    if set.len() > SET_LIMIT || bytes > EARLIER_BYTES_LIMIT || place > PLACE_LIMIT {
        refuse(outputs.declared, found);
    } else if is_noised {
        note_noise(found);
    } else {
        // Answers about the same rows are compared by who stands in them, which counts could only guess at.
        earlier.retain(|table| request_of(table).is_none_or(|other| !are_of_same_rows(asked, &other)));
        let directory = lay_out(outputs, found, &earlier)?;
        let task = task(outputs, asked, &earlier)?;
        let sealed = outputs.sealed();
        let child = Child {
            program: Program::Comparer,
            binary: None,
            reads: vec![(&sealed, "/canonical"), (&directory, "/compared")],
            writes: None,
            data: &[],
            public: &[],
        };
        let (report, detail) = outputs.run_with_detail(&child, task.to_json())?;
        found.comparer = Some(report);
        found.add_detail("compare", detail);
    }
    Ok(ComparedWith { set, datasets: names, tables: kept(found) })
}

fn names(asked: &Request) -> Vec<Name> {
    asked.datasets.iter().map(|dataset| dataset.name.clone()).collect()
}

/// The request of an earlier table's job. It was admitted, so it was verified; only the enclave writes it.
fn request_of(table: &tables::EarlierTable) -> Option<Request> {
    Envelope::parse(&table.request).ok()?.unverified().ok()
}

/// True for questions about one file of one snapshot.
fn are_of_same_rows(asked: &Request, other: &Request) -> bool {
    let file = |request: &Request| request.query.as_ref().map(|query| query.table.clone());
    let own = file(asked);
    own.is_some() && own == file(other) && asked.datasets == other.datasets
}

/// The requests of answers about the same rows that left or may leave, the latest first.
pub fn earlier_answers(room: &Room, asked: &Request) -> Result<Vec<Envelope>, RoomError> {
    let names = names(asked);
    let earlier = room.store.read(move |connection| tables::earlier(connection, &names))?;
    let mut found: Vec<Envelope> = Vec::new();
    for table in
        earlier.iter().filter(|table| request_of(table).is_some_and(|other| are_of_same_rows(asked, &other)))
    {
        let envelope = Envelope::parse(&table.request);
        found.extend(envelope);
    }
    Ok(found)
}

/// Jobs whose answers about the same file are of another snapshot, or of other datasets beside it: their sums are not put
/// together with those of this question.
pub fn answers_about_other_rows(room: &Room, asked: &Request) -> Result<Vec<String>, RoomError> {
    let names = names(asked);
    let Some(own) = &asked.query else { return Ok(Vec::new()) };
    let earlier = room.store.read(move |connection| tables::earlier(connection, &names))?;
    let is_other = |other: &Request| {
        let query = other.query.as_ref();
        query.is_some_and(|query| query.dataset == own.dataset && query.table == own.table)
            && !are_of_same_rows(asked, other)
    };
    let mut jobs = Vec::new();
    for table in &earlier {
        let (Ok(envelope), Some(request)) = (Envelope::parse(&table.request), request_of(table)) else {
            continue;
        };
        if is_other(&request) {
            jobs.push(job_words(&request, &envelope));
        }
    }
    Ok(jobs)
}

fn task(
    outputs: &Outputs<'_>,
    asked: &Request,
    earlier: &[tables::EarlierTable],
) -> Result<Compared, OutputsError> {
    let mut compared = Compared {
        policy: outputs.policy.clone(),
        outputs: outputs.declared.to_vec(),
        catalogue: outputs.catalogue.clone(),
        snapshot: snapshot(asked),
        earlier: Vec::new(),
    };
    for table in earlier {
        let foreign = || io::Error::from(io::ErrorKind::InvalidData);
        let envelope = Envelope::parse(&table.request).map_err(|_| foreign())?;
        let request = request_of(table).ok_or_else(foreign)?;
        let output = request.outputs.get(table.kept.output).ok_or_else(foreign)?.clone();
        let of = job_words(&request, &envelope);
        compared.earlier.push(EarlierTable { of, output, snapshot: snapshot(&request) });
    }
    Ok(compared)
}

/// How a finding names a job.
pub fn job_words(request: &Request, envelope: &Envelope) -> String {
    format!("job {} of project {} ({})", request.job, request.project, envelope.payload_digest())
}

/// Equal for tables of the same people: of jobs that saw the same data, and of answers to questions with the same filter.
/// Were it left out, the rows of one answer would fill the gaps of another that is of other people.
fn snapshot(request: &Request) -> String {
    let filter = request.query.as_ref().and_then(|query| query.filter.as_ref());
    let filter = filter.map_or(String::new(), |filter| format!(" where {filter}").replace('\n', " "));
    let named = |dataset: &DatasetSnapshot| format!("{} {}{filter}", dataset.name, dataset.tree.sha256);
    let mut names: Vec<String> = request.datasets.iter().map(named).collect();
    names.sort();
    names.join("\n")
}

/// A read-only directory with copies of the earlier tables and of all counts before rounding.
fn lay_out(
    outputs: &Outputs<'_>,
    found: &Found,
    earlier: &[tables::EarlierTable],
) -> Result<PathBuf, OutputsError> {
    use std::os::unix::fs::PermissionsExt;
    let directory = outputs.work.join("compared");
    files::new_directory(&directory, 0o700)?;
    let quarantine = BlobStore::open(&outputs.quarantine, 0o600)?;
    for (index, counts, _) in &found.counts {
        lay(&quarantine, *counts, &directory, &egress::own_counts_file(*index))?;
    }
    let compared = &outputs.room.places.compared;
    for (index, table) in earlier.iter().enumerate() {
        lay(compared, table.kept.table, &directory, &egress::earlier_table_file(index))?;
        lay(compared, table.kept.counts, &directory, &egress::earlier_counts_file(index))?;
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o555))?;
    Ok(directory)
}

fn lay(store: &BlobStore, file: Digest, directory: &Path, name: &Name) -> Result<(), OutputsError> {
    files::write_readable(&directory.join(name.as_str()), store.open_blob(file)?)?;
    Ok(())
}

/// More than is compared: nothing leaves that was compared with a part.
fn refuse(declared: &[DeclaredOutput], found: &mut Found) {
    let mut report = OutputReport::unchecked();
    report.rules[Rule::TableDifferencing.index()] = RuleResult::Blocked;
    found.comparer = Some(report);
    let finding = Finding {
        rule: Rule::TableDifferencing.name(),
        result: RuleResult::Blocked,
        detail: format!(
            "the dataset has more earlier tables than are compared: {SET_LIMIT} verdicts, {EARLIER_BYTES_LIMIT} bytes"
        ),
    };
    let files = declared.iter().filter(|output| output.kind().is_tabular()).map(|output| JudgedFile {
        name: output.path().to_string(),
        kind: Some(output.kind()),
        bytes: Count(0),
        released_bits: Count(0),
        findings: vec![finding.clone()],
    });
    let detail = Detail { files: files.take(1).collect() };
    found.add_detail("compare", serde_json::to_vec(&detail).expect("findings have a JSON form"));
}

/// An answer with noise is compared with nothing: a difference of two noisy numbers has the noise of both. It has its place in the
/// order all the same, and people who decide read why.
fn note_noise(found: &mut Found) {
    let mut report = OutputReport::unchecked();
    report.rules[Rule::TableDifferencing.index()] = RuleResult::Noted;
    found.comparer = Some(report);
    let detail =
        "its numbers have noise, which is what protects people: they were compared with no other answer"
            .to_owned();
    note_answer(found, "compare", detail);
}

/// A note of `table.differencing` about an answer, for the stewards.
pub fn note_answer(found: &mut Found, label: &'static str, detail: String) {
    let finding = Finding { rule: Rule::TableDifferencing.name(), result: RuleResult::Noted, detail };
    let file = JudgedFile {
        name: ANSWER_FILE.to_owned(),
        kind: Some(OutputKind::Table),
        bytes: Count(0),
        released_bits: Count(0),
        findings: vec![finding],
    };
    let detail = serde_json::to_vec(&Detail { files: vec![file] }).expect("findings have a JSON form");
    found.add_detail(label, detail);
}

/// The job's own tables that have counts.
fn kept(found: &Found) -> Vec<KeptTable> {
    let one = |(index, counts, counts_bytes): &(usize, Digest, u64)| {
        let file = found.files.iter().find(|file| file.index == *index)?;
        let bytes = file.bytes.saturating_add(*counts_bytes);
        Some(KeptTable { output: *index, table: file.digest, counts: *counts, bytes })
    };
    found.counts.iter().filter_map(one).collect()
}

/// Copies a verdict's tables from its quarantine to where they stay as long as later ones are compared with them. The
/// caller holds [`Room::unnamed_files`] until a row names them.
pub fn keep(room: &Room, quarantine: &Path, tables: &[KeptTable]) -> Result<(), RoomError> {
    let quarantine = BlobStore::open(quarantine, 0o600)?;
    for file in tables.iter().flat_map(|table| [table.table, table.counts]) {
        if !room.places.compared.contains(file) {
            let from = quarantine.open_blob(file)?;
            let bytes = from.metadata()?.len();
            room.places.compared.copy_in(from, Some(file), bytes)?;
        }
    }
    Ok(())
}
