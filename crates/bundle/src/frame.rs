//! The zstd frame around a bundle (RFC 8878): exactly one, without a dictionary, with a bounded window.

use std::io::{self, BufRead, BufReader, Read};

use crate::BundleError;

/// Largest window in bytes: 8 MiB, which RFC 8878 names as what every decoder should support.
pub(crate) const WINDOW_LIMIT: u64 = 8 << 20;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Unpacks a stream and counts both sides of it.
pub(crate) struct Unpacked<'a, R: Read> {
    decoder: zstd::Decoder<'a, Counted<R>>,
    bytes: u64,
    limits: Bounds,
}

/// How much may come out.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub bytes: u64,
    pub ratio: u64,
    pub ratio_floor: u64,
}

impl<R: Read> Unpacked<'_, R> {
    pub(crate) fn new(mut reader: R, limits: Bounds) -> Result<Self, BundleError> {
        let head = read_frame_header(&mut reader)?;
        let counted = Counted { inner: BufReader::new(io::Cursor::new(head).chain(reader)), bytes: 0 };
        let decoder = zstd::Decoder::with_buffer(counted).map_err(BundleError::CompressionDamaged)?;
        let mut decoder = decoder.single_frame();
        decoder.window_log_max(WINDOW_LIMIT.ilog2()).map_err(BundleError::CompressionDamaged)?;
        Ok(Self { decoder, bytes: 0, limits })
    }

    /// Fills `buffer` as far as the frame goes and returns how much that is.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, BundleError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self.decoder.read(&mut buffer[filled..]).map_err(BundleError::CompressionDamaged)?;
            if read == 0 {
                break;
            }
            filled += read;
            self.count(read as u64)?;
        }
        Ok(filled)
    }

    /// Demands that nothing follows the frame.
    pub(crate) fn finish(self) -> Result<(), BundleError> {
        let mut rest = self.decoder.finish();
        match rest.fill_buf().map_err(BundleError::io(""))? {
            [] => Ok(()),
            _ => Err(BundleError::BytesAfterFrame),
        }
    }

    fn count(&mut self, read: u64) -> Result<(), BundleError> {
        self.bytes += read;
        if self.bytes > self.limits.bytes {
            return Err(BundleError::TooLarge { limit: self.limits.bytes });
        }
        let packed = self.decoder.get_ref().bytes;
        if self.bytes > self.limits.ratio_floor && self.bytes > packed.saturating_mul(self.limits.ratio) {
            return Err(BundleError::RatioTooHigh { limit: self.limits.ratio });
        }
        Ok(())
    }
}

/// Reads the frame header, refuses what it may not ask for, and returns the bytes read.
fn read_frame_header(reader: &mut impl Read) -> Result<Vec<u8>, BundleError> {
    // Magic, descriptor, and the window or the first byte of the content's size.
    let mut head = Vec::new();
    reader.take(6).read_to_end(&mut head).map_err(BundleError::io(""))?;
    let (Some(&MAGIC), Some(&descriptor), Some(&window)) = (head.first_chunk(), head.get(4), head.get(5))
    else {
        return Err(BundleError::NotZstd);
    };
    if descriptor & 0b11 != 0 {
        return Err(BundleError::DictionaryUsed);
    }
    let bytes = if descriptor & 0b10_0000 == 0 {
        let base = 1u64 << (10 + (window >> 3));
        base + base / 8 * u64::from(window & 7)
    } else {
        // A frame of a single segment has its whole content as the window.
        single_segment_bytes(descriptor, reader, &mut head)?
    };
    if bytes > WINDOW_LIMIT {
        return Err(BundleError::WindowTooLarge { bytes, limit: WINDOW_LIMIT });
    }
    Ok(head)
}

fn single_segment_bytes(
    descriptor: u8,
    reader: &mut impl Read,
    head: &mut Vec<u8>,
) -> Result<u64, BundleError> {
    let size = 1usize << (descriptor >> 6);
    reader.take(size as u64 - 1).read_to_end(head).map_err(BundleError::io(""))?;
    let field = head.get(5..5 + size).ok_or(BundleError::NotZstd)?;
    let number = field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    // RFC 8878, 3.1.1.1.4: a field of two bytes is 256 less than the size.
    Ok(number + if size == 2 { 256 } else { 0 })
}

/// Counts what the decoder takes, not what is buffered for it, so that the ratio cannot be played down.
struct Counted<R: Read> {
    inner: BufReader<io::Chain<io::Cursor<Vec<u8>>, R>>,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

impl<R: Read> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.bytes += amount as u64;
        self.inner.consume(amount);
    }
}
