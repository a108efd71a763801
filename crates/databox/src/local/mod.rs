//! `databox job run --local`: a bundle run at the researcher's desk, behind the wall that the box puts around jobs, on
//! rows of the researcher's own or made-up ones; then its outputs are checked as `databox check` does.
//!
//! In the box a job's words and its exit code go nowhere. Here all is told: it is the researcher's machine, and no
//! private data is on it.

pub(crate) mod data;
mod evaluation;
mod outputs;
mod question;
mod tell;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use egress::Policy;
use release::statement::Limits as Asked;
use release::value::Name;
use sandbox::job::Job;
use sandbox::{
    Cancel, Ended, LaunchError, Launcher, Limits, Outcome, Refusal, Specification, StandardError, Stdin,
};

use crate::check::{self, Checked, Looked, stage};
use crate::failure::{Exit, Failure, bundle_failure, file_failure, manifest_failure, whole};
use crate::{programs, wall};

pub use outputs::NotPlain;

/// What a box gives each job if its operator changes nothing; `deploy/enclave.toml` has the same numbers.
const PROCESSES: u64 = 128;
const FILE_BYTES: u64 = 1 << 30;
const TEMPORARY_BYTES: u64 = 256 << 20;
const OUTPUT_BYTES: u64 = 256 << 20;
const OUTPUT_ENTRIES: u64 = 4096;

/// Most bytes that a program may print at the desk.
const PRINTED_BYTES: u64 = 1 << 32;

/// How much of what a program printed the JSON answer holds: the end of it.
const TOLD_BYTES: usize = 64 << 10;

/// The runtime that every desk with Debian's Python has.
const HOST_PYTHON: &str = "host-python";

/// What `databox job run` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct LocalArguments {
    /// The bundle's directory.
    #[arg(value_name = "BUNDLE_DIR")]
    pub directory: PathBuf,
    /// At this desk. (In the box a job runs by `databox job submit`.)
    #[arg(long, required = true)]
    pub local: bool,
    /// Rows of your own for a dataset that databox.toml names; without it they are made up from the catalogue.
    #[arg(long = "data", value_name = "NAME=DIR")]
    pub data: Vec<String>,
    /// A dataset's catalogue entry, from the site directory. Without it the box is asked, as your profile says.
    #[arg(long, value_name = "FILE")]
    pub catalogue: Vec<PathBuf>,
    /// Rows that are made up for each table.
    #[arg(long, default_value_t = 1000)]
    pub rows: u64,
    /// The tree of the runtime that databox.toml names. `host-python` needs none: it is this machine's Python.
    #[arg(long, value_name = "DIR")]
    pub runtime: Option<PathBuf>,
    /// The egress policy; without it the standard one.
    #[arg(long)]
    pub policy: Option<PathBuf>,
    /// A new or empty directory that receives the bytes that would leave; nothing if the check fails.
    #[arg(long, value_name = "DIR")]
    pub canonical: Option<PathBuf>,
    /// A new or empty directory that receives what the job wrote to /out.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// What came of a run.
pub struct Ran {
    /// The question that was answered, where one was asked in place of code.
    pub question: Option<crate::question::Asked>,
    /// How it ended.
    pub outcome: Outcome,
    /// The program's exit code, if it ended by itself.
    pub code: Option<u8>,
    /// How long it ran, with the wall around it.
    pub time: Duration,
    /// The most memory that one of its processes held, in bytes.
    pub peak_bytes: Option<u64>,
    /// The layers of the wall.
    pub evidence: sandbox::Evidence,
    /// Each dataset, and how many rows each of its tables was made up of; None for rows of the researcher's own.
    pub data: Vec<(Name, Option<u64>)>,
    /// What it wrote that is no plain file.
    pub not_plain: Vec<NotPlain>,
    /// The end of what it printed.
    pub printed: Vec<u8>,
    /// What the check found; None if the program failed.
    pub checked: Option<Checked>,
    /// What the box would do otherwise than this desk.
    pub notes: Vec<String>,
}

/// Runs, prints what came of it, and ends with 0 for PASS, 10 for FAIL, and 20 if the program failed.
pub fn run(arguments: &LocalArguments, profile: &str, json: bool) -> Result<ExitCode, Failure> {
    if let Some(told) = question::told_alone(arguments, profile)? {
        told.print(json)?;
        return Ok(ExitCode::SUCCESS);
    }
    // A program's words come as it says them, with or without --json; the answer alone goes to standard output.
    let ran = run_at_desk(arguments, profile, &mut |bytes| {
        let _ = std::io::stderr().write_all(&tell::printable(bytes));
    })?;
    match json {
        true => println!("{}", tell::value(&ran, &arguments.out)?),
        false => print!("{}", tell::words(&ran, &arguments.out)),
    }
    Ok(match &ran.checked {
        None => ExitCode::from(Exit::JobFailed as u8),
        Some(checked) if checked.result == check::Answer::Pass => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(Exit::CheckFailed as u8),
    })
}

/// Runs without printing; `told` gets what the program prints.
pub fn run_at_desk(
    arguments: &LocalArguments,
    profile: &str,
    told: &mut dyn FnMut(&[u8]),
) -> Result<Ran, Failure> {
    let (manifest, bundle) = bundle_of(&arguments.directory)?;
    if !manifest.devices.is_empty() {
        return Err(Failure::new("DEVICES", "a run at the desk is given no device")
            .hint("leave [devices] out for it; the program must find out by itself whether it has one")
            .exit(Exit::Usage));
    }
    let policy = check::policy_text(arguments.policy.as_deref())?;
    let limits = Policy::parse(&policy).map_err(|error| Failure::new("POLICY", whole(&error)))?;
    let question = question::read(&manifest, arguments, &limits, profile)?;
    let own = data::own(&arguments.data)?;
    let entry = question.as_ref().map(|question| &question.entry);
    let wanted = manifest.data.keys().cloned();
    let data = data::prepare(wanted, own, &arguments.catalogue, entry, profile, arguments.rows)?;
    let notes = notes(&manifest, &limits);
    let (runtime, bundle) = match &question {
        None => (runtime(&manifest.runtime, arguments.runtime.as_deref())?, bundle),
        Some(question) => {
            (question::runtime(arguments.runtime.as_deref())?, question.lay_down(&policy, &manifest.limits)?)
        }
    };
    let outputs = match &question {
        None => manifest.outputs.clone(),
        Some(question) => vec![question.asked.output.clone()],
    };
    let launcher = Launcher::new(programs::find("databox-launch")?);
    programs::find("databox-check")?;
    // Before the run, so that its work is not lost for want of a place.
    outputs::new_directory(&arguments.out)?;

    let shown = data.datasets.iter().map(|dataset| Ok((dataset.name.to_string(), plain(dataset.path())?)));
    let shown: Vec<(String, PathBuf)> = shown.collect::<Result<_, Failure>>()?;
    let desk = Desk {
        launcher: &launcher,
        runtime: &plain(runtime.path())?,
        bundle: &plain(bundle.path())?,
        data: &shown,
        asked: &manifest.limits,
    };
    let specification = desk.specification(&manifest.command)?;
    let mut printed = Vec::new();
    let ended = {
        let mut keep = |bytes: &[u8]| {
            told(bytes);
            printed.extend_from_slice(bytes);
            if printed.len() > 2 * TOLD_BYTES {
                printed.drain(..printed.len() - TOLD_BYTES);
            }
        };
        let cancel = Cancel::new().map_err(|error| Failure::new("WALL", whole(&error)))?;
        launcher.run_told(&specification, Stdin::Empty, &cancel, &mut keep).map_err(not_launched)?
    };
    let cut = printed.len().saturating_sub(TOLD_BYTES);
    printed.drain(..cut);
    let Ended { mut outcome, code, peak_bytes, output, evidence, wall: time, .. } = ended;
    let not_plain = match &output {
        Some(space) => outputs::copy(space, &arguments.out, OUTPUT_BYTES)?,
        None => Some(Vec::new()),
    };
    if not_plain.is_none() && outcome == Outcome::Succeeded {
        outcome = Outcome::SpaceLimit;
    }
    let left = specification.limits.wall.saturating_sub(time);
    let checked = match outcome {
        Outcome::Succeeded => Some(check::look(&Looked {
            precisions: Some(evaluation::choose(
                &desk,
                &outputs,
                (&policy, &limits),
                &arguments.out,
                left,
                told,
            )?),
            outputs,
            query: question.as_ref().map(|question| question.asked.query.clone()),
            policy,
            catalogue: data.catalogue,
            written: &arguments.out,
            data: shown.clone(),
            public: None,
            canonical: arguments.canonical.as_deref(),
        })?),
        _ => None,
    };
    Ok(Ran {
        question: question.map(|question| question.asked),
        outcome,
        code,
        time,
        peak_bytes,
        evidence,
        data: data.datasets.iter().map(|dataset| (dataset.name.clone(), dataset.made_up)).collect(),
        not_plain: not_plain.unwrap_or_default(),
        printed,
        checked,
        notes,
    })
}

/// What a program at the desk is shown, and what it may use.
struct Desk<'a> {
    launcher: &'a Launcher,
    runtime: &'a Path,
    bundle: &'a Path,
    data: &'a [(String, PathBuf)],
    asked: &'a Asked,
}

impl Desk<'_> {
    /// The wall around a job, or around one of its evaluations.
    fn specification(&self, command: &[String]) -> Result<Specification, Failure> {
        let job = Job {
            runtime: self.runtime,
            bundle: self.bundle,
            data: self.data,
            command,
            cpus: self.asked.cpus.0,
            output_bytes: OUTPUT_BYTES,
            output_entries: OUTPUT_ENTRIES,
            limits: job_limits(self.asked),
            standard_error: StandardError::AsOutput,
            host_uid: wall::user(),
            devices: Vec::new(),
        };
        job.specification().map_err(file_failure(self.runtime))
    }
}

/// The manifest, and the bundle as the box would unpack it: what the box refuses is refused here, by the same name.
fn bundle_of(directory: &Path) -> Result<(bundle::Manifest, stage::Staged), Failure> {
    let path = directory.join(bundle::MANIFEST_NAME);
    let text = fs::read(&path).map_err(|_| {
        Failure::new("NO_MANIFEST", format!("{} is not there", path.display()))
            .hint("`databox job new DIR` writes one to start from")
    })?;
    let manifest = bundle::Manifest::parse_bytes(&text).map_err(manifest_failure(&path))?;
    let packed = bundle::pack(directory).map_err(bundle_failure(directory))?;
    let unpacked = stage::directory()?;
    bundle::unpack_into(&packed[..], unpacked.path(), &bundle::Limits::default())
        .map_err(bundle_failure(directory))?;
    Ok((manifest, unpacked))
}

/// The tree of a runtime: the one that was given, or a copy of this machine's Python.
fn runtime(name: &Name, given: Option<&Path>) -> Result<stage::Staged, Failure> {
    match given {
        Some(directory) if directory.is_dir() => stage::runtime(directory),
        Some(directory) => {
            Err(Failure::new("RUNTIME_DIRECTORY", format!("{} is not a directory", directory.display()))
                .hint("give the directory that holds the runtime's usr, lib and so on"))
        }
        None if name.as_str() == HOST_PYTHON => {
            let tree = stage::directory()?;
            sandbox::host_python(Path::new("/usr/bin/python3"), tree.path()).map_err(|error| {
                Failure::new("HOST_PYTHON", whole(&error))
                    .hint("apt-get install python3 brings Debian's interpreter")
            })?;
            Ok(tree)
        }
        None => Err(Failure::new("RUNTIME_UNKNOWN", format!("this desk has no runtime {name}"))
            .hint("give --runtime DIR, a copy of its tree; `host-python` is this machine's Python")),
    }
}

/// Walls take paths without links only.
fn plain(path: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(path).map_err(file_failure(path))
}

fn job_limits(asked: &Asked) -> Limits {
    let seconds = asked.seconds.0.max(1);
    Limits {
        memory_bytes: asked.memory_bytes.0.max(16 << 20),
        processes: PROCESSES,
        processors: asked.cpus.0.max(1),
        open_files: 1000,
        file_bytes: FILE_BYTES,
        cpu_seconds: seconds.saturating_mul(asked.cpus.0.max(1)).clamp(1, 1 << 30),
        wall: Duration::from_secs(seconds),
        tmp_bytes: TEMPORARY_BYTES,
        tmp_inodes: 65_536,
        stdout_bytes: PRINTED_BYTES,
    }
}

fn not_launched(error: LaunchError) -> Failure {
    if let LaunchError::Refused(Refusal::SourceHoldsOtherKind(path)) = &error {
        return Failure::new("DATA_OTHER_KIND", format!("{} is neither a file nor a link", path.display()))
            .hint("a socket or pipe would lead out of the wall: give a directory that holds files only");
    }
    let hint = match &error {
        LaunchError::Specification(_) => {
            "`command` and `[limits]` in databox.toml say what is run, and with what"
        }
        _ => "nothing was run; `databox doctor` says what a wall needs of this machine",
    };
    Failure::new("WALL", format!("the job cannot be run behind a wall: {}", whole(&error))).hint(hint)
}

/// What the box would refuse of a manifest that runs here.
fn notes(manifest: &bundle::Manifest, policy: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    let asked = manifest.limits.seconds.0;
    if manifest.query.is_some() {
        notes.push(
            "it was compared with no earlier answer: only the box knows them, and may block it".to_owned(),
        );
    }
    if asked > policy.max_run_seconds {
        let most = policy.max_run_seconds;
        notes.push(format!("the policy gives a run {most} s at most; databox.toml asks for {asked} s"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_gives_a_job_what_a_box_gives_it_by_default() {
        let text = include_str!("../../../../deploy/enclave.toml");
        let deployed: toml::Table = toml::from_str(text).unwrap();
        let limit = |name: &str| deployed["limits"][name].as_integer().unwrap() as u64;
        assert_eq!(
            [PROCESSES, FILE_BYTES, TEMPORARY_BYTES, OUTPUT_BYTES, OUTPUT_ENTRIES],
            ["processes", "file_bytes", "temporary_bytes", "output_bytes", "output_entries"].map(limit)
        );
    }
}
