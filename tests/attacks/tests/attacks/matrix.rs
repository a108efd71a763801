//! The whole matrix behind the native wall, as root and as a normal user.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use test_attacks::seen::{Outcome, RESIDUAL, Seen};

/// Every attempt, by wall.
fn matrix() -> BTreeMap<String, Vec<Seen>> {
    let output = Command::new(env!("CARGO_BIN_EXE_hostile-suite"))
        .arg("--helper")
        .arg(harness::programs().join("databox-launch"))
        .output()
        .expect("the hostile suite");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut walls = BTreeMap::<String, Vec<Seen>>::new();
    for line in said.lines() {
        let seen: Seen = serde_json::from_str(line).expect("one attempt a line");
        walls.entry(seen.wall.clone()).or_default().push(seen);
    }
    assert!(!walls.is_empty(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    walls
}

#[test]
fn every_attempt_is_contained_or_named_as_residual_as_root_and_as_a_normal_user() {
    let walls = matrix();
    let expected: &[&str] = match test_attacks::stage::is_root() {
        true => &["native as a normal user", "native as root"],
        false => &["native as a normal user"],
    };
    assert_eq!(walls.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    for (wall, seen) in &walls {
        let names: BTreeSet<&str> = seen.iter().map(|one| one.attempt.as_str()).collect();
        assert_eq!(names.len(), seen.len(), "{wall}: two attempts have one name");
        let residual: BTreeSet<&str> = seen
            .iter()
            .filter(|one| one.outcome == Outcome::Residual)
            .map(|one| one.attempt.as_str())
            .collect();
        assert_eq!(residual, BTreeSet::from(RESIDUAL), "{wall}");
        assert!(residual.len() <= 6, "{wall}");
        let contained = seen.iter().filter(|one| one.outcome == Outcome::Contained).count();
        let failed: Vec<&Seen> = seen
            .iter()
            .filter(|one| !matches!(one.outcome, Outcome::Contained | Outcome::Residual))
            .collect();
        assert!(failed.is_empty(), "{failed:#?}");
        assert!(contained >= 240, "{wall}: {contained} attempts are contained");
    }
}
