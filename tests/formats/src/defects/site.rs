//! Defects of what a site decides: roles, revocation, policy, catalogue and grant.

use release::key::{Sign, key_id};
use release::refusal::Refusal;
use release::statement::{CatalogueEntry, PublicKey, Suite, WallName};
use release::value::{Bytes, Count, Name};
use serde_json::json;

use super::form::edit_json;
use super::{Defect, story};
use crate::story::{LOG, Story, key, name, time};

/// The neutral element: every signature with the right R verifies for it.
const SMALL_ORDER: &str = "0100000000000000000000000000000000000000000000000000000000000000";
/// The point with y = 4 written as 4 + p.
const NOT_CANONICAL: &str = "f1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
/// 7 times the base point plus a point of order 8: `verify_strict` alone accepts its signatures.
const MIXED_ORDER: &str = "e9b2fe981587efae6478f48ba1fa60cec6126d0e26dde72a0a24f640dcd783e5";

fn public(hexadecimal: &str) -> PublicKey {
    let byte = |at: usize| u8::from_str_radix(&hexadecimal[at..at + 2], 16).expect("hexadecimal");
    let bytes: Vec<u8> = (0..32).map(|index| byte(2 * index)).collect();
    PublicKey { suite: Suite::Ed25519, public: Bytes(bytes.try_into().expect("32 bytes")) }
}

fn ben_has(key: PublicKey) -> Story {
    story().second_roles(move |roles| {
        roles.people.get_mut(&name("steward-ben")).expect("Ben").keys = vec![key];
    })
}

pub(super) fn all() -> Vec<Defect> {
    [keys(), roles(), roles_content(), revocation(), revoked(), policy(), catalogue(), grant(), force()]
        .into_iter()
        .flatten()
        .collect()
}

fn keys() -> Vec<Defect> {
    let unusable = |which, about, story| Defect::new(Refusal::KeyUnusable, which, about, story);
    let shared = |which, about, story| Defect::new(Refusal::KeyShared, which, about, story);
    vec![
        unusable(
            "small-order",
            "A steward's key of small order: anyone can sign for it.",
            ben_has(public(SMALL_ORDER)),
        ),
        unusable("not-canonical", "A steward's key in a second encoding.", ben_has(public(NOT_CANONICAL))),
        unusable(
            "mixed-order",
            "A steward's key outside the prime-order group.",
            ben_has(public(MIXED_ORDER)),
        ),
        unusable(
            "member",
            "A member's key of small order in a grant.",
            story().grant(|grant| {
                grant.members.get_mut(&name("researcher-mia")).expect("Mia").keys = vec![public(SMALL_ORDER)];
            }),
        ),
        unusable(
            "witness",
            "A witness's key of small order.",
            story().second_roles(|roles| {
                roles.witnesses[1].public = public(SMALL_ORDER).public;
            }),
        ),
        shared("two-stewards", "One key under two stewards.", ben_has(key("steward-ana").public())),
        shared(
            "two-rooms",
            "Enclave and signer have one key.",
            story().second_roles(|roles| {
                roles.box_keys.enclave = roles.box_keys.signer;
            }),
        ),
        shared(
            "log-is-witness",
            "The log's key is enrolled as a witness.",
            story().second_roles(|roles| {
                roles.witnesses[1].public = roles.log.public;
            }),
        ),
        shared(
            "two-witnesses",
            "One key under two witnesses.",
            story().second_roles(|roles| {
                roles.witnesses[1].public = roles.witnesses[0].public;
            }),
        ),
        shared(
            "member-is-steward",
            "A member of the grant has a steward's key under another name.",
            story().grant(|grant| {
                grant
                    .members
                    .get_mut(&name("researcher-mia"))
                    .expect("Mia")
                    .keys
                    .push(key("steward-ben").public());
            }),
        ),
        shared(
            "review-key",
            "Two stewards have one review key.",
            story().second_roles(|roles| {
                let ana = roles.people[&name("steward-ana")].review_key;
                roles.people.get_mut(&name("steward-ben")).expect("Ben").review_key = ana;
            }),
        ),
    ]
}

fn roles() -> Vec<Defect> {
    let pin = |which, about, story| Defect::new(Refusal::RolesPin, which, about, story);
    let order = |which, about, story| Defect::new(Refusal::RolesOrder, which, about, story);
    let signatures = |which, about, story| Defect::new(Refusal::RolesSignatures, which, about, story);
    vec![
        pin(
            "other-first",
            "A first version that nobody pinned.",
            story().first_roles(|roles| {
                roles.expires = time("2028-01-05T09:00:00Z");
            }),
        ),
        pin(
            "no-first",
            "The chain begins with version 2.",
            story().release(|release| drop(release.roles.remove(0))),
        ),
        pin("no-roles", "No roles at all.", story().release(|release| release.roles.clear())),
        order("gap", "Version 3 follows version 1.", story().second_roles(|roles| roles.version = Count(3))),
        order(
            "again",
            "Version 1 follows version 1.",
            story().release(|release| {
                release.roles[1] = release.roles[0].clone();
            }),
        ),
        order(
            "earlier",
            "Version 2 is older than version 1.",
            story().second_roles(|roles| {
                roles.issued_at = time("2026-01-01T00:00:00Z");
            }),
        ),
        signatures(
            "one-of-two",
            "One of two root signatures.",
            story().signed_by("second-roles", &["root-rita"]),
        ),
        signatures(
            "first-version",
            "The first version lacks a signature; its digest is the pinned one.",
            story().signed_by("first-roles", &["root-rita"]),
        ),
        signatures(
            "only-new-root",
            "New roots signed for themselves, the old ones did not.",
            story()
                .second_roles(|roles| {
                    for (old, new) in [("root-rita", "mallory"), ("root-rolf", "mallory-two")] {
                        let person = roles.people.remove(&name(old)).expect("a root");
                        let keys = vec![key(new).public()];
                        roles.people.insert(name(new), release::statement::Person { keys, ..person });
                    }
                    let mallory = vec![name("mallory"), name("mallory-two")];
                    roles.root.people = mallory.clone();
                    roles.revocation.people = mallory;
                    roles.policy.people = vec![name("mallory")];
                    roles.runtime.people = vec![name("mallory")];
                })
                .signed_by("second-roles", &["mallory", "mallory-two"]),
        ),
        signatures(
            "two-keys-of-one-person",
            "Two keys of one root person count once.",
            story()
                .second_roles(|roles| {
                    let rita = roles.people.get_mut(&name("root-rita")).expect("Rita");
                    rita.keys.push(key("root-rita second").public());
                })
                .signed_by("second-roles", &["root-rita", "root-rita second"]),
        ),
        signatures(
            "known-key-bad-signature",
            "A signature that names a root's key and does not verify.",
            story().bytes(|bytes| {
                edit_json(bytes, |file| {
                    let other = file["roles"][0]["signatures"][1]["sig"].clone();
                    file["roles"][1]["signatures"][1]["sig"] = other;
                });
            }),
        ),
        Defect::new(
            Refusal::OtherSite,
            "roles",
            "Version 2 belongs to another site.",
            story().second_roles(|roles| roles.site = name("other-hospital")),
        ),
        Defect::new(
            Refusal::OtherSite,
            "grant",
            "The grant belongs to another site with the same stewards.",
            story().grant(|grant| grant.site = name("other-hospital")),
        ),
        Defect::new(
            Refusal::OtherSite,
            "request",
            "The request was made for another site.",
            story().request(|request| request.site = name("other-hospital")),
        ),
        Defect::new(
            Refusal::OtherSite,
            "approval",
            "An approval was given at another site.",
            story().approvals(|approvals| approvals[0].site = name("other-hospital")),
        ),
        Defect::new(
            Refusal::OtherSite,
            "manifest",
            "The manifest is of another site.",
            story().manifest(|manifest| manifest.site = name("other-hospital")),
        ),
    ]
}

fn roles_content() -> Vec<Defect> {
    let content = |which, about, story| Defect::new(Refusal::RolesContent, which, about, story);
    let dataset = |edit: fn(&mut release::statement::DatasetRole)| {
        story().second_roles(move |roles| edit(roles.datasets.get_mut(&name("hie")).expect("a dataset")))
    };
    vec![
        content(
            "threshold-0",
            "A threshold of 0: nobody need sign.",
            story().second_roles(|roles| {
                roles.policy.threshold = Count(0);
            }),
        ),
        content(
            "approval-threshold-0",
            "A release that nobody need approve.",
            dataset(|role| {
                role.approval_threshold = Count(0);
            }),
        ),
        content(
            "unreachable",
            "A threshold that nobody can meet.",
            dataset(|role| {
                role.approval_threshold = Count(3);
            }),
        ),
        content(
            "person-twice",
            "One person twice makes a threshold look reachable.",
            dataset(|role| {
                role.stewards = vec![name("steward-ana"), name("steward-ana")];
            }),
        ),
        content(
            "unknown-person",
            "A role is held by someone who is not listed.",
            story().second_roles(|roles| {
                roles.revocation.people.push(name("nobody"));
            }),
        ),
        content(
            "no-key",
            "A steward without a key.",
            story().second_roles(|roles| {
                roles.people.get_mut(&name("steward-ben")).expect("Ben").keys.clear();
            }),
        ),
        content(
            "no-review-key",
            "A steward who could never see what to approve.",
            story().second_roles(|roles| {
                roles.people.get_mut(&name("steward-ben")).expect("Ben").review_key = None;
            }),
        ),
        content(
            "quorum-0",
            "No witness is needed.",
            story().second_roles(|roles| roles.witness_quorum = Count(0)),
        ),
        content(
            "quorum-unreachable",
            "More witnesses are needed than there are.",
            story().second_roles(|roles| {
                roles.witness_quorum = Count(3);
            }),
        ),
        content(
            "witness-named-as-log",
            "A witness under the log's name.",
            story().second_roles(|roles| {
                roles.witnesses[1].name = LOG.to_owned();
            }),
        ),
        content(
            "witness-name",
            "A witness whose name could pass for two.",
            story().second_roles(|roles| {
                roles.witnesses[1].name = "witness one".to_owned();
            }),
        ),
        content(
            "never-in-force",
            "Roles that expire before they begin.",
            story().second_roles(|roles| {
                roles.expires = time("2026-01-06T00:00:00Z");
            }),
        ),
    ]
}

fn revocation() -> Vec<Defect> {
    let signatures = |which, about, story| Defect::new(Refusal::RevocationSignatures, which, about, story);
    vec![
        signatures(
            "steward",
            "A revocation signed by a steward.",
            story().signed_by("revocation", &["steward-ana"]),
        ),
        signatures(
            "revokes-its-signer",
            "A revocation signed by the key that it revokes.",
            story().revocation(|revocation| revocation.keys.push(key_id(&key("root-rita").public()))),
        ),
    ]
}

fn revoked() -> Vec<Defect> {
    let revoked = |which, about, story| Defect::new(Refusal::Revoked, which, about, story);
    let revoke = |who: &'static str| {
        story().revocation(move |revocation| revocation.keys.push(key_id(&key(who).public())))
    };
    vec![
        revoked("signer", "The signer's key is revoked.", revoke("signer")),
        revoked("enclave", "The enclave's key is revoked.", revoke("enclave")),
        revoked("requester-key", "The requester's key is revoked.", revoke("researcher-mia")),
        revoked(
            "requester",
            "The requester may do nothing any more.",
            story().revocation(|revocation| {
                revocation.people.push(name("researcher-mia"));
            }),
        ),
        revoked(
            "grant",
            "The grant is revoked.",
            story().revocation(|revocation| {
                revocation.grants.push(name("visits-study"));
            }),
        ),
        revoked(
            "approver",
            "A supervisor who approved may do nothing any more.",
            story()
                .grant(|grant| grant.approvals.supervisors = vec![name("supervisor-sue")])
                .approvals(|approvals| {
                    let mut sue = approvals[0].clone();
                    sue.steward = name("supervisor-sue");
                    approvals.push(sue);
                })
                .revocation(|revocation| revocation.people.push(name("supervisor-sue"))),
        ),
        revoked("recalled", "The release itself was recalled, as the verifier has seen.", story())
            .remembering(release::file::SeenState {
                recalled: [story().tell().release.manifest.payload_digest()].into(),
                ..Default::default()
            }),
    ]
}

fn policy() -> Vec<Defect> {
    let signatures = |which, about, story| Defect::new(Refusal::PolicySignatures, which, about, story);
    vec![
        signatures(
            "other-role",
            "The policy is signed by a root who may not sign policies.",
            story().signed_by("policy", &["root-rolf"]),
        ),
        signatures("box", "The policy is signed by the box.", story().signed_by("policy", &["enclave"])),
        Defect::new(
            Refusal::PolicyFile,
            "changed",
            "The policy's file has another limit than the signed one.",
            story().release(|release| {
                let text = String::from_utf8(release.policy_file.clone()).expect("UTF-8");
                release.policy_file = text.replace("smallest_count = 10", "smallest_count = 01").into_bytes();
            }),
        ),
        Defect::new(
            Refusal::PolicyFile,
            "base64",
            "The policy's file is not base64 in its one form.",
            story().bytes(|bytes| edit_json(bytes, |file| file["policy"]["file"] = json!("AB=C"))),
        ),
    ]
}

fn catalogue() -> Vec<Defect> {
    let signatures = |which, about, story| Defect::new(Refusal::CatalogueSignatures, which, about, story);
    let content = |which, about, story| Defect::new(Refusal::CatalogueContent, which, about, story);
    let dataset = |edit: fn(&mut Name, &mut Vec<release::statement::Snapshot>)| {
        story().dataset(move |catalogue| {
            if let CatalogueEntry::Dataset { unit_column, snapshots, .. } = &mut catalogue.entry {
                edit(unit_column, snapshots);
            }
        })
    };
    vec![
        signatures(
            "dataset",
            "A dataset's entry signed by someone who does not answer for it.",
            story().signed_by("dataset", &["root-rita"]),
        ),
        signatures(
            "runtime",
            "A runtime's entry signed by a steward.",
            story().signed_by("runtime", &["steward-ana"]),
        ),
        signatures(
            "unknown-dataset",
            "An entry of a dataset that roles do not know.",
            story().dataset(|catalogue| {
                catalogue.name = name("other");
            }),
        ),
        content(
            "doubled",
            "An entry twice: readers would differ on which counts.",
            story().release(|release| {
                release.catalogue.push(release.catalogue[0].clone());
            }),
        ),
        content(
            "order",
            "The entries are in another order.",
            story().release(|release| release.catalogue.reverse()),
        ),
        content(
            "unit-column",
            "The unit column is no column.",
            dataset(|unit_column, _| {
                *unit_column = name("household");
            }),
        ),
        content("no-snapshot", "A dataset without a snapshot.", dataset(|_, snapshots| snapshots.clear())),
        content(
            "snapshot-twice",
            "One snapshot twice.",
            dataset(|_, snapshots| {
                snapshots.push(snapshots[0].clone());
            }),
        ),
    ]
}

fn grant() -> Vec<Defect> {
    let signatures = |which, about, story| Defect::new(Refusal::GrantSignatures, which, about, story);
    let content = |which, about, story| Defect::new(Refusal::GrantContent, which, about, story);
    let devices = |count| {
        let given = move || std::collections::BTreeMap::from([(name("gpu"), Count(count))]);
        story().grant(move |grant| grant.devices = given())
    };
    vec![
        content("devices-none", "A grant gives no device of a kind that it names.", devices(0)),
        content("devices-too-many", "A grant gives 65 devices of a kind.", devices(65)),
        signatures(
            "one-steward",
            "A grant signed by one of two stewards.",
            story().signed_by("grant", &["steward-ana"]),
        ),
        signatures(
            "steward-and-root",
            "A root person in the place of a steward.",
            story().signed_by("grant", &["steward-ana", "root-rita"]),
        ),
        signatures(
            "revoked-steward",
            "One of the stewards may do nothing any more.",
            story().revocation(|revocation| revocation.people.push(name("steward-ben"))),
        ),
        content(
            "unknown-dataset",
            "A grant for a dataset that roles do not know.",
            story().grant(|grant| {
                let bits = grant.datasets[&name("hie")];
                grant.datasets.insert(name("other"), bits);
            }),
        ),
        content("no-dataset", "A grant for nothing.", story().grant(|grant| grant.datasets.clear())),
        content("no-member", "A grant for nobody.", story().grant(|grant| grant.members.clear())),
        content(
            "no-organisation",
            "No organisation need approve.",
            story().grant(|grant| {
                grant.approvals.organisations = Count(0);
            }),
        ),
        content(
            "no-approval",
            "Nobody need approve.",
            story().grant(|grant| grant.approvals.threshold = Count(0)),
        ),
        content(
            "unknown-supervisor",
            "A supervisor whom roles do not know.",
            story().grant(|grant| {
                grant.approvals.supervisors = vec![name("nobody")];
            }),
        ),
        Defect::new(
            Refusal::VerdictWall,
            "native",
            "The grant demands a micro-VM, the job ran on the shared kernel.",
            story().grant(|grant| grant.least_wall = WallName::Vm),
        ),
    ]
}

fn force() -> Vec<Defect> {
    let force = |which, about, story| Defect::new(Refusal::OutOfForce, which, about, story);
    vec![
        force(
            "grant",
            "The grant had expired when the release was signed.",
            story().grant(|grant| {
                grant.expires = time("2026-03-02T11:00:00Z");
            }),
        ),
        force(
            "policy",
            "The policy had expired.",
            story().policy(|policy| {
                policy.expires = time("2026-03-02T10:59:30Z");
            }),
        ),
        force(
            "revocation",
            "The revocation was not renewed in time.",
            story().revocation(|revocation| {
                revocation.expires = time("2026-03-02T10:00:00Z");
            }),
        ),
        force(
            "revocation-too-long",
            "The revocation says that it is good for a year. It was good for a week.",
            story().revocation(|revocation| {
                revocation.issued_at = time("2026-02-23T10:59:00Z");
                revocation.expires = time("2027-02-23T10:59:00Z");
            }),
        ),
        force(
            "roles",
            "The roles had expired.",
            story().second_roles(|roles| {
                roles.expires = time("2026-03-02T10:59:00Z");
            }),
        ),
        force(
            "future-grant",
            "The grant was made after the release.",
            story().grant(|grant| {
                grant.issued_at = time("2026-03-03T09:00:00Z");
            }),
        ),
    ]
}
