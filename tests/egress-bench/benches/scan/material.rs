//! What is searched: real text and real rows, and outputs that honest programs write.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where text that people wrote lies on a machine that builds this repository: sources and documentation.
const FOLDERS: [&str; 4] = ["/usr/share/doc", "/usr/lib/python3.11", "/usr/lib/python3", "/usr/share/perl"];

/// Ends of names of files that are text.
const TEXT: [&str; 9] = ["rs", "md", "txt", "py", "html", "toml", "copyright", "pm", "js"];

/// One file of so many is kept from the data, for outputs.
const HELD_BACK: usize = 50;

/// Pseudo-random numbers (G. Steele and others, SplitMix64, 2014): the material is the same each time.
pub struct Draw(u64);

impl Draw {
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Text files of this machine, each once: those that are data, and those that are held back.
pub struct Text {
    pub data: Vec<u8>,
    pub held_back: Vec<u8>,
}

impl Text {
    /// `bytes` of data, less if the machine has less.
    pub fn of_this_machine(bytes: usize) -> Self {
        let mut files = Vec::new();
        for folder in folders() {
            collect(&folder, &mut files);
        }
        let (mut text, mut seen) = (Self { data: Vec::new(), held_back: Vec::new() }, HashSet::new());
        for (place, file) in files.iter().enumerate() {
            let Ok(content) = fs::read(file) else { continue };
            let begin: Vec<u8> = content.iter().take(1 << 12).copied().collect();
            if text.data.len() >= bytes || !seen.insert((content.len(), begin)) {
                continue;
            }
            let side = if place % HELD_BACK == 0 { &mut text.held_back } else { &mut text.data };
            side.extend(content);
        }
        text.data.truncate(bytes);
        text
    }
}

fn folders() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let toolchains = std::env::var_os("RUSTUP_HOME").map_or_else(|| home.join(".rustup"), PathBuf::from);
    let mut folders = vec![cargo.join("registry/src")];
    folders.extend(FOLDERS.map(PathBuf::from));
    folders.push(toolchains.join("toolchains"));
    folders
}

/// All text files below a folder, in the order of their names.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        let is_text = || {
            let end = path.extension().or(path.file_name()).unwrap_or_default();
            TEXT.iter().any(|text| end == *text)
        };
        if kind.is_dir() {
            collect(&path, files);
        } else if kind.is_file() && is_text() {
            files.push(path);
        }
    }
}

/// Rows of the RAND Health Insurance Experiment in any order, each as often as it comes, behind a number of its own.
pub fn rows(real: &[u8], bytes: usize) -> Vec<u8> {
    let lines: Vec<&[u8]> = real.split_inclusive(|byte| *byte == b'\n').collect();
    let (mut csv, mut draw, mut unit) = (lines[0].to_vec(), Draw::of(1), 10_000_000_u64);
    while csv.len() < bytes {
        unit += 1 + draw.next() % 9;
        csv.extend(format!("{unit},").bytes());
        csv.extend(lines[1 + draw.below(lines.len() - 1)]);
    }
    csv.truncate(bytes);
    csv
}

/// Rows of no one: each cell is drawn anew from the real ones of its column.
pub fn rows_of_no_one(real: &[u8], bytes: usize) -> Vec<u8> {
    let lines = real.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.is_empty());
    let rows: Vec<Vec<&[u8]>> = lines.map(|line| line.split(|byte| *byte == b',').collect()).collect();
    let (mut csv, mut draw) = (Vec::new(), Draw::of(2));
    while csv.len() < bytes {
        let columns = 0..rows[0].len();
        columns.for_each(|column| csv.extend([rows[draw.below(rows.len())][column], b","].concat()));
        csv.push(b'\n');
    }
    csv.truncate(bytes);
    csv
}

/// Normal weights of a deviation of 0.05 as bfloat16 (G. Box and M. Muller, 1958).
pub fn weights(bytes: usize) -> Vec<u8> {
    let mut draw = Draw::of(3);
    let mut unit = || (draw.next() >> 11) as f64 / (1_u64 << 53) as f64;
    let normal = std::iter::repeat_with(move || {
        (-2.0 * (1.0 - unit()).ln()).sqrt() * (std::f64::consts::TAU * unit()).cos() * 0.05
    });
    normal
        .take(bytes / 2)
        .flat_map(|value| ((value as f32).to_bits() >> 16).to_le_bytes()[..2].to_vec())
        .collect()
}
