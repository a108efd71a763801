//! The pages of `docs/formats`: their examples are what the code makes, and each field in them is explained.

use std::collections::BTreeSet;
use std::fs;

use test_formats::documents::{PAGES, keys_of, path, with_examples};

#[test]
fn the_examples_are_what_the_code_makes() {
    for page in PAGES {
        let text = fs::read_to_string(path(page)).unwrap();
        assert!(with_examples(&text) == text, "{page} is stale: run `cargo run -p test-formats`");
    }
}

#[test]
fn each_field_of_a_statement_is_explained() {
    explains_each_field("statements.md");
}

#[test]
fn each_field_of_what_an_auditor_keeps_is_explained() {
    explains_each_field("log.md");
}

fn explains_each_field(page: &str) {
    let text = fs::read_to_string(path(page)).unwrap();
    // Keys of maps are names of people and datasets, which no format explains.
    let names =
        ["hie", "root-rita", "root-rolf", "steward-ana", "steward-ben", "supervisor-sue", "researcher-mia"];
    let names: BTreeSet<_> = names.map(str::to_owned).into();
    let explained = |key: &String| {
        [format!("`{key}`"), format!(".{key}`"), format!("`{key}.")].iter().any(|form| text.contains(form))
    };
    let keys = keys_of(page);
    let missing: Vec<_> = keys.difference(&names).filter(|key| !explained(key)).collect();
    assert!(missing.is_empty(), "{page} does not explain {missing:?}");
}
