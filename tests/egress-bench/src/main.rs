//! `cargo xtask egress-bench` calls this once the programs are built.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // Everything to 1 GiB takes hours; without it, what every development machine does in minutes.
    if let Some(place) = arguments.iter().position(|argument| argument == "--long") {
        let long = ["--largest".to_owned(), (1_u64 << 30).to_string(), "--shortest".to_owned()];
        arguments.splice(place..=place, long);
    }
    match test_egress_bench::run(&arguments) {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("egress-bench: python3 did not start, or the data could not be unpacked: {error}");
            ExitCode::FAILURE
        }
    }
}
