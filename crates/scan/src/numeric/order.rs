//! Columns of the data in an output, in other units: scaled, standardised, as logarithms, with some noise.
//!
//! What no such change touches is the order: which of a stretch of values is the largest, which the second. Fourteen
//! values in other than a regular order have it by chance once in 2^36. So stretches of outputs are indexed by their
//! order, those of the data looked up, and a match is judged by how well the ranks agree around it.

use std::collections::HashMap;

use super::layout::Piece;
use super::stretches::{DIFFERENT, STRETCH, Sequence, Steps, TURNS, WholeSteps, turns};

/// Rows by which a match is followed to each side, at most.
const FOLLOWED: usize = 160;

/// Values of a column of the data that are kept.
const HISTORY: usize = 1024;

/// Places of the same order that are compared.
const SAME: usize = 16;

/// Matches that are remembered of a pass.
const REMEMBERED: usize = 1 << 16;

struct Entry {
    order: u64,
    sequence: u32,
    row: u32,
    falling: bool,
    backwards: bool,
}

/// The sequences of outputs, indexed by the order of their stretches.
pub(super) struct Orders<'a> {
    pieces: &'a [Piece],
    sequences: Vec<Sequence>,
    entries: Vec<Entry>,
    filter: Vec<u64>,
}

impl<'a> Orders<'a> {
    pub(super) fn new(pieces: &'a [Piece], sequences: Vec<Sequence>) -> Self {
        let (mut entries, mut steps) = (Vec::new(), WholeSteps::default());
        for (index, sequence) in sequences.iter().enumerate() {
            steps.each_stretch(sequence, pieces, |order, row, falling, backwards| {
                entries.push(Entry { order, sequence: index as u32, row: row as u32, falling, backwards });
            });
        }
        // Of entries of the same order the first ones are compared.
        let place = |entry: &Entry| (entry.order, entry.sequence, entry.backwards, entry.falling, entry.row);
        entries.sort_unstable_by_key(place);
        let bits = (entries.len().max(64) * 8).next_power_of_two();
        let mut filter = vec![0; bits / 64];
        for entry in &entries {
            let bit = spread(entry.order) as usize & (bits - 1);
            filter[bit / 64] |= 1 << (bit % 64);
        }
        Self { pieces, sequences, entries, filter }
    }

    /// Places that are compared with.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    fn of(&self, order: u64) -> &[Entry] {
        let bit = spread(order) as usize & (self.filter.len() * 64 - 1);
        if self.filter[bit / 64] >> (bit % 64) & 1 == 0 {
            return &[];
        }
        let start = self.entries.partition_point(|entry| entry.order < order);
        let length = self.entries[start..].iter().take(SAME).take_while(|entry| entry.order == order).count();
        &self.entries[start..start + length]
    }

    fn value(&self, entry: &Entry, row: usize) -> f64 {
        let sequence = &self.sequences[entry.sequence as usize];
        sequence.value(self.pieces, row, entry.falling, entry.backwards)
    }
}

fn spread(order: u64) -> u64 {
    (order ^ order >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

/// A column of the data as it streams by.
#[derive(Default)]
struct Column {
    steps: Steps,
    /// The last values; that of a row is at the row modulo [`HISTORY`].
    history: Vec<f64>,
    /// Matches that wait for the rows behind them: the row at which they are judged, the first row, the order.
    waiting: Vec<(u64, u64, u64)>,
}

/// Columns that agree with an output's at one distance of rows.
#[derive(Default)]
struct Agreement {
    /// By sequence: bits, and which data it was, so that two columns of the same order count once.
    by_sequence: HashMap<u32, (f64, u64)>,
}

/// Where columns of the data stand in outputs.
pub(super) struct OrderSearch<'a> {
    orders: &'a Orders<'a>,
    columns: Vec<Column>,
    row: u64,
    file: u32,
    agreements: HashMap<(u32, usize, usize, i64, bool), Agreement>,
    looked_up: u64,
}

impl<'a> OrderSearch<'a> {
    pub(super) fn new(orders: &'a Orders<'a>) -> Self {
        Self { orders, columns: Vec::new(), row: 0, file: 0, agreements: HashMap::new(), looked_up: 0 }
    }

    /// Takes the next record of a file.
    pub(super) fn add(&mut self, record: &[f64]) {
        if self.columns.len() < record.len() {
            self.columns.resize_with(record.len(), Column::default);
        }
        let row = self.row;
        for at in 0..self.columns.len() {
            let value = record.get(at).copied().unwrap_or(f64::NAN);
            let column = &mut self.columns[at];
            if column.history.is_empty() {
                column.history = vec![f64::NAN; HISTORY];
            }
            column.history[row as usize % HISTORY] = value;
            if let Some((order, first)) = column.steps.add(row, value) {
                self.looked_up += 1;
                if !self.orders.of(order).is_empty() {
                    column.waiting.push((row + FOLLOWED as u64, first, order));
                }
            }
            if column.waiting.first().is_some_and(|(due, ..)| *due <= row) {
                let (_, first, order) = self.columns[at].waiting.remove(0);
                self.judge(at, first, order);
            }
        }
        self.row += 1;
    }

    /// Ends a file.
    pub(super) fn end_file(&mut self) {
        for at in 0..self.columns.len() {
            for (_, first, order) in std::mem::take(&mut self.columns[at].waiting) {
                self.judge(at, first, order);
            }
        }
        self.columns.clear();
        (self.row, self.file) = (0, self.file + 1);
    }

    fn judge(&mut self, column: usize, first: u64, order: u64) {
        for entry in self.orders.of(order) {
            let sequence = &self.orders.sequences[entry.sequence as usize];
            let length = sequence.length;
            let history = &self.columns[column].history;
            let (mut best, mut signature) = (0.0, 0);
            for (before, after) in
                [(0, 12), (0, 40), (0, FOLLOWED), (40, 40), (FOLLOWED, FOLLOWED), (FOLLOWED, 40)]
            {
                let before = before.min(entry.row as usize).min(first as usize);
                let newest = self.row.saturating_sub(1) - first;
                let after = (after + STRETCH).min(length - entry.row as usize).min(newest as usize + 1);
                let pairs = (0..before + after).filter_map(|index| {
                    let row = first as usize - before + index;
                    let pair = (
                        history[row % HISTORY],
                        self.orders.value(entry, entry.row as usize - before + index),
                    );
                    (!pair.0.is_nan() && !pair.1.is_nan()).then_some(pair)
                });
                let pairs: Vec<(f64, f64)> = pairs.collect();
                let bits = agreement(&pairs);
                if bits > best {
                    (best, signature) = (bits, first ^ order.rotate_left(17));
                }
            }
            // Rows and columns of a piece are different directions; a distance of rows means something in one only.
            let distance = i64::from(entry.row) - first as i64;
            let key = (self.file, sequence.piece, sequence.stride, distance, entry.backwards);
            if best > 0.0 && (self.agreements.len() < REMEMBERED || self.agreements.contains_key(&key)) {
                let known = self.agreements.entry(key).or_default();
                let slot = known.by_sequence.entry(entry.sequence).or_insert((best, signature));
                if best > slot.0 {
                    *slot = (best, signature);
                }
            }
        }
    }

    /// Sequences that agree with columns of the data so well that chance does not explain it, with the bits that they
    /// have together.
    pub(super) fn alarms(&self, alarm_bits: f64) -> Vec<&'a Sequence> {
        let comparisons = (self.orders.places().max(1) as f64 * self.looked_up.max(1) as f64).log2();
        let mut alarming = Vec::new();
        for agreement in self.agreements.values() {
            let mut together: Vec<(f64, u64, u32)> = agreement
                .by_sequence
                .iter()
                .map(|(sequence, (bits, data))| (*bits, *data, *sequence))
                .collect();
            together.sort_by(|a, b| b.0.total_cmp(&a.0));
            let mut counted: Vec<u64> = Vec::new();
            let mut bits = 0.0;
            for (own, data, _) in &together {
                if !counted.contains(data) {
                    // Each further column could have been another one of the data's.
                    bits += own - if counted.is_empty() { 0.0 } else { 10.0 };
                    counted.push(*data);
                }
            }
            if bits >= alarm_bits + comparisons {
                alarming.extend(
                    together.iter().map(|(_, _, sequence)| &self.orders.sequences[*sequence as usize]),
                );
            }
        }
        alarming
    }
}

/// Bits by which two sequences agree more in their ranks than chance lets them: for a rank correlation r of d different
/// values (d - 2) / 2 × -log2(1 - r²), the tail of a correlation of independent values, and no more than log2(d!), the
/// count of orders that there are.
fn agreement(pairs: &[(f64, f64)]) -> f64 {
    let (first, second): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let steps = |values: &[f64]| {
        let mut steps = values.to_vec();
        steps.dedup();
        steps
    };
    if turns(&steps(&first)) < TURNS || turns(&steps(&second)) < TURNS {
        return 0.0;
    }
    let ((a, different_a), (b, different_b)) = (ranks(&first), ranks(&second));
    let different = different_a.min(different_b) as f64;
    let correlation = correlation(&a, &b);
    if correlation < 0.9 || different < DIFFERENT as f64 {
        return 0.0;
    }
    let tail = (different - 2.0) / 2.0 * -(1.0 - correlation * correlation).max(1e-9).log2();
    let orders: f64 = (2..=different as u64).map(|factor| (factor as f64).log2()).sum();
    tail.min(orders)
}

/// The rank of each value, equal ones sharing the middle, and how many different ones there are.
fn ranks(values: &[f64]) -> (Vec<f64>, usize) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = |value: &f64| {
        let below = sorted.partition_point(|other| other < value);
        let above = sorted.partition_point(|other| other <= value);
        (below + above) as f64
    };
    let ranks = values.iter().map(middle).collect();
    sorted.dedup();
    (ranks, sorted.len())
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - mean_a) * (y - mean_b);
        aa += (x - mean_a) * (x - mean_a);
        bb += (y - mean_b) * (y - mean_b);
    }
    if aa > 0.0 && bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}
