//! Logs with many leaves, as an auditor reads a mirror of them.

use std::fs;
use std::path::Path;

use test_formats::large_log::{LargeLog, log, refusal};

/// Whole entries, and then without any of them, which are gone from the disk.
fn audited_with_and_without_entries(leaves: u64, releases: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let mirror = directory.path();
    let mut site = LargeLog::begin(mirror, "a");
    site.grow(leaves, releases);
    site.publish();
    let (code, whole) = log(mirror, &site.pin, &[]);
    assert_eq!(code, 0, "{whole}");
    assert!(whole.ends_with(&format!("with {leaves} leaves\n")), "{whole}");
    fs::remove_dir_all(mirror.join("log/tile/entries")).expect("the entries are gone");
    let (code, without) = log(mirror, &site.pin, &["--without-entries"]);
    assert_eq!(code, 0, "{without}");
    let total = |text: &str| text.lines().find(|line| line.starts_with("hie ")).map(str::to_owned);
    assert!(
        total(&whole).is_some_and(|line| line.ends_with(&format!("in {releases} release(s)"))),
        "{whole}"
    );
    assert_eq!(total(&without), total(&whole));
    assert!(without.contains("not-checked  entries"), "{without}");
    assert_eq!(refusal(log(mirror, &site.pin, &[])), Some("log-entries"));
}

#[test]
fn releases_are_audited_from_tiles_without_reading_the_log() {
    audited_with_and_without_entries(2_000, 12);
}

#[test]
#[ignore = "longer: 10,000 releases in a log of a million leaves"]
fn ten_thousand_releases_in_a_log_of_a_million_leaves_are_audited() {
    audited_with_and_without_entries(1_000_000, 10_000);
}

#[test]
fn without_entries_a_release_that_is_missing_between_others_is_found_and_the_last_one_is_said_not_to_be() {
    let directory = tempfile::tempdir().expect("a directory");
    let mirror = directory.path();
    let mut site = LargeLog::begin(mirror, "a");
    site.grow(400, 3);
    site.publish();
    let file = |number: usize| mirror.join(format!("releases/{}.release.json", site.released[number]));
    let without = |path: &Path| {
        let bytes = fs::read(path).expect("a release");
        fs::remove_file(path).expect("removed");
        let found = log(mirror, &site.pin, &["--without-entries"]);
        fs::write(path, bytes).expect("put back");
        found
    };
    assert_eq!(refusal(without(&file(1))), Some("manifest-account"));
    let (code, text) = without(&file(2));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("releases that are not here and come last"), "{text}");
    // With the entries it is found.
    fs::remove_file(file(2)).expect("removed");
    assert_eq!(refusal(log(mirror, &site.pin, &[])), Some("log-statement"));
}

#[test]
fn what_came_since_the_last_time_is_read_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mirror, kept) = (directory.path().join("mirror"), directory.path().join("state"));
    let since = ["--since", kept.to_str().expect("a path")];
    let mut site = LargeLog::begin(&mirror, "a");
    site.grow(700, 3);
    site.publish();
    let (code, text) = log(&mirror, &site.pin, &since);
    assert_eq!(code, 0, "{text}");
    let first = fs::read(&kept).expect("a state");
    // Nothing new: nothing is read.
    assert_eq!(log(&mirror, &site.pin, &since).0, 0);
    site.grow(1_500, 2);
    site.publish();
    // The bundles and release files that were read then are gone from the disk; the tiles are not.
    for bundle in ["000", "001"] {
        fs::remove_file(mirror.join("log/tile/entries").join(bundle)).expect("removed");
    }
    for digest in &site.released[..3] {
        fs::remove_file(mirror.join(format!("releases/{digest}.release.json"))).expect("removed");
    }
    let (code, text) = log(&mirror, &site.pin, &since);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1500 leaves, 800 of them read"), "{text}");
    assert!(text.contains("in 5 release(s)"), "{text}");
    assert_ne!(fs::read(&kept).expect("a state"), first);
    assert_eq!(refusal(log(&mirror, &site.pin, &[])), Some("log-entries"));
}

#[test]
fn a_recall_of_a_release_that_was_read_before_is_told_once_it_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mirror, kept) = (directory.path().join("mirror"), directory.path().join("state"));
    let since = ["--since", kept.to_str().expect("a path")];
    let mut site = LargeLog::begin(&mirror, "a");
    site.grow(300, 2);
    site.publish();
    let (_, text) = log(&mirror, &site.pin, &since);
    assert!(!text.contains("recalled"), "{text}");
    site.recall(site.released[0]);
    site.publish();
    for (since, told) in [(&since[..], true), (&[], true), (&since[..], false)] {
        let (code, text) = log(&mirror, &site.pin, since);
        assert_eq!(code, 0, "{text}");
        let lines: Vec<_> = text.lines().filter(|line| line.contains("recalled")).collect();
        assert_eq!(lines.len(), usize::from(told), "{text}");
        assert!(lines.iter().all(|line| line.contains(&site.released[0].to_string())), "{text}");
    }
}

#[test]
fn a_mirror_that_says_its_log_has_no_end_is_refused_in_little_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let mirror = directory.path().join("mirror");
    let mut site = LargeLog::begin(&mirror, "a");
    site.publish();
    let checkpoint = mirror.join("log/checkpoint");
    let text = fs::read_to_string(&checkpoint).expect("a checkpoint");
    assert_eq!(log(&mirror, &site.pin, &[]).0, 0);
    let endless = text.replacen("\n7\n", &format!("\n{}\n", u64::MAX), 1);
    assert_ne!(endless, text);
    fs::write(&checkpoint, endless).expect("another checkpoint");
    assert_ne!(log(&mirror, &site.pin, &[]).0, 0);
}

#[test]
fn a_log_that_went_back_or_has_another_past_than_the_one_that_was_seen_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mirror, kept) = (directory.path().join("mirror"), directory.path().join("state"));
    let since = ["--since", kept.to_str().expect("a path")];
    let mut site = LargeLog::begin(&mirror, "a");
    site.grow(300, 1);
    site.publish();
    let checkpoint = mirror.join("log/checkpoint");
    let old = fs::read(&checkpoint).expect("a checkpoint");
    site.grow(600, 1);
    site.publish();
    let new = fs::read(&checkpoint).expect("a checkpoint");
    assert_eq!(log(&mirror, &site.pin, &since).0, 0);
    let state = fs::read(&kept).expect("a state");
    fs::write(&checkpoint, old).expect("an old checkpoint");
    assert_eq!(log(&mirror, &site.pin, &[]).0, 0);
    assert_eq!(refusal(log(&mirror, &site.pin, &since)), Some("rollback"));
    fs::write(&checkpoint, new).expect("the new checkpoint");
    assert_eq!(log(&mirror, &site.pin, &since).0, 0);
    // Signed and witnessed, and larger; but what was seen is not its beginning.
    let fork = directory.path().join("fork");
    let mut other = LargeLog::begin(&fork, "b");
    other.grow(900, 1);
    other.publish();
    assert_eq!(log(&fork, &other.pin, &[]).0, 0);
    assert_eq!(refusal(log(&fork, &other.pin, &since)), Some("rollback"));
    // What is refused is not kept.
    assert_eq!(fs::read(&kept).expect("a state"), state);
    let missing = mirror.join("log/tile/1/000.p/2");
    fs::rename(&missing, missing.with_extension("aside")).expect("a tile is gone");
    assert_eq!(refusal(log(&mirror, &site.pin, &since)), Some("log-entries"));
}
