//! Sums of two tables over the categories that both have.

use std::collections::{BTreeMap, BTreeSet};

use super::Table;
use crate::table::tabulation::{Dimension, Key, Range, Tabulation};

/// The units of some rows of a table.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    units: i128,
    rows: usize,
    /// No row of this sum is left out.
    is_whole: bool,
}

/// What two tables say of each other.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// Sums, by their values of the common categories, that differ by at least 1 and by fewer than the smallest count.
    pub(super) few: Vec<Key>,
    /// Of these, whether one of the tables leaves out no row of any of them.
    pub(super) are_whole: bool,
    /// No sum that both have differs by more: they are of the same people but for a few. Tables of different people
    /// differ by a few here and there, and isolate nobody by that.
    pub(super) agree: bool,
}

impl Apart {
    /// Whether these sums isolate people, as far as sums can tell.
    pub(super) fn isolates(&self) -> bool {
        !self.few.is_empty() && self.are_whole && self.agree
    }
}

/// Compares the sums of two tables over the categories that both have.
pub(super) fn apart(one: &Tabulation, other: &Tabulation, smallest: i128) -> Apart {
    let names: BTreeSet<&str> = other.dimensions.iter().map(|dimension| &dimension.name[..]).collect();
    let common: Vec<&str> = one
        .dimensions
        .iter()
        .map(|dimension| &dimension.name[..])
        .filter(|name| names.contains(name))
        .collect();
    let others = totals(other, &common);
    let mut found = Apart { few: Vec::new(), are_whole: true, agree: true };
    for (key, one) in totals(one, &common) {
        let Some(other) = others.get(&key) else { continue };
        let difference = (one.units - other.units).abs();
        let is_whole = one.is_whole || other.is_whole;
        // What both leave rows out of may differ by those.
        found.agree &= difference < smallest || !is_whole;
        if (1..smallest).contains(&difference) {
            found.are_whole &= is_whole;
            found.few.push(key);
        }
    }
    found
}

/// The sums by which two tables isolate few people.
fn isolated(one: &Tabulation, other: &Tabulation, smallest: i128) -> Vec<Key> {
    let found = apart(one, other, smallest);
    if found.isolates() { found.few } else { Vec::new() }
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

/// Most earlier tables, the latest first, from each of which the others are put together.
const SEEDS: usize = 16;

/// The sums that differ once tables of the same categories are put together, and the tables that it takes.
pub(super) fn isolated_together(table: &Table, earlier: &[Table], smallest: i128) -> Vec<(Key, String)> {
    let mut found = Vec::new();
    let mut groups: BTreeMap<Vec<&str>, Vec<&Table>> = BTreeMap::new();
    for other in earlier.iter().filter(|other| other.is_of_same_data(table)) {
        groups.entry(names(&other.counts).collect()).or_default().push(other);
    }
    let own_names: Vec<&str> = names(&table.counts).collect();
    for (group_names, group) in &groups {
        if *group_names != own_names {
            for seed in group.iter().take(SEEDS) {
                let (whole, taken) = together(seed, group);
                let keys = isolated(&table.counts, &whole, smallest);
                found.extend(keys.into_iter().filter(|_| taken.len() > 1).map(|key| (key, named(&taken))));
            }
            continue;
        }
        let others = groups.iter().filter(|(other, _)| *other != group_names).flat_map(|(_, group)| group);
        for seed in group.iter().take(SEEDS) {
            let ordered = [&[*seed], &group[..]].concat();
            let (with, taken) = together(table, &ordered);
            // What it was before this table is not this table's doing.
            let before = taken.get(1).map(|first| together(first, &taken[1..]).0);
            for other in others.clone() {
                let old = before.as_ref().map(|before| isolated(before, &other.counts, smallest));
                let keys = isolated(&with, &other.counts, smallest).into_iter();
                let new = keys.filter(|key| !old.as_ref().is_some_and(|old| old.contains(key)));
                let names = named(&[&taken[1..], &[other]].concat());
                found.extend(new.map(|key| (key, names.clone())));
            }
        }
    }
    found
}

/// The rows of a table and of all those of the same categories that say nothing else of any row, and which these are.
/// One that contradicts is of other people: its rows in the place of the true ones would hide what those tell.
fn together<'t>(seed: &'t Table, tables: &[&'t Table]) -> (Tabulation, Vec<&'t Table>) {
    let (mut whole, mut taken) = (seed.counts.clone(), vec![seed]);
    for table in tables {
        if taken.iter().any(|known| std::ptr::eq(*known, *table)) {
            continue;
        }
        let contradicts = |(key, range): (&Key, &Range)| {
            whole.rows.get(key).is_some_and(|known| known.least != range.least)
        };
        if table.counts.rows.iter().any(contradicts) {
            continue;
        }
        whole.rows.extend(table.counts.rows.iter().map(|(key, range)| (key.clone(), *range)));
        for (dimension, more) in whole.dimensions.iter_mut().zip(&table.counts.dimensions) {
            dimension.values.extend(more.values.iter().cloned());
        }
        taken.push(table);
    }
    (whole, taken)
}

/// At most three names.
pub(super) fn named(tables: &[&Table]) -> String {
    let names: Vec<&str> = tables.iter().take(3).map(|table| &table.name[..]).collect();
    let more = if tables.len() > 3 { format!(" and {} more", tables.len() - 3) } else { String::new() };
    names.join(", ") + &more
}
