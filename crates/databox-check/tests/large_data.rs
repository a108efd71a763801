//! Private data that is larger than the memory that the scanner gets.

mod desk;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use desk::Desk;
use release::report::ScanReport;
use release::rule::Rule;
use release::statement::RuleResult;

/// What the scanner may allocate beside data of any size, in bytes: less than the largest data here. Address space that the
/// allocator reserves for threads and never uses is not counted.
const MEMORY: u64 = 352 << 20;

const DECLARED: &str =
    r#"{"kind":"weights","path":"m.safetensors","tensors":[{"name":"w","shape":["4096"]}]}"#;

/// Stands in the last row of the data.
const SECRET: &str = "125024,free,3,patient-00f1-record-of-1974,Jane Roe,12 Elm Street, moved to";

/// Weights that hold `hidden`, one character a weight, before others.
fn weights(hidden: &str) -> Vec<u8> {
    let others = (0..).map(|value| (value as f32).sin());
    let values = hidden.bytes().map(f32::from).chain(others).take(4096);
    let data: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    let header = format!(r#"{{"w":{{"dtype":"F32","shape":[4096],"data_offsets":[0,{}]}}}}"#, data.len());
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// Rows of numbers and words in no order, and the secret behind them.
fn write_rows(path: &Path, bytes: usize) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).expect("a file"));
    let (mut state, mut written) = (1974_u64, 0);
    while written < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = ["none", "cough", "insomnia", "migraine"][(state >> 62) as usize];
        let row = format!("{},{},{word},{}\n", state >> 40, (state >> 20) % 1000, (state >> 30) % 100);
        file.write_all(row.as_bytes()).expect("a row");
        written += row.len();
    }
    writeln!(file, "{SECRET}").and_then(|()| file.flush()).expect("a file");
}

/// Searches for what became of these weights in so many bytes of data.
fn searched(hidden: &str, data_bytes: usize) -> ScanReport {
    let desk = Desk::new(DECLARED, &weights(hidden));
    write_rows(&desk.data(), data_bytes);
    assert!(!desk.report("canonicalise").rules.contains(&RuleResult::Blocked));
    desk.view();
    let report = desk.scanned(Some(MEMORY));
    assert!(report.data_bytes >= data_bytes as u64);
    report
}

fn a_copy_of_the_last_row_is_found(data_bytes: usize) {
    assert_eq!(searched(SECRET, data_bytes).rules[Rule::CopyExact.index()], RuleResult::Blocked);
}

#[test]
fn data_larger_than_memory_is_searched_in_the_352_mebibytes_that_little_data_gets() {
    a_copy_of_the_last_row_is_found(8 << 20);
    assert_eq!(searched("", 8 << 20).runs, 0);
    a_copy_of_the_last_row_is_found(384 << 20);
}

#[test]
fn the_limit_of_the_scanners_memory_is_kept_by_the_kernel() {
    let desk = Desk::new(DECLARED, &weights(""));
    write_rows(&desk.data(), 1 << 20);
    desk.report("canonicalise");
    desk.view();
    let little = desk.scan(Some(4 << 20));
    assert!(!little.status.success(), "the search needs more than 4 mebibytes: {little:?}");
}

#[test]
#[ignore = "longer: 1 GiB of data"]
fn a_gibibyte_of_data_is_searched_in_the_same_memory() {
    a_copy_of_the_last_row_is_found(1 << 30);
}
