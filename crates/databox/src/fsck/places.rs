//! Where the rooms keep what they keep, as their own configurations say.

use std::fs::File;
use std::path::{Path, PathBuf};

use blobs::Digest;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Mode, OFlags};

use super::{Report, Rule};
use crate::failure::{Failure, file_failure, whole};
use crate::home::Home;

/// Files and directories of a box.
pub struct Places {
    /// The gateway's own.
    pub gateway: PathBuf,
    /// Bundles for the enclave.
    pub to_enclave: PathBuf,
    /// The enclave's own.
    pub enclave: PathBuf,
    /// The head of the account, outside.
    pub account_head: PathBuf,
    /// The outbox.
    pub outbox: PathBuf,
    /// Sealed packets.
    pub packets: PathBuf,
    /// The console's own.
    pub console: PathBuf,
    /// The signer's own.
    pub signer: PathBuf,
    /// Signed statements of the site.
    pub site: PathBuf,
    /// What everyone may read.
    pub public: PathBuf,
    /// The head of the log, outside.
    pub log_head: PathBuf,
    /// Payload digest of the first roles.
    pub pin: Digest,
    /// Whether a witness on the box's own machine counts.
    pub accept_on_box_witness: bool,
}

impl Places {
    /// Reads them from the configurations of a home.
    pub fn read(home: &Home) -> Result<Self, Failure> {
        let [gateway, enclave, console, signer] =
            ["gateway", "enclave", "console", "signer"].map(|room| configuration(&home.configuration(room)));
        let (gateway, enclave, console, signer) = (gateway?, enclave?, console?, signer?);
        let path = |table: &toml::Table, key: &str| -> Result<PathBuf, Failure> {
            table.get(key).and_then(toml::Value::as_str).map(PathBuf::from).ok_or_else(|| {
                Failure::new("CONFIGURATION", format!("a room's configuration has no {key}"))
                    .hint("deploy/ holds a commented example for each room")
            })
        };
        let pin = path(&signer, "site_pin")?;
        Ok(Self {
            gateway: path(&gateway, "state_directory")?,
            to_enclave: path(&gateway, "to_enclave_directory")?,
            enclave: path(&enclave, "state_directory")?,
            account_head: path(&enclave, "account_head_file")?,
            outbox: path(&enclave, "to_gateway_directory")?,
            packets: path(&enclave, "to_console_directory")?,
            console: path(&console, "state_directory")?,
            signer: path(&signer, "state_directory")?,
            site: path(&signer, "site_directory")?,
            public: path(&signer, "public_directory")?,
            log_head: path(&signer, "head_file")?,
            pin: pin
                .to_string_lossy()
                .parse()
                .map_err(|_| Failure::new("CONFIGURATION", "site_pin is no digest"))?,
            accept_on_box_witness: signer.get("accept_on_box_witness").and_then(toml::Value::as_bool)
                == Some(true),
        })
    }
}

fn configuration(path: &Path) -> Result<toml::Table, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| file_failure(path)(error).hint("--dir names the home that `databox init` made"))?;
    text.parse().map_err(file_failure(path))
}

/// A copy of a room's database, opened.
pub struct Database {
    /// The copy. Opening the original would make SQLite write to it.
    pub connection: Connection,
    _directory: tempfile::TempDir,
}

/// Copies a file that a room keeps.
// Root looks, and the room may be another user's: a link in the file's place would have root read what it points to, and
// a pipe would have it wait for ever.
fn copy_plain(path: &Path, copy: &Path) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(std::io::Error::from);
    let mut file = File::from(opened.map_err(file_failure(path))?);
    if !file.metadata().map_err(file_failure(path))?.is_file() {
        return Err(Failure::new("FILE", format!("{} is no plain file", path.display())));
    }
    let mut to = File::create_new(copy).map_err(file_failure(copy))?;
    std::io::copy(&mut file, &mut to).map_err(file_failure(path))?;
    Ok(())
}

/// Opens a copy of a database; None if there is none, or if it is damaged, which is reported.
pub fn database(path: &Path, report: &mut Report) -> Result<Option<Database>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let directory = tempfile::tempdir().map_err(file_failure(path))?;
    let copy = directory.path().join("copy.db");
    copy_plain(path, &copy)?;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = PathBuf::from(log);
    if log.exists() {
        copy_plain(&log, &directory.path().join("copy.db-wal"))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let connection = Connection::open_with_flags(&copy, flags).map_err(file_failure(path))?;
    let looked = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
        .and_then(|text| Ok((text, connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)));
    match looked {
        // A crash in the very first start leaves an empty file, which the next one fills.
        Ok((text, 0)) if text == "ok" => {
            report.add(Rule::Unfinished, format!("{} has no tables yet", path.display()));
        }
        Ok((text, _)) if text == "ok" => return Ok(Some(Database { connection, _directory: directory })),
        Ok((text, _)) => report.add(Rule::Database, format!("{} is damaged: {text}", path.display())),
        Err(error) => report.add(Rule::Database, format!("{} is damaged: {}", path.display(), whole(&error))),
    }
    Ok(None)
}

/// Rows of a query, each made by `row`.
pub fn rows<T>(
    database: &Database,
    query: &str,
    row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Failure> {
    let failure = |error: rusqlite::Error| {
        Failure::new("DATABASE", whole(&error))
            .hint("a database of another version has other tables: use the databox that belongs to the rooms")
    };
    let mut statement = database.connection.prepare(query).map_err(failure)?;
    let found = statement.query_map([], row).map_err(failure)?;
    found.collect::<Result<_, _>>().map_err(failure)
}

/// A digest in a column.
pub fn digest(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<Digest> {
    Ok(Digest::from_bytes(row.get(column)?))
}

/// True if the file under this digest is there with these bytes.
pub fn is_whole(directory: &Path, digest: &Digest) -> bool {
    std::fs::File::open(directory.join(digest.to_string()))
        .and_then(Digest::of_reader)
        .is_ok_and(|(found, _)| found == *digest)
}
