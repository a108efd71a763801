//! Which views can hold a run at all, read through which lens.
//!
//! A lens shows each byte as a function of a few, and almost all of what lenses show of an honest output holds no run: it has
//! pairs of neighbouring bytes that the data does not have. So before anything is read through a lens as a whole, its pairs are
//! asked for, of which few have to be made. What may hold a run is then searched as if nobody had asked.

use std::io::{self, Read};

use crate::hash::HashKey;
use crate::hints::Windows;
use crate::lens::{BLOCK, BitOrder, Lens};
use crate::pairs::Pairs;
use crate::{PLAIN_RUN, ScanError, Source};

/// Bytes that a block has in common with the next one, at the least, so that the shortest run lies in one of them as a whole,
/// whatever is asked of few neighbours.
const OVERLAP: usize = 1 << 12;

/// Bytes of a run that may lie before a border: one that is told from any of its bytes goes on behind it.
const TAIL: usize = PLAIN_RUN - 1;

/// What is known of the data.
pub(crate) struct Nearby<'a> {
    pub(crate) pairs: &'a Pairs,
    pub(crate) windows: Windows<'a>,
    pub(crate) key: &'a HashKey,
}

impl Nearby<'_> {
    /// Whether a run may lie in so many bytes, of which `byte` makes each when it is looked at.
    fn may_hold(&self, length: usize, byte: impl Fn(usize) -> u8) -> Result<bool, ScanError> {
        let (mut stretch, mut bytes) = (Vec::new(), length as u64);
        self.pairs.any_stretch(length, &byte, |range| {
            // Were there no such question, all of a block would be searched.
            let Windows::Made(index) = self.windows else { return Ok(true) };
            let Some(index) = index.for_bytes(std::mem::take(&mut bytes))? else { return Ok(true) };
            stretch.clear();
            stretch.extend(range.map(&byte));
            Ok(index.may_hold(&stretch, self.key))
        })
    }
}

/// A lens that is laid on a view.
pub(crate) struct Asked<'a> {
    lens: Lens,
    near: &'a Nearby<'a>,
    /// The last bytes that it showed, where these do not stand in the next block again.
    tail: Vec<u8>,
    /// Whether a run may be there.
    pub(crate) is_maybe: bool,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(lens: Lens, near: &'a Nearby<'a>) -> Self {
        Self { lens, near, tail: Vec::new(), is_maybe: false }
    }

    /// Looks at the next block.
    fn look_at(&mut self, block: &Block<'_>) -> Result<(), ScanError> {
        let Self { lens, near, .. } = *self;
        let bytes = block.bytes;
        let without_last = bytes.len().saturating_sub(1);
        self.is_maybe = match lens {
            Lens::Same => near.may_hold(bytes.len(), |at| bytes[at])?,
            Lens::XorLag(lag) => {
                let later = bytes.get(usize::from(lag)..).unwrap_or_default();
                near.may_hold(later.len(), |at| bytes[at] ^ later[at])?
            }
            Lens::Difference => near.may_hold(without_last, |at| bytes[at + 1].wrapping_sub(bytes[at]))?,
            Lens::Shifted(bits, BitOrder::HighFirst) => {
                near.may_hold(without_last, |at| bytes[at] << bits | bytes[at + 1] >> (8 - bits))?
            }
            Lens::Shifted(bits, BitOrder::LowFirst) => {
                near.may_hold(without_last, |at| bytes[at] >> bits | bytes[at + 1] << (8 - bits))?
            }
            Lens::BitsReversed => near.may_hold(bytes.len(), |at| bytes[at].reverse_bits())?,
            Lens::NibblesSwapped => near.may_hold(bytes.len(), |at| bytes[at].rotate_left(4))?,
            // Blocks begin at multiples of each width.
            Lens::BytesSwapped { width, from } if width.is_power_of_two() => {
                let (bytes, last) =
                    (bytes.get(usize::from(from)..).unwrap_or_default(), usize::from(width) - 1);
                near.may_hold(bytes.len() & !last, |at| bytes[at ^ last])?
            }
            Lens::Stride(step) => {
                let (step, bytes) = (usize::from(step), block.for_lens(lens));
                let mut is_maybe = false;
                for from in 0..step.min(bytes.len()) {
                    let bytes = &bytes[from..];
                    is_maybe |= self.goes_on(bytes.len().div_ceil(step), |at| bytes[at * step])?;
                }
                is_maybe
            }
            Lens::Reversed => {
                let bytes = block.for_lens(lens);
                self.goes_on(bytes.len(), |at| bytes[bytes.len() - 1 - at])?
            }
            Lens::Folded | Lens::WithoutZeros => {
                let shown = lens.of(&bytes[..bytes.len().min(BLOCK)]);
                self.goes_on(shown.len(), |at| shown[at])?
            }
            _ => true,
        };
        Ok(())
    }

    /// Whether a run may lie in so many bytes, which follow those that were shown before, or across the border.
    fn goes_on(&mut self, length: usize, byte: impl Fn(usize) -> u8) -> Result<bool, ScanError> {
        let mut border = std::mem::take(&mut self.tail);
        border.extend((0..length.min(TAIL)).map(&byte));
        let is_maybe = self.near.may_hold(border.len(), |at| border[at])?
            || length > TAIL && self.near.may_hold(length, &byte)?;
        if length > TAIL {
            border.clear();
            border.extend((length - TAIL..length).map(&byte));
        }
        border.drain(..border.len().saturating_sub(TAIL));
        self.tail = border;
        Ok(is_maybe)
    }
}

/// A block of a view, and some of what stands behind it.
struct Block<'a> {
    bytes: &'a [u8],
    is_first: bool,
}

impl Block<'_> {
    /// What a lens shows in another order at a time: see [`Lens::together`]. What is left at the end is shown with the block
    /// before it, if it is little.
    fn for_lens(&self, lens: Lens) -> &[u8] {
        let (bytes, together) = (self.bytes, lens.together());
        match bytes.len() < together - BLOCK && !self.is_first {
            true => &[],
            false => &bytes[..bytes.len().min(together)],
        }
    }
}

/// Asks for all lenses of a view. It is read once. `failed` names it where it cannot be read.
pub(crate) fn ask(
    view: &dyn Source,
    asked: &mut [Asked<'_>],
    failed: impl Fn(io::Error) -> ScanError,
) -> Result<(), ScanError> {
    let ahead = asked.iter().map(|asked| asked.lens.together()).max().unwrap_or(0).max(BLOCK + OVERLAP);
    let mut reader = view.open().map_err(&failed)?;
    let (mut bytes, mut is_first) = (Vec::new(), true);
    loop {
        let room = ahead - bytes.len();
        reader.by_ref().take(room as u64).read_to_end(&mut bytes).map_err(&failed)?;
        let block = Block { bytes: &bytes, is_first };
        asked.iter_mut().filter(|asked| !asked.is_maybe).try_for_each(|asked| asked.look_at(&block))?;
        if bytes.len() <= BLOCK || asked.iter().all(|asked| asked.is_maybe) {
            return Ok(());
        }
        bytes.drain(..BLOCK);
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lens::Seen;

    const LENSES: [Lens; 23] = [
        Lens::Same,
        Lens::Shifted(1, BitOrder::HighFirst),
        Lens::Shifted(7, BitOrder::HighFirst),
        Lens::Shifted(3, BitOrder::LowFirst),
        Lens::BitsReversed,
        Lens::NibblesSwapped,
        Lens::Reversed,
        Lens::BytesSwapped { width: 2, from: 0 },
        Lens::BytesSwapped { width: 2, from: 1 },
        Lens::BytesSwapped { width: 4, from: 0 },
        Lens::BytesSwapped { width: 4, from: 3 },
        Lens::BytesSwapped { width: 8, from: 0 },
        Lens::BytesSwapped { width: 8, from: 5 },
        Lens::Stride(2),
        Lens::Stride(3),
        Lens::Stride(16),
        Lens::Stride(200),
        Lens::XorLag(1),
        Lens::XorLag(17),
        Lens::XorLag(32),
        Lens::Difference,
        Lens::Folded,
        Lens::WithoutZeros,
    ];

    /// What is said of a lens, where it is asked for beside those others.
    fn is_maybe(view: &[u8], lens: Lens, beside: &[Lens], data: &[u8]) -> bool {
        let key = HashKey::random().unwrap();
        let pairs = Pairs::of(false, 64, |read| read(&mut &data[..])).unwrap();
        let near = Nearby { pairs: &pairs, windows: Windows::Unknown, key: &key };
        let mut asked: Vec<_> = beside.iter().chain([&lens]).map(|lens| Asked::new(*lens, &near)).collect();
        ask(&view, &mut asked, |error| panic!("{error}")).unwrap();
        asked.pop().unwrap().is_maybe
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 5_u64;
        let mut byte = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(&mut byte).collect()
    }

    /// Of views of any length, and wherever blocks are cut: the data is what a lens shows somewhere.
    #[test]
    fn the_shortest_run_is_seen_through_each_lens_wherever_it_stands() {
        for length in [40, 300, BLOCK, BLOCK + 3, BLOCK + 999, 2 * BLOCK + 5000] {
            let view = noise(length);
            for lens in LENSES {
                let mut shown = Vec::new();
                Seen::new(&view[..], lens).read_to_end(&mut shown).unwrap();
                let last = shown.len().saturating_sub(crate::RUN);
                let step = BLOCK / 3 + 1;
                let around = [BLOCK, lens.together(), 2 * BLOCK, length / 2, length / 3]
                    .map(|at| at.saturating_sub(15));
                for at in around.into_iter().chain((0..last).step_by(step)).chain([last]) {
                    let Some(run) = shown.get(at..at + crate::RUN) else { continue };
                    assert!(is_maybe(&view, lens, &[], run), "{lens:?} {length} {at}");
                }
            }
        }
    }

    #[test]
    fn where_the_data_has_other_neighbours_nothing_may_be_there() {
        let view = noise(2 * BLOCK + 777);
        for lens in LENSES {
            assert!(
                !is_maybe(&view, lens, &LENSES, b"a text of other bytes, none of which follow so"),
                "{lens:?}"
            );
        }
    }
}
