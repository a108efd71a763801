//! Which column of an output is which column of the data, told by the records that its rows share most values with.
//!
//! In the data's own units the values of a copied row are those of its record, in whatever columns. So for each row the record
//! is kept with which it shares the most, and each value that they share is a vote for its two columns. Columns that are
//! none of the data's have no votes that agree. This only proposes: whether rows are records is told by what is near them.

use std::collections::BTreeMap;

use super::Columns;
use super::layout::Piece;
use super::neighbours::{MOST_TABLES, columns_that_fit, rows_that_are_looked_at};
use super::sample::{Chances, Key, NO_NUMBER, key, near};

/// Bits that a value must say to count. Zeros, flags and codes stand everywhere.
const LEAST_BITS: f32 = 3.0;

/// Share of the rows that vote for two columns, at least.
const VOTES: f64 = 0.2;

/// Rows of an output.
struct Table {
    piece: usize,
    turned: bool,
    columns: usize,
    /// The values, row by row.
    keys: Vec<Key>,
    /// Rows in which a value near each key stands, those of a key from its start on.
    rows: Vec<u8>,
    starts: Vec<u32>,
    best: Vec<Best>,
}

/// The record with which a row shares the most.
#[derive(Clone, Default)]
struct Best {
    bits: f32,
    /// Columns of the output, and of the data.
    shared: Vec<(usize, usize)>,
}

impl Table {
    fn new(piece: usize, turned: bool, columns: &Columns<'_>) -> Self {
        let mut keys = Vec::new();
        for row in rows_that_are_looked_at(columns) {
            keys.extend((0..columns.columns).map(|column| key(columns.value(row, column))));
        }
        let around = |key: Key| (0..=2).filter_map(move |step: Key| (key + step).checked_sub(1));
        let mut places: Vec<(Key, u8)> = Vec::new();
        for (row, values) in keys.chunks(columns.columns).enumerate() {
            let numbers = values.iter().filter(|key| **key != NO_NUMBER && **key != 0);
            places.extend(numbers.flat_map(|key| around(*key)).map(|key| (key, row as u8)));
        }
        places.sort_unstable();
        places.dedup();
        let mut starts = vec![0; usize::from(Key::MAX) + 2];
        for (key, _) in &places {
            starts[usize::from(*key) + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let rows = places.into_iter().map(|(_, row)| row).collect();
        let best = vec![Best::default(); keys.len() / columns.columns];
        Self { piece, turned, columns: columns.columns, keys, rows, starts, best }
    }

    /// What of a record, given as columns, keys and bits, each row has at most; then exactly, where that is more than before.
    fn add(&mut self, fields: &[(usize, Key, f32)], most: &mut [f32; 256]) {
        most.fill(0.0);
        for (_, key, bits) in fields {
            let (start, end) = (self.starts[usize::from(*key)], self.starts[usize::from(*key) + 1]);
            for row in &self.rows[start as usize..end as usize] {
                most[usize::from(*row)] += bits;
            }
        }
        for (row, best) in self.best.iter_mut().enumerate() {
            if most[row] <= best.bits {
                continue;
            }
            let values = &self.keys[row * self.columns..][..self.columns];
            let shared = values.iter().enumerate().filter_map(|(column, value)| {
                let same = fields.iter().filter(|(_, key, _)| near(*key, *value));
                let (of_data, _, bits) = same.max_by(|a, b| a.2.total_cmp(&b.2))?;
                Some((column, *of_data, *bits))
            });
            let shared: Vec<(usize, usize, f32)> = shared.collect();
            let bits = shared.iter().map(|(.., bits)| bits).sum();
            if bits > best.bits {
                let columns = shared.into_iter().map(|(own, of_data, _)| (own, of_data)).collect();
                *best = Best { bits, shared: columns };
            }
        }
    }
}

/// Outputs' tables, and the records that their rows share most with.
pub(super) struct Joined {
    tables: Vec<Table>,
    fields: Vec<(usize, Key, f32)>,
}

impl Joined {
    pub(super) fn new(pieces: &[Piece]) -> Self {
        let mut tables = Vec::new();
        for (piece, turned, columns) in columns_that_fit(pieces).take(MOST_TABLES) {
            tables.push(Table::new(piece, turned, &columns));
        }
        Self { tables, fields: Vec::new() }
    }

    /// Takes the next record, whose first column has this number.
    pub(super) fn add(&mut self, first: usize, record: &[f64], chances: &Chances) {
        if self.tables.is_empty() {
            return;
        }
        self.fields.clear();
        for (column, value) in (first..).zip(record) {
            let key = key(*value);
            let bits = if key == NO_NUMBER { 0.0 } else { chances.bits(column, key) };
            if bits >= LEAST_BITS {
                self.fields.push((column, key, bits));
            }
        }
        let mut most = [0.0; 256];
        self.tables.iter_mut().for_each(|table| table.add(&self.fields, &mut most));
    }

    /// Columns of an output with those of the data that most rows say they are, no column twice.
    pub(super) fn columns(&self, piece: usize, turned: bool) -> Vec<(usize, usize)> {
        let Some(table) = self.tables.iter().find(|table| table.piece == piece && table.turned == turned)
        else {
            return Vec::new();
        };
        let mut votes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for shared in table.best.iter().flat_map(|best| &best.shared) {
            *votes.entry(*shared).or_default() += 1;
        }
        let mut votes: Vec<_> = votes.into_iter().collect();
        votes.retain(|(_, votes)| *votes as f64 >= VOTES * table.best.len() as f64);
        votes.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for ((own, of_data), _) in votes {
            if pairs.iter().all(|pair| pair.0 != own && pair.1 != of_data) {
                pairs.push((own, of_data));
            }
        }
        pairs
    }
}
