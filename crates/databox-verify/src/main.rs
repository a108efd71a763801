//! `databox-verify`: see `databox-verify --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    databox_verify::command::run(std::env::args_os().skip(1), &mut std::io::stdout(), &mut std::io::stderr())
}
