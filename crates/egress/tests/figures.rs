//! A chart leaves as its values, judged as a table, and as what is drawn from which column, or not at all.

mod support;

use egress::{Task, figure_table};
use release::rule::Rule;
use release::statement::{RuleResult, VerdictResult};
use support::{Numbers, form, form_one, judge_one, result, task};

const DECLARED: &str = r#"{"kind":"figure","path":"c.json","columns":[
    {"name":"plan","type":"category:hie.plan"},{"name":"n","type":"integer"},{"name":"mean","type":"decimal:2"}],
    "countColumn":"n"}"#;
const CANONICAL: &str = r#"{"$schema":"https://vega.github.io/schema/vega-lite/v5.json","data":{"format":{"type":"csv"},"values":"plan,n,mean\nfree,50,1.25\nindividual,40,2.50\n"},"encoding":{"x":{"field":"plan","type":"nominal"},"y":{"field":"mean","type":"quantitative"}},"mark":"bar"}
"#;
const TABLE: &str = "plan,n,mean\nfree,50,1.25\nindividual,40,2.50\n";
const ROWS: &str = r#"[{"plan":"free","n":50,"mean":1.25},{"plan":"individual","n":40,"mean":2.5}]"#;
const DRAWN: &str = r#"{"x":{"field":"plan","type":"nominal"},"y":{"field":"mean","type":"quantitative"}}"#;

fn figure() -> Task {
    task(&[DECLARED])
}

fn written(mark: &str, values: &str, encoding: &str) -> String {
    format!(r#"{{"mark":{mark},"data":{{"values":{values}}},"encoding":{encoding}}}"#)
}

fn formed(text: &str) -> Option<String> {
    form_one(&figure(), text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn many_ways_to_write_a_chart_have_one_form() {
    let turned = r#"[{"mean":2.504,"n":39,"plan":"individual"},{"n":50.0,"plan":"fr\u0065e","mean":1.25}]"#;
    let drawn_otherwise =
        r#" { "y":{"type":"quantitative","field":"mean"}, "x":{"field":"plan","type":"nominal"} } "#;
    for text in [
        CANONICAL.to_owned(),
        written("\"bar\"", ROWS, DRAWN),
        written(r#"{"type":"bar"}"#, turned, drawn_otherwise),
        CANONICAL.replace("/v5.json", "/v6.json").replace(r"free,50,1.25\n", r"free,5e1,1.2500\r\n"),
    ] {
        assert_eq!(formed(&text).as_deref(), Some(CANONICAL), "{text}");
    }
    let judged = judge_one(&figure(), CANONICAL.as_bytes());
    assert_eq!(judged.result, VerdictResult::Pass);
    assert_eq!(judged.report.bits[0], 8 * CANONICAL.len() as u64);
    assert_eq!(figure_table(CANONICAL.as_bytes()).as_deref(), Some(TABLE.as_bytes()));
}

#[test]
fn whatever_says_more_than_the_values_and_how_they_are_drawn_is_refused() {
    let free = r#"[{"plan":"free","n":50,"mean":1.25}]"#;
    let x = |field: &str, kind: &str| format!(r#"{{"x":{{"field":"{field}","type":"{kind}"}}}}"#);
    let good = written("\"point\"", free, &x("plan", "ordinal"));
    assert!(formed(&good).is_some());
    let with = |key: &str| good.replacen('{', &format!("{{{key},"), 1);
    let refused = [
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
        good.replacen("point", "text", 1),
        good.replacen("point", "image", 1),
        written(r#"{"type":"bar","tooltip":{"content":"data"}}"#, free, &x("plan", "nominal")),
        with(r#""title":"125024""#),
        with(r#""description":"""#),
        with(r#""usermeta":{"row":1}"#),
        with(r#""transform":[]"#),
        with(r#""mark":"bar""#),
        with(r#""$schema":"https://elsewhere.example/125024""#),
        written("\"bar\"", free, "{}"),
        written("\"bar\"", free, &x("zper", "nominal")),
        written("\"bar\"", free, &x("plan", "quantitative")),
        written("\"bar\"", free, &x("n", "temporal")),
        written("\"bar\"", free, r#"{"href":{"field":"plan","type":"nominal"}}"#),
        written("\"bar\"", free, r#"{"x":{"field":"plan","type":"nominal","title":"125024"}}"#),
        written("\"bar\"", free, r#"{"x":{"value":12}}"#),
        // Values of other columns, none, twice, nested; from elsewhere; in a form that is not said.
        written("\"bar\"", r#"[{"plan":"free","n":50}]"#, &x("plan", "nominal")),
        written("\"bar\"", r#"[{"plan":"free","n":50,"mean":1,"zper":125024}]"#, &x("plan", "nominal")),
        written("\"bar\"", r#"[{"plan":"free","n":50,"n":50}]"#, &x("plan", "nominal")),
        written("\"bar\"", r#"[{"plan":"free","n":50,"mean":null}]"#, &x("plan", "nominal")),
        written("\"bar\"", r#"[{"plan":"free","n":50,"mean":[1]}]"#, &x("plan", "nominal")),
        written("\"bar\"", "[7]", &x("plan", "nominal")),
        written("\"bar\"", "{}", &x("plan", "nominal")),
        written("\"bar\"", r#""plan,n,mean\nfree,50,1.25\n""#, &x("plan", "nominal")),
        good.replacen(r#""data":{"#, r#""data":{"url":"rows.csv","#, 1),
        CANONICAL.replace(r#"{"type":"csv"}"#, r#"{"type":"csv","parse":{"n":"date"}}"#),
        CANONICAL.replace(r#"{"type":"csv"}"#, r#"{"type":"tsv"}"#),
    ];
    for text in refused {
        assert_eq!(formed(&text), None, "{text}");
    }
}

#[test]
fn the_values_of_a_chart_are_under_every_rule_for_tables() {
    let blocked = |text: &str| {
        let (judgement, files) = form(&figure(), &[("c.json", text.as_bytes())]);
        assert_eq!(judgement.result, VerdictResult::Blocked, "{text}");
        assert!(files.0.is_empty() || judgement.report.rules.contains(&RuleResult::Blocked));
        judgement
    };
    let row = |plan: &str, n: &str, mean: &str| {
        written("\"bar\"", &format!(r#"[{{"plan":"{plan}","n":{n},"mean":{mean}}}]"#), DRAWN)
    };
    assert!(formed(&row("free", "50", "1")).is_some());
    assert_eq!(result(&blocked(&row("free", "4", "1")), Rule::TableSmallestCount), RuleResult::Blocked);
    assert_eq!(result(&blocked(&row("free", "0", "0")), Rule::TableZeroCells), RuleResult::Blocked);
    assert_eq!(result(&blocked(&row("125024", "50", "1")), Rule::TableForm), RuleResult::Blocked);
    assert_eq!(result(&blocked(&row("free", "50.5", "1")), Rule::TableForm), RuleResult::Blocked);
    let twice = written("\"bar\"", &ROWS.replace("individual", "free"), DRAWN);
    assert_eq!(result(&blocked(&twice), Rule::TableForm), RuleResult::Blocked);
    let (rounded, _) = form(&figure(), &[("c.json", row("free", "52", "1").as_bytes())]);
    assert_eq!(result(&rounded, Rule::TableRounding), RuleResult::Noted);
}

#[test]
fn a_chart_that_is_not_in_its_canonical_form_is_blocked_by_the_judge() {
    for altered in [
        CANONICAL.trim_end().to_owned(),
        CANONICAL.replacen("{\"$schema", "{ \"$schema", 1),
        CANONICAL.replace("/v5.json", "/v4.json"),
        CANONICAL.replace("free,50", "free,52"),
        CANONICAL.replace("2.50", "2.5"),
        CANONICAL.replace("free", "fr\\u0065e"),
        CANONICAL.replace(
            r#""values":"plan,n,mean\nfree,50,1.25\nindividual,40,2.50\n""#,
            &format!(r#""values":{ROWS}"#),
        ),
    ] {
        assert_ne!(altered, CANONICAL);
        assert_eq!(judge_one(&figure(), altered.as_bytes()).result, VerdictResult::Blocked, "{altered}");
    }
}

/// A chart beside a table of the same job tells what the table leaves out, as another table would.
#[test]
fn a_chart_is_subtracted_from_the_tables_of_its_job() {
    let whole =
        r#"{"kind":"table","path":"t.csv","columns":[{"name":"n","type":"integer"}],"countColumn":"n"}"#;
    let parts = r#"{"kind":"figure","path":"c.json","columns":[
        {"name":"plan","type":"category:hie.plan"},{"name":"n","type":"integer"}],"countColumn":"n"}"#;
    let judged = |total: &str| {
        let chart = r#"{"mark":"bar","data":{"values":[{"plan":"free","n":50}]},"encoding":{"x":{"field":"plan","type":"nominal"}}}"#;
        let task = task(&[whole, parts]);
        let (_, mut files) = form(&task, &[("t.csv", total.as_bytes()), ("c.json", chart.as_bytes())]);
        result(&egress::judge(&task, &mut files).unwrap(), Rule::TableSuppression)
    };
    assert_eq!(judged("n\n55\n"), RuleResult::Blocked, "about five have the other plan");
    assert_eq!(judged("n\n90\n"), RuleResult::Passed);
}

/// Different values, drawn in different ways, cost at least as many bits as tell them apart.
#[test]
fn a_chart_is_charged_for_what_it_can_say() {
    let mut numbers = Numbers(7);
    let mut forms = std::collections::BTreeSet::new();
    for _ in 0..2000 {
        let mark = ["bar", "line", "area", "tick"][numbers.next() as usize % 4];
        let channel = ["x", "y", "size", "row"][numbers.next() as usize % 4];
        let values =
            format!(r#"[{{"plan":"free","n":{},"mean":{}}}]"#, 10 + numbers.next() % 50, numbers.next() % 9);
        let encoding = format!(r#"{{"{channel}":{{"field":"plan","type":"nominal"}}}}"#);
        let form = formed(&written(&format!("\"{mark}\""), &values, &encoding)).unwrap();
        assert_eq!(judge_one(&figure(), form.as_bytes()).report.bits[0], 8 * form.len() as u64);
        forms.insert(form);
    }
    assert!(forms.len() > 500);
}
