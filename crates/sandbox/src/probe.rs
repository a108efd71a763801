//! Whether this machine can build the wall, found out by building it around a program of our own.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::evidence::{Evidence, Outcome, Wall};
use crate::launcher::{Cancel, LaunchError, Launcher, Stdin};
use crate::machine::MachineError;
use crate::specification::{Access, Calls, Limits, Mount, Specification, StandardError};
use crate::wire::{Refusal, Step};

/// What this machine lacks. [`ProbeError::remedy`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProbeError {
    #[error("the helper {0:?} is missing")]
    HelperMissing(PathBuf),
    #[error("this machine allows no user namespaces")]
    UserNamespacesOff,
    #[error("this machine allows user namespaces to root only")]
    UserNamespacesForRootOnly,
    #[error("AppArmor forbids user namespaces to normal users")]
    UserNamespacesForbiddenByAppArmor,
    #[error("something around this process, such as a container, forbids namespaces")]
    NamespacesForbidden,
    #[error("something around this process, such as a container, hides parts of /proc")]
    ProcessesHidden,
    #[error("this kernel is older than Linux 5.14")]
    KernelTooOld,
    #[error("the temporary directory {0:?} cannot be used")]
    TemporaryDirectory(PathBuf),
    #[error("the wall stands, but did not hold in its test number {0}")]
    WallLeaks(u8),
    #[error("the runtime did not start its container")]
    RuntimeFailed(#[source] LaunchError),
    #[error("no machine can be run")]
    Machine(#[source] MachineError),
    #[error("a machine was tried")]
    MachineFailed(#[source] LaunchError),
    #[error("the wall cannot be built")]
    Launch(#[source] LaunchError),
}

impl ProbeError {
    /// What the operator of this machine can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            ProbeError::HelperMissing(_) => {
                "cargo build --package sandbox --bin databox-launch, or install it again"
            }
            ProbeError::UserNamespacesOff => "as root: sysctl -w user.max_user_namespaces=10000",
            ProbeError::UserNamespacesForRootOnly => "as root: sysctl -w kernel.unprivileged_userns_clone=1",
            ProbeError::UserNamespacesForbiddenByAppArmor => {
                "as root: give databox-launch an AppArmor profile with the rule `userns,`, \
                 or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
            }
            ProbeError::NamespacesForbidden => {
                "run outside of the container, or start it with --security-opt seccomp=unconfined"
            }
            ProbeError::ProcessesHidden => {
                "run outside of the container, or start it with --security-opt systempaths=unconfined"
            }
            ProbeError::KernelTooOld => "use Linux 5.14 or later; Debian 12 has 6.1",
            ProbeError::TemporaryDirectory(_) => {
                "set TMPDIR to a directory whose path holds no symbolic link, that every user can enter, \
                 and that is not mounted noexec"
            }
            ProbeError::WallLeaks(_) => {
                "run no job on this machine, and report this together with `uname -a`"
            }
            ProbeError::RuntimeFailed(_) => {
                "the runtime's words above say why; try a newer one, or another: runsc, crun"
            }
            ProbeError::Machine(MachineError::NoVirtualisation) => {
                "use a machine whose processor's own virtualisation is on and given to it (/dev/kvm)"
            }
            ProbeError::Machine(_) => "apt-get install qemu-system-x86 erofs-utils linux-image-cloud-amd64",
            ProbeError::MachineFailed(_) => {
                "/dev/kvm must be open to the jobs' users (mode 0666) and boot an ordinary kernel in seconds, \
                 which it does not within most virtual machines; `oci-gvisor` is the next in strength"
            }
            ProbeError::Launch(_) => "the causes above say which step failed",
        }
    }
}

/// Builds the wall around a tiny program of our own that tries it from inside: no internet socket, no nested user
/// namespace, but a local socket, and a user that is not root. Returns which layers stand on this machine.
pub fn probe(launcher: &Launcher) -> Result<Evidence, ProbeError> {
    if !launcher.helper().is_file() {
        return Err(ProbeError::HelperMissing(launcher.helper().to_owned()));
    }
    let unusable = |_: io::Error| ProbeError::TemporaryDirectory(std::env::temp_dir());
    let directory = Directory::new().map_err(unusable)?;
    let program = directory.place(&program()).map_err(unusable)?;
    let mut specification = specification(program);
    if launcher.wall() == Wall::Vm {
        // On a processor that serves it well a machine is up and down in two seconds.
        specification.limits.wall = Duration::from_secs(5);
    }
    let cancel = Cancel::new().map_err(|error| ProbeError::Launch(LaunchError::NoResources(error)))?;
    let ended = launcher.run(&specification, Stdin::Empty, &cancel).map_err(explain)?;
    match (ended.outcome, ended.code) {
        (Outcome::Succeeded, _) => Ok(ended.evidence),
        // The last test, after all others held: gVisor's kernel calls the one user that it knows 0. On the host it is not.
        (Outcome::Failed, Some(USER_TEST)) if launcher.wall() == Wall::OciGvisor => Ok(ended.evidence),
        (Outcome::Failed, Some(test)) => Err(ProbeError::WallLeaks(test)),
        (Outcome::NotExecutable, _) => Err(ProbeError::TemporaryDirectory(directory.path.clone())),
        _ => Err(ProbeError::WallLeaks(0)),
    }
}

fn specification(program: PathBuf) -> Specification {
    let is_root = rustix::process::geteuid().is_root();
    Specification {
        mounts: vec![Mount { source: program, target: "/probe".into(), access: Access::ReadOnlyExecutable }],
        output: None,
        program: "/probe".into(),
        arguments: Vec::new(),
        environment: Vec::new(),
        working_directory: "/".into(),
        limits: Limits {
            memory_bytes: 64 << 20,
            processes: 1,
            processors: 1,
            open_files: 8,
            file_bytes: 0,
            cpu_seconds: 5,
            wall: Duration::from_secs(20),
            tmp_bytes: 1 << 20,
            tmp_inodes: 8,
            stdout_bytes: 0,
        },
        calls: Calls::Job,
        standard_error: StandardError::Nowhere,
        // Any id but root's serves; this one exists in a container with the usual 65536 ids, too.
        host_uid: is_root.then_some(65_533),
        devices: Vec::new(),
    }
}

/// Finds the reason behind a refusal, as far as the machine tells.
fn explain(error: LaunchError) -> ProbeError {
    let LaunchError::Refused(Refusal::Step { step, errno }) = error else {
        return match error {
            LaunchError::Refused(Refusal::SourceIsLink(path)) => ProbeError::TemporaryDirectory(path),
            LaunchError::Refused(Refusal::RuntimeFailed(_)) => ProbeError::RuntimeFailed(error),
            LaunchError::Machine(_) => ProbeError::MachineFailed(error),
            error => ProbeError::Launch(error),
        };
    };
    let setting = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
    let is = |name: &str, value: &str| setting(name).trim() == value;
    match (step, errno) {
        (_, libc::ENOSYS) => ProbeError::KernelTooOld,
        (Step::Namespaces, libc::ENOSPC | libc::EUSERS) => ProbeError::UserNamespacesOff,
        (Step::Namespaces, _) if is("kernel/unprivileged_userns_clone", "0") => {
            ProbeError::UserNamespacesForRootOnly
        }
        (Step::Processes, libc::EPERM) => ProbeError::ProcessesHidden,
        // AppArmor lets the namespace be made and then takes every capability in it.
        (_, libc::EPERM | libc::EACCES) if is("kernel/apparmor_restrict_unprivileged_userns", "1") => {
            ProbeError::UserNamespacesForbiddenByAppArmor
        }
        (Step::Namespaces | Step::PrivateMounts | Step::UserMap, libc::EPERM | libc::EACCES) => {
            ProbeError::NamespacesForbidden
        }
        _ => ProbeError::Launch(LaunchError::Refused(Refusal::Step { step, errno })),
    }
}

/// A directory of this probe's own, gone afterwards.
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn new() -> io::Result<Directory> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("databox-probe-{}-{now}", std::process::id());
        let path = fs::canonicalize(std::env::temp_dir())?.join(name);
        // Refused if it exists, so nobody else can have laid a program there.
        DirBuilder::new().mode(0o755).create(&path)?;
        let directory = Directory { path };
        fs::set_permissions(&directory.path, fs::Permissions::from_mode(0o755))?;
        Ok(directory)
    }

    fn place(&self, program: &[u8]) -> io::Result<PathBuf> {
        let path = self.path.join("probe");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path)?;
        file.write_all(program)?;
        file.set_permissions(fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The number of the test that the user is not called root.
const USER_TEST: u8 = 4;

/// The program: a whole ELF file, since a machine need not have any static binary to lend. Its exit code is the number
/// of the test that failed.
#[rustfmt::skip]
const TESTS: &[u8] = &[
    // 1: socket(AF_INET, SOCK_STREAM, 0) must fail.
    0xb8, 41, 0, 0, 0, 0xbf, 2, 0, 0, 0, 0xbe, 1, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x05, // mov eax, edi, esi; xor edx; syscall
    0xbb, 1, 0, 0, 0, 0x48, 0x85, 0xc0, 0x79, 0x45,                               // mov ebx, 1; test rax; jns end
    // 2: unshare(CLONE_NEWUSER) must fail.
    0xb8, 0x10, 1, 0, 0, 0xbf, 0, 0, 0, 0x10, 0x0f, 0x05,                         // mov eax, edi; syscall
    0xbb, 2, 0, 0, 0, 0x48, 0x85, 0xc0, 0x79, 0x2f,                               // mov ebx, 2; test rax; jns end
    // 3: socket(AF_UNIX, SOCK_STREAM, 0) must succeed, or the others would show nothing.
    0xb8, 41, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 1, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x05, // as in 1
    0xbb, 3, 0, 0, 0, 0x48, 0x85, 0xc0, 0x78, 0x12,                               // mov ebx, 3; test rax; js end
    // 4: getuid() must not be 0.
    0xb8, 102, 0, 0, 0, 0x0f, 0x05,                                               // mov eax; syscall
    0xbb, 4, 0, 0, 0, 0x85, 0xc0, 0x74, 0x02,                                     // mov ebx, 4; test eax; jz end
    0x31, 0xdb,                                                                   // xor ebx
    // end: exit_group(ebx).
    0x89, 0xdf, 0xb8, 231, 0, 0, 0, 0x0f, 0x05,                                   // mov edi; mov eax; syscall
];

/// The tests behind an ELF header (64 bytes) and one program header (56 bytes).
fn program() -> Vec<u8> {
    const ADDRESS: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let length = HEADERS + TESTS.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    for half in [2u16, 62] {
        elf.extend(half.to_le_bytes()); // executable, x86_64
    }
    elf.extend(1u32.to_le_bytes());
    for long in [ADDRESS + HEADERS, 64, 0] {
        elf.extend(long.to_le_bytes()); // entry, program headers, no sections
    }
    elf.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1u32.to_le_bytes()); // loaded
    elf.extend(5u32.to_le_bytes()); // readable and executable
    for long in [0, ADDRESS, ADDRESS, length, length, 0x1000] {
        elf.extend(long.to_le_bytes());
    }
    elf.extend(TESTS);
    elf
}
