//! The site's statements come under a published checkpoint without a decision.

use release::log::socket::{CosignHead, Publish, Unwitnessed};

use super::*;

fn publish(witnessed: u64) -> Message {
    Message::Publish(Publish { witnessed: Count(witnessed) })
}

fn unwitnessed(answer: Answer) -> Unwitnessed {
    match answer {
        Answer::Unwitnessed(unwitnessed) => unwitnessed,
        other => panic!("an unwitnessed head was expected, not {other:?}"),
    }
}

fn cosign_head(unwitnessed: &Unwitnessed, witness: &str) -> Message {
    let cosignatures = cosignature(&unwitnessed.add_checkpoint, witness, now());
    Message::CosignHead(CosignHead { size: unwitnessed.size, cosignatures })
}

fn published(answer: &Answer) -> u64 {
    match answer {
        Answer::Published(published) => published.size.0,
        other => panic!("a published head was expected, not {other:?}"),
    }
}

#[test]
fn a_recall_is_in_the_log_without_a_decision() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    release(&mut signer, &told);
    let before = signer.size();
    assert_eq!(published(&ask(&mut signer, &publish(before))), before, "there is nothing new");

    let newer = Story::default().revocation(|revocation| revocation.version = Count(10)).tell();
    site.install(&newer.release.revocation);
    let head = unwitnessed(ask(&mut signer, &publish(before)));
    assert_eq!(head.size.0, before + 1);
    assert_eq!(site.published(Event::Revocation), 1, "nobody sees it before its witness does");
    assert_eq!(unwitnessed(ask(&mut signer, &publish(before))), head, "a repeat gets the first answer");
    assert_eq!(published(&ask(&mut signer, &cosign_head(&head, WITNESS))), before + 1);
    assert_eq!(site.published(Event::Revocation), 2);
    assert_eq!(published(&ask(&mut signer, &cosign_head(&head, WITNESS))), before + 1);
    // The next start reads it all again, and the release is still what it was.
    let mut signer = site.open();
    assert_eq!(published(&ask(&mut signer, &publish(0))), before + 1);
    let get = Message::Get(Get { verdict: digest(&told), witnessed: Count(0) });
    assert!(matches!(ask(&mut signer, &get), Answer::Finished(_)));
}

#[test]
fn a_head_that_too_few_witnesses_cosigned_or_that_never_was_is_not_published() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let head = unwitnessed(ask(&mut signer, &publish(0)));
    let without = Message::CosignHead(CosignHead { size: head.size, cosignatures: String::new() });
    let witnesses = SignerRefusal::Rule(Refusal::LogWitnesses);
    assert_eq!(refused(ask(&mut signer, &without)), SignerRefusal::CosignatureForm);
    assert_eq!(refused(ask(&mut signer, &cosign_head(&head, "someone.example"))), witnesses);
    let larger = Message::CosignHead(CosignHead { size: Count(99), cosignatures: String::new() });
    assert_eq!(refused(ask(&mut signer, &larger)), SignerRefusal::SizeUnknown);
    assert_eq!(refused(ask(&mut signer, &publish(99))), SignerRefusal::LogBehindWitness);
    assert!(!site.places().checkpoint().exists());
    assert_eq!(published(&ask(&mut signer, &cosign_head(&head, WITNESS))), head.size.0);
}

#[test]
fn a_decision_under_a_head_that_was_published_without_it_in_mind_is_finished_when_asked_for() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    appended(ask(&mut signer, &submit(&told, approvals(&told))));
    let head = unwitnessed(ask(&mut signer, &publish(0)));
    ask(&mut signer, &cosign_head(&head, WITNESS));
    let get = Message::Get(Get { verdict: digest(&told), witnessed: Count(0) });
    file(ask(&mut signer, &get), Outcome::Release);
}

#[test]
fn a_head_under_which_a_release_could_not_be_finished_is_not_published() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    appended(ask(&mut signer, &submit(&told, approvals(&told))));
    let head = unwitnessed(ask(&mut signer, &publish(0)));
    let early = cosignature(&head.add_checkpoint, WITNESS, time("2026-03-02T09:00:00Z"));
    let dated = Message::CosignHead(CosignHead { size: head.size, cosignatures: early });
    assert_eq!(refused(ask(&mut signer, &dated)), SignerRefusal::Rule(Refusal::LogTime));
    assert!(!site.places().checkpoint().exists());
    assert_eq!(published(&ask(&mut signer, &cosign_head(&head, WITNESS))), head.size.0);
    let get = Message::Get(Get { verdict: digest(&told), witnessed: Count(0) });
    file(ask(&mut signer, &get), Outcome::Release);
}

#[test]
fn a_file_that_was_finished_under_a_head_that_is_gone_stays_as_it_is() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let head = unwitnessed(ask(&mut signer, &publish(0)));
    ask(&mut signer, &cosign_head(&head, WITNESS));
    let before = fs::read(site.places().checkpoint()).unwrap();
    let finished = release(&mut signer, &told);
    // Somebody put an older checkpoint back; the log itself is whole.
    fs::write(site.places().checkpoint(), before).unwrap();
    let newer = Story::default().revocation(|revocation| revocation.version = Count(10)).tell();
    site.install(&newer.release.revocation);
    let mut signer = site.open();
    let head = unwitnessed(ask(&mut signer, &publish(0)));
    assert_eq!(published(&ask(&mut signer, &cosign_head(&head, WITNESS))), head.size.0);
    let get = Message::Get(Get { verdict: digest(&told), witnessed: Count(0) });
    assert_eq!(file(ask(&mut signer, &get), Outcome::Release), finished);
    assert_eq!(site.published(Event::Release), 1);
}
