//! Views of single bits of a tensor's values.

use std::io::{self, Write};

use crate::lens::BitOrder;
use crate::number::Dtype;
use crate::tensor::ViewError;
use crate::views::View;

/// Values of a block. A plane of them stands in a row, and then the next plane.
pub const PLANE_BLOCK: usize = 1 << 20;

/// Values that stand in two blocks, so that a run of 127 bytes in one bit of each value lies in one of the two.
pub const PLANE_OVERLAP: usize = 1 << 10;

/// Writes what one of the four views of bits shows of a block of values: [`View::BitPlanes`], [`View::BitPlanesLittle`],
/// [`View::LowBits`] or [`View::LowBitsLittle`].
pub fn planes(view: View, dtype: Dtype, values: &[u8], sink: &mut dyn Write) -> Result<(), ViewError> {
    let (write, order): (WriteBits, _) = match view {
        View::BitPlanes => (single, BitOrder::HighFirst),
        View::BitPlanesLittle => (single, BitOrder::LowFirst),
        View::LowBits => (lowest, BitOrder::HighFirst),
        View::LowBitsLittle => (lowest, BitOrder::LowFirst),
        _ => return Err(ViewError::NotOfTensors(view)),
    };
    write(dtype, values, order, sink).map_err(ViewError::Write)
}

type WriteBits = fn(Dtype, &[u8], BitOrder, &mut dyn Write) -> io::Result<()>;

/// Writes each single bit of a block of values, lowest first: the view `bit-planes` and, the other order,
/// `bit-planes-little`. Last come the signs once more, with a one for what is not negative: either is a bit, and what is
/// packed there must stand there to be unpacked.
fn single(dtype: Dtype, values: &[u8], order: BitOrder, sink: &mut dyn Write) -> io::Result<()> {
    let highest = 8 * dtype.width() as u32 - 1;
    (0..=highest).try_for_each(|bit| pack(dtype, values, bit, 1, order, sink))?;
    let inverted: Vec<u8> = values.iter().map(|byte| !byte).collect();
    pack(dtype, &inverted, highest, 1, order, sink)
}

/// Writes the lowest 2 to 7 bits of a block of values, of wide types to 15: the view `low-bits` and, the other order,
/// `low-bits-little`. Eight bits are a byte, which other views show.
fn lowest(dtype: Dtype, values: &[u8], order: BitOrder, sink: &mut dyn Write) -> io::Result<()> {
    let most = if dtype.width() > 2 { 15 } else { 7 };
    (2..=most).filter(|count| *count != 8).try_for_each(|count| pack(dtype, values, 0, count, order, sink))
}

/// Writes `count` bits, at most 15, of each value from `first` on, filling bytes in this order.
fn pack(
    dtype: Dtype,
    values: &[u8],
    first: u32,
    count: u32,
    order: BitOrder,
    sink: &mut dyn Write,
) -> io::Result<()> {
    let width = dtype.width();
    let mut packed = Vec::with_capacity(values.len() / width * count as usize / 8 + 1);
    let (mut held, mut bits) = (0_u32, 0);
    // The bits lie in at most three bytes.
    let (byte, shift) = ((first / 8) as usize, first % 8);
    for value in values.chunks_exact(width) {
        let part = value[byte..].iter().take(3).rev().fold(0_u32, |part, byte| part << 8 | u32::from(*byte));
        let part = part >> shift & ((1 << count) - 1);
        match order {
            BitOrder::HighFirst => held = held << count | part,
            BitOrder::LowFirst => held |= part << bits,
        }
        bits += count;
        while bits >= 8 {
            bits -= 8;
            match order {
                BitOrder::HighFirst => packed.push((held >> bits) as u8),
                BitOrder::LowFirst => {
                    packed.push(held as u8);
                    held >>= 8;
                }
            }
        }
    }
    match order {
        BitOrder::HighFirst if bits > 0 => packed.push((held << (8 - bits)) as u8),
        BitOrder::LowFirst if bits > 0 => packed.push(held as u8),
        _ => {}
    }
    sink.write_all(&packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"a text of some length";

    fn planes(bits: u32, order: BitOrder, first: u32) -> Vec<u8> {
        // Each value of two bytes holds `bits` bits of the text from `first` on, between ones.
        let bit = |at: usize| {
            let within = match order {
                BitOrder::HighFirst => 7 - at % 8,
                BitOrder::LowFirst => at % 8,
            };
            u16::from(TEXT.get(at / 8).map_or(0, |byte| byte >> within & 1))
        };
        let mut values = Vec::new();
        for start in (0..8 * TEXT.len()).step_by(bits as usize) {
            let mut group = 0;
            for offset in 0..bits as usize {
                match order {
                    BitOrder::HighFirst => group = group << 1 | bit(start + offset),
                    BitOrder::LowFirst => group |= bit(start + offset) << offset,
                }
            }
            values.extend((0x4081 & !(((1 << bits) - 1) << first) | group << first).to_le_bytes());
        }
        values
    }

    #[test]
    fn text_in_any_bits_is_read_in_either_order() {
        for order in [BitOrder::HighFirst, BitOrder::LowFirst] {
            for plane in 0..16 {
                let mut bytes = Vec::new();
                single(Dtype::Bf16, &planes(1, order, plane), order, &mut bytes).unwrap();
                assert_eq!(&bytes[TEXT.len() * plane as usize..][..TEXT.len()], TEXT, "{plane}");
            }
            for bits in 2..=7 {
                let mut bytes = Vec::new();
                lowest(Dtype::Bf16, &planes(bits, order, 0), order, &mut bytes).unwrap();
                assert!(bytes.windows(TEXT.len()).any(|window| window == TEXT), "{bits}");
            }
        }
    }
}
