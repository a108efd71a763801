//! How much of what was found is private, where runs of it stand in public files.

use std::ops::Range;

use crate::bits::Bits;

/// Two runs are parts of one longer run if so much of them is the same: those that are followed for thousands of bytes
/// from place to place.
const SAME: usize = 256;

/// A further public run in one stretch counts like the share 1 / this of what makes a stretch count.
const FURTHER: usize = 4;

/// The public bytes of stretches, and the runs that make them so.
pub(crate) struct Covered {
    pub(crate) public: Bits,
    /// In order, none within another.
    runs: Vec<Range<usize>>,
}

impl Covered {
    pub(crate) fn of(public: Bits, mut runs: Vec<Range<usize>>) -> Self {
        runs.sort_by_key(|run| (run.start, std::cmp::Reverse(run.end)));
        let mut whole: Vec<Range<usize>> = Vec::new();
        for run in runs {
            match whole.last_mut() {
                Some(last) if run.end <= last.end => {}
                Some(last) if run.start + SAME <= last.end => last.end = run.end,
                _ => whole.push(run),
            }
        }
        Self { public, runs: whole }
    }

    /// Whether so many units of the range count as private: each that no run covers, and a share for each run behind the first
    /// that is needed to cover the others. Were these free, a list of phrases that is public would excuse any order of
    /// them, and so a column of the data that consists of them.
    pub(crate) fn holds_private(&self, range: Range<usize>, enough: usize) -> bool {
        let uncovered = self.public.count_zeros(range.clone(), enough);
        let further = self.needed(&range).saturating_sub(1);
        uncovered + further.saturating_mul(enough.div_ceil(FURTHER)) >= enough
    }

    /// How few runs cover what is covered, taken from the left: of those that begin in time the one that goes on longest.
    fn needed(&self, range: &Range<usize>) -> usize {
        let mut at = range.start;
        let mut needed = 0;
        let mut next = self.runs.partition_point(|run| run.end <= range.start);
        while at < range.end && next < self.runs.len() && self.runs[next].start < range.end {
            at = at.max(self.runs[next].start);
            let in_time = self.runs[next..].iter().take_while(|run| run.start <= at);
            let (count, end) = in_time.fold((0, at), |(count, end), run| (count + 1, end.max(run.end)));
            (next, at, needed) = (next + count, end, needed + 1);
        }
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(runs: &[Range<usize>]) -> Covered {
        let mut public = Bits::zeros(10_000);
        runs.iter().for_each(|run| public.set(run.clone()));
        Covered::of(public, runs.to_vec())
    }

    #[test]
    fn as_few_runs_are_counted_as_cover_what_is_covered() {
        let phrases: Vec<Range<usize>> = (0..20).map(|at| 40 * at..40 * at + 50).collect();
        assert_eq!(covered(&phrases).needed(&(0..810)), 20);
        assert_eq!(covered(&phrases).needed(&(100..200)), 3);
        let followed: Vec<Range<usize>> = (0..5).map(|at| 1000 * at..1000 * at + 2000).collect();
        assert_eq!(covered(&followed).needed(&(0..6000)), 1);
        let within = [0..100, 20..60, 90..200, 10..150];
        assert_eq!(covered(&within).needed(&(0..200)), 2);
        assert_eq!(covered(&[10..50, 100..150]).needed(&(0..200)), 2);
        assert_eq!(covered(&[]).needed(&(0..200)), 0);
    }

    #[test]
    fn units_and_further_runs_add_up() {
        let alone = covered(&[0..1000, 0..900]);
        assert!(!alone.holds_private(0..1030, 31) && alone.holds_private(0..1031, 31));
        let three = covered(&[0..100, 100..200, 200..300]);
        assert!(!three.holds_private(0..300, 31) && three.holds_private(0..315, 31));
        assert!(covered(&[0..40, 40..80, 80..120, 120..160, 160..200]).holds_private(0..200, 31));
    }
}
