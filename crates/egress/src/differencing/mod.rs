//! Differencing: whether a table together with one of another job isolates fewer units than the policy's smallest
//! count, though each alone is harmless (Hundepool et al., *Statistical Disclosure Control*, 2012, section 5.2).
//!
//! It asks the counts as the jobs wrote them, before rounding. Three questions, each over what the earlier ones leave:
//! sums over the categories that two tables have in common; the same with the rows of one snapshot's tables put
//! together; and the bounds of each row that was left out. `docs/decisions/differencing.md` says what it cannot see.

mod bounds;
mod sums;

use std::io::Read;

use release::rule::Rule;
use release::statement::{Catalogue, DeclaredOutput};
use release::value::Name;
use serde::{Deserialize, Serialize};

use crate::files::Source;
use crate::finding::{Judgement, Record, Recorded, conclude, quoted};
use crate::policy::Policy;
use crate::survey::applies;
use crate::table::compared::tabulate;
use crate::table::tabulation::{Key, Tabulation};
use crate::task::EgressError;

/// Most bytes of earlier tables and their counts that are compared: the process that does it has a limit of memory.
pub const EARLIER_BYTES_LIMIT: u64 = 64 << 20;

/// What is compared with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Compared {
    /// The policy's TOML.
    pub policy: String,
    /// The declared outputs, in the order of the request.
    pub outputs: Vec<DeclaredOutput>,
    /// The signed catalogue of the job's datasets.
    pub catalogue: Vec<Catalogue>,
    /// What data the job saw: equal for jobs that saw the same.
    pub snapshot: String,
    /// Tables that left or may leave, the latest first.
    pub earlier: Vec<EarlierTable>,
}

/// A table of another job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EarlierTable {
    /// The job, as a finding names it.
    pub of: String,
    /// What it declared.
    pub output: DeclaredOutput,
    /// As in [`Compared::snapshot`].
    pub snapshot: String,
}

impl Compared {
    /// Reads it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EgressError> {
        serde_json::from_slice(bytes).map_err(EgressError::Task)
    }

    /// Its text.
    ///
    /// Panics never: each part has a JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a task has a JSON form")
    }
}

fn numbered(what: &str, index: usize) -> Name {
    format!("{what}-{index}").parse().expect("it is a name")
}

/// The file to which the canonicaliser writes the counts of this output before rounding. It begins with a dot, as no
/// declared output does: a job cannot take its place.
pub fn written_counts_file(output: usize) -> String {
    format!(".counts-{output}")
}

/// The file with the counts of this output of the job, as [`Judgement::counts`] gives them.
pub fn own_counts_file(output: usize) -> Name {
    numbered("own-counts", output)
}

/// The file with an earlier table in its canonical form, by its index in [`Compared::earlier`].
pub fn earlier_table_file(index: usize) -> Name {
    numbered("table", index)
}

/// The file with the counts of an earlier table.
pub fn earlier_counts_file(index: usize) -> Name {
    numbered("counts", index)
}

/// A table and what it is called in a finding.
struct Table {
    name: String,
    snapshot: String,
    counts: Tabulation,
}

impl Table {
    /// Whether both are of one snapshot of each dataset that they share, and share one.
    fn is_of_same_data(&self, other: &Self) -> bool {
        let datasets = |snapshot: &'_ str| -> Vec<(String, String)> {
            let lines = snapshot.lines().map(|line| line.split_once(' ').unwrap_or((line, "")));
            lines.map(|(name, tree)| (name.to_owned(), tree.to_owned())).collect()
        };
        let (own, others) = (datasets(&self.snapshot), datasets(&other.snapshot));
        let shared = |(name, _): &&(String, String)| others.iter().any(|(other, _)| other == name);
        let mut shared = own.iter().filter(shared).peekable();
        shared.peek().is_some() && shared.all(|one| others.contains(one))
    }
}

/// Compares the job's canonical tables with earlier ones. `others` has the files that [`own_counts_file`],
/// [`earlier_table_file`] and [`earlier_counts_file`] name.
///
/// # Errors
/// If the policy is not accepted or a file cannot be read, an earlier table that is none among them.
pub fn compare(
    compared: &Compared,
    canonical: &mut dyn Source,
    others: &mut dyn Source,
) -> Result<Judgement, EgressError> {
    let policy = Policy::parse(&compared.policy)?;
    let (mut own, mut files) = (Vec::new(), Vec::new());
    for (index, output) in compared.outputs.iter().enumerate() {
        let mut record = Record::new();
        if output.kind().is_tabular() {
            record.ran(Rule::TableDifferencing);
            let table = read_own(compared, &policy, index, canonical, others, &mut record)?;
            own.extend(table.map(|table| (index, table)));
        }
        let (name, kind) = (output.path().to_string(), Some(output.kind()));
        files.push(Recorded { record, name, kind, bytes: 0, bits: 0 });
    }
    let earlier = read_earlier(compared, others)?;
    for (index, finding) in find(&policy, &own, &earlier) {
        match finding {
            Found::Isolated(detail) => files[index].record.block(Rule::TableDifferencing, detail),
            Found::Unclear(detail) => files[index].record.note(Rule::TableDifferencing, detail),
        }
    }
    Ok(conclude(files, compared.outputs.len(), |rule| applies(rule, &compared.outputs, None)))
}

/// What was found of a table.
enum Found {
    /// Fewer units than may be stand alone.
    Isolated(String),
    /// What a person should look at: the counts alone do not tell.
    Unclear(String),
}

fn find(policy: &Policy, own: &[(usize, Table)], earlier: &[Table]) -> Vec<(usize, Found)> {
    let smallest = i128::from(policy.table.smallest_count);
    let mut found = Vec::new();
    for (place, (index, table)) in own.iter().enumerate() {
        // Tables of one job are subtracted by `table.suppression`; it asks nothing of two of the same categories.
        let beside = own[..place].iter().map(|(_, table)| table);
        let beside = beside.filter(|other| sums::have_same_categories(&table.counts, &other.counts));
        for other in beside.chain(earlier) {
            found.extend(pair(table, other, smallest).map(|found| (*index, found)));
        }
        for (row, names) in sums::isolated_together(table, earlier, smallest) {
            let detail =
                format!("{}: together with {names} it isolates fewer than {smallest} units", row_text(&row));
            found.push((*index, Found::Isolated(detail)));
        }
    }
    let is_isolated = |(_, found): &(usize, Found)| matches!(found, Found::Isolated(_));
    if !found.iter().any(is_isolated) {
        found.extend(bounds::find(&policy.table, own, earlier));
    }
    found
}

/// What a table and one other say of each other by sums.
fn pair(table: &Table, other: &Table, smallest: i128) -> impl Iterator<Item = Found> {
    let apart = sums::apart(&table.counts, &other.counts, smallest);
    let isolates = apart.isolates();
    let (few, name) = (apart.few, other.name.clone());
    let words = match (apart.are_whole, apart.agree) {
        (true, true) => "",
        (false, _) => "; both leave rows out, which may be these or others",
        (true, false) => "; other sums differ by more, so that they may be of other people",
    };
    let told = few.into_iter().map(move |row| {
        let detail =
            format!("{}: it and {name} differ by fewer than {smallest} units{words}", row_text(&row));
        if isolates { Found::Isolated(detail) } else { Found::Unclear(detail) }
    });
    // One is enough to look at; what isolates is told row by row.
    told.take(if isolates { usize::MAX } else { 1 })
}

fn row_text(row: &Key) -> String {
    if row.is_empty() { "all rows together".to_owned() } else { quoted(row.join(",").as_bytes()) }
}

fn read_own(
    compared: &Compared,
    policy: &Policy,
    index: usize,
    canonical: &mut dyn Source,
    others: &mut dyn Source,
    record: &mut Record,
) -> Result<Option<Table>, EgressError> {
    let output = &compared.outputs[index];
    // What has no canonical form is blocked by another rule.
    let Some(table) = read(canonical, output.path())? else { return Ok(None) };
    let Some(counts) = read(others, &own_counts_file(index))? else {
        record.block(Rule::TableDifferencing, "its counts before rounding are not there");
        return Ok(None);
    };
    let base = Some(policy.table.rounding_base);
    match tabulate(output, &compared.catalogue, &table, &counts, base) {
        Ok(Some(counts)) => {
            let (name, snapshot) = (format!("{} of this job", output.path()), compared.snapshot.clone());
            Ok(Some(Table { name, snapshot, counts }))
        }
        Ok(None) => {
            let words = "its categories do not tell its rows apart, so it was compared with no other table";
            record.note(Rule::TableDifferencing, words);
            Ok(None)
        }
        Err(error) => {
            record.block(Rule::TableDifferencing, error.to_string());
            Ok(None)
        }
    }
}

fn read_earlier(compared: &Compared, others: &mut dyn Source) -> Result<Vec<Table>, EgressError> {
    let mut tables = Vec::new();
    for (index, earlier) in compared.earlier.iter().enumerate() {
        let missing = || EgressError::File(std::io::ErrorKind::NotFound.into());
        let table = read(others, &earlier_table_file(index))?.ok_or_else(missing)?;
        let counts = read(others, &earlier_counts_file(index))?.ok_or_else(missing)?;
        let counts = tabulate(&earlier.output, &compared.catalogue, &table, &counts, None);
        // It was read when it was judged. One that is not read now must not count as one that isolates nobody.
        let counts = counts.map_err(|_| EgressError::File(std::io::ErrorKind::InvalidData.into()))?;
        let Some(counts) = counts else { continue };
        let name = format!("{} of {}", earlier.output.path(), earlier.of);
        tables.push(Table { name, snapshot: earlier.snapshot.clone(), counts });
    }
    Ok(tables)
}

fn read(source: &mut dyn Source, name: &Name) -> Result<Option<Vec<u8>>, EgressError> {
    let mut bytes = Vec::new();
    match source.open(name) {
        Ok((mut reader, size)) => (&mut reader).take(size).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(bytes))
}
