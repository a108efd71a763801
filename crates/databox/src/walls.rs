//! The walls that this machine can put around jobs, each found out by running a program of ours behind it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sandbox::machine::{Machine, MachineSettings, usual_image_maker, usual_qemu};
use sandbox::oci::{OciRuntime, RuntimeName};
use sandbox::{Evidence, Launcher, LayerName, ProbeError, State, Wall};
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure, file_failure, whole};
use crate::programs;

/// What builds the wall around jobs, beside the launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Why a wall cannot be had, and what the operator can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotHad {
    /// The whole reason.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

impl From<ProbeError> for NotHad {
    fn from(error: ProbeError) -> Self {
        Self { text: whole(&error), remedy: error.remedy().to_owned() }
    }
}

/// Whether a wall was had.
type Tried = Result<Evidence, NotHad>;

/// Who tries the walls. What one user can have another need not: control groups, `/dev/kvm`, namespaces.
pub enum By<'a> {
    /// Whoever runs this command.
    Caller,
    /// The user of the enclave, by the command line that runs a program as that user.
    Enclave(&'a dyn Fn(PathBuf) -> Result<Command, Failure>),
}

/// The command of this program by which another user tries a wall. The wall comes on standard input.
pub const PROBE: &str = "probe-wall";

/// Runs a small program behind a wall. A machine gets little time: one that needs more is of no use.
///
/// # Errors
/// The launcher is not there, there is no temporary directory, or the enclave's user cannot run this program.
pub fn probe(builder: &WallBuilder, by: &By<'_>) -> Result<Tried, Failure> {
    let By::Enclave(command) = by else { return probe_as_caller(builder) };
    let failed = |text: String| {
        Failure::new("WALL", format!("the enclave's user cannot try a wall: {text}"))
            .hint("every user must be able to enter the directory of the programs, and to run `databox`")
    };
    let mut child = command(programs::find("databox")?)?
        .arg(PROBE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(whole(&error)))?;
    let asked = serde_json::to_vec(builder).map_err(|error| failed(whole(&error)))?;
    // One that ended already says why by its answer.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&asked));
    let answer = child.wait_with_output().map_err(|error| failed(whole(&error)))?;
    let answer: Result<Tried, (String, Option<String>)> =
        serde_json::from_slice(&answer.stdout).map_err(|_| failed("it gave no answer".to_owned()))?;
    answer.map_err(|(text, hint)| Failure { hint, ..Failure::new("WALL", text) })
}

/// What `databox probe-wall` does: reads a wall, tries it, and prints what came of it.
pub fn answer_probe() -> Result<(), Failure> {
    let builder: WallBuilder = serde_json::from_reader(std::io::stdin())
        .map_err(|error| Failure::new("WALL", whole(&error)).exit(Exit::Usage))?;
    let answer = probe_as_caller(&builder).map_err(|failure| (failure.text, failure.hint));
    println!("{}", serde_json::json!(answer));
    Ok(())
}

fn probe_as_caller(builder: &WallBuilder) -> Result<Tried, Failure> {
    let helper = programs::find("databox-launch")?;
    let temporary = std::env::temp_dir();
    let scratch = tempfile::tempdir_in(&temporary).map_err(file_failure(&temporary))?;
    let launcher = match builder {
        WallBuilder::Native => Launcher::new(helper),
        WallBuilder::Runtime(runtime) => Launcher::behind(helper, runtime.clone()),
        WallBuilder::Machine(settings) => match Machine::find(settings, scratch.path()) {
            Ok(machine) => Launcher::in_machine(helper, machine),
            Err(error) => return Ok(Err(ProbeError::Machine(error).into())),
        },
    };
    Ok(sandbox::probe(&launcher).map_err(NotHad::from))
}

/// What is to build the wall: `strongest` is the first whose probe runs; `native` is the launcher alone; `vm` is a machine;
/// anything else is a runtime's path. Nothing is taken whose probe does not run for whoever will use it.
///
/// # Errors
/// What was asked for is not there, or cannot build a wall here.
pub fn choose(asked: &str, by: &By<'_>) -> Result<WallBuilder, Failure> {
    let refused = |text: String| Failure::new("WALL", text).exit(Exit::Usage);
    let named = match asked {
        "native" => WallBuilder::Native,
        "strongest" => {
            return match strongest(machine(), runtimes(), |builder| probe(builder, by))? {
                Some(builder) => Ok(builder),
                None => choose("native", by),
            };
        }
        "vm" => {
            WallBuilder::Machine(machine().ok_or_else(|| refused(NO_KERNEL.to_owned()).hint(INSTALL_KERNEL))?)
        }
        path => WallBuilder::Runtime(OciRuntime::find(Path::new(path)).map_err(|error| {
            refused(whole(&error)).hint("give `strongest`, `native`, `vm`, or the path of runsc or crun")
        })?),
    };
    match probe(&named, by)? {
        Ok(_) => Ok(named),
        Err(NotHad { text, remedy }) => Err(refused(text).hint(remedy)),
    }
}

/// The first of these whose probe runs, a machine before runtimes, which come the strongest first.
fn strongest(
    machine: Option<MachineSettings>,
    runtimes: Vec<OciRuntime>,
    probe: impl Fn(&WallBuilder) -> Result<Tried, Failure>,
) -> Result<Option<WallBuilder>, Failure> {
    let machines = machine.map(WallBuilder::Machine).into_iter();
    for builder in machines.chain(runtimes.into_iter().map(WallBuilder::Runtime)) {
        if probe(&builder)?.is_ok_and(|evidence| is_bounded(&evidence)) {
            return Ok(Some(builder));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use sandbox::Layer;

    use super::*;

    /// What a probe finds: the wall, and whether control groups bound memory and processes.
    fn tried(wall: Wall, bounded: bool) -> Tried {
        let state = if bounded { State::On } else { State::Off };
        let names = [LayerName::CgroupMemory, LayerName::CgroupProcesses];
        let layers = names.map(|name| Layer { name, state }).into();
        Ok(Evidence { wall, builder: None, privileged: true, layers })
    }

    fn not_had() -> Tried {
        Err(NotHad { text: "no".to_owned(), remedy: "none".to_owned() })
    }

    #[test]
    fn the_strongest_wall_whose_probe_runs_is_taken() {
        let place = |name: &str| {
            RuntimeName::PLACES.iter().position(|place| place.ends_with(&format!("/usr/bin/{name}"))).unwrap()
        };
        assert!(place("runsc") < place("crun"), "the stronger runtime is looked for first");
        let runtime = |name| OciRuntime { path: "/r".into(), name, version: "1".to_owned() };
        let machine = MachineSettings {
            kernel: "/k".into(),
            modules: None,
            qemu: usual_qemu(),
            mkfs_erofs: usual_image_maker(),
            emulated: false,
        };
        let chosen = |vm: bool, gvisor: Option<bool>, crun: bool| {
            let probe = |builder: &WallBuilder| {
                Ok(match builder {
                    WallBuilder::Machine(_) if vm => tried(Wall::Vm, true),
                    WallBuilder::Runtime(runtime) if runtime.name == RuntimeName::Runsc => {
                        gvisor.map_or_else(not_had, |bounded| tried(Wall::OciGvisor, bounded))
                    }
                    WallBuilder::Runtime(_) if crun => tried(Wall::Oci, false),
                    _ => not_had(),
                })
            };
            let runtimes = vec![runtime(RuntimeName::Runsc), runtime(RuntimeName::Crun)];
            strongest(Some(machine.clone()), runtimes, probe).unwrap()
        };
        let of = |name| Some(WallBuilder::Runtime(runtime(name)));
        assert_eq!(chosen(true, Some(true), true), Some(WallBuilder::Machine(machine.clone())));
        assert_eq!(chosen(false, Some(true), true), of(RuntimeName::Runsc));
        assert_eq!(chosen(false, Some(false), true), of(RuntimeName::Crun), "gVisor that nothing bounds");
        assert_eq!(chosen(false, None, true), of(RuntimeName::Crun));
        assert_eq!(chosen(false, None, false), None);
    }
}
