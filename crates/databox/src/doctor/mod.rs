//! `databox doctor`: whether a box can do its work, a line for each thing that it needs, with what to do about it.
//!
//! It works with rooms up or down, opens no room's store, needs no passphrase and changes nothing. What it asks of a
//! witness is to cosign once more the head that it cosigned last. Whether what is on disk keeps its promises is for
//! `databox fsck`.

mod certificates;
mod clock;
mod configurations;
mod devices;
mod disk;
mod drafts;
pub mod machine;
mod permissions;
mod quorum;
mod rooms;
mod site;
mod stores;
mod walls;
mod witnesses;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::users;
use crate::walls::By;
use configurations::Configurations;

/// What `doctor` needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArguments {
    /// The home of the box.
    #[arg(long = "dir")]
    pub directory: PathBuf,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Ok,
    /// The box works, but not for long, or less well than it could.
    Warn,
    /// The box cannot do its work, or does not protect what it should.
    Fail,
}

impl Grade {
    /// Its word, as it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, of a closed list that scripts may rely on.
    pub name: &'static str,
    /// How bad it is.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What the operator can do: there if the grade is not ok, or if it could be better still.
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, grade: Grade::Ok, found: found.into(), remedy: None }
    }

    /// All is well, and this would be better.
    fn better(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, grade: Grade::Ok, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, grade: Grade::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, grade: Grade::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// A failure of something that the same probe tells of elsewhere.
    fn failed(name: &'static str, failure: &Failure) -> Self {
        Self { name, grade: Grade::Fail, found: failure.text.clone(), remedy: failure.hint.clone() }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:<5}{:<20} {}", self.grade.word(), self.name, self.found)?;
        match &self.remedy {
            Some(remedy) => write!(formatter, "\n     {:<20} → {remedy}", ""),
            None => Ok(()),
        }
    }
}

/// Looks at everything. Each check stands for itself: one that cannot be made is a failure of its own and hides no other.
pub fn examine(home: &Home) -> Vec<Check> {
    // What root can have its room need not be able to.
    let as_the_enclave = |program: PathBuf| users::command_as(home, "enclave", program);
    let by = if users::are_apart(home) { By::Enclave(&as_the_enclave) } else { By::Caller };
    let mut checks = machine::examine(&by);
    checks.extend(walls::examine(&by));
    if !crate::home::ROOMS.iter().any(|room| home.configuration(room).exists()) {
        let text = format!("{} is not the home of a box", home.directory().display());
        checks.push(Check::fail("home", text, "--dir names the home that `databox init` made"));
        return checks;
    }
    checks.extend(permissions::examine(home));
    let (configurations, wrong) = Configurations::read(home);
    checks.extend(wrong);
    let Some(configurations) = configurations else { return checks };
    checks.push(walls::of_jobs(&configurations.wall, &by));
    checks.extend(devices::examine(&configurations.devices, &configurations.wall));
    checks.extend(disk::examine(&configurations));
    checks.extend(certificates::examine(home, &configurations));
    checks.extend(clock::examine(&configurations));
    let site = site::examine(&configurations, &mut checks);
    checks.extend(drafts::examine(home, site.as_ref()));
    checks.extend(rooms::examine(&configurations));
    checks.extend(stores::examine(&configurations, site.as_ref()));
    checks.extend(witnesses::examine(&configurations, site.as_ref()));
    checks
}

/// What keeps a box whose rooms run from admitting jobs, or releases from leaving it: no site, one that has lapsed, too
/// few witnesses. Nothing else is looked at.
pub fn hold_ups(home: &Home) -> Vec<Check> {
    let (Some(configurations), _) = Configurations::read(home) else { return Vec::new() };
    let mut checks = Vec::new();
    let site = site::examine(&configurations, &mut checks);
    checks.extend(witnesses::examine(&configurations, site.as_ref()));
    checks.retain(|check| check.grade == Grade::Fail);
    checks
}

/// The command: prints a line for each check. Ends with 0 if all is well, with 11 if something needs care soon, with 10
/// if something must be mended. With `json` the one object says which, and nothing else is printed.
pub fn run(arguments: &DoctorArguments, json: bool) -> Result<ExitCode, Failure> {
    let checks = examine(&Home::at(&arguments.directory));
    let worst = checks.iter().map(|check| check.grade).max().unwrap_or(Grade::Ok);
    if json {
        let all: Vec<_> = checks
            .iter()
            .map(|check| {
                serde_json::json!({
                    "name": check.name, "grade": check.grade.word(), "found": check.found, "remedy": check.remedy,
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "grade": worst.word(), "checks": all }));
        return Ok(match worst {
            Grade::Ok => ExitCode::SUCCESS,
            Grade::Warn => ExitCode::from(Exit::NeedsCareSoon as u8),
            Grade::Fail => ExitCode::from(Exit::CheckFailed as u8),
        });
    }
    checks.iter().for_each(|check| println!("{check}"));
    let count = |grade: Grade| checks.iter().filter(|check| check.grade == grade).count();
    let failure = |exit: Exit, text: String| {
        Err(Failure::new("BOX_NEEDS_CARE", text).hint("what to do stands behind the arrows").exit(exit))
    };
    match worst {
        Grade::Ok => Ok(ExitCode::SUCCESS),
        Grade::Warn => failure(Exit::NeedsCareSoon, format!("{} checks warn", count(Grade::Warn))),
        Grade::Fail => failure(Exit::CheckFailed, format!("{} checks fail", count(Grade::Fail))),
    }
}
