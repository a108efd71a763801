//! A table leaves as typed cells in one order and one way of writing, or not at all.

mod support;

use egress::Task;
use release::rule::Rule;
use release::statement::{RuleResult, VerdictResult};
use support::{Numbers, catalogue_with, form, form_one, judge_one, result, task, with_policy};

const DECLARED: &str = r#"{"kind":"table","path":"t.csv","columns":[
    {"name":"plan","type":"category:hie.plan"},{"name":"n","type":"integer"},{"name":"mean","type":"decimal:2"}],
    "countColumn":"n"}"#;
const CANONICAL: &[u8] = b"plan,n,mean\nfree,50,1.25\nindividual,40,2.50\n";

fn table() -> Task {
    task(&[DECLARED])
}

fn formed(text: &str) -> Option<String> {
    form_one(&table(), text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn many_ways_to_write_a_table_have_one_form() {
    let canonical = String::from_utf8(CANONICAL.into()).unwrap();
    for written in [
        &canonical,
        "plan,n,mean\r\nfree,50,1.25\r\nindividual,40,2.5\r\n",
        "plan,n,mean\nindividual,40,2.5\nfree,50,1.25",
        "\"plan\",\"n\",\"mean\"\n\"free\",\"50\",\"1.25\"\n\"individual\",\"40\",\"2.5\"\n",
        "plan,n,mean\n\nfree,5e1,0.125e1\n\n\nindividual,40.0,2.4999\n",
        "plan,n,mean\nfree,0050,1.2500000000000000001\nindividual,39,2.504\n",
        "\u{feff}plan,n,mean\nfree,50,1.25\nindividual,40,2.50\n",
    ] {
        assert_eq!(formed(written).as_deref(), Some(canonical.as_str()), "{written:?}");
    }
    let judged = judge_one(&table(), CANONICAL);
    assert_eq!(judged.result, VerdictResult::Pass);
    assert_eq!(judged.report.bits[0], 8 * (CANONICAL.len() as u64 - 12));
}

#[test]
fn a_table_that_is_not_as_declared_has_no_form() {
    for written in [
        "",
        "plan,n\nfree,50\n",
        "n,plan,mean\n50,free,1.25\n",
        "Plan,n,mean\nfree,50,1.25\n",
        "plan,n,mean,\nfree,50,1.25,\n",
        "plan,n,mean\nfree,50\n",
        "plan,n,mean\nfree,50,1.25,extra\n",
        "plan,n,mean\nfree ,50,1.25\n",
        "plan,n,mean\nFREE,50,1.25\n",
        "plan,n,mean\n,50,1.25\n",
        "plan,n,mean\nfree,50,\n",
        "plan,n,mean\nfree,fifty,1.25\n",
        "plan,n,mean\nfree,50.5,1.25\n",
        "plan,n,mean\nfree,-50,1.25\n",
        "plan,n,mean\nfree,50,nan\n",
        "plan,n,mean\nfree,50,inf\n",
        "plan,n,mean\nfree,50,1e400\n",
        "plan,n,mean\nfree,50,1234567890123456\n",
        "plan,n,mean\nfree,50,1.25\nfree,60,1.26\n",
        "plan;n;mean\nfree;50;1.25\n",
    ] {
        let (judgement, files) = form(&table(), &[("t.csv", written.as_bytes())]);
        assert_eq!(result(&judgement, Rule::TableForm), RuleResult::Blocked, "{written:?}");
        assert!(files.0.is_empty(), "{written:?}");
        assert_eq!(judge_one(&table(), written.as_bytes()).result, VerdictResult::Blocked, "{written:?}");
    }
    let (judgement, _) = form(&table(), &[("t.csv", b"plan,n,mean\nfr\xe9e,50,1.25\n")]);
    assert_eq!(result(&judgement, Rule::TableForm), RuleResult::Blocked, "bytes that are no text");
}

#[test]
fn the_judge_blocks_what_the_canonicaliser_would_have_changed() {
    let mut cases = vec![
        "plan,n,mean\nindividual,40,2.50\nfree,50,1.25\n",
        "plan,n,mean\r\nfree,50,1.25\r\nindividual,40,2.50\r\n",
        "plan,n,mean\nfree,50,1.25\nindividual,40,2.5\n",
        "plan,n,mean\nfree,50,1.25\nindividual,40,2.50",
        "plan,n,mean\n\nfree,50,1.25\nindividual,40,2.50\n",
        "plan,n,mean\n\"free\",50,1.25\nindividual,40,2.50\n",
        "plan,n,mean\nfree,050,1.25\nindividual,40,2.50\n",
        "plan,n,mean\nfree,50,-0.00\nindividual,40,2.50\n",
    ];
    for written in cases.drain(..) {
        let judged = judge_one(&table(), written.as_bytes());
        assert_eq!(result(&judged, Rule::TableForm), RuleResult::Blocked, "{written:?}");
    }
    let unrounded = judge_one(&table(), b"plan,n,mean\nfree,51,1.25\n");
    assert_eq!(result(&unrounded, Rule::TableRounding), RuleResult::Blocked);
}

#[test]
fn small_groups_are_found_before_rounding_hides_them() {
    for (count, expected) in [(7, false), (8, false), (9, false), (10, true), (11, true), (12, true)] {
        let written = format!("plan,n,mean\nfree,{count},1.25\nindividual,40,2.50\n");
        let (judgement, files) = form(&table(), &[("t.csv", written.as_bytes())]);
        let passed = result(&judgement, Rule::TableSmallestCount) == RuleResult::Passed;
        assert_eq!(passed, expected, "{count}");
        assert_eq!(files.0.len(), 1, "stewards see what was blocked");
    }
    let judged = judge_one(&table(), b"plan,n,mean\nfree,5,1.25\n");
    assert_eq!(result(&judged, Rule::TableSmallestCount), RuleResult::Blocked);
}

#[test]
fn a_table_without_counts_is_blocked() {
    let declared = r#"{"kind":"table","path":"t.csv","columns":[{"name":"x","type":"decimal:1"}]}"#;
    let judged = judge_one(&task(&[declared]), b"x\n1.5\n");
    assert_eq!(result(&judged, Rule::TableSmallestCount), RuleResult::Blocked);
    assert_eq!(result(&judged, Rule::TableForm), RuleResult::Passed);
}

#[test]
fn a_table_of_too_many_cells_is_blocked_by_both() {
    let task = with_policy(table(), "max_cells = 10000", "max_cells = 5");
    let written = CANONICAL;
    let (judgement, files) = form(&task, &[("t.csv", written)]);
    assert_eq!(result(&judgement, Rule::TableCells), RuleResult::Blocked);
    assert!(files.0.is_empty());
    assert_eq!(result(&judge_one(&task, written), Rule::TableCells), RuleResult::Blocked);
    let one_row = b"plan,n,mean\nfree,50,1.25\n";
    assert_eq!(result(&judge_one(&task, one_row), Rule::TableCells), RuleResult::Passed);
}

#[test]
fn categories_with_commas_quotes_and_nothing_in_them_are_quoted_and_read_again() {
    let mut task = table();
    task.catalogue = vec![catalogue_with(&["", "a,b", "say \"x\"", "two\nlines", "plain"])];
    let written =
        "plan,n,mean\nplain,50,1\n\"a,b\",50,1\n\"say \"\"x\"\"\",50,1\n\"two\nlines\",50,1\n,50,1\n";
    let canonical = form_one(&task, written.as_bytes()).unwrap();
    let expected = "plan,n,mean\n\"\",50,1.00\n\"a,b\",50,1.00\nplain,50,1.00\n\"say \"\"x\"\"\",50,1.00\n\"two\nlines\",50,1.00\n";
    assert_eq!(String::from_utf8(canonical.clone()).unwrap(), expected);
    assert_eq!(judge_one(&task, &canonical).result, VerdictResult::Pass);
}

#[test]
fn a_category_must_stand_in_the_signed_catalogue_of_its_dataset() {
    let mut without = table();
    without.catalogue.clear();
    assert_eq!(result(&judge_one(&without, CANONICAL), Rule::TableForm), RuleResult::Blocked);
    let other = task(&[&DECLARED.replace("hie.plan", "other.plan")]);
    assert_eq!(result(&judge_one(&other, CANONICAL), Rule::TableForm), RuleResult::Blocked);
    // A column of text lists no categories, and is none.
    let text = task(&[&DECLARED.replace("hie.plan", "hie.note")]);
    assert_eq!(result(&judge_one(&text, CANONICAL), Rule::TableForm), RuleResult::Blocked);
}

#[test]
fn a_table_without_categories_is_sorted_by_its_numbers() {
    let declared = r#"{"kind":"table","path":"t.csv","columns":[{"name":"year","type":"integer"},{"name":"n","type":"integer"}],"countColumn":"n"}"#;
    let task = task(&[declared]);
    let canonical = form_one(&task, b"year,n\n10,50\n9,60\n-1,70\n").unwrap();
    assert_eq!(canonical, b"year,n\n-1,70\n9,60\n10,50\n");
    assert_eq!(form_one(&task, b"year,n\n9,50\n9,50\n"), None);
}

#[test]
fn damaged_tables_are_refused_or_formed_and_never_worse() {
    let mut numbers = Numbers(3);
    let mut formed = 0;
    for _ in 0..20_000 {
        let mut file = CANONICAL.to_vec();
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(file.len());
            match numbers.below(4) {
                0 => file[at] = b"0123456789-.,\"\n\re"[numbers.below(17)],
                1 => file[at] = numbers.next() as u8,
                2 => drop(file.remove(at)),
                _ => file.insert(at, b"0123456789-.,\"\n\re"[numbers.below(17)]),
            }
        }
        if let Some(canonical) = form_one(&table(), &file) {
            let judged = judge_one(&table(), &canonical);
            assert_eq!(result(&judged, Rule::TableForm), RuleResult::Passed, "{file:?}");
            assert_eq!(form_one(&table(), &canonical), Some(canonical), "{file:?}");
            formed += 1;
        }
    }
    assert!(formed > 100, "{formed}");
}
