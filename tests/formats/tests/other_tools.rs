//! Other people's tools agree with us: securesystemslib and in-toto-attestation on envelopes and statements, and the two
//! packages of Go's own checksum database on the log.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use blobs::Digest;
use release::envelope::Envelope;
use test_formats::vector::Vector;

fn vector() -> Vector {
    let path = test_formats::vector::directory().join("verified.plain.vector");
    Vector::parse(&std::fs::read(path).unwrap())
}

fn plain() -> Vec<u8> {
    vector().release
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("other-tools")
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; .ci/run names the packages"))
}

fn succeeded(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Python with the listed packages. They are fetched once for each list.
fn python() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("other-tools");
        let requirements = tools().join("requirements.txt");
        let wanted = std::fs::read(&requirements).unwrap();
        let installed = directory.join("installed.txt");
        if std::fs::read(&installed).ok().as_ref() != Some(&wanted) {
            let venv = directory.join("venv");
            succeeded(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&venv));
            let mut install = Command::new(venv.join("bin/pip"));
            succeeded(install.args(["install", "--quiet", "--requirement"]).arg(&requirements));
            std::fs::write(&installed, &wanted).unwrap();
        }
        directory.join("venv/bin/python")
    })
}

/// Has securesystemslib and in-toto-attestation read a release file. They write the request, signed anew, to `signed`.
fn envelopes(release: &[u8], signed: &Path) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), release).unwrap();
    // The example's keys are made of public words.
    let seed = Digest::of(b"databox-example-key researcher-mia").to_string();
    run(Command::new(python()).arg(tools().join("envelopes.py")).arg(file.path()).arg(seed).arg(signed))
}

/// Has Go's note and tlog read the log's part of a release file with this entry.
fn log(release: &[u8], leaf: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let (file, entry) = (directory.path().join("release.json"), directory.path().join("leaf"));
    std::fs::write(&file, release).unwrap();
    std::fs::write(&entry, leaf).unwrap();
    let mut go = Command::new("go");
    go.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
    go.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"));
    run(go.arg("run").arg(tools().join("log.go")).arg(file).arg(entry))
}

/// The release's entry in the log, made as `docs/formats/log.md` says.
fn leaf(release: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(release).unwrap();
    let manifest = Envelope::parse(value["manifest"].to_string().as_bytes()).unwrap();
    let signature = &value["manifest"]["signatures"][0];
    let word = |name: &str| signature[name].as_str().unwrap().to_owned();
    format!("databox-leaf/v1\nrelease\n{}\n{}\n{}\n", manifest.payload_digest(), word("keyid"), word("sig"))
}

/// The same text with one letter changed where this piece begins.
fn altered(release: &[u8], piece: &str) -> Vec<u8> {
    let text = String::from_utf8(release.to_vec()).unwrap();
    let place = text.find(piece).unwrap() + piece.len() + 20;
    let mut bytes = text.into_bytes();
    bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
    bytes
}

#[test]
fn securesystemslib_and_in_toto_verify_every_statement_and_we_read_what_they_sign() {
    let release = plain();
    let directory = tempfile::tempdir().unwrap();
    let signed = directory.path().join("request.json");
    let read = envelopes(&release, &signed);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_eq!(String::from_utf8(read.stdout).unwrap().trim(), "12");
    // In the place of ours, under the name that they give the key, the release still verifies.
    let theirs: serde_json::Value = serde_json::from_slice(&std::fs::read(&signed).unwrap()).unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&release).unwrap();
    assert_ne!(value["request"], theirs);
    value["request"] = theirs;
    let mut vector = vector();
    vector.release = value.to_string().into_bytes();
    let examined = vector.examine();
    assert!(examined.result.is_ok(), "{:?}", examined.result.err());
    let wrong = envelopes(&altered(&release, "\"sig\":\""), &signed);
    assert!(!wrong.status.success(), "they refuse a wrong signature");
}

#[test]
fn gos_checksum_database_verifies_our_checkpoint_its_witness_and_the_proof() {
    let release = plain();
    let leaf = leaf(&release);
    let read = log(&release, &leaf);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let said = String::from_utf8(read.stdout).unwrap();
    assert_eq!(said.trim(), "9 hospital.example/databox/log witness.school.example/one");
    assert!(!log(&release, &leaf.replace("release", "denial")).status.success(), "another entry");
    assert!(
        !log(&altered(&release, "— hospital.example/databox/log "), &leaf).status.success(),
        "a forged head"
    );
}
