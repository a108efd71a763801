//! Lenses: fixed readings of a stream of bytes as another one, without regard to what the bytes mean.
//!
//! A lens is laid on a view, or on view and data alike. It is applied where the data is, and so it decodes nothing: each
//! byte that it shows is a fixed function of bytes at fixed distances, or is left out for what it is alone.

use std::io::{self, Read};

/// In which order bits fill a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BitOrder {
    /// The first bit is the highest.
    HighFirst,
    /// The first bit is the lowest.
    LowFirst,
}

/// A reading of bytes as other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lens {
    /// As they are.
    Same,
    /// The upper two of each four bytes, of which the first begins at an offset of this remainder by 4. A job that lays
    /// text into `f32` loses the lower two when the canonical form is rounded to `bf16`, and keeps these.
    UpperHalves(u8),
    /// Each byte XOR the one so many bytes behind it. A key that repeats with that period cancels out.
    XorLag(u8),
    /// Each byte's successor minus the byte, modulo 256. A constant that was added cancels out.
    Difference,
    /// Groups of 6 bits, one a byte. The first begins with the byte at this offset, 0 to 2.
    Sextets(u8),
    /// Groups of 4 bits, one a byte.
    Nibbles,
    /// All but line breaks.
    WithoutLineBreaks,
    /// Letters, in lower case, and digits; bytes from 128 on as they are. Nothing else.
    Folded,
    /// All but bytes that are zero: characters of 8 bits written in 16 or 32.
    WithoutZeros,
    /// Bytes that begin so many bits, 1 to 7, behind the beginning of a byte.
    Shifted(u8, BitOrder),
    /// Each bit as the other one: what a 1 stands for is whoever writes it to choose.
    Inverted,
    /// Each byte's bits in reverse order.
    BitsReversed,
    /// Each byte's halves in reverse order.
    NibblesSwapped,
    /// Groups of so many bytes, each in reverse order. The first group begins at the given offset.
    BytesSwapped {
        /// Bytes of a group.
        width: u8,
        /// Bytes before the first group, which are left out.
        from: u8,
    },
    /// Every so many bytes, from each beginning: a block of the bytes at a time. See [`Lens::together`].
    Stride(u16),
    /// The bytes in reverse order: a block of them at a time, which overlap.
    Reversed,
}

/// Bytes of blocks that are read in another order.
pub(crate) const BLOCK: usize = 1 << 18;

/// Bytes that lie in two blocks, for each byte that one is apart from the next: a run that begins in the overlap lies in
/// the later block as a whole, up to this many bytes.
const OVERLAP: usize = 256;

impl Lens {
    /// What the lens shows of `input`. Bytes that it needs again, with what follows them, stay in `input`; at the
    /// end nothing follows.
    fn apply(self, input: &mut Vec<u8>, ended: bool, output: &mut Vec<u8>, position: &mut u64) {
        let length = input.len();
        let used = match self {
            Self::Same => {
                output.extend_from_slice(input);
                length
            }
            Self::UpperHalves(first) => {
                let start = ((*position + 4 - u64::from(first)) % 4) as usize;
                let (begun, whole) = input.split_at(((4 - start) % 4).min(length));
                output.extend(begun.iter().skip(2_usize.saturating_sub(start)));
                let (groups, rest) = whole.as_chunks::<4>();
                let shown = output.len();
                output.resize(shown + 2 * groups.len(), 0);
                let (pairs, _) = output[shown..].as_chunks_mut();
                pairs
                    .iter_mut()
                    .zip(groups)
                    .for_each(|(pair, [.., third, fourth])| *pair = [*third, *fourth]);
                output.extend(rest.iter().skip(2));
                length
            }
            Self::XorLag(lag) => {
                let used = length.saturating_sub(usize::from(lag));
                output
                    .extend(input[length - used..].iter().zip(&input[..]).map(|(later, byte)| later ^ byte));
                used
            }
            Self::Difference => {
                neighbours(input, output, |byte, next| next.wrapping_sub(byte));
                length.saturating_sub(1)
            }
            Self::Sextets(from) => {
                let skipped = u64::from(from).saturating_sub(*position).min(length as u64) as usize;
                let (groups, _) = input[skipped..].as_chunks::<3>();
                for [first, second, third] in groups {
                    let sextets = [first >> 2, first << 4 | second >> 4, second << 2 | third >> 6, *third];
                    output.extend(sextets.map(|sextet| sextet & 0x3f));
                }
                skipped + 3 * groups.len()
            }
            Self::Nibbles => {
                output.extend(input.iter().flat_map(|byte| [byte >> 4, byte & 15]));
                length
            }
            Self::WithoutLineBreaks => {
                some(input, output, |byte| (byte, !matches!(byte, b'\n' | b'\r')));
                length
            }
            Self::Folded => {
                some(input, output, |byte| (FOLDED[usize::from(byte)], FOLDED[usize::from(byte)] != 0));
                length
            }
            Self::WithoutZeros => {
                some(input, output, |byte| (byte, byte != 0));
                length
            }
            Self::Shifted(bits, order) => {
                let bits = u32::from(bits);
                match order {
                    BitOrder::HighFirst => {
                        neighbours(input, output, |byte, next| byte << bits | next >> (8 - bits));
                    }
                    BitOrder::LowFirst => {
                        neighbours(input, output, |byte, next| byte >> bits | next << (8 - bits));
                    }
                }
                length.saturating_sub(1)
            }
            Self::Inverted => {
                output.extend(input.iter().map(|byte| !byte));
                length
            }
            Self::BitsReversed => {
                output.extend(input.iter().map(|byte| byte.reverse_bits()));
                length
            }
            Self::NibblesSwapped => {
                output.extend(input.iter().map(|byte| byte.rotate_left(4)));
                length
            }
            Self::BytesSwapped { width, from } => {
                let skipped = u64::from(from).saturating_sub(*position).min(length as u64) as usize;
                let (width, rest) = (usize::from(width), &input[skipped..]);
                let whole = rest.len() / width * width;
                let shown = output.len();
                output.extend_from_slice(&rest[..whole]);
                match width {
                    2 => reverse_each::<2>(&mut output[shown..]),
                    4 => reverse_each::<4>(&mut output[shown..]),
                    8 => reverse_each::<8>(&mut output[shown..]),
                    _ => output[shown..].chunks_exact_mut(width).for_each(<[u8]>::reverse),
                }
                if ended { length } else { skipped + whole }
            }
            Self::Stride(step) => {
                in_blocks(input, ended, self.together(), |block| strides(block, step, output))
            }
            Self::Reversed => {
                in_blocks(input, ended, self.together(), |block| output.extend(block.iter().rev()))
            }
        };
        *position += used as u64;
        if used == length {
            input.clear();
        } else {
            input.copy_within(used.., 0);
            input.truncate(length - used);
        }
    }

    /// What the lens shows of a string.
    pub(crate) fn of(self, string: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        self.apply(&mut string.to_vec(), true, &mut shown, &mut 0);
        shown
    }

    /// How many bytes are read before the lens shows any.
    fn needs(self) -> usize {
        match self {
            Self::Stride(_) | Self::Reversed => self.together(),
            _ => 1 << 16,
        }
    }

    /// How many bytes are shown in another order at a time: a block of them and, at its end, some that the next one begins with.
    /// Where fewer are left, they are the last.
    pub(crate) fn together(self) -> usize {
        match self {
            Self::Stride(step) => BLOCK + OVERLAP * usize::from(step),
            Self::Reversed => BLOCK + OVERLAP,
            _ => BLOCK,
        }
    }
}

/// What each byte and its successor make.
fn neighbours(input: &[u8], output: &mut Vec<u8>, show: impl Fn(u8, u8) -> u8) {
    let behind = input.get(1..).unwrap_or_default();
    output.extend(input.iter().zip(behind).map(|(byte, next)| show(*byte, *next)));
}

/// What each byte is shown as, if it is kept. It is written in any case: which are kept cannot be foretold, so that a
/// branch would cost more.
fn some(input: &[u8], output: &mut Vec<u8>, show: impl Fn(u8) -> (u8, bool)) {
    let mut end = output.len();
    output.resize(end + input.len(), 0);
    for byte in input {
        let (shown, kept) = show(*byte);
        output[end] = shown;
        end += usize::from(kept);
    }
    output.truncate(end);
}

/// What [`Lens::Folded`] shows each byte as; zero if it leaves it out.
static FOLDED: [u8; 256] = {
    let mut folded = [0; 256];
    let mut byte = 0_u8;
    loop {
        if byte.is_ascii_alphanumeric() || !byte.is_ascii() {
            folded[byte as usize] = byte.to_ascii_lowercase();
        }
        if byte == u8::MAX {
            break folded;
        }
        byte += 1;
    }
};

fn reverse_each<const WIDTH: usize>(bytes: &mut [u8]) {
    let (groups, _) = bytes.as_chunks_mut::<WIDTH>();
    groups.iter_mut().for_each(|group| group.reverse());
}

/// Every `step`-th byte of a block, from each beginning.
fn strides(block: &[u8], step: u16, output: &mut Vec<u8>) {
    // With the step known the compiler makes a quicker loop.
    let strides = match step {
        2 => every::<2>,
        3 => every::<3>,
        4 => every::<4>,
        5 => every::<5>,
        6 => every::<6>,
        7 => every::<7>,
        8 => every::<8>,
        9 => every::<9>,
        10 => every::<10>,
        11 => every::<11>,
        12 => every::<12>,
        13 => every::<13>,
        14 => every::<14>,
        15 => every::<15>,
        16 => every::<16>,
        _ => {
            let step = usize::from(step);
            for from in 0..step {
                output.extend(block[from.min(block.len())..].iter().step_by(step));
            }
            return;
        }
    };
    (0..usize::from(step)).for_each(|from| strides(&block[from.min(block.len())..], output));
}

fn every<const STEP: usize>(bytes: &[u8], output: &mut Vec<u8>) {
    let (groups, rest) = bytes.as_chunks::<STEP>();
    output.extend(groups.iter().map(|group| group[0]));
    output.extend(rest.first());
}

/// Shows each block with the overlap behind it, and returns how many bytes are done with.
fn in_blocks(input: &[u8], ended: bool, together: usize, mut show: impl FnMut(&[u8])) -> usize {
    let mut done = 0;
    while input.len() - done >= together {
        show(&input[done..done + together]);
        done += BLOCK;
    }
    if ended {
        show(&input[done..]);
        done = input.len();
    }
    done
}

/// A stream, seen through a lens.
pub(crate) struct Seen<R> {
    stream: R,
    lens: Lens,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of the output was read.
    read: usize,
    /// How much of the stream is done with.
    position: u64,
    ended: bool,
}

impl<R: Read> Seen<R> {
    pub(crate) fn new(stream: R, lens: Lens) -> Self {
        Self { stream, lens, input: Vec::new(), output: Vec::new(), read: 0, position: 0, ended: false }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.output.clear();
        self.read = 0;
        let needs = self.lens.needs();
        while self.output.is_empty() && !self.ended {
            // Not room for all of it at once: most streams of a small output are short, and there are hundreds of them.
            let most = needs.saturating_sub(self.input.len()) + (1 << 16);
            let read = self.stream.by_ref().take(most as u64).read_to_end(&mut self.input)?;
            self.ended = read < most;
            self.lens.apply(&mut self.input, self.ended, &mut self.output, &mut self.position);
        }
        Ok(())
    }
}

impl<R: Read> Read for Seen<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.lens == Lens::Same {
            return self.stream.read(into);
        }
        if self.read == self.output.len() {
            self.fill()?;
        }
        let some = into.len().min(self.output.len() - self.read);
        into[..some].copy_from_slice(&self.output[self.read..self.read + some]);
        self.read += some;
        Ok(some)
    }
}

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

    fn seen(lens: Lens, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        Seen::new(Trickle(bytes), lens).read_to_end(&mut shown).unwrap();
        shown
    }

    #[test]
    fn upper_halves_are_two_of_four_bytes_from_each_beginning() {
        let read = |first| String::from_utf8(seen(Lens::UpperHalves(first), b"abcdefghij")).unwrap();
        assert_eq!([read(0), read(1), read(2), read(3)], ["cdgh", "adehi", "abefij", "bcfgj"]);
    }

    #[test]
    fn each_lens_shows_what_it_says() {
        assert_eq!(seen(Lens::Same, b"abc"), b"abc");
        assert_eq!(seen(Lens::XorLag(2), &[1, 2, 4, 8, 16]), [5, 10, 20]);
        assert_eq!(seen(Lens::XorLag(9), &[1, 2, 4]), [0; 0]);
        assert_eq!(seen(Lens::Difference, &[1, 2, 0, 255]), [1, 254, 255]);
        assert_eq!(seen(Lens::Sextets(1), b"xMan"), [19, 22, 5, 46]);
        assert_eq!(seen(Lens::Nibbles, &[0x12, 0xf0]), [1, 2, 15, 0]);
        assert_eq!(seen(Lens::WithoutLineBreaks, b"a\r\nb c"), b"ab c");
        assert_eq!(seen(Lens::Folded, "Jané, 12;x".as_bytes()), "jané12x".as_bytes());
        assert_eq!(seen(Lens::WithoutZeros, b"a\0b\0\0c"), b"abc");
        assert_eq!(seen(Lens::Shifted(4, BitOrder::HighFirst), &[0x12, 0x34, 0x56]), [0x23, 0x45]);
        assert_eq!(seen(Lens::Shifted(4, BitOrder::LowFirst), &[0x21, 0x43, 0x65]), [0x32, 0x54]);
        assert_eq!(seen(Lens::BitsReversed, &[0x80, 0x0f]), [0x01, 0xf0]);
        assert_eq!(seen(Lens::NibblesSwapped, &[0x80, 0x0f]), [0x08, 0xf0]);
        assert_eq!(seen(Lens::BytesSwapped { width: 2, from: 1 }, b"abcdef"), b"cbed");
        assert_eq!(seen(Lens::Reversed, b"abcdef"), b"fedcba");
        assert_eq!(seen(Lens::Stride(3), b"abcdefgh"), b"adgbehcf");
    }

    #[test]
    fn strides_of_any_step_show_every_so_many_bytes_from_each_beginning() {
        let bytes: Vec<u8> = (0..777_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for step in 2..40 {
            let begun = |from: usize| bytes[from..].iter().step_by(step).copied();
            let expected: Vec<u8> = (0..step).flat_map(begun).collect();
            assert_eq!(seen(Lens::Stride(step as u16), &bytes), expected, "{step}");
            assert_eq!(seen(Lens::Stride(step as u16), b"ab"), b"ab", "{step}");
        }
    }

    /// However a stream is cut, a lens that reads in order shows the same.
    #[test]
    fn long_streams_are_shown_as_short_ones() {
        let bytes: Vec<u8> =
            (0..3 * BLOCK as u32 + 77).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for lens in [
            Lens::UpperHalves(0),
            Lens::UpperHalves(1),
            Lens::UpperHalves(2),
            Lens::UpperHalves(3),
            Lens::XorLag(7),
            Lens::Difference,
            Lens::Shifted(3, BitOrder::LowFirst),
            Lens::Shifted(3, BitOrder::HighFirst),
            Lens::Folded,
            Lens::WithoutZeros,
        ] {
            let mut whole = Vec::new();
            lens.apply(&mut bytes.clone(), true, &mut whole, &mut 0);
            assert_eq!(seen(lens, &bytes), whole, "{lens:?}");
        }
        let mut groups = bytes[3..].to_vec();
        groups.truncate(groups.len() / 4 * 4);
        groups.chunks_mut(4).for_each(<[u8]>::reverse);
        assert_eq!(seen(Lens::BytesSwapped { width: 4, from: 3 }, &bytes), groups);
    }

    /// A run of up to 256 bytes in another order stands whole in what the lens shows, wherever blocks are cut.
    #[test]
    fn no_run_is_cut_between_two_blocks() {
        let bytes: Vec<u8> =
            (0..2 * BLOCK as u32 + 999).map(|at| (at.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
        for at in (BLOCK - 400..BLOCK + 400).step_by(37) {
            let run: Vec<u8> = bytes[at..at + 256].iter().rev().copied().collect();
            assert!(seen(Lens::Reversed, &bytes).windows(256).any(|window| window == run));
            for step in [2_usize, 7] {
                let run: Vec<u8> = bytes[at..].iter().step_by(step).take(256).copied().collect();
                assert!(seen(Lens::Stride(step as u16), &bytes).windows(256).any(|window| window == run));
            }
        }
    }
}
