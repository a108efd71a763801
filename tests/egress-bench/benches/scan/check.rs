//! How long a whole check takes, over compressing the same bytes with xz: what a researcher waits for who checks weights at
//! a desk. `databox check` runs as it is built for the box, with all of its processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{MIB, material};

/// Weights that are checked.
const CHECKED: usize = 4 * MIB;

/// Where the built programs lie.
const PROGRAMS: &str = "SCAN_BENCH_PROGRAMS";

/// Ticks of processor time in a second, on every Linux that this runs on (`man 5 proc`, `sysconf(_SC_CLK_TCK)`).
const TICKS: f64 = 100.0;

const MANIFEST: &str = r#"[job]
name = "bench"
project = "bench"
runtime = "host-python"
command = ["true"]
purpose = "A benchmark"
[data.bench]
snapshot = "latest"
[limits]
cpus = 1
memory = "1GiB"
time = "5min"
[[output]]
path = "model.safetensors"
kind = "weights"
"#;

/// Checks weights in bf16 beside the rows, and prints the processor time of all processes over that of `xz -6`.
pub fn over_xz(rows: &[u8], scratch: &Path) -> io::Result<()> {
    let Some(programs) = std::env::var_os(PROGRAMS).map(PathBuf::from) else {
        println!("no whole check: {PROGRAMS} does not say where the programs lie");
        return Ok(());
    };
    let at = |name: &str| scratch.join(name);
    ["out", "private"].into_iter().try_for_each(|name| fs::create_dir(at(name)))?;
    let weights = material::weights(CHECKED);
    let values = CHECKED / 2;
    let header = format!(r#"{{"w":{{"dtype":"BF16","shape":[{values}],"data_offsets":[0,{CHECKED}]}}}}"#);
    let length = (header.len() as u64).to_le_bytes();
    fs::write(at("out/model.safetensors"), [&length[..], header.as_bytes(), &weights].concat())?;
    fs::write(at("private/rows.csv"), rows)?;
    let tensors = format!("tensors = [{{ name = \"w\", shape = [{values}] }}]\n");
    fs::write(at("databox.toml"), [MANIFEST, &tensors].concat())?;
    let mut check = Command::new(programs.join("databox"));
    check.arg("check").arg("--json");
    for (flag, name) in [("--manifest", "databox.toml"), ("--outputs", "out"), ("--canonical", "canonical")] {
        check.arg(flag).arg(at(name));
    }
    check.arg("--private").arg(at("private"));
    let mut compress = Command::new("xz");
    compress.args(["-6", "--threads=1", "--keep", "--stdout"]).arg(at("out/model.safetensors"));
    let (checking, compressing) = (seconds_of(&mut check)?, seconds_of(&mut compress)?);
    let mib = (CHECKED / MIB) as f64;
    println!(
        "a whole check of {mib} MiB of weights in bf16 beside {:.1} MB of rows: {:.2} s of processor time a MiB, xz -6 {:.2}: \
         {:.1} times as long",
        rows.len() as f64 / 1e6,
        checking / mib,
        compressing / mib,
        checking / compressing,
    );
    Ok(())
}

/// Seconds of processor time that a program and all whom it waited for used.
fn seconds_of(command: &mut Command) -> io::Result<f64> {
    let before = of_children()?;
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(of_children()? - before)
}

/// Seconds of processor time that ended children of this process used, with theirs.
fn of_children() -> io::Result<f64> {
    let told = fs::read_to_string("/proc/self/stat")?;
    let behind_name = told.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS)
}
