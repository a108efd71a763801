//! An index of a snapshot, made once: which windows of an output may stand in the data, and where, without reading it.
//!
//! # What is in it
//!
//! Of each window of the data that gives a run away, a keyed hash. It stands twice: in a *filter*, of 16 bits for each
//! window, and in a *table* of 7 bytes for each, with the chunk of the data that the window begins in and a few bits of
//! the 8 bytes on each side. A filter of *grams*, of 16 bits for each window too, tells where windows may stand with a third of
//! the questions. All are ordered by the hash, so that one *part* of them after the other is asked for all
//! that belongs there of an output, out of memory that is near to the processor. The key is random, for each
//! index, and stands in it. Whoever reads the index and can try guesses learns which of them stand in the data, so it
//! lies where the data lies and goes where the data goes.
//!
//! # What it changes
//!
//! Nothing of what is found. A window that may stand in the data is looked for in the chunks that the table names, by
//! the search that would else read all of the data. Of an honest output the table names almost none. Where an output
//! shares so much with the data that asking costs more than reading, the rest of the table is not asked and all chunks are
//! read: the time stays linear. An index that is torn or damaged is recognised by the checksum of each piece that is
//! read, and the search reads the data instead. The checksums are no defence against whoever writes there: that one could
//! write to the data too.

mod ask;
mod build;
mod chunks;
mod grams;
mod laid;
mod layout;
mod lookup;
mod sorted;
mod table;

use std::io;

pub use ask::SnapshotIndex;
pub(crate) use ask::{Asked, Marks};
pub use build::build;

/// Why an index was not made, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file of the snapshot could not be read.
    #[error("file {file} of the snapshot could not be read")]
    ReadData {
        /// Which of the files, counted from 0.
        file: usize,
        /// What went wrong.
        source: io::Error,
    },
    /// A file of the snapshot has another length than before.
    #[error("the snapshot changed while its index was made")]
    DataChanged,
    /// The snapshot has more files than an index can tell apart: some sixteen million.
    #[error("the snapshot has too many files for an index")]
    TooManyFiles,
    /// The index could not be read or written.
    #[error("the index could not be read or written")]
    File(#[from] io::Error),
    /// It is no index, or not all of one, or its bytes are not those that were written.
    #[error("the index is damaged")]
    Damaged,
    /// It is the index of other files.
    #[error("the index is one of other data")]
    Foreign,
    /// The system gave no memory for what is asked.
    #[error("the system gave no memory for what is asked of the index")]
    NoMemory(#[source] io::Error),
    /// The system gave no random key.
    #[error("the system gave no random bytes")]
    NoRandomness(#[source] getrandom::Error),
}
