//! The machine's clock, compared with how long the signer has run.

use release::value::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// How far the clock may run ahead of the time that has passed, in seconds: a correction, not a mistake.
const AHEAD_SECONDS: i64 = 3600;

/// The clock as it was when the signer started.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// What the calendar showed, less what the machine had run by then; in seconds.
    began: i64,
}

/// What was read off the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The moment.
    Now(Timestamp),
    /// It was set forward while the signer ran. A manifest dated by it would lie in the future: no witness's time would
    /// fit it, and nothing could be signed before that day has come.
    Ahead,
}

impl Clock {
    /// Trusts the clock as it is now: whoever starts the signer has looked at it.
    pub fn started() -> Self {
        Self { began: daemon::now_seconds() - running_seconds() }
    }

    /// Reads it.
    pub fn read(self) -> Reading {
        self.reading(daemon::now_seconds(), running_seconds())
    }

    fn reading(self, calendar: i64, running: i64) -> Reading {
        if calendar - running - self.began > AHEAD_SECONDS {
            return Reading::Ahead;
        }
        // A clock that shows no time cannot say what is in force, so nothing is.
        let now = Timestamp::from_seconds(calendar);
        Reading::Now(now.unwrap_or_else(|_| Timestamp::from_seconds(0).expect("1970 can be written")))
    }
}

/// How long the machine has run, its sleep included. Nobody can set this.
fn running_seconds() -> i64 {
    clock_gettime(ClockId::Boottime).tv_sec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_forward_is_known_until_it_is_set_right_and_one_that_is_corrected_is_not() {
        let clock = Clock { began: 1_000_000 };
        let at = |seconds| Reading::Now(Timestamp::from_seconds(seconds).unwrap());
        assert_eq!(clock.reading(1_000_050, 50), at(1_000_050));
        assert_eq!(clock.reading(1_003_650, 50), at(1_003_650), "an hour is a correction");
        assert_eq!(clock.reading(1_003_651, 50), Reading::Ahead);
        assert_eq!(clock.reading(1_000_060, 60), at(1_000_060), "it was set right");
        assert_eq!(clock.reading(900_000, 70), at(900_000), "one set back is known by the log");
    }
}
