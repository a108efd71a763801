//! What a mirror leaves out, or shows from another time, is found or said.

use std::fs;
use std::path::{Path, PathBuf};

use test_formats::large_log::{LargeLog, log, refusal};

const WITHOUT: &[&str] = &["--without-entries"];

/// A path below a mirror is away while something is looked at.
fn without<T>(path: &Path, look: impl FnOnce() -> T) -> T {
    let away = path.with_extension("away");
    fs::rename(path, &away).expect("it is there");
    let found = look();
    fs::rename(&away, path).expect("put back");
    found
}

/// The files in a folder of a mirror, the one that was written last at the end.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.collect();
    files.sort_by_key(|path| fs::metadata(path).expect("a file").modified().expect("a time"));
    files
}

#[test]
fn without_entries_folders_that_are_older_than_a_release_are_refused_and_newer_statements_are_said_not_to_be_known()
 {
    let directory = tempfile::tempdir().expect("a directory");
    let mirror = directory.path();
    let mut site = LargeLog::begin(mirror, "a");
    site.grow(100, 2);
    std::thread::sleep(std::time::Duration::from_millis(20));
    site.recall(site.released[0]);
    site.grow(200, 1);
    site.publish();
    let (code, text) = log(mirror, &site.pin, WITHOUT);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("recalled"), "{text}");
    assert!(text.contains("version 10 is the newest here; a recall by a newer one is not seen"), "{text}");
    assert!(
        text.contains("version 2 is the newest here; whether the log has newer ones is not known"),
        "{text}"
    );
    // The newer revocation is held back, with its recall; a release that was signed under it tells.
    let newest = files(&mirror.join("revocations")).pop().expect("a revocation");
    let held_back = without(&newest, || log(mirror, &site.pin, WITHOUT));
    assert_eq!(refusal(held_back), Some("log-statement"));
    // Once that release is held back too, nothing can tell. It is said.
    let last = mirror.join(format!("releases/{}.release.json", site.released[2]));
    let (code, text) = without(&newest, || without(&last, || log(mirror, &site.pin, WITHOUT)));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("version 9 is the newest here; a recall by a newer one is not seen"), "{text}");
    // Older roles, under which a witness that was dropped since would count.
    let newest_roles = files(&mirror.join("roles"));
    let found: Vec<_> =
        newest_roles.iter().map(|path| without(path, || log(mirror, &site.pin, WITHOUT))).collect();
    let mut found: Vec<_> = found.into_iter().map(refusal).collect();
    found.sort();
    assert_eq!(found, [Some("log-statement"), Some("roles-pin")]);
}

#[test]
fn without_entries_a_revocation_that_had_expired_when_the_head_was_witnessed_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut site = LargeLog::begin(directory.path(), "a");
    site.witnessed_at("2026-03-20T00:00:00Z");
    site.publish();
    let (_, text) = log(directory.path(), &site.pin, WITHOUT);
    assert!(
        text.contains("version 9 expired at 2026-03-08T09:00:00Z, before the head was witnessed"),
        "{text}"
    );
}

/// A mirror whose checkpoint is from before its last releases, as when it was copied in the wrong order.
fn with_an_older_checkpoint(site: &mut LargeLog, mirror: &Path, grow: impl FnOnce(&mut LargeLog)) {
    site.publish();
    let checkpoint = mirror.join("log/checkpoint");
    let old = fs::read(&checkpoint).expect("a checkpoint");
    grow(site);
    fs::write(&checkpoint, old).expect("the old checkpoint");
}

#[test]
fn a_release_under_a_newer_head_is_held_against_the_checkpoint_as_far_as_the_tiles_go() {
    for tiles in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let [mirror, fork] = ["mirror", "fork"].map(|name| directory.path().join(name));
        let grow = |site: &mut LargeLog| {
            for (leaves, releases) in [(301, 1), (600, 0), (601, 1), (900, 0)] {
                site.grow(leaves, releases);
                if tiles {
                    site.publish();
                }
            }
        };
        let mut site = LargeLog::begin(&mirror, "a");
        site.grow(300, 1);
        with_an_older_checkpoint(&mut site, &mirror, grow);
        let (code, text) = log(&mirror, &site.pin, WITHOUT);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("in 3 release(s)"), "{text}");
        assert_eq!(text.contains("not compared"), !tiles, "{text}");
        // The same release, proven under a newer head of another log: its tiles would show it.
        let mut other = LargeLog::begin(&fork, "b");
        other.grow(300, 1);
        grow(&mut other);
        let place = |at: &Path| at.join(format!("releases/{}.release.json", other.released[2]));
        fs::copy(place(&fork), place(&mirror)).expect("a copy");
        let (code, text) = log(&mirror, &site.pin, WITHOUT);
        let expected = tiles.then_some("log-entries");
        assert_eq!(refusal((code, text.clone())), expected, "{text}");
    }
}

#[test]
fn a_leaf_that_a_newer_head_of_another_log_proves_is_not_found_under_the_checkpoint() {
    let directory = tempfile::tempdir().expect("a directory");
    let [mirror, fork] = ["mirror", "fork"].map(|name| directory.path().join(name));
    let mut other = LargeLog::begin(&fork, "b");
    other.grow(100, 0);
    let signed = other.sign_release(0);
    other.grow(300, 0);
    with_an_older_checkpoint(&mut other, &fork, |other| {
        other.grow(1_000, 0);
        other.prove(signed);
    });
    let (code, text) = log(&fork, &other.pin, WITHOUT);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("in 1 release(s)"), "{text}");
    let mut site = LargeLog::begin(&mirror, "a");
    site.grow(300, 0);
    site.publish();
    assert_eq!(log(&mirror, &site.pin, WITHOUT).0, 0);
    fs::create_dir_all(mirror.join("releases")).expect("a folder");
    let place = |at: &Path| at.join(format!("releases/{}.release.json", other.released[0]));
    fs::copy(place(&fork), place(&mirror)).expect("a copy");
    assert_eq!(refusal(log(&mirror, &site.pin, WITHOUT)), Some("log-entries"));
}

#[test]
fn two_newer_heads_of_one_size_must_be_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let [mirror, fork] = ["mirror", "fork"].map(|name| directory.path().join(name));
    // Releases 0, 1 and 2 under heads of 8, 9 and 10 leaves.
    let mut site = LargeLog::begin(&mirror, "a");
    let grow = |site: &mut LargeLog| {
        site.grow(9, 2);
        site.grow(12, 1);
    };
    with_an_older_checkpoint(&mut site, &mirror, grow);
    let (code, text) = log(&mirror, &site.pin, WITHOUT);
    assert_eq!(code, 0, "{text}");
    // Releases 0 and 1 under heads of 8 and 10, with a denial between them.
    let mut other = LargeLog::begin(&fork, "b");
    other.grow(9, 1);
    other.grow(11, 1);
    let place = |at: &Path| at.join(format!("releases/{}.release.json", other.released[1]));
    assert_eq!(other.released[1], site.released[1]);
    fs::copy(place(&fork), place(&mirror)).expect("a copy");
    assert_eq!(refusal(log(&mirror, &site.pin, WITHOUT)), Some("log-entries"));
}

#[test]
fn what_was_found_by_a_witness_on_the_boxs_machine_is_no_beginning_for_who_does_not_count_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mirror, kept) = (directory.path().join("mirror"), directory.path().join("state"));
    let mut site = LargeLog::begin(&mirror, "a");
    site.grow(300, 1);
    site.publish();
    let since = ["--since", kept.to_str().expect("a path")];
    let loosely = [&since[..], &["--accept-on-box-witness"]].concat();
    assert_eq!(log(&mirror, &site.pin, &loosely).0, 0);
    assert_eq!(refusal(log(&mirror, &site.pin, &since)), Some("log-witnesses"));
    assert_eq!(log(&mirror, &site.pin, &loosely).0, 0);
    fs::remove_file(&kept).expect("forgotten");
    assert_eq!(log(&mirror, &site.pin, &since).0, 0);
    assert_eq!(log(&mirror, &site.pin, &loosely).0, 0);
    // From here on it is what the looser of the two found.
    assert_eq!(refusal(log(&mirror, &site.pin, &since)), Some("log-witnesses"));
}

/// Something that a site decides after its first release.
type Decide = fn(&mut LargeLog);

const RECALL: Decide = |site| site.recall(site.released[0]);
const RENEW: Decide = |site| site.renew_roles(|_| ());

#[test]
fn a_release_that_does_not_name_the_newest_roles_and_revocation_before_it_in_the_log_is_refused() {
    for (decide, seen_first, knows) in [RECALL, RENEW].into_iter().flat_map(|decide| {
        [(false, false), (false, true), (true, false), (true, true)]
            .map(|(seen, knows)| (decide, seen, knows))
    }) {
        let directory = tempfile::tempdir().expect("a directory");
        let (mirror, kept) = (directory.path().join("mirror"), directory.path().join("state"));
        let since = ["--since", kept.to_str().expect("a path")];
        let mut site = LargeLog::begin(&mirror, "a");
        site.grow(100, 1);
        let before = site.standing.clone();
        if !seen_first {
            site.publish();
            assert_eq!(log(&mirror, &site.pin, &since).0, 0);
        }
        decide(&mut site);
        if seen_first {
            site.publish();
            assert_eq!(log(&mirror, &site.pin, &since).0, 0);
        }
        if !knows {
            site.standing = before;
        }
        site.grow(300, 1);
        site.publish();
        let expected = (!knows).then_some("log-order");
        assert_eq!(refusal(log(&mirror, &site.pin, &since)), expected, "{seen_first}");
        let (code, text) = log(&mirror, &site.pin, &[]);
        // It left all the same, so it is added up.
        assert!(text.contains("in 2 release(s)"), "{text}");
        assert_eq!(refusal((code, text)), expected);
    }
}

#[test]
fn without_entries_a_release_that_goes_back_behind_the_roles_or_revocation_of_one_before_it_is_refused() {
    for (decide, knows) in [(RECALL, false), (RECALL, true), (RENEW, false), (RENEW, true)] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut site = LargeLog::begin(directory.path(), "a");
        site.grow(100, 1);
        let before = site.standing.clone();
        decide(&mut site);
        site.grow(200, 1);
        if !knows {
            site.standing = before;
        }
        site.grow(300, 1);
        site.publish();
        let found = log(directory.path(), &site.pin, WITHOUT);
        assert_eq!(refusal(found), (!knows).then_some("log-order"));
    }
}
