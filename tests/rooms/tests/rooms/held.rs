//! What a taken-over room holds of a job under review, and what people make with their own keys.

use api::v1::review_service_client::ReviewServiceClient;
use api::v1::{GetReviewRequest, GetReviewResponse};
use blobs::Digest;
use databox::review::Opened;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::key::SecretKey;
use release::log::socket::{Decision, Message, Submit};
use release::statement::{Approval, Denial, DenialDecision, DenialReason, Judgement, Verdict};
use release::value::Count;

/// A verdict under review.
pub struct Held {
    pub opened: Opened,
    pub request: Envelope,
    pub verdict: Envelope,
}

impl Held {
    /// Runs an honest job of one metric, and gives what the console holds of it.
    pub async fn of_job(tested: &TestBox, name: &str, value: &str) -> Self {
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric(value))];
        let job = tested.run_job("kim", &tested.bundle(name, &files)).await;
        assert_eq!(databox::job::state(&job), State::InReview);
        Self::of_review(tested, &job.job).await
    }

    /// What the console holds of a job that has a verdict.
    pub async fn of_review(tested: &TestBox, job: &str) -> Self {
        let answer = review_of(tested, job).await;
        let [request, verdict] =
            [&answer.request, &answer.verdict].map(|bytes| Envelope::parse(bytes).unwrap());
        let review = answer.review.unwrap().review;
        let opened = tested.desk("ana").await.open(&review).await.unwrap();
        Self { opened, request, verdict }
    }

    /// The job's id.
    pub fn job(&self) -> String {
        self.request.payload_digest().to_string()
    }

    /// The verdict's digest.
    pub fn digest(&self) -> Digest {
        self.opened.digest
    }

    /// An approval in this person's name, signed with another's key if so asked.
    pub fn approval(&self, tested: &TestBox, steward: &str, key_of: &str) -> Envelope {
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
        Envelope::sign(&approval, &[&person_key(tested, key_of)]).unwrap()
    }

    /// Both stewards' approvals.
    pub fn both(&self, tested: &TestBox) -> [Envelope; 2] {
        ["ana", "ben"].map(|steward| self.approval(tested, steward, steward))
    }

    /// A denial in this person's name, signed with another's key if so asked.
    pub fn denial(&self, tested: &TestBox, steward: &str, key_of: &str) -> Envelope {
        let denial = Denial {
            site: self.opened.verdict.site.clone(),
            verdict: self.opened.digest.into(),
            challenge: self.opened.verdict.challenge,
            steward: steward.parse().unwrap(),
            decision: DenialDecision::Reject,
            reasons: vec![DenialReason::Other],
            roles: self.opened.site.roles_id(),
            issued_at: databox::site::now(),
        };
        Envelope::sign(&denial, &[&person_key(tested, key_of)]).unwrap()
    }

    /// The message that asks the signer for a release.
    pub fn submit(&self, approvals: &[&Envelope]) -> Message {
        self.submit_decision(Decision::Approvals(
            approvals.iter().map(|approval| (*approval).clone()).collect(),
        ))
    }

    /// The message that takes a decision to the signer.
    pub fn submit_decision(&self, decision: Decision) -> Message {
        Message::Submit(Submit {
            request: self.request.clone(),
            verdict: self.verdict.clone(),
            code_approvals: Vec::new(),
            decision,
            compared: Vec::new(),
            witnessed: Count(0),
        })
    }
}

/// A person's signing key.
pub fn person_key(tested: &TestBox, person: &str) -> SecretKey {
    let passphrase = std::fs::read_to_string(tested.stage.people().join("passphrase")).unwrap();
    packet::key::read_signing(&tested.stage.key_files(person).signing(), passphrase.trim_end()).unwrap()
}

/// A key of the box: `enclave`, `signer` or `log`.
pub fn box_key(tested: &TestBox, name: &str) -> SecretKey {
    let pem = std::fs::read_to_string(tested.stage.home.key(name)).unwrap();
    SecretKey::from_pkcs8_pem(&pem).unwrap()
}

/// The console's answer about the review of a job, which must have a verdict.
pub async fn review_of(tested: &TestBox, job: &str) -> GetReviewResponse {
    let channel = databox::client::connect(&tested.stage.profile("ana")).await.unwrap();
    let mut client = ReviewServiceClient::new(channel);
    let deadline = std::time::Instant::now() + harness::PATIENCE;
    loop {
        let of_outputs = |review: &api::v1::Review| review.kind() != api::v1::ReviewKind::Code;
        for review in tested.desk("ana").await.list().await.unwrap().into_iter().filter(of_outputs) {
            let asked = GetReviewRequest { review: review.review };
            let answer = client.get_review(asked).await.unwrap().into_inner();
            let verdict: Verdict = Envelope::parse(&answer.verdict).unwrap().unverified().unwrap();
            if verdict.request.sha256.to_string() == job {
                return answer;
            }
        }
        assert!(std::time::Instant::now() < deadline, "no review of job {job}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Has both stewards approve, and gives the release file.
pub async fn approve(tested: &TestBox, job: &str) -> Vec<u8> {
    let review = review_of(tested, job).await.review.unwrap().review;
    for steward in ["ana", "ben"] {
        let mut desk = tested.desk(steward).await;
        let opened = desk.open(&review).await.unwrap();
        let answer = desk.approve(&opened).await.unwrap();
        if !answer.release_file.is_empty() {
            return answer.release_file.to_vec();
        }
    }
    panic!("two approvals made no release");
}
