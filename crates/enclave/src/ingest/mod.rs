//! Data and runtimes enter by the drop directory, which the operator writes. The enclave copies them into its own
//! store, digests the *copy*, and answers with a draft catalogue entry: for data sealed to the dataset's stewards, for
//! a runtime in plain. Nothing is used before the stewards have signed the entry.
//!
//! What is laid down is complete once its description (`dataset.toml`, `runtime.toml`) is there. Each step may be
//! repeated; an interrupted copy is made anew.

mod answer;
mod copy;
mod dataset;
mod description;
mod index;
mod runtime;
mod table;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use answer::{Answer, Answers, Awaited};
use blobs::Digest;
use release::value::Name;
use rusqlite::OptionalExtension;

use crate::room::Room;
use crate::store::StoreError;

/// What is laid down, by the part of the drop directory that it lies in.
const DATASETS: &str = "datasets";
const RUNTIMES: &str = "runtimes";

/// How often the drop directory is looked at.
const PERIOD: Duration = Duration::from_millis(250);

/// Why something in the drop directory is not taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The description is not accepted.
    #[error("the description is not accepted")]
    Description(#[from] toml::de::Error),
    /// The copy has no digest.
    #[error("the tree is not accepted")]
    Tree(#[from] blobs::TreeError),
    /// Something that is neither a file, nor a directory, nor a link within its tree.
    #[error("a tree holds something that is neither a file, a directory nor a link")]
    Kind,
    /// A name at the top of a runtime that the wall has itself.
    #[error("a runtime has a file, a link or a reserved name at its top")]
    TopLevel,
    /// A table is not accepted.
    #[error("a table is not accepted: {0}")]
    Table(#[from] table::TableError),
    /// A privacy budget that is none.
    #[error(
        "the privacy budget is not accepted: privacy_rho is at most 4, privacy_rho_per_answer stands beside it and is no more, \
         privacy_delta_exponent is 5 to 12"
    )]
    Privacy,
    /// The directory of public files holds something else than plain files with usual names, or too many.
    #[error(
        "the public files are not accepted: give at most 64 plain files with usual names, of 64 MiB together"
    )]
    PublicFiles,
    /// A public file cannot be kept.
    #[error("a public file could not be kept")]
    Keep(#[from] blobs::StoreError),
    /// The entry is larger than a draft may be.
    #[error("the draft is larger than a packet holds; declare fewer categories")]
    DraftTooLarge,
    /// The draft cannot be sealed.
    #[error("the draft cannot be sealed")]
    Packet(#[from] packet::PacketError),
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The file system.
    #[error("the file system failed")]
    Io(#[from] io::Error),
}

impl IngestError {
    /// Its name, by which the operator is told.
    fn name(&self) -> &'static str {
        match self {
            Self::Description(_) => "DESCRIPTION",
            Self::Tree(_) => "TREE",
            Self::Kind => "KIND",
            Self::TopLevel => "TOP_LEVEL",
            Self::Table(_) => "TABLE",
            Self::Privacy => "PRIVACY",
            Self::PublicFiles => "PUBLIC_FILES",
            Self::DraftTooLarge => "DRAFT_TOO_LARGE",
            Self::Packet(_) => "PACKET",
            Self::Store(_) => "STORE",
            Self::Io(_) | Self::Keep(_) => "FILE_SYSTEM",
        }
    }

    /// What is wrong, cause by cause.
    fn whole(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        text
    }
}

/// What became of a look at one thing.
enum Look {
    /// It was taken, or had been.
    Taken,
    /// Its turn has not come.
    Waiting(Awaited),
}

/// Watches the drop directory until the process ends. Called on a thread of its own.
pub fn watch(room: &Arc<Room>) {
    let mut refused: HashMap<PathBuf, Appearance> = HashMap::new();
    let mut answers = Answers::default();
    while !room.stop.is_raised() {
        for (kind, description) in [(DATASETS, "dataset.toml"), (RUNTIMES, "runtime.toml")] {
            let directory = room.configuration.drop_directory.join(kind);
            for name in laid_down(&directory).unwrap_or_default() {
                let path = directory.join(name.as_str());
                let Ok(appearance) = Appearance::of(&path.join(description)) else { continue };
                // What was refused once is refused until it changes, and told once.
                if refused.get(&path) == Some(&appearance) {
                    continue;
                }
                let answer = match look(room, kind, &name, &path, appearance) {
                    Ok(Look::Taken) => Answer::Taken,
                    Ok(Look::Waiting(awaited)) => Answer::Waiting(awaited),
                    Err(error) => {
                        room.journal.warning("not registered").word("kind", kind).own_error(&error).write();
                        refused.insert(path, appearance);
                        Answer::Refused(error.name(), error.whole())
                    }
                };
                answers.give(room, kind, &name, answer);
            }
        }
        std::thread::sleep(PERIOD);
    }
}

fn laid_down(directory: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().and_then(|name| name.parse().ok());
        names.extend(name.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir())));
    }
    names.sort();
    Ok(names)
}

/// What a description looks like from outside. It is written last and renamed into place, so that another laying down
/// has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Appearance(i64, i64, u64, u64);

impl Appearance {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        match found.is_file() {
            true => Ok(Self(found.mtime(), found.mtime_nsec(), found.size(), found.ino())),
            false => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        }
    }

    fn digest(self) -> Digest {
        Digest::of(format!("{} {} {} {}", self.0, self.1, self.2, self.3).as_bytes())
    }
}

fn look(
    room: &Room,
    kind: &'static str,
    name: &Name,
    path: &Path,
    appearance: Appearance,
) -> Result<Look, IngestError> {
    let key = format!("{kind}/{name}");
    if taken(room, key.clone())? == Some(appearance.digest()) {
        return Ok(Look::Taken);
    }
    // What lies there now may be refused or may have to wait. The draft of what lay there before would be signed in its place.
    withdraw_draft(room, &draft_name(kind, name))?;
    let look = match kind {
        DATASETS => dataset::register(room, name, path)?,
        _ => runtime::register(room, name, path)?,
    };
    if matches!(look, Look::Taken) {
        // A crash before this line registers the same thing once more, with the same digest.
        set_taken(room, key, appearance.digest())?;
    }
    Ok(look)
}

fn taken(room: &Room, key: String) -> Result<Option<Digest>, StoreError> {
    room.store.read(move |connection| {
        let mut query = connection.prepare_cached("SELECT value FROM kept WHERE name = ?1")?;
        let value: Option<[u8; 32]> = query.query_row([key], |row| row.get(0)).optional()?;
        Ok(value.map(Digest::from_bytes))
    })
}

fn set_taken(room: &Room, key: String, digest: Digest) -> Result<(), StoreError> {
    room.store.change(move |transaction| {
        transaction.execute(
            "INSERT INTO kept (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
            (key, digest.as_bytes()),
        )?;
        Ok(())
    })
}

/// The file of a draft: sealed for data, in plain for a runtime.
fn draft_name(kind: &str, name: &Name) -> String {
    match kind {
        DATASETS => format!("{name}.packet"),
        _ => format!("runtime-{name}.json"),
    }
}

/// Removes a draft, and before it the mark that it is whole.
fn withdraw_draft(room: &Room, name: &str) -> io::Result<()> {
    let drafts = &room.configuration.drafts_directory;
    for file in [drafts.join(format!("{name}.done")), drafts.join(name)] {
        if file.try_exists()? {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

/// Writes a draft, and then the mark that it is whole.
fn write_draft(room: &Room, name: &str, bytes: &[u8], tree: &Digest) -> io::Result<()> {
    let drafts = &room.configuration.drafts_directory;
    // A crash between the two leaves a draft without its mark, and both are written again.
    crate::files::replace_durably(&drafts.join(name), bytes, 0o640)?;
    crate::files::replace_durably(&drafts.join(format!("{name}.done")), format!("{tree}\n").as_bytes(), 0o640)
}
