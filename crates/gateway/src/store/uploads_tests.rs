use super::*;
use crate::store::testing::{at, connection};

const LIMITS: UploadLimits = UploadLimits { per_person: 2, per_grant: 3, bytes_per_grant: 1000, bytes: 1500 };

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn announced(person: &str, text: &[u8], bytes: u64) -> Announced {
    Announced { person: name(person), grant: name("visits"), sha256: Digest::of(text), bytes }
}

fn quota(refused: Result<Upload, Refused>) -> &'static str {
    match refused {
        Err(Refused::Quota { subject, .. }) => subject,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repeat_finds_what_is_there_and_another_person_does_not() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let (ada, bundle) = (name("ada"), Digest::of(b"bundle"));
    let begin = |person, bytes| begin(&transaction, &announced(person, b"bundle", bytes), LIMITS, at(1));
    begin("ada", 6).unwrap();
    commit(&transaction, &ada, &bundle, 6, true).unwrap();
    assert!(begin("ada", 6).unwrap().whole);
    assert_eq!(begin("ada", 7), Err(Refused::Conflict));
    assert_eq!(begin("eve", 6).unwrap().committed, 0);
}

#[test]
fn a_person_and_a_grant_have_a_limited_number_of_unfinished_uploads() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let begin = |person, text: &[u8]| begin(&transaction, &announced(person, text, 1), LIMITS, at(0));
    begin("ada", b"1").unwrap();
    begin("ada", b"2").unwrap();
    assert_eq!(quota(begin("ada", b"3")), "uploads");
    begin("eve", b"4").unwrap();
    assert_eq!(quota(begin("eve", b"5")), "uploads of the grant");
    commit(&transaction, &name("ada"), &Digest::of(b"1"), 1, true).unwrap();
    begin("eve", b"5").unwrap();
}

#[test]
fn a_grant_has_its_share_of_the_spool_and_old_bundles_make_room() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let begin = |text: &[u8], bytes, seconds| {
        begin(&transaction, &announced("ada", text, bytes), LIMITS, at(seconds))
    };
    begin(b"1", 600, 0).unwrap();
    assert_eq!(quota(begin(b"2", 401, 100)), "bytes of the grant in the spool", "an unfinished one stays");
    commit(&transaction, &name("ada"), &Digest::of(b"1"), 600, true).unwrap();
    assert_eq!(quota(begin(b"2", 401, 59)), "bytes of the grant in the spool", "its job may come now");
    begin(b"2", 401, 100).unwrap();
    assert!(find(&transaction, &name("ada"), &Digest::of(b"1")).unwrap().is_none());
    let other = Announced { grant: name("other"), ..announced("eve", b"3", 1000) };
    super::begin(&transaction, &other, LIMITS, at(0)).unwrap();
}

#[test]
fn old_uploads_are_forgotten() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let ada = name("ada");
    begin(&transaction, &announced("ada", b"old", 1), LIMITS, at(0)).unwrap();
    begin(&transaction, &announced("ada", b"new", 1), LIMITS, at(10)).unwrap();
    assert_eq!(forget(&transaction, at(5)).unwrap(), 1);
    assert!(find(&transaction, &ada, &Digest::of(b"old")).unwrap().is_none());
    assert!(find(&transaction, &ada, &Digest::of(b"new")).unwrap().is_some());
    let forgotten = commit(&transaction, &ada, &Digest::of(b"old"), 1, true);
    assert_eq!(forgotten, Err(Refused::NotFound), "bytes of a forgotten upload are not acknowledged");
    commit(&transaction, &ada, &Digest::of(b"new"), 1, true).unwrap();
    // After the clock was set back an upload is as old as it was.
    crate::store::elapsed::set_back(&transaction, 8, at(2)).unwrap();
    assert_eq!(forget(&transaction, at(3)).unwrap(), 1);
}

#[test]
fn all_grants_together_have_the_spool_and_old_bundles_of_any_make_room() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let begin = |person: &str, grant: &str, text: &[u8], bytes, seconds| {
        let announced = Announced { grant: name(grant), ..announced(person, text, bytes) };
        begin(&transaction, &announced, LIMITS, at(seconds))
    };
    begin("ada", "visits", b"1", 900, 0).unwrap();
    assert_eq!(begin("eve", "costs", b"2", 601, 100), Err(Refused::Disk), "an unfinished one stays");
    begin("eve", "costs", b"2", 600, 100).unwrap();
    commit(&transaction, &name("ada"), &Digest::of(b"1"), 900, true).unwrap();
    assert_eq!(begin("eve", "costs", b"3", 300, 59), Err(Refused::Disk), "its job may come now");
    begin("eve", "costs", b"3", 300, 100).unwrap();
    assert!(find(&transaction, &name("ada"), &Digest::of(b"1")).unwrap().is_none());
    assert!(find(&transaction, &name("eve"), &Digest::of(b"2")).unwrap().is_some());
}
