//! A console that asks the signer for a release that the stewards did not give, or hands the enclave one that it made
//! itself: nothing leaves.

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
use release::file::ReleaseFile;
use release::json;
use release::key::SecretKey;
use release::log::socket::{Cosign, Decision, Message, Submit};
use release::statement::{Approval, Denial, DenialDecision, DenialReason, Judgement, Manifest};
use release::value::Count;

use crate::{Liar, approve, wait};

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
    let mut arguments: Vec<PathBuf> = vec!["signer".into(), tested.stage.home.join("run/signer/signer.sock")];
    for (index, message) in messages.iter().enumerate() {
        let path = directory.join(index.to_string());
        std::fs::write(&path, json::to_bytes(message)).unwrap();
        arguments.push(path);
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
    let denial = Denial {
        site: held.opened.verdict.site.clone(),
        verdict: held.opened.digest.into(),
        challenge: held.opened.verdict.challenge,
        steward: "ana".parse().unwrap(),
        decision: DenialDecision::Reject,
        reasons: vec![DenialReason::Other],
        roles: held.opened.site.roles_id(),
        issued_at: databox::site::now(),
    };
    let denial = Envelope::sign(&denial, &[&key(&tested, "kim")]).unwrap();
    let Message::Submit(submit) = held.submit(&[]) else { unreachable!("a submit") };
    let denied = Message::Submit(Submit { decision: Decision::Denial(denial), ..submit });
    assert_eq!(
        lie(&tested, "denial", &[denied]),
        ["approval-signature"],
        "nor can it refuse in a steward's name"
    );

    let appended = lie(&tested, "truth", &[held.submit(&[&ana, &ben])]);
    let size = appended[0].strip_prefix("appended ").expect("two stewards are heard").parse().unwrap();
    // What two stewards gave for one verdict moves no other, and without a witness nothing leaves.
    let cosign = |cosignatures: String| {
        Message::Cosign(Cosign { verdict: held.opened.digest, size: Count(size), cosignatures })
    };
    let forged = format!("\u{2014} demo.databox.example/witness {}\n", STANDARD.encode([7; 76]));
    let after = [other.submit(&[&ana, &ben]), cosign(String::new()), cosign(forged)];
    assert_eq!(lie(&tested, "after", &after), ["approval-binding", "cosignature-form", "log-witnesses"]);
}

/// Forgeries of a release, each of which a console could make.
fn forgeries(genuine: &[u8], other: &[u8]) -> Vec<(&'static str, ReleaseFile)> {
    let [parsed, other] = [genuine, other].map(|bytes| ReleaseFile::parse(bytes).unwrap());
    let mut own_key = parsed.clone();
    let manifest: Manifest = parsed.manifest.unverified().unwrap();
    own_key.manifest = Envelope::sign(&manifest, &[&SecretKey::generate().unwrap()]).unwrap();
    let one_approval = ReleaseFile { approvals: parsed.approvals[..1].to_vec(), ..parsed.clone() };
    let witness = |line: &&str| !line.starts_with("\u{2014} demo.databox.example/witness ");
    let lines: Vec<&str> = parsed.log_proof.lines().filter(witness).collect();
    let unwitnessed = ReleaseFile { log_proof: lines.join("\n") + "\n", ..parsed.clone() };
    assert_ne!(unwitnessed.log_proof, parsed.log_proof);
    let of_other =
        ReleaseFile { verdict: parsed.verdict.clone(), request: parsed.request.clone(), ..other.clone() };
    let proof_of_other = ReleaseFile { log_proof: other.log_proof, ..parsed };
    vec![
        ("manifest-signature", own_key),
        ("approvals-too-few", one_approval),
        ("log-witnesses", unwitnessed),
        ("approval-binding", of_other),
        ("log-inclusion", proof_of_other),
    ]
}

#[test]
fn the_enclave_lets_nothing_out_on_a_release_file_that_a_lying_console_made() {
    let mut tested = TestBox::start();
    let (first, second) = wait(async {
        (Held::of_job(&tested, "first", "1").await, Held::of_job(&tested, "second", "2").await)
    });
    let [first_job, second_job] = [&first, &second].map(|held| held.request.payload_digest().to_string());
    let before = wait(async {
        let before = approve(&tested, &first_job).await;
        assert_eq!(tested.wait("kim", &first_job, State::Released).await, State::Released);
        before
    });
    tested.stage.rooms().kill("enclave");
    let genuine = wait(approve(&tested, &second_job));
    tested.stage.rooms().kill("console");

    let forged = forgeries(&genuine, &before);
    let mut paths = vec![PathBuf::from("enclave"), tested.stage.home.join("run/console/console.sock")];
    for (index, (_, file)) in forged.iter().enumerate() {
        paths.push(tested.directory().join(format!("forged-{index}")));
        std::fs::write(paths.last().unwrap(), file.to_bytes()).unwrap();
    }
    // A true one that was taken before; its acknowledgement says that the enclave has come to the end of the list.
    paths.push(tested.directory().join("before"));
    std::fs::write(paths.last().unwrap(), &before).unwrap();
    let liar = Liar::start(PROGRAM, tested.directory(), "forged", &paths);
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "enclave").unwrap();
    let heard = liar.until("an acknowledgement", |heard| !heard.is_empty());
    assert_eq!(heard, [format!("outcome-taken {}", first.opened.digest)]);
    let journal = std::fs::read_to_string(home.journal("enclave")).unwrap();
    let refused: Vec<_> = journal
        .lines()
        .filter(|line| line.contains("outcome refused"))
        .filter_map(|line| line.split("\"refusal\":\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(refused, forged.iter().map(|(refusal, _)| *refusal).collect::<Vec<_>>());
    let laid = std::fs::read_dir(home.join("hand-over/enclave-to-gateway")).unwrap().count();
    assert_eq!(laid, 0, "the outbox is empty");
    drop(liar);

    paths.truncate(2);
    paths.push(tested.directory().join("genuine"));
    std::fs::write(paths.last().unwrap(), &genuine).unwrap();
    let liar = Liar::start(PROGRAM, tested.directory(), "genuine", &paths);
    let taken = format!("outcome-taken {}", second.opened.digest);
    liar.until("the true release", |heard| heard.contains(&taken));
    assert_eq!(wait(tested.wait("kim", &second_job, State::Released)), State::Released);
}
