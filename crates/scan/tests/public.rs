//! Files that anybody may read: what stands in them is no copy, and everything else is one as before.

mod material;

use std::io::{self, Read};

use material::{Random, SMALL, both_ways, raw, search_with};
use release::report::ScanReport;
use scan::{Background, Limits, PLAIN_RUN, RUN, ScanError, SearchedView, Source, View};

/// Text of words, of which no long stretch stands twice.
fn text(random: &mut Random, length: usize) -> Vec<u8> {
    let words: Vec<Vec<u8>> = (0..4000)
        .map(|_| {
            let letters = 2 + random.below(9);
            random.letters(b"etaoinshrdlucmfw", letters)
        })
        .collect();
    let mut text = Vec::new();
    while text.len() < length {
        text.extend(&words[random.below(words.len())]);
        text.push(b' ');
    }
    text.truncate(length);
    text
}

/// A licence, and data that holds it between other text.
fn licence_in_data(random: &mut Random, length: usize) -> (Vec<u8>, Vec<u8>) {
    let licence = text(random, length);
    let (before, behind) = (text(random, 3000), text(random, 3000));
    let data = [before, licence.clone(), behind].concat();
    (licence, data)
}

fn with_file(file: &[u8]) -> Background {
    Background::default().with_files([file.to_vec()])
}

fn searched(view: View, output: &[u8], data: &[u8], background: &Background, limits: Limits) -> ScanReport {
    search_with(vec![SearchedView { output: 0, view, bytes: Box::new(output) }], &[data], background, limits)
}

#[test]
fn a_public_file_that_stands_in_the_data_is_no_copy_behind_any_view_and_unregistered_it_is_one() {
    let mut random = Random(71);
    let (licence, data) = licence_in_data(&mut random, 5000);
    let with_constant: Vec<u8> = licence.iter().map(|byte| byte ^ 0x91).collect();
    let mut alphabet: Vec<u8> = (0..=255).collect();
    (0..256).for_each(|at| alphabet.swap(at, random.below(256)));
    let substituted: Vec<u8> = licence.iter().map(|byte| alphabet[usize::from(*byte)]).collect();
    let reversed: Vec<u8> = licence.iter().rev().copied().collect();
    let spread: Vec<u8> = licence.iter().flat_map(|byte| [*byte, random.next() as u8]).collect();
    let disguises = [
        (View::Raw, licence.clone()),
        (View::XorConstant, with_constant),
        (View::Substitution, substituted),
        (View::Reversed, reversed),
        (View::Strides, spread),
        (View::Folded, licence.to_ascii_uppercase()),
    ];
    for (view, hidden) in disguises {
        let output = [random.bytes(700), hidden, random.bytes(700)].concat();
        for limits in both_ways() {
            let unregistered = searched(view, &output, &data, &Background::default(), limits);
            assert!(unregistered.runs > 0, "{view:?}");
            let registered = searched(view, &output, &data, &with_file(&licence), limits);
            assert_eq!(registered.runs, 0, "{view:?} {:?}", registered.places);
        }
    }
}

#[test]
fn what_stands_beside_public_text_in_the_data_is_a_copy_from_31_bytes() {
    let mut random = Random(72);
    let (licence, data) = licence_in_data(&mut random, 2000);
    let end = 3000 + licence.len();
    let noise = random.bytes(100);
    for private in [15, RUN - 1, RUN, 60] {
        let output = [&noise, &data[3000..end + private], &noise].concat();
        let report = searched(View::Raw, &output, &data, &with_file(&licence), Limits::default());
        assert_eq!(report.runs, u64::from(private >= RUN), "{private} bytes behind");
        let output = [&noise, &data[3000 - private..end], &noise].concat();
        let report = searched(View::Raw, &output, &data, &with_file(&licence), Limits::default());
        assert_eq!(report.runs, u64::from(private >= RUN), "{private} bytes before");
    }
    // Of replaced bytes as many as are found elsewhere.
    for private in [RUN, PLAIN_RUN + 60] {
        let replaced: Vec<u8> = data[3000..end + private].iter().map(|byte| byte.wrapping_mul(7)).collect();
        let output = [&noise, &replaced[..], &noise].concat();
        let report = searched(View::Substitution, &output, &data, &with_file(&licence), Limits::default());
        assert_eq!(report.runs, u64::from(private > PLAIN_RUN), "{private} replaced bytes behind");
    }
}

#[test]
fn public_text_is_told_from_private_text_wherever_passes_and_chunks_end() {
    let mut random = Random(73);
    let (licence, data) = licence_in_data(&mut random, 60_000);
    let (first, second) = licence.split_at(30_000);
    let honest = [random.bytes(77), first.to_vec(), random.bytes(50), second.to_vec()].concat();
    let report = searched(View::Raw, &honest, &data, &with_file(&licence), SMALL);
    assert_eq!(report.runs, 0, "{:?}", report.places);
    // Each copied run is found, and the public text around it is not.
    let places = [100, 9_000, 31_234, 60_000];
    let mut output = honest.clone();
    for (number, at) in places.into_iter().enumerate().rev() {
        let run = data[40 * number..][..RUN].to_vec();
        output.splice(at..at, [vec![0xff], run, vec![0xfe]].concat());
    }
    let report = searched(View::Raw, &output, &data, &with_file(&licence), SMALL);
    let expected: Vec<(u64, u64)> =
        places.iter().enumerate().map(|(number, at)| ((at + 33 * number + 1) as u64, RUN as u64)).collect();
    let found: Vec<(u64, u64)> = report.places.iter().map(|place| (place.offset, place.length)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_public_file_that_is_only_alike_excuses_nothing() {
    let mut random = Random(74);
    let (licence, data) = licence_in_data(&mut random, 2000);
    let mut alike = licence.clone();
    alike.iter_mut().step_by(RUN - 1).for_each(|byte| *byte ^= 1);
    let report = searched(View::Raw, &licence, &data, &with_file(&alike), Limits::default());
    assert_eq!((report.runs, report.places[0].length), (1, licence.len() as u64));
}

#[test]
fn phrases_of_a_public_file_in_the_order_of_the_data_are_a_copy() {
    let mut random = Random(76);
    let list: Vec<Vec<u8>> =
        (0..500).map(|_| [&text(&mut random, 34)[..], b" without complications\n"].concat()).collect();
    let column: Vec<u8> = (0..300).flat_map(|_| list[random.below(500)].clone()).collect();
    let public = list.concat();
    let data = [&column[..], b"-----", &public].concat();
    let report = searched(View::Raw, &column, &data, &with_file(&public), Limits::default());
    assert!(report.runs > 0, "the order of the column is private");
    // Twins: the list as it stands, and two entries of it.
    for innocent in [&public[..], &column[..100]] {
        let report = searched(View::Raw, innocent, &data, &with_file(&public), Limits::default());
        assert_eq!(report.runs, 0, "{:?}", report.places);
    }
}

#[test]
fn public_text_beside_a_name_of_the_catalogue_is_no_copy() {
    let mut random = Random(77);
    let (licence, data) = licence_in_data(&mut random, 500);
    let name = b"person,deductible,visits,cost";
    let data = [&data[..3000], name, &data[3000..]].concat();
    let output = [&name[..], &licence].concat();
    let named = || Background::of([name]);
    let report =
        searched(View::Raw, &output, &data, &named().with_files([licence.clone()]), Limits::default());
    assert_eq!(report.runs, 0, "{:?}", report.places);
    assert_eq!(searched(View::Raw, &output, &data, &named(), Limits::default()).runs, 1);
}

#[test]
fn private_bytes_beside_public_text_count_wherever_a_pass_ends() {
    let mut random = Random(78);
    let (licence, data) = licence_in_data(&mut random, 30_000);
    let end = 3000 + licence.len();
    // A pass of 8,952 bytes ends at each place around the border between public and private text.
    for before in (8_952 - 200..8_952 + 200).step_by(7) {
        for (private, expected) in [(RUN - 1, 0), (RUN, 1)] {
            let output = [&data[end - before..end + private], &[0xff; 20_000][..]].concat();
            let report = searched(View::Raw, &output, &data, &with_file(&licence), SMALL);
            assert_eq!(report.runs.min(1), expected, "{before} {private}");
        }
    }
}

/// A file that is there and cannot be read.
struct Unreadable;

impl Source for Unreadable {
    fn open_at(&self, _offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(1)
    }
}

#[test]
fn a_public_file_that_cannot_be_read_ends_a_search_that_found_something() {
    let mut random = Random(75);
    let (licence, data) = licence_in_data(&mut random, 500);
    let background = Background::default().with_files([Unreadable]);
    let search =
        |output: &[u8]| scan::search(vec![raw(0, output)], &[&data[..]], &background, Limits::default());
    assert!(matches!(search(&licence), Err(ScanError::ReadPublic { file: 0, .. })));
    // Nothing need be excused where nothing was found.
    assert_eq!(search(&random.bytes(500)).unwrap().runs, 0);
}
