//! A release with one file that is larger than the memory of whoever verifies it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use blobs::Digest;
use release::account::VERDICT_BITS;
use release::statement::{CatalogueEntry, DeclaredOutput};
use release::value::{Count, Name};

use crate::story::{POLICY_FILE, Story, name};

const LARGE: &str = "model.safetensors";
/// More than any file here can carry.
const PLENTY: u64 = 1 << 40;

/// Where such a release lies.
pub struct LargeFile {
    /// The pin.
    pub pin: Digest,
    /// The release file.
    pub release: PathBuf,
    /// The directory of the released files.
    pub files: PathBuf,
    /// The large one.
    pub large: PathBuf,
}

/// The first bytes of a canonical file with one tensor of so many bfloat16 values, as `docs/formats/canonical.md` says.
fn header(values: u64) -> Vec<u8> {
    let end = 2 * values;
    let mut text = format!(r#"{{"w":{{"data_offsets":[0,{end}],"dtype":"BF16","shape":[{values}]}}}}"#);
    text += &" ".repeat(text.len().next_multiple_of(8) - text.len());
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Writes a release whose weights have so many values. The file has holes, so that it takes little of the disk: all its
/// values are 0 but the last.
pub fn release_with(directory: &Path, values: u64, last: [u8; 2]) -> LargeFile {
    let files = directory.join("files");
    fs::create_dir(&files).expect("a directory");
    let (large, header) = (files.join(LARGE), header(values));
    let bytes = header.len() as u64 + 2 * values;
    let file = File::create(&large).expect("a file");
    file.set_len(bytes).expect("a long file");
    file.write_all_at(&header, 0).expect("a header");
    file.write_all_at(&last, bytes - 2).expect("a value");
    let (digest, _) = Digest::of_reader(File::open(&large).expect("the file")).expect("a digest");
    let told = story(values, bytes, digest).tell();
    for (path, bytes) in told.files.iter().filter(|(path, _)| path.as_str() != LARGE) {
        fs::write(files.join(path.as_str()), bytes).expect("a file");
    }
    let release = directory.join("large.release.json");
    fs::write(&release, &told.bytes).expect("a release file");
    LargeFile { pin: told.pin, release, files, large }
}

/// The story with that file in the place of its weights, under a policy and a grant that allow it.
fn story(values: u64, bytes: u64, digest: Digest) -> Story {
    let policy = POLICY_FILE.replace("_bits = 100000", &format!("_bits = {PLENTY}"));
    let policy_digest = Digest::of(policy.as_bytes());
    let large: Name = name(LARGE);
    Story::default()
        .policy(move |policy| policy.file = policy_digest.into())
        .release(move |release| release.policy_file = policy.clone().into_bytes())
        .dataset(|entry| {
            if let CatalogueEntry::Dataset { limits, .. } = &mut entry.entry {
                limits.release_bits = Count(2 * PLENTY);
            }
        })
        .grant(|grant| grant.datasets.values_mut().for_each(|bits| bits.release_bits = Count(2 * PLENTY)))
        .request(move |request| {
            for output in &mut request.outputs {
                if let DeclaredOutput::Weights { tensors, .. } = output {
                    tensors[0].shape = vec![Count(values)];
                }
            }
        })
        .verdict(move |verdict| {
            let file = verdict.files.iter_mut().find(|file| file.name == large).expect("the weights");
            (file.bytes, file.sha256, file.released_bits) = (Count(bytes), digest, Count(16 * values));
            let released = verdict.files.iter().map(|file| file.released_bits.0).sum();
            verdict.released_bits = Count(released);
            verdict.charges[0].release_bits = Count(released + VERDICT_BITS);
        })
}
