//! Canonical files in parts that are searched one after the other: views of gigabytes need then not lie on the disk at
//! once, and no child needs more time for a large file than for a small one.
//!
//! Where a part begins and ends follows from declaration, precision and length. No byte of a file is looked at, so that
//! whoever holds data or a key can cut, too.
//!
//! Parts overlap. What stands in a run of neighbouring bytes of up to [`PART_BYTES`] / 32, or in 256 rows of a tensor
//! whose rows have no more than [`PART_BYTES`] / 512, stands in one part as a whole.

use std::ops::Range;

use release::statement::{DeclaredOutput, Precision};

use crate::weights::{Stretch, header, header_of, layout};

/// Bytes of canonical files that are searched at a time. Few: decoders that take noise for the beginning of something read on to
/// the end of a part, so that what they write grows with its square.
pub const PART_BYTES: u64 = 8 << 20;

/// The share of a part that the next one holds once more, at the least.
const OVERLAP: u64 = 32;

/// The share of a part that the next one holds once more, at the most.
const MOST_OVERLAP: u64 = 2;

/// Rows of a tensor that the next part holds once more: more than a run down a column needs, of which 31 bytes take 248 rows
/// with a bit each, 127 bytes of few different ones as many, and decimal numbers four for each.
const ROWS_AGAIN: u64 = 256;

/// A tensor is cut between rows, or between smaller units where a row is more than this share of a part.
const ROW: u64 = 16;

/// A sealed canonical file.
#[derive(Debug, Clone, Copy)]
pub struct CanonicalFile<'a> {
    /// Which declared output it is.
    pub output: usize,
    /// What was declared.
    pub declared: &'a DeclaredOutput,
    /// The precision in which weights are written.
    pub precision: Precision,
    /// Its length.
    pub bytes: u64,
}

/// What of a file is searched at a time: a header of its own, and a range of the file's bytes. A file that is searched as
/// a whole has no header but its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartOfFile {
    /// Which declared output it is of.
    pub output: usize,
    /// The header of a safetensors file of the range alone; empty where the range has none.
    pub header: Vec<u8>,
    /// Bytes of the file.
    pub range: Range<u64>,
}

/// The parts of these files, in their order. Small files share one.
pub fn parts(files: &[CanonicalFile<'_>]) -> Vec<Vec<PartOfFile>> {
    parts_of(files, PART_BYTES)
}

fn parts_of(files: &[CanonicalFile<'_>], most: u64) -> Vec<Vec<PartOfFile>> {
    let (mut parts, mut left): (Vec<Vec<PartOfFile>>, u64) = (Vec::new(), 0);
    for file in files {
        if file.bytes > most {
            parts.extend(cut(file, most).into_iter().map(|part| vec![part]));
            left = 0;
            continue;
        }
        let whole = PartOfFile { output: file.output, header: Vec::new(), range: 0..file.bytes };
        match parts.last_mut().filter(|_| file.bytes <= left) {
            Some(part) => {
                part.push(whole);
                left -= file.bytes;
            }
            None => {
                parts.push(vec![whole]);
                left = most - file.bytes;
            }
        }
    }
    parts
}

/// A file that is too large for one part. One that is not as long as its declaration makes it has no tensors that could
/// be told apart; the judge blocks it, and its bytes are searched all the same.
fn cut(file: &CanonicalFile<'_>, most: u64) -> Vec<PartOfFile> {
    let tensors = match file.declared {
        DeclaredOutput::Weights { tensors, .. } => &tensors[..],
        DeclaredOutput::Metrics { .. } | DeclaredOutput::Table { .. } | DeclaredOutput::Figure { .. } => &[],
    };
    let stretches = layout(file.precision, tensors);
    let header_bytes = header(file.precision, tensors).len() as u64;
    let mut placed = place(&stretches, header_bytes, most);
    let as_declared = placed.last().is_some_and(|last| last.range.end == file.bytes);
    if !as_declared {
        placed.clear();
    }
    let mut parts = Vec::new();
    let mut begin = if as_declared { header_bytes } else { 0 };
    loop {
        let end = match file.bytes - begin <= most {
            true => file.bytes,
            false => last_cut(&placed, begin + most),
        };
        let within: Vec<Stretch> = placed.iter().filter_map(|tensor| tensor.within(&(begin..end))).collect();
        let header = if as_declared { header_of(&within) } else { Vec::new() };
        parts.push(PartOfFile { output: file.output, header, range: begin..end });
        if end == file.bytes {
            return parts;
        }
        let unit = tensor_at(&placed, end - 1).map_or(1, |tensor| tensor.unit);
        let again = unit.saturating_mul(ROWS_AGAIN).clamp(most / OVERLAP, most / MOST_OVERLAP);
        // Units are small, so that each part goes on for more than a third of itself behind the one before.
        begin = last_cut(&placed, end - again);
    }
}

/// A tensor, or the scale of one, where it stands in the file.
struct Placed<'a> {
    stretch: &'a Stretch,
    range: Range<u64>,
    /// It is cut between indexes of this dimension, the outermost whose indexes hold few bytes.
    dimension: usize,
    /// Bytes of one index of it.
    unit: u64,
}

fn place(stretches: &[Stretch], begin: u64, most: u64) -> Vec<Placed<'_>> {
    let mut at = begin;
    let mut placed = Vec::new();
    for stretch in stretches {
        let width = stretch.dtype.bytes();
        let inner = |dimension: usize| {
            let lengths = stretch.shape.iter().skip(dimension + 1);
            lengths.fold(width, |product, length| product.saturating_mul(*length))
        };
        let innermost = stretch.shape.len().saturating_sub(1);
        let dimension = (0..innermost).find(|dimension| inner(*dimension) <= most / ROW).unwrap_or(innermost);
        let end = at.saturating_add(stretch.values.saturating_mul(width));
        placed.push(Placed { stretch, range: at..end, dimension, unit: inner(dimension) });
        at = end;
    }
    placed
}

fn tensor_at<'a>(placed: &'a [Placed<'_>], at: u64) -> Option<&'a Placed<'a>> {
    placed.get(placed.partition_point(|tensor| tensor.range.end <= at))
}

/// The last place up to `at` at which the file may be cut.
fn last_cut(placed: &[Placed<'_>], at: u64) -> u64 {
    tensor_at(placed, at).map_or(at, |tensor| at - at.saturating_sub(tensor.range.start) % tensor.unit)
}

impl Placed<'_> {
    /// What of the tensor stands in a range of the file, as a tensor of its own. Within an outer index it keeps its inner
    /// dimensions; what goes across several loses the outer ones.
    fn within(&self, range: &Range<u64>) -> Option<Stretch> {
        let (begin, end) = (self.range.start.max(range.start), self.range.end.min(range.end));
        if begin >= end {
            return None;
        }
        if (begin..end) == self.range {
            return Some(self.stretch.clone());
        }
        let inner = &self.stretch.shape[self.dimension + 1..];
        let shape = [&[(end - begin) / self.unit][..], inner].concat();
        let values = (end - begin) / self.stretch.dtype.bytes();
        Some(Stretch { shape, values, ..self.stretch.clone() })
    }
}

#[cfg(test)]
mod tests;
