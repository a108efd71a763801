//! A mirror of everything that a site makes public: the log, and what its leaves stand for. An auditor adds up what
//! left, from the log alone, and believes neither the enclave's account nor the signer's.

use std::collections::BTreeMap;
use std::io;

use blobs::Digest;

use super::examination::{Outcome, Row, Rows};
use super::log_check::{open, witnessed};
use super::verify::{GivenFiles, LoggedRelease, Pinned};
use super::{RELEASE_FILE_LIMIT, ReleaseFile};
use crate::envelope::{ENVELOPE_LIMIT, Envelope};
use crate::log::{Checkpoint, Event, Leaf, LogProof, Note, Tree, tiles};
use crate::refusal::Refusal;
use crate::site::{Verified, next_roles};
use crate::statement::{Grant, Revocation, Roles};
use crate::value::{Name, Timestamp};

/// Where a mirror's files come from.
pub trait Mirror {
    /// The file at this path below the mirror, at most `limit` bytes and one more; nothing if it is not there.
    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>>;
}

/// What left of one dataset under one grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantTotal {
    /// The dataset.
    pub dataset: Name,
    /// The grant.
    pub grant: Name,
    /// How many releases there are.
    pub releases: u64,
    /// Bits that they carry, with their verdicts'.
    pub released_bits: u64,
    /// Bits that the newest logged version of the grant allows.
    pub limit: u64,
}

/// What an auditor finds in a mirror.
#[derive(Debug)]
pub struct MirrorExamination {
    /// The checks.
    pub rows: Vec<Row>,
    /// What left, by dataset and grant, as far as it was added up.
    pub totals: Vec<GrantTotal>,
    /// The head up to which it was read, or the first rule that was broken.
    pub result: Result<Checkpoint, Refusal>,
}

impl MirrorExamination {
    /// Reads the whole log and everything that its leaves stand for, and adds up the bits that left.
    ///
    /// `pinned.seen` is not asked: what this reads is newer than what a release file shows.
    pub fn of(mirror: &dyn Mirror, pinned: &Pinned, now: Timestamp) -> io::Result<Self> {
        let (mut rows, mut sums) = (Rows::default(), Sums::default());
        let result = examine(mirror, pinned, now, &mut rows, &mut sums)?;
        Ok(Self { rows: rows.into_rows(), totals: sums.totals(), result })
    }
}

/// A refusal inside, a file that cannot be read outside.
type Found<T> = io::Result<Result<T, Refusal>>;

fn examine(
    mirror: &dyn Mirror,
    pinned: &Pinned,
    now: Timestamp,
    rows: &mut Rows,
    sums: &mut Sums,
) -> Found<Checkpoint> {
    let read = match read_log(mirror)? {
        Ok(read) => read,
        Err(refusal) => return Ok(rows.check("entries", Err(refusal), |_: &Checkpoint| String::new())),
    };
    let entries = rows.check("entries", read.lead_to_root(), |()| format!("{} leaves", read.head.size));
    let chain = match entries {
        Ok(()) => roles(mirror, &read.leaves, pinned)?,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let verified = rows.check("roles", chain, |roles| format!("version {}", roles.version));
    let verified = verified.and_then(|roles| head(&read, &roles, pinned, now, rows));
    if let Err(refusal) = verified {
        return Ok(Err(refusal));
    }
    let statements = statements(mirror, &read.leaves, sums)?;
    if let Err(refusal) = rows.check("statements", statements, |count| format!("{count} are there")) {
        return Ok(Err(refusal));
    }
    // All are read, whatever is found in one, so that the totals are complete.
    let mut first = Ok(());
    let releases = (0u64..).zip(&read.leaves).filter(|(_, leaf)| leaf.event() == Event::Release);
    for (index, leaf) in releases {
        let found = release(mirror, leaf, pinned, now)?;
        let found = found.and_then(|release| read.has(&release, index).map(|()| release));
        let checked = found.and_then(|release| sums.add(&release).map(|said| (release, said)));
        let recalled = sums.recalled.contains(&leaf.payload());
        let checked = rows.check(&format!("release {}", leaf.payload()), checked, |(_, said)| said.clone());
        if recalled {
            rows.say(&format!("release {}", leaf.payload()), Outcome::Noted, "recalled");
        }
        first = first.and(checked.map(drop));
    }
    Ok(first.map(|()| read.head))
}

struct ReadLog {
    note: Note,
    head: Checkpoint,
    leaves: Vec<Leaf>,
    tree: Tree,
}

impl ReadLog {
    fn lead_to_root(&self) -> Result<(), Refusal> {
        if self.tree.root() == self.head.root { Ok(()) } else { Err(Refusal::LogEntries) }
    }

    /// Refuses a release that was proven in another past than this log's. A head that is newer than the mirror's, as
    /// when files are copied while the box works, is not compared.
    fn has(&self, release: &LoggedRelease, index: u64) -> Result<(), Refusal> {
        let witnessed = release.witnessed();
        let head = &witnessed.head;
        let same = head.size > self.tree.size() || self.tree.root_at(head.size) == Some(head.root);
        if same && witnessed.index == index { Ok(()) } else { Err(Refusal::LogEntries) }
    }
}

fn read_log(mirror: &dyn Mirror) -> Found<ReadLog> {
    let Some(text) = mirror.read("log/checkpoint", ENVELOPE_LIMIT)? else {
        return Ok(Err(Refusal::LogCheckpoint));
    };
    let parsed = Note::parse(&text).ok().and_then(|note| {
        let head = Checkpoint::parse(note.text()).ok()?;
        Some((note, head))
    });
    let Some((note, head)) = parsed else { return Ok(Err(Refusal::LogCheckpoint)) };
    let (mut leaves, mut tree) = (Vec::new(), Tree::new());
    for bundle in tiles::bundles(head.size) {
        // A full bundle may have taken the place of a part of it.
        let Some(bytes) = mirror.read(&format!("log/{}", bundle.path()), BUNDLE_LIMIT)? else {
            return Ok(Err(Refusal::LogEntries));
        };
        let Ok(entries) = tiles::read_bundle(&bytes, bundle.width) else {
            return Ok(Err(Refusal::LogEntries));
        };
        for entry in entries {
            let Ok(leaf) = Leaf::parse(&entry) else { return Ok(Err(Refusal::LogEntries)) };
            tree.append(leaf.hash());
            leaves.push(leaf);
        }
    }
    Ok(Ok(ReadLog { note, head, leaves, tree }))
}

/// Largest bundle of entries: 256 entries of at most 64 KiB.
const BUNDLE_LIMIT: usize = 256 * (65_535 + 2);

/// The chain of roles in the order of the log, from the pin.
fn roles(mirror: &dyn Mirror, leaves: &[Leaf], pinned: &Pinned) -> Found<Roles> {
    let mut last: Option<Verified<Roles>> = None;
    for leaf in leaves.iter().filter(|leaf| leaf.event() == Event::Roles) {
        let Some(envelope) = statement(mirror, leaf, "roles")? else { return Ok(Err(Refusal::LogStatement)) };
        match next_roles(last.as_ref(), &envelope, &pinned.roles, Timestamp::LAST) {
            Ok(roles) => last = Some(roles),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    Ok(last.map(|roles| roles.statement().clone()).ok_or(Refusal::RolesPin))
}

fn head(
    read: &ReadLog,
    roles: &Roles,
    pinned: &Pinned,
    now: Timestamp,
    rows: &mut Rows,
) -> Result<(), Refusal> {
    let proof = LogProof { index: 0, hashes: Vec::new(), checkpoint: read.note.clone() };
    rows.check("checkpoint", open(&proof, roles), |head| {
        format!("{} with {} leaves", head.origin, head.size)
    })?;
    let found = witnessed(&proof, roles, pinned.accept_on_box_witness).and_then(|found| {
        let future = found.0 > now.plus(crate::site::CLOCK_SKEW_SECONDS);
        if future { Err(Refusal::LogTime) } else { Ok(found) }
    });
    rows.check("witnesses", found, |(time, names)| format!("{} at {time}", names.join(", "))).map(drop)
}

fn statement(mirror: &dyn Mirror, leaf: &Leaf, folder: &str) -> io::Result<Option<Envelope>> {
    let bytes = mirror.read(&format!("{folder}/{}.json", leaf.payload()), ENVELOPE_LIMIT)?;
    let envelope = bytes.and_then(|bytes| Envelope::parse(&bytes).ok());
    Ok(envelope.filter(|envelope| {
        envelope.payload_digest() == leaf.payload() && Event::of(envelope.kind()) == Some(leaf.event())
    }))
}

/// Reads every statement of the site that is a leaf, and remembers what grants allow and what is recalled.
fn statements(mirror: &dyn Mirror, leaves: &[Leaf], sums: &mut Sums) -> Found<usize> {
    let mut count = 0;
    for leaf in leaves {
        let folder = match leaf.event() {
            Event::Roles => "roles",
            Event::Policy => "policies",
            Event::Grant => "grants",
            Event::Catalogue => "catalogue",
            Event::Revocation => "revocations",
            // A denial is not public; its leaf says that there is one.
            Event::Release | Event::Denial | Event::CodeDenial => continue,
        };
        let Some(envelope) = statement(mirror, leaf, folder)? else { return Ok(Err(Refusal::LogStatement)) };
        let read = match leaf.event() {
            Event::Grant => envelope.unverified().map(|grant| sums.know(&grant)),
            Event::Revocation => envelope.unverified().map(|revocation: Revocation| {
                sums.recalled.extend(revocation.releases);
            }),
            _ => Ok(()),
        };
        if let Err(refusal) = read {
            return Ok(Err(refusal));
        }
        count += 1;
    }
    Ok(Ok(count))
}

fn release(mirror: &dyn Mirror, leaf: &Leaf, pinned: &Pinned, now: Timestamp) -> Found<LoggedRelease> {
    let path = format!("releases/{}.release.json", leaf.payload());
    let Some(bytes) = mirror.read(&path, RELEASE_FILE_LIMIT)? else { return Ok(Err(Refusal::LogStatement)) };
    let pinned = Pinned { seen: None, ..pinned.clone() };
    let file = ReleaseFile::parse(&bytes).and_then(|file| {
        let same = file.manifest.payload_digest() == leaf.payload();
        if same { Ok(file) } else { Err(Refusal::LogStatement) }
    });
    Ok(file.and_then(|file| file.verify(&pinned, now, GivenFiles::NotGiven)))
}

#[derive(Default)]
struct Sums {
    /// By grant and dataset.
    sums: BTreeMap<(Name, Name), GrantTotal>,
    recalled: std::collections::BTreeSet<Digest>,
}

impl Sums {
    /// Remembers what a version of a grant allows.
    fn know(&mut self, grant: &Grant) {
        for (dataset, bits) in &grant.datasets {
            self.total(&grant.id, dataset).limit = bits.release_bits.0;
        }
    }

    fn total(&mut self, grant: &Name, dataset: &Name) -> &mut GrantTotal {
        self.sums.entry((dataset.clone(), grant.clone())).or_insert_with(|| GrantTotal {
            dataset: dataset.clone(),
            grant: grant.clone(),
            releases: 0,
            released_bits: 0,
            limit: 0,
        })
    }

    /// Adds a release. What the signer says was released before must be what the log adds up to, and the sum must
    /// fit into the version of the grant that the release was made under.
    fn add(&mut self, release: &LoggedRelease) -> Result<String, Refusal> {
        let manifest = release.manifest();
        let mut fits = true;
        let mut said = Vec::new();
        for account in &manifest.accounts {
            let total = self.total(&manifest.grant.id, &account.dataset);
            let before = total.released_bits;
            total.released_bits = before.saturating_add(manifest.released_bits.0);
            total.releases += 1;
            fits &= account.released_before.0 == before && total.released_bits <= account.limit.0;
            said.push(format!("{}: {} of {} bits", account.dataset, total.released_bits, account.limit));
        }
        if fits { Ok(said.join("; ")) } else { Err(Refusal::ManifestAccount) }
    }

    fn totals(&self) -> Vec<GrantTotal> {
        self.sums.values().cloned().collect()
    }
}
