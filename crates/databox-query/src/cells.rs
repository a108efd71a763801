//! The groups of a question: who stands in each, what they have, and which are told.

use std::collections::BTreeMap;

use egress::TablePolicy;
use release::statement::{QueryFunction, SHARE_DIGITS};

use crate::AnswerError;
use crate::aggregate::Summed;
use crate::window::{self, Valued, Window};

/// What is known of one number that is told of a group: of all rows, or of those around a rank.
#[derive(Debug, Clone, Copy)]
struct Column {
    function: QueryFunction,
    /// Units with at least one number.
    units: u64,
    sum: f64,
    rows: u64,
    sum_parts: Parts,
    row_parts: Parts,
}

/// What units have of something, each without its sign.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    /// All of it.
    size: f64,
    /// What the two have who have most.
    largest: [f64; 2],
}

/// A group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// Units with at least one row.
    pub(crate) units: u64,
    columns: Vec<Column>,
}

/// The shares of the largest unit and of the two largest, as an answer states them: times 10 to the digits of a share.
pub(crate) type Shares = [i128; 2];

/// The whole of a share.
const WHOLE: i128 = 10i128.pow(SHARE_DIGITS as u32);

/// The groups of one question.
#[derive(Debug)]
pub(crate) struct Groups {
    /// What is told of each.
    functions: Vec<QueryFunction>,
    /// By number.
    pub(crate) cells: BTreeMap<u32, Group>,
}

impl Groups {
    /// None yet, of a question that asks these for its values.
    pub(crate) fn new(functions: impl Iterator<Item = QueryFunction>) -> Self {
        Self { functions: functions.collect(), cells: BTreeMap::new() }
    }

    /// Adds a unit to a group, with what it has there of each number that is told.
    pub(crate) fn add(&mut self, cell: u32, summed: impl Iterator<Item = Summed>) {
        let columns = || self.functions.iter().copied().map(Column::new).collect();
        let group = self.cells.entry(cell).or_insert_with(|| Group { units: 0, columns: columns() });
        group.units += 1;
        for (column, summed) in group.columns.iter_mut().zip(summed).filter(|(_, summed)| summed.rows > 0) {
            column.add(summed);
        }
    }

    /// Puts the rows around a rank in the place of all rows. A group that has none has no units there, and is not told.
    pub(crate) fn put_windows(&mut self, value: usize, windows: &BTreeMap<u32, Window>, valued: &[Valued]) {
        for (cell, group) in &mut self.cells {
            let mut column = Column::new(self.functions[value]);
            let window = windows.get(cell);
            window
                .into_iter()
                .flat_map(|window| window::summed(valued, window))
                .for_each(|summed| column.add(summed));
            group.columns[value] = column;
        }
    }
}

impl Column {
    fn new(function: QueryFunction) -> Self {
        let (sum_parts, row_parts) = (Parts::default(), Parts::default());
        Self { function, units: 0, sum: 0.0, rows: 0, sum_parts, row_parts }
    }

    fn add(&mut self, summed: Summed) {
        self.units += 1;
        self.sum += summed.sum;
        self.rows += summed.rows;
        self.sum_parts.add(summed.sum);
        self.row_parts.add(summed.rows as f64);
    }

    /// Whether the rows are spread, where that matters. A mean of which one unit has nearly all rows is nearly the mean of
    /// that unit's own, and no share of the sum says so where its numbers are near zero and others have both signs.
    fn has_spread_rows(&self, policy: &TablePolicy) -> bool {
        match self.function {
            QueryFunction::Sum => true,
            QueryFunction::Mean | QueryFunction::Quantile(_) => is_spread(policy, self.row_parts.shares()),
        }
    }

    /// A sum of 0 of numbers that are not negative is the value of each of them. Who stands around a rank is not told, and that
    /// others have other numbers was looked at there.
    fn tells_of_nothing(&self) -> bool {
        self.sum_parts.size == 0.0 && !matches!(self.function, QueryFunction::Quantile(_))
    }
}

impl Parts {
    fn add(&mut self, part: f64) {
        let size = part.abs();
        self.size += size;
        let [largest, second] = self.largest;
        if size > largest {
            self.largest = [size, largest];
        } else if size > second {
            self.largest[1] = size;
        }
    }

    /// Of nothing nobody has a share.
    fn shares(&self) -> Shares {
        if self.size == 0.0 {
            return [0; 2];
        }
        let [largest, second] = self.largest;
        [largest, largest + second].map(|part| ((part / self.size * WHOLE as f64).round() as i128).min(WHOLE))
    }
}

/// Whether a sum of these parts, one of each unit, is spread over them: neither one nor two have nearly all.
pub(crate) fn are_spread(policy: &TablePolicy, parts: impl Iterator<Item = f64>) -> bool {
    let mut all = Parts::default();
    parts.for_each(|part| all.add(part));
    is_spread(policy, all.shares())
}

fn is_spread(policy: &TablePolicy, shares: Shares) -> bool {
    // In halves of the last digit, so that the ends of a rounded share are whole.
    let whole = 2 * WHOLE;
    let [largest, two] = shares.map(|share| (2 * share + 1).min(whole));
    let dominating = if policy.dominance_units == 1 { largest } else { two };
    dominating * 100 <= i128::from(policy.dominance_percent) * whole
        && (whole - two) * 100 >= i128::from(policy.p_percent) * largest
}

impl Group {
    /// The sum and the number of rows of a number that is told.
    ///
    /// # Errors
    /// The sum is larger than any number.
    pub(crate) fn summed(&self, column: usize) -> Result<Summed, AnswerError> {
        let Column { sum, rows, sum_parts, .. } = self.columns[column];
        match sum.is_finite() && sum_parts.size.is_finite() {
            true => Ok(Summed { sum, rows }),
            false => Err(AnswerError::Overflow),
        }
    }

    /// The shares of sums, in that column in which they are largest.
    pub(crate) fn shares(&self) -> Shares {
        let mut shares = [0; 2];
        for column in &self.columns {
            let own = column.sum_parts.shares();
            shares.iter_mut().zip(own).for_each(|(share, own)| *share = own.max(*share));
        }
        shares
    }

    /// Whether the group is told. One of nobody, one of few and one that a few dominate look the same from outside: none is
    /// told. Counts and the shares of sums are judged once more as the answer states them, at the same worst end of a rounded
    /// share.
    pub(crate) fn is_told(&self, policy: &TablePolicy) -> bool {
        let fewest = self.columns.iter().map(|column| column.units).fold(self.units, u64::min);
        if fewest < policy.smallest_count.max(1) {
            return false;
        }
        if self.columns.iter().any(Column::tells_of_nothing) {
            return false;
        }
        let have_spread_rows = || self.columns.iter().all(|column| column.has_spread_rows(policy));
        self.columns.is_empty() || is_spread(policy, self.shares()) && have_spread_rows()
    }
}
