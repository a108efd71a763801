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
use crate::statement::{Catalogue, DeclaredOutput, Precision, RuleResult, Verdict, VerdictResult};
use crate::value::Name;

/// Whoever can judge canonical files again: the `egress` crate, in the verifier and on a steward's machine.
pub trait Judge {
    /// What came of each rule that needs no data, and the bits, for the files whose size and digest were given. `None` if
    /// it could not be done at all, which refuses the release.
    fn judge(&self, again: &JudgeAgain<'_>) -> Option<OutputReport>;

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
    let again = JudgeAgain { policy: &file.policy_file, outputs, catalogue: &catalogue, precisions };
    let report = judge.judge(&again).ok_or(Refusal::JudgedDifferently);
    let same = report.and_then(|report| compare(&report, outputs, verdict.verdict()));
    rows.check("judged again", same, |rules| format!("{rules} rules that need no data, and the bits"))?;
    Ok(())
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
