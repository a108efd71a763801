//! What is no DEFLATE stream, seen from its first bits: RFC 1951.
//!
//! Two bytes of a header come by chance every two thousand bytes, and preparing a decoder costs more than the few bytes
//! that it then reads. What is said here to be noise is what every decoder ends with an error, early.

/// The bits of a stream, the lowest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// The next so many bits, at most 16, of which the first is the lowest. None behind the end.
    fn take(&mut self, count: u32) -> Option<u32> {
        while self.count < count {
            let (first, rest) = self.bytes.split_first()?;
            self.held |= u64::from(*first) << self.count;
            self.count += 8;
            self.bytes = rest;
        }
        let taken = self.held & ((1 << count) - 1);
        self.held >>= count;
        self.count -= count;
        Some(taken as u32)
    }

    /// The next bits of a code, which begins with its highest one.
    fn code(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |code, _| Some(code << 1 | self.take(1)?))
    }
}

/// Whether a decoder surely meets an error before it has written so many bytes, and before its first block ends.
pub(super) fn is_noise(stream: &[u8], before: u64) -> bool {
    let mut bits = Bits { bytes: stream, held: 0, count: 0 };
    is_broken(&mut bits, before).unwrap_or(false)
}

/// None if the bits do not say.
fn is_broken(bits: &mut Bits<'_>, before: u64) -> Option<bool> {
    let _is_last = bits.take(1)?;
    match bits.take(2)? {
        0 => {
            bits.take(bits.count % 8)?;
            Some(bits.take(16)? != bits.take(16)? ^ 0xffff)
        }
        1 => fixed_block(bits, before),
        2 => dynamic_block(bits),
        _ => Some(true),
    }
}

/// The codes that are fixed (section 3.2.6). Two of lengths and two of distances stand for nothing.
fn fixed_block(bits: &mut Bits<'_>, before: u64) -> Option<bool> {
    let mut written = 0;
    while written < before {
        let code = bits.code(7)?;
        let length = match code {
            0 => return None,
            1..=0b001_0111 => 256 + code,
            _ => match code << 1 | bits.take(1)? {
                0b0011_0000..=0b1011_1111 => 0,
                eight @ 0b1100_0000..=0b1100_0111 => 280 + (eight & 7),
                _ => {
                    bits.take(1)?;
                    0
                }
            },
        };
        written += match length {
            0 => 1,
            286.. => return Some(true),
            _ => {
                let (extra, least) = of_length(length);
                let length = least + bits.take(extra)?;
                let distance = bits.code(5)?;
                if distance >= 30 {
                    return Some(true);
                }
                bits.take((distance / 2).saturating_sub(1))?;
                u64::from(length)
            }
        };
    }
    None
}

/// How many further bits a code of 257 to 285 has, and the least length that it stands for (section 3.2.5).
fn of_length(code: u32) -> (u32, u32) {
    match code {
        257..=264 => (0, code - 254),
        265..=284 => {
            let extra = (code - 261) / 4;
            (extra, ((4 + (code - 261) % 4) << extra) + 3)
        }
        _ => (0, 258),
    }
}

/// The codes of a block begin with the lengths of the codes of lengths (section 3.2.7). Together they must be a whole code.
fn dynamic_block(bits: &mut Bits<'_>) -> Option<bool> {
    let (_literals, _distances) = (bits.take(5)?, bits.take(5)?);
    let lengths = bits.take(4)? + 4;
    let (mut sum, mut used) = (0, 0);
    for _ in 0..lengths {
        let length = bits.take(3)?;
        if length > 0 {
            sum += 128 >> length;
            used += 1;
        }
    }
    Some(used > 1 && sum != 128)
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, Decompress, FlushDecompress, Status};

    use super::*;

    fn written_before_an_error(stream: &[u8]) -> Option<u64> {
        let mut inflate = Decompress::new(false);
        let mut some = Vec::with_capacity(64);
        loop {
            some.clear();
            let read = inflate.total_in() as usize;
            match inflate.decompress_vec(&stream[read..], &mut some, FlushDecompress::None) {
                Ok(Status::StreamEnd) => return None,
                Ok(_) if some.is_empty() && inflate.total_in() as usize == read => return None,
                Ok(_) => {}
                Err(_) => return Some(inflate.total_out()),
            }
        }
    }

    #[test]
    fn what_is_called_noise_is_what_a_decoder_refuses_early() {
        let mut state = 1_u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let (mut noise, mut refused) = (0, 0);
        for _ in 0..40_000 {
            let stream: Vec<u8> = (0..600).map(|_| byte()).collect();
            let written = written_before_an_error(&stream);
            refused += u32::from(written.is_some_and(|written| written < 4096));
            if is_noise(&stream, 4096) {
                noise += 1;
                assert!(written.is_some_and(|written| written < 4096), "{written:?} {stream:?}");
            }
        }
        assert!(noise > refused / 10 * 8, "{noise} of {refused}");
    }

    #[test]
    fn what_was_compressed_is_no_noise() {
        let text: Vec<u8> = (0..5000_u32).flat_map(|at| format!("{},", at * at % 977).into_bytes()).collect();
        for level in 0..10 {
            for part in
                [&text[..10], &text[..300], &text, b"\x00", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
            {
                let mut compressed = Vec::with_capacity(part.len() + 100);
                let mut encoder = flate2::Compress::new(Compression::new(level), false);
                encoder.compress_vec(part, &mut compressed, flate2::FlushCompress::Finish).unwrap();
                assert!(!is_noise(&compressed, 4096), "{level}");
                (1..compressed.len()).step_by(7).for_each(|end| assert!(!is_noise(&compressed[..end], 4096)));
            }
        }
    }
}
