//! The page that verifies a release by hand is run as it is written, on every vector: what does not come out as the vector
//! says must be named in the page's last section.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use release::file::ReleaseFile;
use release::statement::Manifest;
use test_formats::vector::{self, Vector};

const PAGE: &str = include_str!("../../../docs/claims/by-hand.md");

/// What holds by hand though it is wrong: how the vectors' names begin, and by which words the page says so.
const LEFT_OUT: [(&str, &str); 17] = [
    ("catalogue-content.", CONTENT),
    ("differencing.", "whether tables were compared with those of other verdicts"),
    ("json-form.media-type.", "surplus fields and the media type of the release file"),
    ("json-form.unknown-field.", "surplus fields and the media type of the release file"),
    ("judged-differently.", "whether the canonical form and the bits follow from the files"),
    ("key-shared.review-key.", "review keys"),
    ("key-unusable.witness.", "keys of small or mixed order"),
    ("log-form.", "the form of the log's proof beyond its hashes and signatures"),
    ("request-content.", CONTENT),
    ("request-runtime.code-for-questions.", "whether a runtime is one for questions"),
    ("revoked.recalled.", "whether a newer revocation recalls the release"),
    ("roles-content.", CONTENT),
    ("rollback.", "This page has no memory"),
    ("verdict-files.counts-of-code.", "whose word counts are"),
    ("verdict-files.precision-missing.", "whether a precision that was chosen is stated"),
    ("verdict-reviewers.", "to whom the packet for review was sealed"),
    ("verdict-rules.", "whether the verdict names every rule, once, and what its guarantee says"),
];
const CONTENT: &str = "what the catalogue, the roles and the request may contain";

/// What does not hold by hand though it is sound, and by which words the page says so. A wrong one whose twin is among them
/// may be found for that reason alone.
const NOT_LIKE_THE_EXAMPLE: [(&str, &str); 20] = [
    ("verified.code-review-expired-since.vector", "with reviews of code"),
    ("verified.code-reviewed-by-others.vector", "with reviews of code"),
    ("verified.code-reviewed.vector", "with reviews of code"),
    ("verified.cosigned-twice.vector", "two cosignatures of one"),
    ("verified.devices.vector", "with devices"),
    ("verified.last-of-several-roles.vector", "with members or people who have several keys"),
    ("verified.on-box-witness-accepted.vector", "none but a witness on the box's own machine"),
    ("verified.other-key-ids.vector", "with key ids that are not SHA-256 of the key"),
    ("verified.precision-chosen.vector", "with an evaluation of weights"),
    ("verified.precision-kept.vector", "with an evaluation of weights"),
    ("verified.question-of-a-quantile.vector", "with a question in place of code"),
    ("verified.question-with-noise.vector", "with a question in place of code"),
    ("verified.question.vector", "with a question in place of code"),
    ("verified.roles-changed-in-review.vector", "with roles that changed between verdict and signature"),
    ("verified.security-key-with-pin-unasked.vector", "with keys in security keys"),
    ("verified.security-key-with-pin.vector", "with keys in security keys"),
    ("verified.security-key.vector", "with keys in security keys"),
    ("verified.supervisor-approves.vector", "with supervisors"),
    ("verified.two-witnesses.vector", "with more than one witness in the quorum"),
    ("verified.url-safe-base64.vector", "with base64 in the alphabet for URLs"),
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

/// Follows the page.
fn by_hand(vector: &Vector, files: &[(String, Vec<u8>)]) -> Output {
    let steps: String = blocks("sh").into_iter().map(|(_, text)| text).collect();
    follow(&steps, vector, files)
}

/// Follows these steps in a directory of its own.
fn follow(steps: &str, vector: &Vector, files: &[(String, Vec<u8>)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir_all(at("given")).unwrap();
    std::fs::create_dir(at("work")).unwrap();
    std::fs::write(at("given/one.release.json"), vector.release_bytes()).unwrap();
    for (name, bytes) in files {
        std::fs::write(at("given").join(name), bytes).unwrap();
    }
    for (name, text) in blocks("python ") {
        std::fs::write(at(&name), text).unwrap();
    }
    std::fs::write(at("steps.sh"), steps).unwrap();
    let mut shell = Command::new("bash");
    shell.arg("steps.sh").current_dir(directory.path()).env("PIN", vector.roles.to_string());
    shell.env("RELEASE", at("given")).env("TMPDIR", at("work"));
    shell.env("PATH", "/usr/bin:/bin").output().unwrap()
}

fn holds(output: &Output) -> bool {
    output.status.success() && output.stdout.ends_with(b"this release holds\n")
}

/// The released files of the story.
fn files() -> Vec<(String, Vec<u8>)> {
    let given = vector::all()
        .into_iter()
        .find(|(name, vector)| name.starts_with("verified") && vector.files.is_some());
    let files = given.expect("a verified vector with files").1.files.unwrap();
    files.into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect()
}

fn plain() -> Vector {
    let plain = vector::all().into_iter().find(|(name, _)| name == "verified.plain.vector");
    plain.expect("the story's own release").1
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
    let of_openssh: Vec<_> = vector::all()
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

/// The vector with a weak wall has another grant than the page's example, which is found first. So the page is told of the
/// grant's walls here, as whoever knows that grant would be.
#[test]
fn by_hand_a_wall_that_the_grant_does_not_allow_is_found() {
    let (plain, files) = (plain(), files());
    let steps: String = blocks("sh").into_iter().map(|(_, text)| text).collect();
    let all = "walls='native oci vm-emulated oci-gvisor vm'";
    assert!(steps.contains(all));
    let least = "says grant \"\\\"leastWall\\\":\\\"${walls%% *}\\\"\"\n";
    assert!(steps.contains(least));
    let asked = |walls: &str| steps.replace(all, &format!("walls='{walls}'")).replace(least, "");
    let said = follow(&asked("oci vm-emulated oci-gvisor vm"), &plain, &files);
    assert!(!holds(&said) && said.stdout.ends_with(b"the wall was native\n"));
    assert!(holds(&follow(&asked("native oci"), &plain, &files)));
}

/// Whether each holds by hand, by name; several at once, since most of the time goes into starting programs.
fn all_by_hand(vectors: &[(String, Vector)]) -> Vec<(String, bool)> {
    let (files, next) = (files(), AtomicUsize::new(0));
    let work = || {
        let mut told = Vec::new();
        while let Some((name, vector)) = vectors.get(next.fetch_add(1, Ordering::Relaxed)) {
            let files = given(vector, &files);
            told.push((name.clone(), holds(&by_hand(vector, &files))));
        }
        told
    };
    let mut told: Vec<_> = std::thread::scope(|scope| {
        let at_work: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        at_work.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    told.sort();
    told
}

/// The files that come with a vector: its own, or of the story's those that its manifest names.
fn given(vector: &Vector, files: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    if let Some(files) = &vector.files {
        return files.iter().map(|(name, bytes)| (name.to_string(), bytes.clone())).collect();
    }
    let manifest =
        ReleaseFile::parse(&vector.release).and_then(|file| file.manifest.unverified::<Manifest>());
    let named = |name: &String| {
        manifest.as_ref().is_ok_and(|manifest| manifest.files.iter().any(|file| file.name.as_str() == name))
    };
    let all = manifest.is_err();
    files.iter().filter(|(name, _)| all || named(name)).cloned().collect()
}

/// The last section of the page.
fn leaves_out() -> &'static str {
    PAGE.split_once("## What this leaves out").unwrap().1
}

#[test]
fn by_hand_every_wrong_release_is_found_but_for_those_that_break_what_the_page_says_it_leaves_out() {
    let wrong: Vec<_> = vector::all().into_iter().filter(|(_, vector)| vector.expect.is_some()).collect();
    assert!(wrong.len() > 340, "{}", wrong.len());
    let told = all_by_hand(&wrong);
    let taken: Vec<_> = told.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect();
    vector::nothing_else_is_taken(&taken, &LEFT_OUT, leaves_out());
}

/// Without this the page could find every wrong release by refusing all.
#[test]
fn by_hand_every_sound_release_holds_but_for_those_that_the_page_says_are_not_like_its_example() {
    let sound: Vec<_> = vector::all().into_iter().filter(|(_, vector)| vector.expect.is_none()).collect();
    let told = all_by_hand(&sound);
    let refused: Vec<_> = told.into_iter().filter(|(_, holds)| !*holds).map(|(name, _)| name).collect();
    vector::nothing_else_is_taken(&refused, &NOT_LIKE_THE_EXAMPLE, leaves_out());
}
