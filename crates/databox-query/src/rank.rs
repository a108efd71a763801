//! Whether sums of known groups, added and subtracted in any way, tell something of a few units alone.
//!
//! Each told group is a row with a 1 for each class of which it is the sum, or the part of a class that it has. What anyone can work out by adding and
//! subtracting is a row of their span. A row of the span that is 0 on every class of enough units, and not on all others, is a
//! number of a few (the audit of Chin and Özsoyoğlu, 1982, on classes of units in place of single ones). Elimination with
//! the large classes first leaves exactly such rows.

use std::collections::BTreeSet;

use crate::modular::{has, take_pivot};

/// Most multiplications of one elimination.
const WORK_LIMIT: u128 = 1 << 31;

/// Most multiplications of one search among what elimination leaves.
const SEARCH_LIMIT: u128 = 1 << 26;

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
    /// The classes of each group, and how much of each: [all](crate::modular::WHOLE), or a [fraction](crate::modular::fraction).
    pub(crate) groups: Vec<Vec<(usize, u64)>>,
}

impl System {
    /// Whether a number of fewer than `smallest` units follows from these groups.
    pub(crate) fn isolates(&self, smallest: u64) -> Result<bool, TooLarge> {
        let mut search = Search::new(self, smallest);
        for rows in apart(self.small_rows(smallest)?) {
            if search.finds(&rows, 0, &[])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn check_work(&self) -> Result<(), TooLarge> {
        let (height, width) = (self.groups.len() as u128, self.units.len() as u128);
        if height * height * width > WORK_LIMIT { Err(TooLarge) } else { Ok(()) }
    }

    /// The units of these classes. One with a row in each of ten classes is one unit and not ten.
    fn units_of(&self, classes: &[usize]) -> u64 {
        if self.members.is_empty() {
            return classes.iter().fold(0, |sum, class| sum.saturating_add(self.units[*class]));
        }
        classes.iter().flat_map(|class| &self.members[*class]).collect::<BTreeSet<_>>().len() as u64
    }

    /// Each group as a row of classes.
    pub(crate) fn rows(&self) -> Vec<Vec<u64>> {
        let row = |group: &Vec<(usize, u64)>| {
            let mut row = vec![0; self.units.len()];
            group.iter().for_each(|(class, part)| row[*class] = *part);
            row
        };
        self.groups.iter().map(row).collect()
    }

    /// A basis of what is 0 on each large class.
    fn small_rows(&self, smallest: u64) -> Result<Vec<Vec<u64>>, TooLarge> {
        self.check_work()?;
        let mut rows = self.rows();
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

/// Looks for a combination of rows of small classes that is of few units.
///
/// Each class is made 0, or kept: what is sought in the branch then has it. So what is kept has few units itself, or the
/// branch has nothing of few. One that has fewer than another is only one that is 0 on more classes, so that where all
/// are made 0 that can be, one row is left. With the largest classes first few can be kept.
struct Search<'a> {
    system: &'a System,
    smallest: u64,
    /// The classes, the largest first.
    order: Vec<usize>,
    /// Multiplications that may still be done.
    left: u128,
}

impl<'a> Search<'a> {
    fn new(system: &'a System, smallest: u64) -> Self {
        let mut order: Vec<usize> = (0..system.units.len()).collect();
        order.sort_by_key(|class| std::cmp::Reverse(system.units[*class]));
        Self { system, smallest, order, left: SEARCH_LIMIT }
    }

    /// Whether there is one in the span of these rows that has each kept class. Of the classes in order those before `from`
    /// are decided.
    fn finds(&mut self, rows: &[Vec<u64>], from: usize, kept: &[usize]) -> Result<bool, TooLarge> {
        let classes = |row: &[u64]| (0..row.len()).filter(|class| row[*class] != 0).collect::<Vec<_>>();
        if rows.iter().any(|row| self.are_few(&classes(row))) {
            return Ok(true);
        }
        if rows.len() < 2 {
            return Ok(false);
        }
        let mut kept = kept.to_vec();
        for place in from..self.order.len() {
            let class = self.order[place];
            if !has(rows, class) {
                continue;
            }
            let work = (rows.len() * self.order.len()) as u128;
            self.left = self.left.checked_sub(work).ok_or(TooLarge)?;
            let mut rest = rows.to_vec();
            take_pivot(&mut rest, class);
            if kept.iter().all(|class| has(&rest, *class)) && self.finds(&rest, place + 1, &kept)? {
                return Ok(true);
            }
            kept.push(class);
            if !self.are_few(&kept) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn are_few(&self, classes: &[usize]) -> bool {
        self.system.units_of(classes) < self.smallest
    }
}

/// Rows that share no class, not even through others, apart: a combination of both is of more units than of either.
pub(crate) fn apart(rows: Vec<Vec<u64>>) -> Vec<Vec<Vec<u64>>> {
    let share =
        |one: &[u64], other: &[u64]| one.iter().zip(other).any(|(one, other)| *one != 0 && *other != 0);
    let mut found: Vec<Vec<Vec<u64>>> = Vec::new();
    for row in rows {
        let (near, far): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|rows: &Vec<_>| rows.iter().any(|one| share(one, &row)));
        found = far;
        found.push(near.into_iter().flatten().chain([row]).collect());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modular::{WHOLE, fraction};

    fn whole(groups: &[&[usize]]) -> Vec<Vec<(usize, u64)>> {
        groups.iter().map(|group| group.iter().map(|class| (*class, WHOLE)).collect()).collect()
    }

    fn isolates(units: &[u64], groups: &[&[usize]]) -> bool {
        System { units: units.to_vec(), groups: whole(groups), ..System::default() }.isolates(10).unwrap()
    }

    #[test]
    fn differences_of_few_units_are_found_and_those_of_many_are_not() {
        // All, and all but a class.
        assert!(isolates(&[50, 3], &[&[0, 1], &[0]]));
        assert!(!isolates(&[50, 10], &[&[0, 1], &[0]]));
        // All, a group, and all others but three: no two of them tell.
        assert!(isolates(&[50, 60, 3], &[&[0, 1, 2], &[0], &[1]]));
        assert!(!isolates(&[50, 60, 3], &[&[0, 1, 2], &[0]]));
        assert!(!isolates(&[50, 60, 30], &[&[0, 1, 2], &[0], &[1]]));
        // A margin of a table with small cells tells none of them.
        let margins: &[&[usize]] = &[&[0, 1], &[2, 3], &[0, 2], &[1, 3]];
        assert!(!isolates(&[3, 50, 60, 70], margins));
        assert!(isolates(&[3, 50, 60, 70], &[margins, &[&[3]]].concat()));
        // Two small classes that stand for enough together.
        assert!(!isolates(&[50, 6, 7], &[&[0, 1, 2], &[0]]));
        assert!(isolates(&[50, 6, 7], &[&[0, 1, 2], &[0], &[0, 1]]));
    }

    #[test]
    fn a_part_of_a_class_is_told_apart_from_all_of_it() {
        let told = |part: u64| {
            let groups = vec![vec![(0, WHOLE), (1, WHOLE)], vec![(0, WHOLE), (1, part)]];
            System { units: vec![50, 3], groups, ..System::default() }.isolates(10).unwrap()
        };
        assert!(told(fraction(1, 2)));
        assert!(!told(fraction(7, 7)));
    }

    #[test]
    fn a_unit_that_stands_in_many_small_classes_is_one_unit() {
        let groups = |classes: usize| whole(&[&(0..=classes).collect::<Vec<_>>(), &[0]]);
        let system = |members: Vec<Vec<u32>>| {
            let units: Vec<u64> =
                [vec![50], members.iter().map(|units| units.len() as u64).collect()].concat();
            let groups = groups(members.len());
            System { units, members: [vec![Vec::new()], members].concat(), groups }
        };
        // Twelve classes of the same one unit, and twelve of another each.
        assert!(system(vec![vec![7]; 12]).isolates(10).unwrap());
        assert!(!system((0..12).map(|unit| vec![unit]).collect()).isolates(10).unwrap());
    }

    #[test]
    fn more_than_can_be_put_together_is_said_to_be() {
        let groups = vec![vec![(0, WHOLE)]; 300];
        let system = System { units: vec![20; 50_000], groups, ..System::default() };
        assert!(matches!(system.isolates(10), Err(TooLarge)));
        // Rows that share no class are looked at one by one, be there many.
        let groups = (0..40).map(|group| vec![(2 * group, WHOLE), (2 * group + 1, WHOLE)]).collect();
        let system = System { units: vec![5; 80], groups, ..System::default() };
        assert!(!system.isolates(10).unwrap());
        // Many classes of one each, of which any ten stand for enough: to find that none is told would take too long.
        let all_but = |group| (0..200).filter(move |class| class % 20 != group);
        let groups = (0..20).map(|group| all_but(group).map(|class| (class, WHOLE)).collect()).collect();
        let system = System { units: vec![1; 200], groups, ..System::default() };
        assert!(matches!(system.isolates(10), Err(TooLarge)));
    }

    /// Each combination with small whole coefficients of some hundred small systems.
    #[test]
    fn no_combination_of_few_units_is_missed_and_none_is_made_up() {
        let mut random = 7u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut found_of = [[0; 2]; 3];
        for round in 0..400 {
            // Classes of enough units and of few, and of few alone: each unit in one of them, or in several.
            let sizes = [[2, 4, 20, 30], [2, 4, 5, 7], [3, 5, 8, 9]][round % 3];
            let units: Vec<u64> = (0..5).map(|_| sizes[next(4) as usize]).collect();
            let (mut first, mut members) = (0, Vec::new());
            for many in &units {
                first = if round % 3 == 2 { next(25) } else { first + many };
                members.push((first..first + many).map(|unit| unit as u32).collect::<BTreeSet<_>>());
            }
            let many = 1 + next(4);
            let groups: Vec<Vec<usize>> =
                (0..many).map(|_| (0..5).filter(|_| next(2) == 1).collect()).collect();
            let slices: Vec<&[usize]> = groups.iter().map(Vec::as_slice).collect();
            let listed = |units: &BTreeSet<u32>| match units.len() < 10 {
                true => units.iter().copied().collect(),
                false => Vec::new(),
            };
            let members_of_few = members.iter().map(listed).collect();
            let system = System { units: units.clone(), members: members_of_few, groups: whole(&slices) };
            let isolates = system.isolates(10).unwrap();
            let is_told = (0..7i64.pow(4)).any(|number| {
                let weights: Vec<i64> = (0..4).map(|place| number / 7i64.pow(place) % 7 - 3).collect();
                let value = |class: usize| -> i64 {
                    let in_it = groups.iter().zip(&weights).filter(|(group, _)| group.contains(&class));
                    in_it.map(|(_, weight)| weight).sum()
                };
                let told = (0..5).filter(|class| value(*class) != 0).flat_map(|class| &members[class]);
                (1..10).contains(&told.collect::<BTreeSet<_>>().len())
            });
            assert_eq!(isolates, is_told, "{members:?} {groups:?}");
            found_of[round % 3][usize::from(isolates)] += 1;
        }
        assert!(found_of.iter().flatten().all(|found| *found > 10), "{found_of:?}");
    }
}
