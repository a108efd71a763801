//! What ends a run from outside while it goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use daemon::StopFlag;
use sandbox::Cancel;

/// How often a run's part of the disk is counted, and the site asked whether the run may go on.
const COUNT: Duration = Duration::from_millis(200);

/// Why the watch ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// The room stops.
    Stop,
    /// The run and all that follows it took longer than a job may be RUNNING.
    Deadline,
    /// The run took more of the disk than its part.
    Space,
    /// Whoever asked for it, or the grant, is revoked.
    Revocation,
}

/// What ends a run, whoever asks.
pub(super) struct Ends<'a> {
    /// The room stops.
    pub(super) stop: &'a StopFlag,
    /// By the monotonic clock: a clock that is set neither ends a run nor lets it go on.
    pub(super) deadline: Instant,
    /// Whether nobody may ask for the run any more.
    pub(super) is_revoked: &'a (dyn Fn() -> bool + Sync),
    /// Whether it takes more of the disk than is set aside for it.
    pub(super) is_too_large: &'a (dyn Fn() -> bool + Sync),
}

/// Ends a run when the room stops, when its request is revoked, when it is past every limit, or when it takes more of
/// the disk than is set aside for it. Each run has a watch of its own, so none ends for what another one took.
pub(super) struct Watch<'a> {
    ends: Ends<'a>,
    pub(super) cancel: &'a Cancel,
    pub(super) over: AtomicBool,
    pub(super) unpacked: AtomicBool,
    ended_by: Mutex<Option<EndedBy>>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(ends: Ends<'a>, cancel: &'a Cancel) -> Self {
        let (over, unpacked) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { ends, cancel, over, unpacked, ended_by: Mutex::new(None) }
    }

    pub(super) fn ended_by(&self) -> Option<EndedBy> {
        *self.ended_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn until_over(&self) {
        let mut counted = Instant::now();
        while !self.over.load(Ordering::SeqCst) {
            let count = counted.elapsed() >= COUNT;
            if count {
                counted = Instant::now();
            }
            let why = if self.ends.stop.is_raised() {
                Some(EndedBy::Stop)
            } else if Instant::now() >= self.ends.deadline {
                Some(EndedBy::Deadline)
            } else if count && (self.ends.is_revoked)() {
                Some(EndedBy::Revocation)
            } else if count && (self.ends.is_too_large)() {
                Some(EndedBy::Space)
            } else {
                None
            };
            if why.is_some() {
                *self.ended_by.lock().unwrap_or_else(PoisonError::into_inner) = why;
                self.cancel.cancel();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Ends the watch however the run ends.
pub(super) struct Over<'a>(pub(super) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the watch ends a run by that goes on for so long.
    fn watched(run: Duration, ends: Ends<'_>) -> Option<EndedBy> {
        let cancel = Cancel::new().unwrap();
        let watch = Watch::new(ends, &cancel);
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| watch.until_over());
            let _ends = Over(&watch.over);
            let begun = Instant::now();
            while begun.elapsed() < run && !watching.is_finished() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        watch.ended_by()
    }

    #[test]
    fn a_run_past_every_limit_is_ended_and_one_within_goes_on_to_its_end() {
        let stop = StopFlag::default();
        let long = Duration::from_secs(60);
        let ends = |deadline| Ends { stop: &stop, deadline, is_revoked: &|| false, is_too_large: &|| false };
        let soon = Instant::now() + Duration::from_millis(300);
        assert_eq!(watched(long, ends(soon)), Some(EndedBy::Deadline));
        let later = Instant::now() + long;
        assert_eq!(watched(Duration::from_millis(600), ends(later)), None);
    }

    #[test]
    fn a_run_is_ended_by_name_when_it_is_revoked_too_large_or_the_room_stops() {
        let stop = StopFlag::default();
        let deadline = Instant::now() + Duration::from_secs(600);
        let of = |revoked: bool, large: bool| {
            let (is_revoked, is_too_large) = (move || revoked, move || large);
            let ends = Ends { stop: &stop, deadline, is_revoked: &is_revoked, is_too_large: &is_too_large };
            watched(Duration::from_secs(60), ends)
        };
        assert_eq!(of(true, false), Some(EndedBy::Revocation));
        assert_eq!(of(false, true), Some(EndedBy::Space));
        stop.raise();
        assert_eq!(of(false, false), Some(EndedBy::Stop));
    }
}
