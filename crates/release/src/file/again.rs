//! Judging released files a second time, and comparing what it gives with the verdict.

use std::collections::BTreeMap;

use super::ReleaseFile;
use super::examination::{Outcome, Rows};
use super::verify::GivenFiles;
use crate::envelope::Envelope;
use crate::path::{JudgedVerdict, SignedRequest};
use crate::refusal::Refusal;
use crate::report::OutputReport;
use crate::rule::Rule;
use crate::statement::{
    Catalogue, DeclaredOutput, Precision, Query, Request, RuleResult, Verdict, VerdictResult,
};
use crate::value::Name;

/// Whoever can judge canonical files again: the `egress` crate, in the verifier and on a steward's machine.
pub trait Judge {
    /// What came of each rule that needs no data, and the bits, for the files whose size and digest were given. `None` if
    /// it could not be done at all, which refuses the release.
    fn judge(&self, again: &JudgeAgain<'_>) -> Option<OutputReport>;

    /// Whether the policy allows what is asked: the levels of quantiles, and how many cells an answer with noise has.
    fn allows(&self, policy: &[u8], query: &Query, catalogue: &Catalogue) -> bool;

    /// The deviation of the noise that weights are to leave with, in hundredths of each tensor's own. `None` if the policy's
    /// file is none.
    fn noise_percent(&self, policy: &[u8]) -> Option<u64>;

    /// The bits that a file of this declared output is charged at least, from its length in bytes and the precision that the
    /// verdict states alone. `None` if the policy's file is none, or does not allow that precision.
    fn least_bits(
        &self,
        policy: &[u8],
        output: &DeclaredOutput,
        precision: Option<Precision>,
        bytes: u64,
    ) -> Option<u64>;
}

/// What a judge needs.
pub struct JudgeAgain<'a> {
    /// The policy's TOML file.
    pub policy: &'a [u8],
    /// The declared outputs, in the order of the request.
    pub outputs: &'a [DeclaredOutput],
    /// The catalogue entries of the datasets, in the order of the request.
    pub catalogue: &'a [Catalogue],
    /// The question that was asked in place of code, if one was.
    pub query: Option<&'a Query>,
    /// The precisions that the verdict states.
    pub precisions: BTreeMap<Name, Precision>,
}

pub(super) fn judge_again(
    file: &ReleaseFile,
    request: &SignedRequest,
    verdict: &JudgedVerdict,
    files: GivenFiles<'_>,
    rows: &mut Rows,
) -> Result<(), Refusal> {
    let outputs = &request.request().outputs;
    if let GivenFiles::ToCount(judge) | GivenFiles::ToJudge { judge, .. } = files {
        check_question(judge, file, request.request(), verdict.verdict(), rows)?;
    }
    let judge = match files {
        GivenFiles::NotGiven | GivenFiles::Measured(_) => {
            rows.say("judged again", Outcome::NotChecked, "the files' bytes were not given");
            return Ok(());
        }
        GivenFiles::ToCount(judge) => {
            let counted = count(judge, &file.policy_file, outputs, verdict.verdict());
            if counted.is_err() {
                return rows.check("judged again", counted, |()| String::new());
            }
            let words = "the files' bytes were not given; bits were counted from their lengths";
            rows.say("judged again", Outcome::NotChecked, words);
            return Ok(());
        }
        GivenFiles::ToJudge { judge, .. } => judge,
    };
    let datasets = &file.catalogue[..request.request().datasets.len()];
    let catalogue: Result<Vec<Catalogue>, _> = datasets.iter().map(Envelope::unverified).collect();
    let catalogue = catalogue?;
    let precisions = verdict.verdict().precisions();
    let query = request.request().query.as_ref();
    let again = JudgeAgain { policy: &file.policy_file, outputs, catalogue: &catalogue, query, precisions };
    let report = judge.judge(&again).ok_or(Refusal::JudgedDifferently);
    let same = report.and_then(|report| compare(&report, outputs, verdict.verdict()));
    rows.check("judged again", same, |rules| format!("{rules} rules that need no data, and the bits"))?;
    Ok(())
}

/// Whether the policy allows the question, and the verdict says so of its quantiles. Request and policy tell, without the files.
/// Without this a box could answer at levels that nobody signed, and trace a group's values one by one.
fn check_question(
    judge: &dyn Judge,
    file: &ReleaseFile,
    request: &Request,
    verdict: &Verdict,
    rows: &mut Rows,
) -> Result<(), Refusal> {
    let Some(query) = &request.query else { return Ok(()) };
    // A question is about one dataset, whose entry stands before the runtime's.
    let catalogue: Catalogue = file.catalogue.first().ok_or(Refusal::CatalogueContent)?.unverified()?;
    let levels: Vec<String> = query.quantiles().map(|percent| percent.to_string()).collect();
    let looked_at = verdict.rules[Rule::TableQuantiles.index()].result == RuleResult::Passed;
    let allowed = judge.allows(&file.policy_file, query, &catalogue) && (levels.is_empty() || looked_at);
    let allowed = if allowed { Ok(()) } else { Err(Refusal::JudgedDifferently) };
    rows.check("question allowed", allowed, |()| match levels.is_empty() {
        true => "by the policy".to_owned(),
        false => format!("the policy allows quantiles above {} %", levels.join(", ")),
    })
}

/// What a reader of bits must know of weights: which of them were fixed beforehand and cost nothing, and that noise was to be
/// added, which nothing here can show.
pub(super) fn say_what_weights_hold(
    file: &ReleaseFile,
    request: &Request,
    files: GivenFiles<'_>,
    rows: &mut Rows,
) {
    let mut has_weights = false;
    for output in &request.outputs {
        let DeclaredOutput::Weights { path, tensors, .. } = output else { continue };
        has_weights = true;
        let fixed = tensors.iter().filter(|tensor| tensor.sha256.is_some()).count();
        if fixed > 0 {
            let words = format!(
                "{fixed} of {} tensors are those whose digests the request named before the run; their bits are not charged",
                tensors.len()
            );
            rows.say(&format!("fixed tensors in {path}"), Outcome::Noted, words);
        }
    }
    let (GivenFiles::ToCount(judge) | GivenFiles::ToJudge { judge, .. }) = files else { return };
    if let Some(percent @ 1..) = judge.noise_percent(&file.policy_file).filter(|_| has_weights) {
        let words = format!(
            "the policy has the box add {percent} % of each tensor's deviation; that it did is the box's word, and no bits \
             are charged less for it"
        );
        rows.say("noise on weights", Outcome::Noted, words);
    }
}

/// A verdict that states fewer bits than lengths and declaration make would have files leave for less than they can carry.
fn count(
    judge: &dyn Judge,
    policy: &[u8],
    outputs: &[DeclaredOutput],
    verdict: &Verdict,
) -> Result<(), Refusal> {
    for file in &verdict.files {
        let output = outputs.iter().find(|output| *output.path() == file.name);
        let least = output.and_then(|output| judge.least_bits(policy, output, file.precision, file.bytes.0));
        if least.is_none_or(|least| file.released_bits.0 < least) {
            return Err(Refusal::JudgedDifferently);
        }
    }
    Ok(())
}

/// Compares a second judgement with the verdict, and returns how many rules it covers. Verifiers and stewards ask
/// the same here.
///
/// The verdict's rule results also hold what only the box sees: what the canonicaliser changed, which the canonical
/// files no longer show, and the account. So the verdict may say more than the second judgement, never less. Bits may
/// only be higher in the verdict: they are a bound, and it was charged.
pub fn compare(
    report: &OutputReport,
    outputs: &[DeclaredOutput],
    verdict: &Verdict,
) -> Result<usize, Refusal> {
    let mut covered = 0;
    for (rule, outcome) in Rule::ALL.into_iter().zip(&verdict.rules) {
        let again = report.rules[rule.index()];
        let agrees = match (again, outcome.result) {
            // A judge that was taken over by the file it reads would agree by saying nothing.
            (RuleResult::NotChecked, said) => {
                said == RuleResult::NotChecked
                    || verdict.result == VerdictResult::Blocked
                    || rule.needs_the_box()
            }
            (RuleResult::Passed, RuleResult::Noted | RuleResult::Blocked) => true,
            (RuleResult::Noted, RuleResult::Blocked) => true,
            (again, said) => again == said,
        };
        if !agrees {
            return Err(Refusal::JudgedDifferently);
        }
        covered += usize::from(again != RuleResult::NotChecked);
    }
    for file in &verdict.files {
        let place = outputs.iter().position(|output| *output.path() == file.name);
        let bits = place.and_then(|place| report.bits.get(place));
        if bits.is_none_or(|bits| file.released_bits.0 < *bits) {
            return Err(Refusal::JudgedDifferently);
        }
    }
    // A run may be blocked before there is anything to judge; what passes was looked at.
    let silent = covered == 0 && verdict.result == VerdictResult::Pass;
    if silent { Err(Refusal::JudgedDifferently) } else { Ok(covered) }
}
