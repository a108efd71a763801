//! The first process where an OCI runtime builds the rest of the wall: it lays the bundle out, starts the runtime and
//! listens to what the launcher says that the runtime starts in the container (`enter`). Its end ends the runtime and the
//! container with it, however either is made: they live in its namespaces.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{PidfdFlags, Resource, Rlimit, pidfd_open, setrlimit};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::system::uname;
use sandbox::oci::OciRuntime;
use sandbox::{Refusal, Step, Wall, wire};

use crate::program::{Observed, Report, Start};
use crate::sources::Source;
use crate::supervisor::at;
use crate::system::{self, Forked, Program};
use crate::workshop;

/// Words of a runtime that did not start its container, for whoever looks after the machine.
const WORDS_BYTES: usize = 600;

/// Where it writes its log.
const RUNTIMES_LOG: &str = "/state/log";

/// A message of the launcher in the container is far shorter.
const MESSAGE_BYTES: usize = 1 << 16;

/// Builds it and stays until it is over.
pub fn build(
    start: Start,
    sources: Vec<Source>,
    runtime: &OciRuntime,
    observed: Observed,
) -> Result<Infallible, Refusal> {
    let space = workshop::enter(&start, sources, runtime)?;
    // A socket, not a pipe: gVisor shows the descriptors of its first process to the job, which is the same user to it. A
    // pipe there could be opened a second time, and the job would say itself how it ended.
    let (words, said) = at(Step::Descriptors, UnixStream::pair())?;
    let pid = match at(Step::Fork, system::fork())? {
        Forked::Child => return become_runtime(start, said, runtime),
        Forked::Parent(pid) => pid,
    };
    // The program's ends of the pipes must be its own, or its reader would never see their end.
    drop((said, start.input, start.output));
    at(Step::Descriptors, ioctl_fionbio(&words, true))?;
    let own_kernel = runtime.wall() == Wall::OciGvisor;
    let runtime = at(Step::Fork, pidfd_open(pid, PidfdFlags::empty()))?;
    let (report, unread, text) = (start.report, Vec::new(), Vec::new());
    Relay { words, runtime, report, space, observed: Some(observed), own_kernel, unread, text }.until_over()
}

/// What the runtime says goes where the launcher in the container reports, which keeps the two apart.
fn become_runtime(start: Start, said: UnixStream, runtime: &OciRuntime) -> Result<Infallible, Refusal> {
    at(Step::User, system::begin_session())?;
    system::reset_signals();
    at(Step::Descriptors, dup2_stdin(&start.input))?;
    at(Step::Descriptors, dup2_stdout(&start.output))?;
    at(Step::Descriptors, dup2_stderr(&said))?;
    at(Step::Descriptors, system::close_on_exec_from(3))?;
    at(Step::Limits, setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) }))?;
    let string = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
    let arguments = runtime.arguments();
    let arguments = arguments.iter().map(|argument| string(argument.as_bytes()));
    let program = Program {
        path: string(workshop::RUNTIME.as_bytes()),
        arguments: std::iter::once(string(workshop::RUNTIME.as_bytes())).chain(arguments).collect(),
        environment: vec![string(b"PATH=/usr/bin"), string(b"HOME=/state")],
    };
    at(Step::Runtime, Err(program.execute(None)))
}

/// Listens to the launcher in the container and hands on what it says.
struct Relay {
    words: UnixStream,
    /// The runtime's pidfd.
    runtime: OwnedFd,
    report: File,
    space: Option<OwnedFd>,
    /// What was seen from outside, until it was told.
    observed: Option<Observed>,
    own_kernel: bool,
    unread: Vec<u8>,
    text: Vec<u8>,
}

impl Relay {
    fn until_over(mut self) -> Result<Infallible, Refusal> {
        loop {
            let mut polled =
                [PollFd::new(&self.words, PollFlags::IN), PollFd::new(&self.runtime, PollFlags::IN)];
            match poll(&mut polled, None) {
                Err(Errno::INTR) => continue,
                ready => at(Step::Runtime, ready)?,
            };
            let over = !polled[1].revents().is_empty();
            let more = self.read()?;
            while let Some(report) = self.next() {
                self.hand_on(report)?;
            }
            if over || !more {
                return match self.observed {
                    // It was ended from outside: for want of memory, or of processes.
                    None => system::exit(0),
                    Some(_) => Err(Refusal::RuntimeFailed(self.words())),
                };
            }
        }
    }

    /// Takes what is there; false at the end.
    fn read(&mut self) -> Result<bool, Refusal> {
        let mut chunk = [0; 4096];
        loop {
            match self.words.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return at(Step::Runtime, Err(error)),
            }
            if self.unread.len() > MESSAGE_BYTES {
                return at(Step::Runtime, Err(Errno::MSGSIZE));
            }
        }
    }

    /// The next message. A length has two zero bytes, which no runtime's text has.
    fn next(&mut self) -> Option<Report> {
        while self.unread.len() >= 4 && self.unread[2..4] != [0, 0] {
            let byte = self.unread.remove(0);
            if self.text.len() < WORDS_BYTES {
                self.text.push(byte);
            }
        }
        let length = usize::from(u16::from_le_bytes([*self.unread.first()?, *self.unread.get(1)?]));
        if self.unread.len() < 4 + length {
            return None;
        }
        let message: Vec<u8> = self.unread.drain(..4 + length).collect();
        wire::receive(message.as_slice()).ok()
    }

    /// What the runtime said or, if it said nothing, what it wrote into its log last.
    fn words(&self) -> String {
        let logged =
            if self.text.is_empty() { fs::read(RUNTIMES_LOG).unwrap_or_default() } else { Vec::new() };
        let last = &logged[logged.len().saturating_sub(WORDS_BYTES)..];
        printable(&[&self.text, last].concat())
    }

    fn hand_on(&mut self, report: Report) -> Result<(), Refusal> {
        let report = match report {
            // Once the program may run, no text is taken any more: it could be the program's.
            Report::Refused(refusal)
                if self.observed.is_none() && !matches!(refusal, Refusal::Step { .. }) =>
            {
                return at(Step::Runtime, Err(Errno::PROTO));
            }
            report => report,
        };
        let Report::Observed(within) = report else {
            at(Step::ParentLost, wire::send(&mut self.report, &report))?;
            system::exit(0)
        };
        let Some(outside) = self.observed.take() else { return Ok(()) };
        if self.own_kernel && within.kernel == kernel() {
            return at(Step::OwnKernel, Err(Errno::EXIST));
        }
        let groups_dropped = outside.groups_dropped && within.groups_dropped;
        let seen = Observed { groups_dropped, landlock: within.landlock, kernel: within.kernel, ..outside };
        let report = Report::Observed(seen);
        let told = match self.space.take() {
            Some(space) => wire::send_with(&self.report, &report, space.as_fd()),
            None => wire::send(&mut self.report, &report),
        };
        at(Step::ParentLost, told)
    }
}

/// The kernel that answers here.
pub fn kernel() -> String {
    let name = uname();
    format!("{} {}", name.release().to_string_lossy(), name.version().to_string_lossy())
}

fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let one_line: Vec<&str> = text.split_whitespace().collect();
    one_line.join(" ").chars().filter(|letter| letter.is_ascii() && !letter.is_ascii_control()).collect()
}
