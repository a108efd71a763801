//! The direct loop, in its shortest form: every window of the output in one filter, asked for each aligned window of the
//! data. It hashes and asks several windows at a time, so that memory is waited for together; it verifies nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const TOGETHER: usize = 64;

/// A filter of three bits in a word of 64, with 16 bits for each window.
struct Filter {
    words: Vec<u64>,
    shift: u32,
}

fn hash(window: &[u8; 16]) -> u64 {
    let both = u128::from_le_bytes(*window);
    let left = (both as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let right = ((both >> 64) as u64).wrapping_add(0xbf58_476d_1ce4_e5b9);
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

fn bits(hash: u64) -> u64 {
    1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63)
}

impl Filter {
    fn of(output: &[u8]) -> Self {
        let words = (output.len() / 4).next_power_of_two();
        let mut filter = Self { words: vec![0; words], shift: 64 - words.trailing_zeros() };
        for windows in output.windows(16 + TOGETHER - 1).step_by(TOGETHER) {
            let mut hashes = [0; TOGETHER];
            hashes.iter_mut().zip(windows.array_windows()).for_each(|(held, window)| *held = hash(window));
            hashes.iter().for_each(|hash| filter.words[(hash >> filter.shift) as usize] |= bits(*hash));
        }
        filter
    }

    fn may_hold(&self, hash: u64) -> bool {
        let bits = bits(hash);
        self.words[(hash >> self.shift) as usize] & bits == bits
    }
}

/// How many windows of the data may stand in the output.
pub fn may_stand(output: &[u8], data: &Path) -> io::Result<u64> {
    let filter = Filter::of(output);
    let mut file = File::open(data)?;
    let (mut buffer, mut maybe) = (vec![0; 1 << 20], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(maybe);
        }
        for group in buffer[..read].as_chunks::<16>().0.chunks(TOGETHER) {
            let mut hashes = [0; TOGETHER];
            hashes.iter_mut().zip(group).for_each(|(held, window)| *held = hash(window));
            maybe += hashes[..group.len()].iter().filter(|hash| filter.may_hold(**hash)).count() as u64;
        }
    }
}
