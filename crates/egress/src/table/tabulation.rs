//! A table of counts as its readers see it: what each row says about how many units stand there.

use std::collections::{BTreeMap, BTreeSet};

use release::statement::DeclaredColumn;

use super::columns::{Cell, Columns};
use super::{Value, dimension_name};
use crate::policy::TablePolicy;

/// The values of the categories of a row, in the order of [`Tabulation::dimensions`].
pub(crate) type Key = Vec<String>;

/// How many units stand somewhere: from the first number to the second, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) least: i128,
    pub(crate) most: i128,
}

/// A category that tells rows apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dimension {
    /// The dataset and the category, such as `hie.plan`.
    pub(crate) name: String,
    /// Every value that the catalogue lists.
    pub(crate) values: BTreeSet<String>,
}

/// A table that counts units by categories.
#[derive(Debug, Clone)]
pub(crate) struct Tabulation {
    /// Sorted by name, no name twice.
    pub(crate) dimensions: Vec<Dimension>,
    /// What its rows say.
    pub(crate) rows: BTreeMap<Key, Range>,
    /// Rows in which nobody can stand.
    pub(crate) structural_zeros: BTreeSet<Key>,
}

impl Tabulation {
    /// The counts of a canonical table, each as the range that `range` gives for the row of this index and its shown
    /// count. None if it has no column of counts, names a category twice, or has several rows that no category tells
    /// apart: nothing can be added up then.
    pub(super) fn new(
        declared: &[DeclaredColumn],
        columns: &Columns,
        rows: &[Vec<Value>],
        range: impl Fn(usize, i128) -> Range,
    ) -> Option<Self> {
        let count = columns.count?;
        let mut places: Vec<(Dimension, usize)> = Vec::new();
        for (index, (name, cell)) in columns.list.iter().enumerate() {
            let values = match cell {
                Cell::Number { .. } => continue,
                Cell::Category(values) => values.clone(),
                Cell::Text => BTreeSet::new(),
            };
            places.push((Dimension { name: dimension_name(declared, name), values }, index));
        }
        let given: Vec<usize> = places.iter().map(|(_, index)| *index).collect();
        places.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        if places.windows(2).any(|pair| pair[0].0.name == pair[1].0.name) {
            return None;
        }
        let key = |row: &[Value]| places.iter().map(|(_, index)| row[*index].text()).collect::<Key>();
        let mut ranges = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            let Value::Number(shown) = row[count] else { return None };
            if ranges.insert(key(row), range(index, shown)).is_some() {
                return None;
            }
        }
        for (place, (dimension, index)) in places.iter_mut().enumerate() {
            // At the desk, without a catalogue, the values that were written are all there are.
            if matches!(columns.list[*index].1, Cell::Text) {
                dimension.values = ranges.keys().map(|key: &Key| key[place].clone()).collect();
            }
        }
        let sorted = |zero: &Vec<String>| {
            let place = |index: &usize| given.iter().position(|given| given == index);
            let value = |(_, index): &(Dimension, usize)| zero.get(place(index)?).cloned();
            places.iter().map(value).collect::<Option<Key>>()
        };
        let structural_zeros = columns.structural_zeros.iter().filter_map(sorted).collect();
        let dimensions = places.into_iter().map(|(dimension, _)| dimension).collect();
        Some(Self { dimensions, rows: ranges, structural_zeros })
    }
}

/// The counts that are shown as this multiple of the policy's base. Who reads the table knows the policy, and so that no
/// row but one of nobody stands for fewer units than the smallest count.
pub(super) fn behind(policy: &TablePolicy, shown: i128) -> Range {
    let base = i128::from(policy.rounding_base);
    // A tie goes to the even multiple, so an odd one loses both of its ties.
    let tie = base % 2 == 0 && (shown / base) % 2 != 0;
    let reach = base / 2 - i128::from(tie);
    let smallest = i128::from(policy.smallest_count);
    if shown == 0 && reach < smallest {
        return Range { least: 0, most: 0 };
    }
    let least = if shown == 0 { 0 } else { (shown - reach).max(smallest) };
    Range { least, most: (shown + reach).max(least) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use crate::table::number::round_to_multiple;

    #[test]
    fn a_shown_count_stands_for_exactly_the_counts_that_are_rounded_to_it() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/egress/standard.toml");
        let mut policy = Policy::parse(&std::fs::read_to_string(path).unwrap()).unwrap().table;
        for base in [1, 2, 3, 5, 10] {
            (policy.rounding_base, policy.smallest_count) = (base, 1);
            for count in 1..100 {
                let shown = round_to_multiple(count, i128::from(base));
                let range = behind(&policy, shown);
                assert!((range.least..=range.most).contains(&count), "{count} {base}");
                for other in range.least.max(1)..=range.most {
                    assert_eq!(round_to_multiple(other, i128::from(base)), shown, "{other} {base}");
                }
            }
        }
        (policy.rounding_base, policy.smallest_count) = (5, 10);
        assert_eq!(behind(&policy, 10), Range { least: 10, most: 12 });
        assert_eq!(behind(&policy, 0), Range { least: 0, most: 0 }, "no row stands for 1 or 2");
    }
}
