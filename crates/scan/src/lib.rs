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
//! # Where runs are
//!
//! A place is a stretch of a view whose bytes all belong to runs that were found; runs that overlap or touch are one
//! place, and count as one. A run is followed to [`REACH`] bytes from the window that gave it away, and then from the
//! next; so the place of a run that ends in more than 4096 plain bytes may end before it does.
//!
//! # How
//!
//! If there is little data for the views, its windows are put into a filter first, and what is said below is done for
//! those parts of the views alone that may share a window with it.
//!
//! The views are put into a filter at every offset, as many as fit into one pass, and the data streams by, one window
//! at a time. What the filter lets through is looked up in a table of all runs of 31 (127) bytes of the views and
//! compared. Memory depends on the size of a pass alone: see [`Limits`]. The time is linear, also for outputs made to
//! be slow: equal windows are not compared pair by pair, a position of a view that was found is taken out of the table,
//! and the hash has a secret key. The exception is text that is mostly public: it is compared pair by pair.

mod background;
mod bits;
mod comparison;
mod data;
mod data_index;
mod decoders;
mod distances;
mod filter;
mod hash;
mod lens;
mod number;
pub mod numeric;
mod parallel;
mod pass;
mod planes;
mod positions;
mod search;
mod substitution;
mod tally;
mod tensor;
mod text;
mod text_numbers;
pub mod views;
mod window;

use std::io;

use release::report::ScanReport;
use release::rule::Rule;
use release::statement::RuleResult;

pub use background::Background;
pub use comparison::LONG_STRIDES_BYTES;
pub use data::Source;
pub use decoders::{Allowance, DECODER_DEPTH, DecodeError, decode};
pub use number::Dtype;
pub use planes::{PLANE_BLOCK, PLANE_OVERLAP, planes};
pub use substitution::SUBSTITUTED_RUN;
pub use tensor::{ViewError, integers, low_halves, symbols, tensor};
pub use text::{text_digits, text_integers, text_numbers_scaled, text_strings};
pub use text_numbers::text_numbers;
pub use views::View;

use background::KeyedBackground;
use comparison::{Comparison, Substitution, comparisons};
use data_index::DataIndex;
use distances::Distances;
use hash::{HashKey, Kind};
use lens::{Lens, Seen};
use pass::{Layer, Pass, Passes};
use search::{Measure, Search};
use substitution::{ReadFile, Searched, SymbolIndex, SymbolPasses};
use tally::Tally;

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
    /// much memory, 10 times once an output shares runs with the data, and 16 times if it shares plain ones too.
    pub pass_bytes: usize,
    /// Bytes of data read at a time.
    pub chunk_bytes: usize,
    /// Most bytes of data of which an index is made for the time of a search; it takes up to half of them.
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
    /// The data was not the same in each pass.
    #[error("the private data changed during the search")]
    DataChanged,
    /// The system gave no random key.
    #[error("the system gave no random bytes")]
    NoRandomness(#[source] getrandom::Error),
}

/// Searches the data for runs that stand in the views, as the crate's description promises.
///
/// The report's [`Rule::CopyExact`] is blocked if a run was found, passed if none was, and not checked if there is no
/// view; no other rule is run. Files are searched one by one: a run does not go on from one file to the next.
pub fn search<S: Source>(
    views: Vec<SearchedView<'_>>,
    data: &[S],
    background: &Background,
    limits: Limits,
) -> Result<ScanReport, ScanError> {
    let key = HashKey::random().map_err(ScanError::NoRandomness)?;
    let data = data.iter().map(|source| source as &dyn Source).collect();
    let scan = Scan { key: &key, background, data, limits };
    scan.run(views)
}

/// Fewest bytes of a pass, if the limits allow so many.
const SMALL_PASS: usize = 4 << 20;

struct Scan<'a> {
    key: &'a HashKey,
    background: &'a Background,
    data: Vec<&'a dyn Source>,
    limits: Limits,
}

impl Scan<'_> {
    fn run(&self, mut views: Vec<SearchedView<'_>>) -> Result<ScanReport, ScanError> {
        let mut rules = [RuleResult::NotChecked; Rule::ALL.len()];
        let checked = !views.is_empty();
        views.sort_by_key(|view| (view.output, view.view));
        let mut tally = Tally::default();
        let mut measure = None;
        for (comparison, layers) in layers(&views)? {
            let measured = self.compare(&comparison, layers, &mut tally)?;
            if comparison == Comparison::exact() {
                measure = measured;
            }
        }
        let searched = self.substituted(&views, &mut tally)?;
        let measure = match measure {
            Some(measure) => measure,
            None => self.compare_nothing()?,
        };
        if measure.bytes == 0 {
            return Err(ScanError::NoData);
        }
        let (runs, places) = tally.finish();
        if checked {
            rules[Rule::CopyExact.index()] = if runs > 0 { RuleResult::Blocked } else { RuleResult::Passed };
        }
        if searched == Searched::TooAlike {
            rules[Rule::CopyViews.index()] = RuleResult::Blocked;
        }
        let exempt_millionths = millionths(measure);
        Ok(ScanReport { rules, exempt_millionths, data_bytes: measure.bytes, runs, places })
    }

    /// Searches views, in as many passes as they need. `None` if there was no view.
    fn compare(
        &self,
        comparison: &Comparison,
        layers: Vec<Layer<'_>>,
        tally: &mut Tally,
    ) -> Result<Option<Measure>, ScanError> {
        let background = self.background.keyed(self.key, &comparison.data);
        let index = self.index(comparison, &layers, &background)?;
        let mut measured = index.as_ref().map(|index| index.measure);
        let pass_bytes = self.pass_bytes()?;
        let batches = batches(layers, pass_bytes as u64);
        let searched = parallel::in_order(self.limits.threads, batches, |layers| {
            let mut passes = Passes::new(layers, pass_bytes, comparison.weak, index.as_ref());
            let (mut tally, mut measures) = (Tally::default(), Vec::new());
            while let Some(pass) = passes.advance(self.key)? {
                if pass.is_done() {
                    passes.finish(pass, &mut tally);
                    continue;
                }
                let (pass, measure) = self.search(pass, comparison, &background)?;
                measures.push(measure);
                passes.finish(pass, &mut tally);
            }
            Ok((tally, measures))
        })?;
        for (found, measures) in searched {
            tally.append(found);
            for measure in measures {
                if measured.is_some_and(|before| before != measure) {
                    return Err(ScanError::DataChanged);
                }
                measured = Some(measure);
            }
        }
        Ok(measured)
    }

    /// An index of the data, if it is worth its time.
    fn index(
        &self,
        comparison: &Comparison,
        layers: &[Layer<'_>],
        background: &KeyedBackground,
    ) -> Result<Option<DataIndex>, ScanError> {
        let bytes = self.data_bytes()?.saturating_mul(comparison.data.len() as u64);
        let views = layers.iter().map(|layer| layer.bytes).sum();
        if bytes > self.limits.indexed_bytes || !data_index::is_worth(bytes, views) {
            return Ok(None);
        }
        let mut index = DataIndex::new(bytes, comparison.weak);
        self.read_data(&comparison.data, &mut |seen| {
            index.add(seen, self.limits.chunk_bytes, self.key, background)
        })?;
        Ok(Some(index))
    }

    /// Searches views for data whose symbols are replaced by others.
    fn substituted(&self, views: &[SearchedView<'_>], tally: &mut Tally) -> Result<Searched, ScanError> {
        let distances = Distances::keyed(self.key);
        let background = self.background.keyed(self.key, &[Lens::Same]);
        let mut searched = Searched::Whole;
        for substitution in Substitution::ALL {
            let layers = views.iter().filter(|view| Substitution::of(view.view) == Some(substitution));
            let layers = layers.map(|view| Layer::of(view, substitution.view()));
            let layers = layers.collect::<Result<Vec<_>, _>>()?;
            if layers.is_empty() {
                continue;
            }
            let read = |read: &mut ReadFile<'_>| self.read_data(substitution.data(), &mut |seen| read(seen));
            let index = (self.data_bytes()? <= self.limits.indexed_bytes)
                .then(|| SymbolIndex::new(&distances, &read))
                .transpose()?;
            let pass_bytes = (substitution::PASS_SYMBOLS * substitution.view_width()) as u64;
            let batches = batches(layers, pass_bytes);
            let done = parallel::in_order(self.limits.threads, batches, |layers| {
                let mut tally = Tally::default();
                let came_to = substitution::search(
                    SymbolPasses::new(layers, substitution, &distances, index.as_ref()),
                    &distances,
                    &read,
                    &|bytes| background.bytes(bytes, self.key),
                    &mut |output, view, stretch| tally.add(output, view, stretch),
                )?;
                Ok((tally, came_to))
            })?;
            for (found, came_to) in done {
                tally.append(found);
                if came_to == Searched::TooAlike {
                    searched = came_to;
                }
            }
        }
        Ok(searched)
    }

    /// Reads every private file through each of these lenses.
    fn read_data(&self, lenses: &[Lens], read: &mut ReadFile<'_>) -> Result<(), ScanError> {
        for (file, source) in self.data.iter().enumerate() {
            for lens in lenses {
                let opened = source.open().and_then(|bytes| read(&mut Seen::new(bytes, *lens)));
                opened.map_err(|source| ScanError::ReadData { file, source })?;
            }
        }
        Ok(())
    }

    /// Bytes of a pass. A pass is as long as the data, within bounds: much longer than its data it would cost more in
    /// places of memory that are far from the processor than it saves in reading data.
    fn pass_bytes(&self) -> Result<usize, ScanError> {
        let bytes = usize::try_from(self.data_bytes()?).unwrap_or(usize::MAX).max(SMALL_PASS);
        let most = self.limits.pass_bytes / self.limits.threads.max(1);
        Ok(most.min(bytes.checked_next_power_of_two().unwrap_or(usize::MAX)))
    }

    /// Bytes of all private files.
    fn data_bytes(&self) -> Result<u64, ScanError> {
        let mut bytes = 0_u64;
        for (file, source) in self.data.iter().enumerate() {
            let length = source.length().map_err(|source| ScanError::ReadData { file, source })?;
            bytes = bytes.saturating_add(length);
        }
        Ok(bytes)
    }

    /// Reads the data once, only to measure it.
    fn compare_nothing(&self) -> Result<Measure, ScanError> {
        let background = Background::default().keyed(self.key, &[]);
        let nothing = Pass::of_nothing(self.key);
        Ok(self.search(nothing, &Comparison::exact(), &background)?.1)
    }

    fn search(
        &self,
        pass: Pass,
        comparison: &Comparison,
        background: &KeyedBackground,
    ) -> Result<(Pass, Measure), ScanError> {
        let mut search = Search::new(self.key, background, pass);
        self.read_data(&comparison.data, &mut |seen| search.search(seen, self.limits.chunk_bytes))?;
        let measure = search.measure;
        Ok((search.into_pass(), measure))
    }
}

/// The views, read through their lenses, in groups of what they are compared with.
fn layers<'a>(views: &'a [SearchedView<'_>]) -> Result<Vec<(Comparison, Vec<Layer<'a>>)>, ScanError> {
    let mut groups: Vec<(Comparison, Vec<Layer<'a>>)> = Vec::new();
    for view in views {
        for (comparison, lens) in comparisons(view.view, view.length()?) {
            let layer = Layer::of(view, lens)?;
            match groups.iter_mut().find(|(known, _)| *known == comparison) {
                Some((_, layers)) => layers.push(layer),
                None => groups.push((comparison, vec![layer])),
            }
        }
    }
    Ok(groups)
}

/// Layers that are searched together: as many as fit into one pass.
fn batches(layers: Vec<Layer<'_>>, pass_bytes: u64) -> Vec<Vec<Layer<'_>>> {
    let mut batches: Vec<Vec<Layer<'_>>> = Vec::new();
    let mut room = 0;
    for layer in layers {
        let bytes = layer.bytes;
        match batches.last_mut() {
            Some(batch) if bytes <= room => {
                room -= bytes;
                batch.push(layer);
            }
            _ => {
                room = pass_bytes.saturating_sub(bytes);
                batches.push(vec![layer]);
            }
        }
    }
    batches
}

/// The share of the data that is exempt, rounded up so that no exempt block reads as none.
fn millionths(measure: Measure) -> u32 {
    let millionths = (u128::from(measure.exempt) * 1_000_000).div_ceil(u128::from(measure.bytes));
    u32::try_from(millionths).expect("no more is exempt than there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_exempt_block_in_a_great_deal_of_data_does_not_read_as_none() {
        assert_eq!(millionths(Measure { bytes: 1 << 40, exempt: 64 }), 1);
        assert_eq!(millionths(Measure { bytes: 1 << 40, exempt: 0 }), 0);
        assert_eq!(millionths(Measure { bytes: u64::MAX, exempt: u64::MAX }), 1_000_000);
    }
}
