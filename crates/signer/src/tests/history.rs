//! The log that is there is continued, or nothing is.

use super::*;

#[test]
fn a_log_that_is_older_than_its_head_or_its_witness_is_refused() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    drop(site.open());
    let snapshot = site.files();
    let mut signer = site.open();
    release(&mut signer, &told);
    let get = |witnessed| Message::Get(Get { verdict: digest(&told), witnessed: Count(witnessed) });
    let second = Story::default().without_tables().verdict(|verdict| verdict.run = Count(2)).tell();
    ask(&mut signer, &submit(&second, approvals(&second)));
    let message = Message::Get(Get { verdict: digest(&second), witnessed: Count(10) });
    assert_eq!(refused(ask(&mut signer, &message)), SignerRefusal::LogBehindWitness);
    assert!(matches!(ask(&mut signer, &get(99)), Answer::Finished(_)));

    // The state directory is laid back, as from a backup.
    let lay_back = |files: &BTreeMap<PathBuf, Vec<u8>>, below: &str| {
        for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(below)) {
            fs::write(site.directory.path().join(path), bytes).unwrap();
        }
    };
    let current = site.files();
    lay_back(&snapshot, "state");
    let opened = site.open_on(FaultyDisk::new(None), now());
    assert!(matches!(opened.err(), Some(LogError::Rollback { log: 7, head: 9 })));
    // With the head laid back too, the published checkpoint tells.
    lay_back(&snapshot, "heads");
    assert!(matches!(site.open_on(FaultyDisk::new(None), now()).err(), Some(LogError::Checkpoint)));
    lay_back(&current, "state");
    assert!(matches!(site.open_on(FaultyDisk::new(None), now()).err(), Some(LogError::HeadLost)));
    lay_back(&current, "heads");
    assert_eq!(site.open().size(), 9);
}

#[test]
fn there_is_never_a_second_log() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    release(&mut site.open(), &told);
    let head = site.places().head();
    let kept = fs::read(&head).unwrap();
    fs::remove_file(&head).unwrap();
    assert!(matches!(site.open_on(FaultyDisk::new(None), now()).err(), Some(LogError::HeadLost)));
    fs::remove_dir_all(site.places().state_directory()).unwrap();
    assert!(matches!(site.open_on(FaultyDisk::new(None), now()).err(), Some(LogError::HeadLost)));
    fs::write(&head, kept).unwrap();
    let opened = site.open_on(FaultyDisk::new(None), now());
    assert!(matches!(opened.err(), Some(LogError::Rollback { log: 0, head: 8 })));
}

#[test]
fn changed_entries_and_lost_evidence_are_noticed_at_the_start() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    release(&mut site.open(), &told);
    let try_without = |path: PathBuf| {
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let refused = site.open_on(FaultyDisk::new(None), now()).is_err();
        fs::write(&path, &kept).unwrap();
        refused
    };
    assert!(try_without(site.places().evidence(&digest(&told))));
    let grant = told.release.grant.payload_digest();
    assert!(try_without(site.places().statement(Event::Grant, &grant).unwrap()));
    let bundle = site.places().tile(&tiles::bundles(8)[0]);
    assert!(try_without(bundle.clone()));
    let kept = fs::read(&bundle).unwrap();
    for place in (0..kept.len()).step_by(97) {
        let mut changed = kept.clone();
        changed[place] ^= 1;
        fs::write(&bundle, changed).unwrap();
        assert!(site.open_on(FaultyDisk::new(None), now()).is_err(), "byte {place}");
    }
    fs::write(&bundle, kept).unwrap();
    assert_eq!(site.open().size(), 8);
}

#[test]
fn another_log_key_or_origin_is_another_log() {
    let told = Story::default().tell();
    let key_changed = Story::default().second_roles(|roles| roles.log.public = key("log-2").public().public);
    let renamed = Story::default().second_roles(|roles| roles.log.origin = "other.example/log".to_owned());
    // From the beginning a box may have any origin, and only its own key.
    assert_eq!(Site::of(&renamed.tell()).open_size(), 7);
    assert_eq!(Site::of(&key_changed.tell()).open_size(), 0);
    // Later, neither changes: version 2 of the roles is not there yet when the log begins.
    for changed in [key_changed.tell(), renamed.tell()] {
        let site = Site::of(&told);
        fs::remove_file(site.site().join("roles/2.json")).unwrap();
        assert_eq!(site.open_size(), 6);
        site.install(&changed.release.roles[1]);
        let refusal = refused(ask(&mut site.open(), &submit(&told, approvals(&told))));
        assert_eq!(refusal, SignerRefusal::Rule(Refusal::LogCheckpoint));
        site.install(&told.release.roles[1]);
        release(&mut site.open(), &told);
    }
}
