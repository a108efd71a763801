//! Views: other readings of canonical bytes, written out as plain bytes.
//!
//! A view is made by a process that holds no data, and is searched by one that parses nothing. Whoever lays the data
//! into an output in a way that no view undoes is not found; what bounds that is the count of bits that leave.

use std::io::{self, Write};

use release::report::VIEWS;

pub use crate::number::Dtype;
use crate::number::{bfloat16_from_f32, half_from_f32, value_as_byte};
pub use crate::text_numbers::text_numbers;

/// A reading of an output's canonical bytes. The order is that of [`VIEWS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// The canonical file itself.
    Raw,
    /// Each value as an `f32`.
    F32,
    /// Each value as an `f16`, rounded to nearest, ties to even.
    F16,
    /// Each value as a `bf16`, rounded to nearest, ties to even.
    Bf16,
    /// Each value as an `i8`: rounded to nearest, held within the type's range. So for all integer views.
    I8,
    /// Each value as an `i16`.
    I16,
    /// Each value as an `i32`.
    I32,
    /// Each value as an `i64`.
    I64,
    /// Each value rounded to nearest, as one byte. A value outside 0..=255 is left out, so that it parts nothing.
    /// So for all views that write one byte a value.
    Value,
    /// Each value times 255, as one byte: characters scaled to 0..=1.
    ValueTimes255,
    /// Numbers of a text, as one byte each. See [`text_numbers`].
    TextNumbers,
    /// Each value times 128, as one byte.
    ValueTimes128,
    /// Each value times 256, as one byte.
    ValueTimes256,
    /// Each value plus one, times 127.5, as one byte: characters scaled to -1..=1.
    ValueCentred,
    /// The bytes of each value in reverse order.
    BigEndian,
    /// The bytes of each value without its highest one: characters laid where they change a weight least.
    LowBytes,
    /// The canonical file, compared with every second pair of bytes of the data: what rounding to `bf16` leaves of
    /// data laid into `f32`. The data is read from each of four beginnings.
    UpperHalves,
}

impl View {
    /// Every view, in the order of [`VIEWS`].
    pub const ALL: [Self; VIEWS.len()] = [
        Self::Raw,
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::Value,
        Self::ValueTimes255,
        Self::TextNumbers,
        Self::ValueTimes128,
        Self::ValueTimes256,
        Self::ValueCentred,
        Self::BigEndian,
        Self::LowBytes,
        Self::UpperHalves,
    ];

    /// Views that [`tensor`] writes. The others are the file itself and the numbers of a text.
    pub const OF_TENSORS: [Self; 14] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::Value,
        Self::ValueTimes255,
        Self::ValueTimes128,
        Self::ValueTimes256,
        Self::ValueCentred,
        Self::BigEndian,
        Self::LowBytes,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        VIEWS[usize::from(self.index())]
    }

    /// The view of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|view| view.name() == name)
    }

    /// Its number in reports.
    pub fn index(self) -> u16 {
        self as u16
    }
}

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
        View::Raw | View::TextNumbers | View::UpperHalves => return None,
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
    fn views_have_the_names_and_the_order_of_reports() {
        for (index, view) in View::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(view.index()), index);
            assert_eq!(View::from_name(view.name()), Some(view));
        }
        assert_eq!(View::Value.name(), "tensor-value");
        assert_eq!(View::UpperHalves.name(), "upper-halves");
        for view in View::ALL {
            assert_eq!(View::OF_TENSORS.contains(&view), writer_of(view).is_some(), "{view:?}");
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
