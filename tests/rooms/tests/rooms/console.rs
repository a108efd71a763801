//! A console that asks the signer for a release that the stewards did not give: it gets none.

use std::path::PathBuf;
use std::process::Command;

use api::v1::GetReviewRequest;
use api::v1::review_service_client::ReviewServiceClient;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use databox::review::Opened;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::json;
use release::key::SecretKey;
use release::log::socket::{Decision, Message, Submit};
use release::statement::{Approval, Judgement};
use release::value::Count;

use crate::wait;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lying-console");

/// A verdict under review, as a taken-over console holds it.
struct Held {
    opened: Opened,
    request: Envelope,
    verdict: Envelope,
}

impl Held {
    async fn of_job(tested: &TestBox, name: &str, value: &str) -> Self {
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric(value))];
        let job = tested.run_job("kim", &tested.bundle(name, &files)).await;
        assert_eq!(databox::job::state(&job), State::InReview);
        let opened = tested.opened("ana", &job.job).await;
        let channel = databox::client::connect(&tested.stage.profile("ana")).await.unwrap();
        let asked = GetReviewRequest { review: opened.review.review.clone() };
        let answer = ReviewServiceClient::new(channel).get_review(asked).await.unwrap().into_inner();
        let [request, verdict] =
            [&answer.request, &answer.verdict].map(|bytes| Envelope::parse(bytes).unwrap());
        Self { opened, request, verdict }
    }

    /// An approval in this person's name, signed with another's key if so asked.
    fn approval(&self, tested: &TestBox, steward: &str, key_of: &str) -> Envelope {
        let verdict = &self.opened.verdict;
        let now = databox::site::now();
        let approval = Approval {
            site: verdict.site.clone(),
            verdict: self.opened.digest.into(),
            challenge: verdict.challenge,
            steward: steward.parse().unwrap(),
            grant: verdict.grant.clone(),
            policy: verdict.policy.clone(),
            roles: self.opened.site.roles_id(),
            judged_again: Judgement::Same,
            issued_at: now,
            expires: now.plus(3600).min(verdict.expires),
        };
        Envelope::sign(&approval, &[&key(tested, key_of)]).unwrap()
    }

    fn submit(&self, approvals: &[&Envelope]) -> Message {
        Message::Submit(Submit {
            request: self.request.clone(),
            verdict: self.verdict.clone(),
            decision: Decision::Approvals(approvals.iter().map(|approval| (*approval).clone()).collect()),
            witnessed: Count(0),
        })
    }
}

fn key(tested: &TestBox, person: &str) -> SecretKey {
    let passphrase = std::fs::read_to_string(tested.stage.people().join("passphrase")).unwrap();
    packet::key::read_signing(&tested.stage.key_files(person).signing(), passphrase.trim_end()).unwrap()
}

/// Ana's approval, made into Ben's under her signature.
fn altered(approval: &Envelope) -> Envelope {
    let text = String::from_utf8(approval.payload().to_vec()).unwrap();
    let changed = text.replacen("\"steward\":\"ana\"", "\"steward\":\"ben\"", 1);
    assert_ne!(text, changed);
    let envelope = String::from_utf8(approval.to_bytes()).unwrap();
    Envelope::parse(envelope.replace(&STANDARD.encode(text), &STANDARD.encode(changed)).as_bytes()).unwrap()
}

/// Has the liar put these messages to the signer, and gives the answers.
fn lie(tested: &TestBox, name: &str, messages: &[Message]) -> Vec<String> {
    let directory = tested.directory().join(name);
    std::fs::create_dir(&directory).unwrap();
    let mut arguments: Vec<PathBuf> = vec![tested.stage.home.join("run/signer.sock")];
    for (index, message) in messages.iter().enumerate() {
        arguments.push(directory.join(index.to_string()));
        std::fs::write(&arguments[index + 1], json::to_bytes(message)).unwrap();
    }
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_signer_signs_nothing_for_a_lying_console_that_lacks_the_consent_of_two_stewards() {
    let mut tested = TestBox::start();
    let (held, other) =
        wait(async { (Held::of_job(&tested, "one", "1").await, Held::of_job(&tested, "other", "2").await) });
    tested.stage.rooms().kill("console");
    let [ana, ben] = ["ana", "ben"].map(|steward| held.approval(&tested, steward, steward));
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
    let answers = lie(&tested, "lies", &messages);
    let got: Vec<_> = lies.iter().zip(&answers).map(|((what, _, _), got)| (*what, got.as_str())).collect();
    let expected: Vec<_> = lies.iter().map(|(what, refusal, _)| (*what, *refusal)).collect();
    assert_eq!(got, expected);
    assert_eq!(lie(&tested, "truth", &[held.submit(&[&ana, &ben])]), ["appended"], "two stewards are heard");
    // What two stewards gave for one verdict moves no other.
    assert_eq!(lie(&tested, "moved", &[other.submit(&[&ana, &ben])]), ["approval-binding"]);
}
