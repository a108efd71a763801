//! Stewards' decisions that do not count, at the console and, past it, at the signer.

use std::os::unix::net::UnixStream;

use api::v1::review_service_client::ReviewServiceClient;
use api::v1::{GetReviewRequest, ReviewState, SubmitDecisionRequest, SubmitDecisionResponse};
use blobs::Digest;
use databox::review::Opened;
use databox::site::{InstallArguments, SiteKind};
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::key::{SecretKey, Sign};
use release::log::socket::{self, Answer, Decision, Message, Submit};
use release::statement::{Approval, Denial, DenialDecision, DenialReason, Judgement};
use release::value::{Bytes, Count};
use tonic::Status;
use tonic::transport::Channel;

use crate::table::Table;
use crate::wait;
use crate::wire::{answer_name, key, said};

const GROUP: &str = "decision";

/// A verdict under review.
struct Held {
    opened: Opened,
    request: Envelope,
    verdict: Envelope,
}

impl Held {
    async fn of_job(tested: &TestBox, name: &str, code: &str) -> Self {
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", code)];
        let job = tested.run_job("kim", &tested.bundle(name, &files)).await;
        let channel = databox::client::connect(&tested.stage.profile("ana")).await.unwrap();
        let mut desk = tested.desk("ana").await;
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            for review in desk.list().await.unwrap() {
                let asked = GetReviewRequest { review: review.review.clone() };
                let answer =
                    ReviewServiceClient::new(channel.clone()).get_review(asked).await.unwrap().into_inner();
                let [request, verdict] =
                    [&answer.request, &answer.verdict].map(|bytes| Envelope::parse(bytes).unwrap());
                if request.payload_digest().to_string() == job.job {
                    let opened = desk.open(&review.review).await.unwrap();
                    return Self { opened, request, verdict };
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("no review of {name}");
    }

    fn approval(&self, steward: &str) -> Approval {
        let (verdict, now) = (&self.opened.verdict, databox::site::now());
        Approval {
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
        }
    }

    fn denial(&self, steward: &str) -> Denial {
        Denial {
            site: self.opened.verdict.site.clone(),
            verdict: self.opened.digest.into(),
            challenge: self.opened.verdict.challenge,
            steward: steward.parse().unwrap(),
            decision: DenialDecision::Reject,
            reasons: vec![DenialReason::TooMuch],
            roles: self.opened.site.roles_id(),
            issued_at: databox::site::now(),
        }
    }

    fn submit(&self, approvals: &[&Envelope]) -> Message {
        Message::Submit(Submit {
            request: self.request.clone(),
            verdict: self.verdict.clone(),
            code_approvals: Vec::new(),
            decision: Decision::Approvals(approvals.iter().map(|approval| (*approval).clone()).collect()),
            compared: Vec::new(),
            witnessed: Count(0),
        })
    }
}

fn signed(statement: &impl release::statement::Predicate, keys: &[&dyn Sign]) -> Envelope {
    Envelope::sign(statement, keys).unwrap()
}

async fn hand_in(channel: &Channel, decision: Vec<u8>) -> Result<SubmitDecisionResponse, Status> {
    let mut client = ReviewServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20);
    client
        .submit_decision(SubmitDecisionRequest { decision: decision.into() })
        .await
        .map(|answer| answer.into_inner())
}

/// Gives Ana a second key, as a person who has two devices has.
async fn second_key(tested: &TestBox) -> SecretKey {
    let second = SecretKey::generate().unwrap();
    let mut roles = tested.bench("kim").await.site().await.unwrap().roles().clone();
    roles.version.0 += 1;
    roles.issued_at = databox::site::now();
    roles.people.get_mut(&"ana".parse().unwrap()).unwrap().keys.push(second.public());
    let path = tested.directory().join("roles-2.json");
    let envelope = signed(&roles, &[&key(tested, "ana"), &key(tested, "ben")]);
    std::fs::write(&path, envelope.to_bytes()).unwrap();
    let (site_directory, pin) = (tested.stage.home.site(), Some(tested.stage.pin));
    databox::site::install(&InstallArguments { file: path, site_directory, policy_file: None, pin }).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        let gateway = tested.bench("kim").await.site().await.unwrap().roles().version;
        let console = tested.desk("ana").await.site().await.unwrap().roles().version;
        if (gateway, console) == (roles.version, roles.version) {
            return second;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("new roles did not reach the rooms");
}

pub fn cases(tested: &mut TestBox, table: &mut Table) {
    let (held, other, second) = wait(async {
        let second = second_key(tested).await;
        let held = Held::of_job(tested, "held", &write_metric("1")).await;
        let other = Held::of_job(tested, "other", &write_metric("2")).await;
        at_the_console(tested, table, &held, &other, &second).await;
        (held, other, second)
    });
    tested.stage.rooms().kill("console");
    at_the_signer(tested, table, &held, &other, &second);
}

async fn at_the_console(tested: &TestBox, table: &mut Table, held: &Held, other: &Held, second: &SecretKey) {
    let [ana, ben, kim] = ["ana", "ben", "kim"].map(|person| key(tested, person));
    let stranger = SecretKey::generate().unwrap();
    let channel = databox::client::connect(&tested.stage.profile("ana")).await.unwrap();
    let blocked = Held::of_job(tested, "blocked", "pass").await;
    let now = databox::site::now();
    let good = held.approval("ana");
    let with = |change: &dyn Fn(&mut Approval)| {
        let mut approval = held.approval("ana");
        change(&mut approval);
        signed(&approval, &[&ana]).to_bytes()
    };
    let bad = [
        ("no statement", "STATEMENT/json-form", b"yes".to_vec()),
        ("neither approval nor denial", "MALFORMED/decision", held.request.to_bytes()),
        (
            "of a verdict that nobody made",
            "NOT_FOUND",
            with(&|approval| approval.verdict = Digest::of(b"x").into()),
        ),
        (
            "made for another verdict",
            "STATEMENT/approval-binding",
            with(&|approval| approval.challenge = other.opened.verdict.challenge),
        ),
        ("expired", "STATEMENT/approval-time", with(&|approval| approval.expires = now.plus(-1))),
        ("from the future", "STATEMENT/approval-time", with(&|approval| approval.issued_at = now.plus(7200))),
        (
            "older than its verdict",
            "STATEMENT/approval-time",
            with(&|approval| approval.issued_at = now.plus(-7200)),
        ),
        (
            "of another policy",
            "STATEMENT/approval-binding",
            with(&|approval| approval.policy.version = Count(9)),
        ),
        ("of other roles", "STATEMENT/approval-binding", with(&|approval| approval.roles.version = Count(1))),
        (
            "of another site",
            "STATEMENT/other-site",
            with(&|approval| approval.site = "other.example".parse().unwrap()),
        ),
        (
            "signed with a key of nobody's",
            "STATEMENT/approval-signature",
            signed(&good, &[&stranger]).to_bytes(),
        ),
        (
            "signed with another steward's key",
            "STATEMENT/approval-signature",
            signed(&good, &[&ben]).to_bytes(),
        ),
        ("signed twice over", "STATEMENT/signature-count", signed(&good, &[&ana, second]).to_bytes()),
        (
            "of another steward, rightly signed",
            "REQUESTER",
            signed(&held.approval("ben"), &[&ben]).to_bytes(),
        ),
        (
            "of the requester",
            "STATEMENT/approval-by-requester",
            signed(&held.approval("kim"), &[&kim]).to_bytes(),
        ),
        (
            "of one who is no steward",
            "STATEMENT/approval-signature",
            signed(&held.approval("eve"), &[&kim]).to_bytes(),
        ),
        (
            "of what the policy blocked",
            "STATEMENT/verdict-blocked",
            signed(&blocked.approval("ana"), &[&ana]).to_bytes(),
        ),
        ("a denial for another verdict", "STATEMENT/approval-binding", {
            let denial = Denial { challenge: Bytes([7; 32]), ..held.denial("ana") };
            signed(&denial, &[&ana]).to_bytes()
        }),
        ("a denial without a reason", "STATEMENT/statement-form", {
            let denial = Denial { reasons: Vec::new(), ..held.denial("ana") };
            signed(&denial, &[&ana]).to_bytes()
        }),
    ];
    for (case, expected, decision) in bad {
        table.refused(GROUP, case, expected, &answer_name(hand_in(&channel, decision).await));
    }
    table.taken(GROUP, "approval", said(hand_in(&channel, signed(&good, &[&ana]).to_bytes()).await));
    let again = hand_in(&channel, signed(&held.approval("ana"), &[second]).to_bytes()).await.unwrap();
    let review = again.review.unwrap_or_default();
    let found = format!("{} of {}, {}", review.approvals, review.needed, review.state().as_str_name());
    let expected = format!("1 of 2, {}", ReviewState::Open.as_str_name());
    table.refused(GROUP, "again by the same steward with another key", &expected, &found);
}

/// The console is dead, or taken over: its messages are put to the signer by hand.
fn at_the_signer(tested: &TestBox, table: &mut Table, held: &Held, other: &Held, second: &SecretKey) {
    let [ana, ben, kim] = ["ana", "ben", "kim"].map(|person| key(tested, person));
    let socket = tested.stage.home.join("run/signer/signer.sock");
    let ask = |message: &Message| match socket::ask(&mut UnixStream::connect(&socket).unwrap(), message) {
        Ok(Answer::Refused(refusal)) => format!("SIGNER/{}", refusal.name()),
        Ok(Answer::Appended(_) | Answer::Finished(_) | Answer::Unwitnessed(_) | Answer::Published(_)) => {
            "TAKEN".to_owned()
        }
        Err(error) => error.to_string(),
    };
    let approval = |held: &Held, steward: &str, key: &SecretKey| signed(&held.approval(steward), &[key]);
    let of_ana = approval(held, "ana", &ana);
    let with_second = approval(held, "ana", second);
    let of_kim = approval(held, "kim", &kim);
    let of_ben = approval(held, "ben", &ben);
    let mut case = |case: &str, expected: &str, held: &Held, approvals: &[&Envelope]| {
        table.refused(GROUP, case, expected, &ask(&held.submit(approvals)));
    };
    case("a steward with two keys, twice", "SIGNER/approval-twice", held, &[&of_ana, &with_second]);
    case("a steward alone", "SIGNER/approvals-too-few", held, &[&of_ana]);
    case("a steward and the requester", "SIGNER/approval-by-requester", held, &[&of_ana, &of_kim]);
    case("of another verdict", "SIGNER/approval-binding", other, &[&of_ana, &of_ben]);
    let taken = ask(&held.submit(&[&of_ana, &of_ben]));
    table.taken(GROUP, "two stewards", (taken == "TAKEN").then_some(()).ok_or(taken));
    let before = wait(async { tested.bench("kim").await.site().await.unwrap().revocation().clone() });
    let text = format!(
        "site = \"demo.databox.example\"\npeople = [\"lee\"]\ncertificates = {:?}\nkeys = [\"{}\"]\n",
        before.certificates,
        release::key::key_id(&second.public())
    );
    tested.stage.state_as(SiteKind::Revocation, "revocation-5", &text, &["ana"], None).unwrap();
    let [with_second, of_ben] =
        [("ana", second), ("ben", &ben)].map(|(steward, key)| approval(other, steward, key));
    let found = ask(&other.submit(&[&with_second, &of_ben]));
    table.refused(GROUP, "with a revoked key", "SIGNER/revoked", &found);
    let state = wait(async {
        databox::job::state(
            &tested.bench("kim").await.job(&other.opened.verdict.request.sha256.to_string()).await.unwrap(),
        )
    });
    assert_eq!(state, State::InReview, "what was refused left the job where it was");
}
