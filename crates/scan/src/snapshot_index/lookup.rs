//! Looks up in the table what the filters of an index hold.

use std::fs::File;
use std::ops::Range;

use super::IndexError;
use super::ask::{Asked, Marks};
use super::layout::{Head, Row, Within, is_of_sides, of_block, sides};
use super::table::Table;
use crate::bits::Bits;
use crate::hash::{HashKey, array_at};
use crate::window::{is_all_plain, is_exempt, is_plain};

/// Entries that may be looked at for each window that is asked for, and besides. An output that repeats what the data
/// repeats would else take as long as both multiplied.
const ENTRIES_EACH: u64 = 4;
const ENTRIES_FIRST: u64 = 1 << 16;

/// Most windows that are looked up in the order of the table. Together they take 1.5 MiB.
const SORTED: usize = 1 << 16;

/// Looks up windows that the filters hold.
pub(super) struct Lookup<'a> {
    head: &'a Head,
    pub(super) asked: &'a Asked<'a>,
    table: Table<'a>,
    /// Entries that may still be looked at. With none left no entry is, and all chunks are marked.
    left: u64,
    marked_all: bool,
    found: Vec<(u64, Within, usize)>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(file: &'a File, rows: &'a [Row], head: &'a Head, asked: &'a Asked<'a>) -> Self {
        let table = Table::of(file, rows);
        Self { head, asked, table, left: ENTRIES_FIRST, marked_all: false, found: Vec::new() }
    }

    /// Allows to look up what so many windows need.
    pub(super) fn allow(&mut self, windows: usize) {
        self.left = self.left.saturating_add(ENTRIES_EACH * windows as u64);
    }

    /// Looks up windows of one group, by their numbers.
    pub(super) fn look(
        &mut self,
        maybe: &[u32],
        position: impl Fn(u32) -> usize,
        marks: &mut Marks<'_>,
    ) -> Result<(), IndexError> {
        let Head { key, parts, .. } = self.head;
        // In the order of the table, so that a block is read once for many.
        for some in maybe.chunks(SORTED) {
            let mut found = std::mem::take(&mut self.found);
            found.extend(some.iter().map(|number| {
                let at = position(*number);
                let (part, within) = parts.of(key.narrow(array_at(self.asked.bytes, at)));
                (part, within, at)
            }));
            found.sort_unstable();
            for (part, within, at) in found.drain(..) {
                self.look_up(part, within, at, marks)?;
            }
            self.found = found;
        }
        Ok(())
    }

    fn look_up(
        &mut self,
        part: u64,
        within: Within,
        at: usize,
        marks: &mut Marks<'_>,
    ) -> Result<(), IndexError> {
        let window = array_at(self.asked.bytes, at);
        let plain = is_plain(window);
        if !plain && (self.asked.is_public)(window) {
            return Ok(());
        }
        let around = Around::of(&self.head.key, self.asked, at, plain);
        let mut may_stand = false;
        if self.left > 0 {
            let (left, chunks) = (&mut self.left, &mut *marks.chunks);
            self.table.visit(part, within, |entry| {
                *left = left.saturating_sub(1);
                if around.may_be(entry.around) {
                    may_stand = true;
                    chunks.set(entry.chunk as usize..entry.chunk as usize + 1);
                }
                *left > 0
            })?;
        }
        if self.left == 0 {
            if !self.marked_all {
                marks.chunks.set_all();
            }
            (self.marked_all, may_stand) = (true, true);
        }
        if may_stand {
            around.mark(at, marks.near);
        }
        Ok(())
    }
}

/// What stands around a window of an output.
enum Around {
    /// A window that is not plain: its sides, and the piece that it stands in.
    Window([Option<u8>; 2], Range<usize>),
    /// A plain one: where the blocks begin that it may be a part of, with what an entry says of them.
    Blocks(Vec<(usize, u8)>, Range<usize>),
}

impl Around {
    fn of(key: &HashKey, asked: &Asked<'_>, at: usize, plain: bool) -> Self {
        let piece = asked.pieces[asked.pieces.partition_point(|piece| piece.end <= at)].clone();
        let bytes = &asked.bytes[piece.clone()];
        let within = at - piece.start;
        if !plain {
            return Self::Window(sides(key, bytes, within), piece);
        }
        let starts = [0, 16, 32, 48].into_iter().filter_map(|part| within.checked_sub(part));
        let blocks = starts.filter_map(|start| {
            let block: &[u8; 64] = bytes.get(start..)?.first_chunk()?;
            let searched = !is_exempt(block) && is_all_plain(block);
            searched.then(|| (piece.start + start, of_block(key, block)))
        });
        Self::Blocks(blocks.collect(), piece)
    }

    fn may_be(&self, entry: u8) -> bool {
        match self {
            Self::Window(sides, _) => is_of_sides(entry, *sides),
            Self::Blocks(blocks, _) => blocks.iter().any(|(_, block)| *block == entry),
        }
    }

    /// Marks where each window begins that a shortest run around the window, or around one of the blocks, may have.
    fn mark(&self, at: usize, near: &mut Bits) {
        let mut set = |at: usize, before: usize, behind: usize, piece: &Range<usize>| {
            near.set(at.saturating_sub(before).max(piece.start)..piece.end.min(at + behind));
        };
        match self {
            Self::Window(_, piece) => set(at, 15, 16, piece),
            Self::Blocks(blocks, piece) => blocks.iter().for_each(|(start, _)| set(*start, 63, 64, piece)),
        }
    }
}
