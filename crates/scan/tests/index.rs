//! An index of the data: what is found with it, how much of the data is read, and what becomes of a damaged one.
//!
//! Every search of the other tests is made with an index too, and reports the same.

mod material;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use material::{Random, cut_out, index, index_file, places, raw, search_with};
use scan::{Background, IndexError, Limits, RUN, SnapshotIndex, Source};

/// Data of which is counted how much was read.
struct Counted<'a> {
    bytes: &'a [u8],
    read: &'a AtomicU64,
}

impl Source for Counted<'_> {
    fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(CountedRead { left: &self.bytes[offset as usize..], read: self.read }))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

struct CountedRead<'a> {
    left: &'a [u8],
    read: &'a AtomicU64,
}

impl Read for CountedRead<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.left.read(into)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Runs that are found with an index, how many bytes of the data were read, and the places.
fn searched(view: &[u8], data: &[&[u8]]) -> (u64, u64, Vec<(u16, u64, u64)>) {
    let read = AtomicU64::new(0);
    let counted: Vec<_> = data.iter().map(|bytes| Counted { bytes, read: &read }).collect();
    let indexes = [index(data)];
    let background = Background::default();
    let report =
        scan::search_indexed(vec![raw(0, view)], &counted, &indexes, &background, Limits::default()).unwrap();
    (report.runs, read.into_inner(), places(&report))
}

#[test]
fn with_an_index_an_honest_output_reads_next_to_none_of_the_data_and_a_copy_what_lies_around_it() {
    let mut random = Random(1);
    let data = [random.bytes(3_000_000), random.bytes(5_000_001)];
    let data = [&data[0][..], &data[1][..]];
    let honest = random.bytes(2_000_000);
    let (runs, read, _) = searched(&honest, &data);
    assert_eq!(runs, 0);
    assert!(read < 200_000, "{read}");
    let output = [&honest[..], &cut_out(data[1], 4_000_003, RUN)].concat();
    let (runs, read, places) = searched(&output, &data);
    assert_eq!((runs, places), (1, vec![(0, 2_000_001, RUN as u64)]));
    assert!((1..400_000).contains(&read), "{read}");
}

/// The data repeats one window, the output too, never with the same neighbours: pair by pair this would take hours.
#[test]
fn an_output_that_repeats_what_the_data_repeats_is_searched_in_linear_time_with_an_index() {
    let mut random = Random(2);
    let pattern = b"abcdefghijklmnop";
    let mut surrounded = |low: u8, count: usize| -> Vec<u8> {
        let mut around = || random.bytes(8).iter().map(|byte| byte >> 1 | low).collect::<Vec<_>>();
        (0..count).flat_map(|_| [around(), pattern.to_vec(), around()].concat()).collect()
    };
    let (view, data) = (surrounded(0x80, 500_000), surrounded(0, 500_000));
    assert_eq!(searched(&view, &[&data]).0, 0);
    assert_eq!(searched(&pattern.repeat(500_000), &[&pattern.repeat(500_000)]).0, 1);
}

#[test]
fn plain_data_is_found_with_an_index_as_without() {
    let mut random = Random(3);
    let genome = random.letters(b"ACGT", 1_000_003);
    let other = random.letters(b"ACGT", 300_000);
    let mut view = other.clone();
    for length in [127, 127, 500] {
        view.extend(cut_out(&genome, random.below(genome.len() - length), length));
    }
    let (runs, read, _) = searched(&view, &[&genome]);
    assert_eq!((runs, searched(&other, &[&genome]).0), (3, 0));
    assert!(read < 1_000_000, "{read}");
}

#[test]
fn the_index_of_other_files_is_refused() {
    let mut random = Random(4);
    let data = [random.bytes(10_000), random.bytes(20_000)];
    let file = || index_file(&data);
    assert!(SnapshotIndex::open(file(), &data).is_ok());
    for other in [vec![data[0].clone()], vec![data[1].clone(), data[0].clone()]] {
        assert!(matches!(SnapshotIndex::open(file(), &other), Err(IndexError::Foreign)));
    }
}

/// Whichever byte is another one, or how much is missing: it is noticed, or was not needed.
#[test]
fn a_damaged_index_hides_nothing() {
    let mut random = Random(5);
    let data = random.bytes(50_000);
    let mut view = random.bytes(30_000);
    view.extend((0..200).flat_map(|_| cut_out(&data, random.below(data.len() - RUN), RUN)));
    let expected = search_with(vec![raw(0, &view)], &[&data], &Background::default(), Limits::default());
    assert_eq!(expected.runs, 200);
    let whole = index_file(&[&data[..]]);
    let bytes = whole.metadata().unwrap().len();
    let reported = |damaged: File| {
        let index = SnapshotIndex::open(damaged, &[&data[..]])?;
        let (background, limits) = (Background::default(), Limits::default());
        Ok(scan::search_indexed(vec![raw(0, &view)], &[&data[..]], &[index], &background, limits).unwrap())
    };
    let (mut refused, mut survived) = (0, 0);
    let mut held = |reported: Result<_, IndexError>| match reported {
        Ok(report) => {
            assert_eq!(report, expected);
            survived += 1;
        }
        Err(IndexError::Damaged) => refused += 1,
        Err(error) => panic!("{error}"),
    };
    for _ in 0..40 {
        let (damaged, at) = (copy(&whole, bytes), random.below(bytes as usize) as u64);
        let mut byte = [0];
        damaged.read_exact_at(&mut byte, at).unwrap();
        damaged.write_all_at(&[byte[0] ^ 1 << random.below(8)], at).unwrap();
        held(reported(damaged));
        let cut_off = random.below(bytes as usize) as u64;
        held(reported(copy(&whole, cut_off)));
    }
    held(reported(copy(&whole, 100)));
    held(reported(copy(&whole, bytes)));
    assert!(refused > 0 && survived > 0);
}

/// The first so many bytes of a file.
fn copy(file: &File, bytes: u64) -> File {
    let mut content = vec![0; bytes as usize];
    file.read_exact_at(&mut content, 0).unwrap();
    let copy = tempfile::tempfile().unwrap();
    copy.write_all_at(&content, 0).unwrap();
    copy
}

#[test]
fn two_indexes_of_the_same_data_have_nothing_in_common() {
    let data = Random(6).bytes(100_000);
    let filter = || {
        let mut bytes = vec![0; 256 << 10];
        index_file(&[&data[..]]).read_exact_at(&mut bytes, 4096).unwrap();
        bytes
    };
    let (one, other) = (filter(), filter());
    let bits = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
    let both: Vec<u8> = one.iter().zip(&other).map(|(one, other)| one & other).collect();
    // Each sets about 37 thousand of two million bits.
    assert!(bits(&one) > 30_000 && bits(&both) < 3_000, "{} and {}", bits(&one), bits(&both));
}
