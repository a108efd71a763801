//! Which bytes follow which in what is searched for: where the data has other pairs, nothing is asked.
//!
//! It is the reverse of [`Pairs`](crate::pairs::Pairs), for data that is too large to be read twice. A run that stands in a view has no
//! other pairs than the view, so nothing is lost.

use std::convert::Infallible;
use std::ops::Range;

use crate::hash::Kind;
use crate::pairs::PairSet;

/// Hundredths of all pairs above which it is not worth to ask: too much of the data has them.
const MOST: usize = 50;

/// Bytes of a stretch of data that are looked at to see whether it is worth to ask.
const TRIED: usize = 512;

/// Hundredths of a stretch's pairs that may be in the views. With more, there are more looks than windows.
const MOST_OF_DATA: usize = 75;

/// The pairs of neighbouring bytes in stretches of views.
pub(crate) struct ViewPairs(PairSet);

impl ViewPairs {
    /// Those of these stretches; `None` if there are so many that it is not worth to ask.
    pub(crate) fn of(bytes: &[u8], stretches: impl Iterator<Item = Range<usize>>) -> Option<Self> {
        let Ok(pairs) = PairSet::of(|seen| {
            stretches.for_each(|stretch| seen.add(&bytes[stretch]));
            Ok::<_, Infallible>(())
        });
        (pairs.hundredths() <= MOST).then_some(Self(pairs))
    }

    /// Whether it is worth to ask for pairs in data that begins like this.
    pub(crate) fn is_worth(&self, data: &[u8]) -> bool {
        let some = &data[..data.len().min(TRIED)];
        let held = some.array_windows().filter(|[first, second]| self.0.holds(*first, *second)).count();
        100 * held < MOST_OF_DATA * some.len()
    }

    /// Where in `range` of the data windows may stand in the views. A run that holds such a window may go on beyond the range.
    pub(crate) fn stretches(&self, data: &[u8], range: &Range<usize>, show: impl FnMut(Range<usize>)) {
        let around = Kind::Narrow.window() - 1;
        let range = range.start.saturating_sub(around)..data.len().min(range.end + around);
        self.0.stretches(data, range, show);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RUN;

    #[test]
    fn each_run_of_the_views_is_shown_wherever_it_stands_and_next_to_nothing_else() {
        let view: Vec<u8> = (0..400_u32).map(|at| b'a' + (at * at % 23) as u8).collect();
        let pairs = ViewPairs::of(&view, std::iter::once(0..view.len())).unwrap();
        let others = b"OTHER TEXT, OF OTHER BYTES. ".repeat(9);
        for at in 0..others.len() {
            let data = [&others[..at], &view[17..17 + RUN], &others[at..]].concat();
            let mut shown = Vec::new();
            pairs.stretches(&data, &(0..data.len()), |stretch| shown.push(stretch));
            assert_eq!((shown.len(), &shown[0]), (1, &(at..at + RUN)));
        }
    }

    /// What is cut off at the end of a range is shown with the next one.
    #[test]
    fn a_run_across_the_end_of_a_range_is_shown_with_each_window_in_it() {
        let view: Vec<u8> = (0..400_u32).map(|at| b'a' + (at * at % 23) as u8).collect();
        let pairs = ViewPairs::of(&view, std::iter::once(0..view.len())).unwrap();
        for at in 64..160 {
            let data = [&vec![b'!'; at], &view[17..17 + RUN], &[b'!'; 200]].concat();
            for range in [0..128, 128..data.len()] {
                let mut shown = Vec::new();
                pairs.stretches(&data, &range, |stretch| shown.push(stretch));
                let windows = range.step_by(16).filter(|start| at <= *start && start + 16 <= at + RUN);
                for start in windows {
                    assert!(
                        shown.iter().any(|shown| shown.start <= start && start + 16 <= shown.end),
                        "{at} {start}"
                    );
                }
            }
        }
    }

    #[test]
    fn it_is_worth_to_ask_where_most_windows_have_other_pairs() {
        let view = b"a text that is looked for, of no great length".repeat(3);
        let pairs = ViewPairs::of(&view, std::iter::once(0..view.len())).unwrap();
        let others: Vec<u8> = (0..1000_u32).map(|at| b'A' + (at * at % 23) as u8).collect();
        assert!(pairs.is_worth(&others) && !pairs.is_worth(&view) && !pairs.is_worth(&[]));
    }

    #[test]
    fn of_views_with_nearly_all_pairs_nothing_is_kept() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_be_bytes).collect();
        assert!(ViewPairs::of(&all, std::iter::once(0..all.len())).is_none());
    }
}
