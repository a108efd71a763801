//! What stays outside: it starts the first process of new namespaces, waits for it, and tells how it ended.
//!
//! It is started by [`sandbox::Launcher`] with an empty environment and three descriptors: the control socket at 0, the
//! program's standard output at 1 and its standard input at 2. It has one thread, takes each step in a straight line,
//! and stops at the first that fails. It prints nothing.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, dup};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitId, WaitIdOptions, chdir, getegid, geteuid, pidfd_send_signal,
    set_dumpable_behavior, set_parent_process_death_signal, waitid,
};
use rustix::stdio::{dup2_stderr, dup2_stdout, stderr, stdin, stdout};
use sandbox::groups::{Group, Stood};
use sandbox::oci::OciRuntime;
use sandbox::wire::{self, Message, Receiver};
use sandbox::{Builder, Evidence, Layer, LayerName, Outcome, Refusal, Specification, State, Step, Wall};

use crate::first::{First, Gate};
use crate::layers::{are_built, places};
use crate::program::{Observed, Report, Start};
use crate::system::Forked;
use crate::{calls, sources, system};

/// The user and group id inside. Not 0: much code treats 0 as being allowed everything.
const INSIDE: u32 = 1000;

/// The one user and group id in the namespace that is made here: the program's, or that of the OCI runtime, which is root
/// there and nowhere else, and maps it to the program's in a namespace of its own.
pub fn inside(behind_runtime: bool) -> u32 {
    if behind_runtime { 0 } else { INSIDE }
}

/// The namespaces that the job's first process begins in, by their names in `/proc/self/ns`, and their flags of clone(2).
/// Those of control groups and of time it makes itself.
const NAMESPACES: [(&str, LayerName, i32); 6] = [
    ("user", LayerName::UserNamespace, libc::CLONE_NEWUSER),
    ("mnt", LayerName::MountNamespace, libc::CLONE_NEWNS),
    ("pid", LayerName::PidNamespace, libc::CLONE_NEWPID),
    ("net", LayerName::NetworkNamespace, libc::CLONE_NEWNET),
    ("ipc", LayerName::IpcNamespace, libc::CLONE_NEWIPC),
    ("uts", LayerName::UtsNamespace, libc::CLONE_NEWUTS),
];

/// Does it all.
pub fn run() {
    // Whatever the caller's process had open must not reach a process of the job.
    if system::close_from(3).is_err() {
        return;
    }
    let (message, output) = launch().unwrap_or_else(|refusal| (Message::Refused(refusal), None));
    if let Ok(control) = control() {
        let _ = match output {
            Some(output) => wire::send_with(&control, &message, output.as_fd()),
            None => wire::send(control, &message),
        };
    }
}

/// The control socket stays at 0 and nowhere else, so that the first process drops it with one step.
fn control() -> io::Result<UnixStream> {
    Ok(UnixStream::from(dup(stdin())?))
}

/// Names the step that failed.
pub fn at<T, E: Into<io::Error>>(step: Step, result: Result<T, E>) -> Result<T, Refusal> {
    result.map_err(|error| Refusal::Step { step, errno: error.into().raw_os_error().unwrap_or_default() })
}

/// Returns what is to be said, and the output space that goes with it.
fn launch() -> Result<(Message, Option<OwnedFd>), Refusal> {
    at(Step::ParentLost, set_parent_process_death_signal(Some(Signal::KILL)))?;
    // Not asked of the caller's spawn: not every C library can do it without copying the caller's page tables.
    at(Step::WorkingDirectory, chdir("/"))?;
    let (specification, runtime): (Specification, Option<OciRuntime>) =
        control().and_then(wire::receive).map_err(|_| Refusal::SpecificationUnreadable)?;
    let privileged = geteuid().is_root();
    specification.check(privileged).map_err(Refusal::Specification)?;
    let time = specification.limits.wall;
    let host_uid = specification.host_uid.filter(|_| are_built(LayerName::OwnHostUser));
    let user = host_uid.unwrap_or(geteuid().as_raw());
    let group = host_uid.unwrap_or(getegid().as_raw());

    let input = at(Step::Descriptors, dup(stderr()))?;
    let output = at(Step::Descriptors, dup(stdout()))?;
    at(Step::Descriptors, let_go_of_streams())?;
    let filter = calls::filter(&specification);
    let sources = sources::open_all(&specification, runtime.as_ref(), privileged)?;
    let outside = at(Step::Namespaces, namespaces("self"))?;
    let groups_outside = at(Step::Namespaces, fs::read_link("/proc/self/ns/cgroup"))?;
    let places = places();
    let mut counted = Group::new(&places, std::process::id(), &specification, runtime.as_ref());
    counted.make_unified();
    let (go, mut say_go) = at(Step::Descriptors, io::pipe())?;
    let (reports, report) = at(Step::Descriptors, UnixStream::pair())?;
    let report = fs::File::from(OwnedFd::from(report));

    let (pid, first) = match at(Step::Namespaces, clone_first(&mut counted))? {
        Forked::Child => {
            // With this end open in the child, the child would not see the helper's death.
            drop((say_go, reports));
            // Whether they are counted is told later.
            let start = Start { specification, filter, counted: false, input, output, report };
            let gate = Gate { go, outside: groups_outside };
            First { start, sources, runtime, privileged, gate }.run()
        }
        Forked::Parent(parent) => parent,
    };
    // What is held open here the program's readers would wait for in vain.
    drop((go, report, sources, input, output));
    let number = pid.as_raw_nonzero().get().unsigned_abs();
    let stopped = at(Step::Descriptors, announce(&first))
        .and_then(|()| {
            at(Step::UserMap, map_identity(pid, &[inside(runtime.is_some()), user, group], privileged))
        })
        .and_then(|()| apart_from(&outside, pid))
        .and_then(|()| at(Step::UserMap, set_dumpable_behavior(DumpableBehavior::NotDumpable)))
        .and_then(|()| at(Step::ParentLost, say_go.write_all(&[1])))
        // While the first process builds. Until the second word it starts nothing.
        .and_then(|()| {
            counted.make_others(number);
            // Its processes' addresses are not limited, so what they share in memory nothing else would count.
            if !specification.devices.is_empty() && !counted.stood().memory {
                return Err(Refusal::DevicesNotCounted);
            }
            // If it is dead it said why, which is heard below.
            let _ = say_go.write_all(&[counted.stood().processes.into()]);
            places.sweep();
            Ok(())
        })
        .and_then(|()| at(Step::ParentLost, wait(&first, time)));
    // The first process is reported dead only after all others of its namespace.
    if !matches!(stopped, Ok(Stopped::ByItself)) {
        counted.kill();
        end(&first);
    }
    bury(&first);
    let mut reports = Receiver::new(reports);
    let message = conclude(&mut reports, stopped?, privileged, &counted, runtime.as_ref())?;
    Ok((message, reports.take_descriptor()))
}

/// Takes the program's streams out of the helper's own.
pub fn let_go_of_streams() -> Result<(), Errno> {
    let nothing = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)
}

/// Gives the caller the first process's pidfd: should this helper be killed, the caller still learns when the last
/// process is dead.
fn announce(first: &OwnedFd) -> io::Result<()> {
    wire::send_with(stdin(), &Message::Started, first.as_fd())
}

/// Maps one id inside to one id of the host, and nothing else: every other id is nobody's inside.
fn map_identity(pid: Pid, &[inside, user, group]: &[u32; 3], privileged: bool) -> io::Result<()> {
    let file = |name: &str| format!("/proc/{}/{name}", pid.as_raw_nonzero());
    if !privileged {
        // The kernel's condition for a normal user: dropping a group could lift a ban that hangs on it.
        fs::write(file("setgroups"), "deny")?;
    }
    fs::write(file("uid_map"), format!("{inside} {user} 1"))?;
    fs::write(file("gid_map"), format!("{inside} {group} 1"))
}

/// Makes the first process, in its group of version 2 if there is one.
fn clone_first(counted: &mut Group) -> io::Result<Forked<(Pid, OwnedFd)>> {
    if let Some(group) = counted.unified() {
        // Whatever stands against it stands against the group, not against the launch: it is told in the evidence.
        if let Ok(forked) = system::clone_into_namespaces(namespace_flags(), Some(&group)) {
            counted.holds_the_first_process();
            return Ok(forked);
        }
    }
    system::clone_into_namespaces(namespace_flags(), None)
}

fn namespace_flags() -> i32 {
    let built = NAMESPACES.iter().filter(|(_, layer, _)| are_built(*layer));
    built.fold(0, |flags, (_, _, flag)| flags | flag)
}

fn namespaces(process: &str) -> io::Result<Vec<PathBuf>> {
    NAMESPACES.iter().map(|(name, ..)| fs::read_link(format!("/proc/{process}/ns/{name}"))).collect()
}

/// The kernel's own word that no namespace is shared with the host.
fn apart_from(outside: &[PathBuf], pid: Pid) -> Result<(), Refusal> {
    let inside = at(Step::Namespaces, namespaces(&pid.as_raw_nonzero().to_string()))?;
    let of_the_wall = NAMESPACES.iter().map(|(_, layer, _)| are_built(*layer));
    let shared =
        inside.iter().zip(outside).zip(of_the_wall).any(|((inside, outside), own)| own && inside == outside);
    if shared { Err(Refusal::Step { step: Step::NamespacesShared, errno: libc::EEXIST }) } else { Ok(()) }
}

/// Why the helper stopped waiting.
enum Stopped {
    ByItself,
    TimePassed,
    ByCaller,
}

/// Waits for the program's end, the limit, or the caller: whatever comes from the control socket now, and above all its
/// end, means stop. So the job dies with the caller, too.
fn wait(first: &OwnedFd, time: Duration) -> Result<Stopped, Errno> {
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Stopped::TimePassed);
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let control = stdin();
        let mut polled = [PollFd::new(first, PollFlags::IN), PollFd::new(&control, PollFlags::IN)];
        match poll(&mut polled, Some(&left)) {
            Err(Errno::INTR) => continue,
            ready => ready?,
        };
        if !polled[0].revents().is_empty() {
            return Ok(Stopped::ByItself);
        }
        if !polled[1].revents().is_empty() {
            return Ok(Stopped::ByCaller);
        }
    }
}

/// Kills the first process, and with it its namespace.
fn end(first: &OwnedFd) {
    // It fails only for a process that is dead already.
    let _ = pidfd_send_signal(first, Signal::KILL);
}

/// Waits until the first process, and so all of its namespace, is dead.
fn bury(first: &OwnedFd) {
    while let Err(Errno::INTR) = waitid(WaitId::PidFd(first.as_fd()), WaitIdOptions::EXITED) {}
}

/// Reads what the dead left in the socket, and judges.
fn conclude(
    reports: &mut Receiver,
    stopped: Stopped,
    privileged: bool,
    group: &Group,
    runtime: Option<&OciRuntime>,
) -> Result<Message, Refusal> {
    let mut observed = None;
    let mut ended = None;
    while let Ok(report) = wire::receive(&mut *reports) {
        match report {
            Report::Observed(seen) => observed = Some(seen),
            Report::Refused(refusal) => return Err(refusal),
            Report::NotExecutable => ended = Some((Outcome::NotExecutable, None, None)),
            Report::Ended { outcome, code, peak_bytes, killed } => {
                let outcome = as_counted(outcome, killed, group);
                ended = ended.or(Some((outcome, code, Some(peak_bytes))));
            }
        }
    }
    let (outcome, code, peak_bytes) = match (ended, stopped) {
        (Some(ended), _) => ended,
        (None, Stopped::TimePassed) => (Outcome::TimeLimit, None, None),
        (None, Stopped::ByCaller) => (Outcome::Cancelled, None, None),
        // Nothing inside can kill the first process; the kernel does, when the machine is out of memory. A runtime's own
        // kernel ends when it is refused what it needs.
        (None, Stopped::ByItself) if observed.is_some() => {
            let ran_into = group.ran_into();
            let refused = runtime.is_some() && ran_into.processes && !ran_into.memory;
            (if refused { Outcome::ProcessLimit } else { Outcome::MemoryLimit }, None, None)
        }
        (None, Stopped::ByItself) => at(Step::FirstProcessLost, Err(Errno::CHILD))?,
    };
    let wall = runtime.map_or(Wall::Native, OciRuntime::wall);
    let layers = layers(wall, observed.as_ref(), privileged, group.stood());
    let builder = runtime.map(|runtime| (Builder::Oci(runtime.name), runtime.version.clone()));
    let evidence = Evidence { wall, builder, privileged, layers };
    Ok(Message::Ended { outcome, code, peak_bytes, evidence })
}

/// The outcome, with what the kernel counted: it knows whether it killed for want of memory, and whether it refused a
/// process.
fn as_counted(outcome: Outcome, killed: bool, group: &Group) -> Outcome {
    if outcome == Outcome::Succeeded {
        return outcome;
    }
    let ran_into = group.ran_into();
    match outcome {
        Outcome::Failed | Outcome::MemoryLimit if ran_into.memory => Outcome::MemoryLimit,
        Outcome::Failed if ran_into.processes => Outcome::ProcessLimit,
        // It killed itself.
        Outcome::MemoryLimit if killed && group.stood().memory => Outcome::Failed,
        outcome => outcome,
    }
}

/// What stood. A run that was stopped before its wall stood has nothing to vouch for, and no program ran in it.
fn layers(wall: Wall, observed: Option<&Observed>, privileged: bool, stood: Stood) -> Vec<Layer> {
    let when = |stood: bool| if stood { State::On } else { State::Off };
    let state = |name: LayerName| {
        let Some(observed) = observed else { return State::Off };
        match name {
            // `apart_from` compared these.
            LayerName::UserNamespace
            | LayerName::MountNamespace
            | LayerName::PidNamespace
            | LayerName::NetworkNamespace
            | LayerName::IpcNamespace
            | LayerName::UtsNamespace => State::On,
            // The first process did not start the program before it had left its old one.
            LayerName::CgroupNamespace => State::On,
            // The first process looked at its own root and found the expected names only.
            LayerName::EmptyRoot => State::On,
            LayerName::OwnHostUser => when(privileged),
            LayerName::GroupsDropped => when(observed.groups_dropped),
            LayerName::NoNestedNamespaces => when(observed.no_nested_namespaces),
            // Asked of the kernel once more after they were set.
            LayerName::ReadOnlyRoot | LayerName::CapabilitiesDropped | LayerName::NoNewPrivileges => {
                State::On
            }
            // Without these the program is not executed. A kernel of its own takes the limits and does not count against
            // them whatever the job does.
            LayerName::Seccomp => State::On,
            LayerName::ResourceLimits => when(wall != Wall::OciGvisor),
            LayerName::Landlock => when(observed.landlock),
            LayerName::TimeNamespace => when(observed.time_namespace),
            LayerName::CgroupMemory => when(stood.memory),
            LayerName::CgroupEndTogether => when(stood.end_together),
            LayerName::CgroupProcesses => when(stood.processes),
            LayerName::CgroupProcessor => when(stood.processor),
            LayerName::CgroupKill => when(stood.kill),
        }
    };
    LayerName::ALL.iter().map(|&name| Layer { name, state: state(name) }).collect()
}
