//! The policies that ship, and what a policy may not say.

mod support;

use egress::{Policy, PolicyError};
use support::STANDARD;

const DEMO: &str = include_str!("../../../policies/egress/demo.toml");
const STRICT: &str = include_str!("../../../policies/egress/strict.toml");
const TEACHING: &str = include_str!("../../../policies/egress/teaching.toml");

#[test]
fn the_strict_policy_is_nowhere_weaker_than_the_standard_one_and_the_teaching_one_in_its_time_grid_only() {
    let [standard, strict, teaching] = [STANDARD, STRICT, TEACHING].map(|text| Policy::parse(text).unwrap());
    assert_eq!(strict.weaker_than(&standard), []);
    assert!(standard.weaker_than(&strict).len() > 10);
    let weaker: Vec<_> = teaching.weaker_than(&standard).into_iter().map(|weaker| weaker.key).collect();
    assert_eq!(weaker, ["time_grid_seconds"]);
    for policy in [&standard, &strict, &teaching] {
        assert_eq!(policy.never_reached(), []);
    }
}

#[test]
fn a_weaker_value_of_any_kind_is_named() {
    let standard = Policy::parse(STANDARD).unwrap();
    let mut weak = standard.clone();
    (weak.table.smallest_count, weak.metrics.max_count, weak.on_box_witness) = (9, 401, true);
    (weak.table.dominance_percent, weak.table.zeros_are_disclosive) = (91, false);
    weak.weights.precision = egress::Precision::F32;
    weak.table.quantile_percents = vec![25, 35];
    let weaker: Vec<_> = weak.weaker_than(&standard).into_iter().map(|weaker| weaker.key).collect();
    assert_eq!(
        weaker,
        [
            "table.smallest_count",
            "table.dominance_percent",
            "metrics.max_count",
            "on_box_witness",
            "table.zeros_are_disclosive",
            "weights.precision",
            "table.quantile_percents"
        ]
    );
    weak.weights.max_bits = weak.release_bits + 1;
    assert_eq!(weak.never_reached(), [("weights.max_bits", "release_bits")]);
}

#[test]
fn the_demonstrations_policy_differs_in_its_time_grid_and_witness_only() {
    let (standard, demo) = (Policy::parse(STANDARD).unwrap(), Policy::parse(DEMO).unwrap());
    assert_eq!((standard.time_grid_seconds, standard.on_box_witness), (600, false));
    assert_eq!((demo.time_grid_seconds, demo.on_box_witness), (1, true));
    assert_eq!(Policy { time_grid_seconds: 600, on_box_witness: false, ..demo }, standard);
}

#[test]
fn every_limit_stands_below_a_comment() {
    for policy in [STANDARD, DEMO, STRICT, TEACHING] {
        let lines: Vec<&str> = policy.lines().collect();
        let mut explained = false;
        for line in lines {
            explained = match line.split_once(" = ") {
                Some(_) if !line.starts_with('#') => {
                    assert!(explained, "{line}");
                    // A few limits share a comment; an empty line ends it.
                    explained
                }
                _ => line.starts_with('#'),
            };
        }
    }
}

#[test]
fn a_policy_with_an_unknown_missing_or_senseless_value_is_refused() {
    let changed = |from: &str, to: &str| {
        assert!(STANDARD.contains(from), "{from}");
        Policy::parse(&STANDARD.replace(from, to))
    };
    assert!(matches!(changed("release_bits", "released_bits"), Err(PolicyError::Shape(_))));
    assert!(matches!(
        changed("rounding_base = 5", "rounding_base = 5\nother = 1"),
        Err(PolicyError::Shape(_))
    ));
    assert!(matches!(changed("rounding_base = 5", "rounding_base = 5.0"), Err(PolicyError::Shape(_))));
    assert!(matches!(changed("rounding_base = 5", "rounding_base = -5"), Err(PolicyError::Shape(_))));
    assert!(matches!(changed("rounding_base = 5\n", ""), Err(PolicyError::Shape(_))));
    assert!(matches!(changed("\"bf16\"\n", "\"bf12\"\n"), Err(PolicyError::Shape(_))));
    for (from, to) in [
        ("rounding_base = 5", "rounding_base = 0"),
        ("smallest_count = 10", "smallest_count = 0"),
        ("time_grid_seconds = 600", "time_grid_seconds = 0"),
        ("significant_digits = 4", "significant_digits = 17"),
        ("quarantine_days = 30", "quarantine_days = 31"),
        ("max_integer_digits = 15", "max_integer_digits = 30"),
        ("quantile_percents = [10,", "quantile_percents = [0, 10,"),
        ("80, 90]", "80, 90, 100]"),
    ] {
        assert!(matches!(changed(from, to), Err(PolicyError::Range { .. })), "{to}");
    }
    for (from, to) in [("[10, 20,", "[20, 10,"), ("[10, 20,", "[10, 10, 20,")] {
        assert!(matches!(changed(from, to), Err(PolicyError::Unsorted { .. })), "{to}");
    }
    let none =
        changed("quantile_percents = [10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90]", "quantile_percents = []");
    assert!(none.is_ok_and(|policy| policy.table.quantile_percents.is_empty()));
    assert!(matches!(Policy::parse(&"#".repeat(70_000)), Err(PolicyError::TooLarge)));
}
