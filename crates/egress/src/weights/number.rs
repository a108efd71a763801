//! Exact conversion of numbers: what a job wrote, to the policy's precision, rounded once, to nearest, ties to even
//! (IEEE 754-2019, section 4.3.1).

use super::header::Dtype;

/// A binary floating-point format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// Bits of the fraction.
    pub(crate) fraction: u32,
    /// Bits of the exponent.
    pub(crate) exponent: u32,
}

/// bfloat16: the upper half of binary32.
pub(crate) const BF16: Format = Format { fraction: 7, exponent: 8 };
/// IEEE 754 binary16.
pub(crate) const F16: Format = Format { fraction: 10, exponent: 5 };
/// IEEE 754 binary32.
pub(crate) const F32: Format = Format { fraction: 23, exponent: 8 };

/// A number in a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounded {
    /// Its bits, never those of −0, a subnormal, an infinity or a NaN.
    Bits {
        /// The bits.
        bits: u32,
        /// Whether digits were lost.
        inexact: bool,
    },
    /// It is −0, or too small to be normal in the format: 0 is written.
    Zeroed,
    /// It is too large for the format.
    TooLarge,
}

/// One value as a double, exact but for whole numbers above 2^53: those keep 53 bits of which the last is set if
/// anything below was, so that the one rounding that follows is still right.
pub(crate) fn read(dtype: Dtype, bytes: &[u8]) -> f64 {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(wide);
    match dtype {
        Dtype::F64 => f64::from_bits(bits),
        Dtype::F32 => f64::from(f32::from_bits(bits as u32)),
        Dtype::Bf16 => f64::from(f32::from_bits((bits as u32) << 16)),
        Dtype::F16 => widen_f16(bits as u16),
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => whole(false, bits),
        Dtype::I8 => f64::from(bits as u8 as i8),
        Dtype::I16 => f64::from(bits as u16 as i16),
        Dtype::I32 => f64::from(bits as u32 as i32),
        Dtype::I64 => whole((bits as i64) < 0, (bits as i64).unsigned_abs()),
    }
}

fn widen_f16(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let magnitude = match (exponent, fraction) {
        (0, _) => fraction * f64::powi(2.0, -24),
        (0x1f, 0.0) => f64::INFINITY,
        (0x1f, _) => f64::NAN,
        _ => (1024.0 + fraction) * f64::powi(2.0, exponent - 25),
    };
    sign * magnitude
}

fn whole(negative: bool, magnitude: u64) -> f64 {
    let surplus = (u64::BITS - magnitude.leading_zeros()).saturating_sub(53);
    let lost = u64::from(magnitude & ((1 << surplus) - 1) != 0);
    let kept = ((magnitude >> surplus) | lost) as f64 * f64::powi(2.0, surplus as i32);
    if negative { -kept } else { kept }
}

/// A finite number, rounded to a format.
pub(crate) fn round(value: f64, format: Format) -> Rounded {
    const FRACTION: u32 = f64::MANTISSA_DIGITS - 1;
    if value.to_bits() == 0 {
        return Rounded::Bits { bits: 0, inexact: false };
    }
    let bits = value.to_bits();
    let sign = (bits >> 63) as u32;
    let biased = (bits >> FRACTION & 0x7ff) as i32;
    if biased == 0 {
        return Rounded::Zeroed;
    }
    let mut exponent = biased - 1023;
    let significand = 1 << FRACTION | bits & ((1 << FRACTION) - 1);
    let shift = FRACTION - format.fraction;
    let (rest, half) = (significand & ((1 << shift) - 1), 1u64 << (shift - 1));
    let mut kept = significand >> shift;
    kept += u64::from(rest > half || (rest == half && kept % 2 == 1));
    if kept == 1 << (format.fraction + 1) {
        kept >>= 1;
        exponent += 1;
    }
    let bias = (1 << (format.exponent - 1)) - 1;
    if exponent > bias {
        return Rounded::TooLarge;
    }
    if exponent < 1 - bias {
        return Rounded::Zeroed;
    }
    let fraction = kept as u32 & ((1 << format.fraction) - 1);
    let exponent = (exponent + bias) as u32;
    let bits = sign << (format.exponent + format.fraction) | exponent << format.fraction | fraction;
    Rounded::Bits { bits, inexact: rest != 0 }
}

/// The largest number of a format, or the smallest.
pub(crate) fn largest(negative: bool, format: Format) -> u32 {
    let exponent = (1 << format.exponent) - 2;
    let fraction = (1 << format.fraction) - 1;
    u32::from(negative) << (format.exponent + format.fraction) | exponent << format.fraction | fraction
}

/// Whether bits of a format are what [`round`] can give: no −0, subnormal, infinity or NaN.
pub(crate) fn is_canonical(bits: u32, format: Format) -> bool {
    let exponent = bits >> format.fraction & ((1 << format.exponent) - 1);
    bits == 0 || (exponent != 0 && exponent != (1 << format.exponent) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_binary32_agrees_with_the_processor() {
        let mut state = 1u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Exponents near those of binary32, so that most cases are not trivial.
            let exponent = 1023 - 130 + (state >> 7) % 262;
            let value = f64::from_bits(state & !(0x7ff << 52) | exponent << 52);
            let narrow = value as f32;
            match round(value, F32) {
                Rounded::Bits { bits, inexact } => {
                    assert_eq!(bits, narrow.to_bits(), "{value:e}");
                    assert_eq!(inexact, f64::from(narrow) != value);
                }
                Rounded::Zeroed => assert!(value.abs() < f64::from(f32::MIN_POSITIVE)),
                Rounded::TooLarge => assert!(narrow.is_infinite()),
            }
        }
    }

    #[test]
    fn every_bfloat16_and_binary16_value_is_read_and_written_as_itself_or_refused() {
        for bits in 0..=u16::MAX {
            for (dtype, format) in [(Dtype::Bf16, BF16), (Dtype::F16, F16)] {
                let value = read(dtype, &bits.to_le_bytes());
                let canonical = is_canonical(u32::from(bits), format);
                if !value.is_finite() {
                    assert!(!canonical);
                    continue;
                }
                let expected = match canonical {
                    true => Rounded::Bits { bits: u32::from(bits), inexact: false },
                    false => Rounded::Zeroed,
                };
                assert_eq!(round(value, format), expected, "{dtype:?} {bits:04x}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_even_neighbour_and_are_not_rounded_twice() {
        let bf16 = |value: f64| match round(value, BF16) {
            Rounded::Bits { bits, .. } => bits,
            other => panic!("{other:?}"),
        };
        assert_eq!(bf16(1.0), 0x3f80);
        assert_eq!(bf16(1.0 + 1.0 / 256.0), 0x3f80);
        assert_eq!(bf16(1.0 + 3.0 / 256.0), 0x3f82);
        // Just above a tie: rounding to binary32 first would make it a tie.
        assert_eq!(bf16(1.0 + 1.0 / 256.0 + f64::powi(2.0, -40)), 0x3f81);
        assert_eq!(bf16(-2.0), 0xc000);
        assert_eq!(round(3.4e38, BF16), Rounded::TooLarge);
        assert_eq!(round(-0.0, BF16), Rounded::Zeroed);
        assert_eq!(round(65520.0, F16), Rounded::TooLarge);
    }

    #[test]
    fn large_whole_numbers_are_rounded_once() {
        // A tie of binary32 between 2^62 and 2^62 + 2^39, and one more, which a double alone would lose.
        let tie = (1u64 << 62) + (1 << 38);
        let bits = |number: u64| match round(read(Dtype::U64, &number.to_le_bytes()), F32) {
            Rounded::Bits { bits, .. } => f32::from_bits(bits),
            other => panic!("{other:?}"),
        };
        assert_eq!(bits(tie), (1u64 << 62) as f32);
        assert_eq!(bits(tie + 1), ((1u64 << 62) + (1 << 39)) as f32);
        assert_eq!(read(Dtype::I64, &i64::MIN.to_le_bytes()), -f64::powi(2.0, 63));
        assert_eq!(read(Dtype::I16, &(-7i16).to_le_bytes()), -7.0);
    }
}
