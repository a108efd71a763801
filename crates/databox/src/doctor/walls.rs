//! The walls that stand beyond the native one: a line for each, with what this machine can and cannot do.

use std::path::Path;

use sandbox::oci::{OciRuntime, RuntimeName};
use sandbox::{Evidence, State};

use super::Check;
use crate::failure::whole;
use crate::walls;

/// Whoever wants a stronger wall has to say so in the enclave's configuration.
const USE: &str = "then write its path as `oci_runtime` into enclave.toml";

pub(super) fn examine() -> Vec<Check> {
    let found = walls::runtimes();
    let of = |name: RuntimeName| found.iter().find(|runtime| runtime.name == name);
    vec![
        line(
            "wall-oci-gvisor",
            of(RuntimeName::Runsc),
            "install gVisor's runsc, a newer one than Debian 12 has (of 2022, which works)",
        ),
        line("wall-oci", of(RuntimeName::Crun), "apt-get install crun"),
        Check::better(
            "wall-vm",
            "this version does not build one",
            "no job is admitted under a grant that demands it; `oci-gvisor` is the strongest that there is",
        ),
    ]
}

fn line(name: &'static str, runtime: Option<&OciRuntime>, install: &str) -> Check {
    let Some(runtime) = runtime else {
        return Check::better(name, "no runtime for it is on this machine", format!("{install}; {USE}"));
    };
    match walls::probe(Some(runtime)) {
        Ok(Ok(evidence)) => Check::ok(name, held(runtime, &evidence)),
        Ok(Err(error)) => Check::better(
            name,
            format!("{} cannot build it: {}", called(runtime), whole(&error)),
            error.remedy(),
        ),
        Err(failure) => Check::better(name, "was not tried", failure.text),
    }
}

/// What the configuration demands must be had: without it no job runs.
pub(super) fn of_jobs(configured: Option<&Path>) -> Check {
    const NAME: &str = "wall-of-jobs";
    let remedy = "name another runtime as `oci_runtime` in enclave.toml, or none for the native wall";
    let Some(path) = configured else { return Check::ok(NAME, walls::described(None)) };
    match OciRuntime::find(path) {
        Err(error) => Check::fail(NAME, whole(&error), remedy),
        Ok(runtime) => match walls::probe(Some(&runtime)) {
            Ok(Ok(_)) => Check::ok(NAME, walls::described(Some(&runtime))),
            Ok(Err(error)) => Check::fail(NAME, whole(&error), format!("{}; or {remedy}", error.remedy())),
            Err(failure) => Check::failed(NAME, &failure),
        },
    }
}

fn held(runtime: &OciRuntime, evidence: &Evidence) -> String {
    let on = evidence.layers.iter().filter(|layer| layer.state == State::On).count();
    format!("{} builds it; a program behind it was tried and held, {on} layers in force", called(runtime))
}

fn called(runtime: &OciRuntime) -> String {
    format!("{} {}", runtime.name.as_str(), runtime.version)
}
