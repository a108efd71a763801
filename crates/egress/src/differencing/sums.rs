//! Sums of two tables over the categories that both have.

use std::collections::{BTreeMap, BTreeSet};

use super::Table;
use crate::table::tabulation::{Dimension, Key, Tabulation};

/// The units of some rows of a table.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    units: i128,
    rows: usize,
    /// No row of this sum is left out.
    is_whole: bool,
}

/// The sums, by their values of the common categories, that differ by at least 1 and by fewer than `smallest` units. A
/// sum that neither table has whole says nothing.
pub(super) fn isolated(one: &Tabulation, other: &Tabulation, smallest: i128) -> Vec<Key> {
    let names: BTreeSet<&str> = other.dimensions.iter().map(|dimension| &dimension.name[..]).collect();
    let common: Vec<&str> = one
        .dimensions
        .iter()
        .map(|dimension| &dimension.name[..])
        .filter(|name| names.contains(name))
        .collect();
    let others = totals(other, &common);
    let differs = |(key, one): (Key, Total)| {
        let other = others.get(&key)?;
        let apart = (one.units - other.units).abs();
        ((one.is_whole || other.is_whole) && (1..smallest).contains(&apart)).then_some(key)
    };
    totals(one, &common).into_iter().filter_map(differs).collect()
}

/// True if two tables tell rows apart by the same categories.
pub(super) fn have_same_categories(one: &Tabulation, other: &Tabulation) -> bool {
    names(one).eq(names(other))
}

fn names(table: &Tabulation) -> impl Iterator<Item = &str> {
    table.dimensions.iter().map(|dimension| &dimension.name[..])
}

fn totals(table: &Tabulation, common: &[&str]) -> BTreeMap<Key, Total> {
    let is_common = |dimension: &Dimension| common.contains(&&dimension.name[..]);
    let places: Vec<usize> =
        (0..table.dimensions.len()).filter(|place| is_common(&table.dimensions[*place])).collect();
    let summed = table.dimensions.iter().filter(|dimension| !is_common(dimension));
    let all = summed.fold(1usize, |all, dimension| all.saturating_mul(dimension.values.len()));
    let projected = |key: &Key| places.iter().map(|place| key[*place].clone()).collect::<Key>();
    let mut totals: BTreeMap<Key, Total> = BTreeMap::new();
    for (key, range) in &table.rows {
        let total = totals.entry(projected(key)).or_default();
        total.units = total.units.saturating_add(range.least);
        total.rows += 1;
    }
    // Where nobody can stand, nothing is missing.
    let is_row = |zero: &&Key| {
        zero.iter().zip(&table.dimensions).all(|(value, dimension)| dimension.values.contains(value))
    };
    for zero in table.structural_zeros.iter().filter(|zero| !table.rows.contains_key(*zero)).filter(is_row) {
        if let Some(total) = totals.get_mut(&projected(zero)) {
            total.rows += 1;
        }
    }
    totals.values_mut().for_each(|total| total.is_whole = total.rows >= all);
    totals
}

/// The sums that differ once the tables of one snapshot are put together, and the tables that it takes.
pub(super) fn isolated_together(table: &Table, earlier: &[Table], smallest: i128) -> Vec<(Key, String)> {
    let mut found = Vec::new();
    let mut groups: BTreeMap<Vec<&str>, Vec<&Table>> = BTreeMap::new();
    for other in earlier.iter().filter(|other| other.snapshot == table.snapshot) {
        groups.entry(names(&other.counts).collect()).or_default().push(other);
    }
    let own_names: Vec<&str> = names(&table.counts).collect();
    for (group_names, group) in &groups {
        let (whole, names) = together(group);
        if *group_names != own_names && group.len() > 1 {
            let keys = isolated(&table.counts, &whole, smallest);
            found.extend(keys.into_iter().map(|key| (key, names.clone())));
        }
        if *group_names == own_names {
            // What it was before this table is not this table's doing.
            let (with, _) = together(&[&[table], &group[..]].concat());
            for other in groups.iter().filter(|(other, _)| *other != group_names).flat_map(|(_, group)| group)
            {
                let before = isolated(&whole, &other.counts, smallest);
                let keys = isolated(&with, &other.counts, smallest);
                let new = keys.into_iter().filter(|key| !before.contains(key));
                found.extend(new.map(|key| (key, format!("{names} and {}", other.name))));
            }
        }
    }
    found
}

/// The rows of tables of the same categories, those of the first before those of the next, and their names.
fn together(tables: &[&Table]) -> (Tabulation, String) {
    let mut whole = tables[0].counts.clone();
    for table in &tables[1..] {
        for (key, range) in &table.counts.rows {
            whole.rows.entry(key.clone()).or_insert(*range);
        }
        for (dimension, more) in whole.dimensions.iter_mut().zip(&table.counts.dimensions) {
            dimension.values.extend(more.values.iter().cloned());
        }
    }
    (whole, named(tables))
}

/// At most three names.
pub(super) fn named(tables: &[&Table]) -> String {
    let names: Vec<&str> = tables.iter().take(3).map(|table| &table.name[..]).collect();
    let more = if tables.len() > 3 { format!(" and {} more", tables.len() - 3) } else { String::new() };
    names.join(", ") + &more
}
