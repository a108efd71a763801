//! How much it says that a value of the data stands somewhere: the bits of its chance, from a sample of its column.

use std::collections::HashMap;

/// Values of a column that are kept of the sample.
const KEPT: usize = 8192;

/// Columns that have a sample of their own; further ones share them.
const COLUMNS: usize = 1024;

/// A value as far as it is compared: rounded to bfloat16, as released weights are.
pub(super) type Key = u16;

/// The key of what is no number, which is equal to nothing.
pub(super) const NO_NUMBER: Key = 0xffff;

/// Parts of a bit in which chances are kept.
const PARTS: f32 = 16.0;

pub(super) fn key(value: f64) -> Key {
    match value.is_finite() {
        true if value == 0.0 => 0,
        true => crate::number::bfloat16_from_f32(value as f32),
        false => NO_NUMBER,
    }
}

/// Place of a key in the order of numbers.
pub(super) fn place(key: Key) -> i32 {
    let magnitude = i32::from(key & 0x7fff);
    if key & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// True if two values are equal but for one step of bfloat16, which is 0.4 to 0.8 %: what is left of a value that was
/// rounded to three digits, or twice.
pub(super) fn near(a: Key, b: Key) -> bool {
    a != NO_NUMBER && b != NO_NUMBER && (place(a) - place(b)).abs() <= 1
}

/// Draws a sample of each column, each value with the same chance (J. Vitter, "Random Sampling with a Reservoir", 1985,
/// algorithm R). The draw is the same each time, so that the same files have the same result.
#[derive(Default)]
pub(super) struct Sampler {
    columns: Vec<(u64, Vec<Key>)>,
    state: u64,
    /// The number of the first column of each table.
    firsts: Vec<usize>,
}

impl Sampler {
    /// Takes a record whose first column has this number.
    pub(super) fn add(&mut self, first: usize, record: &[f64]) {
        if !self.firsts.contains(&first) && self.firsts.len() < COLUMNS {
            self.firsts.push(first);
        }
        for (column, value) in (first..).zip(record) {
            if column % COLUMNS >= self.columns.len() {
                self.columns.resize_with(column % COLUMNS + 1, Default::default);
            }
            let key = key(*value);
            if key == NO_NUMBER {
                continue;
            }
            let (seen, kept) = &mut self.columns[column % COLUMNS];
            *seen += 1;
            if kept.len() < KEPT {
                kept.push(key);
                continue;
            }
            self.state =
                self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (self.state >> 33) % *seen;
            if let Some(slot) = kept.get_mut(place as usize) {
                *slot = key;
            }
        }
    }

    pub(super) fn finish(self) -> Chances {
        let columns: Vec<Column> = self.columns.into_iter().map(|(_, kept)| Column::of(&kept)).collect();
        let anywhere = self.firsts.iter().map(|first| {
            let next = self.firsts.iter().filter(|other| *other > first).min().copied().unwrap_or(usize::MAX);
            let own = columns.get(*first..next.min(columns.len())).unwrap_or(&[]);
            let bits = (0..=Key::MAX).map(|key| {
                let chance = |column: &Column| (-f32::from(column.bits[usize::from(key)]) / PARTS).exp2();
                let expected: f32 = own.iter().map(chance).sum();
                (-expected.log2() * PARTS).clamp(0.0, 255.0) as u8
            });
            (*first, if own.is_empty() { Vec::new() } else { bits.collect() })
        });
        let anywhere = anywhere.collect();
        Chances { anywhere, columns }
    }
}

/// The chance of each value in each column.
pub(super) struct Chances {
    columns: Vec<Column>,
    /// Parts of bits of the chance that any column of a record has it, for the first column of each table.
    anywhere: HashMap<usize, Vec<u8>>,
}

struct Column {
    /// Parts of bits, by key.
    bits: Vec<u8>,
    /// Some of the values, sorted.
    values: Vec<f64>,
    /// Bits of the count of values that are alike frequent; none if the column has few.
    continuous: Option<f64>,
}

/// Different values that a column has at least, to count as continuous, and the most that one of them may have of it.
const DIFFERENT: usize = 48;
const ATOM: f64 = 0.15;

/// Values of a column that are kept of the sample to tell its distribution.
const POINTS: usize = 512;

impl Column {
    fn of(kept: &[Key]) -> Self {
        let mut places: Vec<i32> = kept.iter().map(|key| place(*key)).collect();
        places.sort_unstable();
        let step = places.len().div_ceil(POINTS).max(1);
        let mut values: Vec<f64> =
            kept.iter().map(|key| f64::from(f32::from_bits(u32::from(*key) << 16))).collect();
        values.sort_by(f64::total_cmp);
        let values = values.into_iter().skip(step / 2).step_by(step).collect();
        let counts: Vec<f64> = places.chunk_by(|a, b| a == b).map(|same| same.len() as f64).collect();
        let share = |count: &f64| count / kept.len() as f64;
        let largest = counts.iter().map(share).fold(0.0, f64::max);
        // The count of values that are alike frequent and would be equal as often (Rényi's entropy of order 2).
        let collisions: f64 = counts.iter().map(|count| share(count) * share(count)).sum();
        let continuous = (counts.len() >= DIFFERENT && largest <= ATOM).then(|| -collisions.log2());
        let total = (kept.len() + 1) as f32;
        let bits = (0..=Key::MAX).map(|key| {
            let at = place(key);
            let below = places.partition_point(|place| *place < at - 1);
            let near = places[below..].partition_point(|place| *place <= at + 1);
            // One more than was seen: what a sample does not hold is rare, not impossible.
            ((total / (near + 1) as f32).log2() * PARTS) as u8
        });
        Self { bits: bits.collect(), values, continuous }
    }
}

impl Chances {
    /// Bits of the chance that another value of the column is [`near`] this one; at most 13, as the sample has so many
    /// values.
    pub(super) fn bits(&self, column: usize, key: Key) -> f32 {
        let column = self.columns.get(column % COLUMNS);
        column.map_or(0.0, |column| f32::from(column.bits[usize::from(key)]) / PARTS)
    }

    /// Columns whose values are many: some of the values, sorted, and the bits of how many there are.
    pub(super) fn continuous(&self) -> impl Iterator<Item = (usize, &[f64], f64)> {
        let columns = self.columns.iter().enumerate();
        columns.filter_map(|(index, column)| Some((index, &column.values[..], column.continuous?)))
    }

    /// Bits of the chance that any column of another record of this table has a value near this one.
    pub(super) fn bits_anywhere(&self, first: usize, key: Key) -> f32 {
        let bits = self.anywhere.get(&first).and_then(|bits| bits.get(usize::from(key)));
        bits.map_or(0.0, |bits| f32::from(*bits) / PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequent_value_says_little_and_a_rare_one_much() {
        let mut sampler = Sampler::default();
        for index in 0..40_000 {
            sampler.add(0, &[f64::from(index % 2), f64::from(index), 7.0]);
        }
        let chances = sampler.finish();
        assert!((chances.bits(0, key(1.0)) - 1.0).abs() < 0.2);
        assert!(chances.bits(1, key(31_000.0)) > 5.0);
        assert_eq!(chances.bits(2, key(7.0)), 0.0);
        assert!(chances.bits(2, key(8.0)) > 12.0);
        assert_eq!(chances.bits(3, key(8.0)), 0.0);
    }

    #[test]
    fn neighbours_are_near_across_zero_and_binades() {
        assert!(near(key(128.0), key(127.5)) && near(key(1.0), key(1.007)) && !near(key(1.0), key(1.02)));
        assert!(near(key(0.0), key(-0.0)) && !near(NO_NUMBER, NO_NUMBER));
        assert!(!near(key(1.0), key(-1.0)));
    }
}
