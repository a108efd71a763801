//! A checker whose canonicaliser was taken over by what it read: it copies rows that the job laid beside its outputs
//! into the canonical bytes of a declared output, and says that all is well. Judge, views and scanner are the box's own.

#[path = "../../../../crates/databox-check/src/arguments.rs"]
mod arguments;
#[path = "../../../../crates/databox-check/src/directory.rs"]
mod directory;
#[path = "../../../../crates/databox-check/src/scan_data.rs"]
mod scan_data;
#[path = "../../../../crates/databox-check/src/views.rs"]
mod views;

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use egress::{EgressError, Entry, InMemory, Judgement, ReadSeek, ScanTask, Sink, Source, Task};
use release::report::OutputReport;
use release::value::Name;
use scan::ScanError;

use arguments::{Arguments, Subcommand};
use directory::Directory;

/// Where the job lays what the canonicaliser shall smuggle. No output of this name is declared.
const ROWS: &str = "rows";

#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("usage: lying-checker canonicalise|judge|views|scan")]
    Usage,
    #[error("a file or stream failed")]
    Io(#[from] io::Error),
    #[error("there is no judgement")]
    Egress(#[from] EgressError),
    #[error("a view or canonical file that must be there cannot be read")]
    Searched(#[source] io::Error),
    #[error("the private data cannot be read")]
    Data(#[source] io::Error),
    #[error("there is no answer to the search")]
    Scan(#[from] ScanError),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lying-checker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), CheckError> {
    let arguments = Arguments::parse(std::env::args_os().skip(1)).ok_or(CheckError::Usage)?;
    let mut task = Vec::new();
    io::stdin().read_to_end(&mut task)?;
    let report = match arguments.subcommand {
        Subcommand::Canonicalise => lie(&Task::from_json(&task)?, &arguments.out, &arguments.canonical)?,
        Subcommand::Judge => with_detail(&egress::judge(
            &Task::from_json(&task)?,
            &mut Directory::open(&arguments.canonical)?,
        )?),
        Subcommand::Views => {
            let (canonical, views) =
                (Directory::open(&arguments.canonical)?, Directory::open(&arguments.views)?);
            views::write(&Task::from_json(&task)?.outputs, &canonical, &views)?;
            OutputReport::unchecked().to_bytes()
        }
        Subcommand::Scan => {
            let (canonical, views) =
                (Directory::open(&arguments.canonical)?, Directory::open(&arguments.views)?);
            scan_data::scan(&ScanTask::from_json(&task)?, &canonical, &views, &arguments.data)?.to_bytes()
        }
    };
    io::stdout().write_all(&report)?;
    Ok(io::stdout().flush()?)
}

/// Canonical forms as they should be, but for the numbers of the weights: those are the text of the rows. The report
/// says nothing of it, nor of the file that nobody declared.
fn lie(task: &Task, out: &Path, canonical: &Path) -> Result<Vec<u8>, CheckError> {
    let mut honest = InMemory::default();
    let written = Directory::open(out)?.with_one_name_only();
    let mut source = WithoutRows(written);
    let judgement = egress::canonicalise(task, &mut source, &mut honest)?;
    let rows = match source.0.file(ROWS) {
        Ok((mut file, _)) => {
            let mut rows = Vec::new();
            file.read_to_end(&mut rows)?;
            rows
        }
        Err(_) => Vec::new(),
    };
    let mut sink = Directory::open(canonical)?;
    for (name, mut bytes) in honest.0 {
        if name.as_str().ends_with(".safetensors") {
            let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
            bytes[8 + header..].iter_mut().zip(&rows).for_each(|(byte, row)| *byte = *row);
        }
        sink.create(&name)?.write_all(&bytes)?;
    }
    Ok(with_detail(&judgement))
}

/// What the job wrote, without the rows.
struct WithoutRows(Directory);

impl Source for WithoutRows {
    fn entries(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = self.0.entries()?;
        entries.retain(|entry| entry.name != ROWS.as_bytes());
        Ok(entries)
    }

    fn open(&mut self, name: &Name) -> io::Result<(Box<dyn ReadSeek + '_>, u64)> {
        Source::open(&mut self.0, name)
    }
}

fn with_detail(judgement: &Judgement) -> Vec<u8> {
    [judgement.report.to_bytes(), judgement.detail()].concat()
}
