//! Number types of tensors, and rounding between them.

/// The type of a tensor's values. The names are those of safetensors, in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// The upper half of an `f32`.
    Bf16,
    /// IEEE 754 binary16.
    F16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// A byte.
    U8,
    /// A signed byte.
    I8,
    /// A signed integer of 2 bytes.
    I16,
    /// A signed integer of 4 bytes.
    I32,
    /// A signed integer of 8 bytes. Above 2^53 its views show the nearest `f64`.
    I64,
}

impl Dtype {
    /// Bytes that one value takes.
    pub fn width(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::Bf16 | Self::F16 | Self::I16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// The value that `bytes` hold, little-endian. `bytes` are [`Dtype::width`] long.
    pub(crate) fn read(self, bytes: &[u8]) -> f64 {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        match self {
            Self::Bf16 => f64::from(f32::from_bits((bits as u32) << 16)),
            Self::F16 => f32_from_half(bits as u16).into(),
            Self::F32 => f32::from_bits(bits as u32).into(),
            Self::F64 => f64::from_bits(bits),
            Self::U8 => f64::from(bits as u8),
            Self::I8 => f64::from(bits as i8),
            Self::I16 => f64::from(bits as i16),
            Self::I32 => f64::from(bits as i32),
            Self::I64 => bits as i64 as f64,
        }
    }
}

/// `value` rounded to the nearest integer (a half away from zero), if that is 0..=255.
pub(crate) fn value_as_byte(value: f64) -> Option<u8> {
    let rounded = value.round();
    (0.0..=255.0).contains(&rounded).then_some(rounded as u8)
}

/// The `bf16` nearest to `value`, ties to even, as its bits.
pub(crate) fn bfloat16_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    let tie_to_even = (bits >> 16) & 1;
    ((bits + 0x7fff + tie_to_even) >> 16) as u16
}

/// The `f16` nearest to `value`, ties to even, as its bits (IEEE 754-2019, section 4.3.1).
pub(crate) fn half_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    // 65520 and above round to infinity.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    // 2^-14 is the smallest normal value.
    if magnitude >= 0x3880_0000 {
        let rebiased = magnitude - (112 << 23);
        return sign | round_shift(rebiased, 13) as u16;
    }
    let exponent = magnitude >> 23;
    // Below 2^-25 all rounds to zero; so does 2^-25 itself, a tie.
    if exponent < 102 {
        return sign;
    }
    let significand = (magnitude & 0x7f_ffff) | 0x80_0000;
    sign | round_shift(significand, 126 - exponent) as u16
}

fn round_shift(value: u32, shift: u32) -> u32 {
    let tie_to_even = (value >> shift) & 1;
    (value + (1 << (shift - 1)) - 1 + tie_to_even) >> shift
}

fn f32_from_half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        0 => {
            // A subnormal is its fraction times 2^-24, which `f32` holds exactly.
            let magnitude = fraction as f32 * f32::from_bits((127 - 24) << 23);
            f32::from_bits(magnitude.to_bits() | sign)
        }
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_read_and_written_back_unchanged() {
        for bits in 0..=u16::MAX {
            let value = f32_from_half(bits);
            if value.is_nan() {
                assert_eq!(half_from_f32(value) & 0x7e00, 0x7e00);
            } else {
                assert_eq!(half_from_f32(value), bits);
            }
        }
    }

    #[test]
    fn what_lies_between_two_halves_rounds_to_the_nearer_one_and_a_tie_to_the_even_one() {
        for bits in 0..0x7bff_u16 {
            let (below, above) = (f32_from_half(bits), f32_from_half(bits + 1));
            let middle = (below + above) / 2.0;
            let even = bits + (bits & 1);
            assert_eq!(half_from_f32(middle), even, "{middle}");
            assert_eq!(half_from_f32(middle.next_down()), bits, "{middle}");
            assert_eq!(half_from_f32(middle.next_up()), bits + 1, "{middle}");
        }
        assert_eq!(half_from_f32(65519.0), 0x7bff);
        assert_eq!(half_from_f32(65520.0), 0x7c00);
    }

    #[test]
    fn bfloat16_rounds_to_nearest_and_ties_to_even() {
        for (bits, rounded) in [
            (0x3f80_0000_u32, 0x3f80_u16),
            (0x3f80_7fff, 0x3f80),
            (0x3f80_8000, 0x3f80),
            (0x3f80_8001, 0x3f81),
            (0x3f81_8000, 0x3f82),
            (0xbf81_8000, 0xbf82),
        ] {
            assert_eq!(bfloat16_from_f32(f32::from_bits(bits)), rounded, "{bits:x}");
        }
    }

    #[test]
    fn integers_are_read_with_their_sign() {
        assert_eq!(Dtype::I8.read(&[0xff]), -1.0);
        assert_eq!(Dtype::U8.read(&[0xff]), 255.0);
        assert_eq!(Dtype::I16.read(&[0xfe, 0xff]), -2.0);
        assert_eq!(Dtype::I32.read(&[0, 0, 0, 0x80]), -2_147_483_648.0);
        assert_eq!(Dtype::I64.read(&[3, 0, 0, 0, 0, 0, 0, 0]), 3.0);
        assert_eq!(Dtype::F64.read(&0.1_f64.to_le_bytes()), 0.1);
    }
}
