//! A gateway that replays, alters and forges requests: the enclave runs each signed request once and none that nobody
//! signed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::{BlobStore, Digest};
use databox::job::Prepared;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;

use crate::held::{Held, approve};
use crate::{Liar, wait};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_lying-gateway");

/// What the liar hands in.
pub(crate) struct Case {
    name: &'static str,
    request: Vec<u8>,
    purpose: String,
    salt: [u8; 32],
    answer: &'static str,
}

impl Case {
    pub(crate) fn of(name: &'static str, prepared: &Prepared, answer: &'static str) -> Self {
        let (purpose, salt) = (prepared.purpose.clone(), prepared.salt);
        Self { name, request: prepared.envelope.to_bytes(), purpose, salt, answer }
    }

    fn request(&self) -> Digest {
        Envelope::parse(&self.request).unwrap().payload_digest()
    }

    pub(crate) fn lay(&self, directory: &Path) -> PathBuf {
        let place = directory.join("submits").join(self.name);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("request"), &self.request).unwrap();
        std::fs::write(place.join("purpose"), &self.purpose).unwrap();
        std::fs::write(place.join("salt"), self.salt).unwrap();
        place
    }
}

/// The request with another nonce under the old signature. Were it taken, a request could be run any number of times.
fn with_another_nonce(prepared: &Prepared) -> Vec<u8> {
    let payload = prepared.envelope.payload();
    let key = b"\"nonce\":\"";
    let place = payload.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    let mut altered = payload.to_vec();
    altered[place] = if altered[place] == b'0' { b'1' } else { b'0' };
    let text = String::from_utf8(prepared.envelope.to_bytes()).unwrap();
    let replaced = text.replace(&STANDARD.encode(payload), &STANDARD.encode(&altered));
    assert_ne!(text, replaced);
    replaced.into_bytes()
}

pub(crate) fn prepare(tested: &TestBox, name: &str) -> Prepared {
    prepare_code(tested, name, &write_metric("1"))
}

pub(crate) fn prepare_code(tested: &TestBox, name: &str, code: &str) -> Prepared {
    // Each bundle has bytes of its own.
    let code = format!("# {name}\n{code}");
    let files = [("databox.toml", &manifest(ONE_METRIC).replace("30s", "300s")[..]), ("job.py", &code[..])];
    let bundle = tested.bundle(name, &files);
    wait(async { tested.bench("kim").await.prepare(&bundle).await.unwrap() })
}

/// Starts the liar in the place of the gateway, which is gone, and has it hand these in and say these words.
fn liar(tested: &TestBox, name: &str, how: &str, cases: &[Case], words: &[String]) -> Liar {
    let socket = tested.stage.home.join("run/gateway/gateway.sock").display().to_string();
    let mut arguments = vec![socket, how.to_owned()];
    let submits = cases.iter().map(|case| case.lay(tested.directory()).display().to_string());
    arguments.extend(submits.chain(words.iter().cloned()));
    Liar::start(tested, "gateway", PROGRAM, name, &arguments)
}

pub(crate) fn answers(heard: &[String]) -> Vec<&str> {
    heard.iter().filter(|line| line.starts_with("answer ")).map(String::as_str).collect()
}

pub(crate) fn moves<'a>(heard: &'a [String], request: &Digest) -> BTreeSet<&'a str> {
    let begin = format!("transition {request} ");
    heard.iter().filter_map(|line| line.strip_prefix(&begin)).collect()
}

/// How many times the account of a dataset was charged for running a request.
pub(crate) fn charges(tested: &TestBox, request: &Digest) -> i64 {
    let path = tested.stage.home.join("enclave/account.db");
    let database = rusqlite::Connection::open(path).unwrap();
    let query = "SELECT count(*) FROM account WHERE request = ?1 AND kind = 'answer'";
    database.query_row(query, [request.as_bytes()], |row| row.get(0)).unwrap()
}

async fn reviews(tested: &TestBox) -> usize {
    tested.desk("ana").await.list().await.unwrap().len()
}

#[test]
fn a_request_that_a_lying_gateway_replays_is_run_and_charged_once_and_a_forged_one_never() {
    let mut tested = TestBox::start_with_users();
    let (replayed, twin) = (prepare(&tested, "replayed"), prepare(&tested, "twin"));
    tested.stage.rooms().kill("gateway");
    let hand_over = BlobStore::open(tested.stage.home.join("hand-over/gateway-to-enclave"), 0o640).unwrap();
    hand_over.put(&replayed.bundle).unwrap();
    hand_over.put(&twin.bundle).unwrap();

    let cases = [
        Case::of("first", &replayed, "ACCEPTED"),
        Case::of("again", &replayed, "ACCEPTED"),
        // A repeat gets the first answer; what it says beside the request is not looked at.
        Case { purpose: "To publish every patient".to_owned(), ..Case::of("purpose", &replayed, "ACCEPTED") },
        Case { request: with_another_nonce(&replayed), ..Case::of("nonce", &replayed, "REASON_REQUEST") },
        Case::of("last", &replayed, "ACCEPTED"),
    ];
    let expected: Vec<String> =
        cases.iter().map(|case| format!("answer {} {}", case.request(), case.answer)).collect();
    let twice = [&expected[..], &expected].concat();
    let liar_again = liar(&tested, "again", "again", &cases, &[]);
    liar_again.until("the second round of answers", |heard| answers(heard).len() >= twice.len());
    // Long enough for a second run to be told, on a time grid of one second.
    std::thread::sleep(Duration::from_secs(3));
    let heard = liar_again.heard();
    drop(liar_again);
    assert_eq!(answers(&heard), twice);
    let (once, forged) = (replayed.job(), cases[3].request());
    assert_eq!(moves(&heard, &once), BTreeSet::from(["1 1 RUNNING", "2 1 IN_REVIEW"]));
    assert_eq!(moves(&heard, &forged), BTreeSet::new());
    assert_eq!((charges(&tested, &once), charges(&tested, &forged)), (1, 0));
    assert_eq!(wait(reviews(&tested)), 1, "one verdict");
    let opened = wait(tested.opened("ana", &once.to_string()));
    assert_eq!(opened.content.purpose, replayed.purpose, "stewards read what the researcher signed");

    let once = [Case::of("twin", &twin, "ACCEPTED")];
    let liar_once = liar(&tested, "once", "once", &once, &[]);
    let twin = twin.job();
    let heard = liar_once.until("the twin's review", |heard| moves(heard, &twin).len() == 2);
    assert_eq!(moves(&heard, &twin), BTreeSet::from(["1 1 RUNNING", "2 1 IN_REVIEW"]));
    assert_eq!((charges(&tested, &twin), wait(reviews(&tested))), (1, 2));
}

/// Lays a file of another kind where the bundle should be.
fn lay(tested: &TestBox, prepared: &Prepared, lay: impl FnOnce(&Path)) {
    let hand_over = tested.stage.home.join("hand-over/gateway-to-enclave");
    lay(&hand_over.join(Digest::of(&prepared.bundle).to_string()));
}

#[test]
fn a_purpose_or_a_bundle_that_the_researcher_did_not_sign_is_never_run_or_shown_to_a_steward() {
    let mut tested = TestBox::start_with_users();
    let names = ["purpose", "salt", "withheld", "altered", "linked", "piped", "twin"];
    let prepared: Vec<_> = names.iter().map(|name| prepare(&tested, name)).collect();
    tested.stage.rooms().kill("gateway");
    let [purpose, salt, withheld, altered, linked, piped, twin] = &prepared[..] else { panic!("seven") };
    let hand_over = BlobStore::open(tested.stage.home.join("hand-over/gateway-to-enclave"), 0o640).unwrap();
    for whole in [purpose, salt, twin] {
        hand_over.put(&whole.bundle).unwrap();
    }
    let key = tested.stage.home.key("enclave");
    lay(&tested, altered, |path| std::fs::write(path, &twin.bundle).unwrap());
    lay(&tested, linked, |path| std::os::unix::fs::symlink(&key, path).unwrap());
    lay(&tested, piped, |path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    });
    let cases = [
        Case {
            purpose: "To publish every patient".to_owned(),
            ..Case::of("purpose", purpose, "REASON_REQUEST")
        },
        Case { salt: [7; 32], ..Case::of("salt", salt, "REASON_REQUEST") },
        Case::of("withheld", withheld, "REASON_BUNDLE"),
        Case::of("altered", altered, "REASON_BUNDLE"),
        Case::of("linked", linked, "REASON_BUNDLE"),
        Case::of("piped", piped, "REASON_BUNDLE"),
        Case::of("twin", twin, "ACCEPTED"),
    ];
    let expected: Vec<String> =
        cases.iter().map(|case| format!("answer {} {}", case.request(), case.answer)).collect();
    let liar = liar(&tested, "not-signed", "once", &cases, &[]);
    let heard = liar.until("the twin's review", |heard| moves(heard, &twin.job()).len() == 2);
    assert_eq!(answers(&heard), expected);
    for refused in &prepared[..6] {
        assert_eq!(moves(&heard, &refused.job()), BTreeSet::new());
        assert_eq!(charges(&tested, &refused.job()), 0);
    }
    assert_eq!((charges(&tested, &twin.job()), wait(reviews(&tested))), (1, 1));
}

#[test]
fn acknowledgements_that_a_lying_gateway_forges_withholds_or_reorders_release_nothing_and_lose_nothing() {
    let mut tested = TestBox::start_with_users();
    let (reviewed, waiting) =
        wait(async { (Held::of_job(&tested, "one", "1").await, Held::of_job(&tested, "two", "2").await) });
    tested.stage.rooms().kill("gateway");
    let (job, other) = (reviewed.job(), waiting.job());
    let nobodys = Digest::of(b"nobody's");
    let words = [
        format!("transition-taken:{job}:3"),
        format!("transition-taken:{job}:2"),
        format!("transition-taken:{job}:1"),
        format!("transition-taken:{job}:4294967295"),
        format!("transition-taken:{nobodys}:1"),
        format!("release-taken:{nobodys}"),
        format!("release-taken:{}", reviewed.digest()),
        format!("release-taken:{job}"),
    ];
    let liar = liar(&tested, "acknowledges", "silent", &[], &words);
    liar.until("the enclave", |heard| heard.contains(&"ready".to_owned()));
    let file = wait(approve(&tested, &job));
    // The gateway does not say that it has the release; so the enclave says so again and again, and keeps it.
    let release = format!("release {}", Digest::of(&file));
    let again = |heard: &[String]| heard.iter().filter(|line| **line == release).count() > 1;
    let heard = liar.until("the release, twice", again);
    assert!(!heard.iter().any(|line| line.contains("RELEASED") && line.contains(&other)));
    let outbox = tested.stage.home.join("hand-over/enclave-to-gateway");
    let laid: BTreeSet<_> =
        std::fs::read_dir(&outbox).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(laid.len(), 2, "one release file and its one file: {laid:?}");
    drop(liar);

    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "gateway").unwrap();
    wait(async {
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
        let still = tested.bench("kim").await.job(&other).await.unwrap();
        assert_eq!(databox::job::state(&still), State::InReview);
    });
}

/// Jobs that the enclave's database knows.
fn jobs(tested: &TestBox) -> i64 {
    let path = tested.stage.home.join("enclave/account.db");
    let database = rusqlite::Connection::open(path).unwrap();
    database.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_hand_over_that_the_researcher_did_not_sign_so_burns_no_request_and_fills_no_database() {
    let mut tested = TestBox::start_with_users();
    let prepared = prepare(&tested, "purpose");
    tested.stage.rooms().kill("gateway");
    let hand_over = BlobStore::open(tested.stage.home.join("hand-over/gateway-to-enclave"), 0o640).unwrap();
    let job = prepared.job();

    let mut wrong = vec![
        Case {
            purpose: "To publish every patient".to_owned(),
            ..Case::of("words", &prepared, "REASON_REQUEST")
        },
        Case { salt: [9; 32], ..Case::of("salt", &prepared, "REASON_REQUEST") },
        // Nothing lies in the hand-over directory.
        Case::of("no-bundle", &prepared, "REASON_BUNDLE"),
    ];
    let forged = with_another_nonce(&prepared);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| format!("forged-{name}")) {
        let name: &'static str = name.leak();
        wrong.push(Case { request: forged.clone(), ..Case::of(name, &prepared, "REASON_REQUEST") });
    }
    let liar_wrong = liar(&tested, "wrong", "once", &wrong, &[]);
    let heard = liar_wrong.until("every answer", |heard| answers(heard).len() == wrong.len());
    let expected: Vec<_> =
        wrong.iter().map(|case| format!("answer {} {}", case.request(), case.answer)).collect();
    assert_eq!(answers(&heard), expected);
    assert_eq!((jobs(&tested), charges(&tested, &job)), (0, 0));
    drop(liar_wrong);

    // What the researcher signed is as good as before.
    hand_over.put(&prepared.bundle).unwrap();
    let liar_right = liar(&tested, "right", "once", &[Case::of("right", &prepared, "ACCEPTED")], &[]);
    let heard = liar_right.until("the review", |heard| moves(heard, &job).contains("2 1 IN_REVIEW"));
    assert_eq!(answers(&heard), [format!("answer {job} ACCEPTED")]);
    assert_eq!((jobs(&tested), charges(&tested, &job)), (1, 1));
    let opened = wait(tested.opened("ana", &job.to_string()));
    assert_eq!(opened.content.purpose, prepared.purpose, "stewards read what the researcher signed");
}
