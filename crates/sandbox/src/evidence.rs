//! What a run ended as, and which layers of the wall stood while it ran.

use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::oci::RuntimeName;

/// A run that is over: no process of the program is left.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// The exit code, if the program ended by itself. For programs of ours only: a job chooses its own, so it must not
    /// reach anyone outside the box.
    pub code: Option<u8>,
    /// The most memory that any of its processes held at a time, in bytes; None if the run was ended from outside, since
    /// what the kernel kills is not counted.
    pub peak_bytes: Option<u64>,
    /// What the program wrote to standard output, never more than the limit.
    pub stdout: Vec<u8>,
    /// The directory of the output space, if the specification has one: what is in it has no writer any more, and it is
    /// gone once this is dropped. Names, kinds and bytes in it are the program's choice.
    pub output: Option<OwnedFd>,
    /// The layers of the wall around the run.
    pub evidence: Evidence,
    /// From the call until the last process was dead.
    pub wall: Duration,
}

/// How a run ended. A job can bring about most of these at will: two runs tell apart at most as many answers as there
/// are cases, which is why there is no more detail here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The program ended with exit code 0.
    Succeeded,
    /// The program ended with another exit code or by a signal.
    Failed,
    /// The program does not exist inside, or cannot be executed.
    NotExecutable,
    /// The wall-clock limit passed.
    TimeLimit,
    /// The program used its processor time.
    CpuLimit,
    /// The program failed, and the kernel had killed a process for want of memory, or (best effort) most of a process's
    /// memory was in use.
    MemoryLimit,
    /// The program failed after it was refused a process or thread. Told only where control groups count them.
    ProcessLimit,
    /// The program was killed for writing a file beyond the limit. (One that ignores the signal sees an error instead.)
    FileLimit,
    /// Best effort: the program failed with its output space, `/tmp` or `/dev/shm` full.
    SpaceLimit,
    /// Standard output was longer than the limit.
    OutputLimit,
    /// The caller cancelled.
    Cancelled,
}

/// Which layers stood around a run. Each was looked at by the helper during that run; none is taken for granted. In a
/// micro-VM they are the layers around the program within it, looked at there before the program began;
/// around the machine itself stands the native wall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The kind of wall.
    pub wall: Wall,
    /// Who built it, with its version, if not the launcher alone.
    pub builder: Option<(Builder, String)>,
    /// Whether the launcher was root, so that the program ran as a host user of its own.
    pub privileged: bool,
    /// Every layer that this version knows, each once, in a fixed order.
    pub layers: Vec<Layer>,
}

/// The kind of wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wall {
    /// Namespaces and a system-call filter on the host's own kernel.
    Native,
    /// The same kind of wall, built by an OCI runtime within the launcher's namespaces.
    Oci,
    /// gVisor within the launcher's namespaces: the program's calls are answered by a kernel of its own, which was looked
    /// at.
    OciGvisor,
    /// The native wall in a micro-VM that is emulated, and the native wall around the emulator. For tests: QEMU's own
    /// security policy promises nothing of emulation.
    VmEmulated,
    /// The native wall in a micro-VM on the processor's own virtualisation, and the native wall around the machine.
    Vm,
}

/// Who builds a wall beside the launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Builder {
    /// An OCI runtime.
    Oci(RuntimeName),
    /// QEMU, which runs one micro-VM.
    Qemu,
}

impl Builder {
    /// The name in signed statements, which is the program's.
    pub fn as_str(self) -> &'static str {
        match self {
            Builder::Oci(runtime) => runtime.as_str(),
            Builder::Qemu => "qemu",
        }
    }
}

/// One layer of the wall and whether it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Which layer.
    pub name: LayerName,
    /// Whether it stood.
    pub state: State,
}

/// Whether a layer stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It stood.
    On,
    /// This machine or user could not have it.
    Off,
    /// This version does not build it.
    Absent,
}

macro_rules! layers {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal,)*) => {
        /// The layers, in the order of the evidence.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum LayerName { $($(#[doc = $doc])* #[serde(rename = $word)] $name,)* }

        impl LayerName {
            /// Every layer.
            pub const ALL: &'static [LayerName] = &[$(LayerName::$name),*];

            /// The layer's name in signed statements.
            pub fn as_str(self) -> &'static str {
                match self { $(LayerName::$name => $word),* }
            }
        }
    };
}

layers! {
    /// Its root is nobody on the host.
    UserNamespace = "user-namespace",
    /// It has a table of mounts of its own.
    MountNamespace = "mount-namespace",
    /// It sees and signals its own processes only.
    PidNamespace = "pid-namespace",
    /// It has no network interface.
    NetworkNamespace = "network-namespace",
    /// It shares no System V object or message queue.
    IpcNamespace = "ipc-namespace",
    /// It has a fixed host name.
    UtsNamespace = "uts-namespace",
    /// It does not see where it stands in the host's control groups.
    CgroupNamespace = "cgroup-namespace",
    /// Its file tree starts empty and holds the mounts of its specification only.
    EmptyRoot = "empty-root",
    /// The root of its file tree cannot be written.
    ReadOnlyRoot = "read-only-root",
    /// Its host user is not the caller's (root alone can give it another).
    OwnHostUser = "own-host-user",
    /// It has none of the caller's supplementary groups.
    GroupsDropped = "groups-dropped",
    /// It can make no user namespace even where the system-call filter fails.
    NoNestedNamespaces = "no-nested-namespaces",
    /// It has no capability and can gain none.
    CapabilitiesDropped = "capabilities-dropped",
    /// No program that it starts gains privileges.
    NoNewPrivileges = "no-new-privileges",
    /// The kernel refuses each system call outside the reviewed list.
    Seccomp = "seccomp",
    /// Limits for each process.
    ResourceLimits = "resource-limits",
    /// A second file and socket filter.
    Landlock = "landlock",
    /// A limit for the memory of all its processes together (control groups, version 1 or 2).
    CgroupMemory = "cgroup-memory",
    /// When that memory is used up all of it ends together (version 2).
    CgroupEndTogether = "cgroup-end-together",
    /// A limit for all its processes and threads together.
    CgroupProcesses = "cgroup-processes",
    /// A limit for the processor time of all its processes together.
    CgroupProcessor = "cgroup-processor",
    /// The kernel kills all of it in one step (version 2).
    CgroupKill = "cgroup-kill",
    /// A boot clock of its own.
    TimeNamespace = "time-namespace",
}

impl Evidence {
    /// The state of one layer; [`State::Absent`] if this evidence does not name it.
    pub fn state(&self, name: LayerName) -> State {
        self.layers.iter().find(|layer| layer.name == name).map_or(State::Absent, |layer| layer.state)
    }
}

impl State {
    /// The state's name in signed statements.
    pub fn as_str(self) -> &'static str {
        match self {
            State::On => "on",
            State::Off => "off",
            State::Absent => "absent",
        }
    }
}

impl Wall {
    /// The wall's name in signed statements.
    pub fn as_str(self) -> &'static str {
        match self {
            Wall::Native => "native",
            Wall::Oci => "oci",
            Wall::OciGvisor => "oci-gvisor",
            Wall::VmEmulated => "vm-emulated",
            Wall::Vm => "vm",
        }
    }
}
