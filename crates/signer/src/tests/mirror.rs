//! What an auditor finds in the signer's public directory, with the verifier's own command.

use databox_verify::command;

use super::*;

/// Two releases under a grant of so many bits; between them the signer may forget what left.
fn two_releases(limit: u64, rigged: bool) -> (Site, Told) {
    let story = |run: u64, before: &[Digest]| {
        Story::default()
            .compared(run, run, before, &[])
            .grant(move |grant| {
                grant.datasets.get_mut(&name("hie")).expect("the dataset").release_bits = Count(limit);
            })
            .tell()
    };
    let first = story(1, &[]);
    let site = Site::of(&first);
    let mut signer = site.open();
    release(&mut signer, &first);
    if rigged {
        signer.forget_released();
    }
    let second = story(2, &[digest(&first)]);
    release_compared(&mut signer, &second, &[digest(&first)]);
    (site, first)
}

pub(super) fn log(site: &Site, told: &Told, asked: &str) -> (u8, String) {
    let mirror = site.directory.path().join("public");
    let arguments: [std::ffi::OsString; 5] =
        ["log".into(), asked.into(), mirror.into(), "--roles".into(), told.pin.to_string().into()];
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = command::exit_code(arguments, &mut out, &mut errors);
    assert!(errors.is_empty(), "{}", String::from_utf8_lossy(&errors));
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn an_auditor_adds_up_what_left_from_the_log_alone_and_finds_the_overrun_of_a_rigged_signer() {
    // Each of the two releases is sound by itself: 1,392 bits of 2,000, says the signer.
    let (site, told) = two_releases(2_000, true);
    let (code, text) = log(&site, &told, "account");
    assert_eq!(code, Refusal::ManifestAccount.code(), "{text}");
    assert!(text.contains("hie  grant visits-study  2784 of 2000 bits in 2 release(s)  OVERRUN\n"), "{text}");
    assert!(text.ends_with("REFUSED 65 manifest-account\n"), "{text}");

    let (site, told) = two_releases(3_000, false);
    let (code, text) = log(&site, &told, "account");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("hie  grant visits-study  2784 of 3000 bits in 2 release(s)\n"), "{text}");
    assert!(text.ends_with(" with 9 leaves\n"), "{text}");
}

#[test]
fn a_signer_that_says_less_left_than_did_is_found_while_there_is_room_still() {
    let (site, told) = two_releases(3_000, true);
    assert_eq!(log(&site, &told, "check").0, Refusal::ManifestAccount.code());
}

#[test]
fn a_mirror_that_lacks_or_changes_anything_is_refused_by_name() {
    let (site, told) = two_releases(3_000, false);
    assert_eq!(log(&site, &told, "check").0, 0);
    let public = site.directory.path().join("public");
    let changed = |path: &Path, edit: &dyn Fn(&mut Vec<u8>)| {
        let kept = fs::read(path).unwrap();
        let mut bytes = kept.clone();
        edit(&mut bytes);
        fs::write(path, bytes).unwrap();
        let (code, text) = log(&site, &told, "check");
        fs::write(path, &kept).unwrap();
        let name = Refusal::from_code(code).map(Refusal::name);
        name.unwrap_or_else(|| panic!("{}: {text}", path.display()))
    };
    let missing = |path: &Path| {
        let aside = path.with_extension("aside");
        fs::rename(path, &aside).unwrap();
        let code = log(&site, &told, "check").0;
        fs::rename(&aside, path).unwrap();
        Refusal::from_code(code).map(Refusal::name)
    };
    let some = |folder: &str| fs::read_dir(public.join(folder)).unwrap().next().unwrap().unwrap().path();
    let entries = site.places().tile(&tiles::bundles(9)[0]);
    let checkpoint = public.join("log/checkpoint");
    assert_eq!(changed(&entries, &|bytes| bytes[200] ^= 1), "log-entries");
    assert_eq!(missing(&entries), Some("log-entries"));
    assert_eq!(missing(&checkpoint), Some("log-checkpoint"));
    let unwitnessed = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let lines = text.lines().filter(|line| !line.contains(WITNESS));
        *bytes = lines.map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    };
    assert_eq!(changed(&checkpoint, &unwitnessed), "log-witnesses");
    for folder in ["releases", "grants", "roles", "revocations", "catalogue"] {
        assert_eq!(missing(&some(folder)), Some("log-statement"), "{folder}");
    }
}
