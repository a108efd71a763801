//! Rows of the data in an output in any order *and* in any unit: standardised rows of a sample, as support vectors are; or
//! with their columns in any order, in the data's units.
//!
//! Neither values nor their order are left then. What is left is that each row of the output is one record, and no other:
//! once the columns are brought to the same scale, its nearest record is much nearer than the second nearest. For rows
//! of no one that is as rare as the distances of random points make it, whatever the data's distribution: with D
//! continuous columns that vary freely, the nearest is nearer than r times the second with a chance of r^D.

use std::collections::BTreeMap;

use super::evidence::rarity;
use super::joined::Joined;
use super::layout::Piece;
use super::{Columns, Sample};

/// Rows of an output that are looked at; of more, so many are drawn.
const ROWS: usize = 256;

/// Least rows of an output.
const FEWEST_ROWS: usize = 24;

/// Least columns that must correspond to continuous ones of the data.
const FEWEST_COLUMNS: usize = 4;

/// Most columns of an output, and outputs, that are looked at in a pass.
const MOST_COLUMNS: usize = 256;
pub(super) const MOST_TABLES: usize = 8;

/// How much nearer the nearest record is, squared.
const NEARER_SQUARED: f64 = 0.3 * 0.3;

/// The least chance of that for a row of no one: two columns that vary freely are counted of the four or more that there are.
/// Columns may follow from each other, have few values, or stand alike in many records; so the chance is measured, too: by
/// how often the nearest *other* record is so near to a record of the data.
const CHANCE: f64 = 0.3 * 0.3;

/// Bits by which the count of combinations must exceed that of the records, so that equal ones are rare.
const SPARE_BITS: f64 = 7.0;

/// Rounds in which the scales are fitted to what was nearest, and a last one that decides.
pub(super) const ROUNDS: usize = 4;

/// Different values that a column of an output has, of so many rows that it can.
const MANY: usize = 24;

/// Share of its rows that may have the same value.
const MOST_EQUAL: f64 = 0.2;

/// How far two distributions may be apart, on average and in deviations: a small sample is so far from its whole.
const MOST_APART: f64 = 0.5;

/// The same with how far the means are apart, in deviations, and the logarithms of the deviations, for columns in the data's
/// own units.
const MOST_APART_IN_ALL: f64 = 1.0;

/// Points of a distribution that are compared.
const POINTS: usize = 17;

/// Rows of an output, and the columns of the data that they may be.
struct Table {
    piece: usize,
    rows: Vec<Row>,
    columns: Vec<Pair>,
    /// Whether the column that is furthest apart does not count: there are enough others, and one may be none of the data's.
    spares_one: bool,
    /// Records of the data with their numbers, as rows: where they lie among the others is where rows of no one would.
    own: Vec<(u64, Row)>,
}

/// A column of the output and the column of the data that it may be: value = shift + scale × output.
struct Pair {
    of_output: usize,
    of_data: usize,
    shift: f64,
    scale: f64,
    /// Deviation of the data's column, by which distances are measured.
    deviation: f64,
}

struct Row {
    /// The output's values, by pair.
    values: Vec<f64>,
    nearest: f64,
    second: f64,
    /// The values of the nearest record.
    record: Vec<f64>,
}

/// A column of the data with many values.
struct Continuous {
    column: usize,
    mean: f64,
    deviation: f64,
    points: [f64; POINTS],
    /// Bits of how many values it has.
    bits: f64,
}

/// Where rows of outputs lie among the records.
pub(super) struct Neighbours {
    tables: Vec<Table>,
    record: Vec<f64>,
}

/// Mean, deviation and points of a distribution, the points from the mean and in deviations.
type Shape = (f64, f64, [f64; POINTS]);

fn shape(sorted: &[f64]) -> Option<Shape> {
    let count = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / count;
    let deviation = (sorted.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count).sqrt();
    let point = |at: usize| (sorted[(2 * at + 1) * sorted.len() / (2 * POINTS)] - mean) / deviation;
    (deviation > 0.0 && deviation.is_finite()).then(|| (mean, deviation, std::array::from_fn(point)))
}

impl Neighbours {
    /// `joined` tells which columns the rows share with those of records.
    pub(super) fn new(pieces: &[Piece], sample: &Sample, joined: &Joined) -> Self {
        let Sample { chances: [chances, _], records, firsts } = sample;
        let (mut tables, mut beside): (Vec<Table>, Vec<Table>) = (Vec::new(), Vec::new());
        let mut of_tables: BTreeMap<usize, Vec<Continuous>> = BTreeMap::new();
        for (column, sorted, bits) in chances.continuous() {
            let Some((mean, deviation, points)) = shape(sorted) else { continue };
            let table = firsts.iter().filter(|first| **first <= column).max().copied().unwrap_or(0);
            of_tables.entry(table).or_default().push(Continuous { column, mean, deviation, points, bits });
        }
        for (piece, turned, columns) in columns_that_fit(pieces) {
            let joined = joined.columns(piece, turned);
            for data in of_tables.values().filter(|data| data.len() >= FEWEST_COLUMNS) {
                let (told, by_place) = tables_of(piece, &columns, data, *records, &joined);
                tables.extend(told.into_iter().take(MOST_TABLES - tables.len()));
                // With room of their own: they take none of what is told better.
                beside.extend(by_place.filter(|_| beside.len() < MOST_TABLES));
            }
            if tables.len() == MOST_TABLES {
                break;
            }
        }
        tables.append(&mut beside);
        Self { tables, record: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Takes the next record, whose first column has this number.
    pub(super) fn add(&mut self, first: usize, record: &[f64]) {
        for table in &mut self.tables {
            if table.values_of(first, record, &mut self.record) {
                let Table { rows, columns, spares_one, .. } = table;
                rows.iter_mut().for_each(|row| row.compare(columns, *spares_one, &self.record));
            }
        }
    }

    /// Keeps the tables alone of which too many rows are records, if the least chance is that of a row of no one. Returns whether
    /// there are any: then the chance is measured, by [`Self::add_own`] for each record and then [`Self::compare_own`] for each.
    pub(super) fn suspects(&mut self, alarm_bits: f64) -> bool {
        self.tables.retain(|table| table.rarity(CHANCE) >= alarm_bits);
        !self.tables.is_empty()
    }

    /// Takes the record of this number, of so many, as one whose place among the others is looked for, if it is one of those.
    pub(super) fn add_own(&mut self, number: u64, records: u64, first: usize, record: &[f64]) {
        if !number.is_multiple_of(records.div_ceil(ROWS as u64).max(1)) {
            return;
        }
        for table in &mut self.tables {
            if table.values_of(first, record, &mut self.record) {
                let in_output = |(pair, value): (&Pair, &f64)| (value - pair.shift) / pair.scale;
                let values = table.columns.iter().zip(&self.record).map(in_output).collect();
                table.own.push((number, Row::of(values)));
            }
        }
    }

    /// Compares the record of this number with those that were taken, but for itself.
    pub(super) fn compare_own(&mut self, number: u64, first: usize, record: &[f64]) {
        for table in &mut self.tables {
            if table.values_of(first, record, &mut self.record) {
                let Table { own, columns, spares_one, .. } = table;
                let others = own.iter_mut().filter(|(of, _)| *of != number);
                others.for_each(|(_, row)| row.compare(columns, *spares_one, &self.record));
            }
        }
    }

    /// Fits the scale of each column to the records that were nearest, and begins anew.
    pub(super) fn fit(&mut self) {
        for table in &mut self.tables {
            let mut by_ratio: Vec<&Row> = table.rows.iter().filter(|row| !row.record.is_empty()).collect();
            by_ratio.sort_by(|a, b| (a.nearest / a.second).total_cmp(&(b.nearest / b.second)));
            by_ratio.truncate(by_ratio.len().div_ceil(2).max(FEWEST_ROWS / 2));
            for (at, pair) in table.columns.iter_mut().enumerate() {
                let points: Vec<(f64, f64)> =
                    by_ratio.iter().map(|row| (row.values[at], row.record[at])).collect();
                if let Some((shift, scale)) = line(&points) {
                    (pair.shift, pair.scale) = (shift, scale);
                }
            }
            for row in &mut table.rows {
                (row.nearest, row.second) = (f64::INFINITY, f64::INFINITY);
                row.record.clear();
            }
        }
    }

    /// Pieces of which so many rows are records that chance does not explain it.
    pub(super) fn alarms(&self, alarm_bits: f64) -> Vec<usize> {
        let alarming = |table: &&Table| table.rarity(table.chance()) >= alarm_bits;
        self.tables.iter().filter(alarming).map(|table| table.piece).collect()
    }
}

impl Table {
    /// The record's values in the table's columns, if it has one in each.
    fn values_of(&self, first: usize, record: &[f64], values: &mut Vec<f64>) -> bool {
        let value = |pair: &Pair| record.get(pair.of_data.wrapping_sub(first)).copied().unwrap_or(f64::NAN);
        values.clear();
        values.extend(self.columns.iter().map(value));
        values.iter().all(|value| !value.is_nan())
    }

    /// Bits by which it is rarer than chance how many rows are records, of each of which this is the chance; less those that
    /// looking at several tables takes.
    fn rarity(&self, chance: f64) -> f64 {
        // Records are counted, not rows: one that stands there many times shows itself once.
        let mut records: Vec<&[f64]> =
            self.rows.iter().filter(|row| row.is_record()).map(|row| &row.record[..]).collect();
        records.sort_by(|a, b| {
            a.iter()
                .zip(*b)
                .map(|(a, b)| a.total_cmp(b))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        records.dedup();
        rarity(records.len() as f64, chance * self.rows.len() as f64) - (2.0 * MOST_TABLES as f64).log2()
    }

    /// The chance that a row of no one is a record: how often a record of the data is another one, and two deviations more.
    fn chance(&self) -> f64 {
        let alike = self.own.iter().filter(|(_, row)| row.is_record()).count() as f64;
        let most = (alike + 2.0 * alike.sqrt() + 3.0) / self.own.len() as f64;
        CHANCE.max(most).min(1.0)
    }
}

impl Row {
    fn of(values: Vec<f64>) -> Self {
        Self { values, nearest: f64::INFINITY, second: f64::INFINITY, record: Vec::new() }
    }

    /// Compares it with a record, and keeps the distances of the nearest two different ones.
    fn compare(&mut self, columns: &[Pair], spares_one: bool, record: &[f64]) {
        let (mut distance, mut left_out) = (0.0, if spares_one { 0.0 } else { f64::INFINITY });
        for ((pair, value), own) in columns.iter().zip(&self.values).zip(record) {
            let apart = (pair.shift + pair.scale * value - own) / pair.deviation;
            let apart = apart * apart;
            distance += apart.min(left_out);
            left_out = left_out.max(apart);
            if distance >= self.second {
                break;
            }
        }
        if distance < self.nearest {
            if self.record != record {
                self.second = self.nearest;
            }
            self.nearest = distance;
            self.record.clear();
            self.record.extend_from_slice(record);
        } else if distance < self.second && self.record != record {
            self.second = distance;
        }
    }

    /// Whether the nearest record is so much nearer than the second.
    fn is_record(&self) -> bool {
        self.nearest < NEARER_SQUARED * self.second && self.second.is_finite()
    }
}

fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let count = points.len() as f64;
    let (x, y) =
        (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count);
    let xx: f64 = points.iter().map(|p| (p.0 - x) * (p.0 - x)).sum();
    let xy: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let scale = xy / xx;
    (xx > 0.0 && scale.is_finite() && scale != 0.0).then_some((y - scale * x, scale))
}

/// Pieces, the largest first, as they are and turned, that have enough rows and columns.
pub(super) fn columns_that_fit(pieces: &[Piece]) -> impl Iterator<Item = (usize, bool, Columns<'_>)> {
    let mut by_size: Vec<usize> = (0..pieces.len()).collect();
    by_size.sort_by_key(|piece| std::cmp::Reverse(pieces[*piece].values.len()));
    by_size.into_iter().flat_map(|piece| {
        let both = [false, true].map(|turned| (piece, turned, Columns::of(&pieces[piece], turned)));
        both.into_iter().filter(|(.., columns)| {
            columns.rows >= FEWEST_ROWS && (FEWEST_COLUMNS..=MOST_COLUMNS).contains(&columns.columns)
        })
    })
}

/// The rows that are looked at.
pub(super) fn rows_that_are_looked_at(columns: &Columns<'_>) -> impl Iterator<Item = usize> {
    (0..columns.rows).step_by(columns.rows.div_ceil(ROWS).max(1))
}

/// The rows of an output as tables: with columns that are distributed as those of the data are, in the same order and any
/// unit; and with columns in the data's own units, in any order, told by their distributions and by what rows share. And with
/// columns that stand side by side as in the data, however alike they are, in any unit.
fn tables_of(
    piece: usize,
    columns: &Columns<'_>,
    data: &[Continuous],
    records: u64,
    joined: &[(usize, usize)],
) -> (Vec<Table>, Option<Table>) {
    let shapes = shapes(columns);
    let columns_of =
        |pairs: &[Pair]| -> Vec<_> { pairs.iter().map(|pair| (pair.of_output, pair.of_data)).collect() };
    let mut all: Vec<Vec<Pair>> = Vec::new();
    for pairs in [in_order(&shapes, data), in_own_units(&shapes, data), as_joined(joined, data)] {
        if all.iter().all(|known| columns_of(known) != columns_of(&pairs)) {
            all.push(pairs);
        }
    }
    let beside = Some(side_by_side(&shapes, data));
    let beside = beside.filter(|pairs| columns_of(&all[0]) != columns_of(pairs));
    let table = |pairs| table(piece, columns, pairs, data, records);
    (all.into_iter().filter_map(table).collect(), beside.and_then(table))
}

/// Mean, deviation and points of the distribution of each column that has many values.
fn shapes(columns: &Columns<'_>) -> Vec<Option<Shape>> {
    let step = columns.rows.div_ceil(ROWS * 8).max(1);
    (0..columns.columns)
        .map(|column| {
            let sample = (0..columns.rows).step_by(step).map(|row| columns.value(row, column));
            // Headings and cells without a number are none.
            let mut values: Vec<f64> = sample.filter(|value| value.is_finite()).collect();
            values.sort_by(f64::total_cmp);
            let different = values.chunk_by(|a, b| a == b).count();
            // Codes and flags are alike in many columns, and would take the place of the right one.
            let largest = values.chunk_by(|a, b| a == b).map(<[f64]>::len).max().unwrap_or(0);
            let many =
                different >= MANY.min(values.len() / 2) && largest as f64 <= MOST_EQUAL * values.len() as f64;
            many.then(|| shape(&values)).flatten()
        })
        .collect()
}

/// How far the points of two distributions are apart, on average and in deviations.
fn apart(points: &[f64; POINTS], others: &[f64; POINTS]) -> f64 {
    points.iter().zip(others).map(|(a, b)| (a - b).abs()).sum::<f64>() / POINTS as f64
}

/// How alike the distributions of a column of the output and one of the data are, from 0 to 1.
fn likeness(own: Option<&Shape>, data: &Continuous) -> f64 {
    own.map_or(0.0, |(_, _, points)| (1.0 - apart(points, &data.points) / MOST_APART).max(0.0))
}

/// The two columns in one scale, as far as their means and deviations tell.
fn pair(of_output: usize, own: &Shape, data: &Continuous) -> Pair {
    let (own_mean, own_deviation, _) = own;
    let scale = data.deviation / own_deviation;
    let shift = data.mean - scale * own_mean;
    Pair { of_output, of_data: data.column, shift, scale, deviation: data.deviation }
}

/// Columns that stand beside each other as they do in the data, from the place on at which most of them are alike. Distributions
/// alone do not tell many measurements apart once these are standardised, and some of the columns between them may have too few
/// values to be told by.
fn side_by_side(shapes: &[Option<Shape>], data: &[Continuous]) -> Vec<Pair> {
    let mut from: BTreeMap<usize, f64> = BTreeMap::new();
    let own = || shapes.iter().enumerate().filter_map(|(at, shape)| Some((at, shape.as_ref()?)));
    for (of_output, shape) in own() {
        for other in data.iter().filter(|other| other.column >= of_output) {
            *from.entry(other.column - of_output).or_default() += likeness(Some(shape), other);
        }
    }
    let Some((from, _)) = from.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) else { return Vec::new() };
    let beside = |(of_output, shape): (usize, &Shape)| {
        let other = data.iter().find(|other| other.column == from + of_output)?;
        (likeness(Some(shape), other) > 0.0).then(|| pair(of_output, shape, other))
    };
    own().filter_map(beside).collect()
}

/// The best order-preserving correspondence of columns, as in an alignment of sequences (Needleman and Wunsch, 1970).
fn in_order(shapes: &[Option<Shape>], data: &[Continuous]) -> Vec<Pair> {
    let likeness = |own: usize, other: usize| likeness(shapes[own].as_ref(), &data[other]);
    let (own, other) = (shapes.len(), data.len());
    let mut best = vec![vec![0.0_f64; other + 1]; own + 1];
    for a in 1..=own {
        for b in 1..=other {
            let both = best[a - 1][b - 1] + likeness(a - 1, b - 1);
            best[a][b] = both.max(best[a - 1][b]).max(best[a][b - 1]);
        }
    }
    let (mut a, mut b, mut pairs) = (own, other, Vec::new());
    while a > 0 && b > 0 {
        if best[a][b] == best[a - 1][b] {
            a -= 1;
        } else if best[a][b] == best[a][b - 1] {
            b -= 1;
        } else {
            pairs.extend(shapes[a - 1].as_ref().map(|own| pair(a - 1, own, &data[b - 1])));
            (a, b) = (a - 1, b - 1);
        }
    }
    pairs.reverse();
    pairs
}

/// Columns whose means, deviations and shapes are those of a column of the data: the nearest two first.
fn in_own_units(shapes: &[Option<Shape>], data: &[Continuous]) -> Vec<Pair> {
    let mut near = Vec::new();
    for (of_output, shape) in shapes.iter().enumerate() {
        let Some((mean, deviation, points)) = shape else { continue };
        for other in data {
            let sum = (mean - other.mean).abs() / other.deviation
                + (deviation / other.deviation).ln().abs()
                + apart(points, &other.points);
            near.extend((sum < MOST_APART_IN_ALL).then_some((sum, of_output, other)));
        }
    }
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut pairs: Vec<Pair> = Vec::new();
    for (_, of_output, Continuous { column: of_data, deviation, .. }) in near {
        if pairs.iter().all(|pair| pair.of_output != of_output && pair.of_data != *of_data) {
            pairs.push(Pair { of_output, of_data: *of_data, shift: 0.0, scale: 1.0, deviation: *deviation });
        }
    }
    pairs.sort_by_key(|pair| pair.of_output);
    pairs
}

/// Columns that rows share with those of records.
fn as_joined(joined: &[(usize, usize)], data: &[Continuous]) -> Vec<Pair> {
    let pair = |(of_output, column): &(usize, usize)| {
        let Continuous { deviation, .. } = data.iter().find(|data| data.column == *column)?;
        Some(Pair { of_output: *of_output, of_data: *column, shift: 0.0, scale: 1.0, deviation: *deviation })
    };
    let mut pairs: Vec<Pair> = joined.iter().filter_map(pair).collect();
    pairs.sort_by_key(|pair| pair.of_output);
    pairs
}

/// The rows of an output with these columns, if they are enough to tell records by.
fn table(
    piece: usize,
    columns: &Columns<'_>,
    pairs: Vec<Pair>,
    data: &[Continuous],
    records: u64,
) -> Option<Table> {
    let of_data = |pair: &Pair| data.iter().find(|data| data.column == pair.of_data);
    let bits: f64 = pairs.iter().filter_map(of_data).map(|data| data.bits).sum();
    if pairs.len() < FEWEST_COLUMNS || bits < (records.max(1) as f64).log2() + SPARE_BITS {
        return None;
    }
    let rows = rows_that_are_looked_at(columns)
        .map(|row| Row::of(pairs.iter().map(|pair| columns.value(row, pair.of_output)).collect()));
    let rows = rows.filter(|row| row.values.iter().all(|value| value.is_finite())).collect();
    let spares_one = pairs.len() > FEWEST_COLUMNS;
    Some(Table { piece, rows, columns: pairs, spares_one, own: Vec::new() })
}
