//! Where a wall that an OCI runtime or a machine builds answers an attempt otherwise than the native one, and why that is no way out.
//! Whatever is not listed must be answered alike.

use sandbox::Wall;

/// What one attempt may see behind one wall, beside what it may see behind every wall.
pub struct Difference {
    /// The attempt.
    pub attempt: &'static str,
    /// How what it sees begins.
    pub saw: &'static str,
    /// Why it is contained all the same.
    pub why: &'static str,
}

const fn row(attempt: &'static str, saw: &'static str, why: &'static str) -> Difference {
    Difference { attempt, saw, why }
}

const CRUN: [Difference; 1] = [row(
    "disks-and-terminals",
    "seen /dev/tty /dev/ptmx",
    "runtimes make both unasked: /dev/tty is an empty file here, /dev/ptmx a link that leads nowhere",
)];

const OWN_FILES: &str = "a file of gVisor's own kernel, which tells of nothing but that kernel";
const OWN_IDS: &str =
    "its kernel has users of its own; on the host all of it is the one user of the job, without a capability";
const NO_LINK: &str = "its kernel has no such link; on the host the launcher compared the namespaces";
const MEMORY: &str = "its kernel does not count it; it takes memory of the job's own control group";
const OWN_PROCESSES: &str =
    "the launcher in the container, of which nothing is secret, and the job's own processes";

const OWN_DEVICES: &str = "the /dev of its own kernel, which ends with it; each other run has one of its own";

const GVISOR: [Difference; 32] = [
    row(
        "foreign-abi-int80",
        "reached",
        "its kernel takes it for the 64-bit call of that number, which the list judges",
    ),
    row("network-interfaces", "seen /sys/class/net /proc/net/dev /proc/net/tcp", OWN_FILES),
    row("firmware", "seen /sys/firmware /sys/devices /sys", OWN_FILES),
    row(
        "control-group-files",
        "seen /sys/fs/cgroup",
        "an empty directory of its own kernel: there is no release_agent",
    ),
    row(
        "disks-and-terminals",
        "seen /dev/tty /dev/ptmx",
        "devices of its own kernel, to which no terminal belongs",
    ),
    row("fuse", "seen /dev/fuse", "a device of its own kernel; nothing can be mounted"),
    row("load-of-the-host", "seen /proc/loadavg /proc/stat /proc/meminfo /proc/uptime", OWN_FILES),
    row(
        "kernel-settings",
        "seen /proc/sys",
        "settings of its own kernel: it runs no core_pattern and no binfmt_misc",
    ),
    row(
        "binary-formats",
        "seen /proc/sys",
        "settings of its own kernel: it runs no core_pattern and no binfmt_misc",
    ),
    row("first-process", "seen /proc/1/environ", OWN_PROCESSES),
    row("processes-of-others", "seen [1, 2, ", OWN_PROCESSES),
    row("signal-everything", "seen [1, 2, ", OWN_PROCESSES),
    row("signal-the-first-process", "reached", "its end is the end of the job"),
    row("shared-namespace-mnt", "ENOENT", NO_LINK),
    row("shared-namespace-ipc", "ENOENT", NO_LINK),
    row("shared-namespace-uts", "ENOENT", NO_LINK),
    row("shared-namespace-cgroup", "ENOENT", NO_LINK),
    row("shared-namespace-time", "ENOENT", NO_LINK),
    row("mapped-users", "seen", OWN_IDS),
    row("user-zero", "root", OWN_IDS),
    row(
        "capabilities",
        "seen {'CapInh': '0000000000000000', 'CapPrm': '0000000000000000', 'CapEff': '0000000000000000', 'CapBnd': '0000000000000000', 'CapAmb': 'unknown'}",
        "none; it does not tell of ambient ones",
    ),
    row(
        "privileges-by-executing",
        "gains",
        "it does not tell; set-user-id programs gain nothing, as their own row shows",
    ),
    row("new-device-node", "reached", OWN_DEVICES),
    row("exchange-a-device", "reached", OWN_DEVICES),
    row("core-dump-filter", "ENOENT", "its kernel writes no core"),
    row(
        "boot-time",
        "ENOENT",
        "better than behind the native wall: its kernel began with the job and has no offsets",
    ),
    row("input-through-a-descriptor", "EBADF", "it is opened, and the host refuses the writing"),
    row(
        "map-output-executable",
        "reached",
        "its kernel holds noexec against programs only; the code runs as any machine code of the job does",
    ),
    row("many-files", "reached", MEMORY),
    row("deep-directories", "reached", MEMORY),
    row("timers", "reached", MEMORY),
    row("paths-of-mounts", "nothing", "better than behind the others: its kernel tells no path of the host"),
];

const NO_FILE: &str = "what the job's user cannot read comes on no disk: with such a file nothing starts, so the stage has none";
const OLD_LANDLOCK: &str =
    "the machine's kernel knows a Landlock without signals: a job can stop or end its own run";

const MACHINE: [Difference; 6] = [
    row("closed-file-of-the-caller", "ENOENT", NO_FILE),
    row("file-of-the-callers-group", "ENOENT", NO_FILE),
    row("signal-the-first-process", "reached", OLD_LANDLOCK),
    row("signal-everything", "seen [1, 2,", OLD_LANDLOCK),
    row(
        "paths-of-mounts",
        "nothing",
        "better than behind the native wall: the machine knows no path of the host",
    ),
    row("boot-time", "own", "better than behind the native wall: the machine began with the job"),
];

/// The differences of one wall.
pub fn of(wall: Wall) -> &'static [Difference] {
    match wall {
        Wall::Native => &[],
        Wall::Oci => &CRUN,
        Wall::OciGvisor => &GVISOR,
        Wall::VmEmulated | Wall::Vm => &MACHINE,
    }
}

/// Attempts that end the whole program behind this wall. They are made in a launch of their own behind every wall
/// (`processes-without-end`, `threads-without-end`).
pub fn alone(wall: Wall) -> &'static [&'static str] {
    match wall {
        Wall::Native | Wall::Oci | Wall::VmEmulated | Wall::Vm => &[],
        // Its kernel counts no processes; what it runs in is refused more of them, and it ends with all that it holds.
        Wall::OciGvisor => &["fork-bomb", "thread-bomb"],
    }
}
