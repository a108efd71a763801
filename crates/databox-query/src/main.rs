//! The program of every question: `databox-query` answers the one that lies in the place of the job's bundle, and
//! `databox-query compare` compares an answer, whose task it reads from standard input, with earlier ones.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use databox_query::{AnswerError, answer, compare, read_task};
use egress::QueryTask;
use release::statement::ANSWER_FILE;

/// Where each dataset lies below its name.
const DATA: &str = "/data";

/// Longest task in bytes.
const TASK_LIMIT: u64 = 64 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => answer_job(),
        ["compare"] => compare_answers(),
        _ => return ExitCode::from(64),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In the box it goes nowhere: behind the wall there is no standard error.
            eprintln!("databox-query: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer_job() -> Result<(), AnswerError> {
    let task = read_task(&std::fs::read(Path::new("/job").join(QueryTask::FILE))?)?;
    let table = answer(&task, Path::new(DATA))?;
    Ok(std::fs::write(Path::new("/out").join(ANSWER_FILE), table)?)
}

fn compare_answers() -> Result<(), AnswerError> {
    let mut task = Vec::new();
    std::io::stdin().take(TASK_LIMIT).read_to_end(&mut task)?;
    let (report, detail) = compare(&read_task(&task)?, Path::new(DATA))?;
    let mut out = std::io::stdout().lock();
    out.write_all(&report.to_bytes())?;
    out.write_all(&detail)?;
    Ok(out.flush()?)
}
