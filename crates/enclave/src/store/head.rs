//! The head of the account, kept outside the state directory, so that a database put back from a backup does not
//! give spent bits back.
//!
//! Each entry of the account carries SHA-256 over the head before it and its own text; the last one is the head. The
//! file outside holds one line, `<number of entries> <head>`. A database that does not hold that entry is older, or
//! another one, and the enclave refuses to start on it. Whoever can replace both the database and this file can still
//! roll both back; that is why they belong on different disks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use blobs::Digest;
use daemon::Journal;
use rusqlite::{Connection, OptionalExtension};

use super::{StoreError, columns};

/// The account and its head outside do not belong together.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The database is older than the head.
    #[error(
        "account.db is older than its head outside: it has {entries} entries, and {head_entries} were seen. \
         Bits spent since would be given back. Put the newer account.db in place"
    )]
    Older {
        /// Entries in the database.
        entries: u64,
        /// Entries when the head was written.
        head_entries: u64,
    },
    /// The database holds another history.
    #[error("account.db has another history than its head outside: entry {number} differs")]
    OtherHistory {
        /// The entry.
        number: u64,
    },
    /// The database has entries, and there is no head.
    #[error("account.db has {entries} entries, but its head {path} is missing; put it back, or restore both")]
    Missing {
        /// Entries in the database.
        entries: u64,
        /// Where the head belongs.
        path: PathBuf,
    },
    /// The account does not follow from its own entries.
    #[error("account.db is damaged: entry {number} does not follow from the one before")]
    Broken {
        /// The entry.
        number: u64,
    },
    /// The file is not a head.
    #[error("{path} is not the head of an account")]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("the head of the account cannot be read or written")]
    Io(#[from] io::Error),
}

/// How many entries an account has, and the hash of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the last entry; 0 if there is none.
    pub entries: u64,
    /// Its hash; that of nothing if there is none.
    pub hash: Digest,
}

impl Head {
    /// The head of an account without entries.
    pub fn empty() -> Self {
        Self { entries: 0, hash: Digest::of(b"databox-account/v1\n") }
    }

    /// The head after one more entry.
    pub fn after(&self, entry: &str) -> Self {
        Self { entries: self.entries + 1, hash: Digest::of(format!("{}\n{entry}\n", self.hash).as_bytes()) }
    }
}

/// The head of the account in the database.
pub fn of(connection: &Connection) -> Result<Head, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT number, head FROM account ORDER BY number DESC LIMIT 1")?;
    let found = query
        .query_row([], |row| Ok((columns::count(row, "number"), row.get::<_, [u8; 32]>("head")?)))
        .optional()?;
    Ok(match found {
        Some((number, hash)) => Head { entries: number?, hash: Digest::from_bytes(hash) },
        None => Head::empty(),
    })
}

/// Refuses an account that is older than the head outside, has another history, or does not follow from its entries.
pub fn check_at_start(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let current = of(connection)?;
    check_chain(connection)?;
    let outside = match read(path)? {
        Some(outside) => outside,
        None if current.entries == 0 => {
            // A crash before this leaves no head and an empty account, which is where this began.
            write(path, &current).map_err(HeadError::Io)?;
            return Ok(());
        }
        None => return Err(HeadError::Missing { entries: current.entries, path: path.to_owned() }.into()),
    };
    if outside.entries > current.entries {
        return Err(HeadError::Older { entries: current.entries, head_entries: outside.entries }.into());
    }
    let found = hash_at(connection, outside.entries)?;
    if found != Some(outside.hash) {
        return Err(HeadError::OtherHistory { number: outside.entries }.into());
    }
    if outside != current {
        write(path, &current).map_err(HeadError::Io)?;
    }
    Ok(())
}

fn hash_at(connection: &Connection, number: u64) -> Result<Option<Digest>, StoreError> {
    if number == 0 {
        return Ok(Some(Head::empty().hash));
    }
    let number = columns::stored(number, "number")?;
    let found = connection
        .query_row("SELECT head FROM account WHERE number = ?1", [number], |row| row.get::<_, [u8; 32]>(0))
        .optional()?;
    Ok(found.map(Digest::from_bytes))
}

fn check_chain(connection: &Connection) -> Result<(), StoreError> {
    let mut head = Head::empty();
    let mut query = connection.prepare("SELECT * FROM account ORDER BY number")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let entry = super::account::entry_of(row)?;
        head = head.after(&entry.text());
        let number = columns::count(row, "number")?;
        if number != head.entries || columns::digest(row, "head")? != head.hash {
            return Err(HeadError::Broken { number }.into());
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<Head>, HeadError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let parsed = text
        .strip_suffix('\n')
        .and_then(|line| line.split_once(' '))
        .and_then(|(entries, hash)| Some(Head { entries: entries.parse().ok()?, hash: hash.parse().ok()? }));
    parsed.map(Some).ok_or_else(|| HeadError::Form { path: path.to_owned() })
}

/// Keeps the head outside in step with the database.
#[derive(Debug)]
pub struct Kept {
    last: Head,
    path: PathBuf,
    journal: Journal,
}

impl Kept {
    /// `last` is the head that the file holds.
    pub fn new(last: Head, path: PathBuf, journal: Journal) -> Self {
        Self { last, path, journal }
    }

    /// To be called after each commit and before anyone is told of it. A crash before it leaves an account that is
    /// ahead of its head outside, which the next start accepts. Nothing acts on a charge before it returns, so a
    /// database put back to before the charge is noticed.
    pub fn after_each_commit(mut self) -> impl FnMut(&Connection) + Send + 'static {
        move |connection| {
            if let Err(error) = self.follow(connection) {
                let event = "the head of the account could not be made durable";
                self.journal.error(event).own_error(&error).write();
                // The file may hold either head now; the next start compares it with the database.
                std::process::exit(74);
            }
        }
    }

    fn follow(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let head = of(connection)?;
        if head != self.last {
            write(&self.path, &head).map_err(HeadError::Io)?;
            self.last = head;
        }
        Ok(())
    }
}

/// Replaces the head outside, durably: a crash leaves either the old one or the new one.
pub fn write(path: &Path, head: &Head) -> io::Result<()> {
    crate::files::replace_durably(path, format!("{} {}\n", head.entries, head.hash).as_bytes(), 0o600)
}
