//! Each durable step goes wrong, and the next start completes the same log.

use super::*;

/// One life of a signer: started, asked to release, told the cosignature. `None` when it ended on a fault.
fn live(site: &Site, told: &Told, disk: FaultyDisk, at: Timestamp) -> Option<usize> {
    let mut signer = site.open_on(disk, at).ok()?;
    let answer = signer.answer(&submit(told, approvals(told)), at).ok()?;
    let answer = match answer {
        Answer::Appended(appended) => signer.answer(&cosigned(told, &appended, at), at).ok()?,
        other => other,
    };
    file(answer, Outcome::Release);
    Some(signer.disk().steps)
}

fn check_invariants(site: &Site, told: &Told, at: Timestamp) {
    assert_eq!(site.published(Event::Release), 1);
    let releases: Vec<_> = fs::read_dir(site.directory.path().join("public/releases")).unwrap().collect();
    assert_eq!(releases.len(), 1);
    let file = fs::read(releases[0].as_ref().unwrap().path()).unwrap();
    let file = ReleaseFile::parse(&file).unwrap();
    file.verify(&Pinned::new(told.pin), at, GivenFiles::NotGiven).unwrap();
    let (state, head) =
        (read_state(&site.places()).unwrap().unwrap(), read_head(&site.places()).unwrap().unwrap());
    assert_eq!(state.head, head);
    assert!(state.pending.is_empty());
    assert_ne!(head, Head::empty());
}

#[test]
fn whichever_durable_step_fails_the_next_start_completes_the_same_log() {
    let told = Story::default().tell();
    let undisturbed = Site::of(&told);
    let steps = live(&undisturbed, &told, FaultyDisk::new(None), now()).unwrap();
    let expected = undisturbed.files();
    assert!(steps > 20, "{steps} durable steps");
    for step in 1..=steps {
        for fault in [Fault::Failed, Fault::FailedButStored] {
            let site = Site::of(&told);
            assert_eq!(
                live(&site, &told, FaultyDisk::new(Some((step, fault))), now()),
                None,
                "{step} {fault:?}"
            );
            assert!(live(&site, &told, FaultyDisk::new(None), now()).is_some(), "{step} {fault:?}");
            check_invariants(&site, &told, now());
            assert!(site.files() == expected, "step {step} {fault:?} left other files");
        }
    }
}

#[test]
fn a_crash_while_a_crash_is_being_repaired_signs_no_second_manifest() {
    let told = Story::default().tell();
    let later = time("2026-03-02T11:07:00Z");
    let steps = live(&Site::of(&told), &told, FaultyDisk::new(None), now()).unwrap();
    for first in 1..=steps {
        let fault = if first % 2 == 0 { Fault::Failed } else { Fault::FailedButStored };
        // Every third, from another beginning each time: all pairs would take a minute and find nothing more.
        for second in (1 + first % 3..=steps).step_by(3) {
            let again = if (first + second) % 2 == 0 { Fault::FailedButStored } else { Fault::Failed };
            let site = Site::of(&told);
            live(&site, &told, FaultyDisk::new(Some((first, fault))), now());
            live(&site, &told, FaultyDisk::new(Some((second, again))), later);
            assert!(live(&site, &told, FaultyDisk::new(None), later).is_some(), "{first} then {second}");
            check_invariants(&site, &told, later);
        }
    }
}
