//! What a steward reads before they sign, in words.

use std::fmt::Write as _;

use release::report::{NUMBERS_VIEW, view_name};
use release::rule::Rule;
use release::statement::{
    DeclaredOutput, Judgement, LayerState, RuleResult, VerdictResult, WITHOUT_ROWS, Wall,
};

use super::Opened;

/// What a steward reads before signing.
pub fn words(opened: &Opened) -> String {
    let verdict = &opened.verdict;
    let mut text = String::new();
    let result = if verdict.result == VerdictResult::Pass { "PASS" } else { "BLOCKED" };
    let _ = writeln!(text, "review     {}", opened.digest);
    let _ = writeln!(
        text,
        "verdict    {result}, {} may carry at most {} bits",
        plural(verdict.files.len(), "file"),
        verdict.released_bits
    );
    let _ = writeln!(
        text,
        "asked by   {} under grant {} version {}",
        verdict.requester.id, verdict.grant.id, verdict.grant.version
    );
    let _ = writeln!(text, "purpose    {}", printable(&opened.content.purpose));
    if let Some(query) = &opened.request.query {
        let _ = writeln!(text, "asks       {}", query.words());
    }
    for file in &verdict.files {
        let counts = match (file.declared_counts, &opened.request.query) {
            (true, _) => ", counts are the job's word",
            (false, Some(_)) => ", counted by the box",
            (false, None) => "",
        };
        let _ = writeln!(
            text,
            "file       {} {} bytes, at most {} bits{counts}{}",
            file.name,
            file.bytes,
            file.released_bits,
            file.precision.map_or(String::new(), |precision| {
                format!(", in {}: chosen by the job's own evaluation", precision.word())
            })
        );
    }
    if let Some(query) = &opened.request.query
        && verdict.files.iter().any(|file| query.is_without_rows(file.bytes.0))
    {
        let _ = writeln!(text, "answer     {WITHOUT_ROWS}");
    }
    for charge in &verdict.charges {
        let budget = opened.site.privacy_budget(&charge.dataset);
        if let (Some(privacy), Some(budget)) = (&charge.privacy, budget) {
            let _ = writeln!(text, "privacy    of {}: {}", charge.dataset, privacy.words(budget));
        }
    }
    opened.request.outputs.iter().for_each(|output| text += &declared_empty(output));
    opened.request.outputs.iter().for_each(|output| text += &fixed_tensors(output));
    for (result, word) in [(RuleResult::Blocked, "blocked by"), (RuleResult::Noted, "noted by  ")] {
        for outcome in verdict.rules.iter().filter(|outcome| outcome.result == result) {
            let _ = writeln!(text, "{word} {}", outcome.id);
        }
    }
    for place in &opened.content.places {
        let view = view_name(place.view).unwrap_or("?");
        let unit = if place.view == NUMBERS_VIEW { "value" } else { "byte" };
        // Places count the declared outputs, of which a blocked run may lack some.
        let name = opened
            .request
            .outputs
            .get(usize::from(place.output))
            .map_or("?", |output| output.path().as_str());
        let _ = writeln!(
            text,
            "copied     {name}, view {view}: {} {unit}s of private data from {unit} {}",
            place.length, place.offset
        );
    }
    let unchecked = verdict.rules.iter().filter(|outcome| outcome.result == RuleResult::NotChecked);
    let unchecked: Vec<_> = unchecked.map(|outcome| outcome.id.as_str()).collect();
    let _ = writeln!(text, "not run    {}", unchecked.join(", "));
    let exactly = verdict.rules.iter().find(|outcome| outcome.id.as_str() == Rule::CopyExact.id());
    if exactly.is_some_and(|outcome| matches!(outcome.result, RuleResult::Passed | RuleResult::Noted)) {
        let _ = writeln!(text, "searched   {}", verdict.guarantee.short_words());
    }
    // What has no canonical form leaves in no case, and nobody looked what it is.
    let formless = verdict.rules.iter().filter(|outcome| outcome.result == RuleResult::Blocked);
    let formless = formless.map(|outcome| outcome.id.as_str());
    let formless: Vec<_> =
        formless.filter(|id| *id == Rule::OutputDeclared.id() || id.ends_with(".form")).collect();
    if !formless.is_empty() {
        let _ = writeln!(
            text,
            "unsearched files without a canonical form, or that are missing: blocked by {}",
            formless.join(", ")
        );
    }
    for public in &verdict.guarantee.public {
        let _ = writeln!(
            text,
            "public     what stands in the file with sha256 {} counts as no copy",
            public.sha256
        );
    }
    let _ = writeln!(text, "wall       {}", wall_words(&verdict.wall));
    for warning in &verdict.warnings {
        let name = serde_json::to_value(warning).ok();
        let name = name.as_ref().and_then(|value| value.as_str()).unwrap_or_default();
        let _ = writeln!(text, "warning    {name}: {}", warning.meaning());
    }
    if !opened.review.held_up_by.is_empty() {
        let _ = writeln!(text, "held up    by {}, the console says", printable(&opened.review.held_up_by));
    }
    let again = if opened.judged_again == Judgement::Same { "the same result" } else { "ANOTHER RESULT" };
    let _ = writeln!(text, "judged     again on this machine, behind a wall: {again}");
    text
}

/// How many tensors the request fixed: they are those that somebody had before the run, and were not counted.
fn fixed_tensors(output: &DeclaredOutput) -> String {
    let DeclaredOutput::Weights { path, tensors, .. } = output else { return String::new() };
    match tensors.iter().filter(|tensor| tensor.sha256.is_some()).count() {
        0 => String::new(),
        fixed => format!(
            "fixed      {path}: {fixed} of {} are those whose digests the request named before the run, at 0 bits\n",
            plural(tensors.len(), "tensor")
        ),
    }
}

/// Rows in which nobody can stand, by the job's own word: a line for each, and nothing for other outputs.
pub(super) fn declared_empty(output: &DeclaredOutput) -> String {
    let DeclaredOutput::Table { path, structural_zeros, .. } = output else { return String::new() };
    let line =
        |row: &Vec<String>| format!("nobody in  {path}: {}, the job says\n", printable(&row.join(", ")));
    structural_zeros.iter().map(line).collect()
}

/// How many layers of the wall were in force, and which were not.
fn wall_words(wall: &Wall) -> String {
    let (on, off): (Vec<_>, Vec<_>) = wall.layers.iter().partition(|layer| layer.state == LayerState::On);
    let missing: Vec<_> = off.iter().map(|layer| layer.name.as_str()).collect();
    let runtime = wall.runtime.as_ref();
    let built = runtime.map_or(String::new(), |runtime| format!(" by {} {}", runtime.name, runtime.version));
    let built = printable(&built);
    format!("{:?}{built}, {} in force; without {}", wall.name, plural(on.len(), "layer"), missing.join(", "))
}

pub(super) fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Someone else wrote it: only what a terminal prints plainly is shown.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() || is_of_direction(character) { '?' } else { character })
        .take(500)
        .collect()
}

/// Turns the direction of what follows, so that a line reads otherwise than it is (CVE-2021-42574).
fn is_of_direction(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}
