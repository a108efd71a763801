//! The command line: reads it, calls the library, prints.

mod command_line;
mod commands;
mod show;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // `databox … | head` ends the command; that nobody reads on is no fault of the program.
    let other = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        match words.starts_with("failed printing to stdout") {
            true => eprintln!("error[OUTPUT]: nobody reads what this command prints; it stopped there"),
            false => other(panic),
        }
    }));
    let line = match command_line::CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) if error.use_stderr() && std::env::args_os().any(|word| word == "--json") => {
            return command_line::not_understood(&error).report(true);
        }
        Err(error) => error.exit(),
    };
    let json = line.json;
    match commands::run(line) {
        Ok(code) => code,
        Err(failure) => failure.report(json),
    }
}
