//! A console that asks the signer for a release that the stewards did not give: nothing is signed.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::TestBox;
use release::envelope::Envelope;
use release::log::socket::{Cosign, Decision, Get, Message, Publish, Submit, Together};
use release::value::Count;

use crate::held::{Held, approve, box_key};
use crate::{put_to_signer, wait};

/// Ana's approval, made into Ben's under her signature.
fn altered(approval: &Envelope) -> Envelope {
    let text = String::from_utf8(approval.payload().to_vec()).unwrap();
    let changed = text.replacen("\"steward\":\"ana\"", "\"steward\":\"ben\"", 1);
    assert_ne!(text, changed);
    let envelope = String::from_utf8(approval.to_bytes()).unwrap();
    Envelope::parse(envelope.replace(&STANDARD.encode(text), &STANDARD.encode(changed)).as_bytes()).unwrap()
}

/// These submits in one message.
fn together(messages: &[Message]) -> Message {
    let submit = |message: &Message| match message {
        Message::Submit(submit) => submit.clone(),
        other => unreachable!("a submit, not {other:?}"),
    };
    Message::Together(Together { submits: messages.iter().map(submit).collect(), witnessed: Count(0) })
}

/// A verdict of a taken-over enclave under which one bit more would leave than the grant has.
fn beyond_the_grant(tested: &TestBox, held: &Held) -> Held {
    let mut opened_again = wait(Held::of_review(tested, &held.job()));
    let verdict = &mut opened_again.opened.verdict;
    let bits = databox::throwaway::RELEASE_BITS + 1 - release::account::VERDICT_BITS;
    verdict.files[0].released_bits = Count(bits);
    verdict.released_bits = Count(bits);
    verdict.charges[0].release_bits = Count(databox::throwaway::RELEASE_BITS + 1);
    opened_again.verdict = Envelope::sign(verdict, &[&box_key(tested, "enclave")]).unwrap();
    opened_again.opened.digest = opened_again.verdict.payload_digest();
    opened_again
}

#[test]
fn the_signer_signs_nothing_for_a_lying_console_that_lacks_the_consent_of_two_stewards() {
    let mut tested = TestBox::start_with_users();
    let (held, other) =
        wait(async { (Held::of_job(&tested, "one", "1").await, Held::of_job(&tested, "other", "2").await) });
    let dear = beyond_the_grant(&tested, &held);
    tested.stage.rooms().kill("console");
    let [ana, ben] = held.both(&tested);
    let of_requester = held.approval(&tested, "kim", "kim");
    let in_bens_name = [held.approval(&tested, "ben", "ana"), held.approval(&tested, "ben", "kim")];
    let of_other = other.approval(&tested, "ben", "ben");
    let renamed = altered(&ana);
    let by_stranger = held.approval(&tested, "lee", "lee");
    let lies: [(&str, &str, Vec<&Envelope>); 10] = [
        ("nobody", "approvals-too-few", vec![]),
        ("one steward", "approvals-too-few", vec![&ana]),
        ("one steward twice", "approval-twice", vec![&ana, &ana]),
        ("the requester", "approval-by-requester", vec![&ana, &of_requester]),
        ("the requester on top", "approval-by-requester", vec![&ana, &ben, &of_requester]),
        ("another researcher", "approval-signature", vec![&ana, &by_stranger]),
        ("altered", "approval-signature", vec![&ana, &renamed]),
        ("ben's name, ana's key", "approval-signature", vec![&ana, &in_bens_name[0]]),
        ("ben's name, kim's key", "approval-signature", vec![&ana, &in_bens_name[1]]),
        ("of another verdict", "approval-binding", vec![&ana, &of_other]),
    ];
    let messages: Vec<Message> = lies.iter().map(|(_, _, approvals)| held.submit(approvals)).collect();
    let answers = put_to_signer(&tested, &messages);
    let got: Vec<_> = lies.iter().zip(&answers).map(|((what, _, _), got)| (*what, got.as_str())).collect();
    let expected: Vec<_> = lies.iter().map(|(what, refusal, _)| (*what, *refusal)).collect();
    assert_eq!(got, expected);
    let publish = Message::Publish(Publish { witnessed: Count(0) });
    let before = put_to_signer(&tested, &[publish]);
    assert_eq!(put_to_signer(&tested, &[together(&messages)]), before, "nor for all of them at once");
    let denied = held.submit_decision(Decision::Denial(held.denial(&tested, "ana", "kim")));
    assert_eq!(
        put_to_signer(&tested, &[denied]),
        ["approval-signature"],
        "nor can it refuse in a steward's name"
    );

    let [first, second] = dear.both(&tested);
    assert_eq!(
        put_to_signer(&tested, &[dear.submit(&[&first, &second])]),
        ["manifest-account"],
        "not even both stewards move more bits than the grant has left"
    );

    let appended = put_to_signer(&tested, &[held.submit(&[&ana, &ben])]);
    let size: u64 = appended[0].strip_prefix("appended ").expect("two stewards are heard").parse().unwrap();
    // It is one leaf, however often it comes and whatever comes with it.
    let among_lies = [&[held.submit(&[&ana, &ben])], &messages[..], &[held.submit(&[&ben, &ana])]].concat();
    assert_eq!(put_to_signer(&tested, &[together(&among_lies)]), [format!("unwitnessed {size}")]);
    // What two stewards gave for one verdict moves no other, and without a witness nothing leaves.
    let cosign = |cosignatures: String| {
        Message::Cosign(Cosign { verdict: held.opened.digest, size: Count(size), cosignatures })
    };
    let forged = format!("\u{2014} demo.databox.example/witness {}\n", STANDARD.encode([7; 76]));
    let after = [other.submit(&[&ana, &ben]), cosign(String::new()), cosign(forged)];
    assert_eq!(put_to_signer(&tested, &after), ["approval-binding", "cosignature-form", "log-witnesses"]);
}

/// Lays a denial where a steward lays one whom the console ignores.
fn lay_into_site(site: &Path, held: &Held, denial: &Envelope) {
    let denials = site.join("denials");
    std::fs::create_dir_all(&denials).unwrap();
    std::fs::write(denials.join(format!("{}.ana.json", held.digest())), denial.to_bytes()).unwrap();
}

#[test]
fn a_repeat_gets_the_first_answer_and_a_denial_that_a_lying_console_hides_stops_the_signer() {
    let mut tested = TestBox::start_with_users();
    let [released, denied, hidden] = wait(async {
        [
            Held::of_job(&tested, "released", "1").await,
            Held::of_job(&tested, "denied", "2").await,
            Held::of_job(&tested, "hidden", "3").await,
        ]
    });
    let first = blobs::Digest::of(&wait(approve(&tested, &released.job())));
    tested.stage.rooms().kill("console");

    // Approvals of another moment, so that a second manifest would have other bytes.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let [ana, ben] = released.both(&tested);
    let get =
        |held: &Held, witnessed| Message::Get(Get { verdict: held.digest(), witnessed: Count(witnessed) });
    let cosign = |held: &Held, size| {
        Message::Cosign(Cosign { verdict: held.digest(), size: Count(size), cosignatures: String::new() })
    };
    let finished = format!("finished {first}");
    let replays = [
        (released.submit(&[&ana, &ben]), &finished[..]),
        (released.submit(&[&ben, &ana]), &finished),
        // What was decided is not decided anew, whatever comes beside it.
        (released.submit(&[]), &finished),
        (get(&released, 0), &finished),
        (get(&released, 1 << 40), &finished),
        (cosign(&released, 1), &finished),
        (
            released.submit_decision(Decision::Denial(released.denial(&tested, "ben", "ben"))),
            "already-released",
        ),
        (get(&denied, 0), "verdict-unknown"),
        (cosign(&denied, 1), "verdict-unknown"),
    ];
    let (messages, expected): (Vec<_>, Vec<_>) = replays.into_iter().unzip();
    assert_eq!(put_to_signer(&tested, &messages), expected);

    // A log that a witness is said to have seen, and that is larger, stops the signer: this one could be an old copy.
    let Message::Submit(submit) = denied.submit(&[]) else { unreachable!("a submit") };
    let ahead = Message::Submit(Submit { witnessed: Count(1 << 40), ..submit });
    assert_eq!(put_to_signer(&tested, &[ahead]), ["log-behind-witness"]);

    // The denial comes first, the approvals after it. Then they come first, and the denial lies in the site directory.
    let denial = Decision::Denial(denied.denial(&tested, "ana", "ana"));
    let [ana, ben] = denied.both(&tested);
    let messages = [denied.submit_decision(denial), denied.submit(&[&ana, &ben]), cosign(&denied, 1)];
    let answers = put_to_signer(&tested, &messages);
    assert!(answers[0].starts_with("appended "), "{answers:?}");
    assert_eq!(answers[1..], ["denied", "size-unknown"]);
    lay_into_site(&tested.stage.home.site(), &hidden, &hidden.denial(&tested, "ana", "ana"));
    let [ana, ben] = hidden.both(&tested);
    let messages = [hidden.submit(&[&ana, &ben]), hidden.submit(&[&ana, &ben]), get(&hidden, 0)];
    let answers = put_to_signer(&tested, &messages);
    assert_eq!(answers[..2], ["denied", "denied"]);
    assert!(answers[2].starts_with("appended "), "the denial that the console hid is a leaf: {answers:?}");

    // The rooms go on where they were.
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "console").unwrap();
    let twin = wait(Held::of_job(&tested, "twin", "4"));
    assert!(!wait(approve(&tested, &twin.job())).is_empty());
}
