//! Seeded bytes, and a shorter way to call the search.
#![allow(dead_code)]

pub mod numbers;

use std::fs::File;
use std::io::{self, Read};

use release::report::ScanReport;
use scan::{Background, Limits, SearchedView, SnapshotIndex, Source, View};

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

/// Whole passes: with nothing known of the data before, with its pairs of bytes, and with an index where it is worth it.
pub fn both_ways() -> [Limits; 3] {
    let of = |indexed_bytes| Limits { indexed_bytes, ..Limits::default() };
    [of(0), of(1), Limits::default()]
}

pub fn search(view: &[u8], data: &[&[u8]]) -> ScanReport {
    search_with(vec![raw(0, view)], data, &Background::default(), Limits::default())
}

/// Searches without and with an index of the data: both must report the same.
pub fn search_with(
    views: Vec<SearchedView<'_>>,
    data: &[&[u8]],
    background: &Background,
    limits: Limits,
) -> ScanReport {
    let again = views.iter().map(|SearchedView { output, view, bytes }| SearchedView {
        output: *output,
        view: *view,
        bytes: Box::new(Borrowed(bytes.as_ref())),
    });
    let indexes = [index(data)];
    let indexed = scan::search_indexed(again.collect(), data, &indexes, background, limits);
    let report = scan::search(views, data, background, limits).expect("slices are read without error");
    assert_eq!(indexed.expect("slices are read without error"), report);
    report
}

struct Borrowed<'a>(&'a dyn Source);

impl Source for Borrowed<'_> {
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        self.0.open_at(offset)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

/// The index of data.
pub fn index(data: &[impl Source]) -> SnapshotIndex {
    SnapshotIndex::open(index_file(data), data).expect("it was just made")
}

pub fn index_file(data: &[impl Source]) -> File {
    let file = || tempfile::tempfile().expect("there is room for a file");
    let index = file();
    scan::build_index(data, &file(), &index).expect("slices are read without error");
    index
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
