//! `databox demo`: a throw-away box that plays all roles on real data, and then attacks itself.

mod attack;
mod examples;
mod path;

mod preflight;

pub use path::open_review;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::certificate::CertificateRole;
use crate::failure::{Failure, file_failure, whole};
use crate::interrupt;
use crate::throwaway::{Endpoints, PEOPLE, Throwaway};

/// What `demo` needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArguments {
    /// End when everything was shown, instead of staying up.
    #[arg(long)]
    pub exit: bool,
    /// Keep the directory.
    #[arg(long)]
    pub keep: bool,
}

/// Prints a line a step, with its time.
pub struct Steps {
    last: Instant,
}

impl Steps {
    fn new() -> Self {
        Self { last: Instant::now() }
    }

    /// Prints a step with the time since the step before. Fails if the demonstration was interrupted.
    pub fn done(&mut self, step: &str, text: impl Display) -> Result<(), Failure> {
        let seconds = self.last.elapsed().as_secs_f64();
        println!("✔ {step:<11} {:<92} {seconds:>5.1} s", text.to_string());
        self.last = Instant::now();
        interrupt::check()
    }

    /// Prints what belongs to the step before.
    pub fn more(&mut self, text: impl Display) {
        for line in text.to_string().lines() {
            println!("              {line}");
        }
    }
}

/// Plays the demonstration.
pub fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    preflight::check()?;
    let stop = interrupt::watch()?;
    let scratch = tempfile::Builder::new()
        .prefix("databox-demo-")
        .tempdir()
        .map_err(file_failure(&PathBuf::from("/tmp")))?;
    open_to_walled_users(scratch.path())?;
    println!(
        "databox {} demo: everything below is throw-away, in {}",
        env!("CARGO_PKG_VERSION"),
        scratch.path().display()
    );
    // Everything of the box is dropped, and its rooms have ended, when this returns.
    let played = play(arguments, scratch.path(), &stop);
    // What failed because the rooms heard the same signal is no failure of theirs.
    let played = if stop.is_raised() && played.is_err() { Err(interrupt::interrupted()) } else { played };
    if arguments.keep {
        println!("kept {}", scratch.keep().display());
    } else {
        make_removable(scratch.path());
    }
    played
}

/// What the enclave stores is read-only, directories too: without the right to write there nothing could be removed.
fn make_removable(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}

fn play(arguments: &DemoArguments, directory: &Path, stop: &daemon::StopFlag) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::new("RUNTIME", whole(&error)))?;
    let mut steps = Steps::new();
    let mut stage = path::set_up(directory, Endpoints::free()?, &mut steps)?;
    let released = runtime.block_on(path::release(&stage, &mut steps))?;
    runtime.block_on(attack::steal(&stage, &mut steps))?;
    attack::tamper(&stage, &released, &mut steps)?;
    runtime.block_on(attack::lay_by_hand(&stage, &mut steps))?;
    println!("These keys were made by the demonstration: do not put real data here.");
    if arguments.exit { Ok(()) } else { stay_up(&mut stage, stop) }
}

/// As root, jobs and checkers run as users of their own, who must be able to pass through the directory.
fn open_to_walled_users(directory: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711))
        .map_err(file_failure(directory))
}

fn stay_up(stage: &mut Throwaway, stop: &daemon::StopFlag) -> Result<(), Failure> {
    let mut profiles = Vec::new();
    for (person, _, role) in PEOPLE {
        let path = stage.directory().join(format!("{person}.toml"));
        stage.profile(person).write_new(&path)?;
        profiles.push((path, role));
    }
    let own = std::env::current_exe().map_err(|error| Failure::new("PROGRAM", whole(&error)))?;
    println!("\nThe box is up; Ctrl-C ends it. Next, in another terminal:\n");
    for (profile, role) in profiles {
        let command = match role {
            CertificateRole::Steward => "review ls",
            CertificateRole::Researcher | CertificateRole::Auditor => "job ls",
        };
        println!("  {} --profile {} {command}", own.display(), profile.display());
    }
    println!();
    while !stop.is_raised() {
        if let Some(room) = stage.rooms().ended() {
            return Err(Failure::new("ROOM_ENDED", format!("the {room} ended")));
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    println!("ended");
    Ok(())
}
