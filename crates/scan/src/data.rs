//! The private data, read as a stream: memory does not grow with it.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::REACH;

/// Bytes that can be read more than once: a private file or a view. It is opened once for each pass and lens, by several
/// threads at a time.
pub trait Source: Sync {
    /// Opens it at its beginning.
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>>;

    /// How many bytes it has.
    fn length(&self) -> io::Result<u64>;
}

impl Source for PathBuf {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(File::open(self)?))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(std::fs::metadata(self)?.len())
    }
}

impl Source for Vec<u8> {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.as_slice()))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl Source for &[u8] {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(*self))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// Bytes kept on each side of the windows under search, so that a run is seen as far as [`REACH`] beyond them.
pub(crate) const MARGIN: usize = REACH + 128;

/// A private file, seen through a buffer. Windows are aligned to the beginning of the file, not to that of the buffer.
pub(crate) struct Stream<R> {
    reader: R,
    buffer: Vec<u8>,
    filled: usize,
    /// Where the windows begin that were not searched yet.
    next: usize,
    ended: bool,
}

impl<R: Read> Stream<R> {
    /// A stream that shows windows of at least `bytes` at a time.
    pub(crate) fn new(reader: R, bytes: usize) -> Self {
        let buffer = vec![0; bytes.next_multiple_of(64).max(64) + 2 * MARGIN];
        Self { reader, buffer, filled: 0, next: 0, ended: false }
    }

    /// The next bytes whose windows are to be searched: the buffer, and where in it they begin and end. They begin at a
    /// multiple of 64 of the file and, but for the last, end at one. `None` at the end of the file.
    pub(crate) fn advance(&mut self) -> io::Result<Option<(&[u8], std::ops::Range<usize>)>> {
        let done = self.next;
        if self.ended && done >= self.filled {
            return Ok(None);
        }
        let dropped = done.saturating_sub(MARGIN);
        self.buffer.copy_within(dropped..self.filled, 0);
        self.filled -= dropped;
        self.fill()?;
        let start = done - dropped;
        let end = if self.ended { self.filled } else { self.filled - MARGIN };
        self.next = end;
        Ok(Some((&self.buffer[..self.filled], start..end)))
    }

    fn fill(&mut self) -> io::Result<()> {
        while !self.ended && self.filled < self.buffer.len() {
            match self.reader.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

// Each buffer begins at a multiple of 64 of the file.
const _: () = assert!(MARGIN.is_multiple_of(64));

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a few bytes at a time, as a pipe may.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let some = self.0.len().min(7).min(into.len());
            into[..some].copy_from_slice(&self.0[..some]);
            self.0 = &self.0[some..];
            Ok(some)
        }
    }

    #[test]
    fn a_stream_shows_each_byte_once_with_its_neighbours() {
        for length in [0, 1, 63, 64, 65, MARGIN, 2 * MARGIN + 64, 2 * MARGIN + 65, 50_000] {
            let file: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let mut stream = Stream::new(Trickle(&file), 1000);
            let mut seen = 0;
            while let Some((buffer, range)) = stream.advance().unwrap() {
                assert_eq!(seen % 64, 0);
                let begin = seen - range.start;
                assert_eq!(buffer, &file[begin..begin + buffer.len()]);
                assert!(begin == 0 || range.start >= MARGIN);
                assert!(begin + buffer.len() == length || buffer.len() - range.end >= MARGIN);
                seen += range.len();
            }
            assert_eq!(seen, length);
        }
    }
}
