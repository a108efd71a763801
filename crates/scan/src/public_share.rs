//! How much of the data stands in public files, for whoever is to sign that they are public.

use std::collections::HashMap;
use std::io;

use crate::data::{Source, Stream};
use crate::hash::{HashKey, array_at};
use crate::window::is_plain;

/// Most windows of the data that are looked for. The share is then right to half a percent in nearly all cases.
const SAMPLED: u64 = 1 << 16;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 18;

/// About how much of the data stands in these files, in millionths: of at most 65,536 windows of 16 bytes, which lie evenly in the
/// data and are not plain, those that stand somewhere in one of the files. None where the data has no such window.
///
/// Whatever stands there is found in no output any more, so a large share says that the search was signed away. It is an
/// estimate for people; the search itself samples nothing. Memory does not grow with data or files.
pub fn public_share(data: &[impl Source], public: &[impl Source]) -> io::Result<Option<u32>> {
    let key = HashKey::random().map_err(io::Error::other)?;
    let lengths = data.iter().map(Source::length).collect::<io::Result<Vec<u64>>>()?;
    let every = (lengths.iter().sum::<u64>() / 16).div_ceil(SAMPLED).max(1);
    let (mut sampled, mut at) = (HashMap::new(), 0);
    let mut windows = 0_u64;
    for file in data {
        each_window(file, 16, &mut |window| {
            if at % every == 0 && !is_plain(window) {
                *sampled.entry(key.narrow(window)).or_insert(0) += 1;
                windows += 1;
            }
            at += 1;
        })?;
    }
    let mut standing = 0_u64;
    for file in public {
        each_window(file, 1, &mut |window| standing += sampled.remove(&key.narrow(window)).unwrap_or(0))?;
    }
    let millionths = (standing * 1_000_000).checked_div(windows);
    Ok(millionths.map(|millionths| u32::try_from(millionths).expect("no more stands there than there is")))
}

/// Shows the windows of 16 bytes that begin at every so many bytes of a file.
fn each_window(file: &impl Source, step: usize, show: &mut dyn FnMut(&[u8; 16])) -> io::Result<()> {
    let mut stream = Stream::new(file.open()?, CHUNK);
    while let Some((bytes, range)) = stream.advance()? {
        let last = bytes.len().saturating_sub(15).min(range.end);
        (range.start..last).step_by(step).for_each(|at| show(array_at(bytes, at)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(seed: u32, bytes: usize) -> Vec<u8> {
        let words = (0..).map(|at: u32| format!("{},", at.wrapping_mul(seed) >> 3));
        words.flat_map(String::into_bytes).take(bytes).collect()
    }

    #[test]
    fn the_share_is_that_of_the_data_which_stands_in_the_files_however_it_is_aligned() {
        let (private, licence) = (rows(2_654_435_761, 600_000), rows(40_503, 200_000));
        let data = [[&private[..], &licence].concat()];
        let share = |public: &[Vec<u8>]| public_share(&data, public).unwrap().unwrap();
        assert_eq!(share(&[]), 0);
        assert_eq!(share(&[rows(97, 300_000)]), 0);
        let quarter = share(&[[b"one byte more", &licence[..]].concat()]);
        assert!((245_000..255_000).contains(&quarter), "{quarter}");
        assert!(share(&[data[0][..799_990].to_vec()]) > 999_900);
    }

    #[test]
    fn large_data_is_sampled_evenly_and_plain_data_has_no_share() {
        let part = rows(2_654_435_761, 2_000_000);
        let data = [[&part[..], &rows(40_503, 2_000_000)].concat()];
        let half = public_share(&data, &[part]).unwrap().unwrap();
        assert!((490_000..510_000).contains(&half), "{half}");
        assert_eq!(public_share(&[vec![0; 10_000]], &[vec![0; 10_000]]).unwrap(), None);
        assert_eq!(public_share(&[] as &[Vec<u8>], &[] as &[Vec<u8>]).unwrap(), None);
    }
}
