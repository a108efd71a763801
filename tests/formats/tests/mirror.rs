//! What a mirror leaves out, or shows from another time, is found or said.

use std::fs;
use std::path::{Path, PathBuf};

use blobs::Digest;
use release::envelope::Envelope;
use release::key::{Sign as _, key_id};
use release::statement::{CatalogueEntry, Roles};
use release::value::Count;
use test_formats::large_log::{LargeLog, log, refusal};
use test_formats::story::{Decided, Story, key, name};

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

/// What an auditor says of a site that decided this too, and then released something.
fn with(decide: impl FnOnce(&mut LargeLog)) -> (Option<&'static str>, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut site = LargeLog::begin(directory.path(), "a");
    site.grow(20, 1);
    decide(&mut site);
    site.publish();
    let (code, text) = log(directory.path(), &site.pin, &[]);
    (refusal((code, text.clone())), text)
}

/// The same, if it decided one statement of this story.
fn with_one(folder: &str, story: Story, which: fn(&Decided) -> &Envelope) -> (Option<&'static str>, String) {
    with(|site| site.decide(folder, which(&story.decide())))
}

#[test]
fn a_limit_is_not_told_of_a_grant_that_too_few_signed() {
    let signed = |people: &[&'static str]| {
        let story = Story::default().signed_by("grant", people).grant(|grant| {
            grant.version = Count(3);
            grant.datasets.get_mut(&name("hie")).expect("the dataset").release_bits = Count(77_777);
        });
        with_one("grants", story, |decided| &decided.grant)
    };
    let (found, text) = signed(&["steward-ana"]);
    assert_eq!(found, Some("grant-signatures"), "{text}");
    assert!(!text.contains("77777"), "{text}");
    let (found, text) = signed(&["steward-ana", "steward-ben"]);
    assert_eq!(found, None, "{text}");
    assert!(text.contains("of 77777 bits"), "{text}");
}

#[test]
fn a_recall_is_not_told_of_a_revocation_that_nobody_signed_who_may() {
    let release = Digest::of(b"some release");
    let signed = |person: &'static str| {
        let story = Story::default().signed_by("revocation", &[person]).revocation(move |revocation| {
            revocation.version = Count(10);
            revocation.releases = vec![release];
        });
        with_one("revocations", story, |decided| &decided.revocation)
    };
    let (found, text) = signed("steward-ana");
    assert_eq!(found, Some("revocation-signatures"), "{text}");
    assert!(!text.contains(&release.to_string()), "{text}");
    let (found, text) = signed("root-rolf");
    assert_eq!(found, None, "{text}");
    assert!(text.contains(&format!("release {release}")), "{text}");
}

#[test]
fn a_policy_or_an_entry_of_the_catalogue_that_others_signed_is_refused() {
    let policy = |person: &'static str| {
        let story =
            Story::default().signed_by("policy", &[person]).policy(|policy| policy.version = Count(4));
        with_one("policies", story, |decided| &decided.policy).0
    };
    assert_eq!(policy("steward-ana"), Some("policy-signatures"));
    assert_eq!(policy("root-rita"), None);
    let dataset = |person: &'static str| {
        let story =
            Story::default().signed_by("dataset", &[person]).dataset(|entry| entry.version = Count(2));
        with_one("catalogue", story, |decided| &decided.catalogue[0]).0
    };
    assert_eq!(dataset("root-rita"), Some("catalogue-signatures"));
    assert_eq!(dataset("steward-ben"), None);
}

#[test]
fn a_policy_stands_with_its_file() {
    let policy = |there: bool| {
        let story = Story::default().policy(move |policy| {
            policy.version = Count(4);
            if !there {
                policy.file = Digest::of(b"another").into();
            }
        });
        with_one("policies", story, |decided| &decided.policy).0
    };
    assert_eq!(policy(false), Some("policy-file"));
    assert_eq!(policy(true), None);
}

#[test]
fn a_revocation_that_goes_back_or_drops_something_is_refused() {
    let revoked = |version: u64, keeps: bool| {
        let story = Story::default().revocation(move |revocation| {
            revocation.version = Count(version);
            revocation.people.push(name("anybody"));
            if !keeps {
                revocation.keys.clear();
            }
        });
        with_one("revocations", story, |decided| &decided.revocation).0
    };
    assert_eq!(revoked(9, true), Some("log-order"));
    assert_eq!(revoked(10, false), Some("revocation-dropped"));
    assert_eq!(revoked(10, true), None);
}

#[test]
fn the_signatures_of_a_statement_are_those_of_its_leaf() {
    let of = |person: &'static str| {
        let story = Story::default().signed_by("dataset", &[person]).dataset(|entry| {
            entry.version = Count(2);
            if let CatalogueEntry::Dataset { source, .. } = &mut entry.entry {
                source.push_str(", and again");
            }
        });
        story.decide().catalogue[0].clone()
    };
    let logged = of("steward-ana");
    for (laid, expected) in [(of("steward-ben"), Some("log-statement")), (logged.clone(), None)] {
        assert_eq!(laid.payload_digest(), logged.payload_digest());
        let directory = tempfile::tempdir().expect("a directory");
        let mut site = LargeLog::begin(directory.path(), "a");
        site.decide("catalogue", &logged);
        site.publish();
        let path = format!("catalogue/{}.json", laid.payload_digest());
        fs::write(directory.path().join(path), laid.to_bytes()).expect("another envelope");
        assert_eq!(refusal(log(directory.path(), &site.pin, &[])), expected);
    }
}

fn sue_is_a_steward(roles: &mut Roles) {
    roles.datasets.get_mut(&name("hie")).expect("the dataset").stewards.push(name("supervisor-sue"));
}

fn third_grant(people: &[&'static str]) -> Envelope {
    Story::default().signed_by("grant", people).grant(|grant| grant.version = Count(3)).decide().grant
}

#[test]
fn who_may_sign_is_asked_of_the_roles_at_the_place_of_a_statement() {
    let grant = third_grant(&["steward-ana", "supervisor-sue"]);
    let (found, text) = with(|site| {
        site.decide("grants", &grant);
        site.renew_roles(sue_is_a_steward);
    });
    assert_eq!(found, Some("grant-signatures"), "{text}");
    let (found, text) = with(|site| {
        site.renew_roles(sue_is_a_steward);
        site.decide("grants", &grant);
    });
    assert_eq!(found, None, "{text}");
}

/// The same envelope, with a signature more that names this person's key and is about something else.
fn with_a_spoilt_signature(envelope: &Envelope, person: &str) -> Envelope {
    let mut json: serde_json::Value = serde_json::from_slice(&envelope.to_bytes()).expect("JSON");
    let other = Story::default().signed_by("policy", &["steward-ana"]).decide().policy;
    let other: serde_json::Value = serde_json::from_slice(&other.to_bytes()).expect("JSON");
    let spoilt = serde_json::json!({
        "keyid": key_id(&key(person).public()).to_string(),
        "sig": other["signatures"][0]["sig"],
    });
    json["signatures"].as_array_mut().expect("signatures").push(spoilt);
    Envelope::parse(&serde_json::to_vec(&json).expect("JSON")).expect("an envelope")
}

#[test]
fn a_spoilt_signature_in_the_name_of_someone_revoked_with_it_does_not_spoil_an_honest_log() {
    let honest = third_grant(&["steward-ana", "steward-ben"]);
    let grant = with_a_spoilt_signature(&honest, "supervisor-sue");
    // The signer finds both together, and looks at the grant under the revocation, which it appends last.
    let revoking = |people: &'static [&'static str]| {
        with(|site| {
            site.renew_roles(sue_is_a_steward);
            site.decide("grants", &grant);
            let story = Story::default().revocation(move |revocation| {
                revocation.version = Count(10);
                revocation.people = people.iter().map(|person| name(person)).collect();
            });
            site.decide("revocations", &story.decide().revocation);
        })
    };
    assert_eq!(revoking(&["supervisor-sue"]).0, None);
    assert_eq!(revoking(&["somebody-else"]).0, Some("grant-signatures"));
}
