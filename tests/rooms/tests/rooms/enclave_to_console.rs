//! An enclave that was taken over has the data and the verdict key. The console takes no verdict that does not verify,
//! and no packet but the one that the verdict names, of the one size that it may have.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::{BlobStore, Digest};
use harness::TestBox;
use release::envelope::Envelope;
use release::key::SecretKey;
use release::statement::{Request, Verdict};
use release::value::Count;

use crate::held::{Held, approve, box_key, person_key, review_of};
use crate::{Liar, assert_no_row_outside, told, until, wait};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lying-enclave");

/// A verdict and the request beside it, as the liar hands them over.
type Pair = (Envelope, Envelope);

fn signed(held: &Held, key: &SecretKey, change: impl FnOnce(&mut Verdict)) -> Pair {
    let mut verdict = held.opened.verdict.clone();
    change(&mut verdict);
    (Envelope::sign(&verdict, &[key]).unwrap(), held.request.clone())
}

/// The verdict with another result under the old signature.
fn altered(held: &Held) -> Pair {
    let payload = String::from_utf8(held.verdict.payload().to_vec()).unwrap();
    let changed = payload.replacen("\"result\":\"PASS\"", "\"result\":\"BLOCKED\"", 1);
    assert_ne!(payload, changed);
    let text = String::from_utf8(held.verdict.to_bytes()).unwrap();
    let text = text.replace(&STANDARD.encode(payload), &STANDARD.encode(changed));
    (Envelope::parse(text.as_bytes()).unwrap(), held.request.clone())
}

/// A request that kim never made, and a verdict about it.
fn made_up_request(tested: &TestBox, held: &Held, key: &SecretKey) -> Pair {
    let mut request: Request = held.request.unverified().unwrap();
    request.nonce.0 = [9; 32];
    let request = Envelope::sign(&request, &[&person_key(tested, "lee")]).unwrap();
    let mut verdict = held.opened.verdict.clone();
    verdict.request = request.payload_digest().into();
    (Envelope::sign(&verdict, &[key]).unwrap(), request)
}

/// Lies about the verdict itself, each with its packet as it should be.
fn false_verdicts(tested: &TestBox, held: &Held, other: &Held, key: &SecretKey) -> Vec<Pair> {
    vec![
        signed(held, &box_key(tested, "signer"), |_| {}),
        signed(held, &box_key(tested, "log"), |_| {}),
        signed(held, &person_key(tested, "ana"), |_| {}),
        signed(held, &SecretKey::generate().unwrap(), |_| {}),
        altered(held),
        // About another request than the one beside it.
        (held.verdict.clone(), other.request.clone()),
        made_up_request(tested, held, key),
        // Cheaper than its files, or charged to nobody.
        signed(held, key, |verdict| verdict.released_bits = Count(1)),
        signed(held, key, |verdict| verdict.charges.clear()),
        signed(held, key, |verdict| verdict.verdict_bits = Count(0)),
        // A rule left out reads as if it had passed.
        signed(held, key, |verdict| drop(verdict.rules.remove(0))),
        // Sealed to a researcher, or to a steward under a key that is not theirs.
        signed(held, key, |verdict| verdict.reviewers[0].steward = "kim".parse().unwrap()),
        signed(held, key, |verdict| verdict.reviewers[0].review_key.0 = [9; 32]),
        // Open for as long as one likes.
        signed(held, key, |verdict| verdict.expires = verdict.expires.plus(400 * 24 * 3600)),
        // With a file that nobody declared.
        signed(held, key, |verdict| verdict.files[0].name = "rows.json".parse().unwrap()),
    ]
}

/// Lies about the packet, each under a verdict that is signed as it should be.
fn false_packets(tested: &TestBox, held: &Held, key: &SecretKey, laid: &Path) -> Vec<Pair> {
    let with_packet = |digest: Digest| signed(held, key, |verdict| verdict.packet = digest.into());
    let rows = std::fs::read(tested.directory().join("data/hie.csv")).unwrap();
    let size = usize::try_from(packet::sealed_size(held.opened.content.canonical_bytes())).unwrap();
    let store = BlobStore::open(laid, 0o640).unwrap();
    let missing = Digest::of(b"not there");
    let other_bytes = Digest::of(b"other bytes");
    std::fs::write(laid.join(other_bytes.to_string()), &rows).unwrap();
    let secret = tested.stage.home.tls("console", "key");
    let linked = Digest::of(&std::fs::read(&secret).unwrap());
    std::os::unix::fs::symlink(&secret, laid.join(linked.to_string())).unwrap();
    let larger = [rows.clone(), vec![0; size]].concat();
    let (larger, smaller) = (store.put(&larger).unwrap(), store.put(&rows[..1000]).unwrap());
    [missing, other_bytes, linked, larger, smaller].map(with_packet).into()
}

fn words(tested: &TestBox, pairs: &[Pair]) -> Vec<String> {
    let write = |envelope: &Envelope| -> PathBuf {
        let bytes = envelope.to_bytes();
        let path = tested.directory().join(Digest::of(&bytes).to_string());
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let word = |(verdict, request): &Pair| {
        format!("verdict:{}:{}", write(verdict).display(), write(request).display())
    };
    pairs.iter().map(word).collect()
}

#[test]
fn the_console_takes_no_verdict_and_no_packet_of_a_lying_enclave_that_does_not_verify_and_forgets_none() {
    let mut tested = TestBox::start_with_users();
    let [held, other, released] = wait(async {
        [
            Held::of_job(&tested, "one", "1").await,
            Held::of_job(&tested, "other", "2").await,
            Held::of_job(&tested, "released", "3").await,
        ]
    });
    let packet = released.opened.verdict.packet.sha256.to_string();
    let [laid_packet, kept_packet] = ["hand-over/enclave-to-console", "console/packets"]
        .map(|place| tested.stage.home.join(place).join(&packet));
    let copy = std::fs::read(&kept_packet).unwrap();
    wait(approve(&tested, &released.job()));
    until("the end of the packet", || (!kept_packet.exists()).then_some(()));
    tested.stage.rooms().kill("enclave");
    std::fs::write(&laid_packet, copy).unwrap();
    let key = box_key(&tested, "enclave");
    let laid = tested.stage.home.join("hand-over/enclave-to-console");
    let mut lies = false_verdicts(&tested, &held, &other, &key);
    lies.extend(false_packets(&tested, &held, &key, &laid));
    // What an enclave may say of another job it may say; but the packet is sealed to the request that it is about.
    let moved = signed(&held, &key, |verdict| verdict.request = other.opened.verdict.request).0;
    let moved = (moved, other.request.clone());
    lies.push(moved.clone());
    let socket = tested.stage.home.join("run/console/console.sock").display().to_string();
    let mut arguments = vec!["console".to_owned(), socket];
    arguments.extend(words(&tested, &lies));
    // That outcomes were taken which nobody has decided; a verdict that is there already, twice and in another order.
    arguments.extend([&held, &other].map(|held| format!("taken:{}", held.digest())));
    arguments.push("ready".to_owned());
    // That a review is withdrawn which the log has decided, or that nobody knows.
    let nobodys = Digest::of(b"nobody's");
    arguments.extend([released.digest(), nobodys, nobodys].map(|verdict| format!("withdrawn:{verdict}")));
    arguments.extend(words(&tested, &[(released.verdict.clone(), released.request.clone())]));
    let [first, second] = [&other, &held].map(|held| (held.verdict.clone(), held.request.clone()));
    arguments.extend(words(&tested, &[first.clone(), second, first]));
    let liar = Liar::start(&tested, "enclave", PROGRAM, "verdicts", &arguments);
    let heard = liar.until("every acknowledgement", |heard| heard.len() >= 7);
    let (withdrawn, heard): (Vec<_>, Vec<_>) =
        heard.into_iter().partition(|line| line.starts_with("withdrawal-taken "));
    assert_eq!(
        withdrawn,
        [0, 1].map(|_| format!("withdrawal-taken {nobodys}")),
        "there was nothing to withdraw"
    );
    let moved = moved.0.payload_digest();
    let taken = [moved, released.digest(), other.digest(), held.digest(), other.digest()];
    assert_eq!(
        heard,
        taken.map(|verdict| format!("verdict-taken {verdict}")),
        "nothing else is acknowledged"
    );
    until("the journal", || {
        (told(&tested, "console", "verdict not taken", "event").len() == lies.len() - 1).then_some(())
    });
    wait(async {
        let mut desk = tested.desk("ana").await;
        assert_eq!(desk.list().await.unwrap().len(), 4, "no further review");
        let refused = desk.open(&moved.to_string()).await.err().map(|failure| failure.reason);
        assert_eq!(refused.as_deref(), Some("PACKET_REFUSED"), "a packet of another request");
        // Its packet is still there, although the liar said that all was done.
        assert!(tested.desk("ben").await.open(&held.digest().to_string()).await.is_ok());
    });
    drop(liar);
    assert!(!kept_packet.exists(), "the packet of a decided review does not come back");
    // The hand-over directory is the enclave's own; what it laid there came no further.
    for kept in std::fs::read_dir(tested.stage.home.join("console/packets")).unwrap().flatten() {
        let bytes = std::fs::read(kept.path()).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"patient-"), "the console keeps a row");
    }
    for file in std::fs::read_dir(&laid).unwrap().flatten() {
        std::fs::remove_file(file.path()).unwrap();
    }
    assert_no_row_outside(&tested);

    let home = tested.stage.home.clone();
    tested.stage.rooms().restart(&home, "enclave").unwrap();
    let twin = wait(Held::of_job(&tested, "twin", "3"));
    assert!(wait(review_of(&tested, &twin.job())).review.is_some(), "an honest verdict is taken");
}
