//! Seeded bytes, and a shorter way to call the search.
#![allow(dead_code)]

use release::report::ScanReport;
use scan::{Background, Limits, SearchedView, View};

/// SplitMix64 (Steele, Lea, Flood 2014): the same bytes in each run of the tests.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    pub fn letters(&mut self, alphabet: &[u8], length: usize) -> Vec<u8> {
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

/// Small enough that a few kilobytes take several chunks and passes.
pub const SMALL: Limits = Limits { pass_bytes: 0, chunk_bytes: 0, indexed_bytes: 0, threads: 2 };

/// The same with an index of the data.
pub const SMALL_INDEXED: Limits = Limits { indexed_bytes: u64::MAX, ..SMALL };

/// Whole passes, without an index of the data and with one where it is worth it.
pub fn both_ways() -> [Limits; 2] {
    [Limits { indexed_bytes: 0, ..Limits::default() }, Limits::default()]
}

pub fn search(view: &[u8], data: &[&[u8]]) -> ScanReport {
    search_with(vec![raw(0, view)], data, &Background::default(), Limits::default())
}

pub fn search_with(
    views: Vec<SearchedView<'_>>,
    data: &[&[u8]],
    background: &Background,
    limits: Limits,
) -> ScanReport {
    scan::search(views, data, background, limits).expect("slices are read without error")
}

pub fn raw(output: u16, bytes: &[u8]) -> SearchedView<'_> {
    SearchedView { output, view: View::Raw, bytes: Box::new(bytes) }
}

/// Places of the report as (output, offset, length).
pub fn places(report: &ScanReport) -> Vec<(u16, u64, u64)> {
    report.places.iter().map(|place| (place.output, place.offset, place.length)).collect()
}

/// `length` bytes of `data` at `from`, between two bytes that do not go on as the data does.
pub fn cut_out(data: &[u8], from: usize, length: usize) -> Vec<u8> {
    let before = from.checked_sub(1).map_or(0, |index| data[index]) ^ 0x81;
    let after = data.get(from + length).map_or(0, |byte| byte ^ 0x81);
    [&[before][..], &data[from..from + length], &[after]].concat()
}
