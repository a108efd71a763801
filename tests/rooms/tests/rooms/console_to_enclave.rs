//! A console that hands the enclave releases and denials that it made itself: nothing leaves, and no job ends.

use harness::TestBox;
use lifecycle::State;
use release::envelope::Envelope;
use release::file::{DenialFile, ReleaseFile};
use release::key::SecretKey;
use release::statement::{DenialDecision, DenialReason, Manifest};

use crate::held::{Held, approve};
use crate::{Liar, assert_no_row_outside, told, wait};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lying-console");

/// Forgeries of a release, each of which a console could make.
fn forgeries(genuine: &[u8], other: &[u8]) -> Vec<(&'static str, ReleaseFile)> {
    let [parsed, other] = [genuine, other].map(|bytes| ReleaseFile::parse(bytes).unwrap());
    let mut own_key = parsed.clone();
    let manifest: Manifest = parsed.manifest.unverified().unwrap();
    own_key.manifest = Envelope::sign(&manifest, &[&SecretKey::generate().unwrap()]).unwrap();
    let one_approval = ReleaseFile { approvals: parsed.approvals[..1].to_vec(), ..parsed.clone() };
    let log_proof = unwitnessed(&parsed.log_proof);
    let unwitnessed = ReleaseFile { log_proof, ..parsed.clone() };
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

/// Forgeries of a denial.
fn forged_denials(
    tested: &TestBox,
    genuine: &[u8],
    release: &[u8],
    waiting: &Held,
) -> Vec<(&'static str, DenialFile)> {
    let parsed = DenialFile::parse(genuine).unwrap();
    let proof_of_release = ReleaseFile::parse(release).unwrap().log_proof;
    let of_waiting = |denial: Envelope| DenialFile {
        denial,
        verdict: waiting.verdict.clone(),
        request: waiting.request.clone(),
        ..parsed.clone()
    };
    vec![
        ("log-witnesses", DenialFile { log_proof: unwitnessed(&parsed.log_proof), ..parsed.clone() }),
        ("log-inclusion", DenialFile { log_proof: proof_of_release, ..parsed.clone() }),
        // A true denial of another verdict, and denials that no steward signed or that no log has.
        ("approval-binding", of_waiting(parsed.denial.clone())),
        ("approval-signature", of_waiting(waiting.denial(tested, "ana", "kim"))),
        ("log-inclusion", of_waiting(waiting.denial(tested, "ana", "ana"))),
    ]
}

/// A log proof without the witness's line.
fn unwitnessed(proof: &str) -> String {
    let witness = |line: &&str| !line.starts_with("\u{2014} demo.databox.example/witness ");
    let lines: Vec<&str> = proof.lines().filter(witness).collect();
    let stripped = lines.join("\n") + "\n";
    assert_ne!(stripped, proof);
    stripped
}

#[test]
fn the_enclave_lets_nothing_out_and_ends_no_job_on_what_a_lying_console_made() {
    let mut tested = TestBox::start_with_users();
    let [first, second, third, waiting] = wait(async {
        [
            Held::of_job(&tested, "first", "1").await,
            Held::of_job(&tested, "second", "2").await,
            Held::of_job(&tested, "third", "3").await,
            Held::of_job(&tested, "waiting", "4").await,
        ]
    });
    let before = wait(async {
        let before = approve(&tested, &first.job()).await;
        assert_eq!(tested.wait("kim", &first.job(), State::Released).await, State::Released);
        before
    });
    tested.stage.rooms().kill("enclave");
    let (release, denial) = wait(async {
        let mut desk = tested.desk("ana").await;
        let opened = desk.open(&third.digest().to_string()).await.unwrap();
        let reasons = vec![DenialReason::TooMuch];
        let answer = desk.deny(&opened, DenialDecision::Reject, reasons, None).await.unwrap();
        (approve(&tested, &second.job()).await, answer.denial_file.to_vec())
    });
    tested.stage.rooms().kill("console");

    let releases = forgeries(&release, &before);
    let denials = forged_denials(&tested, &denial, &release, &waiting);
    let mut said = Said::new(&tested);
    releases.iter().for_each(|(_, file)| said.file("release", &file.to_bytes()));
    denials.iter().for_each(|(_, file)| said.file("denial", &file.to_bytes()));
    // A file in the other's place, and no file at all.
    said.file("release", &denial);
    said.file("denial", &release);
    said.file("release", b"{}");
    said.words.push(format!("verdict-taken:{}", waiting.job()));
    // That reviews were withdrawn which no requester called off.
    for held in [&waiting, &first, &waiting] {
        said.words.push(format!("withdrawal-taken:{}", held.digest()));
    }
    // A true one that was taken before; its acknowledgement says that the enclave has come to the end of the list.
    said.file("release", &before);
    let liar = Liar::start(&tested, "console", PROGRAM, "forged", &said.words);
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "enclave").unwrap();
    let heard = liar.until("an acknowledgement", |heard| !heard.is_empty());
    assert_eq!(heard, [format!("outcome-taken {}", first.digest())]);
    let forms = ["json-form"; 3];
    let expected =
        releases.iter().map(|(name, _)| *name).chain(denials.iter().map(|(name, _)| *name)).chain(forms);
    assert_eq!(told(&tested, "enclave", "outcome refused", "refusal"), expected.collect::<Vec<_>>());
    let laid = std::fs::read_dir(home.join("hand-over/enclave-to-gateway")).unwrap().count();
    assert_eq!(laid, 0, "the outbox is empty");
    drop(liar);

    // The true ones, withheld until now, in another order than the log's.
    let mut said = Said::new(&tested);
    said.file("release", &release);
    said.file("denial", &denial);
    let liar = Liar::start(&tested, "console", PROGRAM, "genuine", &said.words);
    let taken = [&second, &third].map(|held| format!("outcome-taken {}", held.digest()));
    liar.until("the true outcomes", |heard| taken.iter().all(|taken| heard.contains(taken)));
    wait(async {
        assert_eq!(tested.wait("kim", &second.job(), State::Released).await, State::Released);
        assert_eq!(tested.wait("kim", &third.job(), State::Rejected).await, State::Rejected);
        let still = tested.bench("kim").await.job(&waiting.job()).await.unwrap();
        assert_eq!(databox::job::state(&still), State::InReview);
    });
    assert_no_row_outside(&tested);
}

/// What the liar is told to say to the enclave.
struct Said<'a> {
    tested: &'a TestBox,
    words: Vec<String>,
}

impl<'a> Said<'a> {
    fn new(tested: &'a TestBox) -> Self {
        let socket = tested.stage.home.join("run/console/console.sock").display().to_string();
        Self { tested, words: vec!["enclave".to_owned(), socket] }
    }

    fn file(&mut self, kind: &str, bytes: &[u8]) {
        let path = self.tested.directory().join(blobs::Digest::of(bytes).to_string());
        std::fs::write(&path, bytes).unwrap();
        self.words.push(format!("{kind}:{}", path.display()));
    }
}
