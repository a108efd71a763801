//! EgressBench, and beside it the other measurements of what may leave: all that is asked of it, by one command.

use std::time::Instant;

use crate::bench;
use crate::build;
use crate::run::{cargo, checked};

/// A part of the long run, printed under what it is to show.
struct Bar {
    asks: &'static str,
    measure: fn() -> Result<(), String>,
}

const BARS: [Bar; 5] = [
    Bar {
        asks: "planted runs of exactly 31 bytes: 1,000,000 raw and 10,000 behind each other view, none missed",
        measure: || tests("scan", &["promise", "planted", "planted_values"]),
    },
    Bar {
        asks: "bits charged are never fewer than the canonical bytes carry",
        measure: || tests("egress", &["bits"]),
    },
    Bar {
        asks: "raw search of 1 GiB, 1 MiB of output, one core: at least 2 times Hyperscan\nprepared index over the direct loop, at \
               1, 16 and 64 MiB of output: at least 1.5, 3 and 4 times",
        measure: || bench::run("scan", &[]),
    },
    Bar {
        asks: "questions by group with all rules, over DuckDB without: at most 2.0 times its time",
        measure: || bench::run("query", &[]),
    },
    // The longest, with outputs of up to 1 GiB.
    Bar {
        asks: "attacks: of 74 deterministic encodings of 31 bytes or more at least 71 found or gone; no encrypted twin found, and all \
               within the bits charged\nhonest outputs, 1 KB to 1 GB: no false alarm\nbombs, malformed files, nesting: refused by \
               name within 10 s and 512 MiB\nweights: bits left in each after canonicalisation, and the loss in accuracy",
        measure: || benchmark(&["--long"]),
    },
];

/// The benchmark with these arguments. `--long` alone is the long run: all bars, one after the other.
pub fn run(arguments: &[&str]) -> Result<(), String> {
    if arguments != ["--long"] {
        return benchmark(arguments);
    }
    let mut failed = Vec::new();
    for (number, bar) in BARS.iter().enumerate() {
        println!("\n== {} of {}\n{}\n", number + 1, BARS.len(), bar.asks);
        let begun = Instant::now();
        // One that cannot be measured here, as without Hyperscan, keeps nobody from the others.
        if let Err(error) = (bar.measure)() {
            println!("not measured, or not reached: {error}");
            failed.push((number + 1).to_string());
        }
        println!("\n{:.0} s", begun.elapsed().as_secs_f64());
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("parts that failed: {}", failed.join(", "))) }
}

/// What a checker finds of 80 encodings, and whom it stops for nothing. See `tests/egress-bench/README.md`.
fn benchmark(arguments: &[&str]) -> Result<(), String> {
    build::programs()?;
    let mut command = cargo(&["run", "--quiet", "--locked", "--package", "test-egress-bench", "--"]);
    checked(command.args(arguments))
}

/// The tests of these files of a crate, those of the long run among them.
fn tests(package: &str, files: &[&str]) -> Result<(), String> {
    let mut command = cargo(&["test", "--quiet", "--locked", "--package", package]);
    for file in files {
        command.args(["--test", file]);
    }
    checked(command.args(["--", "--include-ignored", "--nocapture"]))
}
