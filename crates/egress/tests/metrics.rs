//! Metrics leave as the declared names and numbers of few digits, or not at all.

mod support;

use egress::Task;
use release::rule::Rule;
use release::statement::{RuleResult, VerdictResult};
use support::{Numbers, form, form_one, judge_one, result, task, with_policy};

const DECLARED: &str = r#"{"kind":"metrics","path":"m.json","names":["loss","auc"]}"#;
const CANONICAL: &[u8] = b"{\"loss\":0.1235,\"auc\":1}\n";

fn metrics() -> Task {
    task(&[DECLARED])
}

#[test]
fn many_ways_to_write_metrics_have_one_form() {
    for written in [
        "{\"loss\":0.1235,\"auc\":1}\n",
        "{ \"auc\": 1.0, \"loss\": 0.123456789 }",
        "{\"l\\u006fss\":1.235e-1,\"auc\":1.00001}",
        "{\"auc\":10e-1,\r\n\t\"loss\":0.12349999999999999999999999}",
    ] {
        assert_eq!(form_one(&metrics(), written.as_bytes()).as_deref(), Some(CANONICAL), "{written}");
    }
    let judged = judge_one(&metrics(), CANONICAL);
    assert_eq!(judged.result, VerdictResult::Pass);
    // The 7 characters of the two numbers, and nothing else, are the job's to choose.
    assert_eq!(judged.report.bits[0], 8 * 7);
}

#[test]
fn what_is_not_the_declared_numbers_has_no_form() {
    for written in [
        "",
        "[]",
        "1",
        "{}",
        "{\"loss\":1}",
        "{\"loss\":1,\"auc\":1,\"more\":1}",
        "{\"loss\":1,\"auc\":1,\"loss\":1}",
        "{\"loss\":1,\"auc\":\"1\"}",
        "{\"loss\":1,\"auc\":null}",
        "{\"loss\":1,\"auc\":true}",
        "{\"loss\":1,\"auc\":[1]}",
        "{\"loss\":1,\"auc\":{\"x\":1}}",
        "{\"loss\":NaN,\"auc\":1}",
        "{\"loss\":Infinity,\"auc\":1}",
        "{\"loss\":1e999,\"auc\":1}",
        "{\"loss\":01,\"auc\":1}",
        "{\"loss\":+1,\"auc\":1}",
        "{\"loss\":1,\"auc\":1} trailing",
        "{\"loss\":1,\"auc\":1}{}",
        "{\"loss\":1,\"auc\":1,}",
        "// note\n{\"loss\":1,\"auc\":1}",
        "\u{feff}{\"loss\":1,\"auc\":1}",
    ] {
        let (judgement, files) = form(&metrics(), &[("m.json", written.as_bytes())]);
        assert_eq!(result(&judgement, Rule::MetricsForm), RuleResult::Blocked, "{written:?}");
        assert!(files.0.is_empty(), "{written:?}");
        assert_eq!(judge_one(&metrics(), written.as_bytes()).result, VerdictResult::Blocked, "{written:?}");
    }
    let deep = format!("{{\"loss\":{}1{},\"auc\":1}}", "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(form_one(&metrics(), deep.as_bytes()), None);
}

#[test]
fn the_judge_blocks_what_the_canonicaliser_would_have_changed() {
    for written in [
        "{\"auc\":1,\"loss\":0.1235}\n",
        "{\"loss\":0.1235,\"auc\":1}",
        "{\"loss\":0.1235,\"auc\":1.0}\n",
        "{\"loss\":0.12350,\"auc\":1}\n",
        "{\"loss\":0.12352,\"auc\":1}\n",
        "{\"loss\":1235e-4,\"auc\":1}\n",
        "{\"loss\":0.1235,\"auc\":-0}\n",
        "{\"loss\": 0.1235,\"auc\":1}\n",
    ] {
        let judged = judge_one(&metrics(), written.as_bytes());
        assert_eq!(result(&judged, Rule::MetricsForm), RuleResult::Blocked, "{written:?}");
    }
}

#[test]
fn more_metrics_than_the_policy_allows_are_blocked() {
    let task = with_policy(metrics(), "max_count = 400", "max_count = 1");
    assert_eq!(result(&judge_one(&task, CANONICAL), Rule::MetricsCount), RuleResult::Blocked);
    assert_eq!(result(&judge_one(&metrics(), CANONICAL), Rule::MetricsCount), RuleResult::Passed);
}

#[test]
fn every_double_has_a_stable_form_near_its_value() {
    let task = task(&[r#"{"kind":"metrics","path":"m.json","names":["x"]}"#]);
    let mut numbers = Numbers(11);
    for _ in 0..20_000 {
        let bits = numbers.next() << 32 ^ numbers.next();
        let value = f64::from_bits(bits);
        let written = format!("{{\"x\":{value:e}}}");
        let Some(canonical) = form_one(&task, written.as_bytes()) else {
            assert!(!value.is_finite() || value.abs() > 1.7975e308, "{value:e}");
            continue;
        };
        assert_eq!(judge_one(&task, &canonical).result, VerdictResult::Pass, "{value:e}");
        let text = std::str::from_utf8(&canonical[5..canonical.len() - 2]).unwrap();
        let kept: f64 = text.parse().unwrap();
        let expected = if value.is_normal() { value } else { 0.0 };
        assert!((kept - expected).abs() <= expected.abs() * 0.000_501, "{value:e} became {text}");
    }
}
