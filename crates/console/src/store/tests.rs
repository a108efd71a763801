use super::*;

pub(super) fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("reviews.db")).unwrap();
    (directory, store)
}

#[test]
fn a_store_of_another_schema_is_refused_by_its_version_and_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("reviews.db");
    Store::open(&path).unwrap().add_review(&review(Digest::of(b"one"))).unwrap();
    for found in [VERSION + 1, 99, 1] {
        Connection::open(&path).unwrap().pragma_update(None, "user_version", found).unwrap();
        let refused = Store::open(&path).unwrap_err();
        assert!(matches!(refused, OpenError::Schema { found: named } if named == found), "{refused}");
    }
    Connection::open(&path).unwrap().pragma_update(None, "user_version", VERSION).unwrap();
    assert_eq!(Store::open(&path).unwrap().reviews_of("ana", i64::MAX, 10).unwrap().len(), 1);
}

#[test]
fn what_holds_a_review_up_is_named_until_it_moves_on() {
    let (_directory, store) = store();
    let verdict = Digest::of(b"one");
    store.add_review(&review(verdict)).unwrap();
    let named = || store.review_of(&verdict, "ana").unwrap().unwrap().held_up_by;
    store.set_held_up(&verdict, "out-of-force").unwrap();
    assert_eq!(named(), "out-of-force");
    store.add_decision(&verdict, "ana", true, b"approval", 1, Standing::Open).unwrap();
    assert_eq!(named(), "");
    store.set_held_up(&verdict, "too-few-witnesses").unwrap();
    store.finish(&released(verdict)).unwrap();
    assert_eq!(named(), "");
}

fn released(verdict: Digest) -> Finished {
    Finished { verdict, subject: Subject::Outputs, is_release: true, file: b"release".to_vec() }
}

fn review(verdict: Digest) -> NewReview<'static> {
    NewReview {
        verdict,
        verdict_envelope: b"verdict",
        request_envelope: b"request",
        packet: Digest::of(b"packet"),
        passed: true,
        reviewers: vec!["ana".to_owned(), "ben".to_owned()],
        received_at: 100,
        expires_at: 200,
        placed: None,
    }
}

#[test]
fn a_review_is_seen_by_those_it_is_sealed_to_and_by_nobody_else() {
    let (_directory, store) = store();
    let verdict = Digest::of(b"one");
    store.add_review(&review(verdict)).unwrap();
    store.add_review(&review(verdict)).unwrap();
    assert_eq!(store.reviews_of("ana", i64::MAX, 10).unwrap().len(), 1);
    assert!(store.reviews_of("eve", i64::MAX, 10).unwrap().is_empty());
    assert!(store.review_of(&verdict, "eve").unwrap().is_none());
    assert_eq!(store.review_of(&verdict, "ben").unwrap().unwrap().standing, Standing::Open);
}

#[test]
fn a_steward_is_counted_once_and_a_further_approval_takes_the_place_of_the_first() {
    let (_directory, store) = store();
    let verdict = Digest::of(b"one");
    store.add_review(&review(verdict)).unwrap();
    store.add_decision(&verdict, "ana", true, b"first", 1, Standing::Open).unwrap();
    store.add_decision(&verdict, "ana", true, b"second", 2, Standing::Open).unwrap();
    assert_eq!(store.decisions(&verdict, true).unwrap(), [b"second".to_vec()]);
    assert_eq!(store.review_of(&verdict, "ana").unwrap().unwrap().approvals, 1);
}

#[test]
fn what_the_log_says_is_final_and_sent_until_taken() {
    let (_directory, store) = store();
    let verdict = Digest::of(b"one");
    store.add_review(&review(verdict)).unwrap();
    let release = released(verdict);
    store.finish(&release).unwrap();
    store.finish(&Finished { is_release: false, file: b"denial".to_vec(), ..release.clone() }).unwrap();
    store.set_standing(&verdict, Standing::Open).unwrap();
    let kept = store.not_taken().unwrap();
    assert_eq!((kept.len(), kept[0].is_release, &kept[0].file[..]), (1, true, &b"release"[..]));
    store.taken(&verdict).unwrap();
    assert!(store.not_taken().unwrap().is_empty());
    assert!(store.finished(&verdict).unwrap().is_some());
}

#[test]
fn a_verdict_was_compared_with_those_of_an_earlier_place_that_share_a_dataset() {
    let (_directory, store) = store();
    let placed = |place, datasets: &[&str]| Placed {
        place,
        datasets: datasets.iter().map(|name| name.parse().unwrap()).collect(),
    };
    let verdict = |bytes: &[u8]| Digest::of(bytes);
    // They need not come in their order.
    for (bytes, place) in [
        (b"three", placed(3, &["hie", "nhis"])),
        (b"first", placed(1, &["hie"])),
        (b"other", placed(2, &["nhis"])),
    ] {
        store.add_review(&NewReview { placed: Some(place), ..review(verdict(bytes)) }).unwrap();
    }
    let sorted = |mut verdicts: Vec<Digest>| {
        verdicts.sort();
        verdicts
    };
    assert_eq!(store.compared_with(&placed(3, &["hie"])).unwrap(), [verdict(b"first")]);
    let both = sorted(vec![verdict(b"first"), verdict(b"other")]);
    assert_eq!(store.compared_with(&placed(3, &["hie", "nhis"])).unwrap(), both);
    assert_eq!(store.compared_with(&placed(1, &["hie", "nhis"])).unwrap(), []);
    let later = sorted(vec![verdict(b"three"), verdict(b"other")]);
    assert_eq!(store.compared_with(&placed(4, &["nhis"])).unwrap(), later);
}
