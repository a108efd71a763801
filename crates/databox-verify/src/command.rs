//! The command line. It is read by hand, since the verifier's list of dependencies is part of what an auditor reads.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use blobs::Digest;
use release::file::{Examination, GivenFiles, Pinned, RELEASE_FILE_LIMIT, SeenState};
use release::refusal::Refusal;
use release::value::Timestamp;

use crate::again::EgressJudge;
use crate::{explain, folder, memory, mirror, table};

/// Exit code if the command line is wrong.
const USAGE: u8 = 2;
/// Exit code if a file cannot be read or written.
const UNREADABLE: u8 = 3;

const HELP: &str = "\
databox-verify checks release files offline.

  databox-verify RELEASE.json... --roles SHA256 [--files DIR] [--remember FILE]
                 [--accept-on-box-witness] [--json]
  databox-verify log check|account MIRROR --roles SHA256 [--since FILE | --without-entries]
                 [--accept-on-box-witness] [--json]
  databox-verify explain [CODE]
  databox-verify --help | --version

  log check                 reads a mirror of the site's public directory: the whole log, and what its leaves stand for
  log account               the same, and adds up the bits that left of each dataset under each grant

  --roles SHA256            payload digest of version 1 of the site's roles, got from the site by another way
  --files DIR               the released files: hashes them and judges them again; with one release file only
  --since FILE              keeps in FILE what was found; the next time, reads only what the log has more, and refuses
                            a log that does not continue the one in FILE
  --without-entries         reads the release files that are there and the log's tiles, but not its entries
  --remember FILE           refuses what is older than FILE remembers, and remembers what is verified
  --accept-on-box-witness   counts a witness on the box's own machine, as only a demonstration needs
  --json                    one JSON object a line instead of a table

Exit codes: 0 every release is verified, 2 usage, 3 a file cannot be read, 40 to 119 the rule that was broken first
(databox-verify explain lists them).
";

struct Options {
    releases: Vec<PathBuf>,
    roles: Digest,
    files: Option<PathBuf>,
    memory: Option<PathBuf>,
    accept_on_box_witness: bool,
    json: bool,
}

enum Command {
    Help,
    Version,
    Explain(Option<String>),
    Log(Box<mirror::LogOptions>),
    Verify(Options),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("no mirror is given")]
    NoMirror,
    #[error("no release file is given")]
    NoRelease,
    #[error("--roles is missing: a verifier trusts no roles that it finds in a release file only")]
    NoRoles,
    #[error("--roles needs a SHA-256 digest in 64 lower-case hexadecimal digits")]
    Roles,
    #[error("{0} needs a value")]
    NoValue(String),
    #[error("{0} is not an option")]
    Unknown(String),
    #[error("{0} is given twice")]
    Twice(String),
    #[error("--since reads entries, so it does not go with --without-entries")]
    SinceWithoutEntries,
    #[error("--files goes with one release file")]
    FilesOfMany,
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("{path} cannot be read")]
    Release { path: PathBuf, source: io::Error },
    #[error("the released files cannot be read")]
    Files(#[source] folder::FolderError),
    #[error("the mirror cannot be examined")]
    Mirror(#[source] mirror::MirrorError),
    #[error("the memory cannot be used")]
    Memory(#[from] memory::MemoryError),
    #[error("the clock of this machine shows no time that can be written")]
    Clock,
    #[error("the result cannot be written")]
    Write(#[from] io::Error),
}

/// Runs the command with these arguments, the program's name not among them.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> ExitCode {
    ExitCode::from(exit_code(arguments, out, errors))
}

/// The same, with the exit code as a number.
pub fn exit_code(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> u8 {
    let command = match read_arguments(arguments) {
        Ok(command) => command,
        Err(error) => {
            // Nothing is left to tell where even this cannot be written; the exit code says it too.
            let _ = writeln!(errors, "databox-verify: {error}; see databox-verify --help");
            return USAGE;
        }
    };
    let code = match command {
        Command::Help => write!(out, "{HELP}").map(|()| 0).map_err(RunError::Write),
        Command::Version => {
            let version = concat!("databox-verify ", env!("CARGO_PKG_VERSION"));
            writeln!(out, "{version}").map(|()| 0).map_err(RunError::Write)
        }
        Command::Explain(which) => match explain::explain(which.as_deref(), out) {
            Ok(true) => Ok(0),
            Ok(false) => Ok(USAGE),
            Err(error) => Err(RunError::Write(error)),
        },
        Command::Log(options) => {
            now().and_then(|now| mirror::run(&options, now, out).map_err(RunError::Mirror))
        }
        Command::Verify(options) => verify(&options, out),
    };
    match code {
        Ok(code) => code,
        Err(error) => {
            let mut source: Option<&dyn std::error::Error> = Some(&error);
            let mut text = String::from("databox-verify");
            while let Some(error) = source {
                text += &format!(": {error}");
                source = error.source();
            }
            let _ = writeln!(errors, "{text}");
            UNREADABLE
        }
    }
}

fn verify(options: &Options, out: &mut dyn Write) -> Result<u8, RunError> {
    let now = now()?;
    let mut seen = options.memory.as_deref().map(memory::read).transpose()?;
    let mut code = 0;
    for path in &options.releases {
        let examination = examine(path, options, seen.clone(), now)?;
        if options.json {
            table::as_json(path, &examination, out)?;
        } else {
            table::as_text(path, &examination, out)?;
        }
        match &examination.result {
            Ok(release) => {
                if let (Some(path), Some(before)) = (&options.memory, seen.take()) {
                    seen = Some(memory::remember(path, before, release, now)?);
                }
            }
            // The first refusal is the exit code; the others stand in the output.
            Err(refusal) if code == 0 => code = refusal.code(),
            Err(_) => {}
        }
    }
    Ok(code)
}

fn examine(
    path: &Path,
    options: &Options,
    seen: Option<SeenState>,
    now: Timestamp,
) -> Result<Examination, RunError> {
    let pinned = Pinned { roles: options.roles, accept_on_box_witness: options.accept_on_box_witness, seen };
    let bytes = read_release(path)?;
    let Some(directory) = &options.files else {
        let nothing = EgressJudge(egress::InMemory::default());
        return Ok(Examination::of(&bytes, &pinned, now, GivenFiles::ToCount(&nothing)));
    };
    match folder::Folder::open(directory, path) {
        Ok(folder) => {
            let files = GivenFiles::ToJudge { measured: &folder.measured(), judge: &EgressJudge(&folder) };
            Ok(Examination::of(&bytes, &pinned, now, files))
        }
        // A link or a directory among the files is a wrong set of files, not a broken disk.
        Err(folder::FolderError::Stray(stray)) => Ok(Examination::refused(
            "files",
            Refusal::FilesSet,
            format!("{} is not a released file", stray.display()),
        )),
        Err(error) => Err(RunError::Files(error)),
    }
}

fn read_release(path: &Path) -> Result<Vec<u8>, RunError> {
    use io::Read;
    let failed = |source| RunError::Release { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    // One byte past the limit is enough to refuse the file.
    file.take(RELEASE_FILE_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn now() -> Result<Timestamp, RunError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| RunError::Clock)?;
    let seconds = i64::try_from(since.as_secs()).map_err(|_| RunError::Clock)?;
    Timestamp::from_seconds(seconds).map_err(|_| RunError::Clock)
}

fn read_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    // Wherever it stands: who asks for help wants nothing else done.
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        return Ok(Command::Help);
    }
    if let [only] = &arguments[..]
        && (only == "--version" || only == "-V")
    {
        return Ok(Command::Version);
    }
    let mut arguments = arguments.into_iter().peekable();
    if arguments.peek().is_some_and(|first| first == "explain") {
        let words: Vec<_> = arguments.skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        return match &words[..] {
            [] => Ok(Command::Explain(None)),
            [which] => Ok(Command::Explain(Some(which.clone()))),
            [_, more, ..] => Err(UsageError::Unknown(more.clone())),
        };
    }
    if arguments.peek().is_some_and(|first| first == "log") {
        return mirror::read_arguments(arguments.skip(1)).map(|options| Command::Log(Box::new(options)));
    }
    let (mut releases, mut roles, mut files, mut memory) = (Vec::new(), None, None, None);
    let (mut accept_on_box_witness, mut json) = (false, false);
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let mut value = || arguments.next().ok_or(UsageError::NoValue(text.clone()));
        match text.as_str() {
            "--json" => json = true,
            "--accept-on-box-witness" => accept_on_box_witness = true,
            "--roles" => set(&mut roles, value()?, &text)?,
            "--files" => set(&mut files, value()?, &text)?,
            "--remember" => set(&mut memory, value()?, &text)?,
            _ if text.starts_with('-') => return Err(UsageError::Unknown(text)),
            _ => releases.push(PathBuf::from(argument)),
        }
    }
    if releases.is_empty() {
        return Err(UsageError::NoRelease);
    }
    if files.is_some() && releases.len() > 1 {
        return Err(UsageError::FilesOfMany);
    }
    let roles = roles.ok_or(UsageError::NoRoles)?;
    let roles = roles.to_str().and_then(|roles| roles.parse().ok()).ok_or(UsageError::Roles)?;
    let [files, memory] = [files, memory].map(|path| path.map(PathBuf::from));
    Ok(Command::Verify(Options { releases, roles, files, memory, accept_on_box_witness, json }))
}

pub(crate) fn set(slot: &mut Option<OsString>, value: OsString, option: &str) -> Result<(), UsageError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(UsageError::Twice(option.to_owned())),
    }
}
