//! The states of a job: one table of transitions, their owners, the answer to a repeat.
