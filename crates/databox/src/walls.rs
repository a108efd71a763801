//! The walls that this machine can put around jobs, each found out by running a program of ours behind it.

use std::fs;
use std::path::{Path, PathBuf};

use sandbox::machine::{Machine, MachineSettings, usual_image_maker, usual_qemu};
use sandbox::oci::{OciRuntime, RuntimeName};
use sandbox::{Evidence, Launcher, LayerName, ProbeError, State, Wall};

use crate::failure::{Exit, Failure, file_failure, whole};
use crate::programs;

/// What builds the wall around jobs, beside the launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WallBuilder {
    /// Nothing: the native wall.
    Native,
    /// A runtime.
    Runtime(OciRuntime),
    /// A micro-VM.
    Machine(MachineSettings),
}

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

/// A machine with the newest kernel that is installed here and has its modules; one that is made for virtual machines, such
/// as Debian's `cloud`, before others. None if there is none.
pub fn machine() -> Option<MachineSettings> {
    let releases =
        fs::read_dir("/lib/modules").ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let kernel = |release: &String| PathBuf::from(format!("/boot/vmlinuz-{release}"));
    let mut releases: Vec<String> = releases.filter(|release| kernel(release).is_file()).collect();
    releases.sort_by_key(|release| (release.contains("cloud"), release.clone()));
    let release = releases.pop()?;
    Some(MachineSettings {
        kernel: kernel(&release),
        modules: Some(Path::new("/lib/modules").join(&release)),
        qemu: usual_qemu(),
        mkfs_erofs: usual_image_maker(),
        emulated: false,
    })
}

/// Runs a small program behind a wall. A machine gets little time: one that needs more is of no use.
///
/// # Errors
/// The launcher is not there, or there is no temporary directory.
pub fn probe(builder: &WallBuilder) -> Result<Result<Evidence, ProbeError>, Failure> {
    let helper = programs::find("databox-launch")?;
    let temporary = std::env::temp_dir();
    let scratch = tempfile::tempdir_in(&temporary).map_err(file_failure(&temporary))?;
    let launcher = match builder {
        WallBuilder::Native => Launcher::new(helper),
        WallBuilder::Runtime(runtime) => Launcher::behind(helper, runtime.clone()),
        WallBuilder::Machine(settings) => match Machine::find(settings, scratch.path()) {
            Ok(machine) => Launcher::in_machine(helper, machine),
            Err(error) => return Ok(Err(ProbeError::Machine(error))),
        },
    };
    Ok(sandbox::probe(&launcher))
}

/// What is to build the wall: `strongest` is the first whose probe runs; `native` is the launcher alone; `vm` is a machine;
/// anything else is a runtime's path. What is asked for by name must run.
///
/// # Errors
/// What was asked for is not there, or cannot build a wall here.
pub fn choose(asked: &str) -> Result<WallBuilder, Failure> {
    let refused = |text: String| Failure::new("WALL", text).exit(Exit::Usage);
    let named = match asked {
        "native" => return Ok(WallBuilder::Native),
        "strongest" => {
            let machines = machine().map(WallBuilder::Machine).into_iter();
            for builder in machines.chain(runtimes().into_iter().map(WallBuilder::Runtime)) {
                if probe(&builder)?.is_ok_and(|evidence| is_bounded(&evidence)) {
                    return Ok(builder);
                }
            }
            return Ok(WallBuilder::Native);
        }
        "vm" => {
            WallBuilder::Machine(machine().ok_or_else(|| refused(NO_KERNEL.to_owned()).hint(INSTALL_KERNEL))?)
        }
        path => WallBuilder::Runtime(OciRuntime::find(Path::new(path)).map_err(|error| {
            refused(whole(&error)).hint("give `strongest`, `native`, `vm`, or the path of runsc or crun")
        })?),
    };
    match probe(&named)? {
        Ok(_) => Ok(named),
        Err(error) => Err(refused(whole(&error)).hint(error.remedy())),
    }
}

/// What is said where no kernel is there for a machine.
pub const NO_KERNEL: &str = "no kernel for a machine is installed here";

/// What to do about it.
pub const INSTALL_KERNEL: &str = "apt-get install linux-image-cloud-amd64, which need not be booted; or name one as [machine] in enclave.toml";

/// gVisor's kernel counts neither processes nor memory against the job's own limits: where no control group does either,
/// the native wall bounds a job better.
fn is_bounded(evidence: &Evidence) -> bool {
    let on = |name| evidence.state(name) == State::On;
    evidence.wall != Wall::OciGvisor || (on(LayerName::CgroupMemory) && on(LayerName::CgroupProcesses))
}

/// A wall in words.
pub fn described(builder: &WallBuilder) -> String {
    match builder {
        WallBuilder::Native => "native".to_owned(),
        WallBuilder::Runtime(runtime) => format!(
            "{}, built by {} {} ({})",
            runtime.wall().as_str(),
            runtime.name.as_str(),
            runtime.version,
            runtime.path.display()
        ),
        WallBuilder::Machine(settings) => {
            let wall = if settings.emulated { Wall::VmEmulated } else { Wall::Vm };
            format!("{}, a machine for each job with the kernel {}", wall.as_str(), settings.kernel.display())
        }
    }
}
