//! The page that verifies releases in a browser: Debian's Chromium opens it from `file://`, and every vector is chosen in
//! it as a person would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use test_formats::vector::{self, Vector};

/// Rules that the page checks whole: exactly of these is each vector refused by this name.
const CHECKED: [&str; 36] = [
    "approval-binding",
    "approval-time",
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
    "request-data",
    "request-grant",
    "request-signature",
    "request-time",
    "revocation-signatures",
    "roles-order",
    "roles-pin",
    "roles-signatures",
    "signature-count",
    "size-limit",
    "verdict-bits",
    "verdict-blocked",
    "verdict-files",
    "verdict-reviewers",
    "verdict-signature",
    "verdict-time",
    "verdict-wall",
];

/// What the page refuses by its rule's name, though it does not check the whole rule.
const FOUND: [&str; 4] = [
    "judged-differently.question-of-a-quantile-unlooked.vector",
    "judged-differently.question-of-another-quantile.vector",
    "request-content.question-by-another-command.vector",
    "request-content.question-without-shares.vector",
];

/// What the page takes though it is wrong: how the vectors' names begin, and by which words the top of the page leaves it to
/// `databox-verify`.
const LEFT_OUT: [(&str, &str); 20] = [
    ("approval-by-requester.code.", "reviews of code"),
    ("approval-interest.code.", "reviews of code"),
    ("approval-signature.code.", "reviews of code"),
    ("approval-twice.code.", "reviews of code"),
    ("approvals-organisations.code.", "reviews of code"),
    ("approvals-supervisor.code.", "reviews of code"),
    ("approvals-too-few.code.", "reviews of code"),
    ("code-review-", "reviews of code"),
    ("other-site.code-approval.", "reviews of code"),
    ("statement-kind.approval-of-outputs-as-code.", "reviews of code"),
    ("catalogue-content.snapshot-twice.", "the content of requests, roles and catalogue"),
    ("catalogue-content.unit-column.", "the content of requests, roles and catalogue"),
    ("request-content.", "the content of requests, roles and catalogue"),
    ("roles-content.", "the content of requests, roles and catalogue"),
    ("judged-differently.", "not judge the files again"),
    ("revoked.recalled.", "whether a newer revocation recalls the release"),
    ("rollback.", "It remembers nothing"),
    ("verdict-rules.exempt.", "the verdict's guarantee"),
    ("verdict-rules.public-files-", "the verdict's guarantee"),
    ("verdict-rules.", "whether it names every rule that there is, once"),
];

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../crates/databox-verify/page/verify.html")
        .canonicalize()
        .unwrap()
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
    let vectors = vector::all();
    // Of each rule, whether every vector so far was refused by its name.
    let mut whole = BTreeMap::<&str, bool>::new();
    let (mut taken, mut found) = (Vec::new(), 0);
    for ((name, vector), told) in vectors.iter().zip(told(&vectors)) {
        let verified = told.starts_with("VERIFIED ");
        let Some(expected) = vector.expect.map(|refusal| refusal.name()) else {
            assert!(verified, "{name}: {told}");
            continue;
        };
        assert!(verified || told.starts_with("REFUSED "), "{name}: {told}");
        if verified {
            taken.push(name.clone());
        }
        let named =
            told == format!("REFUSED {expected}") || told.starts_with(&format!("REFUSED {expected}:"));
        *whole.entry(expected).or_insert(true) &= named;
        found += usize::from(named && FOUND.contains(&name.as_str()));
    }
    let page = std::fs::read_to_string(page()).unwrap();
    let said = page.split_once("<p>It does ").unwrap().1.split_once("</p>").unwrap().0;
    vector::nothing_else_is_taken(&taken, &LEFT_OUT, said);
    let whole: Vec<_> = whole.into_iter().filter(|(_, whole)| *whole).map(|(rule, _)| rule).collect();
    assert_eq!(whole, CHECKED);
    assert_eq!(found, FOUND.len());
}
