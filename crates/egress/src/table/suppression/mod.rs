//! Whether the tables of a job tell, by subtraction, what a row that was left out would have said (complementary
//! suppression).
//!
//! A row is left out since few stand in it; but a table that adds over it, less the rows that were not left out, gives it
//! back. So for each row left out of a table the least and the most units are computed that every table of the job
//! allows: the audit of Fischetti and Salazar, *Models and algorithms for optimizing cell suppression in tabular data*
//! (JASA 95, 2000), which sdcTable and τ-Argus run too. A row is protected if these lie at least as far apart as
//! the policy says, or if even the least are so many that the row might as well have been written.
//!
//! The unknowns are the rows of one table, those left out included; each other table bounds sums of them over the
//! categories that both have. Units are taken to stand in exactly one row. If no counts meet that, units stand in
//! several rows (people in years, say) and subtraction tells nothing; if a sum is larger than its rows, there are units
//! without a category, and only what a sum bounds from above is used.

mod simplex;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::tabulation::{Key, Range, Tabulation};
use crate::policy::TablePolicy;
use simplex::{Bound, Simplex, Trouble};

/// Most rows of one table, those left out included, that are audited.
const ROW_LIMIT: usize = 1024;

/// What the audit says of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Audit {
    /// Each row that was left out is protected, or nothing was.
    Protected,
    /// Counts do not add up over the tables: units stand in several rows.
    NotAdditive,
    /// The table is too large to be sure.
    TooLarge,
    /// These rows are told, and how closely.
    Told(Vec<(Key, Range)>),
}

/// Audits a table against all tables of its job; it may stand among them itself.
pub(crate) fn audit(policy: &TablePolicy, table: &Tabulation, others: &[&Tabulation]) -> Audit {
    let combinations = table.dimensions.iter().map(|dimension| dimension.values.len());
    if table.rows.len() >= combinations.fold(1usize, usize::saturating_mul) {
        // Nothing is left out.
        return Audit::Protected;
    }
    let Some(rows) = all_rows(table) else {
        // Without another table that adds over its rows nothing can be subtracted.
        let bounded =
            others.iter().any(|other| !std::ptr::eq(*other, table) && !sums(table, other).is_empty());
        return if bounded { Audit::TooLarge } else { Audit::Protected };
    };
    let others = others.iter().filter(|other| !std::ptr::eq(**other, table));
    let each: Vec<Vec<Sum>> = others.map(|other| over(&rows, sums(table, other))).collect();
    let all: Vec<Sum> = each.iter().flatten().cloned().collect();
    match audit_with(policy, table, &rows, &all) {
        // Tables that contradict each other, such as one of all and one of a part, still tell something one by one.
        Audit::NotAdditive if each.len() > 1 => {
            let alone = each.iter().map(|sums| audit_with(policy, table, &rows, sums));
            worst(alone).unwrap_or(Audit::NotAdditive)
        }
        audit => audit,
    }
}

/// True if the rows of `other` bound sums over rows that `table` leaves out.
pub(crate) fn bears_on(other: &Tabulation, table: &Tabulation) -> bool {
    let combinations = table.dimensions.iter().map(|dimension| dimension.values.len());
    table.rows.len() < combinations.fold(1usize, usize::saturating_mul)
        && sums(table, other).iter().any(|sum| sum.most.is_some())
}

/// The audit that says most against a table; none if all say that counts do not add up.
fn worst(audits: impl Iterator<Item = Audit>) -> Option<Audit> {
    let rank = |audit: &Audit| match audit {
        Audit::Told(_) => 3,
        Audit::TooLarge => 2,
        Audit::NotAdditive => 1,
        Audit::Protected => 0,
    };
    audits.max_by_key(rank).filter(|worst| *worst != Audit::Protected)
}

fn audit_with(policy: &TablePolicy, table: &Tabulation, rows: &[Key], sums: &[Sum]) -> Audit {
    let bounded: BTreeSet<usize> =
        sums.iter().filter(|sum| sum.most.is_some()).flat_map(|sum| sum.rows.iter().copied()).collect();
    let absent: Vec<usize> =
        bounded.into_iter().filter(|row| !table.rows.contains_key(&rows[*row])).collect();
    if absent.is_empty() {
        return Audit::Protected;
    }
    match told(policy, table, rows, sums, &absent) {
        Ok(told) if told.is_empty() => Audit::Protected,
        Ok(told) => Audit::Told(told.into_iter().map(|(row, range)| (rows[row].clone(), range)).collect()),
        Err(Trouble::Infeasible) => Audit::NotAdditive,
        Err(Trouble::TooLarge) => Audit::TooLarge,
    }
}

/// Every combination of a table's categories; none if there are too many.
fn all_rows(table: &Tabulation) -> Option<Vec<Key>> {
    let mut rows: Vec<Key> = vec![Vec::new()];
    for (place, dimension) in table.dimensions.iter().enumerate() {
        let written = table.rows.keys().map(|key| &key[place]);
        let values: BTreeSet<&String> = dimension.values.iter().chain(written).collect();
        if rows.len().saturating_mul(values.len()) > ROW_LIMIT {
            return None;
        }
        let longer = |row: &Key| {
            values.iter().map(|value| [&row[..], &[(*value).clone()]].concat()).collect::<Vec<_>>()
        };
        rows = rows.iter().flat_map(longer).collect();
    }
    Some(rows)
}

/// What another table says about the sum of some rows, told by the categories that both have.
struct Projected {
    /// Where these categories stand in a row.
    places: Vec<usize>,
    values: Key,
    least: i128,
    /// None if a row of the other table is left out, so that the sum may be larger.
    most: Option<i128>,
}

/// The same, with the rows.
#[derive(Clone)]
struct Sum {
    rows: Vec<usize>,
    least: i128,
    most: Option<i128>,
}

/// The sums that another table gives, with their rows. All of them are told by the same categories.
fn over(rows: &[Key], sums: Vec<Projected>) -> Vec<Sum> {
    let Some(places) = sums.first().map(|sum| sum.places.clone()) else { return Vec::new() };
    let mut groups: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        groups.entry(places.iter().map(|place| row[*place].clone()).collect()).or_default().push(index);
    }
    let with_rows = |sum: Projected| {
        let rows = groups.get(&sum.values)?.clone();
        Some(Sum { rows, least: sum.least, most: sum.most })
    };
    sums.into_iter().filter_map(with_rows).collect()
}

/// The sums over rows of `table` that `other` gives.
fn sums(table: &Tabulation, other: &Tabulation) -> Vec<Projected> {
    let common = |dimension: &&super::tabulation::Dimension| {
        let place = other.dimensions.iter().position(|there| there.name == dimension.name)?;
        let own = table.dimensions.iter().position(|own| own.name == dimension.name)?;
        Some((own, place))
    };
    let (own, there): (Vec<usize>, Vec<usize>) =
        table.dimensions.iter().filter_map(|dimension| common(&dimension)).unzip();
    let projected = |key: &Key| there.iter().map(|place| key[*place].clone()).collect::<Key>();
    let mut sums: BTreeMap<Key, (i128, i128, usize)> = BTreeMap::new();
    for (key, range) in &other.rows {
        let sum = sums.entry(projected(key)).or_default();
        *sum = (sum.0.saturating_add(range.least), sum.1.saturating_add(range.most), sum.2 + 1);
    }
    // Where nobody can stand, nothing is missing.
    let is_row = |zero: &&Key| {
        zero.iter().zip(&other.dimensions).all(|(value, dimension)| dimension.values.contains(value))
    };
    let absent = other.structural_zeros.iter().filter(|zero| !other.rows.contains_key(*zero));
    for zero in absent.filter(is_row) {
        sums.entry(projected(zero)).or_default().2 += 1;
    }
    let summed = (0..other.dimensions.len()).filter(|place| !there.contains(place));
    let all = summed.fold(1usize, |all, place| all.saturating_mul(other.dimensions[place].values.len()));
    let with_most = |(values, (least, most, count)): (Key, (i128, i128, usize))| Projected {
        places: own.clone(),
        values,
        least,
        most: (count >= all).then_some(most),
    };
    sums.into_iter().map(with_most).collect()
}

/// The rows that are told too closely, and how closely, of those that are absent. One in which nobody can stand, by the
/// declaration, is not left out, unless counts add up only if somebody does: then it was left out after all.
fn told(
    policy: &TablePolicy,
    table: &Tabulation,
    rows: &[Key],
    sums: &[Sum],
    absent: &[usize],
) -> Result<Vec<(usize, Range)>, Trouble> {
    let is_zero = |row: &&usize| table.structural_zeros.contains(&rows[**row]);
    let zeros: Vec<usize> = absent.iter().filter(is_zero).copied().collect();
    let left_out: Vec<usize> = absent.iter().filter(|row| !is_zero(row)).copied().collect();
    let solve = |from_below: bool, zeros: &[usize]| {
        Simplex::new(rows.len(), &bounds(table, rows, sums, zeros, from_below))
    };
    let (mut simplex, left_out) = match solve(true, &zeros) {
        Err(Trouble::Infeasible) => match solve(true, &[]) {
            Ok(simplex) if !zeros.is_empty() => (simplex, absent.to_vec()),
            Err(Trouble::TooLarge) => return Err(Trouble::TooLarge),
            // Units without a category: a sum is larger than its rows.
            _ => (solve(false, &zeros)?, left_out),
        },
        other => (other?, left_out),
    };
    let (width, enough) = (i128::from(policy.suppression_width), i128::from(policy.smallest_count));
    let mut told = Vec::new();
    for row in left_out {
        let Some(most) = simplex.largest(row)? else { continue };
        let least = simplex.smallest(row)?;
        if most - least < width && least < enough {
            told.push((row, Range { least, most }));
        }
    }
    Ok(told)
}

/// Upper bounds alone: what must be at least `x` is the negative of what must be at most `−x`.
fn bounds(table: &Tabulation, rows: &[Key], sums: &[Sum], zeros: &[usize], from_below: bool) -> Vec<Bound> {
    let nobody = |row: &usize| Bound { terms: vec![(*row, 1)], limit: 0 };
    let mut bounds: Vec<Bound> = zeros.iter().map(nobody).collect();
    for (unknown, row) in rows.iter().enumerate() {
        if let Some(range) = table.rows.get(row) {
            bounds.push(Bound { terms: vec![(unknown, 1)], limit: range.most });
            bounds.push(Bound { terms: vec![(unknown, -1)], limit: -range.least });
        }
    }
    for sum in sums {
        let terms = |sign: i128| sum.rows.iter().map(|row| (*row, sign)).collect::<Vec<_>>();
        if let Some(most) = sum.most {
            bounds.push(Bound { terms: terms(1), limit: most });
        }
        if from_below {
            bounds.push(Bound { terms: terms(-1), limit: -sum.least });
        }
    }
    bounds
}
