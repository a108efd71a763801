//! The walls that this machine can put around jobs, each found out by running a program of ours behind it.

use std::path::Path;

use sandbox::oci::{OciRuntime, RuntimeName};
use sandbox::{Evidence, Launcher, LayerName, ProbeError, State};

use crate::failure::{Exit, Failure, whole};
use crate::programs;

/// The runtimes of this machine at their usual places, the strongest first.
pub fn runtimes() -> Vec<OciRuntime> {
    let mut found: Vec<OciRuntime> = Vec::new();
    for place in RuntimeName::PLACES {
        if let Ok(runtime) = OciRuntime::find(Path::new(place))
            && !found.iter().any(|known| known.path == runtime.path)
        {
            found.push(runtime);
        }
    }
    found
}

/// Runs a small program behind the native wall, or behind one that a runtime builds.
pub fn probe(runtime: Option<&OciRuntime>) -> Result<Result<Evidence, ProbeError>, Failure> {
    let helper = programs::find("databox-launch")?;
    let launcher = match runtime {
        None => Launcher::new(helper),
        Some(runtime) => Launcher::behind(helper, runtime.clone()),
    };
    Ok(sandbox::probe(&launcher))
}

/// The runtime that is to build the wall: `strongest` is the first whose probe runs, none if the native wall is all there
/// is; `native` is none; anything else is a runtime's path, whose probe must run.
///
/// # Errors
/// A runtime that was asked for by its path is not there, or cannot build a wall here.
pub fn choose(asked: &str) -> Result<Option<OciRuntime>, Failure> {
    match asked {
        "native" => Ok(None),
        "strongest" => {
            for runtime in runtimes() {
                if probe(Some(&runtime))?.is_ok_and(|evidence| is_bounded(&runtime, &evidence)) {
                    return Ok(Some(runtime));
                }
            }
            Ok(None)
        }
        path => {
            let refused = |text: String| Failure::new("WALL", text).exit(Exit::Usage);
            let runtime = OciRuntime::find(Path::new(path)).map_err(|error| {
                refused(whole(&error)).hint("give `strongest`, `native`, or the path of runsc or crun")
            })?;
            match probe(Some(&runtime))? {
                Ok(_) => Ok(Some(runtime)),
                Err(error) => Err(refused(whole(&error)).hint(error.remedy())),
            }
        }
    }
}

/// gVisor's kernel counts neither processes nor memory against the job's own limits: where no control group does either,
/// the native wall bounds a job better.
fn is_bounded(runtime: &OciRuntime, evidence: &Evidence) -> bool {
    let on = |name| evidence.state(name) == State::On;
    runtime.name != RuntimeName::Runsc || (on(LayerName::CgroupMemory) && on(LayerName::CgroupProcesses))
}

/// A wall in words.
pub fn described(runtime: Option<&OciRuntime>) -> String {
    match runtime {
        None => "native".to_owned(),
        Some(runtime) => format!(
            "{}, built by {} {} ({})",
            runtime.wall().as_str(),
            runtime.name.as_str(),
            runtime.version,
            runtime.path.display()
        ),
    }
}
