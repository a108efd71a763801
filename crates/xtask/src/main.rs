//! Development commands: `cargo xtask build|demo|test|bench|egress-bench|lint`.
//!
//! No dependencies, so that the first command a newcomer types starts at once.

mod bench;
mod build;
mod claims;
mod egress;
mod lint;
mod run;
mod suites;

use std::process::ExitCode;

const USAGE: &str = "cargo xtask build                  every program, into target/databox/bin
cargo xtask demo [--exit]          a throw-away box that plays all roles and attacks itself
cargo xtask test [SUITE…] [--long] every suite, or some: units queries formats path rooms attacks crash inputs secrets
                                   listening egress-bench
cargo xtask attacks [--long]       the hostile matrix: each attempt, behind which wall, and how it came out
cargo xtask bench listening        how long a bystander waits beside each attack, against how long in peace
cargo xtask bench commits          durable changes a second: those that come together, against one by one
cargo xtask bench verify           how long a release takes to verify, over its signatures and digests alone
cargo xtask bench log              how long a log with many releases takes to audit, over the same of all of them
cargo xtask bench append           how many decisions the signer appends in a second, one by one and together
cargo xtask bench job              how long an empty job takes from its start to its verdict
cargo xtask bench scan             how fast the search for exact copies is, over Hyperscan with the same literals
cargo xtask bench query            how long questions by group take with all rules, over DuckDB without any
cargo xtask egress-bench --long    all that is asked of what may leave, under a heading each: the benchmark at all sizes, a
                                   million planted runs, bits charged, bench scan, bench query; hours
cargo xtask egress-bench [--size 64MiB|1GiB|…] [--checker CMD] [--parts attacks,honest,bombs,weights]
                                   what a checker finds of 80 ways to steal, and whom it stops for nothing
cargo xtask bench walls [PART…]    what the wall around a job costs, over bare and beside others, and what it leaves
cargo xtask lint                   formatting, claims, clippy, licences and sources";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.split_first() {
        Some((&"build", [])) => build::programs().map(|_| ()),
        Some((&"demo", rest)) => demo(rest),
        Some((&"test", rest)) => suites::run(rest),
        Some((&"attacks", [])) => suites::attacks(false),
        Some((&"attacks", ["--long"])) => suites::attacks(true),
        Some((&"bench", [name, parts @ ..])) => bench::run(name, parts),
        Some((&"egress-bench", rest)) => egress::run(rest),
        Some((&"lint", [])) => lint::run(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("xtask: {text}");
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &[&str]) -> Result<(), String> {
    let programs = build::programs()?;
    // Replaced by the demo, so that Ctrl-C reaches it and nothing else.
    let error = std::os::unix::process::CommandExt::exec(
        std::process::Command::new(programs.join("databox")).arg("demo").args(arguments),
    );
    Err(format!("the demo did not start: {error}"))
}
