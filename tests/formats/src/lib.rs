//! Test vectors of the signed formats: a whole site and a release made from fixed seeds, and one defect at a time.
//!
//! [`story::Story`] tells how an honest release comes about, statement by statement, with a place to change each one
//! before it is signed. [`defects::all`] lists the changes and the refusal that each must meet. The vectors under
//! `vectors/` are written from it by `cargo run -p test-formats`; a test makes them again and compares.

pub mod bare;
pub mod defects;
pub mod documents;
pub mod large_file;
pub mod large_log;
pub mod log_story;
pub mod measure;
pub mod second_signature;
pub mod ssh_story;
pub mod story;
pub mod vector;
