//! How much processor time it takes to verify a release file, over the signatures and digests in it alone: every signature
//! once, strictly, with a key that is ready, and every payload hashed once, in turn in the same process.
//!
//! A process looks at each key of a site once, so its first file takes longer. That is measured too, in a process for
//! each time, against the same work alone in that process.

use std::hint::black_box;
use std::process::Command;

use release::file::{Examination, GivenFiles, Pinned};
use test_formats::bare::Bare;
use test_formats::measure::processor_seconds;
use test_formats::story::{Story, verified_at};

const ROUNDS: usize = 101;
const EACH: usize = 20;

fn microseconds(mut work: impl FnMut()) -> f64 {
    let begun = processor_seconds();
    (0..EACH).for_each(|_| work());
    (processor_seconds() - begun) * 1e6 / EACH as f64
}

/// How many processes verify a first file.
const FIRST_FILES: usize = 31;

/// Told to a process that verifies one file and ends: it prints its ratio.
const FIRST: &str = "--first-file";

fn main() {
    let told = Story::default().tell();
    let bare = Bare::of(&serde_json::from_slice(&told.bytes).expect("JSON"));
    let pinned = Pinned::new(told.pin);
    let verify = || {
        let examined = Examination::of(&told.bytes, &pinned, verified_at(), GivenFiles::NotGiven);
        assert!(black_box(examined).result.is_ok());
    };
    if std::env::args().any(|argument| argument == FIRST) {
        let begun = processor_seconds();
        verify();
        let first = (processor_seconds() - begun) * 1e6;
        return println!("{}", first / microseconds(|| bare.compute()));
    }
    let pairs: Vec<_> =
        (0..ROUNDS).map(|_| (microseconds(verify), microseconds(|| bare.compute()))).collect();
    let whole = median(pairs.iter().map(|pair| pair.0));
    let alone = median(pairs.iter().map(|pair| pair.1));
    println!(
        "a release file of {} bytes: {whole:.0} us to verify; its {} signatures and {} digests alone: {alone:.0} us",
        told.bytes.len(),
        bare.counts().0,
        bare.counts().1
    );
    print("verified over signatures and digests alone", pairs.iter().map(|pair| pair.0 / pair.1));
    let fastest = |part: fn(&(f64, f64)) -> f64| pairs.iter().map(part).fold(f64::INFINITY, f64::min);
    println!("the fastest of each: {:.2}", fastest(|pair| pair.0) / fastest(|pair| pair.1));
    print(
        "the same for the first file of a site, whose keys are looked at",
        (0..FIRST_FILES).map(|_| first_file()),
    );
}

fn first_file() -> f64 {
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this).arg(FIRST).output().expect("a process");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a ratio")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    values[values.len() / 2]
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn print(what: &str, ratios: impl Iterator<Item = f64>) {
    let ratios = sorted(ratios);
    let (low, high) = (ratios[1], ratios[ratios.len() - 2]);
    println!("{what}: {:.2} ({low:.2} to {high:.2}, {} pairs)", ratios[ratios.len() / 2], ratios.len());
}
