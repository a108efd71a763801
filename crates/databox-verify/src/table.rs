//! What an examination found, as a table for people or as JSON for programs.

use std::io::{self, Write};
use std::path::Path;

use release::file::{Examination, Outcome, Row};
use serde::Serialize;

/// Prints a row for each check, and the result.
pub fn as_text(path: &Path, examination: &Examination, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", plain(&path.display().to_string()))?;
    rows(&examination.rows, out)?;
    match &examination.result {
        Ok(release) => {
            let witnessed = release.witnessed();
            writeln!(
                out,
                "VERIFIED {} log index {} witnessed {}",
                release.manifest_digest(),
                witnessed.index,
                witnessed.time
            )
        }
        Err(refusal) => writeln!(out, "REFUSED {} {}", refusal.code(), refusal.name()),
    }
}

/// Prints a line for each check.
pub fn rows(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    for row in rows {
        // Words that come from elsewhere are shown without control characters, which could repaint a terminal.
        writeln!(out, "  {:<11}  {:<32}  {}", row.outcome.word(), plain(&row.check), plain(&row.detail))?;
    }
    Ok(())
}

/// Checks for programs.
pub fn checks(rows: &[Row]) -> Vec<Check<'_>> {
    let word = |outcome| match outcome {
        Outcome::Refused(_) => "refused",
        other => other.word(),
    };
    rows.iter()
        .map(|row| Check { check: &row.check, outcome: word(row.outcome), detail: &row.detail })
        .collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    file: String,
    result: &'static str,
    code: u8,
    name: Option<&'static str>,
    manifest: Option<String>,
    log_index: Option<String>,
    witnessed: Option<String>,
    checks: Vec<Check<'a>>,
}

/// One check and what came of it.
#[derive(Serialize)]
pub struct Check<'a> {
    check: &'a str,
    outcome: &'static str,
    detail: &'a str,
}

/// Prints one JSON object on one line.
pub fn as_json(path: &Path, examination: &Examination, out: &mut dyn Write) -> io::Result<()> {
    let release = examination.result.as_ref().ok();
    let refusal = examination.result.as_ref().err();
    let summary = Summary {
        file: path.display().to_string(),
        result: if release.is_some() { "VERIFIED" } else { "REFUSED" },
        code: refusal.map_or(0, |refusal| refusal.code()),
        name: refusal.map(|refusal| refusal.name()),
        manifest: release.map(|release| release.manifest_digest().to_string()),
        log_index: release.map(|release| release.witnessed().index.to_string()),
        witnessed: release.map(|release| release.witnessed().time.to_string()),
        checks: checks(&examination.rows),
    };
    serde_json::to_writer(&mut *out, &summary)?;
    writeln!(out)
}

fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}
