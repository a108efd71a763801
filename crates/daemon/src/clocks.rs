//! Two clocks side by side: the machine's, which whoever administers it can set, and one that nobody can. Waiting is
//! counted by the second, so that the first ends no job early and keeps none for ever.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A clock that is behind by more than this was set back, in seconds; less is what the time service corrects.
const SET_BACK: i64 = 5;

/// What was last seen of both clocks.
#[derive(Debug)]
pub struct Clocks(Mutex<Seen>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    counted: Instant,
    looked: Instant,
    clock: i64,
}

impl Clocks {
    /// Begins to count, with what the machine's clock says, in seconds since 1970.
    pub fn start(clock: i64) -> Self {
        Self::start_at(Instant::now(), clock)
    }

    fn start_at(moment: Instant, clock: i64) -> Self {
        Self(Mutex::new(Seen { counted: moment, looked: moment, clock }))
    }

    /// By how many seconds the machine's clock was set back since the last look, if it was.
    pub fn set_back(&self, clock: i64) -> Option<u64> {
        self.set_back_at(Instant::now(), clock)
    }

    fn set_back_at(&self, moment: Instant, clock: i64) -> Option<u64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = moment.saturating_duration_since(seen.looked).as_secs();
        let expected = seen.clock.saturating_add_unsigned(passed);
        (seen.looked, seen.clock) = (moment, clock);
        set_back_by(expected, clock)
    }

    /// Whole seconds that have passed since they were last taken, whatever the machine's clock says. Fewer than
    /// `least` are left for the next time.
    pub fn passed(&self, least: u64) -> Option<u64> {
        self.passed_at(Instant::now(), least)
    }

    fn passed_at(&self, moment: Instant, least: u64) -> Option<u64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = moment.saturating_duration_since(seen.counted).as_secs();
        if passed < least {
            return None;
        }
        seen.counted += Duration::from_secs(passed);
        Some(passed)
    }
}

/// By how many seconds a clock that should show `expected` was set back, if it was.
pub fn set_back_by(expected: i64, clock: i64) -> Option<u64> {
    let behind = expected.saturating_sub(clock);
    (behind > SET_BACK).then_some(behind.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_pass_whatever_the_machines_clock_says_and_none_is_counted_twice() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_millis(seconds * 1000 + 700);
        let clocks = Clocks::start_at(start, 1_000_000);
        assert_eq!(clocks.passed_at(after(29), 30), None);
        clocks.set_back_at(after(29), 99_000_000);
        assert_eq!(clocks.passed_at(after(40), 30), Some(40));
        clocks.set_back_at(after(41), 0);
        assert_eq!(clocks.passed_at(after(40), 0), Some(0));
        assert_eq!(clocks.passed_at(after(80), 30), Some(40));
    }

    #[test]
    fn a_clock_that_is_set_back_is_noticed_once_and_one_that_is_corrected_or_set_forward_is_not() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let clocks = Clocks::start_at(start, 1_000_000);
        assert_eq!(clocks.set_back_at(after(10), 1_000_005), None, "corrected by 5 s");
        assert_eq!(clocks.set_back_at(after(20), 1_000_015), None);
        assert_eq!(clocks.set_back_at(after(30), 9_000_000), None, "set forward");
        assert_eq!(clocks.set_back_at(after(40), 1_000_040), Some(7_999_970));
        assert_eq!(clocks.set_back_at(after(50), 1_000_050), None);
    }
}
