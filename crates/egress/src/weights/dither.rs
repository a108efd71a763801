//! Noise on weights, from a secret seed.
//!
//! To each value a number is added that is normally distributed with the policy's share of the tensor's standard
//! deviation. What the values say beyond their mean and spread is then what crosses a channel with Gaussian noise of a
//! known strength: on average at most ½ log₂(1 + 1/share²) bits a parameter (Shannon 1948, theorem 17), whatever
//! code the job uses: 3.33 bits for a tenth, 1.80 for three tenths. Rounding afterwards takes nothing of that back, since what is
//! made of the noisy values alone tells no more than they do.
//!
//! Where a value stands follows from declaration and policy; no value decides what is read or how much. So whoever holds
//! data can do this, too.

use std::io::{self, Read, SeekFrom, Write};

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use release::statement::{DeclaredOutput, DeclaredTensor};

use super::header::Dtype;
use super::layout::{Stretch, header, layout};
use super::number::{self, BF16, F16, F32, Format, Rounded};
use crate::files::ReadSeek;
use crate::policy::Policy;

/// Values are read so many at a time.
const CHUNK: u64 = 8192;

/// Writes a canonical weights file with the policy's noise on each tensor that the request did not fix. Its form and its
/// length stay canonical. The seed must be new, random, and known to nobody: with it the noise can be taken off again.
///
/// # Errors
/// If the file cannot be read, is shorter than its declaration makes it, or the other cannot be written.
pub fn dither(
    policy: &Policy,
    output: &DeclaredOutput,
    file: &mut dyn ReadSeek,
    writer: &mut dyn Write,
    seed: &[u8; 32],
) -> io::Result<()> {
    let DeclaredOutput::Weights { tensors, .. } = output else {
        file.rewind()?;
        return io::copy(file, writer).map(drop);
    };
    let precision = policy.weights.precision;
    let share = policy.weights.dither_percent as f64 / 100.0;
    let most = f64::from(precision.largest_whole().unwrap_or(0));
    let mut noise = Noise::new(seed);
    let head = header(precision, tensors).len() as u64;
    file.rewind()?;
    copy(file, head, writer)?;
    let mut offset = head;
    for stretch in layout(precision, tensors) {
        let bytes = stretch.values.saturating_mul(stretch.dtype.bytes());
        file.seek(SeekFrom::Start(offset))?;
        if is_left_alone(&stretch, tensors) {
            copy(file, bytes, writer)?;
        } else {
            let deviation = share * deviation(file, &stretch)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut out = Vec::with_capacity((CHUNK * stretch.dtype.bytes()) as usize);
            for_values(file, &stretch, |values| {
                out.clear();
                for value in values {
                    put(&mut out, value + deviation * noise.next(), stretch.dtype, most);
                }
                writer.write_all(&out)
            })?;
        }
        offset = offset.saturating_add(bytes);
    }
    writer.flush()
}

/// Scales tell how far apart the values are, as the values do; a fixed tensor tells nothing.
fn is_left_alone(stretch: &Stretch, tensors: &[DeclaredTensor]) -> bool {
    stretch.is_scale || tensors[stretch.tensor].sha256.is_some()
}

fn copy(file: &mut dyn ReadSeek, bytes: u64, writer: &mut dyn Write) -> io::Result<()> {
    match io::copy(&mut file.take(bytes), writer)? {
        copied if copied == bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn for_values(
    file: &mut dyn ReadSeek,
    stretch: &Stretch,
    mut each: impl FnMut(&[f64]) -> io::Result<()>,
) -> io::Result<()> {
    let size = stretch.dtype.bytes();
    let mut buffer = vec![0; (CHUNK.min(stretch.values) * size) as usize];
    let mut left = stretch.values;
    while left > 0 {
        let count = CHUNK.min(left);
        let chunk = &mut buffer[..(count * size) as usize];
        file.read_exact(chunk)?;
        let values: Vec<f64> =
            chunk.chunks_exact(size as usize).map(|bytes| number::read(stretch.dtype, bytes)).collect();
        each(&values)?;
        left -= count;
    }
    Ok(())
}

/// The standard deviation of a tensor's values (Welford 1962: exact enough for values of any size).
fn deviation(file: &mut dyn ReadSeek, stretch: &Stretch) -> io::Result<f64> {
    let (mut count, mut mean, mut sum) = (0f64, 0f64, 0f64);
    for_values(file, stretch, |values| {
        for value in values {
            count += 1.0;
            let from_mean = value - mean;
            mean += from_mean / count;
            sum += from_mean * (value - mean);
        }
        Ok(())
    })?;
    Ok((sum / count.max(1.0)).max(0.0).sqrt())
}

/// The value in its dtype. What is too large for it becomes the largest one.
fn put(out: &mut Vec<u8>, value: f64, dtype: Dtype, most: f64) {
    let float = |format: Format| match number::round(value, format) {
        Rounded::Bits { bits, .. } => bits,
        Rounded::Zeroed => 0,
        Rounded::TooLarge => number::largest(value.is_sign_negative(), format),
    };
    match dtype {
        Dtype::Bf16 => out.extend_from_slice(&float(BF16).to_le_bytes()[..2]),
        Dtype::F16 => out.extend_from_slice(&float(F16).to_le_bytes()[..2]),
        Dtype::F32 => out.extend_from_slice(&float(F32).to_le_bytes()),
        _ => out.push(value.round_ties_even().clamp(-most, most) as i8 as u8),
    }
}

/// Numbers of the standard normal distribution (Box and Muller 1958) from ChaCha20.
struct Noise {
    cipher: ChaCha20,
    second: Option<f64>,
}

impl Noise {
    fn new(seed: &[u8; 32]) -> Self {
        // Each seed is used for one file, so that the nonce may be the same.
        Self { cipher: ChaCha20::new(seed.into(), &[0; 12].into()), second: None }
    }

    fn next(&mut self) -> f64 {
        if let Some(second) = self.second.take() {
            return second;
        }
        // From 2^-53 to 1: the logarithm of 0 is none.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.second = Some(radius * sine);
        radius * cosine
    }

    /// From 0 to 1 − 2^-53.
    fn uniform(&mut self) -> f64 {
        let mut bytes = [0; 8];
        self.cipher.apply_keystream(&mut bytes);
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
    }
}
