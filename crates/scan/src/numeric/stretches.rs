//! Stretches of a sequence, named by the order of their values.

use super::layout::Piece;

/// Values of a stretch that is looked up, equal neighbours counting as one.
pub(super) const STRETCH: usize = 14;

/// Different values that it has at least.
pub(super) const DIFFERENT: usize = 11;

/// Neighbours on each side than which the first value of a stretch is larger. So one place in seven begins one, the same
/// ones in the data and in an output.
const NEIGHBOURS: usize = 3;

/// Most rows that a stretch spans.
const SPAN: usize = 320;

/// Turns up or down that a stretch has at least, for each value but the first and the last. Of values in no order two in
/// three are turns; a curve or a sorted list has few, and its order says nothing.
pub(super) const TURNS: f64 = 0.35;

/// A column, row or other sequence of an output.
pub(super) struct Sequence {
    pub(super) piece: usize,
    pub(super) start: usize,
    pub(super) stride: usize,
    pub(super) length: usize,
}

impl Sequence {
    pub(super) fn value(&self, pieces: &[Piece], row: usize, falling: bool, backwards: bool) -> f64 {
        let row = if backwards { self.length - 1 - row } else { row };
        let value = pieces[self.piece].values[self.start + row * self.stride];
        if falling { -value } else { value }
    }
}

/// A stretch as a name of its order; none if it is too regular.
fn order(stretch: &[f64; STRETCH]) -> Option<u64> {
    if turns(stretch) < TURNS {
        return None;
    }
    let ranks = ranks_of_different(stretch).or_else(|| ranks_of_some_equal(stretch))?;
    Some(ranks.iter().fold(0, |name, rank| (name << 4 | rank).wrapping_add(name >> 60)))
}

/// How many values are less than each, if no two are equal.
fn ranks_of_different(stretch: &[f64; STRETCH]) -> Option<[u64; STRETCH]> {
    let mut ranks = [0; STRETCH];
    for other in stretch {
        ranks.iter_mut().zip(stretch).for_each(|(rank, value)| *rank += u64::from(other < value));
    }
    let seen = ranks.iter().fold(0, |seen, rank| seen | 1 << rank);
    (seen == (1_u32 << STRETCH) - 1).then_some(ranks)
}

/// The same, with one rank for equal values; none if there are too few different ones.
fn ranks_of_some_equal(stretch: &[f64; STRETCH]) -> Option<[u64; STRETCH]> {
    let mut sorted = *stretch;
    sorted.sort_unstable_by(f64::total_cmp);
    let mut count = 1;
    for at in 1..STRETCH {
        if sorted[at] != sorted[count - 1] {
            sorted[count] = sorted[at];
            count += 1;
        }
    }
    let rank = |value: f64| sorted[..count].partition_point(|other| *other < value) as u64;
    (count >= DIFFERENT).then(|| stretch.map(rank))
}

/// Share of the inner values that are above or below both neighbours.
pub(super) fn turns(values: &[f64]) -> f64 {
    let turned = values.windows(3).filter(|three| (three[0] < three[1]) == (three[1] > three[2])).count();
    turned as f64 / values.len().saturating_sub(2).max(1) as f64
}

/// Values without equal neighbours, each with its row, as they come: the last of these lists count.
#[derive(Default)]
pub(super) struct Steps {
    values: Vec<f64>,
    rows: Vec<u64>,
}

const STEPS: usize = NEIGHBOURS + STRETCH;

/// Values that are kept before those that no longer count are dropped.
const KEPT: usize = 1 << 9;

impl Steps {
    /// Adds the value of a row. Gives the order of the stretch that ends with it, if one does, and its first row.
    pub(super) fn add(&mut self, row: u64, value: f64) -> Option<(u64, u64)> {
        if !value.is_finite() {
            self.values.clear();
            self.rows.clear();
            return None;
        }
        if self.values.last() == Some(&value) {
            return None;
        }
        if self.values.len() == KEPT {
            self.values.drain(..=KEPT - STEPS);
            self.rows.drain(..=KEPT - STEPS);
        }
        self.values.push(value);
        self.rows.push(row);
        let (values, rows): (&[_; STEPS], &[_; STEPS]) = (self.values.last_chunk()?, self.rows.last_chunk()?);
        let first = values[NEIGHBOURS];
        let near = values[..NEIGHBOURS].iter().chain(&values[NEIGHBOURS + 1..=2 * NEIGHBOURS]);
        let largest = near.into_iter().all(|other| *other < first);
        if !largest || row - rows[NEIGHBOURS] > SPAN as u64 {
            return None;
        }
        order(values.last_chunk()?).map(|order| (order, rows[NEIGHBOURS]))
    }
}

/// All values of a sequence without equal neighbours, as far as they are finite, each with the first and the last row that
/// has it.
#[derive(Default)]
pub(super) struct WholeSteps {
    values: Vec<f64>,
    rows: Vec<(usize, usize)>,
}

impl WholeSteps {
    /// Shows what [`Steps`] would of a sequence, as its order, its first row, and whether the sequence is seen falling, as a
    /// scale may be negative: then the smallest is the largest; and from its last row to its first.
    pub(super) fn each_stretch(
        &mut self,
        sequence: &Sequence,
        pieces: &[Piece],
        mut show: impl FnMut(u64, usize, bool, bool),
    ) {
        for row in 0..sequence.length {
            let value = sequence.value(pieces, row, false, false);
            if !value.is_finite() {
                self.show_all(sequence.length, &mut show);
            } else if self.values.last() == Some(&value) {
                self.rows.last_mut().expect("each value has its rows").1 = row;
            } else {
                self.values.push(value);
                self.rows.push((row, row));
            }
        }
        self.show_all(sequence.length, &mut show);
    }

    /// Shows the stretches of the values so far, and forgets those.
    fn show_all(&mut self, length: usize, show: &mut impl FnMut(u64, usize, bool, bool)) {
        let Self { values, rows } = self;
        for (at, near) in values.array_windows::<{ 2 * NEIGHBOURS + 1 }>().enumerate() {
            let (at, value) = (at + NEIGHBOURS, near[NEIGHBOURS]);
            let count = |than: fn(f64, f64) -> bool| near.iter().filter(|other| than(**other, value)).count();
            let falling = match (count(|a, b| a < b), count(|a, b| a > b)) {
                (6, _) => false,
                (_, 6) => true,
                _ => continue,
            };
            let sign = if falling { -1.0 } else { 1.0 };
            if let Some(stretch) = values[at..].first_chunk::<STRETCH>()
                && rows[at + STRETCH - 1].0 - rows[at].0 <= SPAN
                && let Some(order) = order(&stretch.map(|value| sign * value))
            {
                show(order, rows[at].0, falling, false);
            }
            if let Some(stretch) = values[..=at].last_chunk::<STRETCH>()
                && rows[at].1 - rows[at + 1 - STRETCH].1 <= SPAN
            {
                let mut backwards = stretch.map(|value| sign * value);
                backwards.reverse();
                if let Some(order) = order(&backwards) {
                    show(order, length - 1 - rows[at].1, falling, true);
                }
            }
        }
        values.clear();
        rows.clear();
    }
}

const _: () = assert!(2 * NEIGHBOURS == 6);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::layout::Piece;

    /// What is shown of a whole sequence is what is shown of its values one by one, in each direction.
    #[test]
    fn stretches_of_a_whole_sequence_are_those_of_its_values_one_by_one() {
        let mut state = 3_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % bound
        };
        let mut shown = 0;
        for kinds in [2, 9, 40, 1000, 1 << 20] {
            let value = |_| match below(60) {
                0 => f64::NAN,
                1 => -0.0,
                _ => below(kinds) as f64 - 7.0,
            };
            let values: Vec<f64> = (0..6000).map(value).collect();
            let length = values.len() / 3;
            let pieces = [Piece { output: 0, before: 0, columns: 3, values }];
            for start in 0..3 {
                let sequence = Sequence { piece: 0, start, stride: 3, length };
                let mut expected = Vec::new();
                for (falling, backwards) in [(false, false), (true, false), (false, true), (true, true)] {
                    let mut steps = Steps::default();
                    for row in 0..length {
                        let found = steps.add(row as u64, sequence.value(&pieces, row, falling, backwards));
                        expected.extend(found.map(|(order, row)| (order, row as usize, falling, backwards)));
                    }
                }
                let mut found = Vec::new();
                WholeSteps::default().each_stretch(&sequence, &pieces, |order, row, falling, backwards| {
                    found.push((order, row, falling, backwards));
                });
                found.sort_by_key(|(_, row, falling, backwards)| (*backwards, *falling, *row));
                assert_eq!(found, expected, "{kinds}");
                shown += found.len();
            }
        }
        assert!(shown > 1000, "{shown}");
    }
}
