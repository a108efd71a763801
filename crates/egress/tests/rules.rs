//! Every rule's examples hold, and every built rule has one that is accepted and one that is refused or changed.

mod support;

use egress::rules::{ExampleOutcome, explain};
use release::rule::Rule;
use release::statement::RuleResult;
use support::{STANDARD, name, task};

#[test]
fn every_example_of_every_rule_comes_out_as_it_says() {
    for rule in Rule::ALL {
        let explanation = explain(rule);
        assert_eq!(explanation.rule, rule);
        assert_eq!(explanation.built, !explanation.examples.is_empty(), "{}", rule.id());
        for example in explanation.examples {
            // Those that are searched run where the data is.
            if let Some(ExampleOutcome { result, .. }) = example.run(rule, STANDARD).unwrap() {
                assert_eq!(result, example.result, "{}: {}", rule.id(), example.shows);
            }
        }
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
