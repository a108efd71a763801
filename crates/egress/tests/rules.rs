//! Every rule's examples hold, and every built rule has one that is accepted and one that is refused or changed.

mod support;

use egress::rules::{Example, Written, explain};
use egress::{EntryKind, InMemory, canonicalise, judge, merge};
use release::rule::Rule;
use release::statement::{DeclaredOutput, RuleResult};
use support::{Odd, name, task, tensors};

fn run(rule: Rule, example: &Example) -> Option<RuleResult> {
    let task = task(&[example.declared]);
    let path = task.outputs[0].path().clone();
    let zeros;
    let bytes: Vec<u8> = match example.written {
        Written::Text(text) => text.into(),
        Written::Tensors(list) => tensors(list),
        Written::Zeros => {
            let DeclaredOutput::Weights { tensors: declared, .. } = &task.outputs[0] else { panic!() };
            let shape: Vec<u64> = declared[0].shape.iter().map(|length| length.0).collect();
            zeros = vec![0.0; shape.iter().product::<u64>() as usize];
            tensors(&[(declared[0].name.as_str(), &shape, &zeros)])
        }
        Written::SymbolicLink => {
            let mut odd = Odd::new(path.as_str(), EntryKind::SymbolicLink);
            let judgement = canonicalise(&task, &mut odd, &mut InMemory::default()).unwrap();
            return Some(judgement.report.rules[rule.index()]);
        }
        Written::Nothing => {
            let judgement = judge(&task, &mut InMemory::default()).unwrap();
            return Some(judgement.report.rules[rule.index()]);
        }
        // Run where the data is searched.
        Written::Searched { .. } => return None,
    };
    let (mut source, mut sink) = (InMemory::new([(path, bytes)]), InMemory::default());
    let formed = canonicalise(&task, &mut source, &mut sink).unwrap();
    let judged = judge(&task, &mut sink).unwrap();
    Some(merge(&formed.report, &judged.report).rules[rule.index()])
}

#[test]
fn every_example_of_every_rule_comes_out_as_it_says() {
    for rule in Rule::ALL {
        let explanation = explain(rule);
        assert_eq!(explanation.rule, rule);
        assert_eq!(explanation.built, !explanation.examples.is_empty(), "{}", rule.id());
        for example in explanation.examples {
            if let Some(result) = run(rule, example) {
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
