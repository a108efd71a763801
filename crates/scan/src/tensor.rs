//! Views of a tensor's values, one after the other.

use std::io::{self, Write};

use crate::number::{Dtype, bfloat16_from_f32, half_from_f32, value_as_byte};
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

/// Writes a view of one tensor: `values` are its values, little-endian, in canonical order.
///
/// The view of a file is that of its tensors one after the other, so that a run across two tensors is found too.
pub fn tensor(view: View, dtype: Dtype, values: &[u8], sink: &mut dyn Write) -> Result<(), ViewError> {
    let write = writer_of(view).ok_or(ViewError::NotOfTensors(view))?;
    let width = dtype.width();
    if !values.len().is_multiple_of(width) {
        return Err(ViewError::NotWholeValues);
    }
    let mut bytes = Vec::with_capacity(8 * VALUES_AT_ONCE);
    for some in values.chunks(width * VALUES_AT_ONCE) {
        bytes.clear();
        some.chunks_exact(width).for_each(|value| write(dtype, value, &mut bytes));
        sink.write_all(&bytes).map_err(ViewError::Write)?;
    }
    Ok(())
}

/// Writes the symbols of one tensor's values, view [`View::ValueSubstitution`].
pub fn symbols(dtype: Dtype, values: &[u8], sink: &mut dyn Write) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4 * values.len() / dtype.width());
    for value in values.chunks_exact(dtype.width()) {
        bytes.extend((dtype.read(value) as f32).to_bits().to_le_bytes());
    }
    sink.write_all(&bytes)
}

/// Writes the lower half of the bytes of each value, view [`View::LowHalves`].
pub fn low_halves(dtype: Dtype, values: &[u8], sink: &mut dyn Write) -> io::Result<()> {
    let width = dtype.width();
    if width < 4 {
        return Ok(());
    }
    let halves: Vec<u8> = values.chunks_exact(width).flat_map(|value| &value[..width / 2]).copied().collect();
    sink.write_all(&halves)
}

/// Writes each value that is whole as the fewest bytes that hold it, views [`View::IntegersBig`] and
/// [`View::IntegersLittle`]. A value below 256 is one byte, which other views show, and is left out if `dtype` has none
/// above.
pub fn integers(dtype: Dtype, values: &[u8], big: &mut dyn Write, little: &mut dyn Write) -> io::Result<()> {
    let (mut high_first, mut low_first) = (Vec::new(), Vec::new());
    for value in values.chunks_exact(dtype.width()) {
        let value = dtype.read(value).abs();
        if value.fract() == 0.0 && value < 2_f64.powi(64) {
            push_integer(u128::from(value as u64), &mut high_first, &mut low_first);
        }
    }
    big.write_all(&high_first)?;
    little.write_all(&low_first)
}

/// Adds the fewest bytes that hold a number, one for zero, in both orders.
pub(crate) fn push_integer(value: u128, big: &mut Vec<u8>, little: &mut Vec<u8>) {
    let bytes = value.to_le_bytes();
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    little.extend(&bytes[..length]);
    big.extend(bytes[..length].iter().rev());
}

/// Values expanded between two writes; bounds the memory.
const VALUES_AT_ONCE: usize = 4096;

/// Writes what a view shows of one value.
type WriteValue = fn(Dtype, &[u8], &mut Vec<u8>);

fn writer_of(view: View) -> Option<WriteValue> {
    Some(match view {
        View::F32 => |dtype, value, into| into.extend((dtype.read(value) as f32).to_le_bytes()),
        View::F16 => |dtype, value, into| into.extend(half_from_f32(dtype.read(value) as f32).to_le_bytes()),
        View::Bf16 => {
            |dtype, value, into| into.extend(bfloat16_from_f32(dtype.read(value) as f32).to_le_bytes())
        }
        // A cast from a float holds the value within the integer's range.
        View::I8 => |dtype, value, into| into.extend((dtype.read(value).round() as i8).to_le_bytes()),
        View::I16 => |dtype, value, into| into.extend((dtype.read(value).round() as i16).to_le_bytes()),
        View::I32 => |dtype, value, into| into.extend((dtype.read(value).round() as i32).to_le_bytes()),
        View::I64 => |dtype, value, into| into.extend((dtype.read(value).round() as i64).to_le_bytes()),
        View::Value => |dtype, value, into| into.extend(value_as_byte(dtype.read(value))),
        View::ValueTimes255 => |dtype, value, into| into.extend(value_as_byte(dtype.read(value) * 255.0)),
        View::ValueTimes128 => |dtype, value, into| into.extend(value_as_byte(dtype.read(value) * 128.0)),
        View::ValueTimes256 => |dtype, value, into| into.extend(value_as_byte(dtype.read(value) * 256.0)),
        View::ValueCentred => {
            |dtype, value, into| into.extend(value_as_byte((dtype.read(value) + 1.0) * 127.5))
        }
        View::BigEndian => |_, value, into| into.extend(value.iter().rev()),
        View::LowBytes => |_, value, into| into.extend(&value[..value.len() - 1]),
        View::ValueTimes10 => |dtype, value, into| into.extend(value_as_byte(dtype.read(value) * 10.0)),
        View::ValueTimes100 => |dtype, value, into| into.extend(value_as_byte(dtype.read(value) * 100.0)),
        View::ValueTimes127 => |dtype, value, into| into.extend(value_as_byte(dtype.read(value) * 127.0)),
        View::ValueTimes1000 => |dtype, value, into| into.extend(value_as_byte(dtype.read(value) * 1000.0)),
        View::Magnitude => |dtype, value, into| into.extend(value_as_byte(dtype.read(value).abs())),
        View::Exponent => {
            |dtype, value, into| into.push(((dtype.read(value) as f32).to_bits() >> 23 & 0xff) as u8)
        }
        View::HighBytes => |_, value, into| into.extend(value.last()),
        View::F16HighBytes => {
            |dtype, value, into| into.push((half_from_f32(dtype.read(value) as f32) >> 8) as u8)
        }
        View::I16HighBytes => |dtype, value, into| into.push((dtype.read(value).round() as i16 >> 8) as u8),
        View::LowSevenBits => |_, value, into| into.extend(value.first().map(|byte| byte & 0x7f)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"1,0,3,Individual plan,125024,12.75,F;~\xff\x80\x00";

    fn shown(view: View, dtype: Dtype, values: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        tensor(view, dtype, values, &mut bytes).unwrap();
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
        for view in View::ALL {
            assert_eq!(View::OF_VALUES.contains(&view), writer_of(view).is_some(), "{view:?}");
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
        let mut sink = Vec::new();
        assert!(matches!(tensor(View::F32, Dtype::F32, &[0; 6], &mut sink), Err(ViewError::NotWholeValues)));
        assert!(matches!(
            tensor(View::Raw, Dtype::F32, &[0; 4], &mut sink),
            Err(ViewError::NotOfTensors(View::Raw))
        ));
    }
}
