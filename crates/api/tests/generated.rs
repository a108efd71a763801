//! The wire types under `src/generated` are what `proto/` says. They are kept, not made in each build, because the
//! compiler of protos and what it rests on take longer to build than the rest of this crate.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

const FILES: [&str; 8] = [
    "databox/v1/bundle.proto",
    "databox/v1/call_reason.proto",
    "databox/v1/data.proto",
    "databox/v1/job.proto",
    "databox/v1/release.proto",
    "databox/v1/review.proto",
    "databox/internal/v1/console_enclave.proto",
    "databox/internal/v1/gateway_enclave.proto",
];

/// Writes the types without protoc.
fn generate(into: &Path) -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(false).open_files(FILES)?;
    // Only the encoded set keeps custom options such as `egress_bits`; prost drops fields that it does not know.
    fs::write(into.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    compiler.include_source_info(true);
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .out_dir(into)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// When it fails it has written what it found: run it again and commit.
#[test]
fn the_kept_wire_types_are_what_the_protos_say() {
    let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    let made = tempfile::tempdir().unwrap();
    generate(made.path()).unwrap();
    let mut differ = Vec::new();
    for entry in fs::read_dir(made.path()).unwrap() {
        let entry = entry.unwrap();
        let (kept, made) = (kept.join(entry.file_name()), fs::read(entry.path()).unwrap());
        if fs::read(&kept).ok().as_ref() != Some(&made) {
            fs::write(&kept, &made).unwrap();
            differ.push(kept);
        }
    }
    assert!(differ.is_empty(), "did not match the protos, and are written anew: {differ:?}");
    assert_eq!(fs::read_dir(&kept).unwrap().count(), fs::read_dir(made.path()).unwrap().count());
}
