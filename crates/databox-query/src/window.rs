//! The rows around a rank of a group, which a quantile tells the mean of. The row at the rank itself is one person's, so that
//! it is told with those beside it: a group's values are sorted and cut where enough units stand together, as
//! microaggregation does (Domingo-Ferrer and Mateo-Sanz, 2002), here around the rank that was asked for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use crate::aggregate::Summed;

/// Rows of one unit in one class with the same number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Valued {
    pub(crate) class: u32,
    pub(crate) unit: u32,
    pub(crate) number: f64,
    /// How many rows; at least one.
    pub(crate) rows: u64,
}

/// Which rows stand around a rank: by place in a list of [`Valued`], and how many of its rows.
pub(crate) type Window = Vec<(usize, u64)>;

/// The window of each group that has one. The list is sorted by number, and where numbers are the same by unit: so of two
/// groups with the same rows the same ones are taken.
pub(crate) fn windows(
    valued: &[Valued],
    cell: impl Fn(u32) -> Option<u32>,
    percent: u8,
    smallest: u64,
) -> BTreeMap<u32, Window> {
    let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (place, one) in valued.iter().enumerate() {
        if let Some(cell) = cell(one.class) {
            groups.entry(cell).or_default().push(place);
        }
    }
    let window = |(cell, places): (u32, Vec<usize>)| {
        let group = Group::new(valued, places);
        Some((cell, group.around(percent, smallest.max(1))?))
    };
    groups.into_iter().filter_map(window).collect()
}

/// What each unit has in a window.
pub(crate) fn summed(valued: &[Valued], window: &Window) -> impl Iterator<Item = Summed> {
    let mut units: BTreeMap<u32, Summed> = BTreeMap::new();
    for (place, rows) in window {
        let one = units.entry(valued[*place].unit).or_default();
        one.sum += valued[*place].number * *rows as f64;
        one.rows += rows;
    }
    units.into_values()
}

struct Group<'a> {
    valued: &'a [Valued],
    places: Vec<usize>,
    /// How many rows stand before each place, and how many there are.
    before: Vec<u64>,
}

impl<'a> Group<'a> {
    fn new(valued: &'a [Valued], places: Vec<usize>) -> Self {
        let mut before = vec![0];
        for place in &places {
            before.push(before[before.len() - 1] + valued[*place].rows);
        }
        Self { valued, places, before }
    }

    /// As many rows on each side of the rank as are needed for so many units on each.
    ///
    /// None if beyond these rows there are not as many units once more, on each side: so neither the least nor the greatest
    /// ones are told, and what is told is near the rank. None as well if all these rows have one number and fewer units
    /// have another one: that would tell nearly everybody's.
    fn around(&self, percent: u8, smallest: u64) -> Option<Window> {
        let all = self.before[self.places.len()];
        let part = u128::from(all) * u128::from(percent);
        let (below, above) = ((part / 100) as u64, part.div_ceil(100) as u64);
        let enough = |side: u64| {
            self.has_units(below - side..below, smallest) && self.has_units(above..above + side, smallest)
        };
        // What is enough stays enough with more rows.
        let (mut few, mut side) = (0, below.min(all - above));
        if !enough(side) {
            return None;
        }
        while side - few > 1 {
            let middle = few + (side - few) / 2;
            if enough(middle) {
                side = middle;
            } else {
                few = middle;
            }
        }
        let (from, to) = (below - side, above + side);
        if !self.has_units(0..from, smallest) || !self.has_units(to..all, smallest) {
            return None;
        }
        let window = self.window(from..to);
        let number = |place: usize| self.valued[place].number;
        let (least, most) = (number(window.first()?.0), number(window.last()?.0));
        let others = self.places.iter().filter(|place| number(**place) != least);
        let is_alike = least == most && !self.are_units(others, smallest);
        (!is_alike).then_some(window)
    }

    fn window(&self, rows: Range<u64>) -> Window {
        let first = self.before.partition_point(|before| *before <= rows.start) - 1;
        let places = (first..self.places.len()).take_while(|index| self.before[*index] < rows.end);
        let part = |index: usize| {
            let (from, to) = (self.before[index].max(rows.start), self.before[index + 1].min(rows.end));
            (self.places[index], to - from)
        };
        places.map(part).collect()
    }

    /// Whether at least so many units have one of these rows.
    fn has_units(&self, rows: Range<u64>, smallest: u64) -> bool {
        if rows.is_empty() {
            return false;
        }
        let first = self.before.partition_point(|before| *before <= rows.start) - 1;
        let end = self.before.partition_point(|before| *before < rows.end);
        self.are_units(self.places[first..end].iter(), smallest)
    }

    fn are_units<'b>(&self, mut places: impl Iterator<Item = &'b usize>, smallest: u64) -> bool {
        let mut units = HashSet::new();
        places.any(|place| {
            units.insert(self.valued[*place].unit);
            units.len() as u64 >= smallest
        })
    }
}

/// Numbers for units: to the same name the same one.
#[derive(Debug, Default)]
pub(crate) struct Units(HashMap<Vec<u8>, u32>);

impl Units {
    /// The number of a unit.
    pub(crate) fn number(&mut self, name: &[u8]) -> u32 {
        if let Some(number) = self.0.get(name) {
            return *number;
        }
        let number = self.0.len() as u32;
        self.0.insert(name.to_vec(), number);
        number
    }

    /// The place of each unit, by its number, in the order of names. Numbers are given as the threads come to the units.
    pub(crate) fn places(&self) -> Vec<u32> {
        let mut named: Vec<(&Vec<u8>, u32)> = self.0.iter().map(|(name, number)| (name, *number)).collect();
        named.sort();
        let mut places = vec![0; named.len()];
        named.into_iter().zip(0..).for_each(|((_, number), place)| places[number as usize] = place);
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row each.
    fn of(numbers: &[f64]) -> Vec<Valued> {
        let one = |(unit, number): (u32, &f64)| Valued { class: 0, unit, number: *number, rows: 1 };
        (0..).zip(numbers).map(one).collect()
    }

    fn told(valued: &[Valued], percent: u8, smallest: u64) -> Option<(f64, usize)> {
        let found = windows(valued, |_| Some(0), percent, smallest);
        let window = found.get(&0)?;
        let units: Vec<Summed> = summed(valued, window).collect();
        let (sum, rows) = units.iter().fold((0.0, 0), |(sum, rows), one| (sum + one.sum, rows + one.rows));
        Some((sum / rows as f64, units.len()))
    }

    fn numbers(many: u32) -> Vec<f64> {
        (0..many).map(f64::from).collect()
    }

    #[test]
    fn a_window_has_enough_units_on_each_side_of_the_rank_and_as_many_beyond() {
        assert_eq!(told(&of(&numbers(20)), 50, 5), Some((9.5, 10)));
        assert_eq!(told(&of(&numbers(41)), 50, 5), Some((20.0, 11)), "the rank is in the middle of a row");
        assert_eq!(told(&of(&numbers(40)), 25, 5), Some((9.5, 10)));
        assert_eq!(told(&of(&numbers(40)), 75, 5), Some((29.5, 10)));
        // One beyond is missing.
        assert_eq!(told(&of(&numbers(19)), 50, 5), None);
        assert_eq!(told(&of(&numbers(39)), 25, 5), None);
        assert_eq!(told(&of(&numbers(39)), 75, 5), None);
        for few in 0..4 {
            assert_eq!(told(&of(&numbers(few)), 50, 1), None, "{few}");
        }
        assert_eq!(told(&of(&numbers(4)), 50, 1), Some((1.5, 2)));
    }

    #[test]
    fn a_unit_with_many_rows_is_one_unit() {
        let mut valued = of(&numbers(40));
        valued[19].rows = 100;
        // The rank is within the rows of one unit, and four others are needed on each side.
        assert_eq!(told(&valued, 50, 5).map(|(_, units)| units), Some(10));
        // One unit has all rows below the rank.
        let mut below = of(&numbers(40));
        below[..20].iter_mut().for_each(|one| one.unit = 0);
        assert_eq!(told(&below, 50, 5), None);
    }

    #[test]
    fn a_number_that_nearly_all_have_is_not_told() {
        let mut numbers = vec![1.0; 51];
        numbers.extend((0..9).map(|other| 2.0 + f64::from(other)));
        assert_eq!(told(&of(&numbers), 50, 10), None);
        numbers.push(20.0);
        assert_eq!(told(&of(&numbers), 50, 10), Some((1.0, 21)));
    }

    #[test]
    fn a_part_of_a_units_rows_with_one_number_may_stand_in_a_window() {
        let mut valued = of(&numbers(20));
        valued.iter_mut().for_each(|one| one.rows = 3);
        let window = &windows(&valued, |_| Some(0), 50, 3)[&0];
        assert_eq!(window, &vec![(7, 1), (8, 3), (9, 3), (10, 3), (11, 3), (12, 1)]);
    }

    #[test]
    fn units_are_placed_by_their_names_whoever_came_first() {
        let mut units = Units::default();
        let numbers: Vec<u32> = [&b"b"[..], b"a", b"c", b"a"].map(|name| units.number(name)).into();
        assert_eq!(numbers, [0, 1, 2, 1]);
        assert_eq!(units.places(), [1, 0, 2]);
    }
}
