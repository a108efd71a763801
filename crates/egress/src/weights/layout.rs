//! Where everything stands in a canonical weights file. It follows from the declaration and the policy alone, so that
//! a file's header says nothing.

use release::statement::{DeclaredTensor, Precision};

use super::header::Dtype;
use crate::declaration::parameters;

/// One stretch of data in a canonical file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Its name in the header.
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    pub(crate) values: u64,
    /// The declared tensor that it belongs to.
    pub(crate) tensor: usize,
    /// Whether it is the scale of a tensor of whole numbers.
    pub(crate) is_scale: bool,
}

/// The data of a canonical file, in order: the tensors as declared; before them, for whole numbers, one scale for each.
pub(crate) fn layout(precision: Precision, tensors: &[DeclaredTensor]) -> Vec<Stretch> {
    let dtype = match precision {
        Precision::Bf16 => Dtype::Bf16,
        Precision::F16 => Dtype::F16,
        Precision::F32 => Dtype::F32,
        Precision::Int8 | Precision::Int6 | Precision::Int5 | Precision::Int4 | Precision::Int3 => Dtype::I8,
    };
    let scaled = if precision.largest_whole().is_some() { tensors } else { &[] };
    let scales = scaled.iter().enumerate().map(|(tensor, declared)| {
        let name = format!("{}.scale", declared.name);
        Stretch { name, dtype: Dtype::F32, shape: Vec::new(), values: 1, tensor, is_scale: true }
    });
    let values = tensors.iter().enumerate().map(|(tensor, declared)| {
        let name = declared.name.to_string();
        let shape = declared.shape.iter().map(|length| length.0).collect();
        // A shape that cannot be counted was refused before; nothing is written for it.
        let values = parameters(&declared.shape).unwrap_or(0);
        Stretch { name, dtype, shape, values, tensor, is_scale: false }
    });
    scales.chain(values).collect()
}

/// Bytes of a canonical file's data.
pub(crate) fn data_bytes(precision: Precision, tensors: &[DeclaredTensor]) -> u64 {
    let bytes = |stretch: &Stretch| stretch.values.saturating_mul(stretch.dtype.bytes());
    layout(precision, tensors).iter().map(bytes).fold(0, u64::saturating_add)
}

/// The first bytes of a canonical file: the header's length in 8 bytes, lowest first, and the header, compact JSON
/// padded with spaces to a multiple of 8.
pub(crate) fn header(precision: Precision, tensors: &[DeclaredTensor]) -> Vec<u8> {
    header_of(&layout(precision, tensors))
}

/// The same of any stretches that follow one another.
pub(crate) fn header_of(stretches: &[Stretch]) -> Vec<u8> {
    let mut text = String::from("{");
    let mut offset = 0u64;
    for (index, stretch) in stretches.iter().enumerate() {
        let end = offset.saturating_add(stretch.values.saturating_mul(stretch.dtype.bytes()));
        let comma = if index == 0 { "" } else { "," };
        let shape: Vec<String> = stretch.shape.iter().map(u64::to_string).collect();
        // Names are of A-Z a-z 0-9 . _ - and need no escapes.
        text.push_str(&format!(
            "{comma}\"{}\":{{\"data_offsets\":[{offset},{end}],\"dtype\":\"{}\",\"shape\":[{}]}}",
            stretch.name,
            stretch.dtype.name(),
            shape.join(","),
        ));
        offset = end;
    }
    text.push('}');
    while text.len() % 8 > 0 {
        text.push(' ');
    }
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Σ parameters × precision, and for whole numbers 32 bits more for each tensor's scale. A tensor of which the request
/// fixed the bytes is not counted.
pub(crate) fn capacity_bits(precision: Precision, tensors: &[DeclaredTensor]) -> u64 {
    let bits = |stretch: &Stretch| match stretch.is_scale {
        true => 8 * stretch.dtype.bytes(),
        false => stretch.values.saturating_mul(precision.bits()),
    };
    let is_free = |stretch: &&Stretch| tensors[stretch.tensor].sha256.is_none();
    layout(precision, tensors).iter().filter(is_free).map(bits).fold(0, u64::saturating_add)
}
