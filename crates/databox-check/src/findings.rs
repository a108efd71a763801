//! What a process of the box found, in words.

use egress::{Detail, EgressError, Finding};
use release::statement::RuleResult;

/// Most findings that are written of one process.
const WRITTEN: usize = 64;

/// A line for each finding of a detail in JSON. A name or a finding may quote what a job wrote, so that the tool that
/// shows the lines makes them printable once more.
pub(crate) fn words(detail: &[u8]) -> Result<String, EgressError> {
    let Detail { files } = Detail::from_json(detail)?;
    let all: Vec<_> =
        files.iter().flat_map(|file| file.findings.iter().map(move |one| (&file.name, one))).collect();
    let mut text: String = all.iter().take(WRITTEN).map(|(name, one)| line(name, one)).collect();
    if all.len() > WRITTEN {
        text += &format!("{} more\n", all.len() - WRITTEN);
    }
    Ok(text)
}

fn line(name: &str, one: &Finding) -> String {
    let result = if one.result == RuleResult::Blocked { "blocked" } else { "noted" };
    let detail = one.detail.replace(['\n', '\r'], " ");
    format!("{}, {} ({result}): {detail}\n", name.replace(['\n', '\r'], " "), one.rule)
}
