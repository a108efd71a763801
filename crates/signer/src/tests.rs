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

mod account;
mod code;
mod crashes;
mod decisions;
mod differencing;
mod durable;
mod history;
mod meanwhile;
mod mirror;
mod publishing;
mod speed;
mod together;
mod token;

use crate::append::{Log, LogError};
use crate::disk::{Disk, FileSystem};
use crate::key::BoxKey;
use crate::places::Places;
use crate::room::{BATCH_BYTES, Settings, Signer};
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

    fn settings(&self) -> Settings {
        Settings {
            site_directory: self.site(),
            site_pin: self.pin,
            release_key: BoxKey::File(key("signer")),
            log_key: BoxKey::File(key("log")),
            accept_on_box_witness: false,
            batch_bytes: BATCH_BYTES,
        }
    }

    fn open_on<D: Disk>(&self, disk: D, now: Timestamp) -> Result<Signer<D>, LogError> {
        self.open_with(self.settings(), disk, now)
    }

    fn open_with<D: Disk>(&self, settings: Settings, disk: D, now: Timestamp) -> Result<Signer<D>, LogError> {
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
    submit_compared(told, decision, &[])
}

/// The same, with the verdicts that its tables were compared with.
fn submit_compared(told: &Told, decision: Decision, compared: &[Digest]) -> Message {
    let (request, verdict) = (told.release.request.clone(), told.release.verdict.clone());
    let code_approvals = told.release.code_approvals.clone();
    let compared = compared.to_vec();
    Message::Submit(Submit { request, verdict, code_approvals, decision, compared, witnessed: Count(0) })
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
fn cosignature(add_checkpoint: &str, witness: &str, at: Timestamp) -> String {
    let request = AddCheckpoint::parse(add_checkpoint.as_bytes()).unwrap();
    let key = key(witness);
    let verifier = VerifierKey::new(witness, KeyType::Witness, key.public().public.0).unwrap();
    cosign(request.checkpoint.text(), &verifier, at, |message| key.sign(message)).unwrap().to_string()
}

fn cosigned(told: &Told, appended: &Appended, at: Timestamp) -> Message {
    let cosignatures = cosignature(&appended.add_checkpoint, WITNESS, at);
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
    release_compared(signer, told, &[])
}

fn release_compared<D: Disk>(signer: &mut Signer<D>, told: &Told, compared: &[Digest]) -> String {
    let appended = appended(ask(signer, &submit_compared(told, approvals(told), compared)));
    file(ask(signer, &cosigned(told, &appended, now())), Outcome::Release)
}
