//! The program's first process, number 1 of its namespace: builds the wall from inside, starts the program, buries
//! whatever dies, and ends when the program does. Its end makes the kernel kill all that is left.

use std::convert::Infallible;
use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, mkdir, openat, readlinkat, rmdir, statvfs};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Gid, Signal, Uid, getgroups, set_dumpable_behavior, set_parent_process_death_signal,
    umask,
};
use rustix::stdio::{dup2_stdin, stderr};
use rustix::system::{setdomainname, sethostname};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, no_new_privs,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use rustix::time::{ClockId, clock_gettime};
use sandbox::oci::{OciRuntime, RuntimeName};
use sandbox::{LayerName, Refusal, Step, wire};

use crate::landlock::Rules;
use crate::layers::are_built;
use crate::program::{Observed, Report, Start};
use crate::sources::Source;
use crate::supervisor::{at, inside};
use crate::system;
use crate::{container, tree};

/// All that the first process was given.
pub struct First {
    /// What it starts.
    pub start: Start,
    pub sources: Vec<Source>,
    /// Who builds the rest of the wall, if not this process.
    pub runtime: Option<OciRuntime>,
    pub privileged: bool,
    pub gate: Gate,
}

/// Where this process waits for the helper.
pub struct Gate {
    /// A byte comes when the identity map is written, and another when this process is in its groups: 1 if one of them
    /// counts processes. An end means that the helper is dead.
    pub go: PipeReader,
    /// The helper's namespace of control groups, as its link in `/proc` reads.
    pub outside: PathBuf,
}

impl First {
    /// Never returns: the process ends with the program.
    pub fn run(self) -> ! {
        let mut report = match self.start.report.try_clone() {
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
        at(Step::ParentLost, self.gate.next())?;
        // Before the change of user, after which this process's files in /proc are root's.
        let time_namespace = at(Step::Time, start_clocks_anew())?;
        let groups_dropped = at(Step::User, self.take_user())?;
        at(Step::ParentLost, self.gate.die_with_helper())?;
        at(Step::User, system::begin_session())?;
        at(Step::User, set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
        let no_nested_namespaces = forbid_namespaces(self.runtime.as_ref());
        at(Step::HostName, sethostname(b"box"))?;
        at(Step::HostName, setdomainname(b"(none)"))?;
        umask(Mode::from_raw_mode(0o022));
        let observed =
            Observed { groups_dropped, no_nested_namespaces, time_namespace, ..Observed::default() };
        match self.runtime {
            Some(runtime) => {
                // Its processes, and the tree that it is shown, which begins with its groups.
                let namespaces = at(Step::Namespaces, own_namespaces())?;
                self.start.counted = self.gate.pass(&namespaces)?;
                // A directory of the host, which no program may find open (CVE-2024-21626).
                drop(namespaces);
                container::build(self.start, self.sources, &runtime, observed)
            }
            None => build_natively(self.start, self.sources, observed, self.gate),
        }
    }

    /// Becomes the job's user. Under the one-entry map there is no root inside to become again.
    fn take_user(&self) -> Result<bool, Errno> {
        if self.privileged && are_built(LayerName::GroupsDropped) {
            set_thread_groups(&[])?;
        }
        let inside = inside(self.runtime.is_some());
        let (user, group) = (Uid::from_raw(inside), Gid::from_raw(inside));
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
        Ok(getgroups()?.is_empty())
    }
}

impl Gate {
    fn next(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.go.read_exact(&mut byte).map(|()| byte[0])
    }

    /// After the change of user, which clears this setting. If the helper died before it, the pipe has no writer.
    fn die_with_helper(&self) -> Result<(), Errno> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        // What the helper says is left for later; of its end the kernel tells unasked.
        match poll(&mut [PollFd::new(&self.go, PollFlags::empty())], Some(&now))? {
            0 => Ok(()),
            _ => Err(Errno::PIPE),
        }
    }

    /// Waits until this process is in its groups, and makes them the top of what it sees of control groups: their paths
    /// begin where it stands when it leaves. Nothing else runs here before: what did would be in no group. True if one
    /// counts processes.
    fn pass(mut self, namespaces: &OwnedFd) -> Result<bool, Refusal> {
        let counted = at(Step::ParentLost, self.next())? == 1;
        if !are_built(LayerName::CgroupNamespace) {
            return Ok(counted);
        }
        at(Step::Namespaces, system::unshare(libc::CLONE_NEWCGROUP))?;
        let own = at(Step::Namespaces, readlinkat(namespaces, "cgroup", Vec::new()))?;
        if own.as_bytes() == self.outside.as_os_str().as_bytes() {
            return at(Step::NamespacesShared, Err(Errno::EXIST));
        }
        Ok(counted)
    }
}

/// The directory of this process's namespaces, opened while the host's `/proc` can be reached.
fn own_namespaces() -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/proc/self/ns", flags, Mode::empty())
}

/// The rest of the native wall. The helper makes what groups it still has to make while the tree is built.
fn build_natively(
    mut start: Start,
    sources: Vec<Source>,
    observed: Observed,
    gate: Gate,
) -> Result<Infallible, Refusal> {
    let namespaces = at(Step::Namespaces, own_namespaces())?;
    let output = tree::enter(&start.specification, sources)?;
    let rules = Rules::new(&start.specification)?;
    start.counted = gate.pass(&namespaces)?;
    // A directory of the host, which no program may find open.
    drop(namespaces);
    if are_built(LayerName::CapabilitiesDropped) {
        at(Step::Capabilities, drop_capabilities())?;
    }
    if are_built(LayerName::NoNewPrivileges) {
        at(Step::NoNewPrivileges, set_no_new_privs(true))?;
    }
    look_again()?;
    let report = Report::Observed(Observed { landlock: rules.whole, ..observed });
    // The program's own processes never hold this descriptor.
    let told = match &output {
        Some(output) => wire::send_with(&start.report, &report, output.as_fd()),
        None => wire::send(&mut start.report, &report),
    };
    at(Step::ParentLost, told)?;
    drop(output);
    start.run(rules)
}

/// Forbids namespaces of users but those that a runtime makes of its own; true if that leaves the program none. Read
/// through the host's /proc, this file is still that of the *current* user namespace. Where /proc/sys is read-only the
/// filter alone forbids nesting, and the evidence says so.
fn forbid_namespaces(runtime: Option<&OciRuntime>) -> bool {
    let allowed = match runtime.map(|runtime| runtime.name) {
        None => "0",
        Some(RuntimeName::Crun) => "1",
        // It makes as many as it likes, and its programs' calls never reach the kernel that would.
        Some(RuntimeName::Runsc) => return false,
    };
    are_built(LayerName::NoNestedNamespaces)
        && fs::write("/proc/sys/user/max_user_namespaces", allowed).is_ok()
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

/// Asks the kernel for what was just set, so that the evidence rests on its word.
pub fn look_again() -> Result<(), Refusal> {
    let read_only = at(Step::ReadOnlyRoot, root_is_read_only())?;
    let held = at(Step::Capabilities, capabilities(None))?;
    use LayerName::{CapabilitiesDropped, NoNewPrivileges, ReadOnlyRoot};
    let facts = [
        (ReadOnlyRoot, Step::ReadOnlyRoot, read_only),
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

/// A kernel of a runtime's own may not tell the flags of a mount: then by what it answers to a change.
fn root_is_read_only() -> Result<bool, Errno> {
    if statvfs("/")?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    let name = "/databox-was-here";
    match mkdir(name, Mode::empty()) {
        Err(error) => Ok(error == Errno::ROFS),
        Ok(()) => rmdir(name).map(|()| false),
    }
}
