//! The private data, read as a stream: memory does not grow with it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use crate::REACH;

/// Bytes that can be read more than once: a private file or a view. It is opened once for each pass and lens, by several
/// threads at a time.
pub trait Source: Sync {
    /// Opens it so many bytes behind its beginning, which may be behind its end.
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>>;

    /// Opens it at its beginning.
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        self.open_at(0)
    }

    /// How many bytes it has.
    fn length(&self) -> io::Result<u64>;
}

impl Source for PathBuf {
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let mut file = File::open(self)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(std::fs::metadata(self)?.len())
    }
}

impl Source for Vec<u8> {
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(behind(self, offset)))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl Source for &[u8] {
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(behind(self, offset)))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

fn behind(bytes: &[u8], offset: u64) -> &[u8] {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    bytes.get(offset..).unwrap_or_default()
}

/// Bytes kept on each side of the windows under search, so that a run is seen as far as [`REACH`] beyond them.
pub(crate) const MARGIN: usize = REACH + 128;

/// Where to begin to read for a stretch of a file: what stands before it is seen too.
pub(crate) fn begin(stretch: &Range<u64>) -> u64 {
    stretch.start.saturating_sub(MARGIN as u64)
}

/// A private file, seen through a buffer. Windows are aligned to the beginning of the file, not to that of the buffer.
pub(crate) struct Stream<R> {
    reader: R,
    buffer: Vec<u8>,
    filled: usize,
    /// Where the windows begin that were not searched yet.
    next: usize,
    ended: bool,
    /// How many bytes of windows are shown yet.
    left: u64,
}

impl<R: Read> Stream<R> {
    /// A stream that shows windows of at least `bytes` at a time.
    pub(crate) fn new(reader: R, bytes: usize) -> Self {
        let buffer = vec![0; bytes.next_multiple_of(64).max(64) + 2 * MARGIN];
        Self { reader, buffer, filled: 0, next: 0, ended: false, left: u64::MAX }
    }

    /// A stream that shows the windows of a stretch alone, which begins at a multiple of 64 of the file. The reader begins
    /// at its [`begin`].
    pub(crate) fn within(reader: R, bytes: usize, stretch: &Range<u64>) -> Self {
        let left = stretch.end - stretch.start;
        let bytes = bytes.min(usize::try_from(left).unwrap_or(usize::MAX));
        let next = (stretch.start - begin(stretch)) as usize;
        Self { next, left, ..Self::new(reader, bytes) }
    }

    /// The next bytes whose windows are to be searched: the buffer, and where in it they begin and end. They begin at a
    /// multiple of 64 of the file and, but for the last, end at one. `None` at the end of the file.
    pub(crate) fn advance(&mut self) -> io::Result<Option<(&[u8], std::ops::Range<usize>)>> {
        let done = self.next;
        if self.left == 0 || self.ended && done >= self.filled {
            return Ok(None);
        }
        let dropped = done.saturating_sub(MARGIN);
        self.buffer.copy_within(dropped..self.filled, 0);
        self.filled -= dropped;
        self.fill()?;
        let start = done - dropped;
        let end = if self.ended { self.filled } else { self.filled - MARGIN }.max(start);
        let end = end.min(start.saturating_add(usize::try_from(self.left).unwrap_or(usize::MAX)));
        self.left -= (end - start) as u64;
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

    #[test]
    fn a_stream_within_a_stretch_shows_its_windows_with_what_stands_around_them() {
        let file: Vec<u8> = (0..50_000).map(|index| (index % 251) as u8).collect();
        for stretch in [0..64, 4096..8192, 64 * 100..64 * 100 + 128, 49_984..50_000, 8192..50_000] {
            let begin = begin(&stretch) as usize;
            let mut stream = Stream::within(Trickle(&file[begin..]), 1000, &stretch);
            let (mut seen, mut at) = (stretch.start as usize, None);
            while let Some((buffer, range)) = stream.advance().unwrap() {
                let from = seen - range.start;
                assert_eq!(buffer, &file[from..from + buffer.len()]);
                assert!(
                    range.start >= MARGIN.min(seen)
                        && buffer.len() >= range.end + MARGIN.min(50_000 - from - range.end)
                );
                seen += range.len();
                at = at.max(Some(seen));
            }
            assert_eq!(at, Some(stretch.end as usize));
        }
    }
}
