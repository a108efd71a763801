//! The time grid: researchers learn of a job's progress at multiples of the policy's grid only, and at most one move
//! a job and step. When a run ends within a step therefore says nothing.

use release::value::Timestamp;

/// A grid of so many seconds, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    seconds: i64,
}

impl Grid {
    /// The grid of a policy. Policies allow 1 second to a day; 0 would be no grid and counts as 1.
    pub fn new(seconds: u64) -> Self {
        Self { seconds: i64::try_from(seconds).unwrap_or(86_400).max(1) }
    }

    /// Its width in seconds.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// The step that this moment is in.
    pub fn step(self, moment: Timestamp) -> u64 {
        (moment.seconds() / self.seconds).unsigned_abs()
    }

    /// When a step begins.
    pub fn start(self, step: u64) -> Timestamp {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let zero = Timestamp::from_seconds(0).expect("1970 is a moment");
        zero.plus(step.saturating_mul(self.seconds))
    }

    /// The last beginning of a step, at or before this moment.
    pub fn round_down(self, moment: Timestamp) -> Timestamp {
        self.start(self.step(moment))
    }

    /// True if a beginning of a step has come that was the next one when it was asked for. One that lies further ahead
    /// than a step never was: the clock was set back since, and nobody waits for it.
    pub fn has_come(self, beginning: Timestamp, now: Timestamp) -> bool {
        beginning <= now || beginning > now.plus(self.seconds)
    }

    /// The next beginning of a step after this moment.
    pub fn after(self, moment: Timestamp) -> Timestamp {
        self.start(self.step(moment) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    #[test]
    fn moments_of_one_step_cannot_be_told_apart() {
        let grid = Grid::new(600);
        assert_eq!(grid.round_down(at(600)), at(600));
        assert_eq!(grid.round_down(at(1199)), at(600));
        assert_eq!(grid.after(at(600)), at(1200));
        assert_eq!(grid.after(at(1199)), at(1200));
        assert_eq!((grid.step(at(599)), grid.step(at(600)), grid.step(at(1199))), (0, 1, 1));
    }

    #[test]
    fn a_slot_is_free_on_the_grid_and_a_clock_that_was_set_back_takes_none_away() {
        let grid = Grid::new(600);
        let free_from = grid.after(at(100_000_010));
        assert!(!grid.has_come(free_from, at(100_000_011)));
        assert!(grid.has_come(free_from, free_from));
        assert!(grid.has_come(free_from, at(200_000_000)));
        assert!(grid.has_come(free_from, at(1_000_000)));
    }

    #[test]
    fn a_grid_of_a_second_is_every_second() {
        let grid = Grid::new(1);
        assert_eq!(grid.round_down(at(77)), at(77));
        assert_eq!(grid.after(at(77)), at(78));
    }
}
