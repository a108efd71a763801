//! Whether sums of known groups, added and subtracted in any way, tell something of a few units alone.
//!
//! Each told group is a row with a 1 for each class of which it is the sum. What anyone can work out by adding and
//! subtracting is a row of their span. A row of the span that is 0 on every class of enough units, and not on all others, is a
//! number of a few (the audit of Chin and Özsoyoğlu, 1982, on classes of units in place of single ones). Elimination with
//! the large classes first leaves exactly such rows.

use std::collections::BTreeSet;

/// The largest Mersenne prime below 2^63. Elimination is modulo it: exact, and never larger than a word. A combination that
/// vanishes modulo it and not over whole numbers would have to have coefficients of 19 digits.
const PRIME: u64 = (1 << 61) - 1;

/// Most multiplications of one elimination.
const WORK_LIMIT: u128 = 1 << 31;

/// Too many groups and classes together.
#[derive(Debug)]
pub(crate) struct TooLarge;

/// Which groups are told, over which classes.
#[derive(Debug, Clone, Default)]
pub(crate) struct System {
    /// How many units each class has.
    pub(crate) units: Vec<u64>,
    /// Which units a class of fewer than the smallest count has, where a unit can stand in several classes; else empty.
    pub(crate) members: Vec<Vec<u32>>,
    /// The classes of each group.
    pub(crate) groups: Vec<Vec<usize>>,
}

impl System {
    /// How many independent numbers of fewer than `smallest` units each, or of several such classes together, follow from
    /// these groups.
    ///
    /// One number that stands for enough units in several small classes together is no harm; of several such numbers, some
    /// combination may be of few, and that is not looked for.
    pub(crate) fn isolated(&self, smallest: u64) -> Result<usize, TooLarge> {
        let rows = self.small_rows(smallest)?;
        match &rows[..] {
            [row] => Ok(usize::from(self.units_of(row) < smallest)),
            _ => Ok(rows.len()),
        }
    }

    /// The units of all classes of a row. One with a row in each of ten classes is one unit and not ten.
    fn units_of(&self, row: &[u64]) -> u64 {
        let classes = || row.iter().enumerate().filter(|(_, value)| **value != 0).map(|(class, _)| class);
        if self.members.is_empty() {
            return classes().fold(0, |sum, class| sum.saturating_add(self.units[class]));
        }
        classes().flat_map(|class| &self.members[class]).collect::<BTreeSet<_>>().len() as u64
    }

    /// A basis of what is 0 on each large class.
    fn small_rows(&self, smallest: u64) -> Result<Vec<Vec<u64>>, TooLarge> {
        let (height, width) = (self.groups.len() as u128, self.units.len() as u128);
        if height * height * width > WORK_LIMIT {
            return Err(TooLarge);
        }
        let row = |group: &Vec<usize>| {
            let mut row = vec![0; self.units.len()];
            group.iter().for_each(|class| row[*class] = 1);
            row
        };
        let mut rows: Vec<Vec<u64>> = self.groups.iter().map(row).collect();
        let (large, small): (Vec<usize>, Vec<usize>) =
            (0..self.units.len()).partition(|class| self.units[*class] >= smallest);
        large.iter().for_each(|class| drop(take_pivot(&mut rows, *class)));
        let mut basis = Vec::new();
        for class in small {
            basis.extend(take_pivot(&mut rows, class));
        }
        Ok(basis)
    }
}

/// Takes a row with something in this column out, and the column out of all others.
fn take_pivot(rows: &mut Vec<Vec<u64>>, column: usize) -> Option<Vec<u64>> {
    let place = rows.iter().position(|row| row[column] != 0)?;
    let pivot = rows.swap_remove(place);
    let inverse = power(pivot[column], PRIME - 2);
    for row in rows.iter_mut().filter(|row| row[column] != 0) {
        let factor = PRIME - product(row[column], inverse);
        for (value, by) in row.iter_mut().zip(&pivot).filter(|(_, by)| **by != 0) {
            *value = (*value + product(factor, *by)) % PRIME;
        }
    }
    Some(pivot)
}

fn product(one: u64, other: u64) -> u64 {
    (u128::from(one) * u128::from(other) % u128::from(PRIME)) as u64
}

fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = product(result, base);
        }
        base = product(base, base);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isolated(units: &[u64], groups: &[&[usize]]) -> usize {
        let groups = groups.iter().map(|group| group.to_vec()).collect();
        System { units: units.to_vec(), groups, ..System::default() }.isolated(10).unwrap()
    }

    #[test]
    fn differences_of_few_units_are_found_and_those_of_many_are_not() {
        // All, and all but a class.
        assert_eq!(isolated(&[50, 3], &[&[0, 1], &[0]]), 1);
        assert_eq!(isolated(&[50, 10], &[&[0, 1], &[0]]), 0);
        // All, a group, and all others but three: no two of them tell.
        assert_eq!(isolated(&[50, 60, 3], &[&[0, 1, 2], &[0], &[1]]), 1);
        assert_eq!(isolated(&[50, 60, 3], &[&[0, 1, 2], &[0]]), 0);
        assert_eq!(isolated(&[50, 60, 30], &[&[0, 1, 2], &[0], &[1]]), 0);
        // A margin of a table with small cells tells none of them.
        let margins: &[&[usize]] = &[&[0, 1], &[2, 3], &[0, 2], &[1, 3]];
        assert_eq!(isolated(&[3, 50, 60, 70], margins), 0);
        assert_eq!(isolated(&[3, 50, 60, 70], &[margins, &[&[3]]].concat()), 1);
        // Two small classes that stand for enough together.
        assert_eq!(isolated(&[50, 6, 7], &[&[0, 1, 2], &[0]]), 0);
        assert_eq!(isolated(&[50, 6, 7], &[&[0, 1, 2], &[0], &[0, 1]]), 2);
    }

    #[test]
    fn a_unit_that_stands_in_many_small_classes_is_one_unit() {
        let groups = |classes: usize| vec![(0..=classes).collect::<Vec<_>>(), vec![0]];
        let system = |members: Vec<Vec<u32>>| {
            let units: Vec<u64> =
                [vec![50], members.iter().map(|units| units.len() as u64).collect()].concat();
            let groups = groups(members.len());
            System { units, members: [vec![Vec::new()], members].concat(), groups }
        };
        // Twelve classes of the same one unit, and twelve of another each.
        assert_eq!(system(vec![vec![7]; 12]).isolated(10).unwrap(), 1);
        assert_eq!(system((0..12).map(|unit| vec![unit]).collect()).isolated(10).unwrap(), 0);
    }

    #[test]
    fn more_than_can_be_put_together_is_said_to_be() {
        let system = System { units: vec![20; 50_000], groups: vec![vec![0]; 300], ..System::default() };
        assert!(matches!(system.isolated(10), Err(TooLarge)));
    }

    /// Each combination with small whole coefficients of some hundred small systems.
    #[test]
    fn no_combination_of_few_units_is_missed() {
        let mut random = 7u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let (mut found, mut clear) = (0, 0);
        for _ in 0..400 {
            let units: Vec<u64> = (0..5).map(|_| [2, 4, 20, 30][next(4) as usize]).collect();
            let groups: Vec<Vec<usize>> = (0..4).map(|_| (0..5).filter(|_| next(2) == 1).collect()).collect();
            let system = System { units: units.clone(), groups: groups.clone(), ..System::default() };
            let isolated = system.isolated(10).unwrap();
            let is_told = (0..7i64.pow(4)).any(|number| {
                let weights: Vec<i64> = (0..4).map(|place| number / 7i64.pow(place) % 7 - 3).collect();
                let value = |class: usize| -> i64 {
                    let in_it = groups.iter().zip(&weights).filter(|(group, _)| group.contains(&class));
                    in_it.map(|(_, weight)| weight).sum()
                };
                let told: u64 = (0..5).filter(|class| value(*class) != 0).map(|class| units[class]).sum();
                (1..10).contains(&told)
            });
            assert!(!is_told || isolated > 0, "{system:?}");
            found += usize::from(isolated > 0);
            clear += usize::from(isolated == 0);
        }
        assert!(found > 20 && clear > 20, "{found} and {clear}");
    }
}
