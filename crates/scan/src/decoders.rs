//! Decoders: what an encoding hides, found wherever it stands in a stream and whatever stands around it.
//!
//! They run in a process that has no data. None of them asks whether what it read was meant: a stretch of letters is
//! decoded from each beginning that it could have, and what comes of it is searched like any view. What is cut short
//! or broken is decoded as far as it goes.

mod brotli;
mod charsets;
mod compressed;
mod escapes;
mod letters;
mod lines;
mod noise;
mod packed;
mod wide;
mod words;
mod written;

use std::borrow::Cow;
use std::ops::Range;

use crate::views::View;
use written::{Known, Written};

/// How often what was decoded is decoded again: base64 of gzip of base64, for example, is 3.
pub const DECODER_DEPTH: u32 = 3;

/// Shortest result in bytes that is looked at: a run of 31 bytes fits in no shorter one.
const SHORTEST: usize = crate::RUN;

/// What decoders may still write.
///
/// It grows with what they read, so that an honest output of any size has room, and ends for a bomb, which expands
/// without end.
#[derive(Debug)]
pub struct Allowance {
    left: u64,
    /// The same bytes again show nothing new, and regular outputs hold them thousands of times.
    written: Written,
    /// What was decoded, with how often and whether from beginnings without a mark.
    decoded: Known,
}

impl Allowance {
    /// What the decoders of all outputs together may write, besides what grows with what they read.
    const FIRST: u64 = 32 << 20;

    /// What they may write more for each byte that they read of a view. Text of digits alone, which could be in every
    /// alphabet, takes up to 30 in one step.
    const EACH: u64 = 64;

    /// Equal bytes that are left out and count as one that is written.
    const FILLER: u64 = 8;

    /// Bytes written that are worth a try of a decoder that failed.
    const TRY: u64 = 16;

    /// Adds what may be written for so many bytes of a view.
    pub fn add(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(Self::EACH.saturating_mul(bytes));
    }

    fn take(&mut self, bytes: u64) -> Result<(), DecodeError> {
        self.left = self.left.checked_sub(bytes).ok_or(DecodeError::TooMuch)?;
        Ok(())
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: Self::FIRST, written: Written::default(), decoded: Known::default() }
    }
}

/// Why decoding ended.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More came out than an honest output holds, or it is nested deeper than is decoded.
    #[error("decoders would write more than they may, as they do for a decompression bomb")]
    TooMuch,
    /// What was decoded could not be written.
    #[error("what was decoded could not be written")]
    Write(#[from] std::io::Error),
}

/// Takes what a decoder made.
pub type Emit<'a> = dyn FnMut(View, &[u8]) -> Result<(), DecodeError> + 'a;

/// Decodes what stands in `stream`, again and again up to [`DECODER_DEPTH`], and hands each result to `sink` with the view
/// of the last decoder. `starts` are offsets at which something may begin that has no mark of its beginning, as raw
/// DEFLATE and Brotli; the beginning of the stream is always one.
pub fn decode(
    stream: &[u8],
    starts: &[usize],
    allowance: &mut Allowance,
    sink: &mut Emit<'_>,
) -> Result<(), DecodeError> {
    allowance.add(stream.len() as u64);
    decode_once(stream, starts, &mut |view, result| decode_further(view, result, allowance, sink))
}

/// The first part of [`decode`]: what stands in the stream and what stands in it in reverse order, decoded once. What comes
/// of it does not depend on what was decoded before, so that another thread can take it further.
pub fn decode_once(stream: &[u8], starts: &[usize], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    if stream.len() < SHORTEST {
        return Ok(());
    }
    once(stream, Some(starts), emit)?;
    charsets::decode(stream, emit)?;
    let mut reversed = stream.to_vec();
    reversed.reverse();
    once(&reversed, Some(&[]), emit)
}

/// The second part: hands on what was decoded once, and what comes of it when it is decoded again.
pub fn decode_further(
    view: View,
    result: &[u8],
    allowance: &mut Allowance,
    sink: &mut Emit<'_>,
) -> Result<(), DecodeError> {
    further(view, result, DECODER_DEPTH - 1, allowance, sink)
}

fn again(
    stream: &[u8],
    starts: Option<&[usize]>,
    depth: u32,
    allowance: &mut Allowance,
    sink: &mut Emit<'_>,
) -> Result<(), DecodeError> {
    if stream.len() < SHORTEST {
        return Ok(());
    }
    if depth == 0 {
        // Packed once more: to pass over it would say that it was looked at.
        return if compressed::begins_with_mark(stream) { Err(DecodeError::TooMuch) } else { Ok(()) };
    }
    let mut emit = |view, result: &[u8]| further(view, result, depth - 1, allowance, sink);
    once(stream, starts, &mut emit)?;
    charsets::decode(stream, &mut emit)
}

/// Hands on a result, if it is new, and decodes it so many times more.
fn further(
    view: View,
    result: &[u8],
    depth: u32,
    allowance: &mut Allowance,
    sink: &mut Emit<'_>,
) -> Result<(), DecodeError> {
    allowance.take(Allowance::TRY + result.len() as u64 / Allowance::FILLER)?;
    if result.len() < SHORTEST {
        return Ok(());
    }
    let kept = without_filler(result);
    for stretch in allowance.written.new_of(view, &kept) {
        allowance.take(stretch.len() as u64)?;
        sink(view, &kept[stretch])?;
    }
    if view == View::WordSubstitution {
        // Numbers that were given here encode nothing.
        return Ok(());
    }
    // What was compressed begins with a mark if it is compressed again; without one any bytes would do.
    let starts = (!is_compressed(view)).then_some(&[][..]);
    // Of all of the result, not of what is new: what begins in a part that was written before may go on in another way
    // here, and what was written may not have been decoded as often, or from each beginning.
    if !allowance.decoded.is_new(&(result, starts.is_some(), depth)) {
        return Ok(());
    }
    again(result, starts, depth, allowance, sink)
}

/// Equal bytes in a row of which no more than these are kept. A block of them is exempt, and a decoder that is tried on
/// what was never encoded mostly writes such.
const FILLER: usize = 128;

fn without_filler(bytes: &[u8]) -> Cow<'_, [u8]> {
    // Filler holds a whole block of half its length.
    let (blocks, _) = bytes.as_chunks::<{ FILLER / 2 }>();
    if !blocks.iter().any(|block| *block == [block[0]; FILLER / 2]) {
        return bytes.into();
    }
    let mut kept = Vec::with_capacity(bytes.len());
    for equal in bytes.chunk_by(|one, next| one == next) {
        kept.extend_from_slice(&equal[..equal.len().min(FILLER)]);
    }
    kept.into()
}

fn is_compressed(view: View) -> bool {
    matches!(
        view,
        View::Packed
            | View::Deflate
            | View::Bzip2
            | View::Xz
            | View::Lzma
            | View::Zstd
            | View::Lz4
            | View::Brotli
    )
}

fn once(stream: &[u8], starts: Option<&[usize]>, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    for stretch in printable(stream, SHORTEST) {
        let text = &stream[stretch];
        letters::decode(text, emit)?;
        escapes::decode(text, emit)?;
        words::decode(text, emit)?;
        lines::decode(text, emit)?;
    }
    packed::decode(stream, emit)?;
    wide::decode(stream, emit)?;
    compressed::decode(stream, starts, emit)
}

/// Printable stretches of ASCII of at least so many bytes, line breaks and tabs included.
pub(crate) fn printable(stream: &[u8], least: usize) -> impl Iterator<Item = Range<usize>> {
    long_stretches(stream, least, |byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'))
}

/// Stretches of at least `least` bytes, one at least, that all belong. Of bytes that mostly do not, few are looked at: where
/// the last one that a stretch would need does not belong, the next stretch begins behind it (R. Boyer and J. Moore,
/// "A Fast String Searching Algorithm", 1977).
fn long_stretches(
    stream: &[u8],
    least: usize,
    belongs: impl Fn(u8) -> bool,
) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let needed = stream.get(at..at + least)?;
            match needed.iter().rposition(|byte| !belongs(*byte)) {
                Some(other) => at += other + 1,
                None => {
                    let start = at;
                    let rest = &stream[at + least..];
                    at += least + rest.iter().take_while(|byte| belongs(**byte)).count();
                    return Some(start..at);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(stream: &[u8]) -> Result<Vec<(View, Vec<u8>)>, DecodeError> {
        let mut results = Vec::new();
        let mut sink = |view, bytes: &[u8]| {
            results.push((view, bytes.to_vec()));
            Ok(())
        };
        decode(stream, &[], &mut Allowance::default(), &mut sink)?;
        Ok(results)
    }

    #[test]
    fn nothing_is_decoded_of_what_encodes_nothing() {
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let bytes: Vec<u8> = (0..1 << 20).map(|_| noise()).collect();
        let results = decoded(&bytes).unwrap();
        let sum: usize = results.iter().map(|(_, bytes)| bytes.len()).sum();
        let lengths: Vec<_> = results.iter().map(|(view, bytes)| (view.name(), bytes.len())).collect();
        assert!(sum < 1 << 19, "{sum} bytes of noise were decoded: {lengths:?}");
    }

    fn hexadecimal(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::Compress::new(flate2::Compression::default(), false);
        let mut compressed = Vec::with_capacity(bytes.len() + 1000);
        encoder.compress_vec(bytes, &mut compressed, flate2::FlushCompress::Finish).unwrap();
        compressed
    }

    /// Streams of which a first one is to make the second look known. The twin is the second alone.
    #[test]
    fn nothing_that_was_decoded_before_keeps_another_stream_from_being_decoded() {
        let secret: Vec<u8> = (0..90_u32)
            .flat_map(|at| format!("{} visits by {},", at * at % 89, at * 7919 % 997).into_bytes())
            .collect();
        let mut state = 5_u64;
        let noise: Vec<u8> = (0..200_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let long = [&b"\x78\x9c"[..], &deflated(&[&noise[..], &secret].concat())].concat();
        let stored =
            |ones: usize| [&b"\x78\x01\x00\x2c\x01\xd3\xfe"[..], &vec![1; ones], &deflated(&secret)].concat();
        let twice = |bytes: &[u8]| hexadecimal(&hexadecimal(bytes));
        let raw = deflated(&secret);
        let gzip = [&b"\x1f\x8b\x08\0\0\0\0\0\0\0"[..], &deflated(&raw)].concat();
        let cases = [
            ("less filler", vec![hexadecimal(&stored(200))], hexadecimal(&stored(300))),
            (
                "each part known",
                vec![hexadecimal(&long[..150_000]), hexadecimal(&long[60_000..])],
                hexadecimal(&long),
            ),
            ("deeper", vec![twice(&twice(&secret))], twice(&secret)),
            ("without beginnings", vec![gzip], hexadecimal(&raw)),
        ];
        let is_shown = |streams: &[Vec<u8>]| {
            let (mut allowance, mut shown) = (Allowance::default(), false);
            for stream in streams {
                let mut sink = |_, bytes: &[u8]| {
                    shown |= bytes.windows(secret.len()).any(|bytes| bytes == secret);
                    Ok(())
                };
                let _ = decode(stream, &[], &mut allowance, &mut sink);
            }
            shown
        };
        for (name, before, stream) in cases {
            assert!(is_shown(std::slice::from_ref(&stream)), "{name}: the twin");
            assert!(is_shown(&[before, vec![stream]].concat()), "{name}");
        }
    }

    #[test]
    fn what_was_written_where_it_is_looked_at_less_closely_is_written_again() {
        let mut written = Written::default();
        let bytes = [7; 40];
        for view in [View::Base85, View::Packed, View::WordSubstitution, View::Base64] {
            assert_eq!(written.new_of(view, &bytes).pop(), Some(0..40), "{view:?}");
            assert!(written.new_of(view, &bytes).is_empty(), "{view:?}");
        }
        assert!(written.new_of(View::Deflate, &bytes).is_empty());
    }

    #[test]
    fn of_equal_bytes_in_a_row_some_are_left() {
        for (before, equal, behind) in [(0, 128, 0), (5, 129, 3), (63, 190, 1), (64, 500, 64), (9, 127, 9)] {
            let bytes = [&vec![1; before][..], &vec![2; equal], &vec![3; behind]].concat();
            let kept = [&vec![1; before][..], &vec![2; equal.min(FILLER)], &vec![3; behind]].concat();
            assert_eq!(*without_filler(&bytes), kept, "{before} {equal} {behind}");
        }
    }

    #[test]
    fn text_that_is_decoded_forever_ends_by_name() {
        // Digits are letters of every alphabet, and what they decode to is digits again.
        let mut text = b"31".repeat(40);
        for _ in 0..3 {
            text = text.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
        }
        assert!(decoded(&text).is_ok());
    }
}
