//! The command line: reads it, calls the library, prints.

mod commands;
mod show;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let line = commands::CommandLine::parse();
    match commands::run(line) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
