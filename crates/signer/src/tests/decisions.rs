//! What a decision becomes: a release, a denial, or a refusal by name.

use super::*;

#[test]
fn approvals_become_a_release_file_that_everyone_can_verify() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    assert_eq!(signer.size(), 7);
    let text = release(&mut signer, &told);
    let file = ReleaseFile::parse(text.as_bytes()).unwrap();
    let logged = file.verify(&Pinned::new(told.pin), now(), GivenFiles::NotGiven).unwrap();
    assert_eq!((logged.witnessed().index, logged.witnessed().head.size), (7, 8));
    let published = site.places().release(&file.manifest.payload_digest());
    assert_eq!(fs::read_to_string(published).unwrap(), text);
    let leaves = site.public_leaves();
    assert_eq!(leaves.len(), 8);
    for leaf in &leaves[..7] {
        let path = site.places().statement(leaf.event(), &leaf.payload()).unwrap();
        let envelope = Envelope::parse(&fs::read(path).unwrap()).unwrap();
        assert_eq!(envelope.payload_digest(), leaf.payload());
    }
    let policy = Digest::of(&told.release.policy_file);
    assert_eq!(fs::read(site.places().policy_file(&policy)).unwrap(), told.release.policy_file);
}

#[test]
fn nothing_is_public_before_a_witness_has_cosigned() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let appended = appended(ask(&mut signer, &submit(&told, approvals(&told))));
    assert!(!site.places().checkpoint().exists());
    assert!(!site.directory.path().join("public/releases").exists());
    let mut cosign = Cosign { verdict: digest(&told), size: appended.size, cosignatures: String::new() };
    let mut say = |cosignatures: String, size: u64| {
        cosign.cosignatures = cosignatures;
        cosign.size = Count(size);
        refused(ask(&mut signer, &Message::Cosign(cosign.clone())))
    };
    let line = cosignature(&appended.add_checkpoint, WITNESS, now());
    assert_eq!(say(String::new(), 8), SignerRefusal::CosignatureForm);
    assert_eq!(say(line.replace("— ", "- "), 8), SignerRefusal::CosignatureForm);
    let no_quorum = SignerRefusal::Rule(Refusal::LogWitnesses);
    assert_eq!(say(cosignature(&appended.add_checkpoint, "witness.stranger.example/x", now()), 8), no_quorum);
    assert_eq!(
        say(cosignature(&appended.add_checkpoint, test_formats::story::BOX_WITNESS, now()), 8),
        no_quorum
    );
    // The size decides which head is meant; a cosignature of another head does not verify under it.
    assert_eq!(say(line.clone(), 7), SignerRefusal::SizeUnknown);
    assert_eq!(say(line.clone(), 9), SignerRefusal::SizeUnknown);
    let late = cosignature(&appended.add_checkpoint, WITNESS, time("2026-03-05T11:00:00Z"));
    assert_eq!(say(late, 8), SignerRefusal::Rule(Refusal::LogTime));
    assert!(!site.places().checkpoint().exists());

    file(ask(&mut signer, &cosigned(&told, &appended, now())), Outcome::Release);
}

#[test]
fn nonsense_and_a_crowd_of_lines_keep_no_true_one_from_counting() {
    let told = Story::default().tell();
    let begun = |site: &Site| {
        let mut signer = site.open();
        let appended = appended(ask(&mut signer, &submit(&told, approvals(&told))));
        (signer, appended)
    };
    for crowd in ["nonsense\n", "\n\n", "unknown", "own"] {
        let site = Site::of(&told);
        let (mut signer, appended) = begun(&site);
        let true_line = cosignature(&appended.add_checkpoint, WITNESS, now());
        let before = match crowd {
            "unknown" => {
                cosignature(&appended.add_checkpoint, "witness.stranger.example/x", now()).repeat(200)
            }
            "own" => true_line.repeat(200),
            nonsense => nonsense.to_owned(),
        };
        let cosignatures = before + &true_line;
        let message = Cosign { verdict: digest(&told), size: appended.size, cosignatures };
        let text = file(ask(&mut signer, &Message::Cosign(message)), Outcome::Release);
        let file = ReleaseFile::parse(text.as_bytes()).unwrap();
        assert!(file.verify(&Pinned::new(told.pin), now(), GivenFiles::NotGiven).is_ok(), "{crowd}");
    }
}

#[test]
fn a_line_that_does_not_verify_keeps_no_true_one_from_counting() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let appended = appended(ask(&mut signer, &submit(&told, approvals(&told))));
    let key = key(WITNESS);
    let verifier = VerifierKey::new(WITNESS, KeyType::Witness, key.public().public.0).unwrap();
    let of_another_text = cosign("another log\n1\nroot\n", &verifier, now(), |message| key.sign(message));
    let lie = of_another_text.unwrap().to_string();
    let mut say = |cosignatures: String| {
        let message = Cosign { verdict: digest(&told), size: appended.size, cosignatures };
        ask(&mut signer, &Message::Cosign(message))
    };
    assert_eq!(refused(say(lie.clone())), SignerRefusal::Rule(Refusal::LogWitnesses));
    file(say(lie + &cosignature(&appended.add_checkpoint, WITNESS, now())), Outcome::Release);
}

#[test]
fn a_repeat_gets_the_first_answer_also_after_a_restart() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let message = submit(&told, approvals(&told));
    let first = ask(&mut signer, &message);
    let later = time("2026-03-02T11:30:00Z");
    assert_eq!(signer.answer(&message, later).unwrap(), first);
    drop(signer);
    let mut signer = site.open_on(FaultyDisk::new(None), later).unwrap();
    assert_eq!(signer.answer(&message, later).unwrap(), first);
    let get = Message::Get(Get { verdict: digest(&told), witnessed: Count(0) });
    assert_eq!(signer.answer(&get, later).unwrap(), first);
    let done = ask(&mut signer, &cosigned(&told, &appended(first), now()));
    for message in [&message, &get] {
        assert_eq!(signer.answer(message, later).unwrap(), done);
    }
    assert_eq!(site.open().answer(&get, later).unwrap(), done);
    assert_eq!(site.published(Event::Release), 1);
}

#[test]
fn a_second_manifest_for_one_verdict_is_impossible() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let first = release(&mut signer, &told);
    // One approval less would be refused for a new verdict; for this one there is nothing left to decide.
    for count in [2, 1, 0] {
        let fewer = Decision::Approvals(told.release.approvals[..count].to_vec());
        assert_eq!(file(ask(&mut signer, &submit(&told, fewer)), Outcome::Release), first);
    }
    let denial = Decision::Denial(denial(&told, "steward-ana"));
    assert_eq!(refused(ask(&mut signer, &submit(&told, denial))), SignerRefusal::AlreadyReleased);
    assert_eq!(site.published(Event::Release), 1);
}

#[test]
fn a_denial_becomes_a_witnessed_leaf_and_nothing_is_signed_after_it() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let message = submit(&told, Decision::Denial(denial(&told, "steward-ben")));
    let answer = appended(ask(&mut signer, &message));
    assert_eq!((answer.outcome, answer.index), (Outcome::Denial, Count(7)));
    let denied = SignerRefusal::Rule(Refusal::Denied);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    let text = file(ask(&mut signer, &cosigned(&told, &answer, now())), Outcome::Denial);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    assert_eq!(refused(ask(&mut site.open(), &submit(&told, approvals(&told)))), denied);
    assert_eq!((site.published(Event::Denial), site.published(Event::Release)), (1, 0));

    let loaded = release::site::Site::load(&site.site(), &told.pin, now()).unwrap();
    let request = release::path::SignedRequest::verify(&told.release.request, &loaded).unwrap();
    let verdict = release::path::JudgedVerdict::recorded(&told.release.verdict, &request, &loaded).unwrap();
    let file = DenialFile::parse(text.as_bytes()).unwrap();
    let logged = file.verify(&verdict, &loaded, false, now()).unwrap();
    assert_eq!(logged.denial().steward, name("steward-ben"));
}

#[test]
fn a_denial_laid_into_the_site_directory_counts_and_rubbish_there_does_not() {
    let told = Story::default().tell();
    // The supervisor of another project may not refuse this release, and a cut file is nobody's word.
    let innocent = Site::of(&told);
    innocent.install(&denial(&told, "supervisor-sue"));
    let cut = innocent.site().join(file_name(&denial(&told, "steward-ben")).unwrap());
    fs::write(cut, &denial(&told, "steward-ben").to_bytes()[1..]).unwrap();
    release(&mut innocent.open(), &told);

    let site = Site::of(&told);
    site.install(&denial(&told, "steward-ben"));
    let mut signer = site.open();
    let denied = SignerRefusal::Rule(Refusal::Denied);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    let get = Message::Get(Get { verdict: digest(&told), witnessed: Count(0) });
    let answer = appended(ask(&mut signer, &get));
    assert_eq!(answer.outcome, Outcome::Denial);
    file(ask(&mut signer, &cosigned(&told, &answer, now())), Outcome::Denial);
    assert_eq!((site.published(Event::Denial), site.published(Event::Release)), (1, 0));
}

#[test]
fn evidence_that_breaks_a_rule_is_refused_by_that_rule_and_leaves_no_leaf() {
    let honest = Story::default().tell();
    let site = Site::of(&honest);
    let mut signer = site.open();
    let refuse = |signer: &mut Signer<FaultyDisk>, told: &Told, rule: Refusal| {
        let refusal = refused(ask(signer, &submit(told, approvals(told))));
        assert_eq!(refusal, SignerRefusal::Rule(rule));
    };
    let one = Story::default().approvals(|approvals| approvals.truncate(1)).tell();
    refuse(&mut signer, &one, Refusal::ApprovalsTooFew);
    let twice = Story::default().approvals(|approvals| approvals[1] = approvals[0].clone()).tell();
    refuse(&mut signer, &twice, Refusal::ApprovalTwice);
    let foreign = Story::default().signed_by("approval-1", &["steward-ana"]).tell();
    refuse(&mut signer, &foreign, Refusal::ApprovalSignature);
    let forged = Story::default().signed_by("verdict", &["signer"]).tell();
    refuse(&mut signer, &forged, Refusal::VerdictSignature);
    let blocked = Story::default()
        .verdict(|verdict| {
            verdict.result = VerdictResult::Blocked;
            verdict.rules[0].result = release::statement::RuleResult::Blocked;
            verdict.charges[0].release_bits = Count(0);
            verdict.table_place = Count(0);
        })
        .tell();
    refuse(&mut signer, &blocked, Refusal::VerdictBlocked);
    let request = Story::default().signed_by("request", &["steward-ana"]).tell();
    refuse(&mut signer, &request, Refusal::RequestSignature);
    let unknown = Message::Get(Get { verdict: digest(&honest), witnessed: Count(0) });
    assert_eq!(refused(ask(&mut signer, &unknown)), SignerRefusal::VerdictUnknown);
    assert_eq!(signer.size(), 7);
    release(&mut signer, &honest);
}

#[test]
fn an_expired_site_and_a_clock_set_back_sign_nothing() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let message = submit(&told, approvals(&told));
    let late = signer.answer(&message, time("2026-03-08T09:00:00Z")).unwrap();
    assert_eq!(refused(late), SignerRefusal::Rule(Refusal::OutOfForce));
    release(&mut signer, &told);
    let second = Story::default().without_tables().verdict(|verdict| verdict.run = Count(2)).tell();
    let back = signer.answer(&submit(&second, approvals(&second)), time("2026-03-02T10:54:59Z")).unwrap();
    assert_eq!(refused(back), SignerRefusal::ClockBehind);
    assert!(matches!(ask(&mut signer, &submit(&second, approvals(&second))), Answer::Appended(_)));
}
