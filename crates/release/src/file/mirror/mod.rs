//! A mirror of everything that a site makes public: the log, and what its leaves stand for. An auditor adds up what
//! left, from the log alone, and believes neither the enclave's account nor the signer's.

mod entries;
mod listed;
mod past;
mod since;
mod standing;
mod statements;
mod sums;

use std::io;

use super::examination::{Outcome, Row, Rows};
use super::log_check::{open, witnessed};
use super::verify::{GivenFiles, LoggedRelease, Pinned};
use super::{RELEASE_FILE_LIMIT, ReleaseFile};
use crate::envelope::{ENVELOPE_LIMIT, Envelope};
use crate::log::tiled::{TiledError, TiledTree};
use crate::log::{Checkpoint, Leaf, LogProof, Note};
use crate::refusal::Refusal;
use crate::site::{CLOCK_SKEW_SECONDS, Verified, next_roles};
use crate::statement::Roles;
use crate::value::{Name, Timestamp};

pub use since::AuditState;
use sums::Sums;

/// Where a mirror's files come from.
pub trait Mirror {
    /// The file at this path below the mirror, at most `limit` bytes and one more; nothing if it is not there.
    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>>;

    /// The names of the files in this folder of the mirror, sorted; none if it is not there.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
}

/// How much of a mirror is read.
#[derive(Debug, Clone, Copy)]
pub enum Reading<'a> {
    /// Every entry of the log, and everything that its leaves stand for.
    Whole,
    /// The entries that came after an earlier examination, which read those before, and what they stand for.
    Since(&'a AuditState),
    /// No entry: the release files that are there, each held against the mirror's head by tiles.
    WithoutEntries,
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
    /// The newest version of the grant that is known: of those in the log; without entries, of those in releases.
    pub grant_version: u64,
    /// Bits that it allows.
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
    /// What to keep for the next time, if all was in order and every entry was read.
    pub state: Option<AuditState>,
}

impl MirrorExamination {
    /// Examines a mirror.
    ///
    /// `pinned.seen` is not asked: what this reads is newer than what a release file shows.
    pub fn of(
        mirror: &dyn Mirror,
        pinned: &Pinned,
        reading: Reading<'_>,
        now: Timestamp,
    ) -> io::Result<Self> {
        let mut rows = Rows::default();
        let mut audit = Audit { mirror, pinned, now, rows: &mut rows, sums: Sums::default() };
        let found = match reading {
            Reading::Whole => entries::examine(&mut audit, None)?,
            Reading::Since(state) => entries::examine(&mut audit, Some(state))?,
            Reading::WithoutEntries => listed::examine(&mut audit)?.map(|head| (head, None)),
        };
        let totals = audit.sums.totals();
        let (result, state) = match found {
            Ok((head, state)) => (Ok(head), state),
            Err(refusal) => (Err(refusal), None),
        };
        Ok(Self { rows: rows.into_rows(), totals, result, state })
    }
}

/// A refusal inside, a file that cannot be read outside.
type Found<T> = io::Result<Result<T, Refusal>>;

/// An examination under way.
struct Audit<'a> {
    mirror: &'a dyn Mirror,
    pinned: &'a Pinned,
    now: Timestamp,
    rows: &'a mut Rows,
    sums: Sums,
}

/// The newest checkpoint, not checked yet.
fn newest(mirror: &dyn Mirror) -> Found<(Note, Checkpoint)> {
    let text = mirror.read("log/checkpoint", ENVELOPE_LIMIT)?;
    let parsed = text.and_then(|text| {
        let note = Note::parse(&text).ok()?;
        let head = Checkpoint::parse(note.text()).ok()?;
        Some((note, head))
    });
    Ok(parsed.ok_or(Refusal::LogCheckpoint))
}

/// Largest tile in bytes.
const TILE_LIMIT: usize = 256 * 32;

type ReadTile<'a> = Box<dyn Fn(&str) -> io::Result<Option<Vec<u8>>> + 'a>;

/// The tree under a head, read from the mirror's tiles as far as it is asked for.
fn tiles_of(mirror: &dyn Mirror, size: u64) -> TiledTree<ReadTile<'_>> {
    TiledTree::new(size, Box::new(move |path: &str| mirror.read(&format!("log/{path}"), TILE_LIMIT)))
}

/// A tile that is missing, or a proof that cannot be given: the log is not whole. Only a broken disk is an error.
fn from_tiles<T>(result: Result<T, TiledError>) -> Found<T> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(TiledError::Io(error)) => Err(error),
        Err(TiledError::Missing(_) | TiledError::Merkle(_)) => Ok(Err(Refusal::LogEntries)),
    }
}

impl Audit<'_> {
    /// Whether the log and enough witnesses signed this checkpoint, and since when.
    fn check_head(&mut self, note: &Note, roles: &Roles) -> Result<Timestamp, Refusal> {
        let proof = LogProof { index: 0, hashes: Vec::new(), checkpoint: note.clone() };
        self.rows.check("checkpoint", open(&proof, roles), |head| {
            format!("{} with {} leaves", head.origin, head.size)
        })?;
        let found = witnessed(&proof, roles, self.pinned.accept_on_box_witness).and_then(|found| {
            let future = found.0 > self.now.plus(CLOCK_SKEW_SECONDS);
            if future { Err(Refusal::LogTime) } else { Ok(found) }
        });
        let said = |(time, names): &(Timestamp, Vec<String>)| format!("{} at {time}", names.join(", "));
        self.rows.check("witnesses", found, said).map(|(time, _)| time)
    }

    /// The release file with this manifest, verified by itself.
    fn release(&self, manifest: &blobs::Digest) -> Found<LoggedRelease> {
        let path = format!("releases/{manifest}.release.json");
        let Some(bytes) = self.mirror.read(&path, RELEASE_FILE_LIMIT)? else {
            return Ok(Err(Refusal::LogStatement));
        };
        let pinned = Pinned { seen: None, ..self.pinned.clone() };
        let file = ReleaseFile::parse(&bytes).and_then(|file| {
            let same = file.manifest.payload_digest() == *manifest;
            if same { Ok(file) } else { Err(Refusal::LogStatement) }
        });
        Ok(file.and_then(|file| file.verify(&pinned, self.now, GivenFiles::NotGiven)))
    }
}

/// The statement that a leaf stands for.
fn statement(mirror: &dyn Mirror, leaf: &Leaf, folder: &str) -> io::Result<Option<Envelope>> {
    let envelope = envelope(mirror, &format!("{folder}/{}.json", leaf.payload()))?;
    // Signatures too: a statement under which fewer signed than its leaf says, or others, is not the one that was logged.
    Ok(envelope.filter(|envelope| Leaf::of(envelope).is_ok_and(|own| own == *leaf)))
}

fn envelope(mirror: &dyn Mirror, path: &str) -> io::Result<Option<Envelope>> {
    let bytes = mirror.read(path, ENVELOPE_LIMIT)?;
    Ok(bytes.and_then(|bytes| Envelope::parse(&bytes).ok()))
}

/// Verifies the next version of the roles.
fn follow(
    before: Option<&Verified<Roles>>,
    envelope: &Envelope,
    pinned: &Pinned,
) -> Result<Verified<Roles>, Refusal> {
    next_roles(before, envelope, &pinned.roles, Timestamp::LAST)
}

/// Says of a release what came of it.
fn say_release(
    rows: &mut Rows,
    manifest: &blobs::Digest,
    checked: Result<String, Refusal>,
    recalled: bool,
) -> Result<(), Refusal> {
    let checked = rows.check(&format!("release {manifest}"), checked, String::clone);
    if recalled {
        rows.say(&format!("release {manifest}"), Outcome::Noted, "recalled");
    }
    checked.map(drop)
}
