//! One SQLite file with one writer: changes that come together become durable together.
//!
//! A room's database belongs to one thread. Whatever waits for that thread when it is free is made in one transaction,
//! each change behind a savepoint of its own, and reaches the disk with one sync (group commit; DeWitt et al.,
//! "Implementation techniques for main memory database systems", SIGMOD 1984). Nobody is answered before that sync.

pub mod elapsed;
mod writer;

pub use writer::{Failed, Writer};
