//! Bytes that hold 1, 2 or 4 bits each.

use super::{DecodeError, Emit, SHORTEST, long_stretches};
use crate::views::View;

/// Decodes each stretch of bytes below 2, 4 or 16, and of the characters `0` and `1`. Bits fill bytes from the highest on
/// and from the lowest on; views of shifted bits show the other beginnings.
pub(super) fn decode(stream: &[u8], emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    for (bits, below) in [(1, 2), (2, 4), (4, 16)] {
        let least = 8 / bits as usize * SHORTEST;
        stretches(stream, least, |byte| (byte < below).then_some(Some(byte)), &mut |values| {
            pack(values, bits, emit)
        })?;
    }
    let digit = |byte: u8| match byte {
        b'0' | b'1' => Some(Some(byte - b'0')),
        b' ' | b',' | b'\n' | b'\r' | b'\t' | b'_' => Some(None),
        _ => None,
    };
    stretches(stream, 8 * SHORTEST, digit, &mut |values| pack(values, 1, emit))
}

/// Each stretch of bytes that have a value, or are passed over, with at least so many values.
fn stretches(
    stream: &[u8],
    least: usize,
    value: impl Fn(u8) -> Option<Option<u8>>,
    found: &mut dyn FnMut(&[u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    for stretch in long_stretches(stream, least, |byte| value(byte).is_some()) {
        let values: Vec<u8> = stream[stretch].iter().filter_map(|byte| value(*byte).flatten()).collect();
        // Zeros alone hold nothing, and are what most stretches are.
        if values.len() >= least && values.iter().any(|value| *value != 0) {
            found(&values)?;
        }
    }
    Ok(())
}

fn pack(values: &[u8], bits: u32, emit: &mut Emit<'_>) -> Result<(), DecodeError> {
    let groups = || values.chunks(8 / bits as usize);
    let high: Vec<u8> =
        groups().map(|group| group.iter().fold(0, |byte, value| byte << bits | value)).collect();
    let low: Vec<u8> =
        groups().map(|group| group.iter().rev().fold(0, |byte, value| byte << bits | value)).collect();
    emit(View::Packed, &high)?;
    emit(View::Packed, &low)?;
    // Two bits or four, each group's own bits from the lowest on.
    if bits > 1 {
        let turned: Vec<u8> = values.iter().map(|value| value.reverse_bits() >> (8 - bits)).collect();
        let turned = turned.chunks(8 / bits as usize);
        let bytes: Vec<u8> =
            turned.map(|group| group.iter().fold(0, |byte, value| byte << bits | value)).collect();
        emit(View::Packed, &bytes)?;
    }
    Ok(())
}
