//! Secrets that the test knows, in every form that an accident would give them.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A key, or a row of the data.
pub struct Secret {
    /// `row`, or `key NAME`.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// A part of a secret that counts as the secret: 96 bits of a key, or as many bytes of a row, which no accident makes.
const PART: usize = 12;

/// The forms, in the order in which they are told.
pub const FORMS: [&str; 6] = ["raw", "reversed", "hex", "HEX", "base64", "base64url"];

/// All of them in one search.
pub struct Canaries {
    search: AhoCorasick,
    meaning: Vec<(String, &'static str)>,
}

/// True for what a box keeps unencrypted somewhere: everything but people's own keys.
pub fn lies_plainly(name: &str) -> bool {
    !name.ends_with(" signing") && !name.ends_with(" review")
}

impl Canaries {
    pub fn new(secrets: &[Secret]) -> Self {
        let mut patterns: BTreeMap<Vec<u8>, (String, &'static str)> = BTreeMap::new();
        for secret in secrets {
            for part in parts(&secret.bytes) {
                for (form, pattern) in written(part) {
                    patterns.entry(pattern).or_insert_with(|| (secret.name.clone(), form));
                }
            }
        }
        let search = AhoCorasick::new(patterns.keys()).expect("patterns that fit");
        Self { search, meaning: patterns.into_values().collect() }
    }

    /// Which secrets stand in these bytes, and how.
    pub fn within(&self, bytes: &[u8]) -> BTreeSet<(&str, &'static str)> {
        let meaning = |found: aho_corasick::Match| {
            let (name, form) = &self.meaning[found.pattern().as_usize()];
            (name.as_str(), *form)
        };
        self.search.find_iter(bytes).map(meaning).collect()
    }
}

/// Beginning, middle and end: an accident that cuts, wraps or overwrites leaves one of them.
fn parts(secret: &[u8]) -> [&[u8]; 3] {
    let (middle, end) = ((secret.len() - PART) / 2, secret.len() - PART);
    [&secret[..PART], &secret[middle..middle + PART], &secret[end..]]
}

/// A part in every form. In base64 a part begins at one of three places within a group of four characters, and its
/// first and last character depend on what stands beside it, so they are left out.
fn written(part: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        ("raw", part.to_vec()),
        ("reversed", part.iter().rev().copied().collect()),
        ("hex", hex.clone().into_bytes()),
        ("HEX", hex.to_uppercase().into_bytes()),
    ];
    for before in 0..3 {
        let padded = [&vec![0; before][..], part].concat();
        // Whole characters of the part alone: six bits each, from the first that holds no bit of what stands before.
        let (first, last) = ((before * 8).div_ceil(6), (before + part.len()) * 8 / 6);
        for (form, text) in
            [("base64", STANDARD_NO_PAD.encode(&padded)), ("base64url", URL_SAFE_NO_PAD.encode(&padded))]
        {
            forms.push((form, text.as_bytes()[first..last].to_vec()));
        }
    }
    forms
}
