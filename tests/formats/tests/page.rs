//! The page that verifies releases in a browser: Debian's Chromium opens it from `file://`, and every vector is chosen in
//! it as a person would.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use test_formats::vector::Vector;

/// Rules that the page checks: each vector that breaks one of them is refused by this name.
const CHECKED: [&str; 33] = [
    "approval-binding",
    "approval-by-requester",
    "approval-interest",
    "approval-signature",
    "approval-time",
    "approvals-organisations",
    "catalogue-signatures",
    "differencing",
    "envelope-form",
    "file-differs",
    "files-set",
    "grant-signatures",
    "json-form",
    "key-unusable",
    "log-inclusion",
    "log-time",
    "log-witnesses",
    "manifest-account",
    "manifest-evidence",
    "manifest-signature",
    "out-of-force",
    "policy-file",
    "policy-signatures",
    "request-grant",
    "request-signature",
    "revocation-signatures",
    "roles-order",
    "roles-pin",
    "roles-signatures",
    "signature-count",
    "size-limit",
    "verdict-blocked",
    "verdict-signature",
];

/// Rules that the page does not look at, or not at each of their parts: it may take such a release, and says at its top
/// what it leaves to `databox-verify`.
const NOT_WHOLE: [&str; 26] = [
    "approval-twice",
    "approvals-supervisor",
    "approvals-too-few",
    "catalogue-content",
    "code-review-binding",
    "code-review-evidence",
    "code-review-missing",
    "code-review-time",
    "judged-differently",
    "key-shared",
    "other-site",
    "request-content",
    "request-data",
    "request-runtime",
    "request-time",
    "revoked",
    "roles-content",
    "rollback",
    "statement-kind",
    "verdict-binding",
    "verdict-bits",
    "verdict-files",
    "verdict-reviewers",
    "verdict-rules",
    "verdict-time",
    "verdict-wall",
];

/// The one vector of a rule that the page looks at whose defect is in a review of code, at which it does not look.
const OF_CODE: &str = "approval-signature.code.vector";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../crates/databox-verify/page/verify.html")
        .canonicalize()
        .unwrap()
}

fn vectors() -> Vec<(String, Vector)> {
    let mut all: Vec<_> = std::fs::read_dir(test_formats::vector::directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, Vector::parse(&std::fs::read(path).unwrap()))
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// Lays a vector down as files, and gives what the driver is told of it.
fn laid(directory: &Path, name: &str, vector: &Vector) -> serde_json::Value {
    let own = directory.join(name);
    std::fs::create_dir(&own).unwrap();
    let release = own.join("vector.release.json");
    std::fs::write(&release, [&vector.release[..], &vec![b' '; vector.pad]].concat()).unwrap();
    let files = vector.files.iter().flatten().map(|(name, bytes)| {
        let path = own.join("files").join(name.as_str());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    });
    serde_json::json!({
        "release": release.display().to_string(),
        "files": files.collect::<Vec<_>>(),
        "pin": vector.roles.to_string(),
        "now": vector.now.to_string(),
        "onBox": vector.accept_on_box_witness,
    })
}

/// What the page says of each.
fn told(vectors: &[(String, Vector)]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let cases: Vec<_> = vectors.iter().map(|(name, vector)| laid(directory.path(), name, vector)).collect();
    let list = directory.path().join("cases.json");
    std::fs::write(&list, serde_json::to_vec(&cases).unwrap()).unwrap();
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("other-tools/page.py");
    let output = Command::new("/usr/bin/python3").arg(driver).arg(page()).arg(list).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}; .ci/run names the packages");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"))
}

#[test]
fn the_page_runs_its_own_script_only_and_may_ask_the_network_for_nothing() {
    let text = std::fs::read_to_string(page()).unwrap();
    let between = |begin: &str, end: &str| text.split_once(begin).unwrap().1.split_once(end).unwrap().0;
    let digest = |content: &str| STANDARD.encode(Sha256::digest(content));
    let (script, style) = (digest(between("<script>", "</script>")), digest(between("<style>", "</style>")));
    assert_eq!(
        between("content=\"default-src", "\""),
        format!(" 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'")
    );
    assert_eq!(text.matches("<script").count(), 1);
    for word in ["fetch(", "XMLHttpRequest", "WebSocket", "import(", "http://", "https://github", " src="] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn in_chromium_the_page_takes_every_good_vector_and_names_the_rule_that_a_bad_one_breaks() {
    let vectors = vectors();
    let mut by_name = 0;
    for ((name, vector), told) in vectors.iter().zip(told(&vectors)) {
        let Some(expected) = vector.expect.map(|refusal| refusal.name()) else {
            assert!(told.starts_with("VERIFIED "), "{name}: {told}");
            continue;
        };
        let named =
            told == format!("REFUSED {expected}") || told.starts_with(&format!("REFUSED {expected}:"));
        let may_be_taken = NOT_WHOLE.contains(&expected) && told.starts_with("VERIFIED ");
        if name == OF_CODE {
            assert!(told.starts_with("VERIFIED "), "{told}: the page looks at reviews of code now");
            continue;
        }
        assert!(told.starts_with("REFUSED ") || may_be_taken, "{name}: {told}");
        assert!(named || !CHECKED.contains(&expected), "{name}: {told}");
        by_name += usize::from(named);
    }
    assert!(by_name >= 180, "only {by_name} bad vectors are refused by their name");
    for rule in CHECKED {
        assert!(
            vectors.iter().any(|(_, vector)| vector.expect.is_some_and(|found| found.name() == rule)),
            "{rule}"
        );
    }
}
