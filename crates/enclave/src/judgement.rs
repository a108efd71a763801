//! From what the children found to rule results, bits, and PASS or BLOCKED.
//!
//! Each child is believed only about the rules that it runs. A canonicaliser that was taken over by what it read can
//! forbid a release; it cannot say that no copy was found.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;
use egress::Policy;
use release::report::{OutputReport, Place, ScanReport};
use release::rule::Rule;
use release::statement::{DeclaredOutput, OutputKind, Precision, Query, RuleResult};
use release::value::Name;

/// A sealed canonical file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Which declared output it is.
    pub index: usize,
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: OutputKind,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// True if what the request fixed stands in it: header, names, and tensors whose digests it named.
    pub as_fixed: bool,
}

impl SealedFile {
    /// A file that was sealed under this output's name.
    pub fn new(index: usize, output: &DeclaredOutput, digest: Digest, bytes: u64, as_fixed: bool) -> Self {
        Self { index, name: output.path().clone(), kind: output.kind(), digest, bytes, as_fixed }
    }
}

/// What the children found.
#[derive(Debug, Default)]
pub struct Found {
    /// Sealed files, in the order of the request.
    pub files: Vec<SealedFile>,
    /// The canonicaliser's report.
    pub canonicaliser: Option<OutputReport>,
    /// The judge's.
    pub judge: Option<OutputReport>,
    /// The report of the process that makes views.
    pub views_made: Option<OutputReport>,
    /// The scanner's.
    pub scanner: Option<ScanReport>,
    /// The precision of each output for which one was chosen.
    pub precisions: BTreeMap<Name, Precision>,
    /// The views that were searched, sorted.
    pub views: Vec<Name>,
    /// Files that anybody may read: what stands in them was taken for no copy.
    pub public: BTreeSet<Digest>,
    /// The report of the process that compares tables.
    pub comparer: Option<OutputReport>,
    /// Counts of tables before rounding, sealed: the output's index, their digest and size in bytes. They stay inside.
    pub counts: Vec<(usize, Digest, u64)>,
    /// What children wrote for people, by label.
    pub details: Vec<(Name, Vec<u8>)>,
}

/// Rules and bits, as the verdict will state them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What came of each rule, by [`Rule::index`].
    pub rules: [RuleResult; Rule::ALL.len()],
    /// Upper bound of each sealed file, in bits.
    pub bits: Vec<u64>,
    /// The sum; None if it cannot be counted, and then the release is blocked.
    pub sum: Option<u64>,
}

impl Found {
    /// Adds what a child wrote for people.
    pub fn add_detail(&mut self, label: &'static str, detail: Vec<u8>) {
        if !detail.is_empty() {
            self.details.push((label.parse().expect("labels are names"), detail));
        }
    }

    /// Places at which the scanner found copies.
    pub fn places(&self) -> Vec<Place> {
        self.scanner.as_ref().map(|scanner| scanner.places.clone()).unwrap_or_default()
    }

    /// What follows from the reports. Whether the grant has the bits left is asked later, with the account.
    pub fn judge(&self, declared: &[DeclaredOutput], query: Option<&Query>, policy: &Policy) -> Judgement {
        let mut rules = [RuleResult::NotChecked; Rule::ALL.len()];
        for rule in Rule::ALL {
            rules[rule.index()] = self.result(rule);
        }
        let bits: Vec<u64> = self
            .files
            .iter()
            .map(|file| {
                let judged = self.judge.as_ref().map_or(0, |judge| judge.bits[file.index]);
                // The enclave's own floor: a judge that was taken over cannot make a file cheaper than its length.
                let chosen = self.precisions.get(&file.name).copied();
                let policy = policy.at(chosen.unwrap_or(policy.weights.precision));
                judged.max(egress::floor_bits(&policy, &declared[file.index], file.bytes))
            })
            .collect();
        let sum = bits.iter().try_fold(0u64, |sum, bits| sum.checked_add(*bits));
        if sum.is_none_or(|sum| sum > policy.release_bits) {
            rules[Rule::ReleaseBits.index()] = RuleResult::Blocked;
        }
        // The floor counts what the request fixed as nothing. A judge that was taken over could call any bytes those, and
        // they would leave for nothing.
        for file in self.files.iter().filter(|file| !file.as_fixed) {
            rules[file.kind.form_rule().index()] = RuleResult::Blocked;
        }
        if self.files.len() != declared.len() {
            rules[Rule::OutputDeclared.index()] = RuleResult::Blocked;
        }
        block_what_was_not_run(&mut rules, |rule| egress::is_left_out(policy, rule, declared));
        // A judge that was taken over could call levels of quantiles not applicable: the box would sign what auditors refuse.
        let has_levels = query.is_some_and(|query| query.quantiles().next().is_some());
        if has_levels && rules[Rule::TableQuantiles.index()] != RuleResult::Passed {
            rules[Rule::TableQuantiles.index()] = RuleResult::Blocked;
        }
        Judgement { rules, bits, sum }
    }

    fn result(&self, rule: Rule) -> RuleResult {
        let of = |report: &Option<OutputReport>| {
            report.as_ref().map_or(RuleResult::NotChecked, |report| report.rules[rule.index()])
        };
        let (canonicaliser, judge) = (of(&self.canonicaliser), of(&self.judge));
        let scanner =
            self.scanner.as_ref().map_or(RuleResult::NotChecked, |report| report.rules[rule.index()]);
        match rule {
            // Only the scanner has the data.
            Rule::CopyBundle | Rule::CopyExact | Rule::CopyNumeric => {
                worst([scanner, only_blocked(canonicaliser), only_blocked(judge)])
            }
            // Only the process that compares has the other tables.
            Rule::TableDifferencing => {
                worst([of(&self.comparer), only_blocked(canonicaliser), only_blocked(judge)])
            }
            Rule::CopyViews => {
                worst([of(&self.views_made), only_blocked(canonicaliser), only_blocked(judge)])
            }
            // The canonicaliser alone saw the columns of shares, which are withheld. It can lie about them, and so can the
            // job that wrote them: they are the job's word.
            Rule::TableDominance | Rule::TablePPercent => worst([canonicaliser, only_blocked(judge)]),
            // The canonicaliser alone saw what was written; the judge sees the form again.
            Rule::OutputDeclared
            | Rule::FigureForm
            | Rule::MetricsForm
            | Rule::TableForm
            | Rule::WeightsForm
            | Rule::TableRounding => worst([canonicaliser, judge]),
            Rule::MetricsCount
            | Rule::MetricsDegreesOfFreedom
            | Rule::ReleaseBits
            | Rule::TableCells
            | Rule::TableQuantiles
            | Rule::TableSmallestCount
            | Rule::TableSuppression
            | Rule::TableZeroCells
            | Rule::WeightsCapacity => worst([judge, only_blocked(canonicaliser)]),
        }
    }
}

/// A child may always forbid, also by a rule that another one runs.
fn only_blocked(result: RuleResult) -> RuleResult {
    match result {
        RuleResult::Blocked => RuleResult::Blocked,
        RuleResult::Passed | RuleResult::Noted | RuleResult::NotChecked | RuleResult::NotApplicable => {
            RuleResult::NotChecked
        }
    }
}

/// The worst of what was checked; `NotChecked` only if nobody did.
fn worst<const N: usize>(results: [RuleResult; N]) -> RuleResult {
    let severity = |result: RuleResult| match result {
        RuleResult::NotChecked => 0,
        RuleResult::NotApplicable => 1,
        RuleResult::Passed => 2,
        RuleResult::Noted => 3,
        RuleResult::Blocked => 4,
    };
    results.into_iter().max_by_key(|result| severity(*result)).unwrap_or(RuleResult::NotChecked)
}

impl Judgement {
    /// The first rule that forbids the release, in the order of their ids.
    pub fn blocked_by(&self) -> Option<Rule> {
        Rule::ALL.into_iter().find(|rule| self.rules[rule.index()] == RuleResult::Blocked)
    }
}

/// The first output that a rule is about: where the scanner found the first copy, or the only output of the rule's
/// kinds. None where it cannot be told.
pub fn output_of(rule: Rule, found: &Found, declared: &[DeclaredOutput]) -> Option<u32> {
    let kinds: &[OutputKind] = match rule {
        Rule::CopyBundle | Rule::CopyExact | Rule::CopyNumeric => {
            return found.places().iter().map(|place| u32::from(place.output)).min();
        }
        Rule::FigureForm => &[OutputKind::Figure],
        Rule::MetricsCount | Rule::MetricsDegreesOfFreedom | Rule::MetricsForm => &[OutputKind::Metrics],
        Rule::TableCells
        | Rule::TableDifferencing
        | Rule::TableDominance
        | Rule::TableForm
        | Rule::TablePPercent
        | Rule::TableQuantiles
        | Rule::TableRounding
        | Rule::TableSmallestCount
        | Rule::TableSuppression
        | Rule::TableZeroCells => &[OutputKind::Table, OutputKind::Figure],
        Rule::WeightsCapacity | Rule::WeightsForm => &[OutputKind::Weights],
        Rule::OutputDeclared => {
            let is_missing = |index: &usize| found.files.iter().all(|file| file.index != *index);
            return (0..declared.len()).find(is_missing).and_then(|index| u32::try_from(index).ok());
        }
        Rule::CopyViews | Rule::ReleaseBits => return None,
    };
    let mut of_kind = declared.iter().enumerate().filter(|(_, output)| kinds.contains(&output.kind()));
    match (of_kind.next(), of_kind.next()) {
        (Some((index, _)), None) => u32::try_from(index).ok(),
        _ => None,
    }
}

/// Rules that this version of the box does not have. Verdicts name them as not checked.
const NOT_BUILT: [Rule; 1] = [Rule::CopyBundle];

/// Deny by default: a child that leaves out a rule has not done its work. Without this a judge or scanner that was
/// taken over could pass anything by saying nothing. Only what the declaration gives a rule nothing to look at is left
/// out; whether it does is asked of the signed request, not of a child.
fn block_what_was_not_run(rules: &mut [RuleResult; Rule::ALL.len()], is_left_out: impl Fn(Rule) -> bool) {
    if rules.contains(&RuleResult::Blocked) {
        return;
    }
    let may_be_silent = |rule: &Rule| NOT_BUILT.contains(rule) || is_left_out(*rule);
    for rule in Rule::ALL.into_iter().filter(|rule| !may_be_silent(rule)) {
        if rules[rule.index()] == RuleResult::NotChecked {
            rules[rule.index()] = RuleResult::Blocked;
        }
    }
}

#[cfg(test)]
mod tests {
    use release::report::OUTPUT_LIMIT;

    use super::*;

    fn policy() -> Policy {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/egress/standard.toml");
        Policy::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn metrics() -> DeclaredOutput {
        DeclaredOutput::Metrics {
            path: "metrics.json".parse().unwrap(),
            names: vec!["log_loss".parse().unwrap()],
            degrees_of_freedom: None,
        }
    }

    fn report(results: &[(Rule, RuleResult)]) -> OutputReport {
        let mut report = OutputReport::unchecked();
        for (rule, result) in results {
            report.rules[rule.index()] = *result;
        }
        report
    }

    /// A judge that passed these rules and found the others not applicable, but for those that it does not run.
    fn judged(passed: &[Rule]) -> OutputReport {
        let mut report = OutputReport::unchecked();
        let elsewhere = [Rule::CopyExact, Rule::CopyNumeric, Rule::CopyViews, Rule::TableDifferencing];
        let runs = |rule: &Rule| !NOT_BUILT.contains(rule) && !elsewhere.contains(rule);
        for rule in Rule::ALL.into_iter().filter(runs) {
            let ran = if passed.contains(&rule) { RuleResult::Passed } else { RuleResult::NotApplicable };
            report.rules[rule.index()] = ran;
        }
        report
    }

    fn scanned(result: RuleResult) -> ScanReport {
        let mut rules = [RuleResult::NotChecked; Rule::ALL.len()];
        rules[Rule::CopyExact.index()] = result;
        rules[Rule::CopyNumeric.index()] = result;
        ScanReport { rules, exempt_millionths: 0, data_bytes: 1, runs: 0, places: vec![] }
    }

    fn found(bytes: u64) -> Found {
        Found {
            files: vec![SealedFile::new(0, &metrics(), Digest::of(b"x"), bytes, true)],
            canonicaliser: Some(report(&[
                (Rule::MetricsForm, RuleResult::Noted),
                (Rule::TableDominance, RuleResult::NotApplicable),
                (Rule::TablePPercent, RuleResult::NotApplicable),
            ])),
            judge: Some(judged(&[Rule::MetricsForm, Rule::MetricsCount, Rule::ReleaseBits])),
            views_made: Some(report(&[(Rule::CopyViews, RuleResult::Passed)])),
            scanner: Some(scanned(RuleResult::Passed)),
            comparer: Some(report(&[(Rule::TableDifferencing, RuleResult::NotApplicable)])),
            ..Found::default()
        }
    }

    #[test]
    fn what_children_say_about_their_own_rules_stands() {
        let judgement = found(30).judge(&[metrics()], None, &policy());
        let result = |rule: Rule| judgement.rules[rule.index()];
        assert_eq!(result(Rule::MetricsForm), RuleResult::Noted);
        assert_eq!(result(Rule::CopyExact), RuleResult::Passed);
        assert_eq!(result(Rule::CopyNumeric), RuleResult::Passed);
        assert_eq!(result(Rule::TableDifferencing), RuleResult::NotApplicable);
        assert_eq!(judgement.blocked_by(), None);
    }

    #[test]
    fn a_canonicaliser_cannot_say_that_no_copy_was_found_but_may_forbid() {
        let mut lie = found(30);
        lie.canonicaliser = Some(report(&[
            (Rule::CopyExact, RuleResult::Passed),
            (Rule::TableSuppression, RuleResult::Passed),
        ]));
        lie.scanner = Some(scanned(RuleResult::NotChecked));
        let judgement = lie.judge(&[metrics()], None, &policy());
        assert_eq!(judgement.rules[Rule::CopyExact.index()], RuleResult::Blocked);
        assert_eq!(judgement.rules[Rule::TableSuppression.index()], RuleResult::NotApplicable);
        lie.canonicaliser = Some(report(&[(Rule::WeightsCapacity, RuleResult::Blocked)]));
        assert_eq!(lie.judge(&[metrics()], None, &policy()).blocked_by(), Some(Rule::WeightsCapacity));
    }

    #[test]
    fn a_rule_that_a_child_leaves_out_is_blocked() {
        let mut silent = found(30);
        silent.judge = Some(OutputReport::unchecked());
        assert!(silent.judge(&[metrics()], None, &policy()).blocked_by().is_some());
        let mut half = found(30);
        half.scanner.as_mut().unwrap().rules[Rule::CopyNumeric.index()] = RuleResult::NotChecked;
        assert_eq!(half.judge(&[metrics()], None, &policy()).blocked_by(), Some(Rule::CopyNumeric));
        // These metrics say no degrees of freedom; had they said them, silence would not do.
        let mut said = metrics();
        if let DeclaredOutput::Metrics { names, degrees_of_freedom, .. } = &mut said {
            *degrees_of_freedom = names.first().cloned();
        }
        let mut silent = found(30);
        silent.judge.as_mut().unwrap().rules[Rule::MetricsDegreesOfFreedom.index()] = RuleResult::NotChecked;
        assert_eq!(silent.judge(&[metrics()], None, &policy()).blocked_by(), None);
        assert_eq!(silent.judge(&[said], None, &policy()).blocked_by(), Some(Rule::MetricsDegreesOfFreedom));
        assert_eq!(found(30).judge(&[metrics()], None, &policy()).blocked_by(), None);
    }

    #[test]
    fn levels_of_quantiles_that_a_judge_calls_not_applicable_block_and_a_mean_has_none() {
        let asked = |function: &str| -> Query {
            serde_json::from_value(serde_json::json!({
                "dataset": "hie", "table": "hie.csv", "groups": [],
                "values": [{ "column": "visits", "function": function }]
            }))
            .unwrap()
        };
        let blocked_by = |function: &str, said: RuleResult| {
            let mut found = found(30);
            found.judge.as_mut().unwrap().rules[Rule::TableQuantiles.index()] = said;
            found.judge(&[metrics()], Some(&asked(function)), &policy()).blocked_by()
        };
        let levels = Some(Rule::TableQuantiles);
        assert_eq!(blocked_by("quantile:50", RuleResult::NotApplicable), levels);
        assert_eq!(blocked_by("quantile:50", RuleResult::Blocked), levels);
        assert_eq!(blocked_by("quantile:50", RuleResult::Passed), None);
        assert_eq!(blocked_by("mean", RuleResult::NotApplicable), None);
    }

    #[test]
    fn tables_that_were_not_compared_block_whatever_the_judge_says() {
        let mut silent = found(30);
        silent.comparer = None;
        silent.judge.as_mut().unwrap().rules[Rule::TableDifferencing.index()] = RuleResult::Passed;
        assert_eq!(silent.judge(&[metrics()], None, &policy()).blocked_by(), Some(Rule::TableDifferencing));
        let mut told = found(30);
        told.comparer = Some(report(&[(Rule::TableDifferencing, RuleResult::Blocked)]));
        assert_eq!(told.judge(&[metrics()], None, &policy()).blocked_by(), Some(Rule::TableDifferencing));
    }

    #[test]
    fn views_that_were_not_made_block_whatever_the_scanner_says() {
        let mut refused = found(30);
        refused.views_made = Some(report(&[(Rule::CopyViews, RuleResult::Blocked)]));
        assert_eq!(refused.judge(&[metrics()], None, &policy()).blocked_by(), Some(Rule::CopyViews));
        // Nor can another child say that they were made.
        let mut silent = found(30);
        silent.views_made = None;
        silent.canonicaliser = Some(report(&[(Rule::CopyViews, RuleResult::Passed)]));
        assert_eq!(silent.judge(&[metrics()], None, &policy()).blocked_by(), Some(Rule::CopyViews));
    }

    #[test]
    fn a_judge_cannot_make_a_file_cheaper_than_its_length_but_may_make_it_dearer() {
        let floor = found(1000).judge(&[metrics()], None, &policy()).bits[0];
        assert_eq!(floor, egress::floor_bits(&policy(), &metrics(), 1000));
        assert!(floor > 0);
        let mut dear = found(1000);
        dear.judge.as_mut().unwrap().bits = [floor + 1; OUTPUT_LIMIT];
        assert_eq!(dear.judge(&[metrics()], None, &policy()).bits[0], floor + 1);
    }

    #[test]
    fn a_file_that_is_not_as_the_request_fixed_it_blocks_whatever_the_judge_says() {
        let mut other = found(30);
        assert_eq!(other.judge(&[metrics()], None, &policy()).blocked_by(), None);
        other.files[0].as_fixed = false;
        assert_eq!(other.judge(&[metrics()], None, &policy()).blocked_by(), Some(Rule::MetricsForm));
    }

    #[test]
    fn bits_beyond_the_policy_or_beyond_counting_block() {
        let mut dear = found(30);
        dear.judge.as_mut().unwrap().bits = [policy().release_bits + 1; OUTPUT_LIMIT];
        assert_eq!(dear.judge(&[metrics()], None, &policy()).blocked_by(), Some(Rule::ReleaseBits));
        dear.judge.as_mut().unwrap().bits = [u64::MAX; OUTPUT_LIMIT];
        let twice = SealedFile { index: 1, ..dear.files[0].clone() };
        dear.files.push(twice);
        let judgement = dear.judge(&[metrics(), metrics()], None, &policy());
        assert_eq!((judgement.sum, judgement.blocked_by()), (None, Some(Rule::ReleaseBits)));
    }

    #[test]
    fn a_missing_output_blocks_and_is_named() {
        let mut missing = found(30);
        missing.files.clear();
        let judgement = missing.judge(&[metrics()], None, &policy());
        assert_eq!(judgement.blocked_by(), Some(Rule::OutputDeclared));
        assert_eq!(output_of(Rule::OutputDeclared, &missing, &[metrics()]), Some(0));
        assert_eq!(output_of(Rule::MetricsForm, &missing, &[metrics()]), Some(0));
        assert_eq!(output_of(Rule::MetricsForm, &missing, &[metrics(), metrics()]), None);
    }
}
