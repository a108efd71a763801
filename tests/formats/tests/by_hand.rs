//! The page that verifies a release by hand is run as it is written: on the story's release, which holds, and on every
//! vector with a defect that the page says it looks for.

use std::path::Path;
use std::process::{Command, Output};

use test_formats::vector::Vector;

const PAGE: &str = include_str!("../../../docs/claims/by-hand.md");

/// Rules that the page asks for: each vector that breaks one of them is found.
const LOOKED_FOR: [&str; 19] = [
    "approval-binding",
    "approval-by-requester",
    "approval-time",
    "envelope-form",
    "file-differs",
    "files-set",
    "grant-signatures",
    "log-checkpoint",
    "log-inclusion",
    "manifest-signature",
    "policy-file",
    "policy-signatures",
    "request-signature",
    "revocation-signatures",
    "roles-pin",
    "roles-signatures",
    "statement-form",
    "verdict-blocked",
    "verdict-signature",
];

/// The text of each block of code, with what stands after the language.
fn blocks(language: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```").and_then(|rest| rest.strip_prefix(language)) else {
            continue;
        };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push((name.trim().to_owned(), text.join("\n") + "\n"));
    }
    blocks
}

/// Follows the page in a directory of its own.
fn by_hand(vector: &Vector, files: &[(String, Vec<u8>)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir_all(at("given")).unwrap();
    std::fs::create_dir(at("work")).unwrap();
    std::fs::write(at("given/one.release.json"), &vector.release).unwrap();
    for (name, bytes) in files {
        std::fs::write(at("given").join(name), bytes).unwrap();
    }
    for (name, text) in blocks("python ") {
        std::fs::write(at(&name), text).unwrap();
    }
    let steps: String = blocks("sh").into_iter().map(|(_, text)| text).collect();
    std::fs::write(at("steps.sh"), steps).unwrap();
    let mut shell = Command::new("bash");
    shell.arg("steps.sh").current_dir(directory.path()).env("PIN", vector.roles.to_string());
    shell.env("RELEASE", at("given")).env("TMPDIR", at("work"));
    shell.env("PATH", "/usr/bin:/bin").output().unwrap()
}

fn holds(output: &Output) -> bool {
    output.status.success() && output.stdout.ends_with(b"this release holds\n")
}

fn vector(path: &Path) -> Vector {
    Vector::parse(&std::fs::read(path).unwrap())
}

fn vectors() -> Vec<(String, Vector)> {
    let mut all: Vec<_> = std::fs::read_dir(test_formats::vector::directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), vector(&path)))
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// The released files of the story.
fn files() -> Vec<(String, Vec<u8>)> {
    let given =
        vectors().into_iter().find(|(name, vector)| name.starts_with("verified") && vector.files.is_some());
    let files = given.expect("a verified vector with files").1.files.unwrap();
    files.into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect()
}

fn plain() -> Vector {
    vector(&test_formats::vector::directory().join("verified.plain.vector"))
}

#[test]
fn thirty_lines_of_python_openssl_and_sha256sum_verify_a_release_as_the_page_says() {
    let said = by_hand(&plain(), &files());
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(holds(&said), "{out}{err}");
}

#[test]
fn an_altered_missing_or_surplus_file_is_found_by_hand() {
    let (plain, whole) = (plain(), files());
    for (index, (name, bytes)) in whole.iter().enumerate() {
        let mut files = whole.clone();
        files[index].1[bytes.len() / 2] ^= 1;
        assert!(!holds(&by_hand(&plain, &files)), "{name} altered");
        files.remove(index);
        assert!(!holds(&by_hand(&plain, &files)), "{name} missing");
    }
    let mut files = whole;
    files.push(("more".to_owned(), b"more".to_vec()));
    assert!(!holds(&by_hand(&plain, &files)), "one more");
    let mut elsewhere = plain;
    elsewhere.roles = blobs::Digest::of(b"another site");
    files.pop();
    assert!(!holds(&by_hand(&elsewhere, &files)), "another pin");
}

#[test]
fn by_hand_a_person_who_signs_with_openssh_counts_and_their_signature_in_another_form_does_not() {
    let files = files();
    let of_openssh: Vec<_> = vectors()
        .into_iter()
        .filter(|(name, _)| {
            name.contains(".ssh-steward")
                || name.contains(".ssh-researcher")
                || name.contains("signature.ssh-")
        })
        .collect();
    assert!(of_openssh.len() > 8, "{}", of_openssh.len());
    for (name, vector) in of_openssh {
        assert_eq!(holds(&by_hand(&vector, &files)), vector.expect.is_none(), "{name}");
    }
}

#[test]
fn by_hand_a_release_writes_nothing_outside_of_its_folder_and_replaces_no_key_that_is_trusted() {
    let files = files();
    for keyid in ["../keys/2/nobody.der", "../keys/2/steward-ben.der", "../roles-1/payload"] {
        let mut forged = plain();
        let mut release: serde_json::Value = serde_json::from_slice(&forged.release).unwrap();
        let signatures = release["approvals"][0]["signatures"].as_array_mut().unwrap();
        signatures.push(serde_json::json!({ "keyid": keyid, "sig": "AAAA" }));
        forged.release = serde_json::to_vec(&release).unwrap();
        assert!(!holds(&by_hand(&forged, &files)), "{keyid}");
    }
}

/// The page has no way to look at such a signature, and so must not let it pass.
#[test]
fn by_hand_a_signature_by_a_security_key_counts_for_nothing() {
    let files = files();
    for (name, vector) in vectors().into_iter().filter(|(name, _)| name.contains(".security-key")) {
        assert!(!holds(&by_hand(&vector, &files)), "{name}");
    }
}

#[test]
fn by_hand_every_release_that_breaks_a_rule_which_the_page_asks_for_is_found() {
    let files = files();
    for rule in LOOKED_FOR {
        let broken: Vec<_> = vectors()
            .into_iter()
            .filter(|(_, vector)| vector.expect.is_some_and(|found| found.name() == rule))
            .collect();
        assert!(!broken.is_empty(), "{rule} has no vector");
        for (name, vector) in broken {
            let given = vector.files.as_ref().map(|files| {
                files.iter().map(|(name, bytes)| (name.to_string(), bytes.clone())).collect::<Vec<_>>()
            });
            assert!(!holds(&by_hand(&vector, given.as_ref().unwrap_or(&files))), "{name} holds by hand");
        }
    }
}
