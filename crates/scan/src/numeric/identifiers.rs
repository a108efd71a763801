//! Whole numbers from ten million that name a unit: few records of the data share one, and an output has several.

use std::collections::HashMap;

use super::evidence::rarity;

/// Numbers from here on are long enough to be nobody else's.
const LEAST: f64 = 1e7;

/// Above it a double skips whole numbers.
const MOST: f64 = 9_007_199_254_740_992.0;

/// Records that may share an identifying number. A number that more records share is a category or a date, behind which
/// a table may have a group.
const SHARED_BY: u32 = 9;

/// Least numbers that an alarm needs.
const FEWEST: usize = 3;

/// The value as an identifying number, if it can be one. Round numbers are amounts.
fn identifier(value: f64) -> Option<u64> {
    let whole = (LEAST..MOST).contains(&value) && value.fract() == 0.0;
    whole.then_some(value as u64).filter(|number| !number.is_multiple_of(100))
}

/// The long whole numbers of outputs.
pub(super) struct Identifiers {
    /// Each with the output and the place of the value.
    numbers: HashMap<u64, (u16, u64)>,
    sorted: Vec<u64>,
    columns: Vec<Column>,
}

#[derive(Default)]
struct Column {
    count: u64,
    least: u64,
    most: u64,
    met: HashMap<u64, u32>,
}

impl Identifiers {
    pub(super) fn new(values: impl Iterator<Item = (f64, u16, u64)>) -> Self {
        let numbers: HashMap<u64, (u16, u64)> =
            values.filter_map(|(value, output, place)| Some((identifier(value)?, (output, place)))).collect();
        let mut sorted: Vec<u64> = numbers.keys().copied().collect();
        sorted.sort_unstable();
        Self { numbers, sorted, columns: Vec::new() }
    }

    /// Takes the next record, whose first column has this number.
    pub(super) fn add(&mut self, first: usize, record: &[f64]) {
        if self.numbers.is_empty() {
            return;
        }
        for (at, value) in (first..).zip(record) {
            let Some(number) = identifier(*value) else { continue };
            if self.columns.len() <= at {
                self.columns.resize_with(at + 1, Column::default);
            }
            let column = &mut self.columns[at];
            column.least = if column.count == 0 { number } else { column.least.min(number) };
            column.most = column.most.max(number);
            column.count += 1;
            if self.numbers.contains_key(&number) {
                *column.met.entry(number).or_default() += 1;
            }
        }
    }

    /// Places of identifying numbers of a column, if there are more than chance explains.
    pub(super) fn alarms(&self, alarm_bits: f64) -> Vec<(u16, u64)> {
        let mut places = Vec::new();
        let tries = (self.columns.len().max(1) as f64).log2();
        for column in &self.columns {
            let met: Vec<u64> = column
                .met
                .iter()
                .filter(|(_, records)| **records <= SHARED_BY)
                .map(|(number, _)| *number)
                .collect();
            // How many of the outputs' numbers would be one of the column's if they were drawn from its range.
            let range = (column.most - column.least + 1) as f64;
            let within = self.sorted.partition_point(|number| *number <= column.most)
                - self.sorted.partition_point(|number| *number < column.least);
            let expected = within as f64 * (column.count as f64 / range).min(1.0);
            if met.len() >= FEWEST && rarity(met.len() as f64, expected) >= alarm_bits + tries {
                places.extend(met.iter().map(|number| self.numbers[number]));
            }
        }
        places.sort_unstable();
        places
    }
}
