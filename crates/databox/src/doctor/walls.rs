//! The walls that stand beyond the native one: a line for each, with what this machine can and cannot do.

use std::path::PathBuf;

use sandbox::machine::MachineSettings;
use sandbox::oci::{OciRuntime, RuntimeName};
use sandbox::{Evidence, State};

use super::Check;
use crate::failure::whole;
use crate::walls::{self, By, INSTALL_KERNEL, NO_KERNEL, WallBuilder};

/// Whoever wants a stronger wall has to say so in the enclave's configuration.
const USE: &str = "then write its path as `oci_runtime` into enclave.toml";

/// What the enclave's configuration says of the wall around jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Configured {
    /// Nothing.
    Native,
    /// A runtime.
    Runtime(PathBuf),
    /// A machine.
    Machine(MachineSettings),
}

pub(super) fn examine(by: &By<'_>) -> Vec<Check> {
    let found = walls::runtimes();
    let of = |name: RuntimeName| found.iter().find(|runtime| runtime.name == name);
    let runtime = |name: &'static str, runtime: Option<&OciRuntime>, install: &str| match runtime {
        None => Check::better(name, "no runtime for it is on this machine", format!("{install}; {USE}")),
        Some(runtime) => line(name, &WallBuilder::Runtime(runtime.clone()), by),
    };
    vec![
        runtime(
            "wall-oci-gvisor",
            of(RuntimeName::Runsc),
            "install gVisor's runsc, a newer one than Debian 12 has (of 2022, which works)",
        ),
        runtime("wall-oci", of(RuntimeName::Crun), "apt-get install crun"),
        match walls::machine() {
            None => Check::better("wall-vm", NO_KERNEL, INSTALL_KERNEL),
            Some(settings) => line("wall-vm", &WallBuilder::Machine(settings), by),
        },
    ]
}

fn line(name: &'static str, builder: &WallBuilder, by: &By<'_>) -> Check {
    match walls::probe(builder, by) {
        Ok(Ok(evidence)) => Check::ok(name, held(builder, &evidence)),
        Ok(Err(error)) => Check::better(
            name,
            format!("{} cannot be had: {}", walls::described(builder), error.text),
            error.remedy,
        ),
        Err(failure) => Check::better(name, "was not tried", failure.text),
    }
}

/// What the configuration demands must be had: without it no job runs.
pub(super) fn of_jobs(configured: &Configured, by: &By<'_>) -> Check {
    const NAME: &str = "wall-of-jobs";
    let remedy =
        "name another in enclave.toml, as `oci_runtime` or under [machine], or none for the native wall";
    let builder = match configured {
        Configured::Native => return Check::ok(NAME, walls::described(&WallBuilder::Native)),
        Configured::Machine(settings) => WallBuilder::Machine(settings.clone()),
        Configured::Runtime(path) => match OciRuntime::find(path) {
            Err(error) => return Check::fail(NAME, whole(&error), remedy),
            Ok(runtime) => WallBuilder::Runtime(runtime),
        },
    };
    match walls::probe(&builder, by) {
        Ok(Ok(evidence)) if matches!(&builder, WallBuilder::Machine(settings) if settings.emulated) => {
            Check::warn(
                NAME,
                held(&builder, &evidence),
                "an emulated machine is for tests: it is slow, its makers promise nothing of its strength, and it counts as \
             `vm-emulated`, not as `vm`",
            )
        }
        Ok(Ok(_)) => Check::ok(NAME, walls::described(&builder)),
        Ok(Err(error)) => Check::fail(NAME, error.text, format!("{}; or {remedy}", error.remedy)),
        Err(failure) => Check::failed(NAME, &failure),
    }
}

fn held(builder: &WallBuilder, evidence: &Evidence) -> String {
    let on = evidence.layers.iter().filter(|layer| layer.state == State::On).count();
    let builder = walls::described(builder);
    format!("{builder}: a program behind it was tried and held, {on} layers in force")
}
