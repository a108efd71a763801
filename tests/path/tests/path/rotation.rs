//! People and keys that change while the rooms run, and a steward whose refusal the console does not pass on.

use databox::certificate::{self, CertificateRole};
use databox::key::KeyArguments;
use databox::profile::Profile;
use databox::review::Desk;
use harness::TestBox;
use lifecycle::State;
use release::envelope::Envelope;
use release::key::{SecretKey, Sign};
use release::statement::{Denial, DenialDecision, DenialReason, Interest, Person};
use release::value::{Count, Name};

use crate::site_changes::{
    approve, console_has, in_review, install, install_envelope, key, revoke, site, until,
};
use crate::wait;

/// A steward who comes later: keys, certificate and profile.
pub fn newcomer(tested: &TestBox, id: &str) -> (SecretKey, Person, Profile) {
    let home = &tested.stage.home;
    let (id, organisation): (Name, Name) = (id.parse().unwrap(), "hospital".parse().unwrap());
    let directory = tested.stage.people();
    let passphrase_file = Some(directory.join("passphrase"));
    let arguments = KeyArguments {
        id: id.clone(),
        directory,
        organisation,
        passphrase_file,
        ssh_key: None,
        require_pin: false,
    };
    let (files, keys) = databox::key::new(&arguments).unwrap();
    let request = std::fs::read_to_string(files.tls_request()).unwrap();
    let name = site(tested).name().clone();
    let issued = certificate::issue(home, &name, &request, CertificateRole::Steward, &id, 24).unwrap();
    std::fs::write(files.tls_certificate(), issued).unwrap();
    let public = databox::key::read_public(&files.public()).unwrap();
    let person =
        Person { organisation: public.organisation, keys: public.keys, review_key: Some(public.review_key) };
    (keys.signing, person, Profile { id, ..tested.stage.profile("ana") })
}

pub async fn approve_as(profile: &Profile, job: &str) {
    let mut desk = Desk::connect(profile.clone()).await.unwrap();
    let opened = until("the review", async || {
        for review in desk.list().await.unwrap() {
            let opened = desk.open(&review.review).await.ok();
            if let Some(opened) = opened.filter(|opened| opened.verdict.request.sha256.to_string() == job) {
                return Some(opened);
            }
        }
        None
    });
    let opened = opened.await;
    Desk::connect(profile.clone()).await.unwrap().approve(&opened).await.unwrap();
}

#[test]
fn a_steward_and_the_signer_s_key_are_replaced_while_the_rooms_run_and_old_releases_stay_valid() {
    let mut tested = TestBox::start();
    let [ana, ben] = ["ana", "ben"].map(|steward| key(&tested, steward));
    let (cleo, person, profile) = newcomer(&tested, "cleo");
    let (gone, come): (Name, Name) = ("ana".parse().unwrap(), "cleo".parse().unwrap());
    let first = wait(async {
        let job = in_review(&tested, "first", "1").await;
        approve(&tested, "ana", &job).await.unwrap();
        approve(&tested, "ben", &job).await.unwrap();
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
        job
    });

    // Who comes is added first, and signs what stands; only then is who goes dropped.
    let mut roles = site(&tested).roles().clone();
    (roles.version, roles.issued_at) = (Count(2), databox::site::now());
    roles.people.insert(come.clone(), person);
    for role in [&mut roles.root, &mut roles.policy, &mut roles.runtime, &mut roles.revocation] {
        role.people.push(come.clone());
    }
    roles.datasets.values_mut().for_each(|dataset| dataset.stewards.push(come.clone()));
    install(&tested, &roles, &[&ana, &ben]);
    for (path, bytes) in release::site::read_files(&tested.stage.home.site()).unwrap() {
        if path.extension().is_some_and(|end| end == "json") && !path.starts_with("roles") {
            let mut envelope = Envelope::parse(&bytes).unwrap();
            envelope.add_signature(&cleo).unwrap();
            install_envelope(&tested, &envelope);
        }
    }
    let new_signer = SecretKey::generate().unwrap();
    (roles.version, roles.issued_at) = (Count(3), databox::site::now());
    roles.people.remove(&gone);
    for role in [&mut roles.root, &mut roles.policy, &mut roles.runtime, &mut roles.revocation] {
        role.people.retain(|person| *person != gone);
    }
    roles.datasets.values_mut().for_each(|dataset| dataset.stewards.retain(|person| *person != gone));
    roles.box_keys.signer = new_signer.public();
    install(&tested, &roles, &[&ben, &cleo]);
    assert!(site(&tested).set_aside().is_empty(), "{:?}", site(&tested).set_aside());
    std::fs::write(tested.stage.home.key("signer"), new_signer.to_pkcs8_pem().as_bytes()).unwrap();
    tested.stage.kill_and_restart("signer").unwrap();

    wait(async {
        console_has(&tested, "ben", |site| site.roles().version.0 == 3).await;
        assert!(tested.desk("ana").await.list().await.is_err(), "who is dropped may not call");
        let second = in_review(&tested, "second", "2").await;
        approve(&tested, "ben", &second).await.unwrap();
        approve_as(&profile, &second).await;
        assert_eq!(tested.wait("kim", &second, State::Released).await, State::Released);
        let mut shelf = tested.shelf("kim").await;
        for (job, out) in [(first, "first"), (second, "second")] {
            shelf.get(&job, &tested.directory().join(format!("{out}-out"))).await.unwrap();
        }
    });
}

#[test]
fn a_refusal_laid_into_the_site_directory_stops_the_signer_though_the_console_never_had_it() {
    let tested = TestBox::start();
    wait(async {
        let job = in_review(&tested, "one", "1").await;
        let opened = tested.opened("ana", &job).await;
        approve(&tested, "ana", &job).await.unwrap();
        let denial = Denial {
            site: opened.verdict.site.clone(),
            verdict: opened.digest.into(),
            challenge: opened.verdict.challenge,
            steward: "ana".parse().unwrap(),
            decision: DenialDecision::Reject,
            reasons: vec![DenialReason::Identifying],
            roles: opened.site.roles_id(),
            issued_at: databox::site::now(),
        };
        install(&tested, &denial, &[&key(&tested, "ana")]);
        let review = approve(&tested, "ben", &job).await.unwrap();
        assert_ne!(review.state(), api::v1::ReviewState::Released);
        assert_eq!(tested.wait("kim", &job, State::Rejected).await, State::Rejected);
        let outcome = tested.bench("kim").await.job(&job).await.unwrap().outcome.unwrap();
        let told: Vec<_> = outcome.denial_reasons().collect();
        assert_eq!(told, [api::v1::DenialReason::Identifying]);
    });
}

#[test]
fn someone_with_an_interest_may_refuse_and_not_approve_until_enough_others_have() {
    let tested = TestBox::start();
    wait(async {
        let job = in_review(&tested, "one", "1").await;
        approve(&tested, "ana", &job).await.unwrap();
        revoke(&tested, "ben", |revocation| {
            let interest = Interest { person: "ben".parse().unwrap(), project: "hie".parse().unwrap() };
            revocation.interests.push(interest);
        });
        console_has(&tested, "ben", |site| site.revocation().version.0 == 2).await;
        let refused = approve(&tested, "ben", &job).await.unwrap_err();
        assert_eq!(refused.reason, "INTEREST");
        let opened = tested.opened("ben", &job).await;
        let mut desk = tested.desk("ben").await;
        desk.deny(&opened, DenialDecision::Reject, vec![DenialReason::Other], None).await.unwrap();
        assert_eq!(tested.wait("kim", &job, State::Rejected).await, State::Rejected);
    });
}
