//! One pass: private data streams by, and what it shares with the views is marked.

use std::io::{self, Read};
use std::ops::Range;

use crate::REACH;
use crate::background::KeyedBackground;
use crate::bits::Bits;
use crate::data::Stream;
use crate::filter::{self, InPart};
use crate::hash::{HashKey, Kind, array_at};
use crate::pass::{Pass, TOGETHER};
use crate::positions::{Positions, Then};
use crate::window::{exempt_bytes, is_all_plain, is_exempt};

/// How much data was read, and how much of it is exempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    pub(crate) bytes: u64,
    pub(crate) exempt: u64,
}

/// Data whose windows are hashed before any is looked up. It is 64 windows, one for each bit of a word.
const GROUP_BYTES: usize = filter::TOGETHER * 16;

/// How many times as much data is read at a time where the filter is large. For each time all of the filter is read.
const CHUNKS_OF_LARGE: usize = 128;

/// Searches data for the views of one pass.
pub(crate) struct Search<'a> {
    key: &'a HashKey,
    background: &'a KeyedBackground,
    pass: Pass,
    /// Windows of a chunk of data, by the part of a large filter that they are asked for in.
    parts: Vec<Vec<(InPart, u32)>>,
    /// What of a chunk of data may stand in the views.
    stretches: Vec<Range<usize>>,
    /// Where runs of 31 bytes and of 127 stand. Made when first asked.
    narrow_runs: Option<Positions>,
    wide_runs: Option<Positions>,
    examined: Examined,
    /// The bytes of the pass that are public. Made when first asked, if there is a background.
    public: Option<Bits>,
    pub(crate) measure: Measure,
}

impl<'a> Search<'a> {
    pub(crate) fn new(key: &'a HashKey, background: &'a KeyedBackground, pass: Pass) -> Self {
        let parts = vec![Vec::new(); pass.filter.parts().unwrap_or(0)];
        let measure = Measure::default();
        let examined = Examined::default();
        Self {
            key,
            background,
            pass,
            parts,
            stretches: Vec::new(),
            narrow_runs: None,
            wide_runs: None,
            examined,
            public: None,
            measure,
        }
    }

    /// The pass, with what was found marked in it.
    pub(crate) fn into_pass(self) -> Pass {
        self.pass
    }

    /// Searches one private file, with `chunk_bytes` of it at a time.
    pub(crate) fn search(&mut self, file: impl Read, chunk_bytes: usize) -> io::Result<()> {
        self.search_stream(Stream::new(file, self.read_bytes(chunk_bytes)))
    }

    /// Searches a stretch of a private file, of which `opened` begins where [`data::begin`](crate::data::begin) says.
    pub(crate) fn search_within(
        &mut self,
        opened: impl Read,
        stretch: &Range<u64>,
        chunk_bytes: usize,
    ) -> io::Result<()> {
        self.search_stream(Stream::within(opened, self.read_bytes(chunk_bytes), stretch))
    }

    fn read_bytes(&self, chunk_bytes: usize) -> usize {
        let chunks = if self.parts.is_empty() { 1 } else { CHUNKS_OF_LARGE };
        chunk_bytes.saturating_mul(chunks)
    }

    fn search_stream(&mut self, mut stream: Stream<impl Read>) -> io::Result<()> {
        while let Some((data, range)) = stream.advance()? {
            self.measure.bytes += range.len() as u64;
            self.search_chunk(data, range);
        }
        Ok(())
    }

    fn search_chunk(&mut self, data: &[u8], range: Range<usize>) {
        if !self.pass.weak {
            self.measure.exempt += exempt_bytes(&data[range.clone()]);
        }
        match self.pass.pairs.as_ref().filter(|pairs| pairs.is_worth(&data[range.clone()])) {
            None => self.search_stretch(data, range.clone(), &range),
            Some(pairs) => {
                let mut stretches = std::mem::take(&mut self.stretches);
                pairs.stretches(data, &range, |stretch| stretches.push(stretch));
                stretches.drain(..).for_each(|stretch| self.search_stretch(data, stretch, &range));
                self.stretches = stretches;
            }
        }
        let mut maybe = Vec::new();
        for (part, asked) in self.parts.iter_mut().enumerate() {
            let filter = &self.pass.filter;
            let held = asked.drain(..).filter(|(asked, _)| filter.part_may_hold(part, *asked));
            maybe.extend(held.map(|(_, at)| at));
        }
        maybe.sort_unstable();
        maybe.into_iter().for_each(|at| self.examine(Kind::Narrow, data, at as usize));
    }

    /// Searches those windows of a range of the data that lie within a stretch.
    fn search_stretch(&mut self, data: &[u8], stretch: Range<usize>, range: &Range<usize>) {
        let windows = within(&stretch, range, Kind::Narrow.window());
        for start in windows.clone().step_by(GROUP_BYTES) {
            self.search_group(data, start, windows.end.min(start + GROUP_BYTES));
        }
        if !self.pass.has_blocks {
            return;
        }
        let blocks = within(&stretch, range, Kind::Wide.window());
        for (index, block) in data[blocks.clone()].as_chunks::<64>().0.iter().enumerate() {
            let may_stand = || self.pass.filter.may_hold(self.key.window(Kind::Wide, block, 0));
            if is_all_plain(block) && !is_exempt(block) && may_stand() {
                self.examine(Kind::Wide, data, blocks.start + 64 * index);
            }
        }
    }

    /// Searches some windows together: apart from each other, hashing and asking the filter let the processor wait for
    /// many places of memory at once.
    fn search_group(&mut self, data: &[u8], start: usize, end: usize) {
        let (windows, _) = data[start..end].as_chunks::<16>();
        let mut maybe =
            if self.parts.is_empty() { self.held_of(windows) } else { self.ask_later(windows, start) };
        while maybe != 0 {
            self.examine(Kind::Narrow, data, start + 16 * maybe.trailing_zeros() as usize);
            maybe &= maybe - 1;
        }
    }

    /// Which of at most 64 windows may stand in the views, a bit for each.
    #[inline]
    fn held_of(&self, windows: &[[u8; 16]]) -> u64 {
        // Where there are fewer windows than bits, the others are none.
        let there = u64::MAX.checked_shr(64 - windows.len() as u32).unwrap_or(0);
        let mut hashes = [0; filter::TOGETHER];
        hashes.iter_mut().zip(windows).for_each(|(hash, window)| *hash = self.key.narrow(window));
        self.pass.filter.held_of(&hashes) & there
    }

    /// A large filter is far from the processor: what is asked is sorted by its parts, and asked part by part. Returns that
    /// nothing is held as yet.
    fn ask_later(&mut self, windows: &[[u8; 16]], start: usize) -> u64 {
        for (index, window) in windows.iter().enumerate() {
            let (part, asked) = self.pass.filter.part(self.key.narrow(window));
            self.parts[part].push((asked, (start + 16 * index) as u32));
        }
        0
    }

    /// Looks up each run that holds the window at `at`, of which the filter says that it may stand in a view.
    #[cold]
    fn examine(&mut self, kind: Kind, data: &[u8], at: usize) {
        let window = kind.window();
        // A wrong answer of the filter must not make a run of a plain window one that is found from 31 bytes. A public
        // window makes no run count: see the crate's description.
        if kind == Kind::Narrow {
            let narrow = array_at(data, at);
            if self.pass.is_plain(narrow) || self.background.holds(self.key.narrow(narrow), narrow) {
                return;
            }
        }
        if self.examined.holds(kind, data, at) {
            return;
        }
        // All windows of a run stand in a view. So it lies between the first ones on each side that do not.
        let most = window - 1;
        let before = (1..=most.min(at)).take_while(|back| self.may_stand(kind, data, at - back)).count();
        let after = (1..=most).take_while(|further| self.may_stand(kind, data, at + further)).count();
        let mut all_removed = true;
        for start in at - before..(at + after + 1).saturating_sub(most) {
            all_removed &= self.mark_run(kind, data, start);
        }
        if all_removed {
            self.examined.add(kind, data, at);
        }
    }

    /// Whether the window at `at`, if there is one, may stand in a view.
    fn may_stand(&self, kind: Kind, data: &[u8], at: usize) -> bool {
        let Some(window) = data.get(at..at + kind.window()) else {
            return false;
        };
        // Only windows that are looked for are held.
        self.pass.filter.may_hold(self.key.window(kind, window, 0))
            || match kind {
                Kind::Narrow => self.pass.is_plain(array_at(window, 0)),
                Kind::Wide => !is_all_plain(array_at(window, 0)) || is_exempt(array_at(window, 0)),
            }
    }

    /// Marks what the run of the data that begins at `start` shares with the views. Returns whether no place where it
    /// stands is left in the table, so that there is nothing more to find of the same bytes.
    fn mark_run(&mut self, kind: Kind, data: &[u8], start: usize) -> bool {
        let (pass, key) = (&mut self.pass, self.key);
        let runs = match kind {
            Kind::Narrow => &mut self.narrow_runs,
            Kind::Wide => &mut self.wide_runs,
        };
        let runs = runs.get_or_insert_with(|| positions_of_runs(kind, pass, key));
        let run = &data[start..start + kind.run()];
        let (public, background) = (&mut self.public, self.background);
        let mut all_removed = true;
        let hash = key.run(kind, run, 0);
        let removed = runs.visit(hash, |position| {
            if pass.bytes[position..position + run.len()] != *run {
                return Then::Keep;
            }
            if public.is_none() && !background.is_empty() {
                *public = Some(pass.public(key, background));
            }
            let then = mark(pass, public.as_ref(), data, start, position, run.len());
            all_removed &= then == Then::Remove;
            then
        });
        if removed {
            runs.refresh(hash, |position| key.run(kind, &pass.bytes, position));
        }
        all_removed
    }
}

/// Windows of 16 bytes that were examined, each with the bytes around it that a run of 31 with it may have. Data repeats
/// some of them very often (a row of zeros between commas, a heading), and there is nothing more to find of them: all
/// places where such a run stood were taken out of the table.
#[derive(Default)]
struct Examined {
    /// One for each remainder of a sum of the bytes; none before the first.
    seen: Vec<[u8; AROUND]>,
}

/// Bytes of all runs of 31 that hold a window of 16.
const AROUND: usize = 2 * Kind::Narrow.run() - Kind::Narrow.window();

/// How many are remembered: as many as do not push the filter away from the processor.
const REMEMBERED: usize = 1 << 11;

impl Examined {
    fn holds(&self, kind: Kind, data: &[u8], at: usize) -> bool {
        let around = Self::around(kind, data, at);
        around.is_some_and(|around| self.seen.get(Self::place(around)) == Some(around))
    }

    fn add(&mut self, kind: Kind, data: &[u8], at: usize) {
        let Some(around) = Self::around(kind, data, at) else { return };
        if self.seen.is_empty() {
            // No window that is examined is all zeros: that is plain.
            self.seen = vec![[0; AROUND]; REMEMBERED];
        }
        self.seen[Self::place(around)] = *around;
    }

    fn around(kind: Kind, data: &[u8], at: usize) -> Option<&[u8; AROUND]> {
        let begin = at.checked_sub(Kind::Narrow.window() - 1)?;
        data.get(begin..)?.first_chunk().filter(|_| kind == Kind::Narrow)
    }

    fn place(around: &[u8; AROUND]) -> usize {
        let (parts, _) = around[AROUND % 8..].as_chunks::<8>();
        let sum = parts.iter().fold(0_u64, |sum, part| {
            (sum.rotate_left(23) ^ u64::from_le_bytes(*part)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        (sum >> 53) as usize
    }
}

const _: () = assert!(REMEMBERED == 1 << (64 - 53));

/// The windows of a range of the data that lie within a stretch. They begin at multiples of their length from the range's beginning.
fn within(stretch: &Range<usize>, range: &Range<usize>, window: usize) -> Range<usize> {
    let start = range.start + stretch.start.saturating_sub(range.start).next_multiple_of(window);
    let end = stretch.end.min(range.end);
    start.min(end)..end
}

/// Where each run of the kind's length stands in the views.
fn positions_of_runs(kind: Kind, pass: &Pass, key: &HashKey) -> Positions {
    let mut positions = Positions::below(pass.bytes.len(), pass.positions());
    let mut hashes = Vec::with_capacity(TOGETHER);
    pass.each_stretch(|starts, piece| {
        let end = starts.end.min((piece.end + 1).saturating_sub(kind.run()));
        for some in (starts.start..end).step_by(TOGETHER) {
            hashes.clear();
            hashes.extend((some..end.min(some + TOGETHER)).map(|at| key.run(kind, &pass.bytes, at)));
            hashes.iter().enumerate().for_each(|(index, hash)| positions.insert(*hash, some + index));
        }
    });
    positions
}

/// Marks the run that the data shares with a view, of which `length` bytes at `start` and at `position` are known to be
/// equal, if at least so many of its bytes are not public. A position that can add nothing more is removed.
fn mark(
    pass: &mut Pass,
    public: Option<&Bits>,
    data: &[u8],
    start: usize,
    position: usize,
    length: usize,
) -> Then {
    if pass.found.count_zeros(position..position + length, 1) == 0 {
        return Then::Remove;
    }
    let bounds = pass.bounds(position);
    let before = common_suffix(&data[..start], &pass.bytes[bounds.start..position]);
    let after = common_prefix(&data[start + length..], &pass.bytes[position + length..bounds.end]);
    let run = position - before..position + length + after;
    if public.is_some_and(|public| public.count_zeros(run.clone(), length) < length) {
        return Then::Keep;
    }
    if let Some(runs) = &mut pass.runs {
        runs.push(run.clone());
    }
    pass.found.set(run);
    Then::Remove
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take(REACH).take_while(|(a, b)| a == b).count()
}

fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take(REACH).take_while(|(a, b)| a == b).count()
}
