//! What stands beside a class in sums that follow from known groups: the least that taking out the largest others leaves.

use std::collections::BTreeSet;

use crate::modular::{has, product, quotient, rational, take_row};
use crate::rank::{System, TooLarge, apart};

/// Most multiplications to find what stands around classes.
const AROUND_LIMIT: u128 = 1 << 28;

/// A combination: its classes, and how often each is in it, beside once the class that was asked for. None if that is no
/// fraction of small whole numbers.
pub(crate) type Combination = Vec<(usize, Option<f64>)>;

impl System {
    /// For each of these classes that follows at all a combination in which it stands beside few large others. `sizes` is what
    /// each class has. The largest are taken out first, as long as the class remains: a greedy choice, and not always the best.
    /// Of a class that stands in the combination of one before it an own one is sought as far as the work allows; of each
    /// other one it must be.
    pub(crate) fn around(&self, classes: &[usize], sizes: &[f64]) -> Result<Vec<Combination>, TooLarge> {
        self.check_work()?;
        let parts = apart(self.rows());
        let (mut found, mut later, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut left = AROUND_LIMIT;
        for class in classes {
            let Some(rows) = parts.iter().find(|rows| has(rows, *class)) else { continue };
            if seen.contains(class) {
                later.push((rows, *class));
                continue;
            }
            let combination = lightest(rows.clone(), *class, sizes, &mut left)?;
            seen.extend(combination.iter().map(|(class, _)| *class));
            found.push(combination);
        }
        let own = |(rows, class): (&Vec<_>, usize)| lightest(rows.clone(), class, sizes, &mut left).ok();
        found.extend(later.into_iter().map_while(own));
        Ok(found)
    }
}

/// A combination of rows that has the class, one of which does, with the largest others taken out.
fn lightest(
    mut rows: Vec<Vec<u64>>,
    class: usize,
    sizes: &[f64],
    left: &mut u128,
) -> Result<Combination, TooLarge> {
    // That many words are looked at and copied, which is less than to multiply them.
    take(left, rows.len() * sizes.len() / 16)?;
    let mut others: Vec<usize> =
        (0..sizes.len()).filter(|other| *other != class && has(&rows, *other)).collect();
    others.sort_by(|one, other| sizes[*other].total_cmp(&sizes[*one]));
    for other in others {
        if rows.len() == 1 {
            break;
        }
        take(left, rows.len())?;
        let touched: Vec<usize> = (0..rows.len()).filter(|row| rows[*row][other] != 0).collect();
        let without = touched.iter().find(|row| rows[**row][class] == 0);
        let Some(pivot) = without.or(touched.first()).copied() else { continue };
        if remains(&rows, pivot, other, class) {
            take(left, touched.len() * sizes.len())?;
            take_row(&mut rows, pivot, other);
        }
    }
    let found = rows.iter().find(|row| row[class] != 0);
    Ok(found.map_or(Vec::new(), |row| {
        let part = |other: usize| (other, rational(quotient(row[other], row[class])));
        (0..row.len()).filter(|other| row[*other] != 0).map(part).collect()
    }))
}

/// Takes so many multiplications from what is left.
fn take(left: &mut u128, work: usize) -> Result<(), TooLarge> {
    *left = left.checked_sub(work as u128).ok_or(TooLarge)?;
    Ok(())
}

/// Whether some row still has the class once the other one is taken out of all rows by this one.
fn remains(rows: &[Vec<u64>], pivot: usize, other: usize, class: usize) -> bool {
    let factor = quotient(rows[pivot][class], rows[pivot][other]);
    let stays = |row: &Vec<u64>| row[class] != product(row[other], factor);
    rows.iter().enumerate().any(|(place, row)| place != pivot && stays(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modular::WHOLE;

    /// Classes of fifty units.
    fn system(classes: usize, groups: &[&[usize]]) -> System {
        let whole = |group: &&[usize]| group.iter().map(|class| (*class, WHOLE)).collect();
        System { units: vec![50; classes], groups: groups.iter().map(whole).collect(), ..System::default() }
    }

    #[test]
    fn around_a_class_stands_the_least_that_can_be_taken_away_to() {
        let sizes = [100.0, 70.0, 5.0, 1.0];
        let around = |groups: &[&[usize]]| {
            let found = system(4, groups).around(&[2], &sizes).unwrap();
            let classes = |one: &Combination| one.iter().map(|(class, _)| *class).collect::<Vec<_>>();
            found.iter().map(classes).collect::<Vec<_>>()
        };
        // All, and two groups: the rest follows.
        assert_eq!(around(&[&[0, 1, 2, 3], &[0], &[1]]), [vec![2, 3]]);
        assert_eq!(around(&[&[0, 1, 2, 3], &[0]]), [vec![1, 2, 3]]);
        assert!(around(&[&[0, 1], &[0]]).is_empty());
        // Of two ways to it the one beside the smaller.
        assert_eq!(around(&[&[0, 2], &[2, 3]]), [vec![2, 3]]);
    }

    #[test]
    fn a_class_that_stands_several_times_in_a_combination_counts_so_often() {
        // Three times one class, less the last one.
        let groups: &[&[usize]] = &[&[0, 1], &[0, 2], &[0, 3], &[1, 2, 3, 4]];
        let found = system(5, groups).around(&[0, 4], &[16.0, 60.0, 60.0, 60.0, 3.0]).unwrap();
        assert_eq!(found[0], [(0, Some(1.0)), (4, Some(-1.0 / 3.0))]);
        assert_eq!(found[1], [(0, Some(-3.0)), (4, Some(1.0))]);
    }

    /// Two margins, of so many groups each.
    fn margins(groups: usize) -> System {
        let row = |group: usize| (0..groups).map(move |other| group * groups + other);
        let column = |group: usize| (0..groups).map(move |other| other * groups + group);
        let margins = (0..groups).map(|group| row(group).collect());
        let margins: Vec<Vec<usize>> =
            margins.chain((0..groups).map(|group| column(group).collect())).collect();
        system(groups * groups, &margins.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn margins_of_many_groups_in_each_of_which_somebody_has_much_are_not_too_many() {
        for groups in [30, 50] {
            let all = groups * groups;
            let sizes: Vec<f64> = (0..all).map(|class| (class * 7 % all) as f64).collect();
            let classes: Vec<usize> = (0..all).collect();
            let found = margins(groups).around(&classes, &sizes).unwrap();
            // In the smaller one each has its own, in the larger one some stand beside others alone.
            assert_eq!(found.len() == all, groups == 30);
            let seen: BTreeSet<usize> = found.iter().flatten().map(|(class, _)| *class).collect();
            assert_eq!(seen.len(), all);
        }
    }
}
