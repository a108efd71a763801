//! What a reader must know of a release that is no reason to refuse it.

use super::examination::{Outcome, Rows};
use super::log_check::Witnessed;
use super::verify::Pinned;
use crate::differencing::is_placed;
use crate::path::{Approved, JudgedVerdict};
use crate::rule::Rule;
use crate::site::{Site, Verified};
use crate::statement::{
    DatasetCharge, Evidence, Judgement, LayerState, Manifest, RuleResult, Verdict, WITHOUT_ROWS, Warning,
};

/// Rows for everything that reads `not-checked` in the evidence, and for what a reader must know.
pub(super) fn say_what_is_not_checked(
    verdict: &JudgedVerdict,
    approved: &Approved,
    manifest: &Verified<Manifest>,
    witnessed: &Witnessed,
    (pinned, site): (&Pinned, &Site),
    rows: &mut Rows,
) {
    // A release file cannot know what came after it: only a newer copy of the log tells of a recall.
    let detail =
        format!("valid as of log size {}; a recall since then stands in a newer log", witnessed.head.size);
    rows.say("recall", Outcome::Noted, detail);
    let judged = verdict.verdict();
    for outcome in judged.rules.iter().filter(|outcome| outcome.result == RuleResult::NotChecked) {
        rows.say(&format!("rule {}", outcome.id), Outcome::NotChecked, "the box did not run it");
    }
    let evidence = [
        ("verdict differencedAgainst", judged.differenced_against),
        ("verdict accountHead", judged.account_head),
        ("verdict codeReview", judged.code_review),
        ("verdict attestation", judged.attestation),
        ("manifest differencedAgainst", manifest.statement().differenced_against),
    ];
    for (field, _) in evidence.into_iter().filter(|(_, evidence)| *evidence == Evidence::NotChecked) {
        rows.say(field, Outcome::NotChecked, "reads not-checked");
    }
    for approval in approved.approvals().iter().map(Verified::statement) {
        if approval.judged_again == Judgement::NotChecked {
            let check = format!("approval of {} judgedAgain", approval.steward);
            rows.say(&check, Outcome::NotChecked, "reads not-checked");
        }
    }
    if let Some(runtime) = &judged.wall.runtime {
        rows.say("wall runtime", Outcome::Noted, format!("{} {}", runtime.name, runtime.version));
    }
    for layer in judged.wall.layers.iter().filter(|layer| layer.state != LayerState::On) {
        let state = if layer.state == LayerState::Off { "off" } else { "absent" };
        rows.say(&format!("wall layer {}", layer.name), Outcome::Noted, state);
    }
    if let Some(query) = &verdict.request().request().query {
        rows.say("question", Outcome::Noted, query.words());
        if judged.files.iter().any(|file| query.is_without_rows(file.bytes.0)) {
            rows.say("answer", Outcome::Noted, WITHOUT_ROWS);
        }
    }
    for charge in &judged.charges {
        say_privacy(charge, site, rows);
    }
    for file in judged.files.iter().filter(|file| file.declared_counts) {
        rows.say(&format!("counts in {}", file.name), Outcome::Noted, "are the job's word, bounded by bits");
    }
    if is_placed(judged) {
        let text = format!(
            "compared with all of a place before {}; the signer and the log say so",
            judged.table_place
        );
        rows.say("tables", Outcome::Noted, text);
    }
    for warning in &judged.warnings {
        rows.say("warning", Outcome::Noted, warning_text(*warning));
    }
    if pinned.accept_on_box_witness {
        rows.say(
            "witnesses",
            Outcome::Noted,
            "a witness on the box's own machine counts: you asked for that",
        );
    }
    say_guarantee(judged, rows);
}

/// What an answer with noise cost, and all of them together: ρ adds up, and ε is what it means at the dataset's δ.
fn say_privacy(charge: &DatasetCharge, site: &Site, rows: &mut Rows) {
    let (Some(charged), Some(budget)) = (&charge.privacy, site.privacy_budget(&charge.dataset)) else {
        return;
    };
    rows.say(&format!("privacy of {}", charge.dataset), Outcome::Noted, charged.words(budget));
}

/// The guarantee is words only, unless the search for copies ran.
fn say_guarantee(verdict: &Verdict, rows: &mut Rows) {
    let searched = verdict.rules[Rule::CopyExact.index()].result;
    if !matches!(searched, RuleResult::Passed | RuleResult::Noted) {
        return;
    }
    let guarantee = &verdict.guarantee;
    rows.say("guarantee", Outcome::Noted, format!("the box says: {}", guarantee.words()));
    if !guarantee.public.is_empty() {
        let files: Vec<_> = guarantee.public.iter().map(|file| file.sha256.to_string()).collect();
        let text = format!(
            "runs that stand in one of these, which anybody may read, do not count: {}",
            files.join(", ")
        );
        rows.say("public files", Outcome::Noted, text);
    }
}

fn warning_text(warning: Warning) -> &'static str {
    match warning {
        Warning::FineTimeGrid => "the time grid is finer than the standard policy's",
        Warning::WitnessOnBoxMachine => "the policy accepts a witness on the box's own machine",
        Warning::SharedKernel => "the job ran on the shared kernel",
        Warning::EmulatedMachine => {
            "the job ran in an emulated machine, whose makers promise nothing of its strength"
        }
        Warning::DemonstrationKeys => "people's keys were made by the box, as in a demonstration",
        Warning::DeviceDriver => "the job used a device, whose driver on the host no wall covers",
    }
}
