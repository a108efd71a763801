//! The audit against tables whose answers are known, and against every possibility.

use super::simplex::{Bound, Simplex, Trouble};
use super::*;
use crate::Policy;
use crate::table::tabulation::Dimension;

fn policy(rounding_base: u64, smallest_count: u64, suppression_width: u64) -> TablePolicy {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/egress/standard.toml");
    let policy = Policy::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    TablePolicy { rounding_base, smallest_count, suppression_width, ..policy.table }
}

/// A table of exact counts. A dimension is a name and its values, one character each; a row is one of each.
fn table(dimensions: &[(&str, &str)], rows: &[(&str, i128)]) -> Tabulation {
    let letters = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
    Tabulation {
        dimensions: dimensions
            .iter()
            .map(|(name, values)| Dimension {
                name: (*name).to_owned(),
                values: letters(values).into_iter().collect(),
            })
            .collect(),
        rows: rows.iter().map(|(key, count)| (letters(key), Range { least: *count, most: *count })).collect(),
        structural_zeros: BTreeSet::new(),
    }
}

fn told(audit: Audit) -> Vec<(String, i128, i128)> {
    match audit {
        Audit::Told(rows) => {
            rows.into_iter().map(|(key, range)| (key.concat(), range.least, range.most)).collect()
        }
        Audit::Protected => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// The textbook case of complementary suppression: with only the primary cell left out of a table with margins it
/// is told exactly; with three complementary ones it lies in an interval.
#[test]
fn one_cell_left_out_of_a_table_with_margins_is_told_and_four_protect_each_other() {
    let margins = [
        table(&[("column", "xyz")], &[("x", 48), ("y", 62), ("z", 45)]),
        table(&[("row", "abc")], &[("a", 50), ("b", 45), ("c", 60)]),
    ];
    let cells = [
        ("xa", 20),
        ("ya", 22),
        ("za", 8),
        ("xb", 8),
        ("yb", 22),
        ("zb", 15),
        ("xc", 20),
        ("yc", 18),
        ("zc", 22),
    ];
    let without = |left_out: &[&str]| {
        let rows: Vec<_> = cells.into_iter().filter(|(key, _)| !left_out.contains(key)).collect();
        table(&[("column", "xyz"), ("row", "abc")], &rows)
    };
    let audit = |table: &Tabulation| audit(&policy(1, 10, 10), table, &[&margins[0], table, &margins[1]]);
    assert_eq!(told(audit(&without(&["za"]))), [("za".to_owned(), 8, 8)]);
    assert_eq!(told(audit(&without(&["za", "xb"]))).len(), 2, "neither shares a margin with the other");
    // x and z, a and b: one unknown, which may be moved by 16 in all.
    assert_eq!(audit(&without(&["za", "xb", "xa", "zb"])), Audit::Protected);
    assert_eq!(audit(&without(&[])), Audit::Protected);
}

#[test]
fn rounded_counts_leave_no_room_where_a_total_stands_beside_them() {
    let policy = policy(5, 10, 10);
    let range = |least, most| Range { least, most };
    let mut cells = table(&[("plan", "abc")], &[("a", 50), ("b", 40)]);
    cells.rows.insert(vec!["a".to_owned()], range(48, 52));
    cells.rows.insert(vec!["b".to_owned()], range(38, 42));
    let mut all = table(&[], &[("", 95)]);
    all.rows.insert(Vec::new(), range(93, 97));
    assert_eq!(told(audit(&policy, &cells, &[&cells, &all])), []);
    cells.rows.insert(vec!["b".to_owned()], range(40, 40));
    cells.rows.insert(vec!["a".to_owned()], range(50, 50));
    assert_eq!(told(audit(&policy, &cells, &[&cells, &all])), [("c".to_owned(), 3, 7)]);
}

#[test]
fn a_finer_table_of_the_same_job_adds_up_to_the_row_that_is_left_out() {
    let coarse = table(&[("plan", "ab")], &[("a", 50)]);
    let fine = table(&[("plan", "ab"), ("sex", "fm")], &[("af", 25), ("am", 25), ("bf", 4), ("bm", 3)]);
    assert_eq!(told(audit(&policy(1, 10, 10), &coarse, &[&coarse, &fine])), [("b".to_owned(), 7, 7)]);
    // Without both of its rows the finer table bounds it from below only.
    let half = table(&[("plan", "ab"), ("sex", "fm")], &[("af", 25), ("am", 25), ("bf", 4)]);
    assert_eq!(audit(&policy(1, 10, 10), &coarse, &[&coarse, &half]), Audit::Protected);
}

#[test]
fn what_nobody_can_stand_in_is_not_left_out() {
    let mut cells = table(&[("sex", "fm"), ("state", "np")], &[("fn", 30), ("fp", 20), ("mn", 40)]);
    let margins = [table(&[("sex", "fm")], &[("f", 50), ("m", 40)]), table(&[], &[("", 90)])];
    let all = [&margins[0], &margins[1]];
    assert_eq!(told(audit(&policy(1, 10, 10), &cells, &all)), [("mp".to_owned(), 0, 0)]);
    cells.structural_zeros.insert(vec!["m".to_owned(), "p".to_owned()]);
    assert_eq!(audit(&policy(1, 10, 10), &cells, &all), Audit::Protected);
}

#[test]
fn a_row_that_is_called_empty_and_is_not_was_left_out() {
    let mut cells = table(&[("plan", "abc")], &[("a", 30), ("b", 40)]);
    cells.structural_zeros.insert(vec!["c".to_owned()]);
    let total = table(&[], &[("", 74)]);
    assert_eq!(told(audit(&policy(1, 10, 10), &cells, &[&total])), [("c".to_owned(), 4, 4)]);
    let honest = table(&[], &[("", 70)]);
    assert_eq!(audit(&policy(1, 10, 10), &cells, &[&honest]), Audit::Protected);
}

#[test]
fn a_table_of_a_part_does_not_hide_what_the_table_of_all_tells() {
    let cells = table(&[("plan", "abc")], &[("a", 30), ("b", 40)]);
    let (all, women) =
        (table(&[], &[("", 74)]), table(&[("plan", "abc")], &[("a", 14), ("b", 22), ("c", 11)]));
    let told = told(audit(&policy(1, 10, 10), &cells, &[&all, &women]));
    assert_eq!(told, [("c".to_owned(), 4, 4)]);
    let roomy = table(&[], &[("", 95)]);
    assert_ne!(audit(&policy(1, 10, 10), &cells, &[&roomy, &women]), Audit::TooLarge);
}

#[test]
fn a_large_table_that_leaves_nothing_out_is_protected_whatever_stands_beside_it() {
    let values: Vec<String> = (0..2000).map(|value| value.to_string()).collect();
    let dimension = Dimension { name: "postcode".to_owned(), values: values.iter().cloned().collect() };
    let range = Range { least: 20, most: 20 };
    let rows = values.iter().map(|value| (vec![value.clone()], range)).collect();
    let whole = Tabulation { dimensions: vec![dimension], rows, structural_zeros: BTreeSet::new() };
    assert_eq!(audit(&policy(1, 10, 10), &whole, &[&table(&[], &[("", 40_000)])]), Audit::Protected);
}

#[test]
fn counts_of_people_who_stand_in_several_rows_tell_nothing_and_people_without_a_category_leave_room() {
    let cells = table(&[("year", "abc")], &[("a", 50), ("b", 40)]);
    let fewer = table(&[], &[("", 60)]);
    assert_eq!(audit(&policy(1, 10, 10), &cells, &[&fewer]), Audit::NotAdditive);
    // With every row there is no row left out, whatever the total.
    let whole = table(&[("year", "ab")], &[("a", 50), ("b", 40)]);
    assert_eq!(audit(&policy(1, 10, 10), &whole, &[&fewer]), Audit::Protected);
}

#[test]
fn a_table_too_large_to_audit_is_refused_only_where_another_bounds_it() {
    let values: BTreeSet<String> = (0..40).map(|value| value.to_string()).collect();
    let dimension = |name: &str| Dimension { name: name.to_owned(), values: values.clone() };
    let large = Tabulation {
        dimensions: vec![dimension("one"), dimension("other")],
        rows: BTreeMap::new(),
        structural_zeros: BTreeSet::new(),
    };
    assert_eq!(audit(&policy(1, 10, 10), &large, &[&large]), Audit::Protected);
    assert_eq!(audit(&policy(1, 10, 10), &large, &[&large, &table(&[], &[("", 9)])]), Audit::TooLarge);
}

/// Whatever a job writes, the audit ends: by an answer, or by saying that the table is too large.
#[test]
fn a_table_that_would_take_long_ends_at_the_limit_of_work() {
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEF";
    let names: Vec<String> = letters.chars().map(String::from).collect();
    let mut cells = table(&[("one", letters), ("other", letters)], &[]);
    let mut margins = [table(&[("one", letters)], &[]), table(&[("other", letters)], &[])];
    let count = |at: usize, other: usize| 10 + ((at * 7 + other * 13) % 29) as i128;
    for (at, one) in names.iter().enumerate() {
        for (place, margin) in margins.iter_mut().enumerate() {
            let of = |other: usize| if place == 0 { count(at, other) } else { count(other, at) };
            let sum = (0..names.len()).map(of).sum();
            margin.rows.insert(vec![one.clone()], Range { least: sum, most: sum });
        }
        for (at_other, other) in names.iter().enumerate().filter(|(at_other, _)| (at + at_other) % 3 != 0) {
            let exact = count(at, at_other);
            cells.rows.insert(vec![one.clone(), other.clone()], Range { least: exact, most: exact });
        }
    }
    assert_eq!(audit(&policy(1, 10, 10), &cells, &[&margins[0], &margins[1]]), Audit::TooLarge);
}

#[test]
fn bounds_are_those_that_trying_every_count_gives() {
    let mut seed = 7u64;
    let mut below = |limit: i128| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i128::from(seed >> 33) % limit
    };
    let mut bounded = 0;
    for _ in 0..300 {
        // Two rows and two columns with sums in ranges: the matrix is totally unimodular, so bounds are whole.
        let truth: Vec<i128> = (0..4).map(|_| below(6)).collect();
        let groups = [vec![0, 1], vec![2, 3], vec![0, 2], vec![1, 3]];
        let mut bounds = Vec::new();
        for group in groups {
            let sum: i128 = group.iter().map(|unknown| truth[*unknown]).sum();
            let terms = |sign| group.iter().map(|unknown| (*unknown, sign)).collect::<Vec<_>>();
            bounds.push(Bound { terms: terms(1), limit: sum + below(3) });
            bounds.push(Bound { terms: terms(-1), limit: -(sum - below(3)) });
        }
        let meets = |point: &[i128]| {
            bounds.iter().all(|bound| {
                bound.terms.iter().map(|(unknown, sign)| point[*unknown] * sign).sum::<i128>() <= bound.limit
            })
        };
        let every = (0..20i128.pow(4))
            .map(|number| [number % 20, number / 20 % 20, number / 400 % 20, number / 8000]);
        let points: Vec<[i128; 4]> = every.filter(|point| meets(point)).collect();
        let mut simplex = Simplex::new(4, &bounds).unwrap();
        for unknown in 0..4 {
            let least = points.iter().map(|point| point[unknown]).min().unwrap();
            let most = points.iter().map(|point| point[unknown]).max().unwrap();
            assert_eq!(simplex.largest(unknown), Ok(Some(most)));
            assert_eq!(simplex.smallest(unknown), Ok(least));
            bounded += 1;
        }
    }
    assert_eq!(bounded, 1200);
    let contradiction = [Bound { terms: vec![(0, 1)], limit: 1 }, Bound { terms: vec![(0, -1)], limit: -2 }];
    assert_eq!(Simplex::new(1, &contradiction).err(), Some(Trouble::Infeasible));
    assert_eq!(Simplex::new(1, &[]).unwrap().largest(0), Ok(None));
}
