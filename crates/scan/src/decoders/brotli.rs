//! A decoder of Brotli that is begun with little work.
//!
//! Any bytes are a beginning of a stream, and the header of most asks for a window of megabytes, of which a few bytes are
//! written before an error. To clear that memory each time took a quarter of all that decoders do. So it is kept for the next
//! stream, as it is: a decoder reads of its window only what it has written there, or the distance is an error (RFC 7932,
//! section 4).

use std::cell::RefCell;
use std::io::Read;

use brotli_decompressor::reader::DecompressorCustomAlloc;
use brotli_decompressor::{Allocator, SliceWrapper, SliceWrapperMut, StandardAlloc};

/// Bytes of memory from which on it is kept.
const KEPT: usize = 1 << 16;

thread_local! {
    static WINDOW: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A decoder that reads so many bytes at a time.
pub(super) fn decoder(stream: impl Read, at_a_time: usize) -> impl Read {
    let buffer = Memory { bytes: vec![0; at_a_time], length: at_a_time };
    DecompressorCustomAlloc::new(stream, buffer, Windows, StandardAlloc::default(), StandardAlloc::default())
}

/// Gives memory for windows.
struct Windows;

/// The first so many of these bytes.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    length: usize,
}

impl SliceWrapper<u8> for Memory {
    fn slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl SliceWrapperMut<u8> for Memory {
    fn slice_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Allocator<u8> for Windows {
    type AllocatedMemory = Memory;

    fn alloc_cell(&mut self, length: usize) -> Memory {
        let mut bytes = if length < KEPT { Vec::new() } else { WINDOW.take() };
        if bytes.len() < length {
            bytes.resize(length, 0);
        }
        Memory { bytes, length }
    }

    fn free_cell(&mut self, memory: Memory) {
        if memory.bytes.len() >= KEPT {
            WINDOW.with_borrow_mut(|kept| {
                if kept.len() < memory.bytes.len() {
                    *kept = memory.bytes;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(stream: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = decoder(stream, 4096).read_to_end(&mut bytes);
        bytes
    }

    /// Streams of noise are decoded to the same, whatever stood in the window before.
    #[test]
    fn what_a_stream_before_left_in_the_window_is_not_read() {
        let mut state = 1_u64;
        let mut written = 0;
        for _ in 0..4000 {
            let stream: Vec<u8> = (0..300)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            let mut plain = Vec::new();
            let _ = brotli_decompressor::Decompressor::new(&stream[..], 4096).read_to_end(&mut plain);
            assert_eq!(decoded(&stream), plain);
            written += plain.len();
        }
        assert!(written > 10_000, "{written}");
    }
}
