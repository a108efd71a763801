//! What key files promise: they open with their passphrase only, are never replaced, and `openssl` reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use packet::key::{
    KeyFileError, KeyKind, PersonKeys, REVIEW_FILE, SIGNING_FILE, read_review, read_signing, write_signing,
};
use release::key::{SecretKey, Sign as _, to_public_pem};

const PASSPHRASE: &str = "a passphrase with ü";

fn written() -> (tempfile::TempDir, PersonKeys) {
    let directory = tempfile::tempdir().unwrap();
    let keys = PersonKeys::generate().unwrap();
    keys.write(directory.path(), PASSPHRASE).unwrap();
    (directory, keys)
}

fn same(one: &PersonKeys, other: &PersonKeys) -> bool {
    one.signing.public() == other.signing.public() && one.review.public() == other.review.public()
}

#[test]
fn keys_are_read_back_with_their_passphrase_and_with_no_other() {
    let (directory, keys) = written();
    assert!(same(&keys, &PersonKeys::read(directory.path(), PASSPHRASE).unwrap()));
    let signing = directory.path().join(SIGNING_FILE);
    for wrong in ["a passphrase with u", "", "a passphrase with ü "] {
        assert!(matches!(read_signing(&signing, wrong), Err(KeyFileError::WrongPassphrase { .. })));
    }
}

#[test]
fn files_are_private_and_never_replaced() {
    let (directory, keys) = written();
    for file in [SIGNING_FILE, REVIEW_FILE] {
        let mode = fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
    let other = PersonKeys::generate().unwrap();
    assert!(matches!(other.write(directory.path(), PASSPHRASE), Err(KeyFileError::AlreadyThere { .. })));
    assert!(same(&keys, &PersonKeys::read(directory.path(), PASSPHRASE).unwrap()));
    // One of the two is enough to refuse both: a pair is one person's.
    fs::remove_file(directory.path().join(SIGNING_FILE)).unwrap();
    assert!(matches!(other.write(directory.path(), PASSPHRASE), Err(KeyFileError::AlreadyThere { .. })));
    assert!(!directory.path().join(SIGNING_FILE).exists());
}

#[test]
fn a_short_passphrase_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let key = SecretKey::from_seed([1; 32]);
    let path = directory.path().join("key");
    assert!(matches!(write_signing(&path, &key, "1234567"), Err(KeyFileError::PassphraseTooShort)));
    assert!(!path.exists());
}

#[test]
fn what_is_no_such_key_is_refused_by_name() {
    let (directory, keys) = written();
    let (signing, review) = (directory.path().join(SIGNING_FILE), directory.path().join(REVIEW_FILE));
    assert!(matches!(
        read_signing(&review, PASSPHRASE),
        Err(KeyFileError::OtherKind { wanted: KeyKind::Signing, .. })
    ));
    assert!(matches!(
        read_review(&signing, PASSPHRASE),
        Err(KeyFileError::OtherKind { wanted: KeyKind::Review, .. })
    ));
    let other = directory.path().join("other");
    assert!(matches!(read_signing(&other, PASSPHRASE), Err(KeyFileError::Missing { .. })));
    let public = to_public_pem(&keys.signing.public());
    for text in ["", "not PEM", &public] {
        fs::write(&other, text).unwrap();
        assert!(matches!(read_signing(&other, PASSPHRASE), Err(KeyFileError::Form { .. })));
    }
    fs::write(&other, [0xff, 0xfe]).unwrap();
    assert!(matches!(read_signing(&other, PASSPHRASE), Err(KeyFileError::Form { .. })));
    fs::write(&other, keys.signing.to_pkcs8_pem().as_bytes()).unwrap();
    assert!(matches!(read_signing(&other, PASSPHRASE), Err(KeyFileError::NotEncrypted { .. })));
}

/// Runs openssl and returns its standard output, or nothing if it refuses.
fn openssl(arguments: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    output.status.success().then_some(output.stdout)
}

fn openssl_is_here() -> bool {
    let here = Command::new("openssl").arg("version").output().is_ok();
    if !here {
        eprintln!("SKIPPED: no openssl on this machine, so nothing was compared with it");
    }
    here
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn openssl_reads_our_keys_and_finds_the_same_public_keys() {
    if !openssl_is_here() {
        return;
    }
    let (directory, keys) = written();
    let pass = format!("pass:{PASSPHRASE}");
    let signing = directory.path().join(SIGNING_FILE);
    let public = openssl(&["pkey", "-in", text(&signing), "-passin", &pass, "-pubout"]).unwrap();
    assert_eq!(without_newlines(&public), without_newlines(to_public_pem(&keys.signing.public()).as_bytes()));
    let review = directory.path().join(REVIEW_FILE);
    let der =
        openssl(&["pkey", "-in", text(&review), "-passin", &pass, "-pubout", "-outform", "DER"]).unwrap();
    assert_eq!(der[der.len() - 32..], keys.review.public());
    assert_eq!(openssl(&["pkey", "-in", text(&signing), "-passin", "pass:another one"]), None);
}

fn without_newlines(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| *byte != b'\n').collect()
}

#[test]
fn keys_that_openssl_makes_with_scrypt_are_read_and_weaker_ones_refused() {
    if !openssl_is_here() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (plain, strong, weak) =
        (directory.path().join("plain"), directory.path().join("strong"), directory.path().join("weak"));
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", text(&plain)]).unwrap();
    let encrypt = |to: &Path, how: &[&str]| {
        let pass = ["pkcs8", "-topk8", "-in", text(&plain), "-out", text(to), "-passout", "pass:password"];
        openssl(&[&pass, how].concat()).unwrap()
    };
    encrypt(&strong, &["-scrypt", "-v2", "aes-256-cbc"]);
    let der = openssl(&["pkey", "-in", text(&plain), "-pubout", "-outform", "DER"]).unwrap();
    let key = read_signing(&strong, "password").unwrap();
    assert_eq!(key.public().public.0, der[der.len() - 32..]);
    // The default of openssl is PBKDF2 with 2048 rounds: a graphics card tries millions of passphrases a second.
    encrypt(&weak, &["-v2", "aes-256-cbc"]);
    assert!(matches!(read_signing(&weak, "password"), Err(KeyFileError::Encryption { .. })));
}
