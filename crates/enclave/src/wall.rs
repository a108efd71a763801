//! What each program behind the wall may see and use. Here is decided who has data: the job, the scanner and the box's own
//! program that answers questions, nobody else; and who may write: each program to one empty directory of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use egress::Policy;
use release::report::{DETAIL_LIMIT, EvaluationReport, OutputReport, ScanReport};
use release::statement::{self, Request, WallDevice, WallName, WallRuntime};
use sandbox::job::data_mounts;
use sandbox::{
    Access, Calls, Cancel, Ended, Evidence, LaunchError, Limits, Mount, Outcome, Specification,
    StandardError, Stdin,
};

use crate::devices::Held;
use crate::failure;
use crate::files;
use crate::room::{Places, Room};

/// Host users of one slot.
const USERS_PER_SLOT: u32 = 16;

/// Programs behind the wall. When the enclave is root each runs as a user of its own, so that none can touch what
/// another left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Unpacks the bundle.
    Unbundler,
    /// The researcher's code.
    Job,
    /// Reads what the job wrote.
    Canonicaliser,
    /// Judges canonical files.
    Judge,
    /// Makes views of canonical files.
    Views,
    /// Searches for copies.
    Scanner,
    /// Compares tables with those of other jobs.
    Comparer,
    /// Compares the answer to a question with earlier ones. It has data, and reads nothing that a job wrote.
    QueryComparer,
    /// Compares what two evaluations of weights measured.
    EvaluationComparer,
}

/// A place for one job at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    /// The host user of a program in this slot; None if the enclave is not root and can lend only its own.
    pub fn user(self, room: &Room, program: Program) -> Option<u32> {
        let base = room.configuration.slot_user_base + self.0 * USERS_PER_SLOT;
        Room::is_root().then_some(base + program as u32)
    }

    /// An empty directory that this program may write.
    pub fn writable_directory(self, room: &Room, program: Program, path: &Path) -> io::Result<()> {
        files::new_directory(path, 0o700)?;
        match self.user(room, program) {
            None => Ok(()),
            Some(user) => {
                let user = rustix::fs::Uid::from_raw(user);
                Ok(rustix::fs::chown(path, Some(user), None)?)
            }
        }
    }
}

/// Takes a directory back from a program that has ended: renames it away, so that the name under which the program
/// wrote leads nowhere, and forbids writing. Returns where it is now.
pub fn freeze(directory: &Path, into: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    fs::rename(directory, into)?;
    if Room::is_root() {
        rustix::fs::chown(into, Some(rustix::fs::Uid::ROOT), None)?;
    }
    fs::set_permissions(into, fs::Permissions::from_mode(0o555))?;
    Ok(into.to_owned())
}

/// Makes a plain file in a frozen directory readable to the next program. Its last writer is dead, so what is looked
/// at here stays what it is.
pub fn make_readable(directory: &Path, name: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() => fs::set_permissions(&path, fs::Permissions::from_mode(0o444)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a job sees of the host.
pub struct JobView<'a> {
    /// The runtime's tree.
    pub runtime: &'a Path,
    /// The unpacked bundle.
    pub bundle: &'a Path,
    /// Each dataset's name and snapshot.
    pub data: &'a [(String, PathBuf)],
    /// Devices that it holds.
    pub devices: &'a Held,
}

/// The wall around a job.
pub fn job(
    room: &Room,
    slot: Slot,
    request: &Request,
    policy: &Policy,
    view: &JobView<'_>,
) -> io::Result<Specification> {
    let most = &room.configuration.limits;
    let wall = sandbox::job::Job {
        runtime: view.runtime,
        bundle: view.bundle,
        data: view.data,
        command: &request.command,
        cpus: request.limits.cpus.0.min(most.cpus),
        output_bytes: most.output_bytes,
        output_entries: most.output_entries,
        limits: job_limits(room, request, policy),
        standard_error: StandardError::Nowhere,
        host_uid: slot.user(room, Program::Job),
        devices: room.devices.nodes(view.devices),
    };
    let mut specification = wall.specification()?;
    specification.mounts.push(mount(&room.places.failure, failure::TARGET, Access::ReadOnly));
    specification.environment.push(("PYTHONPATH".to_owned(), failure::TARGET.to_owned()));
    Ok(specification)
}

/// Runs a job. The images of its machine, if it has one, lie in the run's own directory: they count as what the run puts on
/// the disk, and go with it.
pub fn run_job(
    room: &Room,
    work: &Path,
    specification: &Specification,
    cancel: &Cancel,
) -> Result<Ended, LaunchError> {
    let disks = work.join("machine");
    files::private_directory(&disks).map_err(LaunchError::NoResources)?;
    let jobs = room.jobs.with_disks_in(&disks).map_err(LaunchError::NoResources)?;
    jobs.run(specification, Stdin::Empty, cancel)
}

/// The longest that a job runs, in seconds. More than box and policy give is refused at admission; a limit that was
/// lowered since counts all the same.
pub fn run_seconds(room: &Room, request: &Request, policy: &Policy) -> u64 {
    let most = policy.max_run_seconds.min(room.configuration.limits.seconds);
    request.limits.seconds.0.min(most).max(1)
}

fn job_limits(room: &Room, request: &Request, policy: &Policy) -> Limits {
    let most = &room.configuration.limits;
    let asked = &request.limits;
    let seconds = run_seconds(room, request, policy);
    let cpus = asked.cpus.0.min(most.cpus).max(1);
    Limits {
        memory_bytes: asked.memory_bytes.0.min(most.memory_bytes).max(16 << 20),
        processes: most.processes,
        processors: cpus,
        open_files: 1000,
        file_bytes: most.file_bytes,
        cpu_seconds: seconds.saturating_mul(cpus).clamp(1, 1 << 30),
        wall: Duration::from_secs(seconds),
        tmp_bytes: most.temporary_bytes,
        tmp_inodes: 65_536,
        // A job's words go nowhere: each would be an egress channel.
        stdout_bytes: 0,
    }
}

fn mount(source: &Path, target: &str, access: Access) -> Mount {
    Mount { source: source.to_owned(), target: target.to_owned(), access }
}

/// A child of the enclave: its program, what it reads, and where it writes.
pub struct Child<'a> {
    /// Which one.
    pub program: Program,
    /// Where its binary is, if it is none of those that the enclave is configured with.
    pub binary: Option<&'a Path>,
    /// What it reads: host directory and place inside.
    pub reads: Vec<(&'a Path, &'static str)>,
    /// Where it writes: host directory and place inside.
    pub writes: Option<(&'a Path, &'static str)>,
    /// Data, for the scanner and the comparer of answers only.
    pub data: &'a [(String, PathBuf)],
    /// Files that anybody may read, for the scanner only.
    pub public: &'a [PathBuf],
}

/// The wall around a child of the enclave.
pub fn child(room: &Room, slot: Slot, child: &Child<'_>) -> Specification {
    let configuration = &room.configuration;
    let (binary, inside, arguments, stdout_bytes) = match child.program {
        Program::Unbundler => (configuration.unbundler.as_path(), "/databox-unbundle", vec!["/unpacked"], 0),
        Program::Canonicaliser => {
            let (binary, inside, _, stdout) =
                checker(room, "canonicalise", OutputReport::BYTES + DETAIL_LIMIT);
            (binary, inside, vec!["canonicalise", "--counts", "/canonical"], stdout)
        }
        Program::Judge => checker(room, "judge", OutputReport::BYTES + DETAIL_LIMIT),
        Program::Comparer => checker(room, "compare", OutputReport::BYTES + DETAIL_LIMIT),
        Program::Views => checker(room, "views", OutputReport::BYTES),
        Program::Scanner => checker(room, "scan", ScanReport::BYTES),
        Program::QueryComparer => {
            let binary = child.binary.unwrap_or(&configuration.checker);
            (binary, "/databox-query", vec!["compare"], OutputReport::BYTES + DETAIL_LIMIT)
        }
        Program::EvaluationComparer => checker(room, "evaluation", EvaluationReport::BYTES),
        Program::Job => unreachable!("a job has a wall of its own"),
    };
    let mut mounts = vec![mount(binary, inside, Access::ReadOnlyExecutable)];
    mounts.extend(child.reads.iter().map(|(source, target)| mount(source, target, Access::ReadOnly)));
    mounts.extend(child.writes.iter().map(|(source, target)| mount(source, target, Access::Writable)));
    mounts.extend(data_mounts(child.data));
    mounts.extend(index_mounts(child.data));
    let public = child.public.iter().enumerate();
    mounts.extend(public.map(|(at, file)| mount(file, &format!("/public/{at}"), Access::ReadOnly)));
    let limits = &configuration.limits;
    Specification {
        mounts,
        output: None,
        program: inside.to_owned(),
        arguments: arguments.into_iter().map(str::to_owned).collect(),
        environment: Vec::new(),
        working_directory: "/".to_owned(),
        limits: Limits {
            memory_bytes: limits.child_memory_bytes,
            processes: 16,
            processors: limits.cpus.max(1),
            open_files: 512,
            file_bytes: limits.file_bytes,
            // Of each of its processors.
            cpu_seconds: limits.child_seconds.saturating_mul(limits.cpus.max(1)).clamp(1, 1 << 30),
            wall: Duration::from_secs(limits.child_seconds.max(1)),
            tmp_bytes: 0,
            tmp_inodes: 0,
            stdout_bytes: stdout_bytes as u64,
        },
        calls: Calls::Reader,
        standard_error: StandardError::Nowhere,
        host_uid: slot.user(room, child.program),
        devices: Vec::new(),
    }
}

/// The index of each dataset that has one, seen as `/index/<name>`. Whoever sees it can try guesses of the data: so it
/// is seen by whom sees the data, but for a job, which has no use for it.
fn index_mounts(data: &[(String, PathBuf)]) -> impl Iterator<Item = Mount> {
    let indexes = data.iter().map(|(name, snapshot)| (name, Places::index_of(snapshot)));
    let there = indexes.filter(|(_, index)| index.is_file());
    there.map(|(name, index)| mount(&index, &format!("/index/{name}"), Access::ReadOnly))
}

fn checker<'a>(
    room: &'a Room,
    subcommand: &'static str,
    stdout: usize,
) -> (&'a Path, &'static str, Vec<&'static str>, usize) {
    (&room.configuration.checker, "/databox-check", vec![subcommand], stdout)
}

/// Why a child gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It was not started, or cannot be vouched for.
    #[error("a child of the enclave was not started")]
    Launch(#[from] LaunchError),
    /// It ended without a report.
    #[error("a child of the enclave ended without an answer: {0:?}")]
    Ended(Outcome),
}

/// Runs a child to its end and returns what it wrote to standard output.
pub fn run_child(
    room: &Room,
    slot: Slot,
    specification: &Child<'_>,
    stdin: Stdin,
    cancel: &Cancel,
) -> Result<Vec<u8>, ChildError> {
    let specification = child(room, slot, specification);
    let Ended { outcome, stdout, .. } = room.launcher.run(&specification, stdin, cancel)?;
    if outcome == Outcome::Succeeded { Ok(stdout) } else { Err(ChildError::Ended(outcome)) }
}

/// The wall as a verdict names it, layer by layer, as the launcher saw it during the run, and the devices in it.
pub fn statement(evidence: &Evidence, devices: Vec<WallDevice>) -> statement::Wall {
    let layers = evidence.layers.iter().map(|layer| statement::Layer {
        name: layer.name.as_str().parse().expect("names of layers are names"),
        state: match layer.state {
            sandbox::State::On => statement::LayerState::On,
            sandbox::State::Off => statement::LayerState::Off,
            sandbox::State::Absent => statement::LayerState::Absent,
        },
    });
    let runtime = evidence.builder.as_ref().map(|(name, version)| WallRuntime {
        name: name.as_str().parse().expect("names of runtimes are names"),
        version: version.clone(),
    });
    statement::Wall {
        name: name(evidence.wall),
        runtime,
        privileged: evidence.privileged,
        layers: layers.collect(),
        devices,
    }
}

/// How statements call a kind of wall.
pub fn name(wall: sandbox::Wall) -> WallName {
    match wall {
        sandbox::Wall::Native => WallName::Native,
        sandbox::Wall::Oci => WallName::Oci,
        sandbox::Wall::OciGvisor => WallName::OciGvisor,
        sandbox::Wall::VmEmulated => WallName::VmEmulated,
        sandbox::Wall::Vm => WallName::Vm,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_frozen_directory_is_elsewhere_and_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        fs::create_dir(&out).unwrap();
        fs::write(out.join("metrics.json"), "{}").unwrap();
        let frozen = freeze(&out, &directory.path().join("frozen")).unwrap();
        assert!(!out.exists());
        assert_eq!(fs::metadata(&frozen).unwrap().permissions().mode() & 0o777, 0o555);
        assert!(frozen.join("metrics.json").is_file());
    }

    #[test]
    fn what_an_output_links_to_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, "data").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&secret, directory.path().join("link")).unwrap();
        fs::write(directory.path().join("plain"), "x").unwrap();
        fs::set_permissions(directory.path().join("plain"), fs::Permissions::from_mode(0o000)).unwrap();
        for name in ["link", "plain", "none"] {
            make_readable(directory.path(), name).unwrap();
        }
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(directory.path().join("plain")).unwrap().permissions().mode() & 0o777, 0o444);
    }

    #[test]
    fn an_index_is_shown_beside_its_data_and_where_there_is_none_nothing_is() {
        let directory = tempfile::tempdir().unwrap();
        let data = ["hie", "other"].map(|name| (name.to_owned(), directory.path().join(name)));
        data.iter().for_each(|(_, snapshot)| fs::create_dir(snapshot).unwrap());
        fs::write(directory.path().join("hie.index"), "index").unwrap();
        let mounts: Vec<_> = index_mounts(&data).collect();
        let expected = mount(&directory.path().join("hie.index"), "/index/hie", Access::ReadOnly);
        assert_eq!(mounts, [expected]);
    }

    #[test]
    fn every_layer_of_the_wall_has_a_name_that_a_verdict_can_hold() {
        let layers = sandbox::LayerName::ALL.iter();
        let layers = layers.map(|name| sandbox::Layer { name: *name, state: sandbox::State::On }).collect();
        let evidence = Evidence { wall: sandbox::Wall::Native, builder: None, privileged: false, layers };
        assert_eq!(statement(&evidence, Vec::new()).layers.len(), sandbox::LayerName::ALL.len());
    }

    #[test]
    fn a_verdict_names_the_runtime_that_built_the_wall_and_the_kinds_are_ordered_by_strength() {
        use sandbox::{Builder, oci::RuntimeName};
        let evidence = |wall, builder| Evidence { wall, builder, privileged: true, layers: vec![] };
        let runtime = Some((Builder::Oci(RuntimeName::Runsc), "release-1".to_owned()));
        let told = statement(&evidence(sandbox::Wall::OciGvisor, runtime), Vec::new());
        let runtime = told.runtime.expect("a runtime");
        assert_eq!((told.name, runtime.name.as_str()), (WallName::OciGvisor, "runsc"));
        assert_eq!(runtime.version, "release-1");
        use sandbox::Wall::{Native, Oci, OciGvisor, Vm, VmEmulated};
        let walls = [Native, Oci, VmEmulated, OciGvisor, Vm].map(name);
        assert!(walls.is_sorted_by(|weaker, stronger| weaker < stronger), "{walls:?}");
    }
}
