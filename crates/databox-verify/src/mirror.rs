//! `databox-verify log check|account`: reads a mirror of a site's public directory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use release::file::{AuditState, Mirror, MirrorExamination, Pinned, Reading};
use release::value::Timestamp;
use serde::Serialize;

use crate::command::{UsageError, set};
use crate::memory::{self, MemoryError};
use crate::table;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Whether the log holds.
    Check,
    /// The same, and what left.
    Account,
}

/// The options of `log`.
#[derive(Debug)]
pub struct LogOptions {
    asked: Asked,
    mirror: PathBuf,
    pinned: Pinned,
    since: Option<PathBuf>,
    without_entries: bool,
    json: bool,
}

/// Why a mirror could not be examined at all.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// It or a file of it cannot be read, or the result not be written.
    #[error("the mirror cannot be read, or the result not be written")]
    Io(#[from] io::Error),
    /// What was kept of the last time cannot be read or written.
    #[error("what was kept of the last time cannot be used")]
    State(#[from] MemoryError),
}

/// A plain directory.
struct Directory(PathBuf);

impl Directory {
    /// One that is there. Without this a mistyped path would read as a mirror whose checkpoint is missing, which is a
    /// finding about a site.
    fn open(path: &Path) -> io::Result<Self> {
        std::fs::read_dir(path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Mirror for Directory {
    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.0.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }
}

/// Reads what follows `log` on the command line.
pub fn read_arguments(mut arguments: impl Iterator<Item = OsString>) -> Result<LogOptions, UsageError> {
    let asked = match arguments.next().as_ref().and_then(|word| word.to_str()) {
        Some("check") => Asked::Check,
        Some("account") => Asked::Account,
        Some(other) => return Err(UsageError::Unknown(other.to_owned())),
        None => return Err(UsageError::NoValue("log".to_owned())),
    };
    let (mut mirror, mut roles, mut since) = (None, None, None);
    let (mut accept_on_box_witness, mut without_entries, mut json) = (false, false, false);
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        match text.as_str() {
            "--json" => json = true,
            "--accept-on-box-witness" => accept_on_box_witness = true,
            "--without-entries" => without_entries = true,
            "--roles" | "--since" => {
                let value = arguments.next().ok_or(UsageError::NoValue(text.clone()))?;
                set(if text == "--roles" { &mut roles } else { &mut since }, value, &text)?;
            }
            _ if text.starts_with('-') => return Err(UsageError::Unknown(text)),
            _ => set(&mut mirror, argument, "MIRROR")?,
        }
    }
    let [mirror, since] = [mirror, since].map(|path| path.map(PathBuf::from));
    let mirror = mirror.ok_or(UsageError::NoMirror)?;
    if since.is_some() && without_entries {
        return Err(UsageError::SinceWithoutEntries);
    }
    let roles = roles.ok_or(UsageError::NoRoles)?;
    let roles = roles.to_str().and_then(|roles| roles.parse().ok()).ok_or(UsageError::Roles)?;
    let pinned = Pinned { accept_on_box_witness, ..Pinned::new(roles) };
    Ok(LogOptions { asked, mirror, pinned, since, without_entries, json })
}

/// Runs it, and returns the exit code.
pub fn run(options: &LogOptions, now: Timestamp, out: &mut dyn Write) -> Result<u8, MirrorError> {
    let before = options.since.as_deref().map(state).transpose()?.flatten();
    let reading = match &before {
        _ if options.without_entries => Reading::WithoutEntries,
        Some(state) => Reading::Since(state),
        None => Reading::Whole,
    };
    let mirror = Directory::open(&options.mirror)?;
    let found = MirrorExamination::of(&mirror, &options.pinned, reading, now)?;
    // What is refused is not kept: the next time must find it too.
    if let (Some(path), Some(state)) = (&options.since, &found.state) {
        memory::replace(path, &state.to_bytes())?;
    }
    let with_totals = options.asked == Asked::Account;
    match options.json {
        true => as_json(&found, with_totals, out)?,
        false => as_text(&found, with_totals, out)?,
    }
    Ok(found.result.err().map_or(0, |refusal| refusal.code()))
}

/// What was kept of the last time; nothing the first time.
fn state(path: &Path) -> Result<Option<AuditState>, MemoryError> {
    let Some(bytes) = memory::content(path)? else { return Ok(None) };
    let state = AuditState::parse(&bytes);
    state.map(Some).map_err(|source| MemoryError::Form { path: path.to_owned(), source })
}

fn as_text(found: &MirrorExamination, with_totals: bool, out: &mut dyn Write) -> io::Result<()> {
    table::rows(&found.rows, out)?;
    for total in found.totals.iter().filter(|_| with_totals) {
        let over = if total.released_bits > total.limit { "  OVERRUN" } else { "" };
        writeln!(
            out,
            "{}  grant {}  {} of {} bits in {} release(s){over}",
            total.dataset, total.grant, total.released_bits, total.limit, total.releases
        )?;
    }
    match &found.result {
        Ok(head) => writeln!(out, "VERIFIED log {} with {} leaves", head.origin, head.size),
        Err(refusal) => writeln!(out, "REFUSED {} {}", refusal.code(), refusal.name()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    result: &'static str,
    code: u8,
    name: Option<&'static str>,
    size: Option<String>,
    accounts: Vec<Account<'a>>,
    checks: Vec<table::Check<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Account<'a> {
    dataset: &'a str,
    grant: &'a str,
    releases: String,
    released_bits: String,
    limit: String,
}

fn as_json(found: &MirrorExamination, with_totals: bool, out: &mut dyn Write) -> io::Result<()> {
    let accounts = found.totals.iter().filter(|_| with_totals).map(|total| Account {
        dataset: total.dataset.as_str(),
        grant: total.grant.as_str(),
        releases: total.releases.to_string(),
        released_bits: total.released_bits.to_string(),
        limit: total.limit.to_string(),
    });
    let refusal = found.result.as_ref().err();
    let summary = Summary {
        result: if refusal.is_none() { "VERIFIED" } else { "REFUSED" },
        code: refusal.map_or(0, |refusal| refusal.code()),
        name: refusal.map(|refusal| refusal.name()),
        size: found.result.as_ref().ok().map(|head| head.size.to_string()),
        accounts: accounts.collect(),
        checks: table::checks(&found.rows),
    };
    serde_json::to_writer(&mut *out, &summary)?;
    writeln!(out)
}
