//! The signer as a whole, over real files, with the honest story of the format vectors and its evil twins.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use blobs::Digest;
use release::envelope::Envelope;
use release::file::{CodeDenialFile, DenialFile, GivenFiles, Pinned, ReleaseFile};
use release::key::Sign;
use release::log::checkpoint::cosign;
use release::log::socket::{
    Answer, Appended, Cosign, Decision, DenyCode, Get, Message, Outcome, SignerRefusal, Submit,
};
use release::log::witness::AddCheckpoint;
use release::log::{Checkpoint, Event, KeyType, Leaf, Note, VerifierKey, tiles};
use release::refusal::Refusal;
use release::site::file_name;
use release::statement::{
    CatalogueEntry, CodeDenial, CodeReview, DatasetGrant, Denial, DenialDecision, DenialReason, Evidence,
    Request, Verdict, VerdictResult,
};
use release::value::{Count, Timestamp};
use test_formats::story::{LOG, Story, Told, WITNESS, key, name, time};

mod mirror;

use crate::append::{Log, LogError};
use crate::disk::{Disk, FileSystem};
use crate::places::Places;
use crate::room::{Settings, Signer};
use crate::state::{Head, read_head, read_state};

fn now() -> Timestamp {
    time("2026-03-02T11:00:00Z")
}

/// How one durable step goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing was written.
    Failed,
    /// All was written, and an error returned.
    FailedButStored,
}

/// A disk on which one step goes wrong.
struct FaultyDisk {
    inner: FileSystem,
    steps: usize,
    fault: Option<(usize, Fault)>,
}

impl FaultyDisk {
    fn new(fault: Option<(usize, Fault)>) -> Self {
        Self { inner: FileSystem::new(0o644), steps: 0, fault }
    }

    fn step(&mut self, write: impl FnOnce(&mut FileSystem) -> io::Result<()>) -> io::Result<()> {
        self.steps += 1;
        match self.fault {
            Some((step, fault)) if step == self.steps => {
                if fault == Fault::FailedButStored {
                    write(&mut self.inner)?;
                }
                Err(io::Error::other("injected"))
            }
            // What follows a failed step in the same process must not happen.
            Some((step, _)) if step < self.steps => panic!("the signer went on after a failed step"),
            _ => write(&mut self.inner),
        }
    }
}

impl Disk for FaultyDisk {
    fn keep(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(|disk| disk.keep(path, bytes))
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(|disk| disk.replace(path, bytes))
    }
}

/// A throw-away box: a site directory and the signer's directories.
struct Site {
    directory: tempfile::TempDir,
    pin: Digest,
}

impl Site {
    fn of(told: &Told) -> Self {
        // In memory where there is such a place: what is tested is the order of steps, not the disk's own syncing.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let new = Self { directory, pin: told.pin };
        let release = &told.release;
        let statements = [&release.revocation, &release.policy, &release.grant];
        for envelope in statements.into_iter().chain(&release.roles).chain(&release.catalogue) {
            new.install(envelope);
        }
        let policy = new.site().join(file_name(&release.policy).unwrap()).with_extension("toml");
        fs::write(policy, &release.policy_file).unwrap();
        new
    }

    fn site(&self) -> PathBuf {
        self.directory.path().join("site")
    }

    fn install(&self, envelope: &Envelope) {
        let path = self.site().join(file_name(envelope).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, envelope.to_bytes()).unwrap();
    }

    fn places(&self) -> Places {
        let below = |name: &str| self.directory.path().join(name);
        Places::new(&below("state"), &below("public"), &below("heads/log"))
    }

    fn open_on<D: Disk>(&self, disk: D, now: Timestamp) -> Result<Signer<D>, LogError> {
        let settings = Settings {
            site_directory: self.site(),
            site_pin: self.pin,
            release_key: key("signer"),
            log_key: key("log"),
            accept_on_box_witness: false,
        };
        let mut signer = Signer::open(settings, Log::open(self.places(), disk)?, now)?;
        match signer.take_in_site(now) {
            Ok(_) | Err(crate::room::Stopped::Refused(_)) => Ok(signer),
            Err(crate::room::Stopped::Log(error)) => Err(error),
        }
    }

    fn open(&self) -> Signer<FaultyDisk> {
        self.open_on(FaultyDisk::new(None), now()).unwrap()
    }

    fn open_size(&self) -> u64 {
        self.open().size()
    }

    /// Every file of the signer, by path.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = ["state", "public", "heads"].map(|name| self.directory.path().join(name)).to_vec();
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path());
                } else {
                    let path = entry.path().strip_prefix(self.directory.path()).unwrap().to_owned();
                    found.insert(path, fs::read(entry.path()).unwrap());
                }
            }
        }
        found
    }

    /// The leaves under the published checkpoint, which must lead to its root.
    fn public_leaves(&self) -> Vec<Leaf> {
        let note = Note::parse(&fs::read(self.places().checkpoint()).unwrap()).unwrap();
        let log = VerifierKey::new(LOG, KeyType::Log, key("log").public().public.0).unwrap();
        let head = Checkpoint::open(&note, &log).unwrap();
        let mut tree = release::log::Tree::new();
        let mut leaves = Vec::new();
        for bundle in tiles::bundles(head.size) {
            let bytes = fs::read(self.places().tile(&bundle)).unwrap();
            for leaf in tiles::read_bundle(&bytes, bundle.width).unwrap() {
                tree.append(release::log::merkle::leaf_hash(&leaf));
                leaves.push(Leaf::parse(&leaf).unwrap());
            }
        }
        assert_eq!(tree.root(), head.root);
        leaves
    }

    fn published(&self, event: Event) -> usize {
        self.public_leaves().iter().filter(|leaf| leaf.event() == event).count()
    }
}

fn submit(told: &Told, decision: Decision) -> Message {
    let (request, verdict) = (told.release.request.clone(), told.release.verdict.clone());
    let code_approvals = told.release.code_approvals.clone();
    Message::Submit(Submit { request, verdict, code_approvals, decision, witnessed: Count(0) })
}

fn approvals(told: &Told) -> Decision {
    Decision::Approvals(told.release.approvals.clone())
}

fn digest(told: &Told) -> Digest {
    told.release.verdict.payload_digest()
}

fn denial(told: &Told, who: &str) -> Envelope {
    let verdict: Verdict = told.release.verdict.unverified().unwrap();
    let denial = Denial {
        site: verdict.site.clone(),
        verdict: digest(told).into(),
        challenge: verdict.challenge,
        steward: name(who),
        decision: DenialDecision::Reject,
        reasons: vec![DenialReason::TooMuch],
        roles: verdict.roles.clone(),
        issued_at: time("2026-03-02T10:45:00Z"),
    };
    Envelope::sign(&denial, &[&key(who)]).unwrap()
}

/// The cosignature line of a witness under the checkpoint of a request.
fn cosignature(appended: &Appended, witness: &str, at: Timestamp) -> String {
    let request = AddCheckpoint::parse(appended.add_checkpoint.as_bytes()).unwrap();
    let key = key(witness);
    let verifier = VerifierKey::new(witness, KeyType::Witness, key.public().public.0).unwrap();
    cosign(request.checkpoint.text(), &verifier, at, |message| key.sign(message)).unwrap().to_string()
}

fn cosigned(told: &Told, appended: &Appended, at: Timestamp) -> Message {
    let cosignatures = cosignature(appended, WITNESS, at);
    Message::Cosign(Cosign { verdict: digest(told), size: appended.size, cosignatures })
}

fn ask<D: Disk>(signer: &mut Signer<D>, message: &Message) -> Answer {
    signer.answer(message, now()).unwrap()
}

fn appended(answer: Answer) -> Appended {
    match answer {
        Answer::Appended(appended) => appended,
        other => panic!("appended was expected, not {other:?}"),
    }
}

fn refused(answer: Answer) -> SignerRefusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

fn file(answer: Answer, outcome: Outcome) -> String {
    match answer {
        Answer::Finished(finished) if finished.outcome == outcome => finished.file,
        other => panic!("a finished file was expected, not {other:?}"),
    }
}

fn release<D: Disk>(signer: &mut Signer<D>, told: &Told) -> String {
    let appended = appended(ask(signer, &submit(told, approvals(told))));
    file(ask(signer, &cosigned(told, &appended, now())), Outcome::Release)
}

#[test]
fn approvals_become_a_release_file_that_everyone_can_verify() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    assert_eq!(signer.size(), 7);
    let text = release(&mut signer, &told);
    let file = ReleaseFile::parse(text.as_bytes()).unwrap();
    let logged = file.verify(&Pinned::new(told.pin), now(), GivenFiles::NotGiven).unwrap();
    assert_eq!((logged.witnessed().index, logged.witnessed().head.size), (7, 8));
    let published = site.places().release(&file.manifest.payload_digest());
    assert_eq!(fs::read_to_string(published).unwrap(), text);
    let leaves = site.public_leaves();
    assert_eq!(leaves.len(), 8);
    for leaf in &leaves[..7] {
        let path = site.places().statement(leaf.event(), &leaf.payload()).unwrap();
        let envelope = Envelope::parse(&fs::read(path).unwrap()).unwrap();
        assert_eq!(envelope.payload_digest(), leaf.payload());
    }
    let policy = Digest::of(&told.release.policy_file);
    assert_eq!(fs::read(site.places().policy_file(&policy)).unwrap(), told.release.policy_file);
}

#[test]
fn nothing_is_public_before_a_witness_has_cosigned() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let appended = appended(ask(&mut signer, &submit(&told, approvals(&told))));
    assert!(!site.places().checkpoint().exists());
    assert!(!site.directory.path().join("public/releases").exists());
    let mut cosign = Cosign { verdict: digest(&told), size: appended.size, cosignatures: String::new() };
    let mut say = |cosignatures: String, size: u64| {
        cosign.cosignatures = cosignatures;
        cosign.size = Count(size);
        refused(ask(&mut signer, &Message::Cosign(cosign.clone())))
    };
    let line = cosignature(&appended, WITNESS, now());
    assert_eq!(say(String::new(), 8), SignerRefusal::CosignatureForm);
    assert_eq!(say(line.replace("— ", "- "), 8), SignerRefusal::CosignatureForm);
    let no_quorum = SignerRefusal::Rule(Refusal::LogWitnesses);
    assert_eq!(say(cosignature(&appended, "witness.stranger.example/x", now()), 8), no_quorum);
    assert_eq!(say(cosignature(&appended, test_formats::story::BOX_WITNESS, now()), 8), no_quorum);
    // The size decides which head is meant; a cosignature of another head does not verify under it.
    assert_eq!(say(line.clone(), 7), SignerRefusal::SizeUnknown);
    assert_eq!(say(line.clone(), 9), SignerRefusal::SizeUnknown);
    let late = cosignature(&appended, WITNESS, time("2026-03-05T11:00:00Z"));
    assert_eq!(say(late, 8), SignerRefusal::Rule(Refusal::LogTime));
    assert!(!site.places().checkpoint().exists());

    file(ask(&mut signer, &cosigned(&told, &appended, now())), Outcome::Release);
}

#[test]
fn a_line_that_does_not_verify_keeps_no_true_one_from_counting() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let appended = appended(ask(&mut signer, &submit(&told, approvals(&told))));
    let key = key(WITNESS);
    let verifier = VerifierKey::new(WITNESS, KeyType::Witness, key.public().public.0).unwrap();
    let of_another_text = cosign("another log\n1\nroot\n", &verifier, now(), |message| key.sign(message));
    let lie = of_another_text.unwrap().to_string();
    let mut say = |cosignatures: String| {
        let message = Cosign { verdict: digest(&told), size: appended.size, cosignatures };
        ask(&mut signer, &Message::Cosign(message))
    };
    assert_eq!(refused(say(lie.clone())), SignerRefusal::Rule(Refusal::LogWitnesses));
    file(say(lie + &cosignature(&appended, WITNESS, now())), Outcome::Release);
}

#[test]
fn a_repeat_gets_the_first_answer_also_after_a_restart() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let message = submit(&told, approvals(&told));
    let first = ask(&mut signer, &message);
    let later = time("2026-03-02T11:30:00Z");
    assert_eq!(signer.answer(&message, later).unwrap(), first);
    drop(signer);
    let mut signer = site.open_on(FaultyDisk::new(None), later).unwrap();
    assert_eq!(signer.answer(&message, later).unwrap(), first);
    let get = Message::Get(Get { verdict: digest(&told), witnessed: Count(0) });
    assert_eq!(signer.answer(&get, later).unwrap(), first);
    let done = ask(&mut signer, &cosigned(&told, &appended(first), now()));
    for message in [&message, &get] {
        assert_eq!(signer.answer(message, later).unwrap(), done);
    }
    assert_eq!(site.open().answer(&get, later).unwrap(), done);
    assert_eq!(site.published(Event::Release), 1);
}

#[test]
fn a_second_manifest_for_one_verdict_is_impossible() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let first = release(&mut signer, &told);
    // One approval less would be refused for a new verdict; for this one there is nothing left to decide.
    for count in [2, 1, 0] {
        let fewer = Decision::Approvals(told.release.approvals[..count].to_vec());
        assert_eq!(file(ask(&mut signer, &submit(&told, fewer)), Outcome::Release), first);
    }
    let denial = Decision::Denial(denial(&told, "steward-ana"));
    assert_eq!(refused(ask(&mut signer, &submit(&told, denial))), SignerRefusal::AlreadyReleased);
    assert_eq!(site.published(Event::Release), 1);
}

#[test]
fn a_denial_becomes_a_witnessed_leaf_and_nothing_is_signed_after_it() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let message = submit(&told, Decision::Denial(denial(&told, "steward-ben")));
    let answer = appended(ask(&mut signer, &message));
    assert_eq!((answer.outcome, answer.index), (Outcome::Denial, Count(7)));
    let denied = SignerRefusal::Rule(Refusal::Denied);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    let text = file(ask(&mut signer, &cosigned(&told, &answer, now())), Outcome::Denial);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    assert_eq!(refused(ask(&mut site.open(), &submit(&told, approvals(&told)))), denied);
    assert_eq!((site.published(Event::Denial), site.published(Event::Release)), (1, 0));

    let loaded = release::site::Site::load(&site.site(), &told.pin, now()).unwrap();
    let request = release::path::SignedRequest::verify(&told.release.request, &loaded).unwrap();
    let verdict = release::path::JudgedVerdict::recorded(&told.release.verdict, &request, &loaded).unwrap();
    let file = DenialFile::parse(text.as_bytes()).unwrap();
    let logged = file.verify(&verdict, &loaded, false, now()).unwrap();
    assert_eq!(logged.denial().steward, name("steward-ben"));
}

#[test]
fn a_denial_laid_into_the_site_directory_counts_and_rubbish_there_does_not() {
    let told = Story::default().tell();
    // The supervisor of another project may not refuse this release, and a cut file is nobody's word.
    let innocent = Site::of(&told);
    innocent.install(&denial(&told, "supervisor-sue"));
    let cut = innocent.site().join(file_name(&denial(&told, "steward-ben")).unwrap());
    fs::write(cut, &denial(&told, "steward-ben").to_bytes()[1..]).unwrap();
    release(&mut innocent.open(), &told);

    let site = Site::of(&told);
    site.install(&denial(&told, "steward-ben"));
    let mut signer = site.open();
    let denied = SignerRefusal::Rule(Refusal::Denied);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    let get = Message::Get(Get { verdict: digest(&told), witnessed: Count(0) });
    let answer = appended(ask(&mut signer, &get));
    assert_eq!(answer.outcome, Outcome::Denial);
    file(ask(&mut signer, &cosigned(&told, &answer, now())), Outcome::Denial);
    assert_eq!((site.published(Event::Denial), site.published(Event::Release)), (1, 0));
}

#[test]
fn evidence_that_breaks_a_rule_is_refused_by_that_rule_and_leaves_no_leaf() {
    let honest = Story::default().tell();
    let site = Site::of(&honest);
    let mut signer = site.open();
    let refuse = |signer: &mut Signer<FaultyDisk>, told: &Told, rule: Refusal| {
        let refusal = refused(ask(signer, &submit(told, approvals(told))));
        assert_eq!(refusal, SignerRefusal::Rule(rule));
    };
    let one = Story::default().approvals(|approvals| approvals.truncate(1)).tell();
    refuse(&mut signer, &one, Refusal::ApprovalsTooFew);
    let twice = Story::default().approvals(|approvals| approvals[1] = approvals[0].clone()).tell();
    refuse(&mut signer, &twice, Refusal::ApprovalTwice);
    let foreign = Story::default().signed_by("approval-1", &["steward-ana"]).tell();
    refuse(&mut signer, &foreign, Refusal::ApprovalSignature);
    let forged = Story::default().signed_by("verdict", &["signer"]).tell();
    refuse(&mut signer, &forged, Refusal::VerdictSignature);
    let blocked = Story::default()
        .verdict(|verdict| {
            verdict.result = VerdictResult::Blocked;
            verdict.rules[0].result = release::statement::RuleResult::Blocked;
            verdict.charges[0].release_bits = Count(0);
        })
        .tell();
    refuse(&mut signer, &blocked, Refusal::VerdictBlocked);
    let request = Story::default().signed_by("request", &["steward-ana"]).tell();
    refuse(&mut signer, &request, Refusal::RequestSignature);
    let unknown = Message::Get(Get { verdict: digest(&honest), witnessed: Count(0) });
    assert_eq!(refused(ask(&mut signer, &unknown)), SignerRefusal::VerdictUnknown);
    assert_eq!(signer.size(), 7);
    release(&mut signer, &honest);
}

#[test]
fn an_expired_site_and_a_clock_set_back_sign_nothing() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let message = submit(&told, approvals(&told));
    let late = signer.answer(&message, time("2026-03-08T09:00:00Z")).unwrap();
    assert_eq!(refused(late), SignerRefusal::Rule(Refusal::OutOfForce));
    release(&mut signer, &told);
    let second = Story::default().verdict(|verdict| verdict.run = Count(2)).tell();
    let back = signer.answer(&submit(&second, approvals(&second)), time("2026-03-02T10:54:59Z")).unwrap();
    assert_eq!(refused(back), SignerRefusal::ClockBehind);
    assert!(matches!(ask(&mut signer, &submit(&second, approvals(&second))), Answer::Appended(_)));
}

#[test]
fn an_older_site_directory_is_refused() {
    let newer = Story::default().revocation(|revocation| revocation.version = Count(10)).tell();
    let told = Story::default().tell();
    let site = Site::of(&newer);
    let mut signer = site.open();
    fs::remove_file(site.site().join("revocations/10.json")).unwrap();
    site.install(&told.release.revocation);
    let message = submit(&told, approvals(&told));
    assert_eq!(refused(ask(&mut signer, &message)), SignerRefusal::Rule(Refusal::Rollback));
    // The memory survives a restart.
    assert_eq!(refused(ask(&mut site.open(), &message)), SignerRefusal::Rule(Refusal::Rollback));
    fs::remove_file(site.site().join("revocations/9.json")).unwrap();
    assert_eq!(refused(ask(&mut signer, &message)), SignerRefusal::SiteUnreadable);
    site.install(&newer.release.revocation);
    assert!(matches!(ask(&mut signer, &message), Answer::Appended(_)));
}

#[test]
fn a_grant_past_the_datasets_limit_is_no_leaf_and_nothing_is_released_under_it() {
    let over = Story::default().grant(|grant| {
        let bits = DatasetGrant { release_bits: Count(1_000_001), answer_bits: Count(1_000) };
        grant.datasets.insert(name("hie"), bits);
    });
    let told = over.tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    assert_eq!(signer.size(), 6);
    let refusal = refused(ask(&mut signer, &submit(&told, approvals(&told))));
    assert_eq!(refusal, SignerRefusal::GrantsExceedDataset);
}

#[test]
fn grants_are_added_up_and_the_one_too_many_counts_as_absent() {
    let told = Story::default().dataset(|dataset| {
        if let CatalogueEntry::Dataset { limits, .. } = &mut dataset.entry {
            limits.release_bits = Count(60_000);
        }
    });
    let told = told.tell();
    let site = Site::of(&told);
    let other = Story::default().grant(|grant| grant.id = name("another-study")).tell();
    site.install(&other.release.grant);
    // `another-study` comes first by name and takes 40,000 of 60,000 bits.
    let mut signer = site.open();
    assert_eq!(signer.size(), 7);
    let refusal = refused(ask(&mut signer, &submit(&told, approvals(&told))));
    assert_eq!(refusal, SignerRefusal::GrantsExceedDataset);
    // A denial needs no grant in the log.
    let denial = Decision::Denial(denial(&told, "steward-ana"));
    assert!(matches!(ask(&mut signer, &submit(&told, denial)), Answer::Appended(_)));
}

#[test]
fn bits_of_all_releases_stay_within_the_grant() {
    let first = Story::default().tell();
    let site = Site::of(&first);
    let mut signer = site.open();
    let verdict: Verdict = first.release.verdict.unverified().unwrap();
    let each = verdict.released_bits.0 + verdict.verdict_bits.0;
    let fits = 40_000 / each;
    for run in 1..=fits {
        let told = Story::default().verdict(move |verdict| verdict.run = Count(run)).tell();
        let text = release(&mut signer, &told);
        let file = ReleaseFile::parse(text.as_bytes()).unwrap();
        let manifest: release::statement::Manifest = file.manifest.unverified().unwrap();
        assert_eq!(manifest.accounts[0].released_before, Count((run - 1) * each));
    }
    // The sum is taken from the log, so a restart changes nothing.
    let mut signer = site.open();
    let told = Story::default().verdict(move |verdict| verdict.run = Count(fits + 1)).tell();
    let refusal = refused(ask(&mut signer, &submit(&told, approvals(&told))));
    assert_eq!(refusal, SignerRefusal::Rule(Refusal::ManifestAccount));
}

#[test]
fn a_log_that_is_older_than_its_head_or_its_witness_is_refused() {
    let told = Story::default().tell();
    let site = Site::of(&told);
    drop(site.open());
    let snapshot = site.files();
    let mut signer = site.open();
    release(&mut signer, &told);
    let get = |witnessed| Message::Get(Get { verdict: digest(&told), witnessed: Count(witnessed) });
    let second = Story::default().verdict(|verdict| verdict.run = Count(2)).tell();
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

/// The story under a grant that demands a review of the code.
fn story_with_code_review() -> Story {
    Story::default().grant(|grant| grant.code_review = CodeReview::BeforeRun)
}

fn code_denial(told: &Told, who: &str) -> Envelope {
    let request: Request = told.release.request.unverified().unwrap();
    let verdict: Verdict = told.release.verdict.unverified().unwrap();
    let denial = CodeDenial {
        site: request.site,
        request: told.release.request.payload_digest().into(),
        bundle: request.bundle,
        steward: name(who),
        decision: DenialDecision::Return,
        reasons: vec![DenialReason::Code],
        roles: verdict.roles,
        issued_at: time("2026-03-02T09:12:00Z"),
    };
    Envelope::sign(&denial, &[&key(who)]).unwrap()
}

fn deny_code(told: &Told, denial: Envelope) -> Message {
    Message::DenyCode(DenyCode { request: told.release.request.clone(), denial, witnessed: Count(0) })
}

#[test]
fn a_run_without_the_review_of_its_code_that_the_grant_demands_is_not_signed() {
    let told = story_with_code_review().tell();
    let site = Site::of(&told);
    let without = Message::Submit(Submit {
        request: told.release.request.clone(),
        verdict: told.release.verdict.clone(),
        code_approvals: Vec::new(),
        decision: approvals(&told),
        witnessed: Count(0),
    });
    let missing = SignerRefusal::Rule(Refusal::CodeReviewMissing);
    assert_eq!(refused(ask(&mut site.open(), &without)), missing);
    // An enclave that says nothing of a review, and one that names a review by one steward.
    let unsaid =
        story_with_code_review().verdict(|verdict| verdict.code_review = Evidence::NotChecked).tell();
    assert_eq!(refused(ask(&mut Site::of(&unsaid).open(), &submit(&unsaid, approvals(&unsaid)))), missing);
    let one = story_with_code_review().code_approvals(|approvals| approvals.truncate(1)).tell();
    let too_few = SignerRefusal::Rule(Refusal::ApprovalsTooFew);
    assert_eq!(refused(ask(&mut Site::of(&one).open(), &submit(&one, approvals(&one)))), too_few);
    release(&mut site.open(), &told);
}

#[test]
fn a_refusal_of_code_becomes_a_witnessed_leaf_and_no_verdict_of_its_request_is_signed() {
    let told = story_with_code_review().tell();
    let site = Site::of(&told);
    let mut signer = site.open();
    let message = deny_code(&told, code_denial(&told, "steward-ben"));
    let answer = appended(ask(&mut signer, &message));
    assert_eq!((answer.outcome, answer.index), (Outcome::CodeDenial, Count(7)));
    assert_eq!(appended(ask(&mut site.open(), &message)).index, Count(7), "a repeat gets the first answer");
    let denied = SignerRefusal::Rule(Refusal::CodeDenied);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    let cosign = Message::Cosign(Cosign {
        verdict: told.release.request.payload_digest(),
        size: answer.size,
        cosignatures: cosignature(&answer, WITNESS, now()),
    });
    let text = file(ask(&mut signer, &cosign), Outcome::CodeDenial);
    assert_eq!(refused(ask(&mut site.open(), &submit(&told, approvals(&told)))), denied);
    assert_eq!((site.published(Event::CodeDenial), site.published(Event::Release)), (1, 0));

    let loaded = release::site::Site::load(&site.site(), &told.pin, now()).unwrap();
    let request = release::path::SignedRequest::verify(&told.release.request, &loaded).unwrap();
    let file = CodeDenialFile::parse(text.as_bytes()).unwrap();
    assert_eq!(file.verify(&request, &loaded, false, now()).unwrap().denial().steward, name("steward-ben"));
    // Not by someone who is no steward of the data, nor in another's name.
    for by in ["supervisor-sue", "researcher-mia"] {
        let message = deny_code(&told, code_denial(&told, by));
        let refusal = refused(ask(&mut Site::of(&told).open(), &message));
        assert_eq!(refusal, SignerRefusal::Rule(Refusal::ApprovalSignature), "{by}");
    }
}

#[test]
fn a_refusal_of_code_laid_into_the_site_directory_stops_the_release() {
    let told = story_with_code_review().tell();
    let site = Site::of(&told);
    site.install(&code_denial(&told, "steward-ben"));
    let mut signer = site.open();
    let denied = SignerRefusal::Rule(Refusal::CodeDenied);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    let get = Message::Get(Get { verdict: told.release.request.payload_digest(), witnessed: Count(0) });
    assert_eq!(appended(ask(&mut signer, &get)).outcome, Outcome::CodeDenial);
    assert_eq!(refused(ask(&mut signer, &submit(&told, approvals(&told)))), denied);
    // Of another request it stops nothing.
    let innocent = Site::of(&told);
    innocent.install(&code_denial(&Story::default().tell(), "steward-ben"));
    release(&mut innocent.open(), &told);
}
