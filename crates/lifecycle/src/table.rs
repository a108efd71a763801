//! The table of transitions.

use serde::{Deserialize, Serialize};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// The gateway holds the signed request and the bundle.
    Submitted,
    /// The enclave admitted it, and stewards must let its code run first. Nothing is charged.
    InCodeReview,
    /// The enclave admitted it, and it may run.
    Queued,
    /// It was charged and runs, or its outputs are being judged.
    Running,
    /// The policy passed it; stewards decide.
    InReview,
    /// Enough stewards approved; the signer and the witnesses are at work.
    Approved,
    /// The release is logged and served. An end.
    Released,
    /// It was not admitted. An end.
    Refused,
    /// It failed by its own fault. An end.
    Failed,
    /// The policy forbids the release. An end.
    Blocked,
    /// A steward said no. An end.
    Rejected,
    /// A steward asks for changes. An end.
    Returned,
    /// Its requester called it off. An end.
    Cancelled,
    /// Nobody decided in time. An end.
    Expired,
    /// The box failed it too often. An end.
    Lost,
}

/// Whose record decides about a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The gateway's queue.
    Gateway,
    /// The enclave's row.
    Enclave,
    /// The signer's log, which the enclave verifies and passes on.
    Signer,
}

/// How a transition reaches the other rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandOver {
    /// It is made where it is owned and stays there.
    None,
    /// Gateway to enclave: request on the stream, bundle in the hand-over directory.
    Submit,
    /// Enclave to gateway: a closed enum on the stream, on the time grid.
    Report,
    /// Enclave to console: verdict on the stream, sealed packet in the hand-over directory; to the gateway a report.
    Review,
    /// Console to enclave: approvals of the code, which the enclave counts itself; to the gateway a report.
    CodeApprovals,
    /// Signer to console to enclave: a logged release; enclave to gateway: the outbox.
    Release,
    /// Signer to console to enclave: a witnessed denial; enclave to gateway a report.
    Denial,
}

/// What a receiver answers when the same hand-over comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// The first answer, from its own durable record; nothing is done twice.
    FirstAnswer,
    /// Another run, numbered and charged anew.
    NewRun,
}

/// A move from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transition {
    /// From.
    pub from: State,
    /// To.
    pub to: State,
    /// Whose record decides.
    pub owner: Owner,
    /// How others learn of it.
    pub hand_over: HandOver,
    /// What a repeat gets.
    pub repeat: Repeat,
}

const fn row(from: State, to: State, owner: Owner, hand_over: HandOver) -> Transition {
    Transition { from, to, owner, hand_over, repeat: Repeat::FirstAnswer }
}

/// Every transition there is.
pub const TRANSITIONS: &[Transition] = &[
    row(State::Submitted, State::Queued, Owner::Enclave, HandOver::Submit),
    row(State::Submitted, State::InCodeReview, Owner::Enclave, HandOver::Submit),
    row(State::Submitted, State::Refused, Owner::Enclave, HandOver::Submit),
    row(State::Submitted, State::Cancelled, Owner::Gateway, HandOver::None),
    row(State::Submitted, State::Expired, Owner::Gateway, HandOver::None),
    row(State::InCodeReview, State::Queued, Owner::Enclave, HandOver::CodeApprovals),
    row(State::InCodeReview, State::Refused, Owner::Enclave, HandOver::Report),
    row(State::InCodeReview, State::Rejected, Owner::Signer, HandOver::Denial),
    row(State::InCodeReview, State::Returned, Owner::Signer, HandOver::Denial),
    row(State::InCodeReview, State::Cancelled, Owner::Enclave, HandOver::Report),
    row(State::InCodeReview, State::Expired, Owner::Enclave, HandOver::Report),
    row(State::Queued, State::Running, Owner::Enclave, HandOver::Report),
    row(State::Queued, State::Refused, Owner::Enclave, HandOver::Report),
    row(State::Queued, State::Rejected, Owner::Signer, HandOver::Denial),
    row(State::Queued, State::Returned, Owner::Signer, HandOver::Denial),
    row(State::Queued, State::Cancelled, Owner::Enclave, HandOver::Report),
    row(State::Queued, State::Expired, Owner::Enclave, HandOver::Report),
    row(State::Running, State::InReview, Owner::Enclave, HandOver::Review),
    row(State::Running, State::Blocked, Owner::Enclave, HandOver::Review),
    row(State::Running, State::Failed, Owner::Enclave, HandOver::Report),
    row(State::Running, State::Rejected, Owner::Signer, HandOver::Denial),
    row(State::Running, State::Returned, Owner::Signer, HandOver::Denial),
    row(State::Running, State::Cancelled, Owner::Enclave, HandOver::Report),
    Transition {
        from: State::Running,
        to: State::Queued,
        owner: Owner::Enclave,
        hand_over: HandOver::Report,
        repeat: Repeat::NewRun,
    },
    row(State::Running, State::Lost, Owner::Enclave, HandOver::Report),
    row(State::InReview, State::Approved, Owner::Signer, HandOver::Release),
    row(State::InReview, State::Rejected, Owner::Signer, HandOver::Denial),
    row(State::InReview, State::Returned, Owner::Signer, HandOver::Denial),
    row(State::InReview, State::Cancelled, Owner::Enclave, HandOver::Report),
    row(State::InReview, State::Expired, Owner::Enclave, HandOver::Report),
    row(State::Approved, State::Released, Owner::Signer, HandOver::Release),
    row(State::Approved, State::Lost, Owner::Gateway, HandOver::None),
];

/// A move that is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job cannot go from {from} to {to}")]
pub struct MoveError {
    /// From.
    pub from: State,
    /// To.
    pub to: State,
}

/// The row of the table for this move.
pub fn transition(from: State, to: State) -> Result<&'static Transition, MoveError> {
    TRANSITIONS.iter().find(|row| row.from == from && row.to == to).ok_or(MoveError { from, to })
}

impl State {
    /// Every state.
    pub const ALL: [Self; 15] = [
        Self::Submitted,
        Self::InCodeReview,
        Self::Queued,
        Self::Running,
        Self::InReview,
        Self::Approved,
        Self::Released,
        Self::Refused,
        Self::Failed,
        Self::Blocked,
        Self::Rejected,
        Self::Returned,
        Self::Cancelled,
        Self::Expired,
        Self::Lost,
    ];

    /// Its word, as people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::InCodeReview => "IN_CODE_REVIEW",
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::InReview => "IN_REVIEW",
            Self::Approved => "APPROVED",
            Self::Released => "RELEASED",
            Self::Refused => "REFUSED",
            Self::Failed => "FAILED",
            Self::Blocked => "BLOCKED",
            Self::Rejected => "REJECTED",
            Self::Returned => "RETURNED",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
            Self::Lost => "LOST",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// True if nothing follows.
    pub fn is_end(self) -> bool {
        match self {
            Self::Submitted | Self::InCodeReview | Self::Queued => false,
            Self::Running | Self::InReview | Self::Approved => false,
            Self::Released | Self::Refused | Self::Failed | Self::Blocked => true,
            Self::Rejected | Self::Returned | Self::Cancelled | Self::Expired | Self::Lost => true,
        }
    }

    /// Longest time in this state, in seconds, past which its owner ends it. None for an end. A run's own limit
    /// (request and policy) comes on top of the time given here for judging.
    pub fn limit_seconds(self) -> Option<u64> {
        match self {
            Self::Submitted => Some(24 * 3600),
            Self::InCodeReview => Some(30 * 24 * 3600),
            Self::Queued => Some(7 * 24 * 3600),
            Self::Running => Some(3600),
            Self::InReview => Some(30 * 24 * 3600),
            Self::Approved => Some(7 * 24 * 3600),
            Self::Released | Self::Refused | Self::Failed | Self::Blocked => None,
            Self::Rejected | Self::Returned | Self::Cancelled | Self::Expired | Self::Lost => None,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.word())
    }
}

/// The table as a Mermaid state diagram, for the documents.
pub fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> SUBMITTED\n");
    for row in TRANSITIONS {
        text += &format!("    {} --> {}: {:?}\n", row.from, row.to, row.owner);
    }
    for state in State::ALL.into_iter().filter(|state| state.is_end()) {
        text += &format!("    {state} --> [*]\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_state_is_a_dead_end_and_no_end_is_left() {
        for state in State::ALL {
            let leaves = TRANSITIONS.iter().any(|row| row.from == state);
            assert_eq!(leaves, !state.is_end(), "{state}");
            assert_eq!(state.limit_seconds().is_none(), state.is_end(), "{state}");
        }
    }

    #[test]
    fn every_state_can_be_reached_and_every_one_can_end() {
        let mut reached = BTreeSet::from([State::Submitted]);
        for _ in State::ALL {
            reached.extend(
                TRANSITIONS
                    .iter()
                    .filter(|row| reached.contains(&row.from))
                    .map(|row| row.to)
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(reached.len(), State::ALL.len());
    }

    #[test]
    fn each_move_stands_once() {
        let moves: BTreeSet<_> = TRANSITIONS.iter().map(|row| (row.from, row.to)).collect();
        assert_eq!(moves.len(), TRANSITIONS.len());
    }

    #[test]
    fn a_release_needs_review_and_approval() {
        assert!(transition(State::Running, State::Released).is_err());
        assert!(transition(State::InReview, State::Released).is_err());
        assert!(transition(State::Blocked, State::Approved).is_err());
        assert!(transition(State::InReview, State::Approved).is_ok());
        assert!(transition(State::Approved, State::Released).is_ok());
    }

    #[test]
    fn code_under_review_runs_only_through_the_queue_and_is_not_reviewed_twice() {
        assert!(transition(State::InCodeReview, State::Running).is_err());
        assert!(transition(State::InCodeReview, State::Queued).is_ok());
        let into: Vec<_> = TRANSITIONS.iter().filter(|row| row.to == State::InCodeReview).collect();
        assert_eq!(into.iter().map(|row| row.from).collect::<Vec<_>>(), [State::Submitted]);
    }

    #[test]
    fn the_diagram_in_the_documents_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats/lifecycle.md");
        let document = std::fs::read_to_string(path).unwrap();
        assert!(document.contains(&diagram()), "{path} is to hold:\n{}", diagram());
    }

    #[test]
    fn words_and_states_are_the_same_list() {
        for state in State::ALL {
            assert_eq!(State::from_word(state.word()), Some(state));
        }
    }
}
