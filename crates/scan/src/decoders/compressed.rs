//! Compressed streams, found by their marks at any offset, also if every byte was combined with one constant by XOR;
//! those without a mark at offsets where something begins.
//!
//! Sources of the marks: RFC 1950, 1951, 1952 (zlib, DEFLATE, gzip), 7932 (Brotli), 8878 (Zstandard); PKWARE's APPNOTE
//! 4.3.7 (ZIP); the specifications of xz, LZMA and LZ4 frames; bzip2's block header. Checksums are not looked at.

use std::io::Read;
use std::sync::LazyLock;

use bzip2::read::BzDecoder;
use flate2::bufread::DeflateDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::{Lzma2Reader, LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder;

use super::noise::is_noise;
use super::{DecodeError, Emit, SHORTEST, brotli};
use crate::views::View;

/// Bytes that are handed on at a time, and how many of them again with the next ones.
const PIECE: usize = 1 << 20;
const OVERLAP: usize = 4096;

/// Memory that one decoder may take for its window. The largest preset of xz takes 64 MiB.
const WINDOW_KIB: u32 = 72 << 10;

/// The same of Zstandard, whose highest level takes 128 MiB.
const ZSTD_WINDOW: u64 = 128 << 20;

/// Most bytes of a stream under a constant that are decoded.
const UNDER_CONSTANT: usize = 4 << 20;

/// Bytes behind a mark by which it is told whether it stands there by chance.
const FIRST: usize = 2048;

/// A DEFLATE stream that breaks off, other than at its end or that of the bytes, is taken for noise below this length.
const NOISE: u64 = 4096;

/// Most offsets at which streams without a mark are tried, in one stream of bytes.
const TRIES: usize = 64;

/// Most bytes that are decoded of one of these.
const UNMARKED: usize = 1 << 16;

/// A run of equal bytes, behind which something may begin.
const FILLER: usize = 32;

/// Decodes each compressed stream. `starts` are offsets at which one may begin that has no mark; none if there are none.
pub(super) fn decode(
    stream: &[u8],
    starts: Option<&[usize]>,
    emit: &mut Emit<'_>,
) -> Result<(), DecodeError> {
    let mut inflate = None;
    let mut start = 0;
    // A mark has nine bytes from its beginning on, so that the last eight positions begin none.
    while let Some(some) = stream.get(start..).filter(|some| some.len() > BEHIND) {
        let length = LOOKED_AT.min(some.len() - BEHIND);
        if some.first_chunk().is_none_or(may_begin) {
            for at in start..start + length {
                if begins(&stream[at..]) {
                    marked(&stream[at..], &mut inflate, emit)?;
                }
            }
        }
        start += length;
    }
    let Some(starts) = starts else { return Ok(()) };
    let offsets = [0].into_iter().chain(starts.iter().copied()).chain(behind_filler(stream));
    for at in offsets.filter(|at| *at + 8 < stream.len()).take(TRIES) {
        unmarked(&stream[at..], emit)?;
    }
    Ok(())
}

/// Positions that are looked at together, and bytes that a mark needs behind its first one.
const LOOKED_AT: usize = 16;
const BEHIND: usize = 8;

/// Whether a mark may begin at one of the first positions. All are asked at a time, with no branch, so that the processor does it
/// for many of them at once. It says so of one in four where bytes are noise.
#[inline]
fn may_begin(some: &[u8; LOOKED_AT + BEHIND]) -> bool {
    let mut any = 0;
    for at in 0..LOOKED_AT {
        let [first, second, third] = [some[at], some[at + 1], some[at + 2]];
        let zlib = u8::from(first & 0x8f == 8) & u8::from(second & 0x20 == 0);
        let lzma = u8::from(first == LZMA[0]) & u8::from(second == LZMA[1]);
        let lzma2 = u8::from(some[at + 5] == LZMA[0]) & u8::from(some[at + 6] == LZMA[1]);
        let (one, next) = (first ^ second, second ^ third);
        let of_mark =
            |([before, behind], _): &([u8; 2], _)| u8::from(one == *before) & u8::from(next == *behind);
        any |= zlib | lzma | lzma2 | DIFFERENCES.iter().fold(0, |any, mark| any | of_mark(mark));
    }
    any != 0
}

/// Whether a mark may begin at the first byte.
#[inline]
fn begins(stream: &[u8]) -> bool {
    let pair = usize::from(u16::from_le_bytes([stream[0], stream[1]]));
    BEGINNINGS[pair / 64] >> (pair % 64) & 1 != 0 || stream[5..7] == LZMA
}

/// Where something begins behind equal bytes.
fn behind_filler(stream: &[u8]) -> impl Iterator<Item = usize> {
    let mut equal = 1;
    stream.array_windows().enumerate().filter_map(move |(at, [before, byte])| {
        let is_behind = byte != before && equal >= FILLER;
        equal = if byte == before { equal + 1 } else { 1 };
        is_behind.then_some(at + 1)
    })
}

/// Whether the stream begins with a mark that noise does not have by chance.
pub(super) fn begins_with_mark(stream: &[u8]) -> bool {
    let marks: [&[u8]; 6] =
        [b"\x1f\x8b\x08", b"PK\x03\x04", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"];
    marks.iter().any(|mark| stream.starts_with(mark))
}

/// The usual properties of LZMA, and a zero behind them.
const LZMA: [u8; 2] = [0x5d, 0];

/// Marks, by how their neighbours differ from each other.
const DIFFERENCES: [([u8; 2], &[u8]); 6] = [
    ([0x94, 0x83], b"\x1f\x8b\x08"),
    ([0x1b, 0x48], b"PK\x03\x04"),
    ([0x18, 0x32], b"BZh"),
    ([0xca, 0x4d], b"\xfd7zXZ\x00"),
    ([0x9d, 0x9a], b"\x28\xb5\x2f\xfd"),
    ([0x26, 0x6f], b"\x04\x22\x4d\x18"),
];

/// Of each pair of bytes, by the second and then the first one, whether a mark may begin with it: a bit for each. An LZMA2
/// stream has its mark further behind.
static BEGINNINGS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut beginnings = vec![0; 1 << 10];
    for pair in 0..=u16::MAX {
        let [first, second] = pair.to_le_bytes();
        let differs = DIFFERENCES.iter().any(|([difference, _], _)| first ^ second == *difference);
        if is_zlib(first, second) || [first, second] == LZMA || differs {
            beginnings[usize::from(pair / 64)] |= 1 << (pair % 64);
        }
    }
    beginnings
});

/// zlib: method 8, a window of at most 32 KiB, no preset dictionary, and the header's check.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x8f == 8 && second & 0x20 == 0 && (u16::from(first) << 8 | u16::from(second)).is_multiple_of(31)
}

/// Decodes what the mark at the beginning announces, if there is one.
fn marked(stream: &[u8], inflate: &mut Option<Decompress>, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    let [first, second, third, ..] = *stream else { return Ok(()) };
    if is_zlib(first, second) {
        deflate(&stream[2..], inflate, emit)?;
    }
    // LZMA2 chunk that resets everything, with the usual properties: an LZMA2 stream without container.
    if first >= 0xe0 && stream.get(5..7) == Some(&LZMA) {
        read(Lzma2Reader::new(stream, WINDOW_KIB << 8, None), View::Lzma, emit)?;
    }
    // LZMA: the usual properties, and a dictionary that is a power of two or the sum of two.
    let usual = [first, second] == LZMA && third == 0 && stream.get(4).is_some_and(|high| *high <= 4);
    if usual && let Ok(reader) = LzmaReader::new_mem_limit(stream, WINDOW_KIB, None) {
        read(reader, View::Lzma, emit)?;
    }
    let difference = [first ^ second, second ^ third];
    match DIFFERENCES.iter().find(|(of_mark, _)| *of_mark == difference) {
        Some((_, mark)) => under_constant(stream, mark, inflate, emit),
        None => Ok(()),
    }
}

#[cold]
fn under_constant(
    stream: &[u8],
    mark: &[u8],
    inflate: &mut Option<Decompress>,
    emit: &mut Emit<'_>,
) -> Result<(), DecodeError> {
    let key = stream[0] ^ mark[0];
    if !stream.iter().zip(mark).all(|(byte, mark)| byte ^ key == *mark) {
        return Ok(());
    }
    let first: Vec<u8> = stream.iter().take(FIRST).map(|byte| byte ^ key).collect();
    if is_chance(&first) {
        return Ok(());
    }
    let plain: Vec<u8>;
    let stream = if key == 0 {
        stream
    } else {
        plain = stream.iter().take(UNDER_CONSTANT).map(|byte| byte ^ key).collect();
        &plain
    };
    match mark[0] {
        0x1f => deflate(behind_gzip_header(stream).unwrap_or_default(), inflate, emit),
        b'P' => zip_member(stream, inflate, emit),
        b'B' => read(BzDecoder::new(stream), View::Bzip2, emit),
        0xfd => read(XzReader::new_mem_limit(stream, false, WINDOW_KIB), View::Xz, emit),
        0x28 => match StreamingDecoder::new_with_max_window_size(stream, ZSTD_WINDOW) {
            Ok(reader) => read(reader, View::Zstd, emit),
            Err(_) => Ok(()),
        },
        _ => read(FrameDecoder::new(stream), View::Lz4, emit),
    }
}

/// Whether what follows a mark of three bytes, as noise often has one, is surely nothing that it announces.
fn is_chance(first: &[u8]) -> bool {
    match first[0] {
        0x1f => behind_gzip_header(first).is_some_and(|stream| is_noise(stream, NOISE / 2)),
        b'B' => first.get(3..10).is_some_and(|head| {
            let (size, magic) = (head[0], &head[1..]);
            !matches!(size, b'1'..=b'9') || ![BZIP2_BLOCK, BZIP2_END].contains(&magic)
        }),
        _ => false,
    }
}

/// What a block of bzip2 begins with, and what ends a stream.
const BZIP2_BLOCK: &[u8] = b"\x31\x41\x59\x26\x53\x59";
const BZIP2_END: &[u8] = b"\x17\x72\x45\x38\x50\x90";

/// What follows the header of a gzip member (RFC 1952, section 2.3).
fn behind_gzip_header(stream: &[u8]) -> Option<&[u8]> {
    let flags = *stream.get(3)?;
    let mut rest = stream.get(10..)?;
    if flags & 4 != 0 {
        let length = u16::from_le_bytes(*rest.first_chunk()?);
        rest = rest.get(2 + usize::from(length)..)?;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().take(1 << 16).position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    rest.get(if flags & 2 != 0 { 2 } else { 0 }..)
}

/// Decodes a ZIP member of a method that has no mark of its own: DEFLATE, and LZMA, whose properties stand before it
/// (APPNOTE 5.8).
fn zip_member(
    stream: &[u8],
    inflate: &mut Option<Decompress>,
    emit: &mut Emit<'_>,
) -> Result<(), DecodeError> {
    let Some((method, packed)) = behind_zip_header(stream) else { return Ok(()) };
    match (method, packed) {
        (8, _) => deflate(packed, inflate, emit),
        (14, [_, _, 5, 0, properties, a, b, c, d, packed @ ..]) => {
            let dictionary = u32::from_le_bytes([*a, *b, *c, *d]).min(WINDOW_KIB << 10);
            match LzmaReader::new_with_props(packed, u64::MAX, *properties, dictionary, None) {
                Ok(reader) => read(reader, View::Lzma, emit),
                Err(_) => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// The method of a ZIP member, and what follows its local header.
fn behind_zip_header(stream: &[u8]) -> Option<(u16, &[u8])> {
    let field = |at: usize| Some(u16::from_le_bytes(*stream.get(at..)?.first_chunk()?));
    let packed = stream.get(30 + usize::from(field(26)?) + usize::from(field(28)?)..)?;
    Some((field(8)?, packed))
}

/// Tries what has no mark: DEFLATE, Brotli, and LZMA with the usual properties.
fn unmarked(stream: &[u8], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    meant(DeflateDecoder::new(stream), View::Deflate, emit)?;
    meant(brotli::decoder(stream, OVERLAP), View::Brotli, emit)?;
    // The first byte of the range coder is zero.
    if stream[0] == 0
        && let Ok(reader) = LzmaReader::new(stream, u64::MAX, 3, 0, 2, 8 << 20, None)
    {
        meant(reader, View::Lzma, emit)?;
    }
    Ok(())
}

/// Decodes the first bytes of what has no mark, unless it is noise. Any bytes are a beginning of such a stream, and zeros
/// or a pattern are an endless one. So it must end in order or go on for long, and hold more than one byte repeated.
fn meant(mut decoder: impl Read, view: View, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    let mut bytes = Vec::new();
    let mut some = [0; 512];
    let ended = loop {
        match decoder.read(&mut some) {
            Ok(0) => break true,
            Ok(read) if bytes.len() < UNMARKED => bytes.extend(&some[..read]),
            _ => break false,
        }
    };
    if !is_filler(&bytes) && (ended || bytes.len() as u64 > NOISE) {
        emit(view, &bytes)?;
    }
    Ok(())
}

/// Whether bytes are mostly one, or end in a pattern: what decoders make of zeros and of a pattern.
fn is_filler(bytes: &[u8]) -> bool {
    let mut counts = [0; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let is_pattern = bytes
        .last_chunk::<256>()
        .is_some_and(|tail| (1..32).any(|period| tail[period..] == tail[..256 - period]));
    is_pattern || counts.iter().any(|count| *count > bytes.len() / 4 * 3)
}

/// Decodes a DEFLATE stream as far as it goes. `inflate` is made when it is first needed: mostly it is not.
fn deflate(stream: &[u8], inflate: &mut Option<Decompress>, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    if is_noise(stream, NOISE / 2) {
        return Ok(());
    }
    let inflate = inflate.get_or_insert_with(|| Decompress::new(false));
    inflate.reset(false);
    let mut pieces = Pieces { view: View::Deflate, bytes: Vec::new(), emit };
    let mut rest = stream;
    // What a call wrote before it met an error is lost, so calls are small.
    let mut some = Vec::with_capacity(512);
    loop {
        some.clear();
        let before = inflate.total_in();
        let status = inflate.decompress_vec(rest, &mut some, FlushDecompress::None);
        rest = &rest[(inflate.total_in() - before) as usize..];
        pieces.add(&some)?;
        match status {
            Ok(Status::Ok) => {}
            Ok(Status::BufError) if !some.is_empty() => {}
            // Noise that has the two bytes of a zlib header by chance decodes for some hundred bytes, until a code is
            // met that is none.
            Err(_) if inflate.total_out() < NOISE => return Ok(()),
            // So it does where the same bytes stand again and again: little of it, and zeros.
            Ok(Status::BufError | Status::StreamEnd) | Err(_)
                if inflate.total_out() < NOISE && is_filler(&pieces.bytes) =>
            {
                return Ok(());
            }
            Ok(Status::BufError | Status::StreamEnd) | Err(_) => return pieces.finish(),
        }
    }
}

/// Reads a decoder as far as it goes.
fn read(mut decoder: impl Read, view: View, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    let mut pieces = Pieces { view, bytes: Vec::new(), emit };
    let mut some = [0; 4096];
    while let Ok(read @ 1..) = decoder.read(&mut some) {
        pieces.add(&some[..read])?;
    }
    pieces.finish()
}

/// Hands on what a decoder writes in pieces that overlap, so that no bomb fills the memory.
struct Pieces<'a, 'b> {
    view: View,
    bytes: Vec<u8>,
    emit: &'a mut Emit<'b>,
}

impl Pieces<'_, '_> {
    fn add(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.bytes.extend(bytes);
        if self.bytes.len() >= PIECE {
            (self.emit)(self.view, &self.bytes)?;
            self.bytes.drain(..self.bytes.len() - OVERLAP);
        }
        Ok(())
    }

    fn finish(self) -> Result<(), DecodeError> {
        if self.bytes.len() < SHORTEST { Ok(()) } else { (self.emit)(self.view, &self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked of many positions at a time never says no where one of them alone says yes and a mark is there.
    #[test]
    fn no_mark_is_passed_over_at_any_position() {
        let marks: Vec<Vec<u8>> = DIFFERENCES
            .iter()
            .flat_map(|(_, mark)| [0, 0x55, 0xff].map(|key| mark.iter().map(|byte| byte ^ key).collect()))
            .chain(
                (0..=u16::MAX)
                    .map(u16::to_le_bytes)
                    .filter(|[a, b]| is_zlib(*a, *b))
                    .map(|pair| pair.to_vec()),
            )
            .chain([LZMA.to_vec(), [&[0xe0, 1, 1, 1, 1][..], &LZMA].concat()])
            .collect();
        assert!(marks.len() > 40);
        for mark in marks {
            for at in 0..LOOKED_AT {
                let mut some = [0xa3; LOOKED_AT + BEHIND];
                some[at..at + mark.len()].copy_from_slice(&mark);
                assert!(may_begin(&some) && begins(&some[at..]), "{mark:x?} {at}");
            }
        }
        assert!(!may_begin(&[0xa3; LOOKED_AT + BEHIND]));
    }
}
