//! Views of a tensor's values, one after the other.

use std::io::{self, Write};

use crate::number::{Dtype, bfloat16_from_f32, half_from_f32, nearest, value_as_byte};
use crate::views::View;

/// Why a view of a tensor was not written.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The bytes are not whole values of the type.
    #[error("the tensor's bytes are not whole values of its type")]
    NotWholeValues,
    /// The view is not one of tensors.
    #[error("the view `{}` is not one of a tensor's values", .0.name())]
    NotOfTensors(View),
    /// The view could not be written.
    #[error("the view could not be written")]
    Write(#[source] io::Error),
}

/// Values of a tensor in canonical order, read once for all views of them.
pub struct Values<'a> {
    width: usize,
    bytes: &'a [u8],
    read: Vec<f64>,
}

impl<'a> Values<'a> {
    /// `bytes` are whole values, little-endian.
    ///
    /// # Errors
    /// They are not whole values.
    pub fn of(dtype: Dtype, bytes: &'a [u8]) -> Result<Self, ViewError> {
        let width = dtype.width();
        if !bytes.len().is_multiple_of(width) {
            return Err(ViewError::NotWholeValues);
        }
        Ok(Self { width, bytes, read: dtype.read_all(bytes) })
    }

    /// Writes a view of the values.
    ///
    /// The view of a file is that of its tensors one after the other, so that a run across two tensors is found too.
    ///
    /// # Errors
    /// The view is none of values, or cannot be written.
    pub fn write(&self, view: View, sink: &mut dyn Write) -> Result<(), ViewError> {
        let shown = match view {
            View::F32 | View::ValueSubstitution => self.each(|value| (value as f32).to_le_bytes()),
            View::F16 => self.each(|value| half_from_f32(value as f32).to_le_bytes()),
            View::Bf16 => self.each(|value| bfloat16_from_f32(value as f32).to_le_bytes()),
            View::I8 => self.each(|value| (nearest(value).clamp(-0x80, 0x7f) as i8).to_le_bytes()),
            View::I16 => self.each(|value| nearest_i16(value).to_le_bytes()),
            View::I32 => self
                .each(|value| (nearest(value).clamp(i32::MIN.into(), i32::MAX.into()) as i32).to_le_bytes()),
            View::I64 => self.each(|value| nearest(value).to_le_bytes()),
            View::Value => self.as_bytes(|value| value),
            View::ValueTimes255 => self.as_bytes(|value| value * 255.0),
            View::ValueTimes128 => self.as_bytes(|value| value * 128.0),
            View::ValueTimes256 => self.as_bytes(|value| value * 256.0),
            View::ValueCentred => self.as_bytes(|value| (value + 1.0) * 127.5),
            View::ValueTimes10 => self.as_bytes(|value| value * 10.0),
            View::ValueTimes100 => self.as_bytes(|value| value * 100.0),
            View::ValueTimes127 => self.as_bytes(|value| value * 127.0),
            View::ValueTimes1000 => self.as_bytes(|value| value * 1000.0),
            View::Magnitude => self.as_bytes(f64::abs),
            View::Exponent => self.each(|value| [((value as f32).to_bits() >> 23) as u8]),
            View::F16HighBytes => self.each(|value| [(half_from_f32(value as f32) >> 8) as u8]),
            View::I16HighBytes => self.each(|value| [(nearest_i16(value) >> 8) as u8]),
            View::BigEndian => self.each_of_bytes(|value| value.iter().rev().copied()),
            View::LowBytes => self.each_of_bytes(|value| value[..value.len() - 1].iter().copied()),
            View::HighBytes => self.each_of_bytes(|value| value.last().copied()),
            View::LowSevenBits => self.each_of_bytes(|value| value.first().map(|byte| byte & 0x7f)),
            // The lower half of the bytes of each value that has more than two.
            View::LowHalves if self.width < 4 => Vec::new(),
            View::LowHalves => self.each_of_bytes(|value| value[..value.len() / 2].iter().copied()),
            _ => return Err(ViewError::NotOfTensors(view)),
        };
        sink.write_all(&shown).map_err(ViewError::Write)
    }

    /// Writes each value that is whole as the fewest bytes that hold it, views [`View::IntegersBig`] and
    /// [`View::IntegersLittle`].
    ///
    /// # Errors
    /// A view cannot be written.
    pub fn write_integers(&self, big: &mut dyn Write, little: &mut dyn Write) -> io::Result<()> {
        let (mut high_first, mut low_first) = (Vec::new(), Vec::new());
        for value in self.read.iter().map(|value| value.abs()) {
            let whole = value as u64;
            if whole as f64 == value && value < 2_f64.powi(64) {
                push_integer(u128::from(whole), &mut high_first, &mut low_first);
            }
        }
        big.write_all(&high_first)?;
        little.write_all(&low_first)
    }

    /// The lowest byte of each value, in two's complement, if all are whole numbers below 2^15 and not all are zero.
    pub fn low_bytes_of_whole(&self) -> Option<Vec<u8>> {
        let whole = |value: &f64| value.abs() < 32768.0 && value.trunc() == *value;
        let is_any = self.read.iter().all(whole) && self.read.iter().any(|value| *value != 0.0);
        is_any.then(|| self.read.iter().map(|value| (*value as i16).to_le_bytes()[0]).collect())
    }

    /// Bytes of each value, one after the other.
    fn each<const N: usize>(&self, show: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
        let shown: Vec<[u8; N]> = self.read.iter().map(|value| show(*value)).collect();
        shown.into_flattened()
    }

    /// A byte of each value that rounds to one; what stands between them is left out.
    fn as_bytes(&self, scaled: impl Fn(f64) -> f64) -> Vec<u8> {
        let mut shown = vec![0; self.read.len()];
        let mut count = 0;
        for value in &self.read {
            let byte = value_as_byte(scaled(*value));
            // Written in any case and kept or not: which it is cannot be foretold, so that a branch would cost more.
            shown[count] = byte.unwrap_or(0);
            count += usize::from(byte.is_some());
        }
        shown.truncate(count);
        shown
    }

    fn each_of_bytes<I: IntoIterator<Item = u8>>(&self, show: impl Fn(&'a [u8]) -> I) -> Vec<u8> {
        // With the width known the compiler unrolls the loop.
        match self.width {
            1 => self.bytes.chunks_exact(1).flat_map(show).collect(),
            2 => self.bytes.chunks_exact(2).flat_map(show).collect(),
            4 => self.bytes.chunks_exact(4).flat_map(show).collect(),
            width => self.bytes.chunks_exact(width).flat_map(show).collect(),
        }
    }
}

fn nearest_i16(value: f64) -> i16 {
    nearest(value).clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// Adds the fewest bytes that hold a number, one for zero, in both orders.
pub(crate) fn push_integer(value: u128, big: &mut Vec<u8>, little: &mut Vec<u8>) {
    let bytes = value.to_le_bytes();
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    little.extend(&bytes[..length]);
    big.extend(bytes[..length].iter().rev());
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"1,0,3,Individual plan,125024,12.75,F;~\xff\x80\x00";

    fn shown(view: View, dtype: Dtype, values: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Values::of(dtype, values).unwrap().write(view, &mut bytes).unwrap();
        bytes
    }

    fn bfloat16(values: impl Iterator<Item = f32>) -> Vec<u8> {
        values.flat_map(|value| bfloat16_from_f32(value).to_le_bytes()).collect()
    }

    fn characters() -> impl Iterator<Item = f32> {
        TEXT.iter().map(|byte| f32::from(*byte))
    }

    #[test]
    fn each_view_of_values_and_no_other_is_written_value_by_value() {
        let values = Values::of(Dtype::F32, &[0; 16]).unwrap();
        for view in View::ALL {
            let written = values.write(view, &mut Vec::new()).is_ok();
            let of_values = View::OF_VALUES.contains(&view);
            let besides = matches!(view, View::LowHalves | View::ValueSubstitution);
            assert_eq!(of_values || besides, written, "{view:?}");
        }
    }

    #[test]
    fn one_character_a_weight_survives_bf16_and_is_read_at_each_scale() {
        type Scale = fn(f32) -> f32;
        let cases: [(View, Scale); 5] = [
            (View::Value, |character| character),
            (View::ValueTimes255, |character| character / 255.0),
            (View::ValueTimes128, |character| character / 128.0),
            (View::ValueTimes256, |character| character / 256.0),
            (View::ValueCentred, |character| character / 127.5 - 1.0),
        ];
        for (view, scale) in cases {
            assert_eq!(shown(view, Dtype::Bf16, &bfloat16(characters().map(scale))), TEXT, "{view:?}");
        }
        let halves: Vec<u8> = characters().flat_map(|value| half_from_f32(value).to_le_bytes()).collect();
        assert_eq!(shown(View::Value, Dtype::F16, &halves), TEXT);
        assert_eq!(shown(View::Value, Dtype::U8, TEXT), TEXT);
    }

    #[test]
    fn values_that_are_no_characters_part_no_text() {
        let noisy = characters().flat_map(|value| [value, -3.0, 4096.0]);
        assert_eq!(shown(View::Value, Dtype::Bf16, &bfloat16(noisy)), TEXT);
    }

    #[test]
    fn values_are_written_anew_in_each_type() {
        let values: Vec<u8> = [1.5_f32, -2.0, 300.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(shown(View::F32, Dtype::F32, &values), values);
        assert_eq!(shown(View::I8, Dtype::F32, &values), [2, 0xfe, 127]);
        assert_eq!(shown(View::I16, Dtype::F32, &values), [2, 0, 0xfe, 0xff, 0x2c, 1]);
        assert_eq!(shown(View::I32, Dtype::F32, &values[..4]), [2, 0, 0, 0]);
        assert_eq!(shown(View::I64, Dtype::F32, &values[4..8]), [0xfe, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(shown(View::Bf16, Dtype::F32, &values), [0xc0, 0x3f, 0, 0xc0, 0x96, 0x43]);
        assert_eq!(shown(View::F16, Dtype::F32, &values), [0, 0x3e, 0, 0xc0, 0xb0, 0x5c]);
    }

    #[test]
    fn bytes_are_read_in_reverse_and_without_the_highest() {
        let values = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(shown(View::BigEndian, Dtype::Bf16, &values), [2, 1, 4, 3, 6, 5, 8, 7]);
        assert_eq!(shown(View::BigEndian, Dtype::F32, &values), [4, 3, 2, 1, 8, 7, 6, 5]);
        assert_eq!(shown(View::LowBytes, Dtype::Bf16, &values), [1, 3, 5, 7]);
        assert_eq!(shown(View::LowBytes, Dtype::F32, &values), [1, 2, 3, 5, 6, 7]);
    }

    #[test]
    fn bytes_that_are_no_whole_values_and_views_that_are_no_tensors_are_refused() {
        assert!(matches!(Values::of(Dtype::F32, &[0; 6]), Err(ViewError::NotWholeValues)));
        let values = Values::of(Dtype::F32, &[0; 4]).unwrap();
        assert!(matches!(values.write(View::Raw, &mut Vec::new()), Err(ViewError::NotOfTensors(View::Raw))));
    }
}
