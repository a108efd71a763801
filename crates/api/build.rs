//! Generates the wire types from `proto/` without protoc.

use std::path::PathBuf;
use std::{env, fs};

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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(false).open_files(FILES)?;
    // Only the encoded set keeps custom options such as `egress_bits`; prost drops fields that it does not know.
    fs::write(
        PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    compiler.include_source_info(true);
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
