//! What came of the rules: one result for each, findings for people, bits for the account.

use release::report::{DETAIL_LIMIT, OUTPUT_LIMIT, OutputReport};
use release::rule::Rule;
use release::statement::{OutputKind, RuleResult, VerdictResult};
use release::value::{Count, Name};
use serde::{Deserialize, Serialize};

use crate::EgressError;

/// Most findings of one file that are written out; further ones are only counted.
const FINDING_LIMIT: usize = 16;

/// Something that a rule noted or forbids, in words. It may quote what the job wrote: it is for sealed packets and the
/// researcher's desk, and nothing decides by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The rule's id.
    pub rule: Name,
    /// `noted` or `blocked`.
    pub result: RuleResult,
    /// What was found.
    pub detail: String,
}

/// One declared output, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JudgedFile {
    /// Its name.
    pub name: String,
    /// Its kind; none for a file that was not declared.
    pub kind: Option<OutputKind>,
    /// Size of its canonical form in bytes; 0 if it has none.
    pub bytes: Count,
    /// Upper bound of what it can carry, in bits.
    pub released_bits: Count,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// What came of all rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The fixed-size message.
    pub report: OutputReport,
    /// The declared outputs in their order, then entries that were not declared.
    pub files: Vec<JudgedFile>,
    /// PASS if no rule blocks.
    pub result: VerdictResult,
    /// Of each output with counts, by its index: the counts as they were written, before rounding, eight bytes a row, the
    /// lowest first, in the order of the canonical rows. The canonicaliser alone has them. They never leave the box.
    pub counts: Vec<(usize, Vec<u8>)>,
}

/// The detail that travels beside a report, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detail {
    /// As in [`Judgement::files`].
    pub files: Vec<JudgedFile>,
}

impl Detail {
    /// Reads it, as [`Judgement::detail`] writes it. A child behind a wall does, never a process with data or a key.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EgressError> {
        serde_json::from_slice(bytes).map_err(EgressError::Detail)
    }
}

impl Judgement {
    /// The findings as JSON of at most [`DETAIL_LIMIT`] bytes. What does not fit is left out from the end, files that
    /// were not declared first.
    pub fn detail(&self) -> Vec<u8> {
        let mut detail = Detail { files: self.files.clone() };
        loop {
            let bytes = serde_json::to_vec(&detail).expect("findings have a JSON form");
            if bytes.len() <= DETAIL_LIMIT {
                return bytes;
            }
            let longest = detail.files.iter_mut().max_by_key(|file| file.findings.len());
            match longest {
                Some(file) if !file.findings.is_empty() => drop(file.findings.pop()),
                _ => drop(detail.files.pop()),
            }
        }
    }
}

/// What was found of one file so far.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    rules: [RuleResult; Rule::ALL.len()],
    left_out: [bool; Rule::ALL.len()],
    findings: Vec<Finding>,
    unwritten: u64,
}

impl Record {
    /// Nothing was looked at.
    pub(crate) fn new() -> Self {
        Self {
            rules: [RuleResult::NotChecked; Rule::ALL.len()],
            left_out: [false; Rule::ALL.len()],
            findings: Vec::new(),
            unwritten: 0,
        }
    }

    /// The rule runs; without a note or a block it has passed.
    pub(crate) fn ran(&mut self, rule: Rule) {
        self.set(rule, RuleResult::Passed);
    }

    /// The rule cannot run for this file, so that it has run for none.
    pub(crate) fn leave_out(&mut self, rule: Rule) {
        self.left_out[rule.index()] = true;
    }

    /// The rule changed or noted something.
    pub(crate) fn note(&mut self, rule: Rule, detail: impl Into<String>) {
        self.add(rule, RuleResult::Noted, detail.into());
    }

    /// The rule forbids the release.
    pub(crate) fn block(&mut self, rule: Rule, detail: impl Into<String>) {
        self.add(rule, RuleResult::Blocked, detail.into());
    }

    /// Notes all changes.
    pub(crate) fn note_all(&mut self, notes: Notes) {
        notes.0.into_iter().for_each(|(rule, detail)| self.note(rule, detail));
    }

    /// Blocks for each change.
    pub(crate) fn block_all(&mut self, notes: Notes) {
        notes.0.into_iter().for_each(|(rule, detail)| self.block(rule, detail));
    }

    fn add(&mut self, rule: Rule, result: RuleResult, detail: String) {
        self.set(rule, result);
        match self.findings.len() < FINDING_LIMIT {
            true => self.findings.push(Finding { rule: rule.name(), result, detail }),
            false => self.unwritten += 1,
        }
    }

    fn set(&mut self, rule: Rule, result: RuleResult) {
        let slot = &mut self.rules[rule.index()];
        *slot = worse(*slot, result);
    }

    pub(crate) fn into_file(
        mut self,
        name: String,
        kind: Option<OutputKind>,
        bytes: u64,
        bits: u64,
    ) -> JudgedFile {
        if let (Some(last), 1..) = (self.findings.last_mut(), self.unwritten) {
            last.detail.push_str(&format!(" (and {} more)", self.unwritten));
        }
        JudgedFile { name, kind, bytes: Count(bytes), released_bits: Count(bits), findings: self.findings }
    }
}

/// Changes that a canonical form made, by rule. The canonicaliser notes them; to the judge, who reads what should be
/// canonical already, each is a reason to block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notes(pub(crate) Vec<(Rule, String)>);

impl Notes {
    /// Adds a note that `count` values were changed, if any was.
    pub(crate) fn changed(&mut self, rule: Rule, count: u64, what: &str) {
        if count > 0 {
            let values = if count == 1 { "value" } else { "values" };
            self.0.push((rule, format!("{count} {values} {what}")));
        }
    }
}

/// A file's record, and what is known of the file.
pub(crate) struct Recorded {
    pub(crate) record: Record,
    pub(crate) name: String,
    pub(crate) kind: Option<OutputKind>,
    pub(crate) bytes: u64,
    pub(crate) bits: u64,
}

/// Puts the records of all files together. `applicable` says which rules look at any of the declared kinds.
pub(crate) fn conclude(files: Vec<Recorded>, outputs: usize, applicable: impl Fn(Rule) -> bool) -> Judgement {
    let mut report = OutputReport::unchecked();
    for rule in Rule::ALL {
        let results = files.iter().map(|file| file.record.rules[rule.index()]);
        let result = results.fold(RuleResult::NotChecked, worse);
        // One file that it did not look at, and "passed" would say more than was looked at.
        let is_left_out = files.iter().any(|file| file.record.left_out[rule.index()]);
        let result = match result {
            RuleResult::Passed | RuleResult::Noted if is_left_out => RuleResult::NotChecked,
            result => result,
        };
        let unlooked = result == RuleResult::NotChecked && !applicable(rule);
        report.rules[rule.index()] = if unlooked { RuleResult::NotApplicable } else { result };
    }
    for (slot, file) in report.bits.iter_mut().zip(files.iter().take(outputs.min(OUTPUT_LIMIT))) {
        *slot = file.bits;
    }
    let blocked = report.rules.contains(&RuleResult::Blocked);
    let result = if blocked { VerdictResult::Blocked } else { VerdictResult::Pass };
    let files =
        files.into_iter().map(|file| file.record.into_file(file.name, file.kind, file.bytes, file.bits));
    Judgement { report, files: files.collect(), result, counts: Vec::new() }
}

/// What a job wrote, fit to be shown to people: printable ASCII, at most some 50 characters. A terminal or page obeys no
/// byte of it.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]);
    let mut text: String = text.chars().flat_map(char::escape_default).collect();
    if text.len() > 48 || bytes.len() > 256 {
        text.truncate(48);
        text.push_str("...");
    }
    text
}

/// The same within quotes.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", shown(bytes))
}

/// Adds what another child reports of the rules: a block is never lost, and a rule that one of them ran counts as run.
pub fn merge(one: &OutputReport, other: &OutputReport) -> OutputReport {
    let mut merged = one.clone();
    for (rule, other) in merged.rules.iter_mut().zip(other.rules) {
        *rule = worse(*rule, other);
    }
    for (bits, other) in merged.bits.iter_mut().zip(other.bits) {
        *bits = (*bits).max(other);
    }
    merged
}

fn worse(one: RuleResult, other: RuleResult) -> RuleResult {
    let rank = |result| match result {
        RuleResult::NotChecked => 0,
        RuleResult::NotApplicable => 1,
        RuleResult::Passed => 2,
        RuleResult::Noted => 3,
        RuleResult::Blocked => 4,
    };
    if rank(other) > rank(one) { other } else { one }
}
