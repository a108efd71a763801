//! Reviews of code before the run.

use super::*;

/// The story under a grant that demands a review of the code.
fn story_with_code_review() -> Story {
    Story::default().grant(|grant| grant.code_review = CodeReview::BeforeRun)
}

fn code_denial(told: &Told, who: &str) -> Envelope {
    let request: Request = told.release.request.unverified().unwrap();
    let verdict: Verdict = told.release.verdict.unverified().unwrap();
    let denial = CodeDenial {
        site: request.site,
        request: told.release.request.payload_digest().into(),
        bundle: request.bundle,
        steward: name(who),
        decision: DenialDecision::Return,
        reasons: vec![DenialReason::Code],
        roles: verdict.roles,
        issued_at: time("2026-03-02T09:12:00Z"),
    };
    Envelope::sign(&denial, &[&key(who)]).unwrap()
}

fn deny_code(told: &Told, denial: Envelope) -> Message {
    Message::DenyCode(DenyCode { request: told.release.request.clone(), denial, witnessed: Count(0) })
}

#[test]
fn a_run_without_the_review_of_its_code_that_the_grant_demands_is_not_signed() {
    let told = story_with_code_review().tell();
    let site = Site::of(&told);
    let without = Message::Submit(Submit {
        request: told.release.request.clone(),
        verdict: told.release.verdict.clone(),
        code_approvals: Vec::new(),
        decision: approvals(&told),
        compared: Vec::new(),
        witnessed: Count(0),
    });
    let missing = SignerRefusal::Rule(Refusal::CodeReviewMissing);
    assert_eq!(refused(ask(&mut site.open(), &without)), missing);
    // An enclave that says nothing of a review, and one that names a review by one steward.
    let unsaid =
        story_with_code_review().verdict(|verdict| verdict.code_review = Evidence::NotChecked).tell();
    assert_eq!(refused(ask(&mut Site::of(&unsaid).open(), &submit(&unsaid, approvals(&unsaid)))), missing);
    let one = story_with_code_review().code_approvals(|approvals| approvals.truncate(1)).tell();
    let too_few = SignerRefusal::Rule(Refusal::ApprovalsTooFew);
    assert_eq!(refused(ask(&mut Site::of(&one).open(), &submit(&one, approvals(&one)))), too_few);
    release(&mut site.open(), &told);
}

#[test]
fn a_refusal_of_code_becomes_a_witnessed_leaf_and_no_verdict_of_its_request_is_signed() {
    let told = story_with_code_review().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let message = deny_code(&told, code_denial(&told, "steward-ben"));
    let answer = appended(ask(&mut signer, &message));
    assert_eq!((answer.outcome, answer.index), (Outcome::CodeDenial, Count(7)));
    assert_eq!(appended(ask(&mut site.open(), &message)).index, Count(7), "a repeat gets the first answer");
    let denied = SignerRefusal::Rule(Refusal::CodeDenied);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    let cosign = Message::Cosign(Cosign {
        verdict: told.release.request.payload_digest(),
        size: answer.size,
        cosignatures: cosignature(&answer.add_checkpoint, WITNESS, now()),
    });
    let text = file(ask(&mut signer, &cosign), Outcome::CodeDenial);
    assert_eq!(refused(ask(&mut site.open(), &submit(&told, approvals(&told)))), denied);
    assert_eq!((site.published(Event::CodeDenial), site.published(Event::Release)), (1, 0));

    let loaded = release::site::Site::load(&site.site(), &told.pin, now()).unwrap();
    let request = release::path::SignedRequest::verify(&told.release.request, &loaded).unwrap();
    let file = CodeDenialFile::parse(text.as_bytes()).unwrap();
    assert_eq!(file.verify(&request, &loaded, false, now()).unwrap().denial().steward, name("steward-ben"));
    // Not by someone who is no steward of the data, nor in another's name.
    for by in ["supervisor-sue", "researcher-mia"] {
        let message = deny_code(&told, code_denial(&told, by));
        let refusal = refused(ask(&mut Site::of(&told).open(), &message));
        assert_eq!(refusal, SignerRefusal::Rule(Refusal::ApprovalSignature), "{by}");
    }
}

#[test]
fn code_whose_run_is_released_is_refused_no_more() {
    let told = story_with_code_review().tell();
    let site = Site::of(&told);
    release(&mut site.open(), &told);
    let message = deny_code(&told, code_denial(&told, "steward-ben"));
    // Also after a restart, which reads it off the log.
    for mut signer in [site.open(), site.open()] {
        assert_eq!(refused(ask(&mut signer, &message)), SignerRefusal::AlreadyReleased);
    }
    assert_eq!((site.published(Event::CodeDenial), site.published(Event::Release)), (0, 1));
}

#[test]
fn a_refusal_of_code_laid_into_the_site_directory_stops_the_release() {
    let told = story_with_code_review().tell();
    let site = Site::of(&told);
    site.install(&code_denial(&told, "steward-ben"));
    let mut signer = site.open();
    let denied = SignerRefusal::Rule(Refusal::CodeDenied);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    let get = Message::Get(Get { verdict: told.release.request.payload_digest(), witnessed: Count(0) });
    assert_eq!(appended(ask(&mut signer, &get)).outcome, Outcome::CodeDenial);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    // Of another request it stops nothing.
    let innocent = Site::of(&told);
    innocent.install(&code_denial(&Story::default().tell(), "steward-ben"));
    release(&mut innocent.open(), &told);
}
