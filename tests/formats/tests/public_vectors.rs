//! Vectors that others publish (`public/README.md`), run through our library. Each test prints how many there were.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::Digest;
use ed25519_dalek::{Signature, VerifyingKey};
use release::envelope::{Envelope, EnvelopeError};
use release::key::{SecretKey, Sign as _, enrolable, verify};
use release::log::merkle::{self, leaf_hash, verify_consistency, verify_inclusion};
use release::log::tiles::{new_tiles, read_bundle};
use release::log::{Checkpoint, Note, Tree, VerifierKey};
use release::statement::{PublicKey, Suite};
use release::value::Bytes;
use serde_json::Value;

fn set(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("public").join(name);
    serde_json::from_slice(&std::fs::read(path).expect("a set")).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().expect("text")
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

fn public(bytes: &[u8]) -> PublicKey {
    PublicKey { suite: Suite::Ed25519, public: Bytes(bytes.try_into().expect("32 bytes")) }
}

/// Whether a signature counts here: a key that may be enrolled, and the equation.
fn counts(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = <[u8; 64]>::try_from(signature) else { return false };
    let verified = verify(key, message, &signature.into()).is_ok();
    // Who signs is never asked of a key that could not be enrolled, whatever path leads there.
    assert!(enrolable(key).is_ok() || !verified);
    verified
}

#[test]
fn the_five_vectors_of_rfc_8032_are_signed_and_verified() {
    let set = set("rfc8032.json");
    for vector in list(&set) {
        let [seed, message, signature] =
            ["seed", "message", "signature"].map(|field| hex(text(vector, field)));
        let key = SecretKey::from_seed(seed.try_into().expect("32 bytes"));
        assert_eq!(key.public(), public(&hex(text(vector, "public"))));
        assert_eq!(key.sign(&message).to_vec(), signature);
        assert!(counts(&key.public(), &message, &signature));
        assert!(!counts(&key.public(), &[&message[..], b"x"].concat(), &signature));
    }
    assert_eq!(list(&set).len(), 5);
    println!("RFC 8032: 5 vectors signed and verified");
}

#[test]
fn of_the_cctv_vectors_exactly_those_without_an_edge_case_count() {
    let set = set("cctv-ed25519.json");
    let mut counted = 0;
    for vector in list(&set) {
        let [key, signature] = ["key", "sig"].map(|field| hex(text(vector, field)));
        let edge = vector["flags"].as_array().is_some_and(|flags| !flags.is_empty());
        let found = counts(&public(&key), text(vector, "msg").as_bytes(), &signature);
        assert_eq!(found, !edge, "vector {}", vector["number"]);
        counted += u32::from(found);
    }
    assert_eq!(list(&set).len(), 914);
    println!("CCTV Ed25519: 914 vectors, {counted} count, the others have an edge case each");
}

#[test]
fn for_keys_that_may_be_enrolled_we_agree_with_strict_verification_on_every_vector() {
    let mut compared = 0;
    for vector in list(&set("cctv-ed25519.json")) {
        let [key, signature] = ["key", "sig"].map(|field| hex(text(vector, field)));
        let key = public(&key);
        if enrolable(&key).is_err() {
            continue;
        }
        let message = text(vector, "msg").as_bytes();
        let strict = VerifyingKey::from_bytes(&key.public.0).expect("a key");
        let strict = strict.verify_strict(message, &Signature::from_slice(&signature).expect("64 bytes"));
        assert_eq!(counts(&key, message, &signature), strict.is_ok(), "vector {}", vector["number"]);
        compared += 1;
    }
    assert!(compared > 1);
    println!("CCTV Ed25519: {compared} vectors with a key of prime order, judged as strictly");
}

#[test]
fn wycheproof_vectors_come_out_as_they_say() {
    let set = set("wycheproof-ed25519.json");
    let (mut valid, mut invalid) = (0, 0);
    for group in list(&set["testGroups"]) {
        let key = public(&hex(text(&group["publicKey"], "pk")));
        for vector in list(&group["tests"]) {
            let found = counts(&key, &hex(text(vector, "msg")), &hex(text(vector, "sig")));
            assert_eq!(found, text(vector, "result") == "valid", "vector {}", vector["tcId"]);
            if found { valid += 1 } else { invalid += 1 }
        }
    }
    assert_eq!(Some(valid + invalid), set["numberOfTests"].as_u64());
    println!("Wycheproof Ed25519: {valid} valid and {invalid} invalid vectors");
}

/// A hash of another length than 32 bytes cannot even be asked for here. A digest of it stands in its place, and nothing
/// in that of an empty one.
fn hash(value: &Value) -> Option<Digest> {
    let bytes = STANDARD.decode(value.as_str()?).ok().filter(|bytes| !bytes.is_empty())?;
    let whole = bytes.as_slice().try_into().map(Digest::from_bytes);
    Some(whole.unwrap_or_else(|_| Digest::of(&[b"another length", &bytes[..]].concat())))
}

fn hashes(value: &Value) -> Option<Vec<Digest>> {
    value.as_array().map(|hashes| hashes.iter().map(hash).collect()).unwrap_or(Some(Vec::new()))
}

fn included(vector: &Value) -> Option<()> {
    let (leaf, root) = (hash(&vector["leafHash"])?, hash(&vector["root"])?);
    let [index, size] = ["leafIdx", "treeSize"].map(|field| vector[field].as_u64());
    verify_inclusion(&leaf, index?, size?, &hashes(&vector["proof"])?, &root).ok()
}

fn consistent(vector: &Value) -> Option<()> {
    let (old, new) = (hash(&vector["root1"])?, hash(&vector["root2"])?);
    let [old_size, new_size] = ["size1", "size2"].map(|field| vector[field].as_u64());
    verify_consistency(old_size?, &old, new_size?, &new, &hashes(&vector["proof"])?).ok()
}

/// Refused there, since it shows nothing. Here the empty tree is the beginning of every tree: a witness that never
/// cosigned a log says that it saw size 0, and C2SP's `tlog-witness` wants an empty proof then.
const FROM_NOTHING: &str = "testdata/consistency/additional/size1-is-zero-and-size2-is-not-zero.json";

#[test]
fn merkle_proofs_of_transparency_dev_come_out_as_they_say() {
    let set = set("merkle.json");
    let (mut holds, mut fails) = (0, 0);
    for (path, vector) in set.as_object().expect("vectors") {
        let found = if path.contains("/inclusion/") { included(vector) } else { consistent(vector) };
        let wanted = vector["wantErr"].as_bool() == Some(false) || path == FROM_NOTHING;
        assert_eq!(found.is_some(), wanted, "{path}");
        if wanted { holds += 1 } else { fails += 1 }
    }
    assert!(holds > 0 && fails > 100);
    println!(
        "transparency-dev/merkle: {holds} proofs that hold and {fails} that do not; of them 1 as we have it"
    );
}

#[test]
fn the_example_of_the_dsse_specification_is_encoded_alike_and_refused_as_no_statement() {
    // The specification's payload type and body, in its encoding, against ours for the same body.
    let example = "DSSEv1 29 http://example.com/HelloWorld 11 hello world";
    let ours =
        String::from_utf8(release::envelope::pre_authentication_encoding(b"hello world")).expect("text");
    let (ours_type, theirs_type) = ("28 application/vnd.in-toto+json", "29 http://example.com/HelloWorld");
    assert_eq!(ours.replace(ours_type, theirs_type), example);
    let envelope = r#"{"payload": "aGVsbG8gd29ybGQ=",
        "payloadType": "http://example.com/HelloWorld",
        "signatures": [{"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==", "keyid": ""}]}"#;
    let refused = Envelope::parse(envelope.as_bytes()).expect_err("another payload type");
    assert!(matches!(refused, EnvelopeError::PayloadType));
    println!("DSSE: 1 vector");
}

fn tessera_files() -> impl Fn(&str) -> Vec<u8> {
    let set = set("tessera-log.json");
    move |path| STANDARD.decode(set[path].as_str().unwrap_or_else(|| panic!("{path}"))).expect("base64")
}

/// The log's key stands in the set's build script.
const TESSERA_KEY: &str = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";

#[test]
fn a_log_that_tessera_wrote_is_read_and_would_be_written_alike() {
    let file = tessera_files();
    let key: VerifierKey = TESSERA_KEY.parse().expect("a key");
    let mut tree = Tree::new();
    let mut tiles = 0;
    for size in 0..=15u64 {
        if size > 0 {
            let bundle = read_bundle(&file(&format!("tile/entries/000.p/{size}")), size).expect("a bundle");
            tree.append(leaf_hash(bundle.last().expect("an entry")));
        }
        let note = Note::parse(&file(&format!("checkpoint.{size}"))).expect("a note");
        let head = Checkpoint::open(&note, &key).expect("the log's signature");
        assert_eq!((head.size, head.root), (size, tree.root()));
        let hashed = new_tiles(size.saturating_sub(1), size).into_iter().filter(|tile| tile.level.is_some());
        for tile in hashed {
            assert_eq!(tile.hashes(&tree), Some(file(&tile.path())), "{}", tile.path());
            tiles += 1;
        }
    }
    println!("Tessera: 16 checkpoints, 15 bundles and {tiles} tiles of a C2SP log");
}

#[test]
fn every_proof_in_tesseras_log_holds_between_its_own_checkpoints() {
    let file = tessera_files();
    let key: VerifierKey = TESSERA_KEY.parse().expect("a key");
    let heads: Vec<_> = (0..=15)
        .map(|size| {
            let note = Note::parse(&file(&format!("checkpoint.{size}"))).expect("a note");
            Checkpoint::open(&note, &key).expect("the log's signature")
        })
        .collect();
    let mut tree = Tree::new();
    let entries = read_bundle(&file("tile/entries/000.p/15"), 15).expect("a bundle");
    for entry in &entries {
        tree.append(leaf_hash(entry));
    }
    let mut proofs = 0;
    for new in &heads {
        for old in heads.iter().take(new.size as usize + 1) {
            let proof = tree.consistency_proof(old.size, new.size).expect("a proof");
            verify_consistency(old.size, &old.root, new.size, &new.root, &proof).expect("consistent");
            proofs += 1;
        }
        for index in 0..new.size {
            let proof = tree.inclusion_proof(index, new.size).expect("a proof");
            let leaf = leaf_hash(&entries[index as usize]);
            verify_inclusion(&leaf, index, new.size, &proof, &new.root).expect("included");
            proofs += 1;
        }
    }
    assert_eq!(heads[0].root, merkle::empty_root());
    println!("Tessera: {proofs} proofs between its checkpoints");
}
