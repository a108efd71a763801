//! What of a view is compared with what of the data.

use crate::lens::{BitOrder, Lens};
use crate::views::View;

/// Longest file in bytes of which [`View::Strides`] shows strides of 17 to 256 bytes too. There are as many bytes in
/// each stride as in the file, so that a long file would take hours.
pub const LONG_STRIDES_BYTES: u64 = 1 << 14;

/// Distances of [`View::XorRepeated`]. A key of 1 to 16 bytes repeats at a multiple of its length that is among them.
const KEY_LENGTHS: std::ops::RangeInclusive<u8> = 17..=32;

/// What is compared at once: one reading of the data, with readings of views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// How the data is read: through each of these in turn.
    pub(crate) data: Vec<Lens>,
    /// Whether equal bytes show less than elsewhere: then a window must hold more distinct ones.
    pub(crate) weak: bool,
}

impl Comparison {
    /// The data as it is.
    pub(crate) fn exact() -> Self {
        Self { data: vec![Lens::Same], weak: false }
    }

    fn weak(lens: Lens) -> Self {
        Self { data: vec![lens], weak: true }
    }
}

/// Of what symbols the data consists where symbols may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Substitution {
    /// Bytes, compared with bytes.
    Bytes,
    /// Bytes, compared with values of tensors and with words.
    Values,
    /// Groups of 6 bits, compared with letters.
    Sextets,
    /// Groups of 4 bits, compared with letters.
    Nibbles,
}

impl Substitution {
    pub(crate) const ALL: [Self; 4] = [Self::Bytes, Self::Values, Self::Sextets, Self::Nibbles];

    /// How the data is read: through each of these in turn.
    pub(crate) fn data(self) -> &'static [Lens] {
        match self {
            Self::Bytes | Self::Values => &[Lens::Same],
            Self::Sextets => &[Lens::Sextets(0), Lens::Sextets(1), Lens::Sextets(2)],
            Self::Nibbles => &[Lens::Nibbles],
        }
    }

    /// How views are read.
    pub(crate) fn view(self) -> Lens {
        match self {
            Self::Bytes | Self::Values => Lens::Same,
            Self::Sextets | Self::Nibbles => Lens::WithoutLineBreaks,
        }
    }

    /// Bytes of one symbol of a view.
    pub(crate) fn view_width(self) -> usize {
        if self == Self::Values { 4 } else { 1 }
    }

    /// The substitution that a view shows.
    pub(crate) fn of(view: View) -> Option<Self> {
        match view {
            View::Substitution => Some(Self::Bytes),
            View::ValueSubstitution | View::WordSubstitution => Some(Self::Values),
            View::Base64Substitution => Some(Self::Sextets),
            View::HexadecimalSubstitution => Some(Self::Nibbles),
            _ => None,
        }
    }
}

/// Which lenses are laid on a view of so many bytes, and with what of the data it is compared then.
pub(crate) fn comparisons(view: View, bytes: u64) -> Vec<(Comparison, Lens)> {
    let exactly = |lenses: Vec<Lens>| lenses.into_iter().map(|lens| (Comparison::exact(), lens)).collect();
    let both = |lens| vec![(Comparison::weak(lens), lens)];
    let bits = |order| (1..8).map(move |bits| Lens::Shifted(bits, order));
    match view {
        View::UpperHalves => {
            vec![(Comparison { data: (0..4).map(Lens::UpperHalves).collect(), weak: false }, Lens::Same)]
        }
        View::F16HighBytes | View::I16HighBytes => {
            vec![(Comparison { data: vec![Lens::Stride(2)], weak: false }, Lens::Same)]
        }
        View::BitPlanes | View::LowBits | View::Packed => of_bits(view, BitOrder::HighFirst),
        View::BitPlanesLittle | View::LowBitsLittle => of_bits(view, BitOrder::LowFirst),
        View::BitsShifted => exactly(bits(BitOrder::HighFirst).collect()),
        View::BitsReversed => exactly(vec![Lens::BitsReversed]),
        View::NibblesSwapped => exactly(vec![Lens::NibblesSwapped]),
        View::Reversed => exactly(vec![Lens::Reversed]),
        View::BytesSwapped => {
            let groups = |width| (0..width).map(move |from| Lens::BytesSwapped { width, from });
            exactly([2, 4, 8].into_iter().flat_map(groups).collect())
        }
        View::Strides => {
            let longest = if bytes <= LONG_STRIDES_BYTES { 256 } else { 16 };
            exactly((2..=longest).map(Lens::Stride).collect())
        }
        View::XorConstant => both(Lens::XorLag(1)),
        View::XorRepeated => KEY_LENGTHS.flat_map(|lag| both(Lens::XorLag(lag))).collect(),
        View::AddConstant => both(Lens::Difference),
        View::Folded => both(Lens::Folded),
        View::WithoutZeros => both(Lens::WithoutZeros),
        View::Substitution
        | View::ValueSubstitution
        | View::Base64Substitution
        | View::HexadecimalSubstitution
        | View::WordSubstitution => Vec::new(),
        _ => exactly(vec![Lens::Same]),
    }
}

/// What bits are compared with that stand in a view one after the other, wherever in a byte the first one stands. A bit may be a
/// 1 or a 0, in the sign of a weight above all; and the first may be the last, which shows the data in reverse order where the
/// view fills each byte from its other end.
fn of_bits(view: View, order: BitOrder) -> Vec<(Comparison, Lens)> {
    let data = match view {
        View::BitPlanes | View::BitPlanesLittle => &[Lens::Same, Lens::Inverted, Lens::Reversed][..],
        View::Packed => &[Lens::Same, Lens::Inverted],
        _ => &[Lens::Same],
    };
    let lenses = || std::iter::once(Lens::Same).chain((1..8).map(move |bits| Lens::Shifted(bits, order)));
    let compared = |read: &Lens| Comparison { data: vec![*read], weak: false };
    data.iter().flat_map(|read| lenses().map(move |lens| (compared(read), lens))).collect()
}
