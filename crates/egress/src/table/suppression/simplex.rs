//! The largest and smallest value of one unknown under linear bounds, in exact whole-number arithmetic.
//!
//! The simplex method on a dictionary (Chvátal, *Linear Programming*, 1983, chapter 2) whose entries are kept whole by a
//! common denominator, as Edmonds and Bareiss do it: each division is exact. Bland's rule (1977) chooses what enters and leaves,
//! so that it ends. Floating point would make an audit that passes or blocks by rounding, and differently on the machine of
//! whoever judges again.

/// Most multiplications for one table. A job has at most 32, and the judge must end within seconds whatever it is given.
const WORK_LIMIT: u64 = 30_000_000;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No point meets all bounds.
    Infeasible,
    /// Too much work, or numbers too large.
    TooLarge,
}

/// Unknowns that are not negative, and upper bounds of sums of them.
pub(super) struct Simplex {
    /// A row for each unknown of the basis: right side first, then a coefficient for each column.
    rows: Vec<Vec<i128>>,
    /// Which unknown each row stands for.
    basis: Vec<usize>,
    /// Which unknown each column stands for.
    columns: Vec<usize>,
    denominator: i128,
    work: u64,
}

/// One upper bound: the sum of `coefficient × unknown` is at most `limit`.
pub(super) struct Bound {
    /// Unknowns, each once, and their coefficients, 1 or −1.
    pub(super) terms: Vec<(usize, i128)>,
    /// The limit.
    pub(super) limit: i128,
}

impl Simplex {
    /// Unknowns numbered from 0 under these bounds, at a point that meets them.
    pub(super) fn new(unknowns: usize, bounds: &[Bound]) -> Result<Self, Trouble> {
        if (unknowns as u64).saturating_mul(bounds.len() as u64) > WORK_LIMIT / 16 {
            return Err(Trouble::TooLarge);
        }
        let mut rows = Vec::new();
        for bound in bounds {
            let mut row = vec![0; unknowns + 1];
            row[0] = bound.limit;
            for (unknown, coefficient) in &bound.terms {
                row[unknown + 1] = *coefficient;
            }
            rows.push(row);
        }
        let basis = (unknowns..unknowns + rows.len()).collect();
        let mut simplex = Self { rows, basis, columns: (0..unknowns).collect(), denominator: 1, work: 0 };
        simplex.make_feasible()?;
        Ok(simplex)
    }

    /// The largest value of an unknown, rounded down; none if there is no largest.
    pub(super) fn largest(&mut self, unknown: usize) -> Result<Option<i128>, Trouble> {
        let value = self.optimise(unknown, 1)?;
        Ok(value.map(|value| value.div_euclid(self.denominator)))
    }

    /// The smallest value of an unknown, rounded up.
    pub(super) fn smallest(&mut self, unknown: usize) -> Result<i128, Trouble> {
        let value = self.optimise(unknown, -1)?.ok_or(Trouble::TooLarge)?;
        Ok(-value.div_euclid(self.denominator))
    }

    /// Dual simplex for an objective of zero, for which every column has a reduced cost of zero.
    fn make_feasible(&mut self) -> Result<(), Trouble> {
        loop {
            let negative = (0..self.rows.len()).filter(|row| self.rows[*row][0] < 0);
            let Some(row) = negative.min_by_key(|row| self.basis[*row]) else { return Ok(()) };
            let entering = (0..self.columns.len()).filter(|column| self.rows[row][column + 1] < 0);
            let column = entering.min_by_key(|column| self.columns[*column]).ok_or(Trouble::Infeasible)?;
            self.pivot(row, column + 1, None)?;
        }
    }

    /// The largest value of `sign × unknown`, times the denominator; none if there is no largest.
    fn optimise(&mut self, unknown: usize, sign: i128) -> Result<Option<i128>, Trouble> {
        let mut objective = self.objective(unknown, sign);
        loop {
            let gains = (0..self.columns.len()).filter(|column| objective[column + 1] < 0);
            let Some(column) = gains.min_by_key(|column| self.columns[*column]) else {
                return Ok(Some(objective[0]));
            };
            let Some(row) = self.leaving(column + 1)? else { return Ok(None) };
            self.pivot(row, column + 1, Some(&mut objective))?;
        }
    }

    fn objective(&self, unknown: usize, sign: i128) -> Vec<i128> {
        match self.basis.iter().position(|basic| *basic == unknown) {
            Some(row) => self.rows[row].iter().map(|entry| sign * entry).collect(),
            None => {
                let mut objective = vec![0; self.columns.len() + 1];
                if let Some(column) = self.columns.iter().position(|column| *column == unknown) {
                    objective[column + 1] = -sign * self.denominator;
                }
                objective
            }
        }
    }

    /// The row that bounds a column most closely; of several the one with the first unknown.
    fn leaving(&self, column: usize) -> Result<Option<usize>, Trouble> {
        let mut best: Option<usize> = None;
        for row in 0..self.rows.len() {
            let own = &self.rows[row];
            if own[column] <= 0 {
                continue;
            }
            let Some(other) = best else {
                best = Some(row);
                continue;
            };
            let left = product(own[0], self.rows[other][column])?;
            let right = product(self.rows[other][0], own[column])?;
            if left < right || (left == right && self.basis[row] < self.basis[other]) {
                best = Some(row);
            }
        }
        Ok(best)
    }

    fn pivot(&mut self, row: usize, column: usize, objective: Option<&mut Vec<i128>>) -> Result<(), Trouble> {
        self.work += (self.rows.len() as u64 + 1) * (self.columns.len() as u64 + 1);
        if self.work > WORK_LIMIT {
            return Err(Trouble::TooLarge);
        }
        let mut own = std::mem::take(&mut self.rows[row]);
        let pivot = own[column];
        for other in self.rows.iter_mut().chain(objective).filter(|other| !other.is_empty()) {
            let factor = other[column];
            for (index, entry) in other.iter_mut().enumerate().filter(|(index, _)| *index != column) {
                let difference = product(pivot, *entry)?.checked_sub(product(factor, own[index])?);
                *entry = difference.ok_or(Trouble::TooLarge)? / self.denominator;
            }
            other[column] = -factor;
        }
        own[column] = self.denominator;
        self.rows[row] = own;
        self.denominator = pivot;
        std::mem::swap(&mut self.basis[row], &mut self.columns[column - 1]);
        if pivot < 0 {
            self.change_all_signs();
        }
        Ok(())
    }

    /// A denominator is positive.
    fn change_all_signs(&mut self) {
        self.denominator = -self.denominator;
        self.rows.iter_mut().flatten().for_each(|entry| *entry = -*entry);
    }
}

fn product(left: i128, right: i128) -> Result<i128, Trouble> {
    left.checked_mul(right).ok_or(Trouble::TooLarge)
}
