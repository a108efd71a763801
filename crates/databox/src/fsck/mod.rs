//! `databox fsck`: whether what a stopped box has on disk keeps its promises.
//!
//! It reads the stores of all four rooms, which no room may do, and so it works on a stopped box only: a room that runs
//! is named and nothing is read. It changes nothing: databases are copied and the copies opened. It proves nothing
//! about data that a room never wrote; what a researcher or steward was told, their own tools remember.

mod console;
mod enclave;
mod gateway;
mod leftovers;
mod log;
mod places;
mod running;
mod witness;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::failure::{Exit, Failure};
use crate::home::Home;
use places::Places;

/// What `fsck` needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct FsckArguments {
    /// The home of the stopped box.
    #[arg(long = "dir")]
    pub directory: PathBuf,
    /// The directory of a stopped witness of this log (`databox witness --state`), where it is at hand.
    #[arg(long = "witness")]
    pub witnesses: Vec<PathBuf>,
}

/// A room looks at its limits so often at least, in seconds; a job that is past one for longer is forgotten.
const LOOKS_EVERY: u64 = 600;

/// A promise about what is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A database is whole.
    Database,
    /// A bundle whose submission was acknowledged is there, byte for byte.
    Bundle,
    /// A job moves along the table of states only, and the rooms agree about it.
    States,
    /// No job stays in a state past its limit, counted in the time that its room has run.
    Limit,
    /// Each account entry follows from the one before, and the head outside is one of them.
    Account,
    /// Every run was charged before it started.
    ChargeBeforeRun,
    /// The nonce of a request is kept with its charge, so that nothing runs twice.
    Nonce,
    /// Bits set aside, spent and freed fit the job's state; the account has at least what the log released.
    Reservation,
    /// A job under review, or past it, has its verdict, its files and its packet.
    Verdict,
    /// A job whose code stewards had to review first has a run only with their approvals.
    CodeReview,
    /// The log's entries lead to its head; head, head outside and published checkpoint fit together.
    Log,
    /// The published checkpoint is no newer than the head that was made durable.
    CheckpointBehindHead,
    /// One decision for each verdict, ever, and every such leaf has what it stands for.
    OneDecision,
    /// What lies in an outbox or is served stands in a verified release under a witnessed head.
    Outbox,
    /// What a witness has seen is in the log, and a witness remembers what it cosigned.
    Witness,
    /// A denial that came in is never forgotten.
    Denial,
    /// Something was begun that the next start completes or clears away.
    Unfinished,
}

impl Rule {
    /// Its name, as it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Bundle => "bundle-kept",
            Self::States => "job-states",
            Self::Limit => "within-limit",
            Self::Account => "account-chain",
            Self::ChargeBeforeRun => "charge-before-run",
            Self::Nonce => "nonce-with-charge",
            Self::Reservation => "account-covers-log",
            Self::Verdict => "verdict-kept",
            Self::CodeReview => "code-review-before-run",
            Self::Log => "log-whole",
            Self::CheckpointBehindHead => "checkpoint-behind-head",
            Self::OneDecision => "one-decision",
            Self::Outbox => "outbox-behind-leaf",
            Self::Witness => "witness-remembers",
            Self::Denial => "denial-kept",
            Self::Unfinished => "unfinished",
        }
    }

    /// True if a crash leaves it so and the next start mends it.
    pub fn is_mended_by_start(self) -> bool {
        self == Self::Unfinished
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which promise it is about.
    pub rule: Rule,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.rule.word(), self.text)
    }
}

/// What was found, and how much was looked at.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Jobs of the enclave.
    pub jobs: usize,
    /// Leaves of the log.
    pub leaves: u64,
    /// Entries of the account.
    pub entries: u64,
}

impl Report {
    fn add(&mut self, rule: Rule, text: impl Into<String>) {
        self.findings.push(Finding { rule, text: text.into() });
    }

    fn check(&mut self, kept: bool, rule: Rule, text: impl FnOnce() -> String) {
        if !kept {
            self.add(rule, text());
        }
    }

    /// Broken promises: no start mends them.
    pub fn broken(&self) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| !finding.rule.is_mended_by_start()).collect()
    }
}

/// Looks at a stopped box, and at the directories of its witnesses that are at hand.
pub fn examine(home: &Home, witnesses: &[PathBuf]) -> Result<Report, Failure> {
    let places = Places::read(home)?;
    // Held until the end, so that no room starts meanwhile.
    let _still = running::none_runs(&places)?;
    let mut report = Report::default();
    let log = log::examine(&places, &mut report)?;
    let enclave = enclave::examine(&places, &log, &mut report)?;
    gateway::examine(&places, &log, &enclave, &mut report)?;
    console::examine(&places, &log, &mut report)?;
    for directory in witnesses {
        witness::examine(directory, &log, &mut report)?;
    }
    leftovers::examine(&places, &mut report);
    Ok(report)
}

/// The command: prints what was found. Ends with 10 if a promise is broken; with `json` the one object says so, and
/// nothing else is printed.
pub fn run(arguments: &FsckArguments, json: bool) -> Result<ExitCode, Failure> {
    let report = examine(&Home::at(&arguments.directory), &arguments.witnesses)?;
    let broken = report.broken().len();
    if json {
        let findings: Vec<_> = report
            .findings
            .iter()
            .map(|finding| serde_json::json!({ "rule": finding.rule.word(), "text": finding.text }))
            .collect();
        let whole = serde_json::json!({
            "jobs": report.jobs, "leaves": report.leaves, "accountEntries": report.entries, "broken": broken,
            "findings": findings,
        });
        println!("{whole}");
        return Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::from(Exit::CheckFailed as u8) });
    }
    report.findings.iter().for_each(|finding| println!("{finding}"));
    println!(
        "{} jobs, {} leaves, {} account entries: {}",
        report.jobs,
        report.leaves,
        report.entries,
        if broken == 0 { "every promise is kept" } else { "promises are broken" }
    );
    if broken == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new("BOX_BROKEN", format!("{broken} promises about what is on disk are broken"))
        .hint("do not start the box; keep a copy of its directory, and look at what is named above")
        .exit(Exit::CheckFailed))
}
