//! Bounds of the rows that were left out, with the tables of other jobs.

use std::collections::BTreeSet;

use super::sums::{have_same_categories, named};
use super::{Found, Table, row_text};
use crate::policy::TablePolicy;
use crate::table::suppression::{Audit, audit, bears_on};
use crate::table::tabulation::{Key, Tabulation};

/// Most earlier tables that are asked for one table. Each audit has a limit of its own, and whoever waits for the answer
/// waits for all.
const TABLE_LIMIT: usize = 16;

/// Which rows, of the job's tables and of earlier ones, are told by both together and by neither alone.
pub(super) fn find(policy: &TablePolicy, own: &[(usize, Table)], earlier: &[Table]) -> Vec<(usize, Found)> {
    let mut found = Vec::new();
    let own_tables: Vec<&Tabulation> = own.iter().map(|(_, table)| &table.counts).collect();
    for (index, table) in own {
        let same = earlier.iter().filter(|other| other.is_of_same_data(table));
        let bearing: Vec<&Table> =
            same.clone().filter(|other| bears_on(&other.counts, &table.counts)).take(TABLE_LIMIT).collect();
        let mut all = own_tables.clone();
        all.extend(bearing.iter().map(|other| &other.counts));
        if !bearing.is_empty() {
            let told = newly_told(policy, &table.counts, &own_tables, &all);
            found.extend(told_of(told, "it", &named(&bearing)).map(|found| (*index, found)));
        }
        // The other way round: what an earlier table left out, told by this one.
        for other in same.filter(|other| bears_on(&table.counts, &other.counts)).take(TABLE_LIMIT) {
            let before: Vec<&Tabulation> = bearing.iter().map(|table| &table.counts).collect();
            let told = newly_told(policy, &other.counts, &before, &[&before[..], &[&table.counts]].concat());
            found.extend(told_of(told, &other.name, "this one").map(|found| (*index, found)));
        }
    }
    found
}

/// Why no bounds were computed.
enum Unclear {
    TooLarge,
    NotAdditive,
}

/// The rows that `after` tells and `before` does not.
fn newly_told(
    policy: &TablePolicy,
    table: &Tabulation,
    before: &[&Tabulation],
    after: &[&Tabulation],
) -> Result<Vec<Key>, Unclear> {
    let rows = |others: &[&Tabulation]| match audit(policy, table, others) {
        Audit::Told(rows) => Ok(rows.into_iter().map(|(row, _)| row).collect::<BTreeSet<_>>()),
        Audit::Protected => Ok(BTreeSet::new()),
        Audit::NotAdditive => Err(Unclear::NotAdditive),
        Audit::TooLarge => Err(Unclear::TooLarge),
    };
    let (told, before) = (rows(after)?, rows(before).unwrap_or_default());
    // A row that stands in another table of the same categories is not told by subtraction; it was judged there.
    let is_written = |row: &&Key| {
        after.iter().any(|other| have_same_categories(table, other) && other.rows.contains_key(*row))
    };
    Ok(told.difference(&before).filter(|row| !is_written(row)).cloned().collect())
}

fn told_of(told: Result<Vec<Key>, Unclear>, table: &str, others: &str) -> impl Iterator<Item = Found> {
    let unclear = told.as_ref().err().map(|why| {
        let why = match why {
            Unclear::TooLarge => "they are too large together",
            Unclear::NotAdditive => "their counts do not add up, so that they may be of other people",
        };
        Found::Unclear(format!(
            "what {others} and {table} say of rows left out, beyond sums over their common categories, is not known: {why}"
        ))
    });
    let isolated = told.into_iter().flatten().map(move |row| {
        Found::Isolated(format!(
            "{} is left out of {table}, and with {others} it is told how few units stand in it",
            row_text(&row)
        ))
    });
    let isolated: Vec<Found> = isolated.collect();
    isolated.into_iter().chain(unclear)
}
