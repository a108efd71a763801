//! A checker whose children were taken over by what they read. Which of them lies, and how, stands in the name of a
//! declared output, such as `judge-cheap.json`: [`Lie`] has them all. With any other name it is the box's own.

#[path = "../../../../crates/databox-check/src/arguments.rs"]
mod arguments;
#[path = "../../../../crates/databox-check/src/directory.rs"]
mod directory;
mod lies;
#[path = "../../../../crates/databox-check/src/numbers.rs"]
mod numbers;
mod reach;
#[path = "../../../../crates/databox-check/src/scan_data.rs"]
mod scan_data;
#[path = "../../../../crates/databox-check/src/views.rs"]
mod views;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use egress::{Compared, EgressError, EvaluationTask, Judgement, ScanTask, Task};
use release::value::Name;
use scan::ScanError;

use arguments::{Arguments, Subcommand};
use directory::Directory;
use lies::Lie;

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
    #[error("it got where it must not: {0:?}")]
    Escaped(Vec<String>),
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
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text)?;
    let report = match arguments.subcommand {
        Subcommand::Canonicalise => {
            let task = Task::from_json(&text)?;
            let lie = told(&task);
            reach(lie == Some(Lie::CanonicaliseReach), &["/out", "/canonical"], &["/canonical"])?;
            lies::canonicalise(lie, &task, &arguments.out, &arguments.canonical, arguments.counts.as_deref())?
        }
        Subcommand::Judge => {
            let task = Task::from_json(&text)?;
            reach(told(&task) == Some(Lie::JudgeReach), &["/canonical"], &[])?;
            reach(told(&task) == Some(Lie::JudgeMistaken), &["/canonical", "/data"], &[])?;
            let honest = egress::judge(&task, &mut Directory::open(&arguments.canonical)?)?;
            lies::judge(told(&task), &honest)
        }
        Subcommand::Compare => {
            let compared = Compared::from_json(&text)?;
            let lie = Lie::in_names(compared.outputs.iter().map(|output| output.path()).collect());
            reach(lie == Some(Lie::CompareReach), &["/canonical", "/compared"], &[])?;
            let mut canonical = Directory::open(&arguments.canonical)?;
            let mut others = Directory::open(&arguments.compared)?;
            let honest = egress::compare(&compared, &mut canonical, &mut others)?;
            lies::compare(lie, &honest)
        }
        Subcommand::Views => {
            let task = Task::from_json(&text)?;
            reach(told(&task) == Some(Lie::ViewsReach), &["/canonical", "/views"], &["/views"])?;
            lies::views(told(&task), &task, &arguments.canonical, &arguments.views)?.to_bytes()
        }
        Subcommand::Scan => {
            let task = ScanTask::from_json(&text)?;
            let names: Vec<_> = task.files.iter().map(|file| &file.name).collect();
            let seen = ["/canonical", "/views", "/data", "/index"];
            reach(Lie::in_names(names.clone()) == Some(Lie::ScanReach), &seen, &[])?;
            let (canonical, views) =
                (Directory::open(&arguments.canonical)?, Directory::open(&arguments.views)?);
            let honest = scan_data::scan(&task, &canonical, &views, &arguments.beside())?;
            lies::scan(Lie::in_names(names), &honest, &arguments.data)?
        }
        Subcommand::Evaluation => {
            let task = EvaluationTask::from_json(&text)?;
            let lie = Lie::in_names(vec![&task.metric]);
            reach(lie == Some(Lie::EvaluationReach), &["/reference", "/smaller"], &[])?;
            let mut reference = Directory::open(&arguments.reference)?;
            let mut smaller = Directory::open(&arguments.smaller)?;
            lies::evaluation(lie, egress::holds(&task, &mut reference, &mut smaller)?)
        }
        // It runs at stewards' desks, where no child is a liar's.
        Subcommand::Findings => return Err(CheckError::Usage),
    };
    io::stdout().write_all(&report)?;
    Ok(io::stdout().flush()?)
}

/// A child that got what it must not have has no report, so that its job does not end as its honest twin's.
fn reach(does: bool, sees: &[&str], writes: &[&str]) -> Result<(), CheckError> {
    let escapes = if does { reach::escapes(sees, writes) } else { Vec::new() };
    if escapes.is_empty() { Ok(()) } else { Err(CheckError::Escaped(escapes)) }
}

fn told(task: &Task) -> Option<Lie> {
    let names: Vec<&Name> = task.outputs.iter().map(|output| output.path()).collect();
    Lie::in_names(names)
}

fn with_detail(judgement: &Judgement) -> Vec<u8> {
    [judgement.report.to_bytes(), judgement.detail()].concat()
}
