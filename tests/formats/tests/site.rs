//! The site directory: what is accepted, set aside and refused, and what may not go back.

use std::path::{Path, PathBuf};

use release::envelope::Envelope;
use release::key::{Sign, key_id};
use release::refusal::Refusal;
use release::site::{SeenVersions, Site, SiteError, file_name};
use release::statement::{Grant, Revocation, Roles};
use release::value::Count;
use test_formats::story::{POLICY_FILE, Story, key, name, time, verified_at};

type Files = Vec<(PathBuf, Vec<u8>)>;

fn files(story: &Story) -> Files {
    let decided = story.decide();
    let [first, second] = decided.roles;
    let [dataset, runtime] = decided.catalogue;
    let envelopes = [first, second, decided.revocation, decided.policy, dataset, runtime, decided.grant];
    let place = |envelope: Envelope| (file_name(&envelope).expect("a place"), envelope.to_bytes());
    let mut files: Files = envelopes.into_iter().map(place).collect();
    files.push(("policies/standard/3.toml".into(), POLICY_FILE.as_bytes().to_vec()));
    files
}

fn pin() -> blobs::Digest {
    Story::default().decide().roles[0].payload_digest()
}

fn load(files: Files) -> Result<Site, SiteError> {
    Site::from_files(files, &pin(), verified_at())
}

fn honest() -> Site {
    load(files(&Story::default())).expect("a site")
}

fn grant_of(site: &Site) -> Option<&Grant> {
    site.grant(&name("visits-study")).map(|grant| grant.statement())
}

#[test]
fn a_site_is_the_same_from_its_directory_and_from_memory() {
    let directory = tempfile::tempdir().unwrap();
    for (path, bytes) in files(&Story::default()) {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    // A file that is being written is not there yet.
    std::fs::write(directory.path().join("roles/.writing-3"), "{").unwrap();
    let site = Site::load(directory.path(), &pin(), verified_at()).unwrap();
    assert_eq!(site.seen(), honest().seen());
    assert_eq!(site.roles().version, Count(2));
    assert!(site.set_aside().is_empty());
    site.fresh(verified_at()).unwrap();
    let grant = grant_of(&site).expect("the grant");
    assert_eq!(site.policy(&grant.policy).expect("the policy").file(), POLICY_FILE.as_bytes());
}

#[test]
fn another_pin_another_root_and_a_missing_revocation_refuse_the_whole_site() {
    let other = Site::from_files(files(&Story::default()), &blobs::Digest::of(b"x"), verified_at());
    assert_eq!(other.unwrap_err().refusal(), Some(Refusal::RolesPin));
    let one_root = files(&Story::default().signed_by("second-roles", &["root-rita"]));
    assert_eq!(load(one_root).unwrap_err().refusal(), Some(Refusal::RolesSignatures));
    let without: Files =
        files(&Story::default()).into_iter().filter(|(path, _)| !path.starts_with("revocations")).collect();
    assert!(matches!(load(without), Err(SiteError::Missing("revocation"))));
}

#[test]
fn a_statement_that_fails_is_set_aside_and_an_older_one_never_takes_its_place() {
    let newer = Story::default().grant(|grant| grant.version = Count(3)).signed_by("grant", &["steward-ana"]);
    let mut both = files(&Story::default());
    both.push(files(&newer).into_iter().find(|(path, _)| path.starts_with("grants")).unwrap());
    let site = load(both).unwrap();
    assert!(grant_of(&site).is_none());
    let [set_aside] = site.set_aside() else { panic!("{:?}", site.set_aside()) };
    assert_eq!(set_aside.refusal, Refusal::GrantSignatures);
    assert_eq!(set_aside.path, Path::new("grants/visits-study/3.json"));
}

#[test]
fn the_newest_version_of_a_grant_counts() {
    let newer = Story::default().grant(|grant| grant.version = Count(3));
    let mut both = files(&Story::default());
    both.push(files(&newer).into_iter().find(|(path, _)| path.starts_with("grants")).unwrap());
    let site = load(both).unwrap();
    assert_eq!(grant_of(&site).expect("a grant").version, Count(3));
}

#[test]
fn a_file_in_the_place_of_another_is_set_aside() {
    let mut moved = files(&Story::default());
    for (path, _) in &mut moved {
        if path.starts_with("grants") {
            *path = "grants/other-study/2.json".into();
        }
    }
    let site = load(moved).unwrap();
    assert!(grant_of(&site).is_none());
    assert_eq!(site.set_aside()[0].refusal, Refusal::StatementKind);
    let mut unknown = files(&Story::default());
    unknown.push(("grants/visits-study/9.json".into(), b"{}".to_vec()));
    let site = load(unknown).unwrap();
    assert!(grant_of(&site).is_some());
    assert_eq!(site.set_aside().len(), 1);
}

#[test]
fn what_was_revoked_stays_revoked() {
    let later = |edit: fn(&mut Revocation)| {
        let story = Story::default().revocation(move |revocation| {
            revocation.version = Count(10);
            edit(revocation);
        });
        let mut both = files(&Story::default());
        both.push(files(&story).into_iter().find(|(path, _)| path.starts_with("revocations")).unwrap());
        load(both)
    };
    let more = later(|revocation| revocation.grants.push(name("visits-study"))).unwrap();
    assert_eq!(more.revocation().version, Count(10));
    let dropped = later(|revocation| revocation.grants.clear()).unwrap_err();
    assert_eq!(dropped.refusal(), Some(Refusal::RevocationDropped));

    let unmarked = later(|revocation| revocation.interests.clear()).unwrap_err();
    assert_eq!(unmarked.refusal(), Some(Refusal::RevocationDropped));

    let seen = honest().seen();
    let without = load(files(&Story::default().revocation(|revocation| {
        revocation.version = Count(10);
        revocation.keys.clear();
    })));
    assert_eq!(without.unwrap().not_older_than(&seen), Err(Refusal::RevocationDropped));
}

#[test]
fn nothing_goes_back_to_a_lower_version_or_to_another_payload() {
    let seen = honest().seen();
    honest().not_older_than(&seen).unwrap();
    let older = load(files(&Story::default().grant(|grant| grant.version = Count(1)))).unwrap();
    assert_eq!(older.not_older_than(&seen), Err(Refusal::Rollback));
    let forked =
        load(files(&Story::default().grant(|grant| grant.expires = time("2026-12-30T00:00:00Z")))).unwrap();
    assert_eq!(forked.not_older_than(&seen), Err(Refusal::Rollback));
    let newer = load(files(&Story::default().grant(|grant| grant.version = Count(3)))).unwrap();
    newer.not_older_than(&seen).unwrap();

    let only_first: Files =
        files(&Story::default()).into_iter().filter(|(path, _)| path != Path::new("roles/2.json")).collect();
    assert_eq!(load(only_first).unwrap().not_older_than(&seen), Err(Refusal::Rollback));

    // A grant that is gone allows nothing, but its version stays remembered.
    let gone: Files =
        files(&Story::default()).into_iter().filter(|(path, _)| !path.starts_with("grants")).collect();
    let gone = load(gone).unwrap();
    gone.not_older_than(&seen).unwrap();
    let mut memory = seen;
    memory.merge(gone.seen());
    assert_eq!(older.not_older_than(&memory), Err(Refusal::Rollback));
    assert_eq!(SeenVersions::from_bytes(&memory.to_bytes()).unwrap(), memory);
}

#[test]
fn an_expired_site_is_shown_and_allows_nothing() {
    let site = honest();
    let grant = site.grant(&name("visits-study")).unwrap();
    let id = release::site::grant_id(grant);
    site.grant_in_force(&id, verified_at()).unwrap();
    assert_eq!(site.fresh(time("2026-03-08T09:00:00Z")), Err(Refusal::OutOfForce));
    assert_eq!(site.grant_in_force(&id, time("2026-09-30T00:00:00Z")).unwrap_err(), Refusal::OutOfForce);
    let future = Site::from_files(files(&Story::default()), &pin(), time("2026-01-10T00:00:00Z"));
    assert_eq!(future.unwrap_err().refusal(), Some(Refusal::OutOfForce));
}

#[test]
fn a_revoked_key_signs_nothing_any_more() {
    let site = honest();
    assert!(site.is_revoked(&name("anyone"), &key_id(&key("lost").public())));
    let story = Story::default().revocation(|revocation| {
        revocation.keys.push(key_id(&key("steward-ben").public()));
    });
    let site = load(files(&story)).unwrap();
    assert!(site.keys_of(&name("steward-ben")).is_empty());
    assert!(grant_of(&site).is_none());
    let roles: &Roles = site.roles();
    assert_eq!(roles.people[&name("steward-ben")].keys.len(), 1);
}
