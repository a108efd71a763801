//! What a site decided is told of a mirror only if those signed it who could, at its place in the log.

use std::fs;

use blobs::Digest;
use release::envelope::Envelope;
use release::key::{Sign as _, key_id};
use release::statement::{CatalogueEntry, Roles};
use release::value::Count;
use test_formats::large_log::{LargeLog, log, refusal};
use test_formats::story::{Decided, Story, key, name};

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
fn the_limit_told_is_of_the_newest_version_also_if_an_earlier_one_comes_into_the_log_after_it() {
    let version = |version: u64, bits: u64| {
        let story = Story::default().grant(move |grant| {
            grant.version = Count(version);
            grant.datasets.get_mut(&name("hie")).expect("the dataset").release_bits = Count(bits);
        });
        story.decide().grant
    };
    let directory = tempfile::tempdir().expect("a directory");
    let (mirror, kept) = (directory.path().join("mirror"), directory.path().join("state"));
    let since = ["--since", kept.to_str().expect("a path")];
    let mut site = LargeLog::begin(&mirror, "a");
    for (grant, told) in
        [(version(3, 77_777), "77777"), (version(1, 55_555), "77777"), (version(4, 66_666), "66666")]
    {
        site.decide("grants", &grant);
        site.publish();
        for more in [&since[..], &[]] {
            let (code, text) = log(&mirror, &site.pin, more);
            assert_eq!(code, 0, "{text}");
            assert!(text.contains(&format!("0 of {told} bits")), "{text}");
        }
    }
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
