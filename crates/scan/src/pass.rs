//! The views that one pass over the data is searched for.

use std::io::{self, Read};
use std::ops::Range;

use crate::background::{KeyedBackground, PUBLIC_WINDOW};
use crate::bits::Bits;
use crate::covered::Covered;
use crate::data::MARGIN;
use crate::filter::Filter;
use crate::hash::{HashKey, Kind, array_at};
use crate::hints::{FileStretches, Hints, Near};
use crate::lens::{Lens, Seen};
use crate::tally::Tally;
use crate::view_pairs::ViewPairs;
use crate::views::View;
use crate::window::{DISTINCT, Distinct, WEAK_DISTINCT, is_exempt, is_plain, is_weak};
use crate::{PLAIN_RUN, RUN, ScanError, SearchedView, Source};

/// A view, read through a lens. It is opened when it is first read.
pub(crate) struct Layer<'a> {
    pub(crate) output: u16,
    pub(crate) view: View,
    pub(crate) source: &'a dyn Source,
    /// Bytes that it is read off.
    pub(crate) bytes: u64,
    pub(crate) lens: Lens,
    opened: Option<Seen<Box<dyn Read + Send + 'a>>>,
}

impl<'a> Layer<'a> {
    pub(crate) fn of(view: &'a SearchedView<'_>, lens: Lens) -> Result<Self, ScanError> {
        let bytes = view.length()?;
        Ok(Self {
            output: view.output,
            view: view.view,
            source: view.bytes.as_ref(),
            bytes,
            lens,
            opened: None,
        })
    }
}

impl Read for Layer<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let seen = match &mut self.opened {
            Some(seen) => seen,
            unopened => unopened.insert(Seen::new(self.source.open()?, self.lens)),
        };
        seen.read(into)
    }
}

/// Bytes of a view that stand at the end of one pass and at the beginning of the next, so that what a run is counted by
/// lies in one of the two as a whole, without what is not counted at their ends.
const OVERLAP: usize = MARGIN + 2 * CUT;

/// Bytes of a run that the end of a pass cuts off too short to be found, be it plain. What is not counted at the end of one
/// pass is counted in the other: they have far more in common.
const CUT: usize = PLAIN_RUN - 1;

/// A stretch of a view, within the bytes of a pass.
pub(crate) struct Piece {
    output: u16,
    view: View,
    /// Where it stands in the view.
    offset: u64,
    /// Where it stands in the pass.
    pub(crate) range: Range<usize>,
    /// Whether the view ends with it.
    last: bool,
}

impl Piece {
    /// Where the part begins that the next pass takes up again.
    fn overlap_start(&self) -> usize {
        if self.last { self.range.end } else { self.range.end.saturating_sub(OVERLAP).max(self.range.start) }
    }
}

/// A view that did not fit into one pass, with what the next one takes up again.
struct Unfinished<'a> {
    view: Layer<'a>,
    offset: u64,
    bytes: Vec<u8>,
    found: Vec<Range<usize>>,
}

/// Cuts views into passes.
pub(crate) struct Passes<'a> {
    views: std::vec::IntoIter<Layer<'a>>,
    unfinished: Option<Unfinished<'a>>,
    pass_bytes: usize,
    weak: bool,
    hints: Hints<'a>,
}

impl<'a> Passes<'a> {
    /// With hints of the data, only what may stand in it is searched for.
    pub(crate) fn new(views: Vec<Layer<'a>>, pass_bytes: usize, weak: bool, hints: Hints<'a>) -> Self {
        let pass_bytes = pass_bytes.max(2 * OVERLAP);
        Self { views: views.into_iter(), unfinished: None, pass_bytes, weak, hints }
    }

    /// The next pass, or `None` once every view was searched to its end.
    pub(crate) fn advance(&mut self, key: &HashKey) -> Result<Option<Pass>, ScanError> {
        let mut bytes = Vec::new();
        let mut pieces = Vec::new();
        let mut found = Vec::new();
        while bytes.len() < self.pass_bytes {
            let Some(mut unfinished) = self.unfinished.take().or_else(|| self.views.next().map(begin)) else {
                break;
            };
            let start = bytes.len();
            bytes.append(&mut unfinished.bytes);
            found.extend(unfinished.found.drain(..).map(|range| start + range.start..start + range.end));
            let Layer { output, view, .. } = unfinished.view;
            let room = (self.pass_bytes - bytes.len()) as u64;
            let read = unfinished.view.by_ref().take(room).read_to_end(&mut bytes);
            read.map_err(|source| ScanError::ReadView { output, view, source })?;
            let last = bytes.len() < self.pass_bytes;
            pieces.push(Piece { output, view, offset: unfinished.offset, range: start..bytes.len(), last });
            self.unfinished = (!last).then_some(unfinished);
        }
        bytes.shrink_to_fit();
        if pieces.is_empty() {
            return Ok(None);
        }
        Pass::new(bytes, pieces, found, self.weak, key, &self.hints).map(Some)
    }

    /// Takes up what a pass found.
    pub(crate) fn finish(&mut self, pass: Pass, tally: &mut Tally) {
        for piece in &pass.pieces {
            let done = piece.range.start..piece.overlap_start();
            if piece.offset == 0 {
                tally.close();
            }
            for stretch in pass.found.stretches(done) {
                let offset = piece.offset + (stretch.start - piece.range.start) as u64;
                tally.add(piece.output, piece.view, offset..offset + stretch.len() as u64);
            }
        }
        if let (Some(unfinished), Some(piece)) = (&mut self.unfinished, pass.pieces.last()) {
            let start = piece.overlap_start();
            let again = start..piece.range.end;
            unfinished.offset = piece.offset + (start - piece.range.start) as u64;
            let found = pass.found.stretches(again.clone());
            unfinished.found = found.map(|range| range.start - start..range.end - start).collect();
            unfinished.bytes = pass.bytes[again].to_vec();
        }
    }
}

fn begin(view: Layer<'_>) -> Unfinished<'_> {
    Unfinished { view, offset: 0, bytes: Vec::new(), found: Vec::new() }
}

/// The bytes of views that one pass over the data is searched for.
pub(crate) struct Pass {
    pub(crate) bytes: Vec<u8>,
    pub(crate) pieces: Vec<Piece>,
    /// Every window of the views that is looked for in the data: those of 16 bytes that are not plain, and those of
    /// 64 bytes that are plain throughout and not exempt.
    pub(crate) filter: Filter,
    /// Whether there is one of 64 bytes among them.
    pub(crate) has_blocks: bool,
    /// Which pairs of bytes they have; `None` if it is not worth to ask for those first.
    pub(crate) pairs: Option<ViewPairs>,
    /// Where the windows begin that are looked for, and in what of the data; `None` if all are, and in all.
    near: Option<Near>,
    /// The bytes of the runs found.
    pub(crate) found: Bits,
    /// Those of them that the pass before found, and did not excuse.
    found_before: Vec<Range<usize>>,
    /// Each of these runs, where it is to be known how many make up a stretch.
    pub(crate) runs: Option<Vec<Range<usize>>>,
    /// Whether equal bytes show less than elsewhere: no window of 64 bytes is looked for, and fewer of 16.
    pub(crate) weak: bool,
}

impl Pass {
    /// A pass over no view, which measures the data alone.
    pub(crate) fn of_nothing(key: &HashKey) -> Result<Self, ScanError> {
        Self::new(Vec::new(), Vec::new(), Vec::new(), false, key, &Hints::NONE)
    }

    fn new(
        bytes: Vec<u8>,
        pieces: Vec<Piece>,
        found_before: Vec<Range<usize>>,
        weak: bool,
        key: &HashKey,
        hints: &Hints<'_>,
    ) -> Result<Self, ScanError> {
        let mut found = Bits::zeros(bytes.len());
        found_before.iter().for_each(|range| found.set(range.clone()));
        let ranges: Vec<_> = pieces.iter().map(|piece| piece.range.clone()).collect();
        let near = hints.near(&bytes, &ranges, key)?;
        let mut filter = Filter::for_keys(near.as_ref().map_or(bytes.len(), |near| near.starts.count()));
        let mut has_blocks = false;
        each_stretch(&pieces, near.as_ref(), |starts, piece| {
            let end = piece.end.min(starts.end + Kind::Wide.window() - 1);
            has_blocks |= insert_windows(&bytes[starts.start..end], starts.len(), weak, key, &mut filter);
        });
        // What is known of the data left little of the views: then its windows are seldom asked for.
        let pairs = if near.is_none() { ViewPairs::of(&bytes, ranges.into_iter()) } else { None };
        Ok(Self { bytes, pieces, filter, has_blocks, pairs, near, found, found_before, runs: None, weak })
    }

    /// Whether the data need not be read.
    pub(crate) fn is_done(&self) -> bool {
        self.near.as_ref().is_some_and(|near| near.starts.count() == 0)
    }

    /// What of each file is read; `None` if all of all files is.
    pub(crate) fn stretches(&self) -> Option<&[FileStretches]> {
        self.near.as_ref()?.stretches.as_deref()
    }

    /// Shows each stretch of positions at which windows that are looked for may begin, with the piece that it is in.
    pub(crate) fn each_stretch(&self, show: impl FnMut(Range<usize>, &Range<usize>)) {
        each_stretch(&self.pieces, self.near.as_ref(), show);
    }

    /// How many positions [`Self::each_stretch`] shows.
    pub(crate) fn positions(&self) -> usize {
        self.near.as_ref().map_or(self.bytes.len(), |near| near.starts.count())
    }

    /// The bounds of the piece that `position` lies in.
    pub(crate) fn bounds(&self, position: usize) -> Range<usize> {
        let index = self.pieces.partition_point(|piece| piece.range.end <= position);
        self.pieces[index].range.clone()
    }

    /// Whether a window of 16 bytes is not looked for.
    #[inline]
    pub(crate) fn is_plain(&self, window: &[u8; 16]) -> bool {
        if self.weak { is_weak(window) } else { is_plain(window) }
    }

    /// A pass over what was found alone, each stretch as a piece of its own: to be searched for in what is public.
    pub(crate) fn of_found(&self, key: &HashKey) -> Result<Self, ScanError> {
        let (mut bytes, mut pieces) = (Vec::new(), Vec::new());
        for Piece { output, view, range, .. } in &self.pieces {
            for stretch in self.found.stretches(range.clone()) {
                let start = bytes.len();
                bytes.extend(&self.bytes[stretch]);
                pieces.push(Piece {
                    output: *output,
                    view: *view,
                    offset: 0,
                    range: start..bytes.len(),
                    last: true,
                });
            }
        }
        let pass = Self::new(bytes, pieces, Vec::new(), self.weak, key, &Hints::NONE)?;
        Ok(Self { runs: Some(Vec::new()), ..pass })
    }

    /// Takes back each stretch that was found in which too little is private. `public` is [`Self::of_found`], in which the
    /// runs that are public were found.
    pub(crate) fn excuse(&mut self, public: Self, key: &HashKey, background: &KeyedBackground) {
        let named = public.public(key, background);
        let Self { bytes, pieces, found, runs, .. } = public;
        let mut covered = Covered::of(found, runs.unwrap_or_default());
        named.stretches(0..bytes.len()).for_each(|stretch| covered.public.set(stretch));
        let mut kept = Bits::zeros(self.bytes.len());
        let mut of_stretch = pieces.iter();
        for Piece { range, offset, last, .. } in &self.pieces {
            for stretch in self.found.stretches(range.clone()) {
                let copied = of_stretch.next().expect("each stretch has a piece").range.clone();
                // Where a view is cut, what is public may be cut too. The passes overlap, so no run is excused for this.
                let cut_before = if *offset > 0 && stretch.start == range.start { CUT } else { 0 };
                let cut_behind = if !last && stretch.end == range.end { CUT } else { 0 };
                let start = (copied.start + cut_before).min(copied.end);
                let end = copied.end.saturating_sub(cut_behind).max(start);
                // What a stretch goes on from counted already.
                let goes_on = self.found_before.iter().any(|before| before.contains(&stretch.start));
                if goes_on || covered.holds_private(start..end, RUN) {
                    kept.set(stretch);
                }
            }
        }
        self.found = kept;
    }

    /// The bytes that are public.
    pub(crate) fn public(&self, key: &HashKey, background: &KeyedBackground) -> Bits {
        public_bytes(&self.bytes, &self.pieces, key, background)
    }
}

fn each_stretch(pieces: &[Piece], near: Option<&Near>, mut show: impl FnMut(Range<usize>, &Range<usize>)) {
    for Piece { range, .. } in pieces {
        match near {
            Some(near) => near.starts.stretches(range.clone()).for_each(|stretch| show(stretch, range)),
            None => show(range.clone(), range),
        }
    }
}

/// Hashes that are made before any is stored, so that the processor waits for many places of memory at once.
pub(crate) const TOGETHER: usize = 64;

/// Adds the windows that begin at the first so many bytes of `piece`. Returns whether there is one of 64 bytes among them.
fn insert_windows(piece: &[u8], starts: usize, weak: bool, key: &HashKey, filter: &mut Filter) -> bool {
    let least = if weak { WEAK_DISTINCT } else { DISTINCT };
    // From the last window to the first: bit n tells whether the window n bytes behind this one is plain.
    let mut plain = 0_u64;
    const FOUR_PARTS: u64 = 1 | 1 << 16 | 1 << 32 | 1 << 48;
    let mut hashes = [0; TOGETHER];
    let (mut held, mut has_blocks) = (0, false);
    let mut distinct = Distinct::of(piece.last_chunk().unwrap_or(&[0; 16]));
    for (at, narrow) in piece.array_windows().enumerate().rev() {
        if let Some(leaving) = piece.get(at + 16) {
            distinct.exchange(narrow[0], *leaving);
        }
        plain = plain << 1 | u64::from(distinct.count() < least);
        if at >= starts {
            continue;
        }
        if plain & 1 == 0 {
            hashes[held] = key.narrow(narrow);
        } else if !weak && plain & FOUR_PARTS == FOUR_PARTS && !is_exempt(array_at(piece, at)) {
            hashes[held] = key.window(Kind::Wide, piece, at);
            has_blocks = true;
        } else {
            continue;
        }
        held += 1;
        if held == TOGETHER {
            hashes.iter().for_each(|hash| filter.insert(*hash));
            held = 0;
        }
    }
    hashes[..held].iter().for_each(|hash| filter.insert(*hash));
    has_blocks
}

fn public_bytes(bytes: &[u8], pieces: &[Piece], key: &HashKey, background: &KeyedBackground) -> Bits {
    let mut public = Bits::zeros(bytes.len());
    for piece in pieces {
        let Range { start, end } = piece.range;
        for at in start..(end + 1).saturating_sub(PUBLIC_WINDOW).max(start) {
            let window = array_at(bytes, at);
            if background.holds(key.narrow(window), window) {
                public.set(at..at + PUBLIC_WINDOW);
            }
        }
        // Where a view is cut, a public string may be cut too. The passes overlap, so no run is excused for this.
        let edge = PUBLIC_WINDOW - 1;
        if piece.offset > 0 {
            public.set(start..(start + edge).min(end));
        }
        if !piece.last {
            public.set(end.saturating_sub(edge).max(start)..end);
        }
    }
    public
}
