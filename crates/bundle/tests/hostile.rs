//! Hostile bundles are refused whole and by name; beside each stands an innocent twin that is accepted.

mod writer;

use std::fs;

use bundle::{BundleError, EntryKind, Limits, Listing};
use writer::{Archive, MANIFEST, compressed, entry, fix_checksum, skippable_frame, with_window};

/// Reads and unpacks a bundle; both must agree.
fn read(bundle: &[u8]) -> Result<Listing, BundleError> {
    read_within(bundle, &Limits::default())
}

fn read_within(bundle: &[u8], limits: &Limits) -> Result<Listing, BundleError> {
    let directory = tempfile::tempdir().unwrap();
    let read = bundle::read(bundle, limits);
    let unpacked = bundle::unpack_into(bundle, directory.path(), limits);
    match (&read, &unpacked) {
        (Ok(listing), Ok(other)) => assert_eq!(listing, other),
        (Err(error), Err(other)) => assert_eq!(error.to_string(), other.to_string()),
        _ => panic!("reading gives {read:?}, unpacking {unpacked:?}"),
    }
    read
}

/// A bundle of the manifest and these entries.
fn with(entries: &[Vec<u8>]) -> Vec<u8> {
    entries.iter().fold(Archive::with_manifest(), |archive, entry| archive.add(entry)).bundle()
}

/// Asserts that the entry is refused by this name, and its twin accepted.
macro_rules! refused {
    ($hostile:expr, $name:pat, twin: $innocent:expr) => {{
        let error = read(&with(&$hostile)).expect_err("the hostile bundle is accepted");
        assert!(matches!(error, $name), "refused by another name: {error:?}");
        if let Err(error) = read(&with(&$innocent)) {
            panic!("the innocent twin is refused: {error:?}");
        }
    }};
}

fn file(name: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'0', b"x", |_| {})
}

fn directory(name: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'5', b"", |_| {})
}

fn of_type(name: &str, type_byte: u8) -> Vec<u8> {
    entry(name.as_bytes(), type_byte, b"", |_| {})
}

fn link_to(name: &str, type_byte: u8, target: &[u8]) -> Vec<u8> {
    entry(name.as_bytes(), type_byte, b"", |block| block[157..157 + target.len()].copy_from_slice(target))
}

#[test]
fn links_are_refused() {
    use BundleError::EntryKind as Kind;
    refused!(
        [link_to("link", b'2', b"/etc/passwd")],
        Kind { kind: EntryKind::SymbolicLink, .. },
        twin: [file("link")]
    );
    refused!(
        [link_to("link", b'1', b"databox.toml")],
        Kind { kind: EntryKind::HardLink, .. },
        twin: [file("link")]
    );
    // A directory that is a link first and a directory later is how archives write outside (CVE-2026-33056).
    refused!(
        [link_to("d", b'2', b"/tmp"), file("d/x")],
        Kind { kind: EntryKind::SymbolicLink, .. },
        twin: [directory("d/"), file("d/x")]
    );
    refused!([link_to("x", b'0', b"y")], BundleError::LinkTarget { .. }, twin: [file("x")]);
}

#[test]
fn devices_and_pipes_are_refused() {
    for (type_byte, expected) in [
        (b'3', EntryKind::CharacterDevice),
        (b'4', EntryKind::BlockDevice),
        (b'6', EntryKind::Pipe),
        (b'7', EntryKind::Other(b'7')),
        (0, EntryKind::OldFile),
    ] {
        let error = read(&with(&[of_type("x", type_byte)])).unwrap_err();
        assert!(matches!(error, BundleError::EntryKind { kind, .. } if kind == expected), "{error:?}");
    }
    assert!(read(&with(&[of_type("x", b'0'), of_type("y", b'5')])).is_ok());
}

#[test]
fn extensions_that_readers_disagree_about_are_refused() {
    let pax = |type_byte| entry(b"PaxHeaders/x", type_byte, b"20 path=../../etc/x\n", |_| {});
    for type_byte in [b'x', b'g', b'X'] {
        refused!(
            [pax(type_byte), file("x")],
            BundleError::EntryKind { kind: EntryKind::PaxExtension, .. },
            twin: [file("x")]
        );
    }
    for type_byte in [b'L', b'K', b'S', b'V', b'D', b'M', b'A'] {
        refused!(
            [entry(b"././@LongLink", type_byte, b"../x\0", |_| {}), file("x")],
            BundleError::EntryKind { kind: EntryKind::GnuExtension, .. },
            twin: [file("x")]
        );
    }
}

#[test]
fn paths_that_lead_outside_or_hide_are_refused() {
    refused!([file("../x")], BundleError::NameDots { .. }, twin: [file("..x")]);
    refused!([file("a/../../x")], BundleError::NameDots { .. }, twin: [file("a/x")]);
    refused!([file("./x")], BundleError::NameDots { .. }, twin: [file(".x")]);
    refused!([file("/etc/x")], BundleError::NameAbsolute { .. }, twin: [file("etc/x")]);
    refused!([file("a//x")], BundleError::NameEmpty { .. }, twin: [file("a/x")]);
    refused!([file("")], BundleError::NameEmpty { .. }, twin: [file("a")]);
    refused!([file("x/")], BundleError::NameEmpty { .. }, twin: [directory("x/")]);
    refused!([directory("x//")], BundleError::NameEmpty { .. }, twin: [directory("x")]);
}

#[test]
fn names_of_other_characters_are_refused() {
    for odd in ["a b", "a\nb", "a\\b", "a:b", "caf\u{e9}", "cafe\u{301}", "a\u{202e}b", "$(x)", "a*"] {
        refused!([file(odd)], BundleError::NameCharacter { .. }, twin: [file("a-b_c.D0")]);
    }
    refused!([entry(b"\xff\xfe", b'0', b"", |_| {})], BundleError::NameCharacter { .. }, twin: [file("ff")]);
}

#[test]
fn two_names_for_one_place_are_refused() {
    refused!([file("x"), file("x")], BundleError::Duplicate { .. }, twin: [file("x"), file("y")]);
    refused!([directory("d/"), directory("d")], BundleError::Duplicate { .. }, twin: [directory("d")]);
    refused!([file("Train.py"), file("train.py")], BundleError::CaseTwins { .. }, twin: [file("train.py")]);
    refused!([file("A/x"), file("a/y")], BundleError::CaseTwins { .. }, twin: [file("a/x"), file("a/y")]);
    refused!([file("DataBox.toml")], BundleError::CaseTwins { .. }, twin: [file("a/databox.toml")]);
    refused!([file("a"), file("a/x")], BundleError::FileAndDirectory { .. }, twin: [file("b"), file("a/x")]);
    refused!([file("a/x"), file("a")], BundleError::FileAndDirectory { .. }, twin: [file("a/x"), directory("a")]);
    refused!([directory("a"), file("a")], BundleError::FileAndDirectory { .. }, twin: [directory("a")]);
}

#[test]
fn long_and_deep_paths_are_refused() {
    let deep = |parts: usize| vec!["d"; parts].join("/");
    refused!([file(&deep(17))], BundleError::TooDeep { limit: 16, .. }, twin: [file(&deep(16))]);
    let long = |prefix: usize| {
        let prefix = vec![b'p'; prefix];
        entry(&[b'n'; 100], b'0', b"", |block| block[345..345 + prefix.len()].copy_from_slice(&prefix))
    };
    refused!([long(155)], BundleError::NameTooLong { .. }, twin: [long(154)]);
}

#[test]
fn headers_in_another_form_are_refused() {
    let changed = |change: fn(&mut [u8])| [entry(b"x", b'0', b"x", change)];
    // Old GNU headers keep other things where POSIX has the path's prefix.
    refused!(
        changed(|block| block[257..265].copy_from_slice(b"ustar  \0")),
        BundleError::HeaderFormat,
        twin: [file("x")]
    );
    refused!(changed(|block| block[257..265].fill(0)), BundleError::HeaderFormat, twin: [file("x")]);
    // Base-256 sizes, signs, blanks and missing ends: readers differ.
    for size in [
        b"\x80\0\0\0\0\0\0\0\0\0\0\x01",
        b"-0000000001\0",
        b"           \0",
        b"000000000001",
        b"0000000000x\0",
    ] {
        let hostile = [entry(b"x", b'0', b"x", |block| block[124..136].copy_from_slice(size))];
        refused!(hostile, BundleError::HeaderNumber { field: "size" }, twin: [file("x")]);
    }
    refused!(
        changed(|block| block[101] = b'9'),
        BundleError::HeaderNumber { field: "mode" },
        twin: changed(|block| block[100..108].copy_from_slice(b"0000777\0"))
    );
    refused!(
        changed(|block| block[50] = b'h'),
        BundleError::HeaderHiddenBytes { field: "name" },
        twin: changed(|block| block[0] = b'h')
    );
    refused!(
        changed(|block| block[510] = 1),
        BundleError::HeaderHiddenBytes { field: "padding" },
        twin: [file("x")]
    );
    refused!(
        changed(|block| block[329..337].copy_from_slice(b"0000001\0")),
        BundleError::HeaderHiddenBytes { field: "devmajor" },
        twin: changed(|block| block[329..337].copy_from_slice(b"0000000\0"))
    );
    refused!(
        [entry(b"d", b'5', b"x", |_| {})],
        BundleError::DirectoryWithContents { .. },
        twin: [entry(b"d", b'5', b"", |_| {})]
    );
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut hostile = file("x");
    hostile[0] = b'y';
    let mut innocent = hostile.clone();
    fix_checksum(&mut innocent);
    refused!([hostile], BundleError::HeaderChecksum, twin: [innocent]);
}

#[test]
fn no_bit_of_a_header_can_change_unnoticed() {
    let archive = Archive::with_manifest().add(&file("x")).whole();
    // The last two bytes of the checksum end its digits; writers differ in them, and they say nothing.
    for bit in (0..154 * 8).chain(156 * 8..512 * 8) {
        let mut changed = archive.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(bundle::read(&compressed(&changed)[..], &Limits::default()).is_err(), "bit {bit}");
    }
    assert!(read(&compressed(&archive)).is_ok());
}

#[test]
fn bytes_hidden_behind_a_file_are_refused() {
    let mut hostile = file("x");
    let last = hostile.len() - 1;
    hostile[last] = b'!';
    refused!([hostile], BundleError::HiddenPadding { .. }, twin: [file("x")]);
}

#[test]
fn an_archive_ends_once_and_properly() {
    let archive = Archive::with_manifest().add(&file("x")).without_end();
    let read_with_end = |end: &[u8]| read(&compressed(&[&archive[..], end].concat()));
    assert!(matches!(read_with_end(&[]), Err(BundleError::Truncated)));
    assert!(matches!(read_with_end(&[0; 512]), Err(BundleError::Truncated)));
    assert!(matches!(
        read_with_end(&[&[0; 512][..], &file("y")].concat()),
        Err(BundleError::BytesAfterArchive)
    ));
    assert!(matches!(
        read_with_end(&[&[0; 1024][..], &file("y")].concat()),
        Err(BundleError::BytesAfterArchive)
    ));
    assert!(matches!(read_with_end(&[0; 1024 + 20 * 512 + 1]), Err(BundleError::BytesAfterArchive)));
    let cut_in_a_file = compressed(&archive[..archive.len() - 600]);
    assert!(matches!(read(&cut_in_a_file), Err(BundleError::Truncated)));
    assert!(read_with_end(&[0; 1024]).is_ok());
    // GNU tar fills its last record of 20 blocks with zeros.
    assert!(read_with_end(&[0; 1024 + 18 * 512]).is_ok());
}

#[test]
fn a_size_that_lies_is_refused() {
    let lies = entry(b"x", b'0', b"x", |block| block[124..136].copy_from_slice(b"77777777777\0"));
    refused!([lies], BundleError::Truncated, twin: [file("x")]);
}

#[test]
fn one_frame_and_nothing_around_it() {
    let bundle = with(&[]);
    assert!(matches!(read(b""), Err(BundleError::NotZstd)));
    assert!(matches!(read(b"PK\x03\x04 a zip"), Err(BundleError::NotZstd)));
    assert!(matches!(read(&Archive::with_manifest().without_end()), Err(BundleError::NotZstd)));
    let joined = |parts: &[&[u8]]| read(&parts.concat());
    assert!(matches!(joined(&[&bundle, b"x"]), Err(BundleError::BytesAfterFrame)));
    assert!(matches!(joined(&[&bundle, &compressed(b"second")]), Err(BundleError::BytesAfterFrame)));
    assert!(matches!(joined(&[&bundle, &skippable_frame(b"note")]), Err(BundleError::BytesAfterFrame)));
    assert!(matches!(joined(&[&skippable_frame(b"note"), &bundle]), Err(BundleError::NotZstd)));
    assert!(matches!(read(&bundle[..bundle.len() - 1]), Err(BundleError::CompressionDamaged(_))));
    assert!(joined(&[&bundle]).is_ok());
}

#[test]
fn a_damaged_stream_is_refused() {
    let bundle = with(&[file("x")]);
    for at in (6..bundle.len()).step_by(7) {
        let mut damaged = bundle.clone();
        damaged[at] ^= 0x10;
        assert!(read(&damaged).is_err(), "byte {at}");
    }
}

#[test]
fn windows_and_dictionaries_that_cost_memory_are_refused() {
    let archive = Archive::with_manifest().whole();
    assert!(
        matches!(read(&with_window(&archive, 27)), Err(BundleError::WindowTooLarge { bytes, .. }) if bytes == 1 << 27)
    );
    assert!(matches!(read(&with_window(&archive, 24)), Err(BundleError::WindowTooLarge { .. })));
    assert!(read(&with_window(&archive, 23)).is_ok());
    let mut dictionary = with(&[]);
    dictionary[4] |= 1;
    assert!(matches!(read(&dictionary), Err(BundleError::DictionaryUsed)));
    // A frame of one segment has its content as the window: 4 GiB here, in a header of nine bytes.
    let one_segment = [&[0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000][..], &[0xff; 4], &[0; 32]].concat();
    assert!(matches!(read(&one_segment), Err(BundleError::WindowTooLarge { .. })));
}

#[test]
fn a_bomb_is_refused_by_its_ratio_and_by_its_size() {
    let zeros = |bytes: usize| with(&[entry(b"zeros", b'0', &vec![0; bytes], |_| {})]);
    assert!(matches!(read(&zeros(2 << 20)), Err(BundleError::RatioTooHigh { limit: 100 })));
    // Below the floor the same zeros are harmless.
    assert!(read(&zeros(512 << 10)).is_ok());
    let limits = Limits { bytes: 1 << 20, ratio: u64::MAX, ..Limits::default() };
    assert!(matches!(read_within(&zeros(1 << 20), &limits), Err(BundleError::TooLarge { .. })));
    assert!(read_within(&zeros(1_000_000), &limits).is_ok());
}

#[test]
fn a_bomb_is_stopped_before_it_has_unfolded() {
    let directory = tempfile::tempdir().unwrap();
    let bomb = with(&[entry(b"zeros", b'0', &vec![0; 64 << 20], |_| {})]);
    assert!(bundle::unpack_into(&bomb[..], directory.path(), &Limits::default()).is_err());
    assert!(fs::metadata(directory.path().join("zeros")).unwrap().len() < 2 << 20);
}

#[test]
fn too_many_entries_are_refused_with_the_directories_they_imply() {
    let limits = Limits { entries: 4, ..Limits::default() };
    let many = with(&[file("a"), file("b"), file("c"), file("d")]);
    assert!(matches!(read_within(&many, &limits), Err(BundleError::TooManyEntries { limit: 4 })));
    assert!(matches!(
        read_within(&with(&[file("a/b/c/d")]), &limits),
        Err(BundleError::TooManyEntries { .. })
    ));
    assert!(read_within(&with(&[file("a/b/c")]), &limits).is_ok());
}

#[test]
fn a_bundle_needs_a_manifest_of_bounded_size() {
    let without = Archive::default().add(&file("x")).bundle();
    assert!(matches!(read(&without), Err(BundleError::ManifestMissing)));
    let elsewhere = Archive::default().add(&entry(b"a/databox.toml", b'0', MANIFEST, |_| {})).bundle();
    assert!(matches!(read(&elsewhere), Err(BundleError::ManifestMissing)));
    let as_directory = Archive::default().add(&directory("databox.toml")).bundle();
    assert!(matches!(read(&as_directory), Err(BundleError::ManifestMissing)));
    let sized = |bytes: usize| {
        Archive::default().add(&entry(b"databox.toml", b'0', &vec![b'#'; bytes], |_| {})).bundle()
    };
    assert!(matches!(read(&sized((768 << 10) + 1)), Err(BundleError::ManifestTooLarge { .. })));
    assert_eq!(read(&sized(768 << 10)).unwrap().manifest.len(), 768 << 10);
}

#[test]
fn unpacking_touches_nothing_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), directory.path().join("d")).unwrap();
    let bundle = with(&[file("d/x")]);
    let refused = bundle::unpack_into(&bundle[..], directory.path(), &Limits::default());
    assert!(matches!(refused, Err(BundleError::DirectoryNotEmpty)));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    // The directory itself must not be a link either.
    let link = outside.path().join("link");
    let empty = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(empty.path(), &link).unwrap();
    let refused = bundle::unpack_into(&bundle[..], &link, &Limits::default());
    assert!(matches!(refused, Err(BundleError::Io { .. })));
    assert!(bundle::unpack_into(&bundle[..], empty.path(), &Limits::default()).is_ok());
}
