//! A room's view of a job whose record another room owns: when it stops waiting for the owner's word, and which later
//! word it still takes.
//!
//! The owner may lie or be gone. Without a limit of its own a room would then show a job as RUNNING for ever. With one
//! it must be slower than an honest owner, or both would end the same job with different words.

use crate::State;

/// How much longer than the state's own limit a view waits, in seconds: an hour, so that the owner says so first. Two
/// steps of the time grid come on top, since an honest word may have to wait for that long.
pub const VIEW_MARGIN_SECONDS: u64 = 3600;

impl State {
    /// How long a view of a job waits in this state for the owner's next word, in seconds. None for an end.
    ///
    /// `run_seconds` is the run's own limit as the request asks for it, `grid_seconds` the step of the policy's time
    /// grid. SUBMITTED belongs to the gateway itself, so nothing is waited for beyond its limit.
    pub fn view_limit_seconds(self, run_seconds: u64, grid_seconds: u64) -> Option<u64> {
        let limit = self.limit_seconds()?;
        let waited = VIEW_MARGIN_SECONDS.saturating_add(grid_seconds.saturating_mul(2));
        match self {
            Self::Submitted => Some(limit),
            Self::Running => Some(limit.saturating_add(run_seconds).saturating_add(waited)),
            _ => Some(limit.saturating_add(waited)),
        }
    }

    /// What a view becomes when the owner has been silent past [`State::view_limit_seconds`]. None for an end.
    ///
    /// It is the end that the owner itself would have made: EXPIRED where a job only waited, LOST where the box had
    /// begun to do something for it.
    pub fn unheard_end(self) -> Option<Self> {
        match self {
            Self::Submitted | Self::InCodeReview | Self::Queued | Self::InReview => Some(Self::Expired),
            Self::Running | Self::Approved => Some(Self::Lost),
            Self::Released | Self::Refused | Self::Failed | Self::Blocked => None,
            Self::Rejected | Self::Returned | Self::Cancelled | Self::Expired | Self::Lost => None,
        }
    }

    /// True if a logged release that verifies makes a job RELEASED that a view has in this state.
    ///
    /// The log decides about a release. So an end that no leaf of the log and no verdict made gives way to it: the
    /// view had only stopped waiting, or a cancel came too late. Where a verdict or a denial ended the job there is
    /// no honest release, and none is looked for.
    pub fn yields_to_release(self) -> bool {
        match self {
            Self::InReview | Self::Approved => true,
            Self::Cancelled | Self::Expired | Self::Lost => true,
            Self::Submitted | Self::InCodeReview | Self::Queued | Self::Running => false,
            Self::Released | Self::Refused | Self::Failed | Self::Blocked => false,
            Self::Rejected | Self::Returned => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Owner, transition};

    #[test]
    fn every_state_that_can_be_waited_in_has_a_limit_and_a_named_end_in_the_table() {
        for state in State::ALL {
            let limit = state.view_limit_seconds(60, 600);
            assert_eq!(limit.is_none(), state.is_end(), "{state}");
            assert_eq!(state.unheard_end().is_none(), state.is_end(), "{state}");
            if let Some(end) = state.unheard_end() {
                assert!(end.is_end(), "{state}");
                assert!(transition(state, end).is_ok(), "{state} to {end} is a move of the owner, too");
            }
        }
    }

    #[test]
    fn an_honest_owner_always_speaks_first() {
        for state in State::ALL.into_iter().filter(|state| !state.is_end()) {
            let owners = transition(state, state.unheard_end().unwrap()).unwrap().owner;
            let own = state.limit_seconds().unwrap();
            let (run, grid) = (1200, 86_400);
            let waits = state.view_limit_seconds(run, grid).unwrap();
            match owners {
                Owner::Gateway => assert!(waits >= own, "{state}"),
                Owner::Enclave | Owner::Signer => assert!(waits > own + 2 * grid, "{state}"),
            }
        }
        let running = State::Running.view_limit_seconds(7 * 24 * 3600, 1).unwrap();
        assert!(running > 7 * 24 * 3600 + State::Running.limit_seconds().unwrap());
        assert_eq!(State::Running.view_limit_seconds(u64::MAX, u64::MAX), Some(u64::MAX));
    }

    #[test]
    fn a_release_is_served_after_review_and_after_ends_that_no_verdict_or_leaf_made() {
        for state in State::ALL {
            let ended_by_a_view = [State::Cancelled, State::Expired, State::Lost].contains(&state);
            let waits_for_one = [State::InReview, State::Approved].contains(&state);
            assert_eq!(state.yields_to_release(), ended_by_a_view || waits_for_one, "{state}");
        }
    }
}
