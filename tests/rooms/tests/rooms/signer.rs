//! A signer that was taken over has the release key and the log key, and the witness is honest. What it signs without
//! consent every verifier refuses: the enclave, the gateway and an auditor. What it does to the log the witness notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use blobs::{BlobStore, Digest};
use harness::TestBox;
use lifecycle::State;
use release::envelope::Envelope;
use release::file::{self, ReleaseFile};
use release::json;
use release::key::{SecretKey, Sign};
use release::log::checkpoint::Checkpoint;
use release::log::socket::{Answer, Appended, Finished, Outcome};
use release::log::witness::AddCheckpoint;
use release::log::{Event, KeyType, LogProof, Note, NoteSignature, Tree, VerifierKey, merkle, tiles};
use release::refusal::Refusal;
use release::statement::{Manifest, ReleasedFile};
use release::value::Count;

use crate::held::{Held, approve, box_key};
use crate::{Liar, assert_no_row_outside, told, until, wait};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lying-signer");
const CONSOLE: &str = env!("CARGO_BIN_EXE_lying-console");
const ENCLAVE: &str = env!("CARGO_BIN_EXE_lying-enclave");

/// The log as its owner can write it on.
struct Forger {
    tree: Tree,
    key: SecretKey,
    verifier: VerifierKey,
    witness: String,
}

impl Forger {
    /// Takes up the real log.
    fn of(tested: &TestBox) -> Self {
        let public = tested.stage.home.join("public/log");
        let note = Note::parse(&std::fs::read(public.join("checkpoint")).unwrap()).unwrap();
        let head = Checkpoint::parse(note.text()).unwrap();
        let mut tree = Tree::new();
        for bundle in tiles::bundles(head.size) {
            let bytes = std::fs::read(public.join(bundle.path())).unwrap();
            for leaf in tiles::read_bundle(&bytes, bundle.width).unwrap() {
                tree.append(merkle::leaf_hash(&leaf));
            }
        }
        assert_eq!(tree.root(), head.root, "the whole log is public");
        let key = box_key(tested, "log");
        let verifier = VerifierKey::new(&head.origin, KeyType::Log, key.public().public.0).unwrap();
        Self { tree, key, verifier, witness: tested.stage.endpoints().witness.to_string() }
    }

    fn checkpoint(&self) -> Note {
        let head = Checkpoint {
            origin: self.verifier.name().to_owned(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        head.sign(&self.verifier, |message| self.key.sign(message)).unwrap()
    }

    /// Asks the witness, which has cosigned this size last, and gives the status and the body of its answer.
    fn ask(&self, old: u64, proof: Vec<Digest>) -> (String, String) {
        let body = AddCheckpoint { old, proof, checkpoint: self.checkpoint() }.to_string();
        let mut stream = TcpStream::connect(&self.witness).unwrap();
        let length = body.len();
        let head = format!(
            "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {length}"
        );
        write!(stream, "{head}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    }

    /// Appends a manifest as a leaf, has the honest witness cosign, and gives the release file with its proof.
    fn logged(&mut self, file: ReleaseFile, signer: &SecretKey) -> ReleaseFile {
        let old = self.tree.size();
        let leaf = file::leaf(Event::Release, &file.manifest, &signer.public()).unwrap();
        let index = self.tree.append(leaf.hash());
        let proof = self.tree.consistency_proof(old, self.tree.size()).unwrap();
        let (status, lines) = self.ask(old, proof);
        assert_eq!(status, "200", "the log only grew: {lines}");
        let mut checkpoint = self.checkpoint();
        NoteSignature::parse_lines(&lines).unwrap().into_iter().for_each(|line| checkpoint.push(line));
        let hashes = self.tree.inclusion_proof(index, self.tree.size()).unwrap();
        file.with_proof(&LogProof { index, hashes, checkpoint })
    }
}

/// The release file with another manifest, signed by the real release key.
fn with_manifest(file: &ReleaseFile, key: &SecretKey, change: impl FnOnce(&mut Manifest)) -> ReleaseFile {
    let mut manifest: Manifest = file.manifest.unverified().unwrap();
    change(&mut manifest);
    ReleaseFile { manifest: Envelope::sign(&manifest, &[key]).unwrap(), ..file.clone() }
}

/// What a signer makes of a verdict that nobody approved: the true release of another one, bent to this one.
fn of_unapproved(before: &ReleaseFile, held: &Held, key: &SecretKey) -> ReleaseFile {
    let bent = with_manifest(before, key, |manifest| {
        manifest.verdict = held.digest().into();
        manifest.request = held.request.payload_digest().into();
    });
    ReleaseFile { verdict: held.verdict.clone(), request: held.request.clone(), ..bent }
}

fn rows(tested: &TestBox) -> ReleasedFile {
    let rows = std::fs::read(tested.directory().join("data/hie.csv")).unwrap();
    ReleasedFile {
        name: "metrics.json".parse().unwrap(),
        bytes: Count(rows.len() as u64),
        sha256: Digest::of(&rows),
    }
}

/// The auditor's answer about a release file.
fn audit(tested: &TestBox, bytes: &[u8]) -> Option<i32> {
    let path = tested.directory().join("audited.release.json");
    std::fs::write(&path, bytes).unwrap();
    let verified = Command::new(harness::programs().join("databox-verify"))
        .arg(path)
        .args(["--roles", &tested.stage.pin.to_string(), "--accept-on-box-witness"])
        .output();
    verified.unwrap().status.code()
}

#[test]
fn what_a_lying_signer_signs_without_consent_no_enclave_no_gateway_and_no_auditor_takes() {
    let mut tested = TestBox::start_with_users();
    let [released, rubbish, forked, swallowed, replayed] = wait(async {
        [
            Held::of_job(&tested, "released", "1").await,
            Held::of_job(&tested, "rubbish", "2").await,
            Held::of_job(&tested, "forked", "3").await,
            Held::of_job(&tested, "swallowed", "4").await,
            Held::of_job(&tested, "replayed", "5").await,
        ]
    });
    let before = wait(async {
        let file = approve(&tested, &released.job()).await;
        assert_eq!(tested.wait("kim", &released.job(), State::Released).await, State::Released);
        file
    });
    assert_eq!(audit(&tested, &before), Some(0), "the true release verifies");
    let before = ReleaseFile::parse(&before).unwrap();
    tested.stage.rooms().kill("signer");
    let key = box_key(&tested, "signer");
    let mut forger = Forger::of(&tested);

    // Each is signed by the release key, is a leaf of the log, and is cosigned by the honest witness.
    let logged = [
        (
            Refusal::ManifestEvidence,
            with_manifest(&before, &key, |manifest| manifest.files = vec![rows(&tested)]),
        ),
        (
            Refusal::ManifestEvidence,
            with_manifest(&before, &key, |manifest| manifest.recipient = "lee".parse().unwrap()),
        ),
        (
            Refusal::ManifestAccount,
            with_manifest(&before, &key, |manifest| manifest.released_bits = Count(1)),
        ),
        (Refusal::ApprovalBinding, of_unapproved(&before, &rubbish, &key)),
        (Refusal::ApprovalsTooFew, {
            let one = with_manifest(&before, &key, |manifest| drop(manifest.approvals.pop()));
            ReleaseFile { approvals: one.approvals[..1].to_vec(), ..one }
        }),
    ];
    let mut forged: Vec<_> =
        logged.into_iter().map(|(refusal, file)| (refusal, forger.logged(file, &key))).collect();
    // Not a leaf at all: without a proof, with another leaf's, under a checkpoint that no witness or no log signed.
    let again = with_manifest(&before, &key, |manifest| manifest.issued_at = manifest.issued_at.plus(1));
    forged.push((Refusal::LogForm, ReleaseFile { log_proof: String::new(), ..again.clone() }));
    forged.push((Refusal::LogInclusion, again.clone()));
    forged.push((Refusal::LogCheckpoint, {
        let mut other =
            Forger { key: SecretKey::generate().unwrap(), tree: Tree::new(), ..Forger::of(&tested) };
        other.verifier =
            VerifierKey::new(other.verifier.name(), KeyType::Log, other.key.public().public.0).unwrap();
        unwitnessed(&mut other, again.clone(), &key)
    }));
    forged.push((Refusal::LogWitnesses, unwitnessed(&mut Forger::of(&tested), again.clone(), &key)));
    for (refusal, file) in &forged {
        assert_eq!(audit(&tested, &file.to_bytes()), Some(i32::from(refusal.code())), "{refusal}");
    }

    // Two pasts, or one that is cut short: the witness cosigns neither.
    let mut past = Forger { tree: Tree::new(), ..Forger::of(&tested) };
    for leaf in 0..=forger.tree.size() {
        past.tree.append(Digest::of(&leaf.to_be_bytes()));
    }
    let proof = past.tree.consistency_proof(forger.tree.size(), past.tree.size()).unwrap();
    assert_eq!(past.ask(forger.tree.size(), proof).0, "422", "another past");
    let old = Forger::of(&tested);
    assert_eq!(old.ask(old.tree.size(), vec![]).0, "409", "an older log");

    // Over the real socket: the console believes its signer, takes the rubbish to the enclave, and there it ends. A
    // fork it takes to the witness. What is not answered is asked again.
    let answers = tested.directory().join("answers");
    std::fs::create_dir(&answers).unwrap();
    let lie = |held: &Held, answer: &Answer| {
        std::fs::write(answers.join(held.digest().to_string()), json::to_bytes(answer)).unwrap();
    };
    let file = String::from_utf8(forged[3].1.to_bytes()).unwrap();
    lie(&rubbish, &Answer::Finished(Finished { outcome: Outcome::Release, file }));
    // The true release of another job.
    let file = String::from_utf8(before.to_bytes()).unwrap();
    lie(&replayed, &Answer::Finished(Finished { outcome: Outcome::Release, file }));
    let add_checkpoint = AddCheckpoint { old: 0, proof: vec![], checkpoint: past.checkpoint() }.to_string();
    let (index, size) = (Count(past.tree.size() - 1), Count(past.tree.size()));
    lie(&forked, &Answer::Appended(Appended { outcome: Outcome::Release, index, size, add_checkpoint }));
    let socket = tested.stage.home.join("run/signer/signer.sock");
    let liar = Liar::start(&tested, "signer", PROGRAM, "signer", &[socket, answers]);
    wait(async {
        for held in [&rubbish, &replayed, &forked, &swallowed] {
            for steward in ["ana", "ben"] {
                let mut desk = tested.desk(steward).await;
                let opened = desk.open(&held.digest().to_string()).await.unwrap();
                let _ = tokio::time::timeout(Duration::from_secs(1), desk.approve(&opened)).await;
            }
        }
    });
    let asked = |held: &Held| format!("submit {}", held.digest());
    let twice = |heard: &[String], held| heard.iter().filter(|line| **line == asked(held)).count() > 1;
    let heard = liar.until("questions", |heard| twice(heard, &forked) && twice(heard, &swallowed));
    assert!(!heard.iter().any(|line| line.starts_with("cosign")), "the witness cosigned no fork: {heard:?}");
    until("the enclave's refusal", || {
        let refused = told(&tested, "enclave", "outcome refused", "refusal");
        refused.contains(&forged[3].0.name().to_owned()).then_some(())
    });
    assert_eq!(states(&tested, [&rubbish, &replayed, &forked, &swallowed]), [State::InReview; 4]);

    // The same through a console and an enclave that were taken over with it.
    hand_to_enclave(&mut tested, &forged);
    lay_into_outbox(&mut tested, &forged, &rubbish);
    assert_eq!(states(&tested, [&rubbish, &replayed, &forked, &swallowed]), [State::InReview; 4]);
    assert_no_row_outside(&tested);
    drop(liar);

    // The true log lacks what the witness has seen since. It does not go on as if nothing had happened.
    let home = tested.stage.home.clone();
    for room in ["signer", "console", "enclave"] {
        tested.stage.rooms().restart(&home, room).unwrap();
    }
    until("that it is noticed", || {
        told(&tested, "signer", "\"refused\"", "refusal")
            .contains(&"log-behind-witness".to_owned())
            .then_some(())
    });
    assert_eq!(states(&tested, [&forked, &swallowed]), [State::InReview; 2]);
}

/// A leaf of a log whose checkpoint no witness has cosigned.
fn unwitnessed(forger: &mut Forger, file: ReleaseFile, signer: &SecretKey) -> ReleaseFile {
    let leaf = file::leaf(Event::Release, &file.manifest, &signer.public()).unwrap();
    let index = forger.tree.append(leaf.hash());
    let hashes = forger.tree.inclusion_proof(index, forger.tree.size()).unwrap();
    file.with_proof(&LogProof { index, hashes, checkpoint: forger.checkpoint() })
}

fn states<const N: usize>(tested: &TestBox, held: [&Held; N]) -> [State; N] {
    held.map(|held| {
        wait(async { databox::job::state(&tested.bench("kim").await.job(&held.job()).await.unwrap()) })
    })
}

/// The enclave refuses each by its name, and a second release of one verdict as well.
fn hand_to_enclave(tested: &mut TestBox, forged: &[(Refusal, ReleaseFile)]) {
    tested.stage.rooms().kill("console");
    tested.stage.rooms().kill("enclave");
    let socket = tested.stage.home.join("run/console/console.sock").display().to_string();
    let mut words = vec!["enclave".to_owned(), socket];
    for (index, (_, file)) in forged.iter().enumerate() {
        let path: PathBuf = tested.directory().join(format!("forged-{index}"));
        std::fs::write(&path, file.to_bytes()).unwrap();
        words.push(format!("release:{}", path.display()));
    }
    let liar = Liar::start(tested, "console", CONSOLE, "forged", &words);
    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "enclave").unwrap();
    // All but one are about a verdict whose release is there already: the signer signs one manifest a verdict, ever.
    let expected: Vec<_> = forged
        .iter()
        .map(|(refusal, _)| match refusal {
            Refusal::ApprovalBinding => refusal.name().to_owned(),
            _ => Refusal::Rollback.name().to_owned(),
        })
        .collect();
    until("the refusals", || {
        let refused = told(tested, "enclave", "outcome refused", "refusal");
        (refused.len() >= expected.len()).then(|| assert_eq!(refused[..expected.len()], expected))
    });
    assert_eq!(liar.heard(), [""; 0], "nothing is acknowledged");
    let laid = std::fs::read_dir(home.join("hand-over/enclave-to-gateway")).unwrap().count();
    assert_eq!(laid, 0, "the outbox is empty");
}

/// The gateway verifies anew what lies in the outbox.
fn lay_into_outbox(tested: &mut TestBox, forged: &[(Refusal, ReleaseFile)], held: &Held) {
    tested.stage.rooms().kill("enclave");
    let outbox = tested.stage.home.join("hand-over/enclave-to-gateway");
    let store = BlobStore::open(&outbox, 0o640).unwrap();
    let socket = tested.stage.home.join("run/gateway/gateway.sock").display().to_string();
    let mut words = vec!["gateway".to_owned(), socket];
    for (_, file) in forged {
        let digest = store.put(&file.to_bytes()).unwrap();
        words.push(format!("release:{}:{digest}", held.job()));
    }
    let liar = Liar::start(tested, "enclave", ENCLAVE, "outbox", &words);
    until("the gateway's refusals", || {
        let passed = told(tested, "gateway", "was passed over", "event").len();
        (passed >= forged.len()).then_some(())
    });
    assert!(!liar.heard().iter().any(|line| line.starts_with("release-taken")));
    drop(liar);
    for file in std::fs::read_dir(&outbox).unwrap().flatten() {
        std::fs::remove_file(file.path()).unwrap();
    }
}
