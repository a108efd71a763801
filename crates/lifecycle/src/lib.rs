//! The states of a job: one table of transitions, their owners, the hand-over of each, the answer to a repeat.
//!
//! Rooms keep jobs in databases of their own; this table is the one place that says which move is allowed and who
//! may make it. A room that is told of a move that is not in the table refuses it.

mod bits;
mod table;
mod view;

pub use bits::ANSWER_BITS;
pub use table::{HandOver, MoveError, Owner, Repeat, State, TRANSITIONS, Transition, diagram, transition};
pub use view::VIEW_MARGIN_SECONDS;
