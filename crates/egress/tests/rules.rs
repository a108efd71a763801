//! Every rule's examples hold, and every built rule has one that is accepted and one that is refused or changed.

mod support;

use egress::rules::{Example, ExampleOutcome, explain};
use release::rule::Rule;
use release::statement::RuleResult;
use support::{STANDARD, name, task};

#[test]
fn every_example_of_every_rule_comes_out_as_it_says() {
    for rule in Rule::ALL {
        let explanation = explain(rule);
        assert_eq!(explanation.rule, rule);
        let (accepted, refused): (Vec<_>, Vec<_>) =
            explanation.examples.iter().partition(|one| matches!(one.result, RuleResult::Passed));
        let other = |one: &&Example| matches!(one.result, RuleResult::Blocked | RuleResult::Noted);
        assert_eq!(explanation.built, !accepted.is_empty() && refused.iter().any(other), "{}", rule.id());
        for example in explanation.examples {
            // Those that are searched run where the data is.
            if let Some(ExampleOutcome { result, .. }) = example.run(rule, STANDARD).unwrap() {
                assert_eq!(result, example.result, "{}: {}", rule.id(), example.shows);
            }
        }
    }
}

/// The policies that ship, by name.
const SHIPPED: [(&str, &str); 4] = [
    ("standard", STANDARD),
    ("strict", include_str!("../../../policies/egress/strict.toml")),
    ("teaching", include_str!("../../../policies/egress/teaching.toml")),
    ("demo", include_str!("../../../policies/egress/demo.toml")),
];

#[test]
fn under_each_policy_that_ships_rules_on_quantiles_dominance_and_noise_have_an_example_that_leaves_and_one_that_is_blocked()
 {
    for (name, policy) in SHIPPED {
        for rule in
            [Rule::TableQuantiles, Rule::TableDominance, Rule::TablePPercent, Rule::TableSmallestCount]
        {
            let outcomes: Vec<_> =
                explain(rule).examples.iter().map(|one| one.run(rule, policy).unwrap().unwrap()).collect();
            let says =
                |result, leaves| outcomes.iter().any(|one| (one.result, one.leaves) == (result, leaves));
            assert!(says(RuleResult::Passed, true), "{name}: {}: {outcomes:?}", rule.id());
            assert!(says(RuleResult::Blocked, false), "{name}: {}: {outcomes:?}", rule.id());
        }
        // What has noise leaves, however few people stand in its groups.
        let noise =
            explain(Rule::TableSmallestCount).examples.iter().filter(|one| one.shows.contains("noise"));
        for one in noise {
            let ExampleOutcome { result, leaves } =
                one.run(Rule::TableSmallestCount, policy).unwrap().unwrap();
            assert!(result == RuleResult::NotApplicable && leaves, "{name}: {}", one.shows);
        }
    }
}

#[test]
fn quantiles_are_judged_by_the_policys_list_whoever_wrote_the_answer() {
    let median = explain(Rule::TableQuantiles).examples[0];
    let run = |policy: &str| median.run(Rule::TableQuantiles, policy).unwrap().unwrap();
    assert_eq!(run(STANDARD).result, RuleResult::Passed);
    for levels in ["[]", "[25, 75]", "[49, 51]"] {
        let list = "quantile_percents = [10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90]";
        assert!(STANDARD.contains(list));
        let outcome = run(&STANDARD.replace(list, &format!("quantile_percents = {levels}")));
        assert_eq!(outcome, ExampleOutcome { result: RuleResult::Blocked, leaves: false }, "{levels}");
    }
}

#[test]
fn a_rule_that_is_not_built_reads_not_checked_and_never_passed() {
    let declared =
        r#"{"kind":"table","path":"t.csv","columns":[{"name":"n","type":"integer"}],"countColumn":"n"}"#;
    let judged = support::judge_one(&task(&[declared]), b"n\n10\n");
    for rule in Rule::ALL {
        if !explain(rule).built {
            assert_eq!(judged.report.rules[rule.index()], RuleResult::NotChecked, "{}", rule.id());
        }
    }
    assert_eq!(support::result(&judged, Rule::WeightsForm), RuleResult::NotApplicable);
    assert_eq!(support::result(&judged, Rule::TableForm), RuleResult::Passed);
    assert_eq!(judged.files[0].name, name("t.csv").as_str());
}
