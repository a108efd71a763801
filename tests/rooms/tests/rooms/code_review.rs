//! Code that stewards must let run first, and rooms that lie about it: a console that forges, replays or hides their
//! word, and an enclave that asks for reviews nobody needs or runs code that nobody reviewed.

use api::v1::GetReviewRequest;
use api::v1::review_service_client::ReviewServiceClient;
use blobs::{BlobStore, Digest};
use databox::review::code::OpenedCode;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::file::CodeDenialFile;
use release::log::socket::{DenyCode, Get, Message};
use release::path::CODE_BUNDLE_LIMIT;
use release::statement::{
    CodeApproval, CodeDenial, DenialDecision, DenialReason, Evidence, PACKET_ADDED_BYTES, Request, Verdict,
};
use release::value::Count;

use crate::held::{box_key, person_key};
use crate::{Liar, put_to_signer, told, until, wait};

const CONSOLE: &str = env!("CARGO_BIN_EXE_lying-console");
const ENCLAVE: &str = env!("CARGO_BIN_EXE_lying-enclave");

/// A job whose code is under review, as a steward's tool opened it.
struct Waiting {
    opened: OpenedCode,
    request: Envelope,
}

impl Waiting {
    async fn of(tested: &TestBox, name: &str) -> Self {
        let files = [("databox.toml", &manifest(ONE_METRIC)[..]), ("job.py", &write_metric("1"))];
        let job = tested.submit_for_code_review("kim", &tested.bundle(name, &files)).await.job;
        let opened = tested.opened_code("ana", &job).await;
        let channel = databox::client::connect(&tested.stage.profile("ana")).await.unwrap();
        let asked = GetReviewRequest { review: job };
        let answer = ReviewServiceClient::new(channel).get_review(asked).await.unwrap().into_inner();
        let request = Envelope::parse(&answer.request).unwrap();
        Self { opened, request }
    }

    fn job(&self) -> String {
        self.opened.digest().to_string()
    }

    /// An approval of the code in this person's name, signed with another's key if so asked.
    fn approval(&self, tested: &TestBox, steward: &str, key_of: &str) -> Envelope {
        let (request, now) = (self.opened.request(), databox::site::now());
        let site = &self.opened.site;
        let grant = site.grants().next().unwrap();
        let approval = CodeApproval {
            site: request.site.clone(),
            request: self.opened.digest().into(),
            bundle: request.bundle,
            steward: steward.parse().unwrap(),
            grant: release::site::grant_id(grant),
            policy: grant.statement().policy.clone(),
            roles: site.roles_id(),
            issued_at: now,
            expires: now.plus(3600),
        };
        Envelope::sign(&approval, &[&person_key(tested, key_of)]).unwrap()
    }

    fn denial(&self, tested: &TestBox, steward: &str, key_of: &str) -> Envelope {
        let request = self.opened.request();
        let denial = CodeDenial {
            site: request.site.clone(),
            request: self.opened.digest().into(),
            bundle: request.bundle,
            steward: steward.parse().unwrap(),
            decision: DenialDecision::Reject,
            reasons: vec![DenialReason::Code],
            roles: self.opened.site.roles_id(),
            issued_at: databox::site::now(),
        };
        Envelope::sign(&denial, &[&person_key(tested, key_of)]).unwrap()
    }
}

fn kept(tested: &TestBox, bytes: &[u8]) -> String {
    let path = tested.directory().join(Digest::of(bytes).to_string());
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

fn approvals(tested: &TestBox, job: &Waiting, envelopes: &[&Envelope]) -> String {
    let files = envelopes.iter().map(|envelope| format!(":{}", kept(tested, &envelope.to_bytes())));
    format!("code-approvals:{}{}", job.job(), files.collect::<String>())
}

/// Charges of runs in the enclave's account.
fn charges(tested: &TestBox) -> i64 {
    let database = rusqlite::Connection::open(tested.stage.home.join("enclave/account.db")).unwrap();
    let query = "SELECT count(*) FROM account WHERE kind = 'answer'";
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

fn until_state(tested: &TestBox, job: &Waiting, state: State) {
    assert_eq!(wait(tested.wait("kim", &job.job(), state)), state);
}

#[test]
fn no_code_runs_on_what_a_lying_console_forges_replays_or_hides_and_the_true_approvals_run_it_once() {
    let mut tested = TestBox::start_with_users();
    let [first, second, third] = wait(async {
        tested.ask_for_code_review().await;
        [
            Waiting::of(&tested, "first").await,
            Waiting::of(&tested, "second").await,
            Waiting::of(&tested, "third").await,
        ]
    });
    tested.stage.rooms().kill("console");
    let [ana, ben] = ["ana", "ben"].map(|steward| first.approval(&tested, steward, steward));
    let (of_second, by_kim) =
        (second.approval(&tested, "ana", "ana"), second.approval(&tested, "ben", "kim"));
    let requester = second.approval(&tested, "kim", "kim");
    let made_up = CodeDenialFile {
        denial: second.denial(&tested, "ana", "ana"),
        request: second.request.clone(),
        log_proof: String::new(),
    };
    let socket = tested.stage.home.join("run/console/console.sock").display().to_string();
    let home = tested.stage.home.clone();
    let words = |said: Vec<String>| [vec!["enclave".to_owned(), socket.clone()], said].concat();
    let said = words(vec![
        approvals(&tested, &second, &[]),
        approvals(&tested, &second, &[&of_second]),
        approvals(&tested, &second, &[&of_second, &of_second]),
        approvals(&tested, &second, &[&ana, &ben]),
        approvals(&tested, &second, &[&of_second, &by_kim]),
        approvals(&tested, &second, &[&of_second, &requester]),
        format!("code-denial:{}", kept(&tested, &made_up.to_bytes())),
        // That the console closed what is open.
        format!("code-close-taken:{}", second.job()),
        format!("code-taken:{}", second.job()),
        // The true ones, which are heard last and more than once, in another order.
        approvals(&tested, &first, &[&ben, &ana]),
        approvals(&tested, &first, &[&ana, &ben]),
        approvals(&tested, &first, &[&ana, &ben]),
    ]);
    let liar = Liar::start(&tested, "console", CONSOLE, "forged", &said);
    let closed = format!("code-closed {} CODE_REVIEW_END_APPROVED", first.job());
    liar.until("the end of the first review", |heard| heard.contains(&closed));
    let refused = [
        "code-review-missing",
        "approvals-too-few",
        "approval-twice",
        "code-review-binding",
        "approval-signature",
        "approval-by-requester",
        "log-form",
    ];
    until("every refusal", || {
        (told(&tested, "enclave", "outcome refused", "refusal") == refused).then_some(())
    });
    until_state(&tested, &first, State::InReview);
    assert_eq!(charges(&tested), 1, "one run, charged once");
    assert_eq!(told(&tested, "enclave", "run begins", "job"), [first.job()]);
    drop(liar);

    // The signer hears of a refusal by a steward only, about this code, and a repeat gets the first answer.
    let deny = |of: &Waiting, denial: Envelope| {
        Message::DenyCode(DenyCode { request: of.request.clone(), denial, witnessed: Count(0) })
    };
    let truth = third.denial(&tested, "ben", "ben");
    let before = Message::Get(Get { verdict: third.opened.digest(), witnessed: Count(0) });
    let answers = put_to_signer(
        &tested,
        &[
            before,
            deny(&third, third.denial(&tested, "ben", "kim")),
            deny(&third, third.denial(&tested, "kim", "kim")),
            deny(&third, second.denial(&tested, "ben", "ben")),
            deny(&third, truth.clone()),
            deny(&third, truth),
        ],
    );
    let size = &answers[4];
    assert!(size.starts_with("appended "), "{answers:?}");
    let expected =
        ["verdict-unknown", "approval-signature", "approval-signature", "code-review-binding", size, size];
    assert_eq!(answers, expected);

    // The honest console again: what was hidden is still there, and comes to its end.
    tested.stage.rooms().restart(&home, "console").unwrap();
    wait(async {
        for steward in ["ana", "ben"] {
            let opened = tested.opened_code(steward, &second.job()).await;
            tested.desk(steward).await.approve_code(&opened).await.unwrap();
        }
        assert_eq!(tested.wait("kim", &second.job(), State::InReview).await, State::InReview);
        let opened = tested.opened_code("ben", &third.job()).await;
        let mut desk = tested.desk("ben").await;
        desk.deny_code(&opened, DenialDecision::Reject, vec![DenialReason::Code], None).await.unwrap();
        assert_eq!(tested.wait("kim", &third.job(), State::Rejected).await, State::Rejected);
    });
    assert_eq!(charges(&tested), 2);
}

#[test]
fn an_enclave_that_runs_unreviewed_code_or_asks_for_a_review_that_nobody_needs_is_not_heard() {
    let mut tested = TestBox::start_with_users();
    let (reviewed, waiting) = wait(async {
        tested.ask_for_code_review().await;
        let reviewed = Waiting::of(&tested, "reviewed").await;
        for steward in ["ana", "ben"] {
            let opened = tested.opened_code(steward, &reviewed.job()).await;
            tested.desk(steward).await.approve_code(&opened).await.unwrap();
        }
        assert_eq!(tested.wait("kim", &reviewed.job(), State::InReview).await, State::InReview);
        (reviewed, Waiting::of(&tested, "waiting").await)
    });
    let honest = wait(tested.opened("ana", &reviewed.job())).verdict;
    tested.stage.rooms().kill("enclave");
    let key = box_key(&tested, "enclave");
    let verdict = |of: &Waiting, code_review: Evidence| {
        let verdict = Verdict {
            request: of.opened.digest().into(),
            code_review,
            challenge: release::value::Bytes([9; 32]),
            ..honest.clone()
        };
        let verdict = kept(&tested, &Envelope::sign(&verdict, &[&key]).unwrap().to_bytes());
        format!("verdict:{verdict}:{}", kept(&tested, &of.request.to_bytes()))
    };
    let laid = tested.stage.home.join("hand-over/enclave-to-console");
    let store = BlobStore::open(&laid, 0o640).unwrap();
    let small = store.put(b"a packet").unwrap();
    let large = Digest::of(b"too large");
    let file = std::fs::File::create(laid.join(large.to_string())).unwrap();
    file.set_len(CODE_BUNDLE_LIMIT + PACKET_ADDED_BYTES + 1).unwrap();
    let mut made_up: Request = waiting.request.unverified().unwrap();
    made_up.nonce.0 = [7; 32];
    let made_up = Envelope::sign(&made_up, &[&person_key(&tested, "lee")]).unwrap();
    let [waiting_file, made_up] =
        [&waiting.request, &made_up].map(|request| kept(&tested, &request.to_bytes()));
    let unknown = Digest::of(b"no such job");
    let words = vec![
        "console".to_owned(),
        tested.stage.home.join("run/console/console.sock").display().to_string(),
        // Runs of code that nobody, or nobody yet, let run.
        verdict(&reviewed, Evidence::NotChecked),
        verdict(&reviewed, Evidence::Digest(Digest::of(b"a review"))),
        verdict(&waiting, honest.code_review),
        verdict(&waiting, Evidence::NotChecked),
        // Reviews of code that no researcher signed, without their packet, or with one that carries too much.
        format!("code-review:{made_up}:{small}"),
        format!("code-review:{waiting_file}:{large}"),
        format!("code-review:{waiting_file}:{}", Digest::of(b"not there")),
        // What it says again changes nothing, and what nobody knows has nothing to close.
        format!("code-closed:{unknown}:CODE_REVIEW_END_ENDED"),
    ];
    let liar = Liar::start(&tested, "enclave", ENCLAVE, "forged", &words);
    let closed = format!("code-close-taken {unknown}");
    let heard = liar.until("the last answer", |heard| heard.contains(&closed));
    assert!(heard.iter().all(|line| !line.starts_with("verdict-taken")), "{heard:?}");
    assert!(heard.iter().all(|line| !line.starts_with("code-taken")), "{heard:?}");
    assert_eq!(told(&tested, "console", "verdict not taken", "event").len(), 4);
    assert_eq!(told(&tested, "console", "review of code not taken", "event").len(), 3);
    drop(liar);
    // The honest enclave again: the review goes on.
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "enclave").unwrap();
    wait(async {
        for steward in ["ana", "ben"] {
            let opened = tested.opened_code(steward, &waiting.job()).await;
            tested.desk(steward).await.approve_code(&opened).await.unwrap();
        }
        assert_eq!(tested.wait("kim", &waiting.job(), State::InReview).await, State::InReview);
    });
}
