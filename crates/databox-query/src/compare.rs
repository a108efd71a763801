//! Whether an answer, with all answers before it about the same rows, gives a few people away.
//!
//! Everything that an answer tells is a sum over the rows of a told group, or of those around a rank, or the number of its
//! units. So whatever anyone works out of all answers by adding and subtracting is a sum over classes of rows that nothing told
//! tells apart. Here the box knows the classes and how many units each has; [`crate::rank`] asks whether some combination is of
//! a few alone.

use std::path::Path;

use egress::{Detail, JudgedFile, QueryTask};
use release::report::{DETAIL_LIMIT, OutputReport};
use release::rule::Rule;
use release::statement::{ANSWER_FILE, OutputKind, RuleResult};
use release::value::Count;

use crate::AnswerError;
use crate::rank::TooLarge;
use crate::told::{Finding, Told};

/// Compares the answer to the task's question with those to the earlier ones, and what it tells with itself. It gives the
/// message of fixed size and the findings for stewards.
///
/// # Errors
/// By name, and never with a value.
pub fn compare(task: &QueryTask, data: &Path) -> Result<(OutputReport, Vec<u8>), AnswerError> {
    let told = Told::read(task, data)?;
    let names: Vec<&str> = task.earlier.iter().map(|earlier| earlier.of.as_str()).collect();
    let mut report = OutputReport::unchecked();
    let everyone: Vec<usize> = (0..names.len()).collect();
    let found = match told.finds(&everyone) {
        Ok(None) => None,
        Ok(Some(found)) => Some(words(&told, found, &names)),
        Err(TooLarge) => Some("there is more told than can be put together".to_owned()),
    };
    let result = if found.is_some() { RuleResult::Blocked } else { RuleResult::Passed };
    report.rules[Rule::TableDifferencing.index()] = result;
    Ok((report, found.map(detail).unwrap_or_default()))
}

/// What is told that may not be, and by which answers: the own one if it does so alone, else those that do with it, else all.
fn words(told: &Told<'_>, found: Finding, names: &[&str]) -> String {
    let what = match found {
        Finding::Few => format!("something of fewer than {} units alone", told.smallest()),
        Finding::Dominated => "a sum of which one or two units have nearly all".to_owned(),
        Finding::Rows => "how many rows there are, of which one or two units have nearly all".to_owned(),
    };
    let tells = |earlier: &[usize]| told.finds(earlier).map_or(true, |found| found.is_some());
    if tells(&[]) {
        return format!("what it tells, put together, tells {what}");
    }
    let pairs = (0..names.len()).filter(|earlier| tells(&[*earlier]));
    let pairs: Vec<&str> = pairs.map(|earlier| names[earlier]).collect();
    let named = if pairs.is_empty() { names } else { &pairs };
    format!("together with {} it tells {what}", named.join(", "))
}

fn detail(words: String) -> Vec<u8> {
    let finding = |detail| egress::Finding {
        rule: Rule::TableDifferencing.name(),
        result: RuleResult::Blocked,
        detail,
    };
    let of = |words: String| Detail {
        files: vec![JudgedFile {
            name: ANSWER_FILE.to_owned(),
            kind: Some(OutputKind::Table),
            bytes: Count(0),
            released_bits: Count(0),
            findings: vec![finding(words)],
        }],
    };
    let bytes = serde_json::to_vec(&of(words)).expect("findings have a JSON form");
    match bytes.len() <= DETAIL_LIMIT {
        true => bytes,
        false => {
            let short =
                "together with many earlier answers it tells something of a few units alone".to_owned();
            serde_json::to_vec(&of(short)).expect("findings have a JSON form")
        }
    }
}
