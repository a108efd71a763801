//! A console that lies to a steward: it shows another verdict, another packet or another site, hides a review, or says
//! that a denial counts. The steward's own tool refuses before a key is unlocked, or says that nothing was proven.

use std::path::PathBuf;

use api::v1::review_service_client::ReviewServiceClient;
use api::v1::{
    GetReviewResponse, GetReviewSiteRequest, GetReviewSiteResponse, ListReviewsResponse, ReadPacketRequest,
    SubmitDecisionResponse,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use databox::review::{Desk, Opened};
use harness::TestBox;
use lifecycle::State;
use prost::Message;
use release::envelope::Envelope;
use release::file::DenialFile;
use release::statement::{DenialDecision, DenialReason};

use crate::held::{Held, person_key, review_of};
use crate::{Liar, wait};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lying-console");

/// What the real console says about a review, to be said again or altered.
#[derive(Clone)]
struct Said {
    review: GetReviewResponse,
    packet: Vec<u8>,
}

impl Said {
    async fn of(tested: &TestBox, held: &Held) -> Self {
        let review = review_of(tested, &held.job()).await;
        let channel = databox::client::connect(&tested.stage.profile("ana")).await.unwrap();
        let asked = ReadPacketRequest { review: held.digest().to_string(), offset: 0 };
        let mut stream = ReviewServiceClient::new(channel).read_packet(asked).await.unwrap().into_inner();
        let mut packet = Vec::new();
        while let Some(part) = stream.message().await.unwrap() {
            packet.extend_from_slice(&part.chunk);
        }
        Self { review, packet }
    }
}

async fn site(tested: &TestBox) -> Vec<GetReviewSiteResponse> {
    let channel = databox::client::connect(&tested.stage.profile("ana")).await.unwrap();
    let asked = GetReviewSiteRequest {};
    let mut stream = ReviewServiceClient::new(channel).get_review_site(asked).await.unwrap().into_inner();
    let mut files = Vec::new();
    while let Some(file) = stream.message().await.unwrap() {
        files.push(file);
    }
    files
}

/// The answers of the lying console, as files that it reads anew for each call.
struct Answers(PathBuf);

impl Answers {
    fn say(&self, said: &Said, site: &[GetReviewSiteResponse]) {
        let list = ListReviewsResponse {
            reviews: said.review.review.clone().into_iter().collect(),
            next_page_token: String::new(),
        };
        self.write("list", &list.encode_to_vec());
        self.write("review", &said.review.encode_to_vec());
        self.write("packet", &said.packet);
        let files: Vec<u8> = site.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
        self.write("site", &files);
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }
}

/// One byte of a payload changed, under the signatures that were there.
fn altered(envelope: &[u8]) -> Vec<u8> {
    let parsed = Envelope::parse(envelope).unwrap();
    let payload = String::from_utf8(parsed.payload().to_vec()).unwrap();
    let place = payload.find("\"challenge\":\"").unwrap() + 13;
    let mut changed = payload.clone().into_bytes();
    changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
    let text = String::from_utf8(envelope.to_vec()).unwrap();
    let replaced = text.replace(&STANDARD.encode(payload), &STANDARD.encode(changed));
    assert_ne!(text, replaced);
    replaced.into_bytes()
}

/// Lies about a review, and the names under which the steward's tool refuses them.
fn lies(tested: &TestBox, true_one: &Said, other: &Said, held: &Held) -> Vec<(&'static str, Said)> {
    let with = |change: &dyn Fn(&mut Said)| {
        let mut said = true_one.clone();
        change(&mut said);
        said
    };
    let of_another_key = Envelope::sign(&held.opened.verdict, &[&person_key(tested, "ben")]).unwrap();
    let ana = packet::Recipient {
        steward: "ana".parse().unwrap(),
        key: held
            .opened
            .verdict
            .reviewers
            .iter()
            .find(|one| one.steward.as_str() == "ana")
            .unwrap()
            .review_key
            .0,
    };
    let mut innocent = held.opened.content.clone();
    innocent.purpose = "A purpose that nobody signed".to_owned();
    let request = held.request.payload_digest();
    let resealed = packet::seal(&[ana], &innocent, &request).unwrap();
    vec![
        // Another verdict under this one's name, altered ones, one of the console's own making.
        (
            "VERDICT_REFUSED",
            with(&|said| {
                said.review.verdict = other.review.verdict.clone();
                said.review.request = other.review.request.clone();
            }),
        ),
        ("VERDICT_REFUSED", with(&|said| said.review.request = other.review.request.clone())),
        ("VERDICT_REFUSED", with(&|said| said.review.verdict = altered(&true_one.review.verdict).into())),
        ("VERDICT_REFUSED", with(&|said| said.review.verdict = of_another_key.to_bytes().into())),
        ("VERDICT_REFUSED", with(&|said| said.review.verdict = said.review.request.clone())),
        ("VERDICT_REFUSED", with(&|said| said.review.verdict.clear())),
        // Another packet, an altered one, a part of it, none, and one that the console sealed to the steward itself.
        ("PACKET_REFUSED", with(&|said| said.packet.clone_from(&other.packet))),
        (
            "PACKET_REFUSED",
            with(&|said| {
                let last = said.packet.len() - 1;
                said.packet[last] ^= 1;
            }),
        ),
        ("PACKET_REFUSED", with(&|said| said.packet.truncate(1000))),
        ("PACKET_REFUSED", with(&|said| said.packet.push(0))),
        ("PACKET_REFUSED", with(&|said| said.packet.clear())),
        ("PACKET_REFUSED", with(&|said| said.packet.clone_from(&resealed))),
    ]
}

/// Sites that are not the one in force.
fn sites(whole: &[GetReviewSiteResponse]) -> Vec<(&'static str, Vec<GetReviewSiteResponse>)> {
    let without = |begin: &str| {
        let kept: Vec<_> = whole.iter().filter(|file| !file.path.starts_with(begin)).cloned().collect();
        assert!(kept.len() < whole.len(), "{begin}");
        kept
    };
    let mut other_roles = whole.to_vec();
    let roles = other_roles.iter_mut().find(|file| file.path.starts_with("roles/")).unwrap();
    roles.content = roles.content.iter().rev().copied().collect::<Vec<u8>>().into();
    vec![
        ("SITE_REFUSED", without("roles/")),
        ("SITE_REFUSED", without("revocations/")),
        ("SITE_REFUSED", other_roles),
        ("SITE_REFUSED", vec![]),
        // Without them nothing says that the request was allowed, or what its rules are.
        ("VERDICT_REFUSED", without("grants/")),
        ("VERDICT_REFUSED", without("catalogue/datasets/")),
        ("SITE_REFUSED", without("policies/")),
    ]
}

async fn open(tested: &TestBox, held: &Held) -> Result<Opened, String> {
    tested.desk("ana").await.open(&held.digest().to_string()).await.map_err(|failure| failure.reason)
}

async fn deny(desk: &mut Desk, opened: &Opened) -> Result<(), String> {
    let answer = desk.deny(opened, DenialDecision::Reject, vec![DenialReason::Other], None).await;
    answer.map(drop).map_err(|failure| failure.reason)
}

#[test]
fn a_steward_opens_and_signs_nothing_that_a_lying_console_altered_and_believes_no_denial_without_its_proof() {
    let mut tested = TestBox::start_with_users();
    let [held, other] =
        wait(async { [Held::of_job(&tested, "one", "1").await, Held::of_job(&tested, "other", "2").await] });
    let (said, of_other, whole) = wait(async {
        (Said::of(&tested, &held).await, Said::of(&tested, &other).await, site(&tested).await)
    });
    let denials: [Vec<u8>; 2] = wait(async {
        let mut files = Vec::new();
        for held in [&held, &other] {
            let mut desk = tested.desk("ben").await;
            let opened = desk.open(&held.digest().to_string()).await.unwrap();
            let reasons = vec![DenialReason::Other];
            let answer = desk.deny(&opened, DenialDecision::Reject, reasons, None).await.unwrap();
            files.push(answer.denial_file.to_vec());
        }
        files.try_into().unwrap()
    });
    tested.stage.rooms().kill("console");

    let answers = Answers(tested.directory().join("answers"));
    std::fs::create_dir(&answers.0).unwrap();
    let tls = tested.stage.home.tls("console", "key").parent().unwrap().to_owned();
    let address = tested.stage.endpoints().console.to_string();
    let arguments =
        ["stewards".to_owned(), address, tls.display().to_string(), answers.0.display().to_string()];
    let liar = Liar::start(&tested, "console", PROGRAM, "stewards", &arguments);
    liar.until("the console's address", |heard| !heard.is_empty());

    wait(async {
        // Said as it was, all is well: it is not the liar's voice that is refused.
        answers.say(&said, &whole);
        let opened = open(&tested, &held).await.unwrap();
        for (index, (refusal, lie)) in lies(&tested, &said, &of_other, &held).iter().enumerate() {
            answers.say(lie, &whole);
            assert_eq!(open(&tested, &held).await.err().as_deref(), Some(*refusal), "lie {index}");
        }
        for (index, (refusal, site)) in sites(&whole).iter().enumerate() {
            answers.say(&said, site);
            assert_eq!(open(&tested, &held).await.err().as_deref(), Some(*refusal), "site {index}");
        }
        // A list that would write to the terminal, and one without an end.
        let mut escape = said.review.review.clone().unwrap();
        escape.review = "\u{1b}[2J".to_owned();
        let next = "more".to_owned();
        let lists = [
            ListReviewsResponse { reviews: vec![escape], next_page_token: String::new() },
            ListReviewsResponse {
                reviews: said.review.review.clone().into_iter().collect(),
                next_page_token: next,
            },
        ];
        for list in lists {
            answers.say(&said, &whole);
            answers.write("list", &list.encode_to_vec());
            assert_eq!(open(&tested, &held).await.err().as_deref(), Some("LIST_REFUSED"));
        }
        // A hidden review can be signed by nobody.
        answers.say(&said, &whole);
        answers.write("list", &ListReviewsResponse::default().encode_to_vec());
        assert_eq!(open(&tested, &held).await.err().as_deref(), Some("NO_SUCH_REVIEW"));
        answers.say(&said, &whole);

        // That a denial counts is believed on its witnessed proof alone, and on that of this verdict.
        let mut desk = tested.desk("ana").await;
        let unproven = |file: &[u8]| {
            let parsed = DenialFile::parse(file).unwrap();
            let lines: Vec<_> =
                parsed.log_proof.lines().filter(|line| !line.contains("databox.example/witness")).collect();
            DenialFile { log_proof: lines.join("\n") + "\n", ..parsed }.to_bytes()
        };
        for file in [vec![], denials[1].clone(), unproven(&denials[0]), b"{}".to_vec()] {
            let answer = SubmitDecisionResponse { denial_file: file.into(), ..Default::default() };
            answers.write("decision", &answer.encode_to_vec());
            assert_eq!(deny(&mut desk, &opened).await.err().as_deref(), Some("NOT_WITNESSED"));
        }
        std::fs::remove_file(answers.0.join("decision")).unwrap();
        assert!(deny(&mut desk, &opened).await.is_err(), "what was swallowed did not succeed");
        let answer = SubmitDecisionResponse { denial_file: denials[0].clone().into(), ..Default::default() };
        answers.write("decision", &answer.encode_to_vec());
        assert_eq!(deny(&mut desk, &opened).await, Ok(()), "the true proof is believed");
    });
    drop(liar);

    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "console").unwrap();
    for held in [&held, &other] {
        assert_eq!(wait(tested.wait("kim", &held.job(), State::Rejected)), State::Rejected);
    }
}
