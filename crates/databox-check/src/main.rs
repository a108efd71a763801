//! Canonicalise, judge, compare, views, scan, findings and evaluation, each meant to run behind a wall.
//!
//! One subcommand, one process: it reads a task from standard input, works on the directories that the wall shows it,
//! and writes a report of fixed size to standard output, for `canonicalise`, `judge` and `compare` followed by detail for people.
//! `findings` reads such detail from standard input and writes it in words. `evaluation` compares the numbers that a job's own
//! program measured of its weights in two precisions.
//!
//! | subcommand     | reads                           | writes       |
//! |----------------|---------------------------------|--------------|
//! | `canonicalise` | `/out`                          | `/canonical` |
//! | `judge`        | `/canonical`                    |              |
//! | `compare`      | `/canonical`, `/compared`       |              |
//! | `views`        | `/canonical`                    | `/views`     |
//! | `scan`         | `/canonical`, `/views`, `/data`, `/index`, `/public` | |
//! | `findings`     |                                 |              |
//! | `evaluation`   | `/reference`, `/smaller`        |              |
//!
//! Exit code 0 means that a report was written, also one that blocks; any other that there is none. `scan` alone sees
//! data, and compares bytes only.

mod arguments;
mod directory;
mod findings;
mod numbers;
mod scan_data;
mod views;

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use egress::{Compared, EgressError, EvaluationTask, Judgement, ScanTask, Task};
use release::report::EvaluationReport;
use scan::ScanError;

use arguments::{Arguments, Subcommand};
use directory::Directory;

/// Largest task in bytes: a request and the catalogues of its datasets, each at most 1 MiB.
const TASK_LIMIT: u64 = 64 << 20;

/// Why there is no report. Each prints one line to standard error, which nobody reads in the box.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(
        "usage: databox-check canonicalise|judge|compare|views|scan|findings|evaluation [--out DIR] [--canonical DIR] \
         [--views DIR] [--data DIR] [--index DIR] [--public DIR] [--compared DIR] [--counts DIR] [--reference DIR] [--smaller DIR]"
    )]
    Usage,
    #[error("the task cannot be read")]
    Task(#[source] io::Error),
    #[error("there is no judgement")]
    Egress(#[from] EgressError),
    #[error("the directory {path:?} cannot be opened")]
    Directory { path: PathBuf, source: io::Error },
    #[error("the counts before rounding cannot be written")]
    Counts(#[source] io::Error),
    #[error("the views cannot be written")]
    Views(#[source] io::Error),
    #[error("a view or canonical file that must be there cannot be read")]
    Searched(#[source] io::Error),
    #[error("the private data holds something that is neither a file nor a directory, or cannot be read")]
    Data(#[source] io::Error),
    #[error("there is no answer to the search")]
    Scan(#[from] ScanError),
    #[error("what was measured cannot be read")]
    Measured(#[source] io::Error),
    #[error("the report cannot be written")]
    Report(#[source] io::Error),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("databox-check: {}", whole(&error));
            ExitCode::from(if matches!(error, CheckError::Usage) { 2 } else { 1 })
        }
    }
}

fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn run() -> Result<(), CheckError> {
    let arguments = Arguments::parse(std::env::args_os().skip(1)).ok_or(CheckError::Usage)?;
    let mut task = Vec::new();
    io::stdin().take(TASK_LIMIT).read_to_end(&mut task).map_err(CheckError::Task)?;
    let report = match arguments.subcommand {
        Subcommand::Canonicalise => {
            let task = Task::from_json(&task)?;
            let mut out = open(&arguments.out)?.with_one_name_only();
            let mut canonical = open(&arguments.canonical)?;
            let judgement = egress::canonicalise(&task, &mut out, &mut canonical)?;
            if let Some(counts) = &arguments.counts {
                write_counts(&open(counts)?, &judgement).map_err(CheckError::Counts)?;
            }
            with_detail(&judgement)
        }
        Subcommand::Judge => {
            let task = Task::from_json(&task)?;
            with_detail(&egress::judge(&task, &mut open(&arguments.canonical)?)?)
        }
        Subcommand::Compare => {
            let compared = Compared::from_json(&task)?;
            let (mut canonical, mut others) = (open(&arguments.canonical)?, open(&arguments.compared)?);
            with_detail(&egress::compare(&compared, &mut canonical, &mut others)?)
        }
        Subcommand::Views => {
            let task = Task::from_json(&task)?;
            let (canonical, views) = (open(&arguments.canonical)?, open(&arguments.views)?);
            let made = views::write(&task.outputs, &canonical, &views).map_err(CheckError::Views)?;
            numbers::write(&task.outputs, &canonical, &views).map_err(CheckError::Views)?;
            made.to_bytes()
        }
        Subcommand::Scan => {
            let task = ScanTask::from_json(&task)?;
            let (canonical, views) = (open(&arguments.canonical)?, open(&arguments.views)?);
            scan_data::scan(&task, &canonical, &views, &arguments.beside())?.to_bytes()
        }
        Subcommand::Findings => findings::words(&task)?.into_bytes(),
        Subcommand::Evaluation => {
            let task = EvaluationTask::from_json(&task)?;
            let mut reference = open(&arguments.reference)?.with_one_name_only();
            let mut smaller = open(&arguments.smaller)?.with_one_name_only();
            let holds = egress::holds(&task, &mut reference, &mut smaller).map_err(CheckError::Measured)?;
            EvaluationReport { holds }.to_bytes()
        }
    };
    io::stdout().write_all(&report).and_then(|()| io::stdout().flush()).map_err(CheckError::Report)
}

fn open(path: &std::path::Path) -> Result<Directory, CheckError> {
    Directory::open(path).map_err(|source| CheckError::Directory { path: path.to_owned(), source })
}

/// The counts of each table before rounding, under names that no output can have.
fn write_counts(directory: &Directory, judgement: &Judgement) -> io::Result<()> {
    for (output, counts) in &judgement.counts {
        directory.new_file(&egress::written_counts_file(*output))?.write_all(counts)?;
    }
    Ok(())
}

fn with_detail(judgement: &Judgement) -> Vec<u8> {
    [judgement.report.to_bytes(), judgement.detail()].concat()
}
