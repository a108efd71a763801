//! The policies that ship, and what a policy may not say.

mod support;

use egress::{Policy, PolicyError};
use support::STANDARD;

const DEMO: &str = include_str!("../../../policies/egress/demo.toml");

#[test]
fn the_demonstrations_policy_differs_in_its_time_grid_and_witness_only() {
    let (standard, demo) = (Policy::parse(STANDARD).unwrap(), Policy::parse(DEMO).unwrap());
    assert_eq!((standard.time_grid_seconds, standard.on_box_witness), (600, false));
    assert_eq!((demo.time_grid_seconds, demo.on_box_witness), (1, true));
    assert_eq!(Policy { time_grid_seconds: 600, on_box_witness: false, ..demo }, standard);
}

#[test]
fn every_limit_stands_below_a_comment() {
    for policy in [STANDARD, DEMO] {
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
    ] {
        assert!(matches!(changed(from, to), Err(PolicyError::Range { .. })), "{to}");
    }
    assert!(matches!(Policy::parse(&"#".repeat(70_000)), Err(PolicyError::TooLarge)));
}
