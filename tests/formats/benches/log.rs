//! How long it takes to audit a mirror with many releases, over the signatures and digests of its release files alone, in
//! turn in the same process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use release::file::{Mirror, MirrorExamination, Pinned, Reading};
use test_formats::bare::Bare;
use test_formats::large_log::LargeLog;
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
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut log = LargeLog::begin(directory.path(), "a");
    log.grow(LEAVES, RELEASES);
    log.publish();
    let alone = bare(directory.path(), &log);
    let mirror = Directory(directory.path().to_owned());
    let pinned = Pinned::new(log.pin);
    let audit = |reading| {
        let found = MirrorExamination::of(&mirror, &pinned, reading, verified_at()).expect("a mirror");
        assert_eq!(found.result.expect("a sound log").size, LEAVES);
    };
    println!("a log of {LEAVES} leaves with {RELEASES} releases");
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            (
                seconds(|| audit(Reading::WithoutEntries)),
                seconds(|| audit(Reading::Whole)),
                seconds(|| alone.iter().for_each(Bare::compute)),
            )
        })
        .collect();
    rounds.sort_by(|one, other| one.2.total_cmp(&other.2));
    let (without, whole, alone) = rounds[ROUNDS / 2];
    println!("signatures and digests of the release files alone: {alone:.2} s");
    println!("audited without entries: {without:.2} s, {:.2} times that", without / alone);
    println!("audited with every entry: {whole:.2} s, {:.2} times that", whole / alone);
}
