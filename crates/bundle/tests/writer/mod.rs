//! Writes archives byte by byte, so that they can be as wrong as an attacker's.

#![allow(dead_code)]

use std::io::Write;

/// A manifest that parses.
pub const MANIFEST: &[u8] = br#"
[job]
name = "any-visit"
project = "hie"
runtime = "host-python"
command = ["python3", "train.py"]
purpose = "A model"
[data.hie]
snapshot = "latest"
[limits]
cpus = 1
memory = "2GiB"
time = "20min"
[[output]]
path = "metrics.json"
kind = "metrics"
names = ["log_loss"]
"#;

/// An archive under construction, without its closing blocks.
#[derive(Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    pub fn with_manifest() -> Self {
        Self(entry(b"databox.toml", b'0', MANIFEST, |_| {}))
    }

    pub fn add(mut self, entry: &[u8]) -> Self {
        self.0.extend(entry);
        self
    }

    pub fn without_end(self) -> Vec<u8> {
        self.0
    }

    pub fn whole(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    pub fn bundle(self) -> Vec<u8> {
        compressed(&self.whole())
    }
}

/// One entry: a ustar header, changed as told and then given a right checksum, and the padded bytes.
pub fn entry(name: &[u8], type_byte: u8, bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut entry = vec![0; 512];
    entry[..name.len()].copy_from_slice(name);
    entry[100..108].copy_from_slice(b"0000644\0");
    entry[108..116].copy_from_slice(b"0001750\0");
    entry[116..124].copy_from_slice(b"0001750\0");
    entry[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
    entry[136..148].copy_from_slice(b"14712345670\0");
    entry[156] = type_byte;
    entry[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut entry);
    fix_checksum(&mut entry);
    entry.extend(bytes);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

pub fn fix_checksum(entry: &mut [u8]) {
    entry[148..156].fill(b' ');
    let sum: u32 = entry[..512].iter().map(|byte| u32::from(*byte)).sum();
    entry[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn compressed(bytes: &[u8]) -> Vec<u8> {
    with_window(bytes, 20)
}

/// A frame that asks for a window of two to this power, whatever it needs.
pub fn with_window(bytes: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.window_log(log).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A frame that decoders skip (RFC 8878, 3.1.2).
pub fn skippable_frame(content: &[u8]) -> Vec<u8> {
    [&0x184d_2a50u32.to_le_bytes()[..], &(content.len() as u32).to_le_bytes(), content].concat()
}
