//! The program's first process, number 1 of its namespace: builds the wall from inside, starts the program, buries
//! whatever dies, and ends when the program does. Its end makes the kernel kill all that is left.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Access as Allowed, CWD, Mode, OFlags, StatVfsMountFlags, access, openat, statvfs};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Gid, Pid, Resource, Rlimit, Signal, Uid, chdir, getgroups, getrlimit,
    set_dumpable_behavior, set_parent_process_death_signal, setrlimit, setsid, umask,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr};
use rustix::system::{setdomainname, sethostname};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, no_new_privs,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use rustix::time::{ClockId, clock_gettime};
use sandbox::{Calls, LayerName, Limits, Outcome, Refusal, Specification, StandardError, Step, wire};
use seccompiler::BpfProgram;
use serde::{Deserialize, Serialize};

use crate::landlock::Rules;
use crate::layers::are_built;
use crate::sources::Source;
use crate::supervisor::{INSIDE, at};
use crate::system::{self, Forked, Program, Reaped};
use crate::tree;

/// The descriptor through which a reader's program is started, once. No later call can open this number again: it is
/// not below the limit for open files.
const PROGRAM_DESCRIPTOR: i32 = 1000;

/// What the first process tells the helper.
#[derive(Serialize, Deserialize)]
pub enum Report {
    /// The wall stands and looks like this from inside.
    Observed(Observed),
    /// The wall could not be built.
    Refused(Refusal),
    /// The program cannot be executed.
    NotExecutable,
    /// The program ended. `killed`: by a signal that the kernel sends for want of memory, and others can send too.
    Ended { outcome: Outcome, code: Option<u8>, peak_bytes: u64, killed: bool },
}

/// The layers that not every machine and user can have. Without any of the others the program does not start.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Observed {
    pub groups_dropped: bool,
    pub no_nested_namespaces: bool,
    pub time_namespace: bool,
    pub landlock: bool,
}

/// All that the first process was given.
pub struct First {
    pub specification: Specification,
    pub sources: Vec<Source>,
    pub filter: BpfProgram,
    pub privileged: bool,
    /// The helper's namespace of control groups, as its link in `/proc` reads.
    pub outside: PathBuf,
    /// True if a control group counts the processes.
    pub counted: bool,
    /// The program's standard input and output.
    pub input: OwnedFd,
    pub output: OwnedFd,
    /// A byte comes when the identity map is written; an end means that the helper is dead.
    pub go: PipeReader,
    /// A socket, written like a file: the filter of a program that is not found allows no socket call.
    pub report: File,
}

impl First {
    /// Never returns: the process ends with the program.
    pub fn run(self) -> ! {
        let mut report = match self.report.try_clone() {
            Ok(report) => report,
            Err(_) => system::exit(1),
        };
        let Err(refusal) = self.build();
        let _ = wire::send(&mut report, &Report::Refused(refusal));
        system::exit(1)
    }

    fn build(mut self) -> Result<Infallible, Refusal> {
        // The control socket: the program must not be able to speak for the helper.
        at(Step::Descriptors, dup2_stdin(stderr()))?;
        at(Step::ParentLost, self.go.read_exact(&mut [0]))?;
        // In its groups since before it was told to go, so that their paths begin with it.
        self.leave_control_groups()?;
        // Before the change of user, after which this process's files in /proc are root's.
        let time_namespace = at(Step::Time, start_clocks_anew())?;
        let groups_dropped = at(Step::User, self.take_user())?;
        self.die_with_helper()?;
        at(Step::User, setsid())?;
        at(Step::User, set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
        // Read through the host's /proc, this file is still that of the *current* user namespace. Where /proc/sys is
        // read-only the filter alone forbids nesting, and the evidence says so.
        let no_nested_namespaces = are_built(LayerName::NoNestedNamespaces)
            && fs::write("/proc/sys/user/max_user_namespaces", "0").is_ok();
        at(Step::HostName, sethostname(b"box"))?;
        at(Step::HostName, setdomainname(b"(none)"))?;
        umask(Mode::from_raw_mode(0o022));
        let sources = std::mem::take(&mut self.sources);
        let output = tree::enter(&self.specification, sources)?;
        let rules = Rules::new(&self.specification)?;
        let landlock = rules.whole;
        if are_built(LayerName::CapabilitiesDropped) {
            at(Step::Capabilities, drop_capabilities())?;
        }
        if are_built(LayerName::NoNewPrivileges) {
            at(Step::NoNewPrivileges, set_no_new_privs(true))?;
        }
        look_again()?;
        let observed = Observed { groups_dropped, no_nested_namespaces, time_namespace, landlock };
        let report = Report::Observed(observed);
        // The program's own processes never hold this descriptor.
        let told = match &output {
            Some(output) => wire::send_with(&self.report, &report, output.as_fd()),
            None => wire::send(&mut self.report, &report),
        };
        at(Step::ParentLost, told)?;
        drop(output);
        match at(Step::Fork, system::fork())? {
            Forked::Child => self.become_program(rules),
            Forked::Parent(program) => self.bury(program),
        }
    }

    /// Makes its own groups the top of what it sees of control groups.
    fn leave_control_groups(&self) -> Result<(), Refusal> {
        if !are_built(LayerName::CgroupNamespace) {
            return Ok(());
        }
        at(Step::Namespaces, system::unshare(libc::CLONE_NEWCGROUP))?;
        let own = at(Step::Namespaces, fs::read_link("/proc/self/ns/cgroup"))?;
        if own == self.outside { at(Step::NamespacesShared, Err(Errno::EXIST)) } else { Ok(()) }
    }

    /// Becomes the job's user. Under the one-entry map there is no root inside to become again.
    fn take_user(&self) -> Result<bool, Errno> {
        if self.privileged && are_built(LayerName::GroupsDropped) {
            set_thread_groups(&[])?;
        }
        let (user, group) = (Uid::from_raw(INSIDE), Gid::from_raw(INSIDE));
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
        Ok(getgroups()?.is_empty())
    }

    /// After the change of user, which clears this setting. If the helper died before it, the pipe has no writer.
    fn die_with_helper(&self) -> Result<(), Refusal> {
        at(Step::ParentLost, set_parent_process_death_signal(Some(Signal::KILL)))?;
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut go = [PollFd::new(&self.go, PollFlags::IN)];
        match at(Step::ParentLost, poll(&mut go, Some(&now)))? {
            0 => Ok(()),
            _ => at(Step::ParentLost, Err(Errno::PIPE)),
        }
    }

    fn bury(mut self, program: Pid) -> ! {
        // The program's ends of the pipes must be its own, or its reader would never see their end.
        drop((self.go, self.input, self.output));
        let mut peak_bytes = 0;
        loop {
            let reaped = system::reap();
            peak_bytes = reaped.as_ref().map_or(peak_bytes, |dead| dead.peak_bytes.max(peak_bytes));
            match reaped {
                Ok(dead) if dead.pid == program => {
                    let (outcome, code, killed) = judge(&dead, &self.specification);
                    let ended = Report::Ended { outcome, code, peak_bytes, killed };
                    let _ = wire::send(&mut self.report, &ended);
                    system::exit(0)
                }
                Err(error) if error.kind() != io::ErrorKind::Interrupted => system::exit(1),
                _ => {}
            }
        }
    }

    fn become_program(mut self, rules: Rules) -> Result<Infallible, Refusal> {
        at(Step::User, setsid())?;
        at(Step::WorkingDirectory, chdir(self.specification.working_directory.as_str()))?;
        system::reset_signals();
        at(Step::Descriptors, self.take_streams())?;
        let program = self.program();
        let opened = match self.specification.calls {
            Calls::Job => None,
            Calls::Reader => {
                match openat(CWD, &program.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(opened) => Some(at(Step::Limits, system::duplicate_to(opened, PROGRAM_DESCRIPTOR))?),
                    Err(_) => self.not_executable(),
                }
            }
        };
        at(Step::Descriptors, system::close_on_exec_from(3))?;
        if are_built(LayerName::ResourceLimits) {
            at(Step::Limits, set_limits(&self.specification.limits, self.counted))?;
        }
        // Only the program, so that the first process is outside of what it may signal.
        if are_built(LayerName::Landlock) {
            rules.keep_to()?;
        }
        if are_built(LayerName::Seccomp) {
            keep_to_calls(&self.filter)?;
        }
        let _ = program.execute(opened.as_ref());
        self.not_executable()
    }

    /// What a program writes to standard error is for nobody, unless the caller wants it with the output: it goes to the
    /// device inside, which was looked at.
    fn take_streams(&self) -> Result<(), Errno> {
        dup2_stdin(&self.input)?;
        dup2_stdout(&self.output)?;
        match self.specification.standard_error {
            StandardError::AsOutput => dup2_stderr(&self.output),
            StandardError::Nowhere => {
                let nothing = openat(CWD, "/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
                dup2_stderr(&nothing)
            }
        }
    }

    fn not_executable(&mut self) -> ! {
        let _ = wire::send(&mut self.report, &Report::NotExecutable);
        system::exit(127)
    }

    fn program(&self) -> Program {
        let specification = &self.specification;
        let path = find(&specification.program);
        // `Specification::check` refused zero bytes.
        let string = |text: &[u8]| CString::new(text).unwrap_or_default();
        let arguments = std::iter::once(&specification.program).chain(&specification.arguments);
        let variables = specification.environment.iter();
        Program {
            path: string(path.as_os_str().as_bytes()),
            arguments: arguments.map(|argument| string(argument.as_bytes())).collect(),
            environment: variables
                .map(|(name, value)| string(format!("{name}={value}").as_bytes()))
                .collect(),
        }
    }
}

/// From here on this process makes the calls of the list only.
fn keep_to_calls(filter: &BpfProgram) -> Result<(), Refusal> {
    seccompiler::apply_filter(filter).map_err(|error| {
        let errno = match error {
            seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error) => error.raw_os_error(),
            _ => None,
        };
        Refusal::Step { step: Step::Seccomp, errno: errno.unwrap_or(libc::EINVAL) }
    })
}

/// How the program ended, from its wait status and what it used; true if all that speaks for want of memory is that it was
/// killed.
fn judge(dead: &Reaped, specification: &Specification) -> (Outcome, Option<u8>, bool) {
    let limits = &specification.limits;
    let much = dead.peak_bytes >= limits.memory_bytes / 10 * 9;
    let status = dead.status;
    if libc::WIFEXITED(status) {
        let outcome = match libc::WEXITSTATUS(status) {
            0 => Outcome::Succeeded,
            _ if much => Outcome::MemoryLimit,
            _ if is_space_used_up(specification) => Outcome::SpaceLimit,
            _ => Outcome::Failed,
        };
        return (outcome, u8::try_from(libc::WEXITSTATUS(status)).ok(), false);
    }
    let outcome = match libc::WTERMSIG(status) {
        libc::SIGXCPU => Outcome::CpuLimit,
        libc::SIGKILL if dead.cpu_seconds >= limits.cpu_seconds => Outcome::CpuLimit,
        libc::SIGXFSZ => Outcome::FileLimit,
        libc::SIGKILL => Outcome::MemoryLimit,
        _ if much => Outcome::MemoryLimit,
        _ if is_space_used_up(specification) => Outcome::SpaceLimit,
        _ => Outcome::Failed,
    };
    let killed = outcome == Outcome::MemoryLimit && !much;
    (outcome, None, killed)
}

/// True if the output space, `/tmp` or `/dev/shm` has no byte or no name left.
fn is_space_used_up(specification: &Specification) -> bool {
    let temporary = if specification.limits.tmp_bytes > 0 { &["/tmp", "/dev/shm"][..] } else { &[] };
    let output = specification.output.iter().map(|output| output.target.as_str());
    output
        .chain(temporary.iter().copied())
        .any(|place| statvfs(place).is_ok_and(|space| space.f_bfree == 0 || space.f_ffree == 0))
}

/// Where a bare name lies inside.
fn find(program: &str) -> PathBuf {
    if program.starts_with('/') {
        return program.into();
    }
    let places = ["/usr/local/bin", "/usr/bin", "/bin"].map(|place| Path::new(place).join(program));
    let [_, usual, _] = &places;
    let usual = usual.clone();
    places.into_iter().find(|path| access(path, Allowed::EXEC_OK).is_ok()).unwrap_or(usual)
}

/// Asks the kernel for what was just set, so that the evidence rests on its word.
fn look_again() -> Result<(), Refusal> {
    let root = at(Step::ReadOnlyRoot, statvfs("/"))?;
    let held = at(Step::Capabilities, capabilities(None))?;
    use LayerName::{CapabilitiesDropped, NoNewPrivileges, ReadOnlyRoot};
    let facts = [
        (ReadOnlyRoot, Step::ReadOnlyRoot, root.f_flag.contains(StatVfsMountFlags::RDONLY)),
        (
            CapabilitiesDropped,
            Step::Capabilities,
            (held.effective | held.permitted | held.inheritable).is_empty(),
        ),
        (NoNewPrivileges, Step::NoNewPrivileges, at(Step::NoNewPrivileges, no_new_privs())?),
    ];
    match facts.into_iter().find(|(layer, _, holds)| !holds && are_built(*layer)) {
        Some((_, step, _)) => at(step, Err(Errno::NOTRECOVERABLE)),
        None => Ok(()),
    }
}

/// Makes a time namespace whose monotonic and boot clocks begin now, for the processes that this one forks. Since when
/// the host runs would tell one machine from another, and two jobs on it that they share it. False if it cannot be
/// had here. time_namespaces(7).
fn start_clocks_anew() -> io::Result<bool> {
    if !are_built(LayerName::TimeNamespace) {
        return Ok(false);
    }
    match system::unshare(libc::CLONE_NEWTIME) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(false),
        made => made?,
    }
    // A second before now: the raw clock has the monotonic one's offset, may lag behind it, and must not be negative.
    let since = |clock| 1 - clock_gettime(clock).tv_sec;
    let offsets =
        format!("monotonic {} 0\nboottime {} 0\n", since(ClockId::Monotonic), since(ClockId::Boottime));
    if fs::write("/proc/self/timens_offsets", offsets).is_err() {
        return Ok(false);
    }
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}"));
    Ok(own("time")? != own("time_for_children")?)
}

fn drop_capabilities() -> Result<(), Errno> {
    clear_ambient_capability_set()?;
    // Up to the first that this kernel does not know, so that a new one is not forgotten.
    for number in 0..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Err(Errno::INVAL) if number > 0 => break,
            removed => removed?,
        }
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

fn set_limits(limits: &Limits, counted: bool) -> Result<(), Errno> {
    const STACK: u64 = 8 << 20;
    // The first process counts as one. One more where a control group counts, so that it is the group that refuses, and
    // tells.
    let processes = limits.processes + 1 + u64::from(counted);
    let fixed = [
        (Resource::As, limits.memory_bytes, limits.memory_bytes),
        (Resource::Data, limits.memory_bytes, limits.memory_bytes),
        (Resource::Nproc, processes, processes),
        (Resource::Nofile, limits.open_files, limits.open_files),
        (Resource::Fsize, limits.file_bytes, limits.file_bytes),
        // A second later than the signal comes death, for a program that ignores the signal.
        (Resource::Cpu, limits.cpu_seconds, limits.cpu_seconds + 1),
        (Resource::Stack, STACK, 8 * STACK),
        // The host writes core files, outside the wall. Not 0: a host's crash handler (`|` in core_pattern) is run for 0
        // and not for 1, which the kernel reserves for "the crash handler crashed" (fs/coredump.c).
        (Resource::Core, 1, 1),
        (Resource::Memlock, 0, 0),
        (Resource::Msgqueue, 0, 0),
        (Resource::Sigpending, 1024, 1024),
        (Resource::Nice, 0, 0),
        (Resource::Rtprio, 0, 0),
    ];
    for (resource, soft, hard) in fixed {
        // The helper's own limit may be lower, and cannot be raised.
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        setrlimit(resource, Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) })?;
    }
    Ok(())
}
