//! Connections that were not let in, or were ended: counted, and told now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use daemon::Journal;

/// Anyone on the network can cause these; a line for each would fill the disk.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Why a connection is not let in, or is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// The room has as many connections as it may have.
    Full,
    /// Their address has.
    Address,
    /// As many handshakes go on as may.
    Handshakes,
    /// The handshake failed, or took too long.
    Handshake,
    /// The person has as many connections as they may have.
    Person,
    /// No frame came in time.
    FirstFrame,
    /// Too many frames came that ask for nothing.
    Frames,
    /// It was asked to end for its age, and did not in time.
    Age,
}

impl TurnedAway {
    const COUNT: usize = 8;

    /// Why, in a word. It is also what a GOAWAY says.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Full => "too_many_connections",
            Self::Address => "too_many_connections_of_the_address",
            Self::Handshakes => "too_many_handshakes",
            Self::Handshake => "handshake",
            Self::Person => "too_many_connections_of_the_person",
            Self::FirstFrame => "no_frame_in_time",
            Self::Frames => "too_many_frames",
            Self::Age => "connection_too_old",
        }
    }
}

/// Counts who was turned away.
#[derive(Debug)]
pub(crate) struct Tally {
    journal: Journal,
    counted: Mutex<[Counted; TurnedAway::COUNT]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    untold: u32,
    told: Option<Instant>,
}

impl Tally {
    pub(crate) fn new(journal: Journal) -> Self {
        Self { journal, counted: Mutex::default() }
    }

    /// One more. The first is told at once, those after it together with the first one a minute later.
    pub(crate) fn count(&self, why: TurnedAway) {
        if let Some(number) = self.due(why, Instant::now()) {
            let line = self.journal.warning("connections were turned away");
            line.word("reason", why.word()).number("number", number).write();
        }
    }

    fn due(&self, why: TurnedAway, now: Instant) -> Option<u32> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = &mut counted[why as usize];
        counted.untold = counted.untold.saturating_add(1);
        if counted.told.is_some_and(|told| now.saturating_duration_since(told) < TELL_AGAIN) {
            return None;
        }
        counted.told = Some(now);
        Some(std::mem::take(&mut counted.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_a_minute_with_all_that_happened_since() {
        let tally = Tally::new(Journal::new("test"));
        let begun = Instant::now();
        assert_eq!(tally.due(TurnedAway::Frames, begun), Some(1));
        for second in 1..60 {
            assert_eq!(tally.due(TurnedAway::Frames, begun + Duration::from_secs(second)), None);
        }
        assert_eq!(tally.due(TurnedAway::Full, begun), Some(1), "another reason waits for nothing");
        assert_eq!(tally.due(TurnedAway::Frames, begun + TELL_AGAIN), Some(60));
    }
}
