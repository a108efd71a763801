//! Runs the matrix behind a wall, as root and as a normal user, and tells each attempt as one JSON object a line, or with
//! `--table` as a table.
//!
//!     hostile-suite --helper DATABOX-LAUNCH [--runtime DIR] [--only PROGRAM] [--oci PATH | --every]
//!                   [--kernel IMAGE --modules DIR] [--here] [--table] [--long]
//!
//! The wall is the native one, with `--oci` that of an OCI runtime, or with `--kernel` an emulated machine for each program;
//! `--every` takes one after the other the native one, those of the runtimes of this machine, and machines with a kernel
//! that is fetched. `--here` runs it once, as whoever starts it; otherwise root starts it twice more, with a group that no
//! job may have and as user 65534. `--only` leaves out all but one program, or all but what is tried from `outside`. Of
//! machines `--every` tries that with `--long` alone: each attempt boots two.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use sandbox::machine::{Machine, MachineSettings, usual_image_maker, usual_qemu};
use sandbox::oci::{OciRuntime, RuntimeName};
use test_attacks::PROGRAMS;
use test_attacks::seen::{Outcome, Seen};
use test_attacks::stage::{GROUP, Stage, is_root, open_directory};

#[derive(Clone, Default)]
struct Arguments {
    helper: PathBuf,
    runtime: Option<PathBuf>,
    only: Option<String>,
    oci: Option<PathBuf>,
    kernel: Option<PathBuf>,
    modules: Option<PathBuf>,
    every: bool,
    here: bool,
    table: bool,
    long: bool,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(10),
        Err(text) => {
            eprintln!("hostile-suite: {text}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--helper" => arguments.helper = value()?.into(),
            "--runtime" => arguments.runtime = Some(value()?.into()),
            "--only" => arguments.only = Some(value()?),
            "--oci" => arguments.oci = Some(value()?.into()),
            "--kernel" => arguments.kernel = Some(value()?.into()),
            "--modules" => arguments.modules = Some(value()?.into()),
            "--every" => arguments.every = true,
            "--here" => arguments.here = true,
            "--table" => arguments.table = true,
            "--long" => arguments.long = true,
            _ => return Err(format!("what is {word}?")),
        }
    }
    Ok(arguments)
}

/// True if every attempt was contained, or is residual.
fn run(arguments: &Arguments) -> Result<bool, String> {
    let seen = match (arguments.here, arguments.every) {
        (true, _) => here(arguments)?,
        (false, false) => elsewhere(arguments, arguments.oci.as_deref())?,
        (false, true) => everywhere(arguments)?,
    };
    for one in &seen {
        match arguments.table {
            true => println!(
                "{:<30} {:<24} {:<10} {:<28} {}",
                one.attempt,
                one.wall,
                one.outcome,
                cut(&one.saw),
                one.technique
            ),
            false => println!("{}", serde_json::to_string(one).map_err(|error| error.to_string())?),
        }
    }
    if arguments.table {
        let count = |outcome| seen.iter().filter(|one| one.outcome == outcome).count();
        let [contained, residual, escaped, failed] =
            [Outcome::Contained, Outcome::Residual, Outcome::Escaped, Outcome::TwinFailed].map(count);
        println!(
            "{} attempts: {contained} contained, {residual} residual, {escaped} ESCAPED, {failed} without a working twin",
            seen.len()
        );
        for one in &seen {
            if let Some(why) = &one.differs {
                println!("differs  {:<30} {:<24} {}: {why}", one.attempt, one.wall, one.saw);
            }
        }
    }
    Ok(seen.iter().all(|one| matches!(one.outcome, Outcome::Contained | Outcome::Residual)))
}

fn cut(text: &str) -> String {
    text.chars().take(28).collect()
}

fn here(arguments: &Arguments) -> Result<Vec<Seen>, String> {
    let made;
    let runtime = match &arguments.runtime {
        Some(runtime) => runtime,
        None => {
            made = open_directory().map_err(|error| error.to_string())?;
            &python(made.path())?
        }
    };
    let mut stage = Stage::new(&arguments.helper, runtime).map_err(|error| format!("no stage: {error}"))?;
    let mut wall = "native";
    if let Some(path) = &arguments.oci {
        let oci = OciRuntime::find(path).map_err(|error| error.to_string())?;
        wall = oci.name.as_str();
        stage = stage.behind(oci);
    }
    let disks = open_directory().map_err(|error| error.to_string())?;
    if let Some(kernel) = &arguments.kernel {
        let settings = MachineSettings {
            kernel: kernel.clone(),
            modules: arguments.modules.clone(),
            qemu: usual_qemu(),
            mkfs_erofs: usual_image_maker(),
            emulated: true,
        };
        let machine = Machine::find(&settings, disks.path()).map_err(|error| test_attacks::told(&error))?;
        wall = machine.wall().as_str();
        stage = stage.in_machine(machine).map_err(|error| format!("no stage: {error}"))?;
    }
    let wall = &format!("{wall} as {}", if is_root() { "root" } else { "a normal user" });
    match &arguments.only {
        Some(from) if from == "outside" => Ok(test_attacks::outside::attempts(&stage, wall)),
        Some(program) => test_attacks::program(&stage, wall, program),
        None => test_attacks::matrix(&stage, wall),
    }
}

fn python(below: &Path) -> Result<PathBuf, String> {
    let runtime = below.join("runtime");
    sandbox::host_python(Path::new("/usr/bin/python3"), &runtime).map_err(|error| error.to_string())?;
    Ok(runtime)
}

/// Behind each wall of this machine.
fn everywhere(arguments: &Arguments) -> Result<Vec<Seen>, String> {
    let mut seen = elsewhere(arguments, None)?;
    for place in RuntimeName::PLACES.map(Path::new).into_iter().filter(|place| place.exists()) {
        seen.extend(elsewhere(arguments, Some(place))?);
    }
    if !usual_qemu().exists() || !usual_image_maker().exists() {
        eprintln!("NOT TRIED: machines, for want of QEMU: apt-get install qemu-system-x86 erofs-utils");
        return Ok(seen);
    }
    seen.extend(in_machines(arguments)?);
    Ok(seen)
}

/// In an emulated machine each, one after the other: several at once take so long to come up that they are given up. As
/// whoever starts this, and in the long run as a normal user, too.
fn in_machines(arguments: &Arguments) -> Result<Vec<Seen>, String> {
    let beside = arguments.helper.parent().ok_or("the helper has no directory")?;
    let (kernel, modules) = machine_kernel::unpacked_beside(beside);
    let parts = PROGRAMS.map(|(name, _)| name).into_iter().chain(arguments.long.then_some("outside"));
    let mut seen = Vec::new();
    for part in parts {
        let asked = Arguments {
            kernel: Some(kernel.clone()),
            modules: Some(modules.clone()),
            only: Some(part.to_owned()),
            ..arguments.clone()
        };
        seen.extend(if arguments.long { elsewhere(&asked, None)? } else { here(&asked)? });
    }
    Ok(seen)
}

/// Runs this program again, as root with one more group and as a normal user, at the same time.
fn elsewhere(arguments: &Arguments, oci: Option<&Path>) -> Result<Vec<Seen>, String> {
    let directory = open_directory().map_err(|error| error.to_string())?;
    let runtime = match &arguments.runtime {
        Some(runtime) => runtime.clone(),
        None => python(directory.path())?,
    };
    // Where they lie a normal user may not be able to enter.
    let (own, helper) = (directory.path().join("hostile-suite"), directory.path().join("helper"));
    let helper = helper.with_file_name(arguments.helper.file_name().unwrap_or(helper.as_os_str()));
    std::env::current_exe()
        .and_then(|program| std::fs::copy(program, &own))
        .and_then(|_| std::fs::copy(&arguments.helper, &helper))
        .map_err(|error| format!("no copies: {error}"))?;
    let groups = format!("--groups={GROUP}");
    let ways: &[&[&str]] = match is_root() {
        true => &[&[&groups], &["--reuid=65534", "--regid=65534", "--clear-groups"]],
        false => &[&["--nnp"]],
    };
    let mut running = Vec::new();
    for way in ways {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(*way).arg(&own).args(["--here", "--helper"]).arg(&helper).arg("--runtime").arg(&runtime);
        if let Some(oci) = oci {
            command.arg("--oci").arg(oci);
        }
        if let Some(kernel) = &arguments.kernel {
            command.arg("--kernel").arg(kernel);
        }
        if let Some(modules) = &arguments.modules {
            command.arg("--modules").arg(modules);
        }
        if let Some(program) = &arguments.only {
            command.args(["--only", program]);
        }
        command.current_dir("/").stdout(std::process::Stdio::piped());
        running.push(command.spawn().map_err(|error| format!("setpriv, of Debian's util-linux: {error}"))?);
    }
    let mut seen = Vec::new();
    for one in running {
        let output = one.wait_with_output().map_err(|error| error.to_string())?;
        if !matches!(output.status.code(), Some(0 | 10)) {
            return Err("a matrix did not come to its end".to_owned());
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            seen.push(serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?);
        }
    }
    Ok(seen)
}
