//! How much processor time it takes to audit a mirror with many releases, over the signatures and digests of its release
//! files alone, in turn in the same process; and how much memory an audit needs, in a process of its own that does nothing
//! else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use release::file::{Mirror, MirrorExamination, Pinned, Reading};
use test_formats::bare::Bare;
use test_formats::large_log::LargeLog;
use test_formats::measure::{peak_memory_kib, processor_seconds};
use test_formats::story::verified_at;

const LEAVES: u64 = 100_000;
const RELEASES: u64 = 500;
const ROUNDS: usize = 7;

struct Directory(PathBuf);

impl Mirror for Directory {
    fn read(&self, path: &str, _: usize) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let names = fs::read_dir(self.0.join(folder))?;
        Ok(names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }
}

fn bare(mirror: &Path, log: &LargeLog) -> Vec<Bare> {
    let file = |digest| mirror.join(format!("releases/{digest}.release.json"));
    let releases = log.released.iter().map(|digest| fs::read(file(digest)).expect("a release"));
    releases.map(|bytes| Bare::of(&serde_json::from_slice(&bytes).expect("JSON"))).collect()
}

fn seconds(work: impl FnOnce()) -> f64 {
    let begun = processor_seconds();
    work();
    processor_seconds() - begun
}

/// Told to a process that audits a mirror and ends: it prints its peak of memory in KiB.
const AUDIT: &str = "--audit";

fn audit(mirror: &Path, pinned: &Pinned, reading: Reading<'_>) -> u64 {
    let mirror = Directory(mirror.to_owned());
    let found = MirrorExamination::of(&mirror, pinned, reading, verified_at()).expect("a mirror");
    found.result.expect("a sound log").size
}

/// The peak of memory of a process that audits with every entry, in MiB.
fn peak(mirror: &Path, log: &LargeLog) -> f64 {
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this).arg(AUDIT).arg(mirror).arg(log.pin.to_string()).output();
    let printed = String::from_utf8(output.expect("a process").stdout).expect("a number");
    printed.trim().parse::<f64>().expect("a number") / 1024.0
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, mirror, pin, ..] = &arguments[..]
        && word == AUDIT
    {
        audit(Path::new(mirror), &Pinned::new(pin.parse().expect("a digest")), Reading::Whole);
        return println!("{}", peak_memory_kib());
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mirror = directory.path();
    let mut log = LargeLog::begin(mirror, "a");
    log.grow(LEAVES, RELEASES);
    log.publish();
    let alone = bare(mirror, &log);
    let pinned = Pinned::new(log.pin);
    let measured = |reading| seconds(|| assert_eq!(audit(mirror, &pinned, reading), LEAVES));
    println!("a log of {LEAVES} leaves with {RELEASES} releases; processor time");
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            (
                measured(Reading::WithoutEntries),
                measured(Reading::Whole),
                seconds(|| alone.iter().for_each(Bare::compute)),
            )
        })
        .collect();
    rounds.sort_by(|one, other| one.2.total_cmp(&other.2));
    let (without, whole, alone) = rounds[ROUNDS / 2];
    println!("signatures and digests of the release files alone: {alone:.2} s");
    println!("audited without entries: {without:.2} s, {:.2} times that", without / alone);
    println!("audited with every entry: {whole:.2} s, {:.2} times that", whole / alone);
    println!("most memory that an audit with every entry held: {:.0} MiB", peak(mirror, &log));
}
