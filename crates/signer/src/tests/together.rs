//! Decisions that wait together become leaves in one step.

use release::file::RELEASE_FILE_LIMIT;
use release::log::socket::{CosignHead, TOGETHER_LIMIT, Together};
use release::statement::Manifest;

use super::*;
use crate::room::Stopped;
use crate::room::deciding::Deciding;

/// A verdict about another run of the story's job.
pub(super) fn run(number: u64) -> Told {
    run_under(number, 40_000)
}

/// The same, under a grant of so many bits.
pub(super) fn run_under(number: u64, bits: u64) -> Told {
    Story::default()
        .without_tables()
        .grant(move |grant| {
            grant.datasets.get_mut(&name("hie")).expect("the dataset").release_bits = Count(bits);
        })
        .verdict(move |verdict| verdict.run = Count(number))
        .tell()
}

pub(super) fn together(decisions: impl IntoIterator<Item = Message>) -> Message {
    let submits = decisions.into_iter().map(|message| match message {
        Message::Submit(submit) => submit,
        other => panic!("{other:?} is no decision"),
    });
    Message::Together(Together { submits: submits.collect(), witnessed: Count(0) })
}

/// The cosignature that an unwitnessed head asks for.
pub(super) fn head_cosigned(answer: Answer) -> Message {
    let Answer::Unwitnessed(head) = answer else { panic!("a head was expected, not {answer:?}") };
    let cosignatures = cosignature(&head.add_checkpoint, WITNESS, now());
    Message::CosignHead(CosignHead { size: head.size, cosignatures })
}

fn before(file: &str) -> u64 {
    let file = ReleaseFile::parse(file.as_bytes()).unwrap();
    file.manifest.unverified::<Manifest>().unwrap().accounts[0].released_before.0
}

#[test]
fn decisions_that_wait_together_are_leaves_in_one_step_and_under_one_head() {
    let told: Vec<_> = (1..=4).map(run).collect();
    let site = Site::of(&told[0]);
    let mut signer = site.open();
    let begin = signer.size();
    let denied = submit(&told[3], Decision::Denial(denial(&told[3], "steward-ana")));
    let decisions = told[..3].iter().map(|told| submit(told, approvals(told))).chain([denied.clone()]);
    let steps = signer.disk().steps;
    let answer = ask(&mut signer, &together(decisions.clone()));
    let steps = signer.disk().steps - steps;
    assert_eq!(signer.size(), begin + 4);
    // Decision, four files beside the leaves, bundle and tile, head, log.
    assert_eq!(steps, 1 + 4 + 2 + 1 + 1);
    // A repeat changes nothing.
    assert_eq!(ask(&mut signer, &together(decisions)), answer);
    let answer = ask(&mut signer, &head_cosigned(answer));
    assert!(matches!(answer, Answer::Published(published) if published.size.0 == begin + 4));
    let mut sums = Vec::new();
    for told in &told[..3] {
        let file = file(ask(&mut signer, &submit(told, approvals(told))), Outcome::Release);
        let read = ReleaseFile::parse(file.as_bytes()).unwrap();
        read.verify(&Pinned::new(told.pin), now(), GivenFiles::NotGiven).unwrap();
        sums.push(before(&file));
    }
    file(ask(&mut signer, &denied), Outcome::Denial);
    // Each was signed as if those before it were in the log.
    assert_eq!((sums[0], sums[2]), (0, 2 * sums[1]));
    assert!(sums[1] > 0);
    assert_eq!((site.published(Event::Release), site.published(Event::Denial)), (3, 1));
    assert_eq!(site.open_size(), begin + 4);
}

#[test]
fn each_is_weighed_with_those_before_it_and_one_that_is_refused_keeps_no_other_out() {
    let bits: Manifest = run(1).release.manifest.unverified().unwrap();
    let told: Vec<_> = (1..=3).map(|number| run_under(number, 2 * bits.released_bits.0)).collect();
    let site = Site::of(&told[0]);
    let mut signer = site.open();
    let begin = signer.size();
    let forged = {
        let mut envelopes = told[0].release.approvals.clone();
        envelopes.swap_remove(1);
        submit(&told[0], Decision::Approvals(envelopes))
    };
    let denied = submit(&told[1], Decision::Denial(denial(&told[1], "steward-ana")));
    let approved = |told: &Told| submit(told, approvals(told));
    // Too few approvals; a release; its denial, too late; a denial of another's; and that one's release, too late.
    let too_late = submit(&told[0], Decision::Denial(denial(&told[0], "steward-ana")));
    let decisions = [forged, approved(&told[0]), too_late.clone(), denied, approved(&told[1])];
    let answer = ask(&mut signer, &together(decisions));
    assert_eq!(signer.size(), begin + 2);
    ask(&mut signer, &head_cosigned(answer));
    file(ask(&mut signer, &approved(&told[0])), Outcome::Release);
    assert_eq!(refused(ask(&mut signer, &too_late)), SignerRefusal::AlreadyReleased);
    assert_eq!(refused(ask(&mut signer, &approved(&told[1]))), SignerRefusal::Rule(Refusal::Denied));
    // Two more, and room for one.
    let more = [&told[2], &run_under(4, 2 * bits.released_bits.0)].map(approved);
    let answer = ask(&mut signer, &together(more.clone()));
    assert_eq!(signer.size(), begin + 3);
    ask(&mut signer, &head_cosigned(answer));
    file(ask(&mut signer, &more[0]), Outcome::Release);
    assert_eq!(refused(ask(&mut signer, &more[1])), SignerRefusal::Rule(Refusal::ManifestAccount));
    assert_eq!(signer.size(), begin + 3);
}

#[test]
fn more_than_the_limit_are_refused_before_any_is_looked_at() {
    let told = run(1);
    let site = Site::of(&told);
    let mut signer = site.open();
    let many = |count| together((0..count).map(|_| submit(&told, approvals(&told))));
    assert_eq!(refused(ask(&mut signer, &many(TOGETHER_LIMIT + 1))), SignerRefusal::MessageForm);
    let begin = signer.size();
    ask(&mut signer, &many(TOGETHER_LIMIT));
    assert_eq!(signer.size(), begin + 1);
}

/// One life of a signer that is asked for two releases together. `None` when it ended on a fault.
fn live(site: &Site, told: &[Told], disk: FaultyDisk) -> Option<usize> {
    let mut signer = site.open_on(disk, now()).ok()?;
    let decisions = told.iter().map(|told| submit(told, approvals(told)));
    let mut answer = signer.answer(&together(decisions), now()).ok()?;
    if matches!(answer, Answer::Unwitnessed(_)) {
        answer = signer.answer(&head_cosigned(answer), now()).ok()?;
    }
    assert!(matches!(answer, Answer::Published(_)), "{answer:?}");
    for told in told {
        file(signer.answer(&submit(told, approvals(told)), now()).ok()?, Outcome::Release);
    }
    Some(signer.disk().steps)
}

#[test]
fn whichever_durable_step_of_several_decisions_fails_the_next_start_completes_all_of_them_in_the_same_log() {
    let told = [run(1), run(2)];
    let undisturbed = Site::of(&told[0]);
    let steps = live(&undisturbed, &told, FaultyDisk::new(None)).unwrap();
    let expected = undisturbed.files();
    assert!(steps > 20, "{steps} durable steps");
    for step in 1..=steps {
        for fault in [Fault::Failed, Fault::FailedButStored] {
            let site = Site::of(&told[0]);
            assert_eq!(live(&site, &told, FaultyDisk::new(Some((step, fault)))), None, "{step} {fault:?}");
            assert!(live(&site, &told, FaultyDisk::new(None)).is_some(), "{step} {fault:?}");
            assert!(site.files() == expected, "step {step} {fault:?} left other files");
            assert_eq!(site.published(Event::Release), 2);
        }
    }
}

#[test]
fn a_denial_that_is_laid_down_while_others_before_it_are_weighed_counts() {
    let told: Vec<_> = (1..=3).map(run).collect();
    let site = Site::of(&told[0]);
    let mut signer = site.open();
    let loaded = signer.take_in_site(now()).unwrap();
    let mut deciding = Deciding::over(&signer, &loaded, now());
    let mut weigh = |told: &Told| match submit(told, approvals(told)) {
        Message::Submit(submit) => deciding.submit(&submit),
        other => panic!("{other:?} is no decision"),
    };
    weigh(&told[0]).unwrap();
    // Too late for the first, in time for the second, and none of the third's business.
    site.install(&denial(&told[0], "steward-ana"));
    site.install(&denial(&told[1], "steward-ana"));
    let refused = weigh(&told[1]);
    assert!(matches!(refused, Err(Stopped::Refused(SignerRefusal::Rule(Refusal::Denied)))), "{refused:?}");
    weigh(&told[2]).unwrap();
    let entries = deciding.into_batch().into_entries();
    let events: Vec<_> = entries.iter().map(|entry| entry.parsed_leaf().unwrap().event()).collect();
    assert_eq!(events, [Event::Release, Event::Denial, Event::Release]);
}

#[test]
fn where_denials_cannot_be_read_nothing_is_signed() {
    let told = [run(1), run(2)];
    let site = Site::of(&told[0]);
    let mut signer = site.open();
    let loaded = signer.take_in_site(now()).unwrap();
    let mut deciding = Deciding::over(&signer, &loaded, now());
    let mut weigh = |told: &Told| match submit(told, approvals(told)) {
        Message::Submit(submit) => deciding.submit(&submit),
        other => panic!("{other:?} is no decision"),
    };
    // A directory in the place of the file that would be the denial.
    let laid = site.site().join(file_name(&denial(&told[0], "steward-ana")).unwrap());
    fs::create_dir_all(laid).unwrap();
    let refused = weigh(&told[0]);
    assert!(matches!(refused, Err(Stopped::Refused(SignerRefusal::SiteUnreadable))), "{refused:?}");
    weigh(&told[1]).unwrap();
}

#[test]
fn what_is_left_out_because_a_step_is_full_becomes_a_leaf_in_the_next() {
    let told: Vec<_> = (1..=3).map(run).collect();
    let site = Site::of(&told[0]);
    // One file fills it; the one that overflows it is taken, and no further one.
    let settings = Settings { batch_bytes: told[0].bytes.len() / 2, ..site.settings() };
    let mut signer = site.open_with(settings, FaultyDisk::new(None), now()).unwrap();
    let begin = signer.size();
    let decisions: Vec<_> = told.iter().map(|told| submit(told, approvals(told))).collect();
    for taken in 1..=3 {
        ask(&mut signer, &together(decisions.clone()));
        assert_eq!(signer.size(), begin + taken);
    }
    let settings = Settings { batch_bytes: told[0].bytes.len() * 3 / 2, ..site.settings() };
    let other = Site::of(&told[0]);
    let settings = Settings { site_directory: other.site(), ..settings };
    let mut signer = other.open_with(settings, FaultyDisk::new(None), now()).unwrap();
    ask(&mut signer, &together(decisions));
    assert_eq!(signer.size(), begin + 2);
}

#[test]
fn a_decision_whose_file_would_be_too_large_is_refused_and_the_signer_goes_on() {
    let told = run(1);
    let site = Site::of(&told);
    let mut signer = site.open();
    let begin = signer.size();
    // A hint is nobody's word, and of any length; the signature beside it is good.
    let padded = |envelope: &Envelope| -> Envelope {
        let mut json: serde_json::Value = serde_json::from_slice(&envelope.to_bytes()).unwrap();
        json["signatures"][0]["keyid"] = "0".repeat(RELEASE_FILE_LIMIT).into();
        serde_json::from_value(json).unwrap()
    };
    let mut envelopes = told.release.approvals.clone();
    envelopes[0] = padded(&envelopes[0]);
    let large = submit(&told, Decision::Approvals(envelopes));
    let too_large = SignerRefusal::Rule(Refusal::SizeLimit);
    assert_eq!(refused(ask(&mut signer, &large)), too_large);
    let denied = submit(&told, Decision::Denial(padded(&denial(&told, "steward-ana"))));
    assert_eq!(refused(ask(&mut signer, &denied)), too_large);
    assert!(matches!(ask(&mut signer, &together([large, denied])), Answer::Unwitnessed(_)));
    assert_eq!(signer.size(), begin);
    release(&mut signer, &told);
}
