//! Released files that are larger than the memory that the verifier gets.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use release::refusal::Refusal;
use test_formats::large_file::{LargeFile, release_with};

/// What the verifier's process may map, program and libraries among it, in bytes: less than any of the large files here.
const MEMORY: u64 = 64 << 20;

/// The verifier as it is installed, with a limit of memory that the kernel keeps.
fn verify(large: &LargeFile) -> Output {
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={MEMORY}")).arg(env!("CARGO_BIN_EXE_databox-verify"));
    command.arg(&large.release).arg("--roles").arg(large.pin.to_string()).arg("--files").arg(&large.files);
    command.output().expect("prlimit is installed")
}

/// 1 and -0 as bfloat16, the lowest byte first.
const ONE: [u8; 2] = [0x80, 0x3f];
const NEGATIVE_ZERO: [u8; 2] = [0x00, 0x80];

fn refusal(output: &Output) -> Option<Refusal> {
    Refusal::from_code(output.status.code()?.try_into().ok()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Verified, and refused with one value changed at its end.
fn is_verified_in_little_memory(directory: &Path, values: u64) {
    assert!(2 * values > MEMORY);
    let large = release_with(directory, values, ONE);
    let output = verify(&large);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("rules that need no data, and the bits"), "{}", said(&output));
    let file = File::options().write(true).open(&large.large).expect("the file");
    let end = file.metadata().expect("a length").len();
    file.write_all_at(&[0x40], end - 1).expect("a change");
    assert_eq!(refusal(&verify(&large)), Some(Refusal::FileDiffers));
}

#[test]
fn a_file_larger_than_memory_is_hashed_and_judged_again_and_refused_with_one_value_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    is_verified_in_little_memory(directory.path(), 36 << 20);
}

#[test]
fn a_large_file_that_was_signed_without_being_canonical_to_its_end_is_refused_by_the_second_judgement() {
    let directory = tempfile::tempdir().expect("a directory");
    let large = release_with(directory.path(), 36 << 20, NEGATIVE_ZERO);
    assert_eq!(refusal(&verify(&large)), Some(Refusal::JudgedDifferently));
}

#[test]
#[ignore = "longer: a file of 1 GiB"]
fn a_file_of_one_gibibyte_is_hashed_and_judged_again_in_64_mebibytes() {
    let directory = tempfile::tempdir().expect("a directory");
    is_verified_in_little_memory(directory.path(), 512 << 20);
}
