use std::io::Cursor;

use super::*;
use crate::weights::{Dtype, HeaderLimits, Tensors};

/// Bytes of a part in these tests.
const MOST: u64 = 1 << 14;

fn weights(shapes: &[&[u64]]) -> DeclaredOutput {
    let tensors: Vec<String> = shapes
        .iter()
        .enumerate()
        .map(|(number, shape)| {
            let shape: Vec<String> = shape.iter().map(|length| format!("\"{length}\"")).collect();
            format!(r#"{{"name":"t{number}","shape":[{}]}}"#, shape.join(","))
        })
        .collect();
    let text = format!(r#"{{"kind":"weights","path":"m.safetensors","tensors":[{}]}}"#, tensors.join(","));
    serde_json::from_str(&text).unwrap()
}

fn file_of(declared: &DeclaredOutput, precision: Precision) -> CanonicalFile<'_> {
    let DeclaredOutput::Weights { tensors, .. } = declared else { unreachable!() };
    let bytes = header(precision, tensors).len() as u64 + crate::weights::data_bytes(precision, tensors);
    CanonicalFile { output: 0, declared, precision, bytes }
}

fn ranges(parts: &[Vec<PartOfFile>]) -> Vec<Range<u64>> {
    parts.iter().flatten().map(|part| part.range.clone()).collect()
}

const SHAPES: [&[&[u64]]; 6] = [
    &[&[40_000]],
    &[&[900, 33]],
    &[&[7], &[300, 64], &[], &[12_345], &[64, 300]],
    &[&[3, 5_000, 4]],
    &[&[2, 30_000]],
    &[&[1], &[70, 70, 5, 2], &[1, 1, 9_999]],
];

#[test]
fn each_part_is_a_file_of_its_own_and_together_they_are_the_whole() {
    for (shapes, precision) in SHAPES
        .iter()
        .flat_map(|shapes| [Precision::Bf16, Precision::F32, Precision::Int8].map(|one| (shapes, one)))
    {
        let declared = weights(shapes);
        let file = file_of(&declared, precision);
        let parts = parts_of(&[file], MOST);
        assert!(parts.len() > 1 && parts.iter().all(|part| part.len() == 1), "{shapes:?}");
        let DeclaredOutput::Weights { tensors, .. } = &declared else { unreachable!() };
        let mut covered = header(precision, tensors).len() as u64;
        for part in parts.iter().flatten() {
            assert!(
                part.range.start <= covered && part.range.end > covered,
                "{shapes:?}: nothing is left out"
            );
            assert!(part.range.end - part.range.start <= MOST);
            covered = part.range.end;
            let length = part.header.len() as u64 + part.range.end - part.range.start;
            let bytes = [part.header.clone(), vec![0; (part.range.end - part.range.start) as usize]].concat();
            let read = Tensors::read(&mut Cursor::new(bytes), length, HeaderLimits::CANONICAL).unwrap();
            assert!(read.iter().all(|tensor| tensor.dtype != Dtype::F64));
        }
        assert_eq!(covered, file.bytes);
    }
}

#[test]
fn a_run_stands_whole_in_one_part_wherever_it_begins() {
    for shapes in SHAPES {
        let declared = weights(shapes);
        let file = file_of(&declared, Precision::Bf16);
        let ranges = ranges(&parts_of(&[file], MOST));
        let run = MOST / OVERLAP;
        for begin in ranges[0].start..file.bytes - run {
            let whole = ranges.iter().any(|range| range.start <= begin && begin + run <= range.end);
            assert!(whole, "{shapes:?}: {begin}");
        }
    }
}

#[test]
fn rows_that_a_run_down_a_column_needs_stand_whole_in_one_part() {
    // 31 bytes of a bit in each row.
    const NEEDED: u64 = 31 * 8;
    let (rows, columns) = (8_000, 15);
    let declared = weights(&[&[rows, columns]]);
    let file = file_of(&declared, Precision::Bf16);
    let parts = parts_of(&[file], MOST);
    let row = 2 * columns;
    assert!(row <= MOST / 512);
    let begin = ranges(&parts)[0].start;
    for first in 0..rows - NEEDED {
        let wanted = begin + first * row..begin + (first + NEEDED) * row;
        let whole = |range: &Range<u64>| range.start <= wanted.start && wanted.end <= range.end;
        assert!(ranges(&parts).iter().any(whole), "{first}");
    }
    // Each part has whole rows, so that a column is one there, too.
    for part in parts.iter().flatten() {
        assert!(
            part.header.windows(5).any(|text| text == b",15]}"),
            "{:?}",
            String::from_utf8_lossy(&part.header)
        );
    }
}

#[test]
fn small_files_share_a_part_and_stay_as_they_are() {
    let declared = weights(&[&[1_000]]);
    let file =
        |output, bytes| CanonicalFile { output, declared: &declared, precision: Precision::Bf16, bytes };
    let files = [file(0, MOST / 2), file(1, MOST / 2), file(2, 1), file(3, MOST)];
    let parts = parts_of(&files, MOST);
    let outputs: Vec<Vec<usize>> =
        parts.iter().map(|part| part.iter().map(|file| file.output).collect()).collect();
    assert_eq!(outputs, [vec![0, 1], vec![2], vec![3]]);
    assert!(parts.iter().flatten().all(|part| part.header.is_empty() && part.range.start == 0));
}

#[test]
fn a_file_that_is_not_as_declared_is_cut_as_bytes_and_nothing_is_left_out() {
    let declared = weights(&[&[1_000]]);
    let file = CanonicalFile { output: 0, declared: &declared, precision: Precision::Bf16, bytes: 5 * MOST };
    let ranges = ranges(&parts_of(&[file], MOST));
    assert_eq!((ranges[0].start, ranges.last().unwrap().end), (0, 5 * MOST));
    assert!(ranges.windows(2).all(|pair| pair[1].start == pair[0].end - MOST / OVERLAP));
}

#[test]
fn four_gibibytes_are_cut_into_parts_of_which_each_goes_on() {
    let declared = weights(&[&[1 << 19, 4096]]);
    let file = file_of(&declared, Precision::Bf16);
    assert!(file.bytes > 4 << 30);
    let parts = parts(&[file]);
    assert!((670..=700).contains(&parts.len()), "{}", parts.len());
}
