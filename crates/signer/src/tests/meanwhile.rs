//! What a site changes between verdict, approvals and signature: the signer goes by the site of the moment. Each change has a
//! twin of its kind that is no reason to refuse.

use release::key::{Sign, key_id};
use release::statement::{Interest, Manifest, Revocation, Roles};

use super::*;

/// A change of the site directory, once verdict and approvals are there.
type Change = Box<dyn Fn(&Site, &Told)>;

/// A newer revocation.
fn revoked(edit: impl Fn(&mut Revocation) + Clone + 'static) -> Change {
    Box::new(move |site, _| {
        let edit = edit.clone();
        let newer = Story::default().revocation(move |revocation| {
            revocation.version = Count(10);
            edit(revocation);
        });
        site.install(&newer.tell().release.revocation);
    })
}

/// Newer roles, signed by those who may change them.
fn roles(edit: impl Fn(&mut Roles) + 'static) -> Change {
    Box::new(move |site, told| {
        let mut roles: Roles = told.release.roles[1].unverified().unwrap();
        (roles.version, roles.issued_at) = (Count(3), time("2026-03-02T10:50:00Z"));
        edit(&mut roles);
        let signers = ["root-rita", "root-rolf"].map(key);
        site.install(&Envelope::sign(&roles, &[&signers[0], &signers[1]]).unwrap());
    })
}

/// A denial of this verdict, or of one like it.
fn denied(run: u64) -> Change {
    Box::new(move |site, _| site.install(&denial(&together::run(run), "steward-ben")))
}

/// One more release under the same grant.
fn spent(site: &Site, bits: u64) {
    let mut signer = site.open();
    release(&mut signer, &together::run_under(2, bits));
}

fn after(change: &Change) -> Answer {
    let told = together::run(1);
    let site = Site::of(&told);
    let mut signer = site.open();
    change(&site, &told);
    ask(&mut signer, &submit(&told, approvals(&told)))
}

#[test]
fn what_a_site_changes_between_approval_and_signature_counts_and_a_change_beside_it_does_not() {
    let public = |name: &str| key_id(&key(name).public());
    let interest = |project: &str| Interest { person: name("steward-ben"), project: name(project) };
    let asked: Request = together::run(1).release.request.unverified().unwrap();
    let project = asked.project.to_string();
    let drop_steward = |roles: &mut Roles, gone: &str| {
        let dataset = roles.datasets.get_mut(&name("hie")).unwrap();
        dataset.stewards.retain(|steward| steward.as_str() != gone);
        dataset.approval_threshold = Count(1);
        dataset.grant_threshold = Count(1);
    };
    let three = |roles: &mut Roles, threshold: u64| {
        let dataset = roles.datasets.get_mut(&name("hie")).unwrap();
        dataset.stewards.push(name("supervisor-sue"));
        dataset.approval_threshold = Count(threshold);
    };
    let cases: Vec<(&str, Refusal, Change, Change)> = vec![
        (
            "grant",
            Refusal::Revoked,
            revoked(|one| one.grants.push(name("visits-study"))),
            revoked(|one| one.grants.push(name("another-study"))),
        ),
        (
            // The grant stands on their signature too.
            "steward",
            Refusal::RequestGrant,
            revoked(|one| one.people.push(name("steward-ben"))),
            revoked(|one| one.people.push(name("supervisor-sue"))),
        ),
        (
            "steward's key",
            Refusal::RequestGrant,
            revoked(move |one| one.keys.push(public("steward-ana"))),
            revoked(move |one| one.keys.push(public("supervisor-sue"))),
        ),
        (
            "requester's key",
            Refusal::Revoked,
            revoked(move |one| one.keys.push(public("researcher-mia"))),
            revoked(move |one| one.keys.push(public("researcher-max"))),
        ),
        (
            "enclave's key",
            Refusal::Revoked,
            revoked(move |one| one.keys.push(public("enclave"))),
            revoked(move |one| one.keys.push(public("gateway"))),
        ),
        (
            "interest",
            Refusal::ApprovalInterest,
            revoked(move |one| one.interests.push(interest(&project))),
            revoked(move |one| one.interests.push(interest("another"))),
        ),
        (
            "revocation's time",
            Refusal::OutOfForce,
            revoked(|one| one.expires = time("2026-03-02T10:59:00Z")),
            revoked(|one| one.expires = time("2026-03-02T11:01:00Z")),
        ),
        (
            "roles' threshold",
            Refusal::ApprovalsTooFew,
            roles(move |roles| three(roles, 3)),
            roles(move |roles| three(roles, 2)),
        ),
        (
            "roles' stewards",
            Refusal::ApprovalSignature,
            roles(move |roles| drop_steward(roles, "steward-ben")),
            roles(move |roles| drop_steward(roles, "supervisor-sue")),
        ),
        (
            "roles' time",
            Refusal::OutOfForce,
            roles(|roles| roles.expires = time("2026-03-02T10:59:00Z")),
            roles(|roles| roles.expires = time("2026-03-02T11:01:00Z")),
        ),
        ("denial", Refusal::Denied, denied(1), denied(3)),
    ];
    for (what, refusal, change, beside) in cases {
        let answer = after(&change);
        assert_eq!(answer, Answer::Refused(SignerRefusal::Rule(refusal)), "{what}");
        assert!(matches!(after(&beside), Answer::Appended(_)), "{what}: {:?}", after(&beside));
    }
}

#[test]
fn what_other_releases_spent_between_approval_and_signature_is_spent() {
    let one: Manifest = together::run(1).release.manifest.unverified().unwrap();
    for (bits, room) in [(2 * one.released_bits.0 - 1, false), (2 * one.released_bits.0, true)] {
        let told = together::run_under(1, bits);
        let site = Site::of(&told);
        spent(&site, bits);
        let answer = ask(&mut site.open(), &submit(&told, approvals(&told)));
        match room {
            true => drop(appended(answer)),
            false => assert_eq!(refused(answer), SignerRefusal::Rule(Refusal::ManifestAccount)),
        }
    }
}

#[test]
fn a_grant_or_a_policy_that_expires_between_approval_and_signature_signs_nothing() {
    let later = time("2026-03-02T11:02:00Z");
    let expiry = time("2026-03-02T11:01:00Z");
    for told in [
        Story::default().grant(move |grant| grant.expires = expiry).tell(),
        Story::default().policy(move |policy| policy.expires = expiry).tell(),
    ] {
        let site = Site::of(&told);
        let late = site.open().answer(&submit(&told, approvals(&told)), later).unwrap();
        assert_eq!(refused(late), SignerRefusal::Rule(Refusal::OutOfForce));
        appended(ask(&mut site.open(), &submit(&told, approvals(&told))));
    }
}

/// Whoever signed nothing of the grant: what is revoked meanwhile is their consent alone.
#[test]
fn an_approval_of_a_supervisor_who_is_revoked_before_the_signature_counts_no_more() {
    let supervised = || {
        Story::default()
            .without_tables()
            .grant(|grant| grant.approvals.supervisors = vec![name("supervisor-sue")])
            .verdict(|verdict| verdict.reviewers.push(test_formats::story::reviewer("supervisor-sue")))
            .approvals(|approvals| {
                let mut sue = approvals[0].clone();
                sue.steward = name("supervisor-sue");
                approvals.push(sue);
            })
            .tell()
    };
    let sue = key_id(&key("supervisor-sue").public());
    let max = key_id(&key("researcher-max").public());
    let cases: Vec<(&str, Change, Change)> = vec![
        (
            "person",
            revoked(|one| one.people.push(name("supervisor-sue"))),
            revoked(|one| one.people.push(name("researcher-max"))),
        ),
        ("key", revoked(move |one| one.keys.push(sue)), revoked(move |one| one.keys.push(max))),
    ];
    for (what, change, beside) in cases {
        let after = |change: &Change| {
            let told = supervised();
            let site = Site::of(&told);
            change(&site, &told);
            ask(&mut site.open(), &submit(&told, approvals(&told)))
        };
        assert_eq!(refused(after(&change)), SignerRefusal::Rule(Refusal::Revoked), "{what}");
        appended(after(&beside));
    }
}
