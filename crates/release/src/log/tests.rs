//! The published examples, and the rules that hold between the parts of the log.

use ed25519_dalek::{Signer, SigningKey};

use super::checkpoint::{cosign, cosignatures, quorum};
use super::witness::{AddCheckpoint, Head, WitnessRefusal};
use super::*;
use crate::signature::Signature;
use crate::value::Timestamp;

/// A log of five leaves, checked with Go's x/mod (sumdb note and tlog), OpenSSL 3 and securesystemslib when it was
/// made. Its leaf is older than the list of events, so the hash alone is compared.
const EXAMPLE_KEY: &str = "databox.example/box1/log+08d322a5+AU3H5s2M5HQ7cVbEmFRa3wKcJzHhHcco4kGrDRLD4FRp";
const EXAMPLE_PROOF: &str = "c2sp.org/tlog-proof@v1
index 3
7yq1hT4LFJ+UyRxfIy7Dn0cG9F6gfMfuFtYXup6O54c=
OMfPNK4i8ZJl5hpJfEp3bR2neIPLpwqSkvvkVdeAExo=
LuM4KfOZSR7hmAohQ83DBcYBe3qqZNfncQ2vad8QJcM=

databox.example/box1/log
5
vo5UDhAvuB+bsYLMx4J5A3FYOLphwR+QN3UUog6TePg=

— databox.example/box1/log CNMipa10bJ4bpI6fLW1Ad9lBeui/SCgOmy5lK7TZZsKyK+0eOoLTZdIv/TxhpE8sAu+pq7WJrX+XRlChpceqVM/d5QA=
";
const EXAMPLE_PAYLOAD: &str = r#"{"_type":"https://in-toto.io/Statement/v1","predicate":{"approvals":[{"digest":{"sha256":"ed21176f2d57a79c889fbec5a0fe69b805b1c8d527c2c5a8db57eae97750268e"},"steward":"steward-ana"},{"digest":{"sha256":"31cd35ec5ba28f8a5abf87dccb731acc3dca50226c0119b6a494c041cdf8f28c"},"steward":"steward-ben"}],"issuedAt":"2026-11-24T09:00:00Z","policy":{"digest":{"sha256":"e426cc9f890b08324ba43035dc17187ce7f7d92a6ae29d32b88346e62f431ce8"},"version":"7"},"prev":{"sha256":"e779122b71eb41fe12c220506edc95d53b641f495e6a2954c83c21a1318d7509"},"releaseId":"rel-0042","roles":{"digest":{"sha256":"546e6a02f9b45ecb877ade7d6c657d9d9f1fae4c8c25dba53533979f78059211"},"version":"4"},"seq":"3","verdict":{"sha256":"1639c20e5d482e4d5bc14bb91d8f5aadf96bc40524bf2b5877b8c71dd86d9321"}},"predicateType":"https://databox.example/spec/release-manifest/v1","subject":[{"digest":{"sha256":"2b68115c5606ef9a5aa8aa1ab9c3f67ed65a69d60a8c51a519021df8e5af9cb3"},"name":"weights.safetensors"}]}"#;
const EXAMPLE_KEY_ID: &str = "efaf77e919fd1437da94ba5534e779a3fd733993621ed7a954584805f6d39665";
const EXAMPLE_SIGNATURE: &str =
    "ul/z+BTJL/IAdmUuxj/vdzdDKhheCx3BNf7IaEtKTmkWRq+4oe6qxdBEUvhqMTA2eBTuMjftKU1GzVLy3le1Bg==";

#[test]
fn the_worked_example_verifies_and_its_leaf_is_rebuilt_from_the_statement() {
    let log: VerifierKey = EXAMPLE_KEY.parse().unwrap();
    assert_eq!(log.to_string(), EXAMPLE_KEY);
    let proof = LogProof::parse(EXAMPLE_PROOF.as_bytes()).unwrap();
    assert_eq!(proof.to_string(), EXAMPLE_PROOF);
    let signature = Signature::from_bytes(&parse_base64(EXAMPLE_SIGNATURE).unwrap()).unwrap();
    let signature = LeafSignature { key_id: EXAMPLE_KEY_ID.parse().unwrap(), signature };
    let leaf = Leaf::new(Event::Release, Digest::of(EXAMPLE_PAYLOAD.as_bytes()), [signature]).unwrap();
    let (head, cosigned) = proof.verify(&leaf, &log, &[]).unwrap();
    assert_eq!((head.size, cosigned.len()), (5, 0));

    let other = Leaf::new(Event::Denial, leaf.payload(), [signature]).unwrap();
    assert_eq!(proof.verify(&other, &log, &[]), Err(ProofError::Inclusion(MerkleError::RootDiffers)));
}

#[test]
fn the_example_of_the_signed_note_specification_verifies() {
    let key: VerifierKey =
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k".parse().unwrap();
    let text = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let note = Note::parse(text.as_bytes()).unwrap();
    assert_eq!(note.to_string(), text);
    let line = key.lines(&note).next().unwrap();
    assert_eq!(key.verify_raw(note.text().as_bytes(), &line.bytes), Ok(()));
    assert!(key.verify_raw(b"This is another message.\n", &line.bytes).is_err());
}

struct Signing {
    key: VerifierKey,
    secret: SigningKey,
}

impl Signing {
    fn new(name: &str, key_type: KeyType, seed: u8) -> Self {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let key = VerifierKey::new(name, key_type, secret.verifying_key().to_bytes()).unwrap();
        Self { key, secret }
    }

    fn log() -> Self {
        Self::new("site.example/log", KeyType::Log, 1)
    }

    fn witness(seed: u8) -> Self {
        Self::new(&format!("witness.example/{seed}"), KeyType::Witness, seed)
    }

    fn checkpoint(&self, tree: &Tree) -> Note {
        let head = Checkpoint { origin: self.key.name().to_owned(), size: tree.size(), root: tree.root() };
        head.sign(&self.key, |message| self.secret.sign(message).to_bytes()).unwrap()
    }

    fn cosign(&self, note: &Note, seconds: i64) -> NoteSignature {
        let time = Timestamp::from_seconds(seconds).unwrap();
        cosign(note.text(), &self.key, time, |message| self.secret.sign(message).to_bytes()).unwrap()
    }
}

fn leaf(number: u64) -> Leaf {
    let signature = LeafSignature { key_id: Digest::of(b"key"), signature: [7; 64].into() };
    Leaf::new(Event::Release, Digest::of(&number.to_be_bytes()), [signature]).unwrap()
}

fn tree(size: u64) -> Tree {
    let mut tree = Tree::new();
    (0..size).for_each(|number| {
        tree.append(leaf(number).hash());
    });
    tree
}

#[test]
fn a_key_has_one_text_and_its_id_is_checked() {
    let key = Signing::witness(3).key;
    let text = key.to_string();
    assert_eq!(text.parse(), Ok(key.clone()));
    let same_as_log = VerifierKey::new(key.name(), KeyType::Log, *key.public()).unwrap();
    assert_ne!(key.id(), same_as_log.id());
    for wrong in [
        text.replacen("witness", "witnes", 1),
        text.to_uppercase(),
        text.trim_end_matches('=').to_owned() + " ",
        format!("a b+{}", text.split_once('+').unwrap().1),
        text.replace('+', "-"),
    ] {
        assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong}");
    }
    assert_eq!(VerifierKey::new("", KeyType::Log, [0; 32]), Err(NoteError::KeyName));
    assert_eq!(VerifierKey::new("a\u{2003}b", KeyType::Log, [0; 32]), Err(NoteError::KeyName));
}

#[test]
fn lines_of_unknown_keys_are_ignored_and_a_bad_line_of_a_known_key_refuses_all() {
    let (log, stranger) = (Signing::log(), Signing::new("site.example/log", KeyType::Log, 9));
    let mut note = log.checkpoint(&tree(3));
    note.push(stranger.checkpoint(&tree(3)).signatures()[0].clone());
    assert_eq!(Checkpoint::open(&note, &log.key).unwrap().size, 3);
    assert_eq!(note.only(&[&log.key]).signatures().len(), 1);

    let mut bad = note.clone();
    bad.push(NoteSignature::new(&log.key, vec![1; 64]));
    let refused = Err(CheckpointError::Note(NoteError::BadSignature(log.key.name().to_owned())));
    assert_eq!(Checkpoint::open(&bad, &log.key), refused);

    let unsigned = note.only(&[&stranger.key]);
    assert_eq!(Checkpoint::open(&unsigned, &log.key), Err(CheckpointError::NotSigned));
}

#[test]
fn a_checkpoint_of_another_log_or_with_another_line_is_refused() {
    let log = Signing::log();
    let note = log.checkpoint(&tree(3));
    let other = Signing::new("other.example/log", KeyType::Log, 1);
    let wanted = CheckpointError::Origin(log.key.name().to_owned());
    assert_eq!(Checkpoint::open(&note, &other.key), Err(wanted));
    assert_eq!(Checkpoint::open(&note, &Signing::witness(1).key), Err(CheckpointError::KeyType));
    let text = note.text();
    for wrong in [
        format!("{text}extension\n"),
        text.replace("\n3\n", "\n03\n"),
        text.replace("\n3\n", "\n+3\n"),
        text.replace("\n3\n", "\n3\r\n"),
        text.replace("=\n", "\n"),
        text.trim_end().to_owned(),
        text.replacen(log.key.name(), "", 1),
    ] {
        assert_eq!(Checkpoint::parse(&wrong), Err(CheckpointError::Text), "{wrong}");
        let of_any = Checkpoint::parse_of_any_log(&wrong).is_ok();
        assert_eq!(
            of_any,
            wrong.ends_with("extension\n"),
            "a witness takes further lines and nothing else: {wrong}"
        );
    }
    for blank in [format!("{text}\n"), format!("{text}one\n\n"), format!("{text}one\n\ntwo\n")] {
        assert_eq!(Checkpoint::parse_of_any_log(&blank), Err(CheckpointError::Text), "{blank}");
    }
}

#[test]
fn notes_that_could_be_read_in_two_ways_are_refused() {
    let note = Signing::log().checkpoint(&tree(3)).to_string();
    assert!(Note::parse(note.as_bytes()).is_ok());
    for (wrong, error) in [
        (note.trim_end().to_owned(), NoteError::Text),
        (note.replace('\n', "\r\n"), NoteError::Text),
        (note.replacen("\n\n", "\n", 1), NoteError::Text),
        (note.split_once("\n\n").unwrap().0.to_owned() + "\n\n", NoteError::Text),
        (note.replace("— ", "- "), NoteError::SignatureLine),
        (note.replace("— ", "—  "), NoteError::SignatureLine),
        (note.clone() + "text\n", NoteError::SignatureLine),
        (note.clone() + "— a AAAAAA==\n", NoteError::SignatureLine),
        (note.clone() + &"— a AAAAAAA=\n".repeat(SIGNATURES), NoteError::TooManySignatures),
        (note.clone() + &"a".repeat(note::NOTE_LIMIT), NoteError::TooLarge),
    ] {
        assert_eq!(Note::parse(wrong.as_bytes()), Err(error), "{wrong:.200}");
    }
    assert_eq!(Note::parse(b"text\xff\n\n\xe2\x80\x94 a AAAAAAA=\n"), Err(NoteError::Text));
    assert!(Note::parse((note + &"— a AAAAAAA=\n".repeat(SIGNATURES - 1)).as_bytes()).is_ok());
}

const SIGNATURES: usize = note::SIGNATURE_LIMIT;

#[test]
fn a_quorum_counts_different_keys_and_never_the_logs_own() {
    let (log, one, two) = (Signing::log(), Signing::witness(2), Signing::witness(3));
    let alias = Signing::new("alias.example/2", KeyType::Witness, 2);
    let own = Signing::new("own.example", KeyType::Witness, 1);
    let mut note = log.checkpoint(&tree(3));
    for (signing, time) in [(&one, 300), (&one, 200), (&alias, 100), (&own, 50)] {
        note.push(signing.cosign(&note.clone(), time));
    }
    let keys = [&one, &two, &alias, &own].map(|signing| signing.key.clone());
    let cosigned = cosignatures(&note, &keys).unwrap();
    assert_eq!(cosigned.len(), 3);
    assert_eq!(cosigned[0].time.seconds(), 200);
    assert_eq!(quorum(&cosigned, &log.key, 1), Ok(()));
    assert_eq!(quorum(&cosigned, &log.key, 2), Err(CheckpointError::Quorum { needed: 2, found: 1 }));
    note.push(two.cosign(&note.clone(), 400));
    assert_eq!(quorum(&cosignatures(&note, &keys).unwrap(), &log.key, 2), Ok(()));
}

#[test]
fn a_cosignature_holds_for_its_head_and_its_time_alone() {
    let (log, witness) = (Signing::log(), Signing::witness(2));
    let keys = [witness.key.clone()];
    let mut right = log.checkpoint(&tree(3));
    let line = witness.cosign(&right, 1000);
    right.push(line.clone());
    assert_eq!(cosignatures(&right, &keys).unwrap()[0].time.seconds(), 1000);

    let mut later = right.only(&[&log.key]);
    let mut changed = line.clone();
    changed.bytes[7] ^= 1;
    later.push(changed);
    assert!(cosignatures(&later, &keys).is_err());

    let mut elsewhere = log.checkpoint(&tree(4));
    elsewhere.push(line);
    assert!(cosignatures(&elsewhere, &keys).is_err());
    let epoch = Timestamp::from_seconds(0).unwrap();
    let refused = cosign(right.text(), &witness.key, epoch, |_| [0; 64]);
    assert_eq!(refused, Err(CheckpointError::CosignatureTime));
}

#[test]
fn a_proof_has_one_text_and_its_defects_are_refused() {
    let (log, tree) = (Signing::log(), tree(6));
    let hashes = tree.inclusion_proof(4, 6).unwrap();
    let proof = LogProof { index: 4, hashes, checkpoint: log.checkpoint(&tree) };
    let text = proof.to_string();
    assert_eq!(LogProof::parse(text.as_bytes()), Ok(proof.clone()));
    assert!(proof.verify(&leaf(4), &log.key, &[]).is_ok());
    for wrong in [
        text.replace("@v1\n", "@v2\n"),
        text.replace("index 4", "index 04"),
        text.replace("index 4", "extra AAAA\nindex 4"),
        text.replacen("=\n", "\n", 1),
        text.replacen('\n', "\r\n", 1),
        text.replace("index 4\n", &format!("index 4\n{}", format!("{}=\n", "A".repeat(43)).repeat(64))),
    ] {
        assert_eq!(LogProof::parse(wrong.as_bytes()), Err(ProofError::Text), "{wrong}");
    }
    for index in [0, 3, 5, 6, u64::MAX] {
        assert!(LogProof { index, ..proof.clone() }.verify(&leaf(4), &log.key, &[]).is_err());
    }
    let longer = LogProof { hashes: [proof.hashes.clone(), vec![tree.root()]].concat(), ..proof };
    assert_eq!(longer.verify(&leaf(4), &log.key, &[]), Err(ProofError::Inclusion(MerkleError::ProofLength)));
}

fn request(log: &Signing, old: u64, tree: &Tree) -> AddCheckpoint {
    let proof = tree.consistency_proof(old, tree.size()).unwrap();
    AddCheckpoint { old, proof, checkpoint: log.checkpoint(tree) }
}

fn head(tree: &Tree) -> Head {
    Head { size: tree.size(), root: tree.root() }
}

#[test]
fn a_witness_follows_a_log_that_grows() {
    let log = Signing::log();
    let mut last = Head::empty();
    for size in [0, 0, 1, 2, 2, 5, 64, 65] {
        let tree = tree(size);
        let body = request(&log, last.size, &tree).to_string();
        last = AddCheckpoint::parse(body.as_bytes()).unwrap().decide(Some(&log.key), &last).unwrap();
        assert_eq!(last, head(&tree));
    }
}

#[test]
fn a_witness_refuses_each_defect_by_its_own_name() {
    let log = Signing::log();
    let (old, new) = (tree(3), tree(7));
    let last = head(&old);
    let good = request(&log, 3, &new);
    let decide = |request: &AddCheckpoint| request.decide(Some(&log.key), &last);
    assert_eq!(decide(&good), Ok(head(&new)));

    assert_eq!(good.decide(None, &last), Err(WitnessRefusal::UnknownLog));
    let other = Signing::new("other.example/log", KeyType::Log, 1);
    assert_eq!(good.decide(Some(&other.key), &last), Err(WitnessRefusal::UnknownLog));
    let forged = request(&Signing::new(log.key.name(), KeyType::Log, 9), 3, &new);
    assert_eq!(decide(&forged), Err(WitnessRefusal::NotSigned));
    let mut bad = good.clone();
    bad.checkpoint.push(NoteSignature::new(&log.key, vec![0; 64]));
    assert_eq!(decide(&bad), Err(WitnessRefusal::NotSigned));
    for size in [0, 2, 4, 7] {
        let conflict = decide(&request(&log, size, &new)).unwrap_err();
        assert_eq!(conflict, WitnessRefusal::Conflict { size: 3 });
        assert_eq!((conflict.status(), conflict.body().0.as_str()), (409, "3\n"));
    }
    assert_eq!(decide(&AddCheckpoint { old: 8, ..good.clone() }), Err(WitnessRefusal::Malformed));
    assert_eq!(decide(&AddCheckpoint { proof: vec![], ..good.clone() }), Err(WitnessRefusal::Inconsistent));

    let mut fork = tree(2);
    (0..5).for_each(|number| {
        fork.append(leaf(100 + number).hash());
    });
    assert_eq!(decide(&request(&log, 3, &fork)), Err(WitnessRefusal::Inconsistent));
    let same_size = request(&log, 7, &fork);
    assert_eq!(same_size.decide(Some(&log.key), &head(&new)), Err(WitnessRefusal::Inconsistent));
    let surplus = AddCheckpoint { old: 0, ..good };
    assert_eq!(surplus.decide(Some(&log.key), &Head::empty()), Err(WitnessRefusal::Inconsistent));
}

#[test]
fn a_request_has_one_form() {
    let text = request(&Signing::log(), 3, &tree(7)).to_string();
    assert!(AddCheckpoint::parse(text.as_bytes()).is_ok());
    for wrong in [
        text.replace("old 3", "old 03"),
        text.replace("old 3", "old  3"),
        text.replace("old 3\n", ""),
        text.replacen("\n\n", "\n", 1),
        text.replacen("=\n", "=\r\n", 1),
        text.trim_end().to_owned(),
        "old 0\n".to_owned()
            + &format!("{}=\n", "A".repeat(43)).repeat(64)
            + text.split_once("\n\n").unwrap().1,
        String::new(),
    ] {
        assert_eq!(AddCheckpoint::parse(wrong.as_bytes()), Err(WitnessRefusal::Malformed), "{wrong}");
    }
}
