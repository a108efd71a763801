//! Rows of the data in a chart, which leaves with its values in it.

mod desk;

use std::fs;

use desk::Desk;
use release::rule::Rule;
use release::statement::RuleResult;

const DECLARED: &str = r#"{"kind":"figure","path":"chart.json","countColumn":"n","columns":[
    {"name":"a","type":"decimal:2"},{"name":"b","type":"decimal:2"},{"name":"c","type":"decimal:2"},
    {"name":"d","type":"decimal:2"},{"name":"e","type":"decimal:2"},{"name":"f","type":"decimal:2"},
    {"name":"n","type":"integer"}]}"#;

/// Of a person or of a group, to the digits that a chart keeps.
type Row = [f64; 6];

/// Points, one for each row.
fn chart(rows: &[Row]) -> String {
    let point = |[a, b, c, d, e, f]: &Row| {
        format!(r#"{{"a":{a:.2},"b":{b:.2},"c":{c:.2},"d":{d:.2},"e":{e:.2},"f":{f:.2},"n":50}}"#)
    };
    let values: Vec<String> = rows.iter().map(point).collect();
    let drawn = r#"{"x":{"field":"a","type":"quantitative"},"y":{"field":"b","type":"quantitative"}}"#;
    format!(r#"{{"mark":"point","data":{{"values":[{}]}},"encoding":{drawn}}}"#, values.join(","))
}

/// Rows of measurements, the same for the same seed.
fn measurements(mut seed: u64, count: usize) -> Vec<Row> {
    let mut draw = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f64 / f64::from(1 << 24)
    };
    (0..count).map(|_| [(); 6].map(|()| (1e5 + 9e5 * draw()).round() / 100.0)).collect()
}

/// What is said of copies in a chart of these rows, beside the measurements of 2,000 people. All else lets it pass.
fn copies(shown: &[Row]) -> [RuleResult; 2] {
    let desk = Desk::new(DECLARED, chart(shown).as_bytes());
    let line = |row: &Row| row.map(|value| format!("{value:.2}")).join(",");
    let lines: Vec<String> = measurements(1, 2000).iter().map(line).collect();
    fs::write(desk.data(), format!("a,b,c,d,e,f\n{}\n", lines.join("\n"))).expect("the data");
    for subcommand in ["canonicalise", "judge"] {
        let report = desk.report(subcommand);
        assert!(!report.rules.contains(&RuleResult::Blocked), "{subcommand}: {report:?}");
    }
    desk.view();
    let scan = desk.scanned(None);
    [Rule::CopyExact, Rule::CopyNumeric].map(|rule| scan.rules[rule.index()])
}

fn mean(rows: &[Row], column: usize) -> f64 {
    rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64
}

#[test]
fn rows_of_the_data_in_a_chart_are_found_as_text_and_as_numbers() {
    let rows = &measurements(1, 2000)[700..740];
    assert_eq!(copies(rows), [RuleResult::Blocked; 2]);
    // With the columns in another order no 31 bytes stand together: what tells them are the numbers.
    let shuffled: Vec<Row> = rows.iter().map(|[a, b, c, d, e, f]| [*c, *f, *a, *e, *b, *d]).collect();
    assert_eq!(copies(&shuffled), [RuleResult::Passed, RuleResult::Blocked]);
}

#[test]
fn a_chart_of_means_or_of_rows_of_others_is_no_copy() {
    let rows = measurements(1, 2000);
    let means: Vec<Row> =
        rows.chunks(50).map(|group| [0, 1, 2, 3, 4, 5].map(|column| mean(group, column))).collect();
    assert_eq!(means.len(), 40);
    assert_eq!(copies(&means), [RuleResult::Passed; 2]);
    assert_eq!(copies(&measurements(2, 40)), [RuleResult::Passed; 2]);
}
