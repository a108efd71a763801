//! Every vector through the library and through `databox-verify` itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use databox_verify::{EgressJudge, command};
use release::file::{GivenFiles, KnownSite, Pinned, ReleaseFile};
use release::json;
use release::refusal::Refusal;
use test_formats::defects;
use test_formats::vector::{Vector, directory};

/// Refusals that no release file can show: they are met on the way to one, or in a mirror of the log. `tests/path.rs`,
/// `tests/site.rs` and the signer have their tests.
const NOT_IN_A_FILE: [Refusal; 6] = [
    Refusal::RevocationDropped,
    Refusal::Denied,
    Refusal::LogEntries,
    Refusal::LogStatement,
    Refusal::CodeDenied,
    Refusal::LogOrder,
];

fn vectors() -> Vec<(String, Vector)> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory())
        .expect("the vectors")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, Vector::parse(&fs::read(path).expect("a vector")))
    };
    files.into_iter().map(read).collect()
}

#[test]
fn each_vector_meets_its_own_refusal_and_no_other() {
    for (name, vector) in vectors() {
        let examination = vector.examine();
        let found = examination.result.as_ref().err().copied();
        assert_eq!(found, vector.expect, "{name}: {:#?}", examination.rows.last());
    }
}

/// The site of a file that was verified just before is not verified again; no vector may come in beside it.
#[test]
fn beside_a_release_that_was_verified_before_each_vector_meets_its_refusal_all_the_same() {
    let vectors = vectors();
    let judge = EgressJudge(egress::InMemory::default());
    let verified: Vec<_> = vectors.iter().filter(|(_, vector)| vector.expect.is_none()).collect();
    for (name, vector) in vectors.iter().filter(|(_, vector)| vector.pad == 0 && vector.files.is_none()) {
        let Ok(file) = ReleaseFile::parse(&vector.release) else { continue };
        let pinned = |vector: &Vector| Pinned {
            roles: vector.roles,
            accept_on_box_witness: vector.accept_on_box_witness,
            seen: vector.remember.clone(),
        };
        let twin = vector.twin.as_ref().unwrap_or(name);
        let (_, before) = verified.iter().find(|(name, _)| name == twin).expect("its twin");
        let mut known = KnownSite::default();
        let first = ReleaseFile::parse(&before.release).expect("a release file");
        first.verify_beside(&pinned(before), before.now, GivenFiles::NotGiven, &mut known).expect("verified");
        for _ in 0..2 {
            let counting = GivenFiles::ToCount(&judge);
            let found = file.verify_beside(&pinned(vector), vector.now, counting, &mut known);
            assert_eq!(found.err(), vector.expect, "{name} beside {twin}");
        }
    }
}

#[test]
fn the_program_says_and_exits_as_the_library_does() {
    for (name, vector) in vectors() {
        let directory = tempfile::tempdir().expect("a directory");
        let (code, text) = run(&vector, directory.path());
        match vector.expect {
            None => {
                assert_eq!(code, 0, "{name}: {text}");
                assert!(text.contains("\nVERIFIED "), "{name}: {text}");
            }
            Some(refusal) => {
                assert_eq!(code, refusal.code(), "{name}: {text}");
                assert!(
                    text.ends_with(&format!("REFUSED {} {}\n", refusal.code(), refusal.name())),
                    "{name}: {text}"
                );
            }
        }
    }
}

#[test]
fn each_refusal_has_a_vector_and_each_vector_is_named_after_its_refusal() {
    let vectors = vectors();
    let met: BTreeSet<_> = vectors.iter().filter_map(|(_, vector)| vector.expect).collect();
    let all: BTreeSet<_> = Refusal::ALL.into_iter().collect();
    let missing: Vec<_> = all.difference(&met).copied().collect();
    assert_eq!(missing, NOT_IN_A_FILE);
    for (name, vector) in vectors {
        let expected = vector.expect.map_or("verified", Refusal::name);
        assert_eq!(name.split_once('.').map(|(refusal, _)| refusal), Some(expected));
    }
}

#[test]
fn each_vector_that_is_refused_has_a_twin_beside_it_that_is_verified() {
    let vectors: BTreeMap<_, _> = vectors().into_iter().collect();
    let mut refused = 0;
    for (name, vector) in &vectors {
        let Some(twin) = &vector.twin else {
            assert_eq!(vector.expect, None, "{name} has no twin");
            continue;
        };
        let beside = vectors.get(twin).unwrap_or_else(|| panic!("{name}: there is no {twin}"));
        assert!(vector.expect.is_some() && beside.examine().result.is_ok(), "{name}: {twin}");
        let given = |one: &Vector| (one.files.is_some(), one.remember.is_some());
        assert!(given(vector) == given(beside) || twin == "verified.plain", "{name}: {twin} is given less");
        // A defect of what is given leaves the release as it is; every other one changes it.
        let same_file = vector.release_bytes() == beside.release_bytes();
        let other_around = vector.files != beside.files
            || vector.remember != beside.remember
            || vector.accept_on_box_witness != beside.accept_on_box_witness;
        assert!(!same_file || other_around, "{name} is its own twin");
        refused += 1;
    }
    assert!(refused >= 300, "only {refused} vectors are refused");
}

#[test]
fn the_vectors_are_the_ones_that_their_seeds_give() {
    let committed: BTreeSet<_> = vectors().into_iter().map(|(name, _)| name).collect();
    let mut made = BTreeSet::new();
    for defect in defects::all() {
        let path = directory().join(format!("{}.vector", defect.name));
        let bytes = fs::read(&path).unwrap_or_default();
        let same = bytes == defect.vector().to_bytes();
        assert!(same, "{} differs: run `cargo run -p test-formats`", path.display());
        assert!(made.insert(defect.name.clone()), "{} is there twice", defect.name);
    }
    assert_eq!(committed, made);
}

/// Runs the program with what the vector says, and returns its exit code and what it printed.
fn run(vector: &Vector, directory: &Path) -> (u8, String) {
    let release = directory.join("example.release.json");
    fs::write(&release, vector.release_bytes()).expect("a release file");
    let mut arguments = vec![release.into_os_string(), "--roles".into(), vector.roles.to_string().into()];
    if vector.accept_on_box_witness {
        arguments.push("--accept-on-box-witness".into());
    }
    if let Some(seen) = &vector.remember {
        let memory = directory.join("memory.json");
        fs::write(&memory, json::to_bytes(seen)).expect("a memory");
        arguments.extend(["--remember".into(), memory.into_os_string()]);
    }
    if let Some(files) = &vector.files {
        let folder = directory.join("files");
        fs::create_dir(&folder).expect("a directory");
        for (name, bytes) in files {
            fs::write(folder.join(name.as_str()), bytes).expect("a file");
        }
        arguments.extend(["--files".into(), folder.into_os_string()]);
    }
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = command::exit_code(arguments, &mut out, &mut errors);
    assert!(errors.is_empty(), "{}", String::from_utf8_lossy(&errors));
    (code, String::from_utf8(out).expect("UTF-8"))
}
