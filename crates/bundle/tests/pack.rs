//! What packing promises: the same directory gives the same bytes, and what comes out is what went in.

mod writer;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use bundle::{BundleError, Contents, Limits, pack};
use writer::MANIFEST;

/// A directory with a manifest, a program, and a file two directories down.
fn project() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "databox.toml", MANIFEST, 0o600);
    write(directory.path(), "run.sh", b"#!/bin/sh\n", 0o775);
    write(directory.path(), "lib/deep/model.py", b"x = 1\n", 0o664);
    write(directory.path(), "lib/empty", b"", 0o644);
    fs::create_dir(directory.path().join("notes")).unwrap();
    directory
}

fn write(directory: &Path, name: &str, bytes: &[u8], mode: u32) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_packed_comes_out_again() {
    let (source, target) = (project(), tempfile::tempdir().unwrap());
    let bundle = pack(source.path()).unwrap();
    let listing = bundle::unpack_into(&bundle[..], target.path(), &Limits::default()).unwrap();
    let paths: Vec<_> = listing.entries.iter().map(|entry| entry.path.as_str()).collect();
    let expected = ["databox.toml", "lib", "lib/deep", "lib/deep/model.py", "lib/empty", "notes", "run.sh"];
    assert_eq!(paths, expected);
    for entry in &listing.entries {
        let (from, to) = (source.path().join(&entry.path), target.path().join(&entry.path));
        match entry.contents {
            Contents::Directory => assert!(to.is_dir()),
            Contents::File { bytes, sha256, .. } => {
                assert_eq!(fs::read(&to).unwrap(), fs::read(&from).unwrap());
                assert_eq!(sha256, blobs::Digest::of(&fs::read(&to).unwrap()));
                assert_eq!(bytes, fs::metadata(&to).unwrap().len());
            }
        }
    }
    assert_eq!(mode(&target.path().join("run.sh")), 0o755);
    assert_eq!(mode(&target.path().join("lib/deep/model.py")), 0o644);
    assert_eq!(mode(&target.path().join("lib")), 0o755);
    assert_eq!(listing.parse_manifest().unwrap().job.as_str(), "any-visit");
}

#[test]
fn the_same_directory_gives_the_same_bytes() {
    let (one, other) = (project(), project());
    // Times, order of creation and the other permission bits do not count.
    fs::remove_file(other.path().join("databox.toml")).unwrap();
    write(other.path(), "databox.toml", MANIFEST, 0o444);
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(other.path().join("run.sh")).unwrap().set_modified(old).unwrap();
    assert_eq!(pack(one.path()).unwrap(), pack(other.path()).unwrap());
    write(other.path(), "run.sh", b"#!/bin/sh\n", 0o664);
    assert_ne!(pack(one.path()).unwrap(), pack(other.path()).unwrap());
}

#[test]
fn a_bundle_of_a_packed_directory_packs_to_itself() {
    let (source, target) = (project(), tempfile::tempdir().unwrap());
    let bundle = pack(source.path()).unwrap();
    bundle::unpack_into(&bundle[..], target.path(), &Limits::default()).unwrap();
    assert_eq!(pack(target.path()).unwrap(), bundle);
}

#[test]
fn what_the_box_would_refuse_is_refused_at_the_desk() {
    let with = |change: fn(&Path)| {
        let directory = project();
        change(directory.path());
        pack(directory.path())
    };
    let link = with(|path| std::os::unix::fs::symlink("run.sh", path.join("link")).unwrap());
    assert!(matches!(link, Err(BundleError::SourceKind { path }) if path == "link"));
    let socket = with(|path| drop(std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap()));
    assert!(matches!(socket, Err(BundleError::SourceKind { path }) if path == "socket"));
    let odd = with(|path| write(path, "lib/a b.py", b"", 0o644));
    assert!(matches!(odd, Err(BundleError::NameCharacter { path }) if path == "lib/a b.py"));
    let twins = with(|path| write(path, "RUN.sh", b"", 0o644));
    assert!(matches!(twins, Err(BundleError::CaseTwins { .. })));
    let long = with(|path| write(path, &"n".repeat(101), b"", 0o644));
    assert!(matches!(long, Err(BundleError::NameTooLong { .. })));
    let bare = with(|path| fs::remove_file(path.join("databox.toml")).unwrap());
    assert!(matches!(bare, Err(BundleError::ManifestMissing)));
    let zeros = with(|path| write(path, "zeros", &vec![0; 4 << 20], 0o644));
    assert!(matches!(zeros, Err(BundleError::RatioTooHigh { .. })));
    assert!(with(|path| write(path, "lib/a-b.py", b"", 0o644)).is_ok());
    assert!(with(|path| write(path, &format!("{}/{}", "d".repeat(90), "n".repeat(100)), b"", 0o644)).is_ok());
}

/// Python's `tarfile` is a reader that shares no line with ours.
#[test]
fn another_reader_finds_the_same_files() {
    if Command::new("python3").arg("-c").arg("import tarfile").status().is_err() {
        eprintln!("SKIPPED: no python3 on this machine, so no second reader was asked");
        return;
    }
    let source = project();
    write(source.path(), &format!("{}/{}", "d".repeat(90), "n".repeat(100)), b"long", 0o644);
    let bundle = pack(source.path()).unwrap();
    let archive = zstd::decode_all(&bundle[..]).unwrap();
    let program = "import tarfile,sys,hashlib,io\n\
        for m in tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read())):\n    \
        print(m.name, m.isdir(), m.size, oct(m.mode), m.uid, m.mtime)";
    let mut child = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &archive).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let ours: String = bundle::read(&bundle[..], &Limits::default())
        .unwrap()
        .entries
        .iter()
        .map(|entry| match entry.contents {
            Contents::Directory => format!("{} True 0 0o755 0 0\n", entry.path),
            Contents::File { bytes, executable, .. } => {
                format!("{} False {bytes} {} 0 0\n", entry.path, if executable { "0o755" } else { "0o644" })
            }
        })
        .collect();
    assert_eq!(output, ours);
}

#[test]
fn the_child_unpacks_and_says_nothing_but_its_exit_code() {
    let run = |bundle: &[u8], arguments: &[&Path]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_databox-unbundle"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A refusal closes the pipe early.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), bundle);
        let output = child.wait_with_output().unwrap();
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
        output.status.code()
    };
    let (source, target) = (project(), tempfile::tempdir().unwrap());
    let bundle = pack(source.path()).unwrap();
    assert_eq!(run(&bundle, &[]), Some(1));
    assert_eq!(run(&bundle, &[&target.path().join("absent")]), Some(1));
    assert_eq!(run(&bundle, &[target.path()]), Some(0));
    assert_eq!(fs::read(target.path().join("lib/deep/model.py")).unwrap(), b"x = 1\n");
    let other = tempfile::tempdir().unwrap();
    assert_eq!(run(&bundle[..bundle.len() - 1], &[other.path()]), Some(1));
}
