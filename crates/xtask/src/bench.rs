//! Measurements. Each prints ratios against a thing that it names, taken in the same run; none is a test.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use crate::build;
use crate::run::{cargo, checked, target};

const NAMES: [&str; 9] = ["listening", "commits", "verify", "log", "walls", "append", "scan", "job", "query"];

/// Set in the process that measures: everything that it builds is optimised.
const OPTIMISED: &str = "CARGO_PROFILE_DEV_OPT_LEVEL";

/// Where the programs lie of which a whole check is measured.
const CHECKING: &str = "SCAN_BENCH_PROGRAMS";

/// Takes one measurement, of optimised programs in a target directory of their own.
pub fn run(name: &str, parts: &[&str]) -> Result<(), String> {
    if !NAMES.contains(&name) {
        return Err(format!("there is no measurement {name}; there are {}", NAMES.join(", ")));
    }
    if name == "walls" {
        let measured = walls(parts);
        if parts.is_empty() {
            // Its last row needs a whole box.
            run("job", &[])?;
        }
        return measured;
    }
    if let [part, ..] = parts {
        return Err(format!("{name} has no parts, and so no {part}"));
    }
    if std::env::var_os(OPTIMISED).is_none() {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut again = Command::new(this);
        again.args(["bench", name]).env(OPTIMISED, "3").env("CARGO_TARGET_DIR", target().join("optimised"));
        if name == "scan" {
            // A whole check is measured of the programs as the box has them.
            again.env(CHECKING, build::programs()?);
        }
        return checked(&mut again);
    }
    match name {
        "listening" => listening(),
        "verify" | "log" => bench("test-formats", name),
        "scan" => bench("test-egress-bench", name),
        "append" => append(),
        "job" => job(),
        "query" => query(),
        _ => bench("database", name),
    }
}

fn bench(package: &str, name: &str) -> Result<(), String> {
    checked(&mut cargo(&["bench", "--quiet", "--locked", "--package", package, "--bench", name]))
}

/// How many decisions the signer appends. It is measured inside the signer, which hands its parts to nobody else.
fn append() -> Result<(), String> {
    let test = "tests::speed::appends_in_a_second_one_by_one_and_together";
    let arguments = ["test", "--quiet", "--locked", "--package", "signer", "--bin", "signer", "--"];
    checked(cargo(&arguments).args(["--exact", "--ignored", "--nocapture", test]))
}

/// What the wall costs, with a launcher as it is installed: optimised and static. It needs nothing else of the box.
fn walls(parts: &[&str]) -> Result<(), String> {
    let built = build::optimised()?;
    let mut measuring = Command::new(built.join("walls-bench"));
    checked(measuring.arg("--helper").arg(built.join("databox-launch")).args(parts))
}

/// The box's answers to questions beside DuckDB's, which a virtual environment of its own has.
fn query() -> Result<(), String> {
    let environment = target().join("query-bench");
    let python = environment.join("bin/python");
    if !python.is_file() {
        checked(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        checked(Command::new(&python).args(["-m", "pip", "install", "--quiet", "duckdb==2.0.*"]))?;
    }
    let arguments = ["bench", "--quiet", "--locked", "--package", "databox-query", "--bench", "duckdb"];
    checked(cargo(&arguments).env("QUERY_BENCH_PYTHON", python))
}

/// What a box takes for a job that does next to nothing.
fn job() -> Result<(), String> {
    build::programs()?;
    let arguments = [
        "test",
        "--quiet",
        "--locked",
        "--package",
        "test-path",
        "--",
        "--exact",
        "--ignored",
        "--nocapture",
    ];
    checked(cargo(&arguments).arg("speed::an_empty_job_from_its_start_to_its_verdict"))
}

/// How often each attack is measured: the hundredth call that waits longest is chance's in any one of them.
const ROUNDS: usize = 5;

/// What the suite only prints: one test after the other, with nothing beside it, several times.
fn listening() -> Result<(), String> {
    build::programs()?;
    let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 1..=ROUNDS {
        println!("round {round} of {ROUNDS}");
        let arguments = ["--quiet", "--locked", "--package", "test-listening", "--", "--nocapture"];
        let mut command = cargo(&["test"]);
        command.args(arguments).args(["--test-threads", "1", "is_served"]).stdout(Stdio::piped());
        let output = command.spawn().and_then(Child::wait_with_output).map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout);
        print!("{said}");
        if !output.status.success() {
            return Err("a bystander was not served".to_owned());
        }
        for (attack, ratio) in said.lines().filter_map(bystander_ratio) {
            ratios.entry(attack).or_default().push(ratio);
        }
    }
    println!(
        "\nratio of the p99 of a bystander's waits beside an attack to that in peace, {ROUNDS} times (aim 3)"
    );
    for (attack, mut ratios) in ratios {
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        println!("{attack:<56} {median:>5.2} ({:.2} to {:.2})", ratios[0], ratios[ratios.len() - 1]);
    }
    Ok(())
}

/// The attack and its ratio, from a line that the suite prints.
fn bystander_ratio(line: &str) -> Option<(String, f64)> {
    let (attack, _) = line.split_once(" times beside ")?;
    let (attack, _times) = attack.rsplit_once(' ')?;
    let (_, ratio) = line.split_once("ratio ")?;
    let (ratio, _) = ratio.trim_start().split_once(' ')?;
    Some((attack.trim().to_owned(), ratio.parse().ok()?))
}
