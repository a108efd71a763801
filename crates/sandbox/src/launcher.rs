//! The caller's side of a run: starts the helper, feeds and drains the program, and stays until its last process is
//! dead.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use serde::Serialize;

use crate::evidence::{Ended, Evidence, Outcome, Wall};
use crate::machine::Machine;
use crate::oci::OciRuntime;
use crate::specification::{Specification, SpecificationError};
use crate::wire::{self, Message, Receiver, Refusal};

/// How long after the wall-clock limit the helper may take to kill and report before it counts as stuck.
const HELPER_GRACE: Duration = Duration::from_secs(30);

/// How long the helper may take to finish a message that it began.
const MESSAGE_TIME: Duration = Duration::from_secs(10);

/// Starts programs behind the wall with one helper binary, which builds it natively, has an OCI runtime build it, or does so
/// in a micro-VM.
#[derive(Debug, Clone)]
pub struct Launcher {
    helper: PathBuf,
    behind: Behind,
}

/// Who builds the wall beside the helper.
#[derive(Debug, Clone)]
enum Behind {
    Nobody,
    Runtime(OciRuntime),
    Machine(Machine),
}

/// What the program reads as standard input.
#[derive(Debug)]
pub enum Stdin {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// A regular file, from where it stands. The program gets its bytes through a pipe and never the file itself,
    /// which it could otherwise open again for writing through `/proc/self/fd/0`.
    File(File),
}

/// Ends a run from another thread. Clones cancel the same runs.
#[derive(Debug, Clone)]
pub struct Cancel {
    raised: Arc<OwnedFd>,
}

/// Why a run did not take place, or cannot be vouched for. In no case is a process of it left.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LaunchError {
    #[error("the specification is refused")]
    Specification(#[source] SpecificationError),
    #[error("standard input is not a regular file")]
    InputNotFile,
    #[error("the helper {path:?} cannot be started")]
    HelperNotStarted { path: PathBuf, source: io::Error },
    #[error("this process has no resources left for a launch")]
    NoResources(#[source] io::Error),
    #[error("the helper refused to start the program")]
    Refused(#[source] Refusal),
    #[error("no device of the host is shown behind the wall {}", .0.as_str())]
    Devices(Wall),
    #[error("the program's machine did not come up: {0}")]
    Machine(String),
    #[error("the helper ended without an answer")]
    HelperDied,
    #[error("the helper did not end the program in time and was killed")]
    HelperStuck,
}

impl Cancel {
    /// A cancel that is not raised. It fails only if the process has no descriptor left.
    pub fn new() -> io::Result<Cancel> {
        let raised = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Cancel { raised: Arc::new(raised) })
    }

    /// Ends every run that was or will be started with this value.
    pub fn cancel(&self) {
        // The only failure is a counter at its maximum, and then it is raised already.
        let _ = rustix::io::write(&*self.raised, &1u64.to_ne_bytes());
    }
}

impl Launcher {
    /// Names the helper binary, `databox-launch`, by an absolute path. Nothing is started yet.
    pub fn new(helper: impl Into<PathBuf>) -> Launcher {
        Launcher { helper: helper.into(), behind: Behind::Nobody }
    }

    /// The same, with a wall that this runtime builds. Whoever calls it trusts the runtime.
    pub fn behind(helper: impl Into<PathBuf>, runtime: OciRuntime) -> Launcher {
        Launcher { helper: helper.into(), behind: Behind::Runtime(runtime) }
    }

    /// The same, in a machine of its own for each program. Such a program reads nothing as standard input, writes nothing of
    /// the host, and what it prints is told when it has ended.
    pub fn in_machine(helper: impl Into<PathBuf>, machine: Machine) -> Launcher {
        Launcher { helper: helper.into(), behind: Behind::Machine(machine) }
    }

    /// The same, with the images and disks of what a machine runs in this directory, as [`Machine::find`] says. Other walls
    /// have none.
    ///
    /// # Errors
    /// The directory is not there.
    pub fn with_disks_in(&self, directory: &Path) -> io::Result<Launcher> {
        let behind = match &self.behind {
            Behind::Machine(machine) => Behind::Machine(machine.with_disks_in(directory)?),
            other => other.clone(),
        };
        Ok(Launcher { helper: self.helper.clone(), behind })
    }

    /// The kind of wall that it builds.
    pub fn wall(&self) -> Wall {
        match &self.behind {
            Behind::Nobody => Wall::Native,
            Behind::Runtime(runtime) => runtime.wall(),
            Behind::Machine(machine) => machine.wall(),
        }
    }

    /// True if programs behind its wall can be given devices. A machine has none of the host's, and gVisor's kernel has a
    /// driver of its own for each that it knows.
    pub fn shows_devices(&self) -> bool {
        matches!(self.wall(), Wall::Native | Wall::Oci)
    }

    /// The helper binary.
    pub fn helper(&self) -> &Path {
        &self.helper
    }

    /// Runs one program and returns when its last process is dead, however it ended. It blocks the calling thread, and
    /// the program dies with that thread; async callers use a blocking thread.
    ///
    /// # Errors
    /// Only if the program did not start, or the helper broke. What the program itself brings about is an [`Outcome`].
    pub fn run(
        &self,
        specification: &Specification,
        stdin: Stdin,
        cancel: &Cancel,
    ) -> Result<Ended, LaunchError> {
        let mut stdout = Vec::new();
        let mut ended =
            self.run_told(specification, stdin, cancel, &mut |bytes| stdout.extend_from_slice(bytes))?;
        ended.stdout = stdout;
        Ok(ended)
    }

    /// The same, and hands on what the program writes to standard output while it runs, instead of keeping it:
    /// [`Ended::stdout`] stays empty.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_told(
        &self,
        specification: &Specification,
        stdin: Stdin,
        cancel: &Cancel,
        told: &mut dyn FnMut(&[u8]),
    ) -> Result<Ended, LaunchError> {
        let begun = Instant::now();
        let privileged = rustix::process::geteuid().is_root();
        specification.check(privileged).map_err(LaunchError::Specification)?;
        if !specification.devices.is_empty() && !self.shows_devices() {
            return Err(LaunchError::Devices(self.wall()));
        }
        let runtime = match &self.behind {
            Behind::Nobody => None,
            Behind::Runtime(runtime) => Some(runtime),
            Behind::Machine(_) if !matches!(stdin, Stdin::Empty) => {
                return Err(LaunchError::Machine("a machine has no standard input".into()));
            }
            Behind::Machine(machine) => return machine.run(&self.helper, specification, cancel, told),
        };
        let input = Input::open(stdin)?;
        let (output, output_end) = open_output(specification.limits.stdout_bytes)?;
        let (control, control_end) = UnixStream::pair().map_err(LaunchError::NoResources)?;
        control.set_read_timeout(Some(MESSAGE_TIME)).map_err(LaunchError::NoResources)?;
        // The helper finds the control socket at 0, the program's output at 1 and the program's input at 2.
        let helper = Command::new(&self.helper)
            .env_clear()
            .stdin(OwnedFd::from(control_end))
            .stdout(output_end)
            .stderr(input.program_end)
            .spawn()
            .map_err(|source| LaunchError::HelperNotStarted { path: self.helper.clone(), source })?;
        let mut watch = Watch {
            helper,
            control: Receiver::new(control),
            first_process: None,
            output_directory: None,
            output,
            told,
            stdout_left: specification.limits.stdout_bytes as usize,
            overflowed: false,
        };
        let deadline = begun + specification.limits.wall + HELPER_GRACE;
        let answer = thread::scope(|scope| {
            if let Some((mut source, mut pipe)) = input.feed {
                // It ends by itself once the program's end of the pipe is closed.
                let fed = thread::Builder::new()
                    .spawn_scoped(scope, move || drop(io::copy(&mut source, &mut pipe)));
                if let Err(error) = fed {
                    watch.abandon();
                    return Err(LaunchError::NoResources(error));
                }
            }
            watch.until_dead(&(specification, runtime), cancel, deadline)
        });
        let Answered { outcome, code, peak_bytes, evidence } = answer?;
        let outcome = if watch.overflowed { Outcome::OutputLimit } else { outcome };
        Ok(Ended {
            outcome,
            code,
            peak_bytes,
            stdout: Vec::new(),
            output: watch.output_directory,
            evidence,
            wall: begun.elapsed(),
        })
    }
}

/// Standard input: the descriptor for the program and, if there is something to say, who says it.
struct Input {
    program_end: Stdio,
    feed: Option<(Box<dyn Read + Send>, PipeWriter)>,
}

impl Input {
    fn open(stdin: Stdin) -> Result<Input, LaunchError> {
        let source: Box<dyn Read + Send> = match stdin {
            Stdin::Empty => {
                // `Stdio::null` would open it for writing here, where the child's standard error is meant to be.
                let nothing = File::open("/dev/null").map_err(LaunchError::NoResources)?;
                return Ok(Input { program_end: nothing.into(), feed: None });
            }
            Stdin::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
            Stdin::File(file) => {
                // Reading anything else could block for ever, and the run with it.
                let is_file = file.metadata().map_err(LaunchError::NoResources)?.is_file();
                if !is_file {
                    return Err(LaunchError::InputNotFile);
                }
                Box::new(file)
            }
        };
        let (reader, writer) = io::pipe().map_err(LaunchError::NoResources)?;
        Ok(Input { program_end: reader.into(), feed: Some((source, writer)) })
    }
}

fn open_output(limit: u64) -> Result<(Option<PipeReader>, Stdio), LaunchError> {
    if limit == 0 {
        return Ok((None, Stdio::null()));
    }
    let (reader, writer) = io::pipe().map_err(LaunchError::NoResources)?;
    Ok((Some(reader), writer.into()))
}

/// A running helper.
struct Watch<'a> {
    helper: Child,
    control: Receiver,
    /// Its pidfd, once it exists.
    first_process: Option<OwnedFd>,
    /// The output space, once its last writer is dead.
    output_directory: Option<OwnedFd>,
    output: Option<PipeReader>,
    told: &'a mut dyn FnMut(&[u8]),
    stdout_left: usize,
    overflowed: bool,
}

/// What the helper said of a program that is dead.
struct Answered {
    outcome: Outcome,
    code: Option<u8>,
    peak_bytes: Option<u64>,
    evidence: Evidence,
}

type Answer = Result<Answered, LaunchError>;

impl Watch<'_> {
    fn until_dead(&mut self, asked: &impl Serialize, cancel: &Cancel, deadline: Instant) -> Answer {
        let mut answer = match wire::send(&self.control.socket, asked) {
            Ok(()) => self.follow(cancel, deadline),
            Err(_) => Err(LaunchError::HelperDied),
        };
        if answer.is_err() {
            // Its death takes the program along: the program's first process asked the kernel for that.
            let _ = self.helper.kill();
        }
        let _ = self.helper.wait();
        if let Some(first_process) = &self.first_process {
            // A pid namespace's first process is reported dead only after all others of it.
            while poll(&mut [PollFd::new(first_process, PollFlags::IN)], None).is_err() {}
        }
        while self.output.is_some() {
            if let Err(error) = self.drain() {
                answer = Err(LaunchError::NoResources(error));
                break;
            }
        }
        answer
    }

    fn follow(&mut self, cancel: &Cancel, deadline: Instant) -> Answer {
        let mut stopping = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LaunchError::HelperStuck);
            }
            let ready = self.wait(cancel, stopping, left).map_err(LaunchError::NoResources)?;
            if ready.output {
                self.drain().map_err(LaunchError::NoResources)?;
            }
            if (ready.cancel || self.overflowed) && !stopping {
                stopping = true;
                let _ = self.control.socket.shutdown(Shutdown::Write);
            }
            if ready.control {
                match wire::receive(&mut self.control) {
                    Ok(Message::Started) => self.first_process = self.control.take_descriptor(),
                    Ok(Message::Ended { outcome, code, peak_bytes, evidence }) => {
                        self.output_directory = self.control.take_descriptor();
                        return Ok(Answered { outcome, code, peak_bytes, evidence });
                    }
                    Ok(Message::Refused(refusal)) => return Err(LaunchError::Refused(refusal)),
                    Err(_) => return Err(LaunchError::HelperDied),
                }
            }
        }
    }

    fn wait(&self, cancel: &Cancel, stopping: bool, left: Duration) -> io::Result<Ready> {
        let mut polled = vec![PollFd::new(&self.control.socket, PollFlags::IN)];
        // Once it was acted upon, a raised cancel would only make this loop spin.
        let awaited = if stopping { PollFlags::empty() } else { PollFlags::IN };
        polled.push(PollFd::from_borrowed_fd(cancel.raised.as_fd(), awaited));
        if let Some(output) = &self.output {
            polled.push(PollFd::new(output, PollFlags::IN));
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut polled, Some(&left)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |index: usize| polled.get(index).is_some_and(|polled| !polled.revents().is_empty());
        Ok(Ready { control: is_ready(0), cancel: is_ready(1), output: is_ready(2) })
    }

    /// Takes what the program wrote, up to the limit; past it, or at its end, the pipe is closed.
    fn drain(&mut self) -> io::Result<()> {
        let Some(output) = &mut self.output else { return Ok(()) };
        let mut chunk = [0; 16 << 10];
        let read = match output.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            read => read?,
        };
        let kept = read.min(self.stdout_left);
        self.stdout_left -= kept;
        (self.told)(&chunk[..kept]);
        self.overflowed |= read > kept;
        if read == 0 || self.overflowed {
            self.output = None;
        }
        Ok(())
    }

    fn abandon(&mut self) {
        let _ = self.helper.kill();
        let _ = self.helper.wait();
    }
}

#[derive(Default)]
struct Ready {
    control: bool,
    cancel: bool,
    output: bool,
}
