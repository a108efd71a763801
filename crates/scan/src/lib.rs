//! Views of canonical bytes and the search for copies in private data.
//!
//! Nothing here decodes or parses what it searches: views are made by another process ([`views`]), and the search
//! compares bytes.
//!
//! # The promise
//!
//! A *run* is a stretch of a private file that stands, byte for byte, in a view of an output. A *window* is 16 bytes of
//! a private file that begin at a multiple of 16. It is *plain* if it holds fewer than 5 distinct bytes.
//!
//! 1. Every run of [`RUN`] = 31 bytes or more that holds a whole window which is not plain is found.
//! 2. Every run of [`PLAIN_RUN`] = 127 bytes or more is found, unless all the *blocks* (64 bytes that begin at a
//!    multiple of 64 of the file) that it holds as a whole are *exempt*: of a period of at most 4.
//!
//! Both hold at any size of data, views and run, wherever a run is aligned in either, and whatever surrounds it. Nothing
//! is sampled, and no false answer of a hash or filter can hide a run: they only ever say "look closer" too often.
//!
//! What follows for a run without regard to how it is aligned in its file:
//!
//! - From 31 bytes, if each 16 bytes in a row hold 5 distinct bytes. 31 bytes hold a window wherever they begin
//!   (15 + 16), and it is not plain.
//! - From 127 bytes, if no 64 bytes in a row have a period of at most 4. 127 bytes hold a block wherever they begin
//!   (63 + 64). Either one of the block's four windows is not plain, and 1 finds the run; or the block is looked for as
//!   a whole.
//! - A mixture, some windows plain and some not, is found from 31 bytes if the windows that it holds whole are not all
//!   plain. Of a run of 31 bytes that is one window, of one of 47 or more it is two or more. A run whose rich bytes lie at its
//!   ends, outside its whole windows, counts as plain.
//! - A run within exempt blocks (zeros, one repeated `f32`) is never found, nor is one that goes from one exempt block
//!   into another. [`ScanReport::exempt_millionths`](release::report::ScanReport) is the share of the data in them.
//!
//! Runs that do not meet 1 or 2 are not reported: none is shorter than 31 bytes, and none of plain windows alone is
//! shorter than 127.
//!
//! # What is public
//!
//! A byte of a view is public if it lies in 16 bytes that stand in a string of the [`Background`]; so is a window that
//! stands in one. A run counts if a stretch of it, of at most [`REACH`] = 4096 bytes, holds 31 bytes that are *not*
//! public and a whole window that is neither plain nor public (promise 1), or 127 that are not public and a whole block
//! as in promise 2. So a public name is no copy, with what little stands around it, nor are a few of them in a row;
//! rows of data between public names are one, for the bytes between the names add up.
//!
//! What is excused carries no more private bytes than a run of 30 bytes, which is never found, and the choice and order
//! of at most some thirty names. For of 31 bytes that are not public, at most 15 can stand before the first whole window
//! and 15 behind the last: one stands in a whole window, which is then not public. Only if each such window is plain
//! does promise 2 alone hold, as it does for plain runs elsewhere.
//!
//! Of *files* that anybody may read ([`Background::with_files`]) a byte of a view is public if it lies in a run that stands in
//! one of them, through the same lens. What of a place, as below, lies in one pass does not count if fewer than 31 of its
//! bytes are private (127 of what was replaced): those that are not public, and 8 (32) for each run behind the first that is needed to
//! make the others so. So a public text is no copy, but phrases of it in another order are one.
//!
//! # Where runs are
//!
//! A place is a stretch of a view whose bytes all belong to runs that were found; runs that overlap or touch are one
//! place, and count as one. A run is followed to [`REACH`] bytes from the window that gave it away, and then from the
//! next; so the place of a run that ends in more than 4096 plain bytes may end before it does.
//!
//! # How
//!
//! Where each snapshot has an index ([`SnapshotIndex`]), it is asked which parts of the views may share a window with which
//! parts of the data, and what is said below is done for those alone: `search_indexed`.
//!
//! If there is little data for the views, it is read once before, for which bytes follow which in it; only stretches of views
//! are looked at in which each pair of neighbours does. Without an index of the snapshot the windows of the data are put into
//! a filter then, and what is said below is done for those parts of the views alone that may share a window with it.
//!
//! The views are put into a filter at every offset, as many as fit into one pass, and the data streams by, one window
//! at a time. What the filter lets through is looked up in a table of all runs of 31 (127) bytes of the views and
//! compared. Memory depends on the size of a pass alone: see [`Limits`]. The time is linear, also for outputs made to
//! be slow: equal windows are not compared pair by pair, a position of a view that was found is taken out of the table,
//! and the hash has a secret key. The exception is text that is mostly public: it is compared pair by pair.

mod background;
mod bits;
mod comparison;
mod covered;
mod data;
mod data_index;
mod decoders;
mod distances;
mod files;
mod filter;
mod hash;
mod hints;
mod lens;
mod number;
pub mod numeric;
mod pairs;
mod parallel;
mod pass;
mod patterns;
mod planes;
mod positions;
mod public_share;
mod run;
mod search;
mod sieve;
mod snapshot_index;
mod substitution;
mod tally;
mod tensor;
mod text;
mod text_numbers;
mod view_pairs;
pub mod views;
mod window;

use std::io;

use release::report::ScanReport;

pub use background::Background;
pub use comparison::LONG_STRIDES_BYTES;
pub use data::Source;
pub use decoders::{Allowance, DECODER_DEPTH, DecodeError, Emit, decode, decode_further, decode_once};
pub use files::{DataFile, files_below};
pub use number::Dtype;
pub use planes::{PLANE_BLOCK, PLANE_OVERLAP, planes};
pub use public_share::public_share;
pub use snapshot_index::{IndexError, SnapshotIndex, build as build_index};
pub use substitution::SUBSTITUTED_RUN;
pub use tensor::{Values, ViewError};
pub use text::{text_digits, text_integers, text_numbers_scaled, text_strings};
pub use text_numbers::text_numbers;
pub use views::View;

use hash::{HashKey, Kind};
use run::Scan;

/// Length in bytes from which a run is found that holds a whole window of 5 or more distinct bytes.
pub const RUN: usize = Kind::Narrow.run();

/// Length in bytes from which a run is found whose whole windows are all plain.
pub const PLAIN_RUN: usize = Kind::Wide.run();

/// Length in bytes of the stretch in which the bytes of a run that are not public are counted together.
pub const REACH: usize = 4096;

/// A view to be searched.
pub struct SearchedView<'a> {
    /// The output, in the order of the request.
    pub output: u16,
    /// Which view it is.
    pub view: View,
    /// Its bytes, or of a view that is read in place those that it is read off.
    pub bytes: Box<dyn Source + 'a>,
}

impl SearchedView<'_> {
    fn length(&self) -> Result<u64, ScanError> {
        let (output, view) = (self.output, self.view);
        self.bytes.length().map_err(|source| ScanError::ReadView { output, view, source })
    }
}

/// What bounds the memory of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of views searched for in one pass over the data. If they are a power of two, a pass takes up to 4 times as
    /// much memory, 11 times once an output shares runs with the data, and 18 times if it shares plain ones too. With an
    /// index of the data it takes 8 times as much for a while, before it takes any of this but the first.
    pub pass_bytes: usize,
    /// Bytes of data read at a time.
    pub chunk_bytes: usize,
    /// Most bytes of data of which indexes are made for the time of a search, one for each thread; together they take up to
    /// as many. With 0 the data is not read before the search for which bytes follow which in it, either.
    pub indexed_bytes: u64,
    /// Threads that search at a time. They share the bytes of a pass.
    pub threads: usize,
}

impl Default for Limits {
    /// 32 MiB of views a pass, 256 KiB of data at a time, an index of up to 256 MiB of data, and two threads
    /// where there are two processors. Each has buffers of its own, and the wall does not say how many more it would get.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(2);
        Self { pass_bytes: 32 << 20, chunk_bytes: 1 << 18, indexed_bytes: 256 << 20, threads }
    }
}

/// Why a search came to no answer.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There was no data to search; "no copy found" would say nothing.
    #[error("there is no private data to search")]
    NoData,
    /// A view could not be read.
    #[error("the view {} of output {output} could not be read", .view.name())]
    ReadView {
        /// The output.
        output: u16,
        /// The view.
        view: View,
        /// What went wrong.
        source: io::Error,
    },
    /// The numbers of an output could not be read.
    #[error("the numbers of output {output} could not be read")]
    ReadNumbers {
        /// The output.
        output: u16,
        /// What went wrong.
        source: io::Error,
    },
    /// A private file could not be read.
    #[error("private file {file} could not be read")]
    ReadData {
        /// Which of the files, counted from 0.
        file: usize,
        /// What went wrong.
        source: io::Error,
    },
    /// A public file could not be read.
    #[error("public file {file} could not be read")]
    ReadPublic {
        /// Which of the files, counted from 0.
        file: usize,
        /// What went wrong.
        source: io::Error,
    },
    /// The data was not the same in each pass.
    #[error("the private data changed during the search")]
    DataChanged,
    /// The index of a snapshot cannot be used.
    #[error("the index of the data cannot be used")]
    Index(#[from] IndexError),
    /// The system gave no random key.
    #[error("the system gave no random bytes")]
    NoRandomness(#[source] getrandom::Error),
}

/// Searches the data for runs that stand in the views, as the crate's description promises.
///
/// The report's [`Rule::CopyExact`](release::rule::Rule) is blocked if a run was found, passed if none was, and not checked
/// if there is no view; no other rule is run. Files are searched one by one: a run does not go on from one file to the next.
pub fn search<S: Source>(
    views: Vec<SearchedView<'_>>,
    data: &[S],
    background: &Background,
    limits: Limits,
) -> Result<ScanReport, ScanError> {
    search_indexed(views, data, &[], background, limits)
}

/// As [`search`], with indexes of all files of the data, in their order. With none, or with one that turns out to be
/// damaged, the data is read instead; what is reported is the same.
pub fn search_indexed<S: Source>(
    mut views: Vec<SearchedView<'_>>,
    data: &[S],
    indexes: &[SnapshotIndex],
    background: &Background,
    limits: Limits,
) -> Result<ScanReport, ScanError> {
    let key = HashKey::random().map_err(ScanError::NoRandomness)?;
    let data = data.iter().map(|source| source as &dyn Source).collect();
    views.sort_by_key(|view| (view.output, view.view));
    let mut scan = Scan { key: &key, background, data, indexes, limits };
    match scan.run(&views) {
        Err(ScanError::Index(_)) => {
            scan.indexes = &[];
            scan.run(&views)
        }
        searched => searched,
    }
}
