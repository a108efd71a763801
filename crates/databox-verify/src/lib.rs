//! The auditor's verifier: offline, without the box's code. It reads one release file, what the auditor pinned and,
//! if given, the released files; it has no network code and trusts nothing that the box says about itself.
//!
//! The checks themselves are in [`release::file`]; judging the files again is `egress`'s, since it parses what a job
//! wrote. This crate joins the two, reads files, and prints.

mod again;
pub mod command;
mod explain;
mod folder;
mod memory;
mod mirror;
mod table;

pub use again::EgressJudge;
pub use folder::{Folder, FolderError};
