//! What one program may see and use. The caller checks it before the helper starts, and the helper checks it again
//! before anything of the program exists: the helper trusts the type, never the sender.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one program may see and use; all else is refused. It reaches the helper over a socket, never in its arguments,
/// which any user of the machine can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Specification {
    /// Everything of the host that the program sees, besides `/dev/null`, `zero`, `full`, `random` and `urandom`.
    pub mounts: Vec<Mount>,
    /// A directory that starts empty, lives in memory and can be written, besides the mounts.
    pub output: Option<OutputSpace>,
    /// The program: an absolute path inside, or a bare name that is looked for in `/usr/local/bin`, `/usr/bin` and
    /// `/bin` inside.
    pub program: String,
    /// The program's arguments, without its name.
    pub arguments: Vec<String>,
    /// The program's whole environment; nothing is inherited. Variables that steer the loader are refused.
    pub environment: Vec<(String, String)>,
    /// An absolute directory inside.
    pub working_directory: String,
    /// What the program may use.
    pub limits: Limits,
    /// Which system calls the program may make.
    pub calls: Calls,
    /// Where what it writes to standard error goes.
    pub standard_error: StandardError,
    /// The host's user id that the program runs as: needed when the caller is root, refused when it is not (a normal
    /// user can lend only its own id). It must be unique among the programs that run at the same time. What a program
    /// may write must belong to it; what it reads must be readable to it.
    pub host_uid: Option<u32>,
    /// Devices of the host that the program may use, besides those that every program has. A job's only.
    pub devices: Vec<Device>,
}

/// A character device of the host, shown in `/dev`. What it does the kernel's driver of it decides, which is no part of the
/// wall: whoever shows one trusts that driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// An absolute path on the host, no part of which is a symbolic link. The program's user must be able to open it.
    pub source: PathBuf,
    /// Where it is inside: an absolute path below `/dev`.
    pub target: String,
    /// Its major and minor number. A device with others at the same path is refused.
    pub numbers: (u32, u32),
    /// What the program may ask it for beyond bytes.
    pub commands: Commands,
}

/// Which numbers of ioctl(2) a program may send to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Commands {
    /// None.
    None,
    /// Those of NVIDIA's driver that computing needs, from `policies/sandbox/nvidia.toml`.
    Nvidia,
}

/// One file or directory of the host, shown inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// An absolute path on the host to a directory or a regular file, no part of which is a symbolic link.
    pub source: PathBuf,
    /// An absolute path inside. Targets do not lie within one another, nor in `/dev`, `/proc` or `/tmp`.
    pub target: String,
    /// What may be done with it.
    pub access: Access,
}

/// A directory in memory that the program may write, bounded in bytes and in files by the kernel, whoever runs the
/// launcher. It outlives the program in the descriptor of [`Ended`](crate::Ended), and it never was on the host's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpace {
    /// An absolute path inside, as for a mount.
    pub target: String,
    /// Bytes that it holds.
    pub bytes: u64,
    /// Files, directories, links and further names that it holds.
    pub entries: u64,
}

/// What may be done with a mount. Set-user-id bits and device files have no effect in any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read, not write, not execute.
    ReadOnly,
    /// Read and execute, not write.
    ReadOnlyExecutable,
    /// Read and write, not execute.
    Writable,
}

/// What a program may use. Memory, processor time and open files count for each process. Where the machine gives
/// control groups (the evidence says so), memory counts for all processes together as well, and what directories in
/// memory may hold comes on top; elsewhere a whole job may use `processes` times as much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Address space of each process, in bytes.
    pub memory_bytes: u64,
    /// Processes and threads that exist at the same time.
    pub processes: u64,
    /// Processors that all processes together may use, where the machine's control groups can measure it out.
    pub processors: u64,
    /// Open descriptors of each process; at most 1000.
    pub open_files: u64,
    /// Size of each file that it writes, in bytes.
    pub file_bytes: u64,
    /// Processor time of each process, in seconds.
    pub cpu_seconds: u64,
    /// Time from the program's start until all of it is killed.
    pub wall: Duration,
    /// Size of `/tmp`, and again of `/dev/shm`, in bytes of memory; 0: neither exists.
    pub tmp_bytes: u64,
    /// Files that `/tmp`, and again `/dev/shm`, can hold.
    pub tmp_inodes: u64,
    /// Bytes that standard output may carry; one more ends the program. 0: standard output goes nowhere.
    pub stdout_bytes: u64,
}

/// A reviewed list of system calls, from `policies/sandbox`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Calls {
    /// Code of a researcher: files, threads, processes, and sockets of the family AF_UNIX. It has `/proc`, of which it
    /// sees its own processes only.
    Job,
    /// A program of ours that reads what a job shaped: no sockets, no new process or program, no `/proc`.
    Reader,
    /// QEMU, which runs one micro-VM on the processor: as a reader, and it has `/dev/kvm`.
    Machine,
    /// QEMU, which emulates a processor: the same without the device.
    EmulatedMachine,
}

/// Where the words of a program's standard error go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandardError {
    /// Nowhere. In the box always: a traceback quotes data.
    Nowhere,
    /// To the same place as standard output, and bounded with it. At a researcher's desk.
    AsOutput,
}

/// Why a [`Specification`] is refused before anything starts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum SpecificationError {
    #[error("the mount source {0:?} is not an absolute path without `.` and `..`")]
    SourceNotPlain(PathBuf),
    #[error("the mount target {0:?} is not an absolute path without `.`, `..` and empty parts")]
    TargetNotPlain(String),
    #[error("the mount target {0:?} lies where the wall puts its own files")]
    TargetReserved(String),
    #[error("the mount targets {0:?} and {1:?} lie within one another")]
    TargetsOverlap(String, String),
    #[error("the program {0:?} is neither an absolute path nor a bare name")]
    ProgramNotPlain(String),
    #[error("the working directory {0:?} is not an absolute path")]
    WorkingDirectoryNotPlain(String),
    #[error("a program argument holds a zero byte")]
    ArgumentHoldsZero,
    #[error("the environment variable {0:?} is not a name and a value")]
    VariableNotPlain(String),
    #[error("the environment variable {0:?} steers the loader")]
    VariableSteersLoader(String),
    #[error("the limit {0} is out of range")]
    LimitOutOfRange(String),
    #[error("root must name a host user id for the program")]
    HostUserMissing,
    #[error("the host user id {0} must be neither root's nor reserved")]
    HostUserReserved(u32),
    #[error("only root can run a program as another host user")]
    HostUserNeedsRoot,
    #[error("the device target {0:?} is not a path of its own below /dev")]
    DeviceTarget(String),
    #[error("the device {0}:{1} is the machine's memory, its log or its processor")]
    DeviceReserved(u32, u32),
    #[error("devices are shown to jobs only, and at most {DEVICES_MOST}")]
    DevicesNotForThis,
}

/// The highest limit for open files. A `Reader` is started through descriptor 1000, which no later call can open
/// again because of this limit: it is what makes "no new program" true.
pub(crate) const OPEN_FILES_MOST: u64 = 1000;

/// Devices of one program.
const DEVICES_MOST: usize = 64;

/// Names at the top of `/dev` that are the wall's, or that runtimes make unasked.
const DEVICE_NAMES: [&str; 15] = [
    "null", "zero", "full", "random", "urandom", "shm", "fd", "stdin", "stdout", "stderr", "kvm", "tty",
    "ptmx", "pts", "mqueue",
];

/// `mem`, `kmem`, `port` and `kmsg` are the kernel's own memory, doors and words; `kvm` is for machines, which have a list
/// of calls of their own. No permission of a file should be all that stands before them.
const RESERVED_DEVICES: [(u32, u32); 11] = [
    (1, 1),
    (1, 2),
    (1, 4),
    (1, 11),
    (10, 196), // vfio
    (10, 200), // net/tun
    (10, 223), // uinput
    (10, 229), // fuse
    (10, 232),
    (10, 236), // mapper/control
    (10, 237), // loop-control
];

impl Specification {
    /// True if the program may send commands of this kind to one of its devices.
    pub fn commands(&self, kind: Commands) -> bool {
        self.devices.iter().any(|device| device.commands == kind)
    }

    fn check_devices(&self) -> Result<(), SpecificationError> {
        use SpecificationError as E;
        if !self.devices.is_empty() && self.calls != Calls::Job || self.devices.len() > DEVICES_MOST {
            return Err(E::DevicesNotForThis);
        }
        for (number, device) in self.devices.iter().enumerate() {
            device.check()?;
            let within = |one: &Device, other: &Device| Path::new(&one.target).starts_with(&other.target);
            if self.devices[..number].iter().any(|other| within(device, other) || within(other, device)) {
                return Err(E::DeviceTarget(device.target.clone()));
            }
        }
        Ok(())
    }

    /// Checks everything that can be known without touching the file system, for a caller that is root or not.
    pub fn check(&self, privileged: bool) -> Result<(), SpecificationError> {
        use SpecificationError as E;
        for mount in &self.mounts {
            mount.check()?;
        }
        if let Some(output) = &self.output {
            output.check()?;
        }
        let output = self.output.iter().map(|output| &output.target);
        let targets: Vec<&String> = self.mounts.iter().map(|mount| &mount.target).chain(output).collect();
        for (index, one) in targets.iter().enumerate() {
            for other in &targets[index + 1..] {
                let (a, b) = (Path::new(one), Path::new(other));
                if a.starts_with(b) || b.starts_with(a) {
                    return Err(E::TargetsOverlap((*one).clone(), (*other).clone()));
                }
            }
        }
        if !(is_plain(&self.program) || is_bare_name(&self.program)) {
            return Err(E::ProgramNotPlain(self.program.clone()));
        }
        if self.working_directory != "/" && !is_plain(&self.working_directory) {
            return Err(E::WorkingDirectoryNotPlain(self.working_directory.clone()));
        }
        if self.arguments.iter().any(|argument| argument.contains('\0')) {
            return Err(E::ArgumentHoldsZero);
        }
        for (name, value) in &self.environment {
            check_variable(name, value)?;
        }
        self.limits.check()?;
        self.check_devices()?;
        match self.host_uid {
            None if privileged => Err(E::HostUserMissing),
            Some(_) if !privileged => Err(E::HostUserNeedsRoot),
            Some(uid) if uid == 0 || uid == u32::MAX => Err(E::HostUserReserved(uid)),
            _ => Ok(()),
        }
    }
}

impl Mount {
    fn check(&self) -> Result<(), SpecificationError> {
        let source = self.source.to_str().filter(|source| is_plain(source));
        if source.is_none() {
            return Err(SpecificationError::SourceNotPlain(self.source.clone()));
        }
        check_target(&self.target)
    }
}

impl Device {
    fn check(&self) -> Result<(), SpecificationError> {
        if !self.source.to_str().is_some_and(is_plain) {
            return Err(SpecificationError::SourceNotPlain(self.source.clone()));
        }
        let below = self.target.strip_prefix("/dev/").filter(|_| is_plain(&self.target));
        let top = below.and_then(|below| below.split('/').next());
        if top.is_none_or(|top| DEVICE_NAMES.contains(&top)) {
            return Err(SpecificationError::DeviceTarget(self.target.clone()));
        }
        let (major, minor) = self.numbers;
        if RESERVED_DEVICES.contains(&self.numbers) {
            return Err(SpecificationError::DeviceReserved(major, minor));
        }
        Ok(())
    }
}

impl OutputSpace {
    fn check(&self) -> Result<(), SpecificationError> {
        check_target(&self.target)?;
        let in_range = [
            ("output.bytes", (4096..=MOST).contains(&self.bytes)),
            ("output.entries", (1..MOST).contains(&self.entries)),
        ];
        match in_range.iter().find(|(_, fits)| !fits) {
            Some((name, _)) => Err(SpecificationError::LimitOutOfRange((*name).to_owned())),
            None => Ok(()),
        }
    }
}

fn check_target(target: &str) -> Result<(), SpecificationError> {
    if !is_plain(target) {
        return Err(SpecificationError::TargetNotPlain(target.to_owned()));
    }
    let top = Path::new(target).components().nth(1);
    let reserved = ["dev", "proc", "tmp", "databox"].map(|name| Some(Component::Normal(name.as_ref())));
    if reserved.contains(&top) {
        return Err(SpecificationError::TargetReserved(target.to_owned()));
    }
    Ok(())
}

/// Above this a sum in the helper or a signed limit of the kernel could wrap into "no limit".
const MOST: u64 = i64::MAX as u64 / 2;

impl Limits {
    fn check(&self) -> Result<(), SpecificationError> {
        let day = Duration::from_secs(24 * 60 * 60);
        let in_range = [
            ("memory_bytes", (1 << 20..=MOST).contains(&self.memory_bytes)),
            ("processes", (1..=1 << 20).contains(&self.processes)),
            ("processors", (1..=1 << 16).contains(&self.processors)),
            ("open_files", (3..=OPEN_FILES_MOST).contains(&self.open_files)),
            ("file_bytes", self.file_bytes <= MOST),
            ("cpu_seconds", (1..=1 << 30).contains(&self.cpu_seconds)),
            ("wall", self.wall > Duration::ZERO && self.wall <= 366 * day),
            ("tmp_bytes", self.tmp_bytes <= MOST),
            ("tmp_inodes", self.tmp_bytes == 0 || (1..=MOST).contains(&self.tmp_inodes)),
            ("stdout_bytes", self.stdout_bytes <= 1 << 32),
        ];
        match in_range.iter().find(|(_, fits)| !fits) {
            Some((name, _)) => Err(SpecificationError::LimitOutOfRange((*name).to_owned())),
            None => Ok(()),
        }
    }
}

/// Absolute, more than `/`, and only plain parts.
fn is_plain(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    !path.contains('\0') && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn is_bare_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != ".."
}

fn check_variable(name: &str, value: &str) -> Result<(), SpecificationError> {
    if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
        return Err(SpecificationError::VariableNotPlain(name.to_owned()));
    }
    // With one of these a job's bytes could choose which code our own programs load.
    let steers = name.starts_with("LD_") || ["GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH"].contains(&name);
    if steers {
        return Err(SpecificationError::VariableSteersLoader(name.to_owned()));
    }
    Ok(())
}
