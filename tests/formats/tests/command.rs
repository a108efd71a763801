//! `databox-verify` as people call it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use databox_verify::command;
use release::refusal::Refusal;
use serde_json::Value;
use test_formats::story::{Story, Told};

struct Run {
    code: u8,
    out: String,
    errors: String,
}

fn run(arguments: &[&dyn AsRef<Path>]) -> Run {
    let arguments: Vec<OsString> = arguments.iter().map(|argument| argument.as_ref().into()).collect();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = command::exit_code(arguments, &mut out, &mut errors);
    Run { code, out: String::from_utf8(out).unwrap(), errors: String::from_utf8(errors).unwrap() }
}

struct Desk {
    directory: tempfile::TempDir,
    told: Told,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { directory: tempfile::tempdir().unwrap(), told: Story::default().tell() };
        fs::write(desk.release(), &desk.told.bytes).unwrap();
        for (name, bytes) in &desk.told.files {
            fs::write(desk.directory.path().join(name.as_str()), bytes).unwrap();
        }
        desk
    }

    fn release(&self) -> PathBuf {
        self.directory.path().join("example.release.json")
    }

    fn pin(&self) -> String {
        self.told.pin.to_string()
    }
}

#[test]
fn the_release_file_may_lie_beside_the_files() {
    let desk = Desk::new();
    let files = run(&[&desk.release(), &"--roles", &desk.pin(), &"--files", &desk.directory.path()]);
    assert_eq!(files.code, 0, "{}", files.out);
    assert!(files.out.contains("judged again"));
}

#[test]
fn a_link_or_a_directory_among_the_files_is_a_wrong_set_of_files() {
    let desk = Desk::new();
    let arguments: [&dyn AsRef<Path>; 5] =
        [&desk.release(), &"--roles", &desk.pin(), &"--files", &desk.directory.path()];
    let metrics = desk.directory.path().join("metrics.json");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(&metrics, elsewhere.path().join("metrics.json")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("metrics.json"), &metrics).unwrap();
    assert_eq!(run(&arguments).code, Refusal::FilesSet.code());
    fs::remove_file(&metrics).unwrap();
    fs::create_dir(&metrics).unwrap();
    assert_eq!(run(&arguments).code, Refusal::FilesSet.code());
}

#[test]
fn a_file_that_is_missing_surplus_or_another_is_named_with_what_is_wrong_with_it() {
    let desk = Desk::new();
    let path = |name: &str| desk.directory.path().join(name);
    let refused = |refusal: Refusal, words: &str| {
        let ran = run(&[&desk.release(), &"--roles", &desk.pin(), &"--files", &desk.directory.path()]);
        assert_eq!(ran.code, refusal.code(), "{}", ran.out);
        assert!(ran.out.contains(words), "{}", ran.out);
    };
    let metrics = fs::read(path("metrics.json")).unwrap();
    let [mut other, mut longer] = [metrics.clone(), metrics.clone()];
    other[0] ^= 1;
    fs::write(path("metrics.json"), &other).unwrap();
    refused(Refusal::FileDiffers, "metrics.json has other bytes than those that were released");
    longer.push(b'\n');
    fs::write(path("metrics.json"), &longer).unwrap();
    let words =
        format!("metrics.json has {} bytes; the one that was released has {}", longer.len(), metrics.len());
    refused(Refusal::FileDiffers, &words);
    fs::remove_file(path("metrics.json")).unwrap();
    refused(Refusal::FilesSet, "metrics.json is missing");
    fs::write(path("metrics.json"), &metrics).unwrap();
    fs::write(path("more.txt"), "more").unwrap();
    refused(Refusal::FilesSet, "more.txt is not one of the release's");
}

#[test]
fn tensors_that_were_fixed_and_noise_that_was_to_be_added_are_noted_and_neither_where_there_is_none() {
    let verified = |bytes: &[u8], pin: &str| {
        let directory = tempfile::tempdir().unwrap();
        let release = directory.path().join("example.release.json");
        fs::write(&release, bytes).unwrap();
        let ran = run(&[&release, &"--roles", &pin]);
        assert_eq!(ran.code, 0, "{}", ran.out);
        ran.out
    };
    let vectors = test_formats::vector::all();
    let of = |name: &str| &vectors.iter().find(|(vector, _)| vector == name).unwrap().1;
    let [plain, fixed] = [of("verified.plain.vector"), of("verified.fixed-tensor.vector")]
        .map(|vector| verified(&vector.release, &vector.roles.to_string()));
    assert!(!plain.contains("fixed tensors") && !plain.contains("noise on weights"), "{plain}");
    assert!(fixed.contains("fixed tensors in model.safetensors"), "{fixed}");
    assert!(fixed.contains("whose digests the request named before the run; their bits are not charged"));
    let policy = include_str!("../policy.toml").replace("dither_percent = 0", "dither_percent = 10");
    let digest = blobs::Digest::of(policy.as_bytes());
    let noisy = Story::default()
        .policy(move |statement| statement.file = digest.into())
        .release(move |release| release.policy_file = policy.clone().into_bytes())
        .tell();
    let told = verified(&noisy.bytes, &noisy.pin.to_string());
    assert!(told.contains("noise on weights"), "{told}");
    assert!(told.contains("the policy has the box add 10 % of each tensor's deviation"), "{told}");
}

#[test]
fn the_pin_is_demanded_and_believed() {
    let desk = Desk::new();
    assert_eq!(run(&[&desk.release()]).code, 2);
    let other = "0".repeat(64);
    let refused = run(&[&desk.release(), &"--roles", &other]);
    assert_eq!(refused.code, Refusal::RolesPin.code());
    assert!(refused.out.ends_with("REFUSED 48 roles-pin\n"));
}

#[test]
fn of_several_releases_the_first_refusal_is_the_exit_code() {
    let desk = Desk::new();
    let wrong = desk.directory.path().join("wrong.release.json");
    fs::write(&wrong, &desk.told.bytes[1..]).unwrap();
    let both = run(&[&desk.release(), &wrong, &desk.release(), &"--roles", &desk.pin()]);
    assert_eq!(both.code, Refusal::JsonForm.code());
    assert_eq!(both.out.matches("\nVERIFIED ").count(), 2);
}

#[test]
fn what_is_verified_is_remembered_and_what_is_refused_is_not() {
    let desk = Desk::new();
    let memory = desk.directory.path().join("memory.json");
    let wrong = desk.directory.path().join("wrong.release.json");
    fs::write(&wrong, "{}").unwrap();
    assert_ne!(run(&[&wrong, &"--roles", &desk.pin(), &"--remember", &memory]).code, 0);
    assert!(!memory.exists());
    let first = run(&[&desk.release(), &"--roles", &desk.pin(), &"--remember", &memory]);
    assert_eq!(first.code, 0, "{}", first.out);
    let kept: Value = serde_json::from_slice(&fs::read(&memory).unwrap()).unwrap();
    assert_eq!(kept["head"]["size"], "9");
    assert_eq!(kept["roles"]["roles"]["version"], "2");
    // The same release again is no rollback.
    assert_eq!(run(&[&desk.release(), &"--roles", &desk.pin(), &"--remember", &memory]).code, 0);
    // A memory that cannot be read is not an empty one.
    fs::write(&memory, "{}x").unwrap();
    assert_eq!(run(&[&desk.release(), &"--roles", &desk.pin(), &"--remember", &memory]).code, 3);
}

#[test]
fn a_release_file_alone_is_said_to_be_valid_as_of_its_log_only() {
    let desk = Desk::new();
    let verified = run(&[&desk.release(), &"--roles", &desk.pin()]);
    assert_eq!(verified.code, 0, "{}", verified.out);
    assert!(verified.out.contains("valid as of log size 9; a recall since then stands in a newer log"));
}

#[test]
fn json_has_one_object_a_release() {
    let desk = Desk::new();
    let verified = run(&[&desk.release(), &"--roles", &desk.pin(), &"--json"]);
    let object: Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!(object["result"], "VERIFIED");
    assert_eq!(object["manifest"], desk.told.release.manifest.payload_digest().to_string());
    let unchecked = object["checks"].as_array().unwrap().iter().filter(|row| row["outcome"] == "not-checked");
    assert!(unchecked.count() >= 6);
}

#[test]
fn a_file_name_cannot_repaint_a_terminal() {
    let desk = Desk::new();
    let painted = desk.directory.path().join("a\u{1b}[2KVERIFIED.release.json");
    fs::write(&painted, "{}").unwrap();
    let shown = run(&[&painted, &"--roles", &desk.pin()]);
    assert_eq!(shown.code, Refusal::JsonForm.code());
    assert!(!shown.out.contains('\u{1b}'), "{:?}", shown.out);
}

#[test]
fn mistakes_on_the_command_line_and_unreadable_files_have_codes_of_their_own() {
    let desk = Desk::new();
    let pin = desk.pin();
    let wrong: [&[&dyn AsRef<Path>]; 7] = [
        &[],
        &[&"--roles", &pin],
        &[&desk.release(), &"--roles", &"abc"],
        &[&desk.release(), &"--roles"],
        &[&desk.release(), &"--roles", &pin, &"--rolls", &pin],
        &[&desk.release(), &"--roles", &pin, &"--roles", &pin],
        &[&desk.release(), &desk.release(), &"--roles", &pin, &"--files", &"."],
    ];
    for arguments in wrong {
        let run = run(arguments);
        assert_eq!(run.code, 2);
        assert!(run.errors.contains("--help") && run.out.is_empty(), "{}", run.errors);
    }
    let missing = run(&[&"/nowhere/a.release.json", &"--roles", &pin]);
    assert_eq!(missing.code, 3);
    assert!(missing.errors.contains("cannot be read"));
}

#[test]
fn a_mirror_that_is_not_there_is_no_finding_about_a_site_and_one_without_a_checkpoint_is() {
    let desk = Desk::new();
    let log = |mirror: &Path| run(&[&"log", &"check", &mirror, &"--roles", &desk.pin()]);
    for nowhere in [desk.directory.path().join("nowhere"), desk.release()] {
        let missing = log(&nowhere);
        assert_eq!((missing.code, missing.out.as_str()), (3, ""));
        assert!(missing.errors.contains("cannot be read"), "{}", missing.errors);
    }
    assert_eq!(log(desk.directory.path()).code, Refusal::LogCheckpoint.code());
}

#[test]
fn help_is_given_wherever_it_is_asked_for_and_the_version_alone() {
    let asked: [&[&dyn AsRef<Path>]; 4] =
        [&[&"--help"], &[&"log", &"--help"], &[&"log", &"check", &"-h"], &[&"a.release.json", &"--help"]];
    for arguments in asked {
        let help = run(arguments);
        assert_eq!((help.code, help.errors.as_str()), (0, ""));
        assert!(help.out.starts_with("databox-verify checks release files offline."));
    }
    let version = run(&[&"--version"]);
    assert_eq!((version.code, version.out), (0, format!("databox-verify {}\n", env!("CARGO_PKG_VERSION"))));
    assert_eq!(run(&[&"--version", &"a.release.json"]).code, 2);
}

#[test]
fn every_refusal_is_explained_by_code_and_by_name() {
    let all = run(&[&"explain"]);
    for refusal in Refusal::ALL {
        assert!(all.out.contains(refusal.meaning()));
        let by_code = run(&[&"explain", &refusal.code().to_string()]);
        let by_name = run(&[&"explain", &refusal.name()]);
        assert_eq!((by_code.code, by_code.out.as_str()), (0, by_name.out.as_str()));
    }
    assert_eq!(run(&[&"explain", &"39"]).code, 2);
}
