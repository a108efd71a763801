//! The jobs and the data of the demonstration, carried in the program so that it runs from anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, file_failure, whole};

/// The RAND Health Insurance Experiment, compressed; see `examples/data/README.md`.
const DATA: &[u8] = include_bytes!("../../../../examples/data/randhie.csv.zst");

/// An honest job: a logistic model.
pub const ANY_VISIT: [(&str, &str); 4] = [
    ("databox.toml", include_str!("../../../../examples/any-visit/databox.toml")),
    ("train.py", include_str!("../../../../examples/any-visit/train.py")),
    ("model.py", include_str!("../../../../examples/any-visit/model.py")),
    // Scores released weights outside of the box.
    ("score.py", include_str!("../../../../examples/any-visit/score.py")),
];

/// A theft: rows of the data as weights, one character a weight.
pub const STEAL_ROWS: [(&str, &str); 2] = [
    ("databox.toml", include_str!("../../../../examples/steal-rows/databox.toml")),
    ("steal.py", include_str!("../../../../examples/steal-rows/steal.py")),
];

/// Writes a bundle's files into a new directory.
pub fn write(files: &[(&str, &str)], directory: &Path) -> Result<PathBuf, Failure> {
    fs::create_dir_all(directory).map_err(file_failure(directory))?;
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).map_err(file_failure(&path))?;
    }
    Ok(directory.to_owned())
}

/// Writes the data, unpacked, into a new directory.
pub fn write_data(directory: &Path) -> Result<PathBuf, Failure> {
    fs::create_dir_all(directory).map_err(file_failure(directory))?;
    let path = directory.join("randhie.csv");
    let plain = zstd::decode_all(DATA).map_err(|error| Failure::new("DATA", whole(&error)))?;
    fs::write(&path, plain).map_err(file_failure(&path))?;
    Ok(directory.to_owned())
}
