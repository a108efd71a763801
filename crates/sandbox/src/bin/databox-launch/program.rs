//! The program itself: how it is started once the wall stands around this process, what its first process buries, and how
//! its end is judged. Behind every wall the same.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access as Allowed, CWD, Mode, OFlags, access, openat, statvfs};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, chdir, getrlimit, setrlimit};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use sandbox::{Calls, LayerName, Outcome, Refusal, Specification, StandardError, Step, wire};
use seccompiler::BpfProgram;
use serde::{Deserialize, Serialize};

use crate::landlock::Rules;
use crate::layers::are_built;
use crate::supervisor::at;
use crate::system::{self, Forked, Program, Reaped};

/// The descriptor through which the program of a reader or a machine is started, once. No later call can open this number again: it is
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
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Observed {
    pub groups_dropped: bool,
    pub no_nested_namespaces: bool,
    pub time_namespace: bool,
    pub landlock: bool,
    /// The kernel as the program sees it; empty in the native wall, where it is the host's.
    pub kernel: String,
}

/// A program that can be started.
pub struct Start {
    pub specification: Specification,
    pub filter: BpfProgram,
    /// True if a control group counts the processes.
    pub counted: bool,
    /// The program's standard input and output.
    pub input: OwnedFd,
    pub output: OwnedFd,
    /// A socket or pipe, written like a file: the filter of a program that is not found allows no socket call.
    pub report: File,
}

impl Start {
    /// Starts it, stays until it ends, and ends then.
    pub fn run(self, rules: Rules) -> Result<Infallible, Refusal> {
        match at(Step::Fork, system::fork())? {
            Forked::Child => self.become_program(rules),
            Forked::Parent(program) => self.bury(program),
        }
    }

    fn bury(mut self, program: Pid) -> ! {
        // The program's ends of the pipes must be its own, or its reader would never see their end.
        drop((self.input, self.output));
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
        at(Step::User, system::begin_session())?;
        at(Step::WorkingDirectory, chdir(self.specification.working_directory.as_str()))?;
        system::reset_signals();
        at(Step::Descriptors, self.take_streams())?;
        let program = self.program();
        let opened = match self.specification.calls {
            Calls::Job => None,
            Calls::Reader | Calls::Machine | Calls::EmulatedMachine => {
                match openat(CWD, &program.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(opened) => Some(at(Step::Limits, system::duplicate_to(opened, PROGRAM_DESCRIPTOR))?),
                    Err(_) => self.not_executable(),
                }
            }
        };
        at(Step::Descriptors, system::close_on_exec_from(3))?;
        if are_built(LayerName::ResourceLimits) {
            at(Step::Limits, set_limits(&self.specification, self.counted))?;
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
        // A kernel of a runtime's own counts no files, and says that there are none in all.
        .any(|place| {
            statvfs(place).is_ok_and(|space| {
                space.f_bfree == 0 && space.f_blocks > 0 || space.f_ffree == 0 && space.f_files > 0
            })
        })
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

fn set_limits(specification: &Specification, counted: bool) -> Result<(), Errno> {
    const STACK: u64 = 8 << 20;
    let limits = &specification.limits;
    // A library that drives a device reserves addresses for all of its memory at once. Data stays limited for each process,
    // and the group counts what all of them use: without one nothing with a device starts.
    let addresses = if specification.devices.is_empty() { limits.memory_bytes } else { u64::MAX };
    // The first process counts as one. One more where a control group counts, so that it is the group that refuses, and
    // tells.
    let processes = limits.processes + 1 + u64::from(counted);
    let fixed = [
        (Resource::As, addresses, addresses),
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
        let found = getrlimit(resource);
        let most = found.maximum.unwrap_or(u64::MAX);
        let wanted = Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) };
        // What a runtime has set its own kernel may refuse to set again.
        if found != wanted {
            setrlimit(resource, wanted)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hostile suite has a program write just this.
    #[test]
    fn the_end_that_a_program_would_forge_is_the_one_that_is_told() {
        let told = Report::Ended { outcome: Outcome::Succeeded, code: None, peak_bytes: 1, killed: false };
        let forged = r#"{"Ended":{"outcome":"succeeded","code":null,"peak_bytes":1,"killed":false}}"#;
        assert_eq!(serde_json::to_string(&told).expect("a report"), forged);
    }
}
