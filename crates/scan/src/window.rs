//! Which windows are plain, and which are exempt.

use crate::hash::array_at;

/// Distinct bytes from which a window of 16 bytes is not plain.
pub(crate) const DISTINCT: u32 = 5;

/// The same where a lens is laid on view and data. What it makes of both (distances, say) is less varied than what it is
/// laid on, and equal bytes of it show less.
pub(crate) const WEAK_DISTINCT: u32 = 8;

/// The distinct bytes of a window that moves.
pub(crate) struct Distinct {
    counts: [u8; 256],
    count: u32,
}

impl Distinct {
    pub(crate) fn of(window: &[u8; 16]) -> Self {
        let mut counts = [0; 256];
        window.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        let count = counts.iter().filter(|count| **count > 0).count() as u32;
        Self { counts, count }
    }

    /// Moves the window by one byte: `comes` is new in it, `leaves` no longer.
    #[inline]
    pub(crate) fn exchange(&mut self, comes: u8, leaves: u8) {
        let coming = &mut self.counts[usize::from(comes)];
        self.count += u32::from(*coming == 0);
        *coming += 1;
        let leaving = &mut self.counts[usize::from(leaves)];
        *leaving -= 1;
        self.count -= u32::from(*leaving == 0);
    }

    /// How many there are.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

/// Whether 16 bytes hold fewer than 5 distinct ones. Such windows are so common (zeros, flags, one-hot rows, bases of
/// a genome) that 31 bytes around them prove no copy.
#[inline]
pub(crate) fn is_plain(window: &[u8; 16]) -> bool {
    has_fewer_distinct(window, DISTINCT)
}

/// Whether 16 bytes hold fewer than 8 distinct ones.
#[inline]
pub(crate) fn is_weak(window: &[u8; 16]) -> bool {
    has_fewer_distinct(window, WEAK_DISTINCT)
}

#[inline]
fn has_fewer_distinct(window: &[u8; 16], least: u32) -> bool {
    // Bytes that are distinct modulo 64 are distinct. The first half mostly holds enough of them.
    let (first, second) = window.split_at(8);
    let modulo = |bytes: &[u8]| bytes.iter().fold(0_u64, |set, byte| set | 1 << (byte & 63));
    let half = modulo(first);
    !holds_bits(half, least)
        && !holds_bits(half | modulo(second), least)
        && (is_in_one_quarter(window) || has_few_distinct(window, least))
}

/// Whether so many bits are set or more. Where there is no instruction that counts them, this is quicker.
#[inline]
fn holds_bits(mut bits: u64, least: u32) -> bool {
    (1..least).for_each(|_| bits &= bits.wrapping_sub(1));
    bits != 0
}

/// Whether all bytes have the same two highest bits. Then those that are distinct are distinct modulo 64 too.
fn is_in_one_quarter(window: &[u8; 16]) -> bool {
    let differing = u128::from_le_bytes(*window) ^ u128::from_le_bytes([window[0]; 16]);
    differing & u128::from_le_bytes([0xc0; 16]) == 0
}

fn has_few_distinct(window: &[u8; 16], least: u32) -> bool {
    let mut set = [0_u64; 4];
    window.iter().for_each(|byte| set[usize::from(byte >> 6)] |= 1 << (byte & 63));
    set.iter().map(|part| part.count_ones()).sum::<u32>() < least
}

/// Whether each of the four parts of 64 bytes is plain.
#[inline]
pub(crate) fn is_all_plain(window: &[u8; 64]) -> bool {
    let (parts, _) = window.as_chunks();
    parts.iter().all(is_plain)
}

/// Whether 64 bytes have a period of 1 to 4. Periods 1 and 2 are periods 4 too.
#[inline]
pub(crate) fn is_exempt(window: &[u8; 64]) -> bool {
    // Almost every window differs in its first bytes already.
    let begins = |period: usize| array_at::<8>(window, period) == array_at::<8>(window, 0);
    let repeats = |period: usize| window[period..] == window[..64 - period];
    (begins(4) | begins(3)) && (repeats(4) || repeats(3))
}

/// How many bytes are exempt, in blocks of 64 from the first one.
pub(crate) fn exempt_bytes(bytes: &[u8]) -> u64 {
    let (blocks, _) = bytes.as_chunks::<64>();
    64 * blocks.iter().filter(|block| is_exempt(block)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_plain_below_five_distinct_bytes() {
        assert!(is_plain(b"0000000000000000"));
        assert!(is_plain(b"ACGTACGGTCATTACG"));
        assert!(!is_plain(b"ACGTACGGTCATTACN"));
        assert!(is_plain(&[0, 64, 128, 192, 0, 64, 128, 192, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(!is_plain(&[0, 64, 128, 192, 1, 64, 128, 192, 0, 0, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn a_window_is_exempt_up_to_a_period_of_four() {
        let with_period = |period: usize| -> [u8; 64] { std::array::from_fn(|index| (index % period) as u8) };
        for period in 1..=4 {
            assert!(is_exempt(&with_period(period)), "{period}");
        }
        for period in 5..=9 {
            assert!(!is_exempt(&with_period(period)), "{period}");
        }
        let mut broken = [0; 64];
        broken[63] = 1;
        assert!(!is_exempt(&broken));
    }
}
