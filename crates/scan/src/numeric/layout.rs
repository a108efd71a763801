//! How the numbers of an output are laid out for the search: plain arrays, written by a process without data.

use std::io::{self, Read, Write};

/// The type of a block's values, lowest byte first each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// IEEE 754 binary64.
    F64 = 0,
    /// IEEE 754 binary32.
    F32 = 1,
    /// The upper half of a binary32.
    Bf16 = 2,
    /// IEEE 754 binary16.
    F16 = 3,
    /// A signed byte.
    I8 = 4,
}

/// What stands before a block's values: how many rows of how many columns follow, row by row, and of which type. A value
/// that is no number, such as a category, is a NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Rows.
    pub rows: u64,
    /// Values of a row.
    pub columns: u64,
    /// Their type.
    pub element: Element,
}

impl Element {
    const ALL: [Self; 5] = [Self::F64, Self::F32, Self::Bf16, Self::F16, Self::I8];

    pub(super) fn width(self) -> usize {
        self.dtype().width()
    }

    fn dtype(self) -> crate::Dtype {
        use crate::Dtype;
        match self {
            Self::F64 => Dtype::F64,
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
            Self::F16 => Dtype::F16,
            Self::I8 => Dtype::I8,
        }
    }

    /// The values that `bytes` hold one after the other, lowest byte first.
    pub(super) fn read(self, bytes: &[u8]) -> Vec<f64> {
        self.dtype().read_all(bytes)
    }
}

impl Block {
    /// Bytes before the values: rows and columns of 8 bytes each, the type in 8 more, lowest byte first.
    pub const HEADER: usize = 24;

    /// Writes what stands before the values.
    pub fn write(&self, sink: &mut dyn Write) -> io::Result<()> {
        sink.write_all(&self.rows.to_le_bytes())?;
        sink.write_all(&self.columns.to_le_bytes())?;
        sink.write_all(&(self.element as u64).to_le_bytes())
    }

    /// The next block's header; none at the end.
    pub(super) fn read(reader: &mut dyn Read) -> io::Result<Option<Self>> {
        let mut first = [0; 1];
        if reader.read(&mut first)? == 0 {
            return Ok(None);
        }
        let mut header = [0; Self::HEADER];
        header[0] = first[0];
        reader.read_exact(&mut header[1..])?;
        let number = |at: usize| {
            u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes are eight bytes"))
        };
        let element = Element::ALL.into_iter().find(|element| *element as u64 == number(16));
        let element = element.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(Self { rows: number(0), columns: number(8), element }))
    }
}

/// Rows of one block, as many as fit into a pass.
pub(super) struct Piece {
    /// The output, in the order of the request.
    pub(super) output: u16,
    /// How many values of the output stand before it.
    pub(super) before: u64,
    pub(super) columns: usize,
    pub(super) values: Vec<f64>,
}

/// Reads the pieces of an output one after the other.
pub(super) struct Pieces<'a> {
    output: u16,
    reader: Box<dyn Read + 'a>,
    block: Option<Block>,
    left: u64,
    before: u64,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(output: u16, reader: Box<dyn Read + 'a>) -> Self {
        Self { output, reader, block: None, left: 0, before: 0 }
    }

    /// The next piece of at most `limit` values; none at the end.
    pub(super) fn next(&mut self, limit: usize) -> io::Result<Option<Piece>> {
        while self.left == 0 {
            let Some(block) = Block::read(&mut *self.reader)? else { return Ok(None) };
            self.left = block.rows.checked_mul(block.columns).ok_or(io::ErrorKind::InvalidData)?;
            self.block = Some(block);
        }
        let block = self.block.expect("values are left of a block");
        let limit = limit.max(1) as u64;
        // Whole rows, or a part of one if a row is longer than a pass.
        let (taken, columns) = match block.columns <= limit {
            true => (self.left.min(limit - limit % block.columns), block.columns),
            false => (self.left.min(limit), self.left.min(limit)),
        };
        let width = block.element.width();
        let mut bytes = vec![0; taken as usize * width];
        self.reader.read_exact(&mut bytes)?;
        let values = block.element.read(&bytes);
        let piece = Piece { output: self.output, before: self.before, columns: columns as usize, values };
        self.left -= taken;
        self.before += taken;
        Ok(Some(piece))
    }
}
