//! How quickly data is searched for an output, over Hyperscan with literals that promise the same: each run of 31 bytes
//! of the output holds one of its 16-byte windows that begin at a multiple of 16.
//!
//! One thread each, in turn, on the same file; processor time, the least of several rounds. Both searched files are in
//! memory. Half of the data is text of this machine, half real rows: see `material.rs`.
//!
//! And how quickly an index of the data answers, over a loop that reads the data; and how long a whole check takes, over
//! compressing.

mod check;
mod direct;
mod material;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::slice;

use rustix::time::{ClockId, clock_gettime};
use scan::{Background, Limits, SearchedView, SnapshotIndex, View};

const MIB: usize = 1 << 20;
const ROUNDS: usize = 3;
const PAIRS: usize = 5;

/// What the ratio must reach for each output.
const BAR: f64 = 2.0;

/// Seconds of processor time that this process has used so far.
fn processor_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 * 1e-9
}

fn seconds<D>(work: impl FnOnce() -> D) -> (f64, D) {
    let begun = processor_seconds();
    let done = work();
    (processor_seconds() - begun, done)
}

/// Searches one view with one thread; returns how many runs were found.
fn found(output: &[u8], data: &PathBuf) -> u64 {
    found_by(&[], output, data)
}

/// The same with indexes of the data.
fn found_by(indexes: &[SnapshotIndex], output: &[u8], data: &PathBuf) -> u64 {
    let views = vec![SearchedView { output: 0, view: View::Raw, bytes: Box::new(output) }];
    let limits = Limits { threads: 1, ..Limits::default() };
    let report = scan::search_indexed(views, slice::from_ref(data), indexes, &Background::default(), limits);
    report.expect("a search").runs
}

/// What Hyperscan took and found.
struct Searched {
    /// Seconds of a search for each byte of data.
    for_a_byte: f64,
    found: u64,
    /// Seconds before it: an output's literals are nobody else's.
    compiling: f64,
}

/// Hyperscan in a process of its own.
struct Hyperscan {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Hyperscan {
    fn with(output: &[u8], data: &Path, literals: &Path) -> io::Result<Self> {
        // What we do not look for is not looked for: zeros would match everywhere.
        let windows = output.as_chunks::<16>().0.iter().filter(|window| distinct(*window) >= 5);
        std::fs::write(literals, windows.flatten().copied().collect::<Vec<u8>>())?;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/scan/hyperscan.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(program).arg(data).arg(literals).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let answers = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Ok(Self { child, answers })
    }

    /// It does not wait for more than some seconds' worth of data.
    fn search(&mut self) -> io::Result<Searched> {
        writeln!(self.child.stdin.as_mut().expect("it is a pipe"))?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let answer = match numbers[..] {
            [seconds, bytes, found, compiling] => {
                Some(Searched { for_a_byte: seconds / bytes, found: found as u64, compiling })
            }
            _ => None,
        };
        answer.ok_or_else(|| io::Error::other("Hyperscan did not answer; is libhyperscan5 installed?"))
    }
}

impl Drop for Hyperscan {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn distinct(window: &[u8]) -> usize {
    window.iter().collect::<std::collections::HashSet<_>>().len()
}

fn least(seconds: impl IntoIterator<Item = f64>) -> f64 {
    seconds.into_iter().fold(f64::INFINITY, f64::min)
}

/// Our time for an output over Hyperscan's.
struct Ratios {
    /// Of reading and searching. Ours holds what the output takes before, theirs does not.
    searching: f64,
    /// From the output to the answer.
    answering: f64,
}

/// Compares both for an output, and prints the ratios.
fn compare(name: &str, output: &[u8], data: &PathBuf, bytes: usize, scratch: &Path) -> io::Result<Ratios> {
    let mut hyperscan = Hyperscan::with(output, data, &scratch.join("literals"))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut runs, mut literals, mut compiling) = (0, 0, 0.0);
    for _ in 0..ROUNDS {
        let (time, found) = seconds(|| found(output, data));
        ours.push(time / bytes as f64);
        runs = found;
        let searched = hyperscan.search()?;
        theirs.push(searched.for_a_byte);
        (literals, compiling) = (searched.found, searched.compiling);
    }
    let (ours, theirs) = (least(ours), least(theirs));
    let speed = |time: f64| 1e-9 / time;
    let ratios = Ratios { searching: theirs / ours, answering: (theirs + compiling / bytes as f64) / ours };
    println!(
        "{name:<24} ours {:.2} GB/s ({runs} runs), Hyperscan {:.2} GB/s ({literals} literals) after {compiling:.1} s of \
         compiling: {:.2} times searching, {:.2} from the output to the answer",
        speed(ours),
        speed(theirs),
        ratios.searching,
        ratios.answering,
    );
    Ok(ratios)
}

/// Makes an index of the data, and says what it takes.
fn index(data: &PathBuf, bytes: usize) -> io::Result<SnapshotIndex> {
    let (file, scratch) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let files = std::slice::from_ref(data);
    let (time, made) = seconds(|| scan::build_index(files, &scratch, &file));
    made.map_err(io::Error::other)?;
    let size = file.metadata()?.len() as f64 / bytes as f64;
    println!("an index of the data: {:.2} GB/s, {size:.2} of the data's size", bytes as f64 / time / 1e9);
    SnapshotIndex::open(file, files).map_err(io::Error::other)
}

/// Compares a search by an index with the direct loop, both from the output to the answer: in pairs, the median ratio.
fn over_direct(size: usize, data: &PathBuf, index: &SnapshotIndex, bytes: usize, bar: f64) -> io::Result<()> {
    let output = material::weights(size * MIB);
    let (mut ours, mut direct, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut runs = 0;
    for _ in 0..PAIRS {
        let (by_index, found) = seconds(|| found_by(slice::from_ref(index), &output, data));
        let by_loop = seconds(|| direct::may_stand(&output, data)).0;
        ours.push(by_index);
        direct.push(by_loop);
        ratios.push(by_loop / by_index);
        runs = found;
    }
    ratios.sort_by(f64::total_cmp);
    let speed = |times: Vec<f64>| bytes as f64 / least(times) / 1e9;
    println!(
        "{size:>3} MiB of weights in bf16 by the index {:.1} GB/s ({runs} runs), the direct loop {:.2} GB/s: \
         {:.2} times ({:.2} to {:.2}), the bar {bar}",
        speed(ours),
        speed(direct),
        ratios[PAIRS / 2],
        ratios[0],
        ratios[PAIRS - 1],
    );
    Ok(())
}

/// Compares a search by an index with one that reads the data.
fn by_index(name: &str, output: &[u8], data: &PathBuf, index: &SnapshotIndex) {
    let (with, runs) = seconds(|| found_by(slice::from_ref(index), output, data));
    let (without, same) = seconds(|| found(output, data));
    assert_eq!(runs, same, "an index changes what is found");
    println!("{name:<24} by the index {:.2} times as quick as without ({runs} runs)", without / with);
}

/// How quickly the data can be read at all, as both searches read it: no search is quicker.
fn reading(data: &PathBuf, bytes: usize) -> io::Result<f64> {
    let mut buffer = vec![0; 1 << 18];
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut file = std::fs::File::open(data)?;
        let (time, read) = seconds(|| {
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => break Ok(()),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            }
        });
        read?;
        times.push(time);
    }
    Ok(bytes as f64 / least(times) / 1e9)
}

/// Both must find a run of 31 bytes that stands in the data, or the comparison is one of nothing.
fn both_find(data: &PathBuf, index: &SnapshotIndex, content: &[u8], scratch: &Path) -> io::Result<()> {
    let from = content.len() / 3 + 7;
    let planted = |bytes: usize| {
        let mut output = material::weights(bytes);
        output[bytes / 2 + 3..][..31].copy_from_slice(&content[from..from + 31]);
        output
    };
    let output = planted(MIB);
    assert!(found(&output, data) > 0, "we do not find a planted run");
    for output in [&output, &planted(64 * MIB)] {
        assert_eq!(found_by(slice::from_ref(index), output, data), 1, "nor by an index");
    }
    let found = Hyperscan::with(&output, data, &scratch.join("literals"))?.search()?.found;
    assert!(found > 0, "Hyperscan does not find a planted run");
    Ok(())
}

fn main() -> io::Result<()> {
    println!("load {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    let scratch = tempfile::tempdir()?;
    let real = test_egress_bench::rows_of_health_insurance()?;
    let text = material::Text::of_this_machine(512 * MIB);
    let content = [&text.data[..], &material::rows(&real, 1024 * MIB - text.data.len())].concat();
    let data = scratch.path().join("data");
    std::fs::write(&data, &content)?;
    println!(
        "data: {} MiB of text of this machine, {} MiB of real rows in any order; output: 1 MiB; one thread each",
        text.data.len() / MIB,
        (content.len() - text.data.len()) / MIB
    );
    let index = index(&data, content.len())?;
    both_find(&data, &index, &content, scratch.path())?;
    let bytes = content.len();
    drop(content);
    for (size, bar) in [(1, 1.5), (16, 3.0), (64, 4.0)] {
        over_direct(size, &data, &index, bytes, bar)?;
    }
    let outputs = [
        ("weights in bf16", material::weights(MIB)),
        ("rows of no one", material::rows_of_no_one(&real, MIB)),
        ("text held back", text.held_back[..text.held_back.len().min(MIB)].to_vec()),
    ];
    println!("reading the data alone: {:.2} GB/s", reading(&data, bytes)?);
    let mut ratios = Vec::new();
    for (name, output) in &outputs {
        ratios.push(compare(name, output, &data, bytes, scratch.path())?);
    }
    let least_of = |of: fn(&Ratios) -> f64| least(ratios.iter().map(of));
    println!(
        "the least ratio is {:.2} from the output to the answer, {:.2} searching, the bar {BAR}",
        least_of(|ratios| ratios.answering),
        least_of(|ratios| ratios.searching),
    );
    for (name, output) in &outputs {
        by_index(name, output, &data, &index);
    }
    check::over_xz(&real, scratch.path())
}
