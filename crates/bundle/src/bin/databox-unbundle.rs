//! Unpacks the bundle on standard input into the empty directory named by the only argument.
//!
//! A stranger's bytes are parsed here and nowhere else in the box: this process is meant to run behind a wall,
//! without data, keys or network. It says nothing but its exit code, 0 or 1, since whatever it wrote would have to
//! be parsed by someone.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory] = &arguments[..] else { return ExitCode::FAILURE };
    let limits = bundle::Limits::default();
    match bundle::unpack_into(std::io::stdin().lock(), Path::new(directory), &limits) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
