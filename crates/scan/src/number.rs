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

    /// The values that `bytes` hold one after the other, little-endian.
    pub(crate) fn read_all(self, bytes: &[u8]) -> Vec<f64> {
        fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            bytes.as_chunks().0.iter().map(|value| read(*value)).collect()
        }
        match self {
            Self::Bf16 => {
                each(bytes, |value| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(value)) << 16)))
            }
            Self::F16 => each(bytes, |value| f32_from_half(u16::from_le_bytes(value)).into()),
            Self::F32 => each(bytes, |value| f32::from_le_bytes(value).into()),
            Self::F64 => each(bytes, f64::from_le_bytes),
            Self::U8 => each(bytes, |value| f64::from(u8::from_le_bytes(value))),
            Self::I8 => each(bytes, |value| f64::from(i8::from_le_bytes(value))),
            Self::I16 => each(bytes, |value| f64::from(i16::from_le_bytes(value))),
            Self::I32 => each(bytes, |value| f64::from(i32::from_le_bytes(value))),
            Self::I64 => each(bytes, |value| i64::from_le_bytes(value) as f64),
        }
    }
}

/// `value` rounded to the nearest integer (a half away from zero), if that is 0..=255.
#[inline]
pub(crate) fn value_as_byte(value: f64) -> Option<u8> {
    // Not `round`, which is a call where the processor is not known to have an instruction for it.
    (value > -0.5 && value < 255.5).then(|| {
        let whole = value as i32;
        (whole + i32::from(value - f64::from(whole) >= 0.5)) as u8
    })
}

/// The integer nearest to `value`, a half away from zero, within the range; 0 for what is no number.
#[inline]
pub(crate) fn nearest(value: f64) -> i64 {
    let whole = value as i64;
    let rest = value - whole as f64;
    whole.saturating_add(i64::from(rest >= 0.5)).saturating_sub(i64::from(rest <= -0.5))
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
        assert_eq!(Dtype::I8.read_all(&[0xff]), [-1.0]);
        assert_eq!(Dtype::U8.read_all(&[0xff]), [255.0]);
        assert_eq!(Dtype::I16.read_all(&[0xfe, 0xff]), [-2.0]);
        assert_eq!(Dtype::I32.read_all(&[0, 0, 0, 0x80]), [-2_147_483_648.0]);
        assert_eq!(Dtype::I64.read_all(&[3, 0, 0, 0, 0, 0, 0, 0]), [3.0]);
        assert_eq!(Dtype::F64.read_all(&0.1_f64.to_le_bytes()), [0.1]);
    }

    #[test]
    fn the_nearest_integer_is_that_of_the_standard_library_for_values_of_every_kind() {
        let mut values =
            vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.499_999_999_999_999_94, -0.0, 1e300];
        let around = [
            0.0,
            1.0,
            127.0,
            128.0,
            255.0,
            256.0,
            32_767.0,
            2_147_483_647.0,
            4_503_599_627_370_495.0,
            9.2e18,
        ];
        for step in
            around.iter().copied().flat_map(|value: f64| [value - 0.5, value, value + 0.5, value + 0.25])
        {
            let near = [step, step.next_up(), step.next_down()];
            values.extend(near.iter().flat_map(|value| [*value, -value]));
        }
        for value in values {
            assert_eq!(nearest(value), value.round() as i64, "{value}");
            let rounded = value.round();
            let byte = (0.0..=255.0).contains(&rounded).then_some(rounded as u8);
            assert_eq!(value_as_byte(value), byte, "{value}");
        }
    }
}
