//! The field's rules for tables and models: who has most of a total, who is missing, what is left when all is subtracted.

mod support;

use egress::{Task, is_left_out};
use release::rule::Rule;
use release::statement::{RuleResult, VerdictResult};
use support::{Numbers, form, form_one, judge_one, result, task, with_policy};

const SHARED: &str = r#"{"kind":"table","path":"t.csv","columns":[
    {"name":"plan","type":"category:hie.plan"},{"name":"n","type":"integer"},{"name":"total","type":"integer"},
    {"name":"one","type":"decimal:3"},{"name":"two","type":"decimal:3"}],
    "countColumn":"n","largestColumn":"one","twoLargestColumn":"two"}"#;
const COUNTED: &str = r#"{"kind":"table","path":"t.csv","columns":[
    {"name":"plan","type":"category:hie.plan"},{"name":"n","type":"integer"},{"name":"total","type":"integer"}],
    "countColumn":"n"}"#;

/// What dominance and p % say of one row with these shares.
fn shares(task: &Task, units: usize, one: f64, two: f64) -> [RuleResult; 2] {
    let written = format!("plan,n,total,one,two\nfree,{units},1000,{one:.3},{two:.3}\n");
    let (judgement, _) = form(task, &[("t.csv", written.as_bytes())]);
    [Rule::TableDominance, Rule::TablePPercent].map(|rule| result(&judgement, rule))
}

#[test]
fn shares_are_judged_and_never_leave() {
    let task = task(&[SHARED]);
    let canonical = form_one(&task, b"plan,n,total,one,two\nfree,50,1000,0.100,0.150\n").unwrap();
    assert_eq!(canonical, b"plan,n,total\nfree,50,1000\n");
    let judged = judge_one(&task, &canonical);
    assert_eq!(judged.result, VerdictResult::Pass);
    // Whoever judges again does not see them, and says so.
    assert_eq!(result(&judged, Rule::TableDominance), RuleResult::NotChecked);
    assert!(Rule::TableDominance.needs_the_box() && Rule::TablePPercent.needs_the_box());
    assert_eq!(judged.report.bits[0], 8 * (canonical.len() as u64 - 13));
    // A file that still has them is not canonical.
    let with_shares = judge_one(&task, b"plan,n,total,one,two\nfree,50,1000,0.100,0.150\n");
    assert_eq!(result(&with_shares, Rule::TableForm), RuleResult::Blocked);
}

/// The rules by their definitions: (n, k) = (2, 90), p = 10 (Hundepool et al., 2012, section 4.2.2).
#[test]
fn no_total_passes_that_the_definitions_refuse_and_none_is_refused_that_is_far_from_them() {
    let (task, mut numbers) = (task(&[SHARED]), Numbers(11));
    let mut seen = [[0u32; 2]; 2];
    for _ in 0..3_000 {
        let units = 10 + numbers.below(5);
        let steep = 1 + numbers.below(9) as i32;
        let mut values: Vec<f64> =
            (0..units).map(|_| (numbers.below(1_000) as f64 / 1_000.0).powi(steep) + 1e-6).collect();
        values.sort_by(|one, other| other.total_cmp(one));
        let total: f64 = values.iter().sum();
        let (one, two) = (values[0] / total, (values[0] + values[1]) / total);
        let found = shares(&task, units, one, two);
        let rest = (1.0 - two) / one;
        let cases = [(two > 0.9, two < 0.898), (rest < 0.1, rest > 0.103)];
        for (index, (is_unsafe, is_safe)) in cases.into_iter().enumerate() {
            let is_blocked = found[index] == RuleResult::Blocked;
            assert!(is_blocked || !is_unsafe, "{one} {two}");
            assert!(!is_blocked || !is_safe, "{one} {two}");
            seen[index][usize::from(is_blocked)] += 1;
        }
    }
    assert!(seen.iter().flatten().all(|count| *count > 50), "{seen:?}");
}

#[test]
fn the_share_of_the_largest_alone_counts_at_its_worst() {
    let alone = SHARED
        .replace(r#","twoLargestColumn":"two""#, "")
        .replace(r#",{"name":"two","type":"decimal:3"}"#, "");
    assert!(!alone.contains("two"));
    let dominance = |share: &str| {
        let written = format!("plan,n,total,one\nfree,50,1000,{share}\n");
        result(&form(&task(&[&alone]), &[("t.csv", written.as_bytes())]).0, Rule::TableDominance)
    };
    assert_eq!(dominance("0.449"), RuleResult::Passed);
    assert_eq!(dominance("0.450"), RuleResult::Blocked, "a second one may have as much");
}

#[test]
fn shares_that_no_units_can_have_are_refused() {
    let task = task(&[SHARED]);
    for (one, two) in [(0.0, 0.0), (0.5, 0.4), (0.1, 0.3), (1.2, 1.3), (-0.1, 0.1), (0.01, 0.02), (0.5, 1.1)]
    {
        assert_eq!(shares(&task, 50, one, two)[0], RuleResult::Blocked, "{one} {two}");
    }
    assert_eq!(shares(&task, 50, 0.02, 0.04), [RuleResult::Passed; 2], "fifty equal ones");
    // A row of zeros has no shares.
    let (judgement, _) = form(&task, &[("t.csv", b"plan,n,total,one,two\nfree,50,0,0,0\n")]);
    assert_eq!(result(&judgement, Rule::TableDominance), RuleResult::Passed);
}

#[test]
fn a_table_without_shares_is_not_checked_and_refused_where_the_policy_asks_for_them() {
    let written = b"plan,n,total\nfree,50,1000\n";
    let lenient = task(&[COUNTED]);
    let policy = egress::Policy::parse(&lenient.policy).unwrap();
    assert_eq!(
        result(&form(&lenient, &[("t.csv", written)]).0, Rule::TableDominance),
        RuleResult::NotChecked
    );
    assert!(is_left_out(&policy, Rule::TableDominance, &lenient.outputs));
    let strict = with_policy(lenient, "shares_required = false", "shares_required = true");
    let policy = egress::Policy::parse(&strict.policy).unwrap();
    assert_eq!(result(&form(&strict, &[("t.csv", written)]).0, Rule::TableDominance), RuleResult::Blocked);
    assert!(!is_left_out(&policy, Rule::TableDominance, &strict.outputs));
    // One table with shares and one without is not checked either.
    let two = task(&[SHARED, &COUNTED.replace("t.csv", "u.csv")]);
    let files: [(&str, &[u8]); 2] =
        [("t.csv", b"plan,n,total,one,two\nfree,50,1000,0.100,0.150\n"), ("u.csv", written)];
    assert_eq!(result(&form(&two, &files).0, Rule::TableDominance), RuleResult::NotChecked);
    // Counts alone have nothing that a unit could dominate.
    let counts = COUNTED.replace(r#",{"name":"total","type":"integer"}"#, "");
    let judged = form(&task(&[&counts]), &[("t.csv", b"plan,n\nfree,50\n")]).0;
    assert_eq!(result(&judged, Rule::TableDominance), RuleResult::Passed);
}

#[test]
fn a_row_of_nobody_leaves_only_where_nobody_can_stand() {
    let zeros = |declared: &str, written: &[u8]| {
        let task = task(&[declared]);
        let (formed, files) = form(&task, &[("t.csv", written)]);
        let rules = [Rule::TableZeroCells, Rule::TableSmallestCount].map(|rule| result(&formed, rule));
        let judged =
            files.0.values().next().map(|bytes| result(&judge_one(&task, bytes), Rule::TableZeroCells));
        assert_eq!(judged, Some(rules[0]), "the judge says the same of the canonical form");
        rules
    };
    let structural =
        COUNTED.replace(r#""countColumn":"n""#, r#""countColumn":"n","structuralZeros":[["individual"]]"#);
    let nobody = b"plan,n,total\nfree,50,1000\nindividual,0,0\n";
    assert_eq!(zeros(COUNTED, nobody), [RuleResult::Blocked, RuleResult::Passed]);
    assert_eq!(zeros(&structural, nobody), [RuleResult::Passed; 2]);
    let somebody = b"plan,n,total\nfree,50,1000\nindividual,20,90\n";
    assert_eq!(zeros(&structural, somebody), [RuleResult::Blocked, RuleResult::Passed]);
    assert_eq!(zeros(COUNTED, somebody), [RuleResult::Passed; 2]);
    // Nobody has visits: the row contradicts itself, and would carry whatever it says past every count.
    let somebodys = b"plan,n,total\nfree,50,1000\nindividual,0,8421\n";
    assert_eq!(zeros(&structural, somebodys), [RuleResult::Blocked, RuleResult::Passed]);
    let lenient =
        with_policy(task(&[COUNTED]), "zeros_are_disclosive = true", "zeros_are_disclosive = false");
    assert_eq!(result(&form(&lenient, &[("t.csv", nobody)]).0, Rule::TableZeroCells), RuleResult::Passed);
    assert_eq!(result(&form(&lenient, &[("t.csv", somebodys)]).0, Rule::TableZeroCells), RuleResult::Blocked);
}

#[test]
fn a_model_that_says_its_degrees_of_freedom_needs_enough_of_them() {
    let declared = r#"{"kind":"metrics","path":"m","names":["loss","df"],"degreesOfFreedom":"df"}"#;
    let rule = |written: &str| {
        let task = task(&[declared]);
        let formed = form(&task, &[("m", written.as_bytes())]).0;
        result(&formed, Rule::MetricsDegreesOfFreedom)
    };
    assert_eq!(rule(r#"{"loss":0.5,"df":10}"#), RuleResult::Passed);
    assert_eq!(rule(r#"{"loss":0.5,"df":9}"#), RuleResult::Blocked);
    assert_eq!(rule(r#"{"loss":0.5,"df":9.99999}"#), RuleResult::Blocked, "before rounding");
    assert_eq!(rule(r#"{"loss":0.5,"df":-3}"#), RuleResult::Blocked);
    let silent = task(&[r#"{"kind":"metrics","path":"m","names":["loss"]}"#]);
    let judged = judge_one(&silent, b"{\"loss\":0.5}\n");
    assert_eq!(result(&judged, Rule::MetricsDegreesOfFreedom), RuleResult::NotChecked);
}

#[test]
fn two_tables_of_a_job_that_give_back_a_row_left_out_are_blocked_and_name_it() {
    let all =
        r#"{"kind":"table","path":"all.csv","columns":[{"name":"n","type":"integer"}],"countColumn":"n"}"#;
    let task = task(&[COUNTED, all]);
    let judged = |total: &str| {
        let files: [(&str, &[u8]); 2] =
            [("t.csv", b"plan,n,total\nfree,50,1000\n"), ("all.csv", total.as_bytes())];
        let mut canonical = form(&task, &files).1;
        egress::judge(&task, &mut canonical).unwrap()
    };
    let told = judged("n\n55\n");
    assert_eq!(result(&told, Rule::TableSuppression), RuleResult::Blocked);
    let detail = &told.files[0].findings[0].detail;
    assert!(detail.starts_with("\"individual\" is left out") && detail.contains("1 to 9 units"), "{detail}");
    assert_eq!(result(&judged("n\n500\n"), Rule::TableSuppression), RuleResult::Passed);
}
