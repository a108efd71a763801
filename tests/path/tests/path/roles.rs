//! New roles under running rooms: a higher threshold counts at once, and roles that have expired stop everything.

use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::statement::Roles;
use release::value::{Count, Name};

use crate::rotation::{approve_as, newcomer};
use crate::site_changes::{approve, console_has, in_review, install, install_envelope, key, site, until};
use crate::wait;

/// The next version of the roles, signed by both stewards.
pub fn renew(tested: &TestBox, edit: impl FnOnce(&mut Roles)) {
    let mut roles = site(tested).roles().clone();
    (roles.version, roles.issued_at) = (Count(roles.version.0 + 1), databox::site::now());
    edit(&mut roles);
    install(tested, &roles, &[&key(tested, "ana"), &key(tested, "ben")]);
}

/// Adds a third steward of every dataset, and has three approve from now on.
fn three_must_approve(tested: &TestBox) -> databox::profile::Profile {
    let (signing, person, profile) = newcomer(tested, "cleo");
    let cleo: Name = "cleo".parse().unwrap();
    renew(tested, |roles| {
        roles.people.insert(cleo.clone(), person);
        for dataset in roles.datasets.values_mut() {
            dataset.stewards.push(cleo.clone());
            dataset.approval_threshold = Count(3);
        }
    });
    // What was signed before stands; the newcomer's signature is no condition of it.
    for (path, bytes) in release::site::read_files(&tested.stage.home.site()).unwrap() {
        if path.starts_with("catalogue") && path.extension().is_some_and(|end| end == "json") {
            let mut envelope = release::envelope::Envelope::parse(&bytes).unwrap();
            envelope.add_signature(&signing).unwrap();
            install_envelope(tested, &envelope);
        }
    }
    profile
}

#[test]
fn a_higher_threshold_counts_at_once_and_two_are_no_longer_enough() {
    let tested = TestBox::start();
    wait(async {
        let before = in_review(&tested, "before", "1").await;
        approve(&tested, "ana", &before).await.unwrap();
        let cleo = three_must_approve(&tested);
        console_has(&tested, "ben", |site| site.roles().version.0 == 2).await;
        // Sealed to two: nobody else can open it, so it can never have three.
        let review = approve(&tested, "ben", &before).await.unwrap();
        assert_ne!(review.state(), api::v1::ReviewState::Released, "{review:?}");

        let after = in_review(&tested, "after", "2").await;
        for steward in ["ana", "ben"] {
            let review = approve(&tested, steward, &after).await.unwrap();
            assert_ne!(review.state(), api::v1::ReviewState::Released, "{steward}: {review:?}");
        }
        approve_as(&cleo, &after).await;
        assert_eq!(tested.wait("kim", &after, State::Released).await, State::Released);
        let first = tested.bench("kim").await.job(&before).await.unwrap();
        assert_eq!(databox::job::state(&first), State::InReview);
    });
}

#[test]
fn roles_that_have_expired_stop_everything_and_newer_ones_let_it_go_on() {
    let tested = TestBox::start();
    wait(async {
        let job = in_review(&tested, "one", "1").await;
        approve(&tested, "ana", &job).await.unwrap();
        let opened = tested.opened("ben", &job).await;
        // A request that was signed in time.
        let bench = tested.bench("kim").await;
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("2"))];
        let late = bench.prepare(&tested.bundle("late", &files)).await.unwrap();
        let expires = databox::site::now().plus(4);
        let long = site(&tested).roles().expires;
        renew(&tested, |roles| roles.expires = expires);
        console_has(&tested, "ben", |site| site.roles().version.0 == 2).await;
        until("the expiry", async || (databox::site::now() > expires).then_some(())).await;

        let refused = tested.desk("ben").await.approve(&opened).await.unwrap_err();
        assert!(refused.text.contains("(out-of-force)"), "nobody approves: {refused}");
        let refused = bench.submit(&late).await.unwrap_err();
        assert!(refused.text.contains("(out-of-force)"), "a request is not admitted: {refused}");

        renew(&tested, |roles| roles.expires = long);
        console_has(&tested, "ben", |site| site.roles().version.0 == 3).await;
        let review = approve(&tested, "ben", &job).await.unwrap();
        assert_eq!(review.state(), api::v1::ReviewState::Released, "{review:?}");
        in_review(&tested, "again", "3").await;
    });
}
