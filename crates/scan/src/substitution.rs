//! Runs in which each symbol is replaced by another one, the same for all its occurrences.
//!
//! Two runs are such if the same positions hold equal symbols. A window is told by the distance of each symbol from its
//! last occurrence in the window, zero if there is none: whatever one symbol is replaced by, distances stay (B. S. Baker,
//! "Parameterized Pattern Matching: Algorithms and Applications", 1996). So no key is guessed.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::{Range, RangeInclusive};

use crate::REACH;
use crate::bits::Bits;
use crate::comparison::Substitution;
use crate::covered::Covered;
use crate::data::Stream;
use crate::distances::{Distances, FAR, WINDOW, different, is_telling, may_hold};
use crate::filter::Filter;
use crate::pass::Layer;
use crate::patterns::Patterns;
use crate::positions::{Positions, Then};
use crate::views::View;

/// Length in symbols from which a run of replaced symbols is found.
pub const SUBSTITUTED_RUN: usize = 2 * WINDOW - 1;

/// Symbols of views that one pass over the data is searched for.
pub(crate) const PASS_SYMBOLS: usize = 4 << 20;

/// Symbols at the end of a pass that the next one takes up again.
const OVERLAP: usize = REACH;

/// Pairs of windows that may be compared, for each symbol and besides. Windows agree by chance about once in 2^60, so that
/// only views that repeat themselves come near: the search refuses these instead of taking hours.
const PAIRS_EACH: u64 = 4;
const PAIRS_FIRST: u64 = 1 << 20;

/// A stretch of a view in a pass.
struct Piece {
    output: u16,
    view: View,
    /// Where it stands in the view, in symbols.
    offset: u64,
    range: Range<usize>,
}

/// Symbols of views that one pass over the data is searched for.
struct SymbolPass {
    pieces: Vec<Piece>,
    /// For each symbol how far back the last equal one of its piece is.
    back: Vec<u32>,
    public: Bits,
    filter: Filter,
    positions: Positions,
    found: Bits,
    /// Each run that was found, where it is to be known how many make up a stretch.
    runs: Option<Vec<Range<usize>>>,
    pairs_left: u64,
    /// Whether no window stands in the data.
    is_done: bool,
}

/// Cuts views into passes.
pub(crate) struct SymbolPasses<'a> {
    layers: std::vec::IntoIter<Layer<'a>>,
    unfinished: Option<(Layer<'a>, u64, Vec<u32>)>,
    substitution: Substitution,
    distances: &'a Distances,
    index: Option<&'a SymbolIndex>,
}

/// The hashes of all windows of the data that tell anything.
pub(crate) struct SymbolIndex {
    filter: Filter,
    hashes: Vec<u64>,
    /// The least and the largest number of different symbols in one of them.
    different: RangeInclusive<u32>,
    patterns: Patterns,
}

impl SymbolIndex {
    /// Reads all of the data once: so many bytes, or about as many.
    pub(crate) fn new(
        key: &Distances,
        bytes: u64,
        read_data: &ReadData<'_>,
    ) -> Result<Self, crate::ScanError> {
        let mut hashes = Vec::new();
        let (mut least, mut most, mut patterns) =
            (WINDOW as u32, 0, Patterns::for_windows(bytes / WINDOW as u64));
        read_data(&mut |file| {
            each_window(file, key, |window, hash, _, _| {
                if is_telling(window) {
                    hashes.push(hash);
                    patterns.add(window);
                    let count = different(window);
                    (least, most) = (least.min(count), most.max(count));
                }
            })
        })?;
        hashes.sort_unstable();
        hashes.dedup();
        let mut filter = Filter::for_keys(hashes.len());
        hashes.iter().for_each(|hash| filter.insert(*hash));
        Ok(Self { filter, hashes, different: least..=most, patterns })
    }

    fn holds(&self, hash: u64) -> bool {
        self.filter.may_hold(hash) && self.hashes.binary_search(&hash).is_ok()
    }

    /// The windows of pieces that stand in the data, each with its hash.
    fn windows(&self, symbols: &[u32], pieces: &[Piece], distances: &Distances) -> Vec<(u64, u32)> {
        let mut windows = Vec::new();
        for Piece { range, .. } in pieces {
            let piece = &symbols[range.clone()];
            if !may_hold(piece, &self.different) {
                continue;
            }
            self.patterns.stretches(piece, |stretch| {
                let start = range.start + stretch.start;
                distances.of_each_window(&back(&piece[stretch]), &self.different, &mut |at, hash| {
                    if self.holds(hash) {
                        windows.push((hash, (start + at) as u32));
                    }
                });
            });
        }
        windows
    }
}

/// For each symbol how far back the last equal one is.
fn back(symbols: &[u32]) -> Vec<u32> {
    let mut last: HashMap<u32, usize> = HashMap::new();
    let mut of_bytes = [usize::MAX; 256];
    let each = symbols.iter().enumerate().map(|(at, symbol)| {
        let before = match of_bytes.get_mut(*symbol as usize) {
            Some(last) => Some(std::mem::replace(last, at)).filter(|last| *last != usize::MAX),
            None => last.insert(*symbol, at),
        };
        before.map_or(FAR, |before| u32::try_from(at - before).unwrap_or(FAR))
    });
    each.collect()
}

/// Whether the whole search was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Searched {
    Whole,
    /// Views repeat themselves and the data so much that comparing them would take too long.
    TooAlike,
}

impl<'a> SymbolPasses<'a> {
    /// With an index of the data, only what stands in it is searched for.
    pub(crate) fn new(
        layers: Vec<Layer<'a>>,
        substitution: Substitution,
        distances: &'a Distances,
        index: Option<&'a SymbolIndex>,
    ) -> Self {
        Self { layers: layers.into_iter(), unfinished: None, substitution, distances, index }
    }

    /// The next pass, or `None` once every view was searched to its end. The error names the view.
    fn advance(
        &mut self,
        public: &dyn Fn(&[u8]) -> Bits,
    ) -> Result<Option<SymbolPass>, (u16, View, io::Error)> {
        let mut symbols: Vec<u32> = Vec::new();
        let mut pieces = Vec::new();
        while symbols.len() < PASS_SYMBOLS {
            let next = self.unfinished.take();
            let Some((mut layer, offset, before)) =
                next.or_else(|| self.layers.next().map(|layer| (layer, 0, Vec::new())))
            else {
                break;
            };
            let start = symbols.len();
            let kept = before.len() as u64;
            symbols.extend(before);
            let room = PASS_SYMBOLS - symbols.len();
            let last = self
                .read(&mut layer, room, &mut symbols)
                .map_err(|error| (layer.output, layer.view, error))?;
            let range = start..symbols.len();
            pieces.push(Piece {
                output: layer.output,
                view: layer.view,
                offset: offset - kept,
                range: range.clone(),
            });
            if !last {
                let again = symbols[range.end.saturating_sub(OVERLAP).max(range.start)..].to_vec();
                self.unfinished = Some((layer, offset - kept + range.len() as u64, again));
            }
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        Ok(Some(SymbolPass::new(symbols, pieces, self.distances, self.index, public)))
    }

    /// Reads up to `room` symbols. True at the end of the view.
    fn read(&self, layer: &mut Layer<'a>, room: usize, into: &mut Vec<u32>) -> io::Result<bool> {
        let width = self.substitution.view_width();
        let mut bytes = Vec::new();
        layer.take((room * width) as u64).read_to_end(&mut bytes)?;
        match self.substitution {
            Substitution::Values => {
                let (groups, _) = bytes.as_chunks();
                into.extend(groups.iter().map(|group| u32::from_le_bytes(*group)));
            }
            _ => into.extend(bytes.iter().map(|byte| u32::from(*byte))),
        }
        Ok(bytes.len() < room * width)
    }
}

impl SymbolPass {
    fn new(
        symbols: Vec<u32>,
        pieces: Vec<Piece>,
        distances: &Distances,
        index: Option<&SymbolIndex>,
        public: &dyn Fn(&[u8]) -> Bits,
    ) -> Self {
        let windows = index.map(|index| index.windows(&symbols, &pieces, distances));
        if windows.as_ref().is_some_and(Vec::is_empty) {
            return Self::of_windows(Vec::new(), Vec::new(), Vec::new());
        }
        let back = pieces.iter().flat_map(|piece| back(&symbols[piece.range.clone()])).collect();
        let mut pass = match windows {
            Some(windows) => Self::of_windows(back, pieces, windows),
            None => Self::of_distances(back, pieces, distances),
        };
        let bytes = symbols.iter().map(|symbol| u8::try_from(*symbol).unwrap_or(u8::MAX));
        pass.public = public(&bytes.collect::<Vec<u8>>());
        pass
    }

    /// A pass over all windows of symbols of which is known how far back the last equal one of their piece is.
    fn of_distances(back: Vec<u32>, pieces: Vec<Piece>, distances: &Distances) -> Self {
        let mut windows = Vec::new();
        for piece in &pieces {
            distances.of_each_window(&back[piece.range.clone()], &(0..=WINDOW as u32), &mut |at, hash| {
                windows.push((hash, (piece.range.start + at) as u32));
            });
        }
        Self::of_windows(back, pieces, windows)
    }

    /// A pass over windows, each with its hash and where it stands.
    fn of_windows(back: Vec<u32>, pieces: Vec<Piece>, windows: Vec<(u64, u32)>) -> Self {
        let mut filter = Filter::for_keys(windows.len());
        let mut positions = Positions::below(if windows.is_empty() { 0 } else { back.len() }, windows.len());
        for (hash, position) in &windows {
            filter.insert(*hash);
            positions.insert(*hash, *position as usize);
        }
        let (public, found) = (Bits::zeros(back.len()), Bits::zeros(back.len()));
        let pairs_left = PAIRS_FIRST + PAIRS_EACH * back.len() as u64;
        let is_done = windows.is_empty();
        Self { pieces, back, public, filter, positions, found, runs: None, pairs_left, is_done }
    }

    /// A pass over what was found alone, each stretch as a piece of its own: to be searched for in what is public.
    fn of_found(&self, distances: &Distances) -> Self {
        let (mut back, mut pieces) = (Vec::new(), Vec::new());
        for Piece { output, view, range, .. } in &self.pieces {
            for stretch in self.found.stretches(range.clone()) {
                let start = back.len();
                let within = self.back[stretch].iter().enumerate();
                back.extend(within.map(|(at, far)| if *far as usize <= at { *far } else { FAR }));
                pieces.push(Piece { output: *output, view: *view, offset: 0, range: start..back.len() });
            }
        }
        Self { runs: Some(Vec::new()), ..Self::of_distances(back, pieces, distances) }
    }

    /// Takes back each stretch that was found in which too little is private. `public` is [`Self::of_found`], in which the
    /// runs that are public were found.
    fn excuse(&mut self, public: Self) {
        let Self { pieces, found, runs, .. } = public;
        let covered = Covered::of(found, runs.unwrap_or_default());
        let mut kept = Bits::zeros(self.back.len());
        let mut of_stretch = pieces.iter();
        for Piece { range, .. } in &self.pieces {
            for stretch in self.found.stretches(range.clone()) {
                let copied = of_stretch.next().expect("each stretch has a piece").range.clone();
                if covered.holds_private(copied, SUBSTITUTED_RUN) {
                    kept.set(stretch);
                }
            }
        }
        self.found = kept;
    }

    /// Reads the data and marks what it shares with the views.
    fn search(&mut self, key: &Distances, read_data: &ReadData<'_>) -> Result<(), crate::ScanError> {
        read_data(&mut |file| {
            each_window(file, key, |window, hash, data, at| {
                if self.filter.may_hold(hash) && is_telling(window) {
                    self.examine(hash, data, at);
                }
            })
        })
    }

    /// Compares the data around a window with each place of the views that may hold the same.
    fn examine(&mut self, hash: u64, data: &[u8], at: usize) {
        let first = at.saturating_sub(WINDOW - 1);
        let end = data.len().min(at + REACH);
        let mut data_back = vec![FAR; end - first];
        let mut last = [usize::MAX; 256];
        for (index, byte) in data[first..end].iter().enumerate() {
            let before = std::mem::replace(&mut last[usize::from(*byte)], index);
            if before != usize::MAX {
                data_back[index] = (index - before) as u32;
            }
        }
        let Self { pieces, back, public, positions, found, runs, pairs_left, .. } = self;
        positions.visit(hash, |position| {
            if *pairs_left == 0 || found.count_zeros(position..position + WINDOW, 1) == 0 {
                return if *pairs_left == 0 { Then::Keep } else { Then::Remove };
            }
            *pairs_left -= 1;
            let piece = pieces.partition_point(|piece| piece.range.end <= position);
            let bounds = &pieces[piece].range;
            let before = (at - first).min(position - bounds.start);
            let length = (end - at + before).min(bounds.end - position + before);
            let left = &data_back[at - first - before..][..length];
            let right = &back[position - before..][..length];
            let Some(run) = longest_run(left, right, before) else { return Then::Keep };
            let run = position - before + run.start..position - before + run.end;
            if public.count_zeros(run.clone(), SUBSTITUTED_RUN) < SUBSTITUTED_RUN {
                return Then::Keep;
            }
            if let Some(runs) = runs {
                runs.push(run.clone());
            }
            found.set(run);
            Then::Remove
        });
    }
}

/// The longest stretch that holds the window at `window` and in which equal symbols stand at the same places on both
/// sides, if it is long enough to be told. Both sides say how far back the last equal symbol is.
fn longest_run(left: &[u32], right: &[u32], window: usize) -> Option<Range<usize>> {
    // A stretch from `start` on ends at the latest before the first position whose last equal symbols differ and of
    // which one lies within it.
    let mut ends = vec![left.len(); window + 1];
    for (at, (left, right)) in left.iter().zip(right).enumerate() {
        let nearest = *left.min(right);
        if left != right && nearest as usize <= at {
            let inside = (at - nearest as usize).min(window);
            ends[inside] = ends[inside].min(at);
        }
    }
    let mut end = left.len();
    let mut longest = 0..0;
    for start in (0..=window).rev() {
        end = end.min(ends[start]);
        if end.saturating_sub(start) > longest.len() {
            longest = start..end;
        }
    }
    (longest.len() >= SUBSTITUTED_RUN).then_some(longest)
}

/// What a pass over the data found in one view, in symbols of it.
pub(crate) type Add<'a> = dyn FnMut(u16, View, Range<u64>) + 'a;

/// Reads one private file.
pub(crate) type ReadFile<'a> = dyn FnMut(&mut dyn Read) -> io::Result<()> + 'a;

/// Has every private file read, one after the other.
pub(crate) type ReadData<'a> = dyn Fn(&mut ReadFile<'_>) -> Result<(), crate::ScanError> + Sync + 'a;

/// Shows each window of a private file that holds two equal symbols, with its hash and where it stands in what data.
fn each_window(
    file: &mut dyn Read,
    key: &Distances,
    mut show: impl FnMut(&[u8; WINDOW], u64, &[u8], usize),
) -> io::Result<()> {
    let mut stream = Stream::new(file, 1 << 20);
    while let Some((data, range)) = stream.advance()? {
        for at in range.step_by(WINDOW) {
            let Some(window) = data[at..].first_chunk() else { break };
            if let Some(hash) = key.of_window(window) {
                show(window, hash, data, at);
            }
        }
    }
    Ok(())
}

/// Searches the data for all passes. `public` tells which bytes of a pass are public.
pub(crate) fn search(
    mut passes: SymbolPasses<'_>,
    key: &Distances,
    read_data: &ReadData<'_>,
    read_public: Option<&ReadData<'_>>,
    public: &dyn Fn(&[u8]) -> Bits,
    add: &mut Add<'_>,
) -> Result<Searched, crate::ScanError> {
    let mut searched = Searched::Whole;
    loop {
        let pass = passes.advance(public);
        let pass =
            pass.map_err(|(output, view, source)| crate::ScanError::ReadView { output, view, source })?;
        let Some(mut pass) = pass else { return Ok(searched) };
        if pass.is_done {
            continue;
        }
        pass.search(key, read_data)?;
        if let Some(read_public) = read_public.filter(|_| pass.found.count() > 0) {
            let mut found = pass.of_found(key);
            found.search(key, read_public)?;
            pass.excuse(found);
        }
        if pass.pairs_left == 0 {
            searched = Searched::TooAlike;
        }
        for piece in &pass.pieces {
            for stretch in pass.found.stretches(piece.range.clone()) {
                let offset = piece.offset + (stretch.start - piece.range.start) as u64;
                add(piece.output, piece.view, offset..offset + stretch.len() as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::longest_run;

    /// How far back the last equal byte is.
    fn back(text: &[u8]) -> Vec<u32> {
        let last = |at: usize| text[..at].iter().rposition(|byte| *byte == text[at]);
        (0..text.len()).map(|at| last(at).map_or(super::FAR, |last| (at - last) as u32)).collect()
    }

    fn substituted(text: &[u8]) -> Vec<u8> {
        text.iter().map(|byte| byte.wrapping_mul(3).wrapping_add(7)).collect()
    }

    #[test]
    fn the_longest_run_is_the_one_that_every_pair_of_ends_shows() {
        let mut state = 5_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % bound
        };
        let mut told = 0;
        for round in 0..200 {
            let text: Vec<u8> = (0..260).map(|_| below(20) as u8).collect();
            let mut other = substituted(&text);
            for _ in 0..below(4) {
                let at = below(260) as usize;
                other[at] = other[at].wrapping_add(3 * (1 + below(5) as u8));
            }
            let window = 63;
            let is_same = |start: usize, end: usize| {
                let within = |bytes: &[u8]| {
                    let back = back(&bytes[start..end]);
                    back.into_iter().collect::<Vec<_>>()
                };
                within(&text) == within(&other)
            };
            let best = (0..=window)
                .map(|start| {
                    (start..=260).rev().find(|end| is_same(start, *end)).map_or(0, |end| end - start)
                })
                .max();
            let found = longest_run(&back(&text), &back(&other), window);
            assert_eq!(found.clone().map(|run| run.len()), best.filter(|best| *best >= 127), "{round}");
            told += usize::from(found.is_some());
        }
        assert!((50..200).contains(&told), "{told}");
    }
}
