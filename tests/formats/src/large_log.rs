//! A log with many leaves and releases, published as a site publishes it: a plain directory.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use blobs::Digest;
use databox_verify::command;
use release::envelope::Envelope;
use release::file::{self, ReleaseFile};
use release::key::Sign as _;
use release::log::merkle::leaf_hash;
use release::log::tiles::{TILE_WIDTH, Tile, new_tiles, write_bundle};
use release::log::{Checkpoint, Event, Leaf, LeafSignature, LogProof, Tree};
use release::refusal::Refusal;
use release::statement::{Manifest, Roles, RolesId};
use release::value::Count;

use crate::log_story::{LogStory, cosigner};
use crate::story::{LOG, Story, Told, WITNESS, key, name};

/// A site that goes on releasing.
pub struct LargeLog {
    directory: PathBuf,
    /// The pin: payload digest of version 1 of the roles.
    pub pin: Digest,
    signs: LogStory,
    tree: Tree,
    /// Entries of the bundle that is not full yet.
    open: Vec<Vec<u8>>,
    published: u64,
    /// The digests of the manifests, in the order of the log.
    pub released: Vec<Digest>,
    bits: u64,
    /// What releases are signed under. The log has what it has: whoever sets this back signs as one would who took over the
    /// signer's keys.
    pub standing: Standing,
    other: &'static str,
}

/// What the site decided after the beginning.
#[derive(Clone, Default)]
pub struct Standing {
    /// Recalled releases: a version of the revocation more for each.
    pub recalled: Vec<Digest>,
    /// Versions of the roles after the second.
    pub roles: Vec<Envelope>,
}

/// What the auditor's program says of a mirror, and its exit code.
pub fn log(mirror: &Path, pin: &Digest, more: &[&str]) -> (u8, String) {
    let words = ["log", "account", mirror.to_str().expect("a path"), "--roles", &pin.to_string()];
    let arguments = words.into_iter().chain(more.iter().copied()).map(OsString::from);
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = command::exit_code(arguments, &mut out, &mut errors);
    assert!(errors.is_empty(), "{}", String::from_utf8_lossy(&errors));
    (code, String::from_utf8(out).expect("text"))
}

/// The name of the rule by which it refused, if it did.
pub fn refusal(found: (u8, String)) -> Option<&'static str> {
    Refusal::from_code(found.0).map(Refusal::name)
}

/// The story, with a version of the revocation more for each recalled release.
fn story_with(recalled: &[Digest]) -> Story {
    let recalled = recalled.to_vec();
    Story::default().revocation(move |revocation| {
        revocation.version = Count(revocation.version.0 + recalled.len() as u64);
        revocation.releases = recalled.clone();
        revocation.releases.sort();
    })
}

/// A telling that differs from every other in its run, and in what was released before it.
fn told(number: u64, before: u64, standing: &Standing) -> Told {
    let plenty = Count(1 << 40);
    let (newest, roles) = (standing.roles.last().cloned(), standing.roles.clone());
    story_with(&standing.recalled)
        .dataset(move |entry| {
            if let release::statement::CatalogueEntry::Dataset { limits, .. } = &mut entry.entry {
                limits.release_bits = plenty;
            }
        })
        .grant(move |grant| {
            grant.datasets.get_mut(&name("hie")).expect("the dataset").release_bits = plenty;
        })
        .without_tables()
        .verdict(move |verdict| verdict.run = Count(number + 1))
        .manifest(move |manifest| {
            manifest.accounts.iter_mut().for_each(|account| account.released_before = Count(before));
            if let Some(newest) = &newest {
                let version = newest.unverified::<Roles>().expect("roles").version;
                manifest.roles = RolesId { version, payload: newest.payload_digest().into() };
            }
        })
        .release(move |release| release.roles.extend(roles.iter().cloned()))
        .tell()
}

impl LargeLog {
    /// A log with what the site decided and nothing else. Logs with other `other` words have other denials.
    pub fn begin(directory: &Path, other: &'static str) -> Self {
        let first = told(0, 0, &Standing::default());
        let decided = Story::default().decide();
        let mut log = Self {
            directory: directory.to_owned(),
            pin: first.pin,
            signs: LogStory::of(&decided, &first.release.manifest),
            tree: Tree::new(),
            open: Vec::new(),
            published: 0,
            released: Vec::new(),
            bits: 0,
            standing: Standing::default(),
            other,
        };
        let release = &first.release;
        let [dataset, runtime] = [&release.catalogue[0], &release.catalogue[1]];
        let decisions = [
            ("roles", &release.roles[0]),
            ("roles", &release.roles[1]),
            ("policies", &release.policy),
            ("catalogue", dataset),
            ("catalogue", runtime),
            ("grants", &release.grant),
            ("revocations", &release.revocation),
        ];
        log.write(&format!("policies/{}.toml", Digest::of(&release.policy_file)), &release.policy_file);
        for (folder, envelope) in decisions {
            log.decide(folder, envelope);
        }
        log
    }

    /// Appends a statement of the site, whoever signed it.
    pub fn decide(&mut self, folder: &str, envelope: &Envelope) {
        self.write(&format!("{folder}/{}.json", envelope.payload_digest()), &envelope.to_bytes());
        self.append(&Leaf::of(envelope).expect("a leaf"));
    }

    /// Goes on to this many leaves, with as many releases more, evenly between denials.
    pub fn grow(&mut self, leaves: u64, releases: u64) {
        let (begin, already) = (self.tree.size(), self.released.len() as u64);
        for number in 0..releases {
            let place = begin + (leaves - begin) * number / releases;
            self.deny_until(place);
            self.release(already + number);
        }
        self.deny_until(leaves);
    }

    /// A newer revocation, which recalls a release; those that are signed after it stand under it.
    pub fn recall(&mut self, release: Digest) {
        self.standing.recalled.push(release);
        let envelope = story_with(&self.standing.recalled).decide().revocation;
        self.decide("revocations", &envelope);
    }

    /// The next version of the roles, changed like this; releases that are signed after it stand under it.
    pub fn renew_roles(&mut self, change: impl FnOnce(&mut Roles)) {
        let second = Story::default().decide().roles[1].clone();
        let mut roles: Roles = self.standing.roles.last().unwrap_or(&second).unverified().expect("roles");
        roles.version = Count(roles.version.0 + 1);
        change(&mut roles);
        let (rita, rolf) = (key("root-rita"), key("root-rolf"));
        let envelope = Envelope::sign(&roles, &[&rita, &rolf]).expect("an envelope");
        self.decide("roles", &envelope);
        self.standing.roles.push(envelope);
    }

    /// Witnesses cosign at this moment from now on.
    pub fn witnessed_at(&mut self, at: &str) {
        self.signs.cosigners = vec![cosigner(WITNESS, at)];
    }

    /// Writes tiles, the open bundle and a witnessed checkpoint.
    pub fn publish(&mut self) {
        let size = self.tree.size();
        for tile in new_tiles(self.published, size).into_iter().filter(|tile| tile.level.is_some()) {
            self.write(&format!("log/{}", tile.path()), &tile.hashes(&self.tree).expect("a tile"));
        }
        self.write_open_bundle();
        let head = Checkpoint { origin: LOG.to_owned(), size, root: self.tree.root() };
        self.write("log/checkpoint", self.signs.sign(&head).to_string().as_bytes());
        self.published = size;
    }

    fn deny_until(&mut self, leaves: u64) {
        while self.tree.size() < leaves {
            let text = format!("{} {}", self.other, self.tree.size());
            let key_id = Digest::of(b"a steward");
            let signature = LeafSignature { key_id, signature: [7; 64].into() };
            let leaf = Leaf::new(Event::Denial, Digest::of(text.as_bytes()), [signature]);
            self.append(&leaf.expect("a leaf"));
        }
    }

    fn release(&mut self, number: u64) {
        let signed = self.sign_release(number);
        self.prove(signed);
    }

    /// Appends a release, which is not proven yet.
    pub fn sign_release(&mut self, number: u64) -> (u64, ReleaseFile) {
        let told = told(number, self.bits, &self.standing);
        let manifest: Manifest = told.release.manifest.unverified().expect("a manifest");
        self.bits += manifest.released_bits.0;
        (self.append(&leaf_of(&told.release.manifest)), told.release)
    }

    /// Proves a release under the head of now.
    pub fn prove(&mut self, (index, release): (u64, ReleaseFile)) {
        let size = self.tree.size();
        let head = Checkpoint { origin: LOG.to_owned(), size, root: self.tree.root() };
        let hashes = self.tree.inclusion_proof(index, size).expect("a proof");
        let proof = LogProof { index, hashes, checkpoint: self.signs.sign(&head) };
        let release = release.with_proof(&proof);
        let digest = release.manifest.payload_digest();
        self.write(&format!("releases/{digest}.release.json"), &release.to_bytes());
        self.released.push(digest);
    }

    fn append(&mut self, leaf: &Leaf) -> u64 {
        let entry = leaf.to_text().into_bytes();
        let index = self.tree.append(leaf_hash(&entry));
        self.open.push(entry);
        if self.open.len() as u64 == TILE_WIDTH {
            self.write_open_bundle();
            self.open.clear();
        }
        index
    }

    fn write_open_bundle(&self) {
        let width = self.open.len() as u64;
        if width > 0 {
            let index = (self.tree.size() - 1) / TILE_WIDTH;
            let bundle = Tile { level: None, index, width };
            let bytes = write_bundle(self.open.iter().map(Vec::as_slice));
            self.write(&format!("log/{}", bundle.path()), &bytes);
        }
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

fn leaf_of(manifest: &Envelope) -> Leaf {
    file::leaf(Event::Release, manifest, &key("signer").public()).expect("a leaf")
}
