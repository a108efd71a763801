//! `databox up`: the four rooms as children of this process.
//!
//! Each runs as the user whom its state belongs to, if root starts them: with `databox init --users` that is one of its
//! own. Else all are one user, and the walls between *rooms* are thinner than that; the wall around *jobs* is the same.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Exit, Failure, file_failure};
use crate::home::{Home, ROOMS};
use crate::{programs, users};

/// Running rooms. Dropping it stops them.
#[derive(Debug)]
pub struct Rooms {
    // Each room holds it too, so that it is free only once all of them have ended, however this process ends.
    lock: File,
    children: Vec<(&'static str, Child)>,
}

/// How long a room may take until it is ready. On a busy machine that is much longer than the tenth of a second that it
/// takes on an idle one.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

impl Rooms {
    /// Starts the four rooms of a home and waits until each says that it is ready.
    pub fn start(home: &Home) -> Result<Self, Failure> {
        if let Some(missing) = ROOMS.map(|room| home.configuration(room)).iter().find(|path| !path.is_file())
        {
            return Err(Failure::new("NO_HOME", format!("{} is not there", missing.display()))
                .hint("`databox init` makes a home; --dir names it")
                .exit(Exit::Usage));
        }
        let mut rooms = Self { lock: lock(home)?, children: Vec::new() };
        for room in ROOMS {
            rooms.start_one(home, room)?;
        }
        for room in ROOMS {
            rooms.wait_until_ready(home, room)?;
        }
        Ok(rooms)
    }

    /// The command line of a room, without its outlets. Tests start a room under a tracer with it.
    pub fn command(home: &Home, room: &str) -> Result<Command, Failure> {
        let mut command = users::command_as(home, room, programs::find(room)?)?;
        // However this process ends, the rooms end too, and in order.
        command.arg("--config").arg(home.configuration(room)).arg("--die-with-parent").env_clear();
        Ok(command)
    }

    fn start_one(&mut self, home: &Home, room: &'static str) -> Result<(), Failure> {
        let path = home.journal(room);
        // The journal of the run before says why it ended.
        let _ = std::fs::rename(&path, path.with_extension("log.before"));
        // For the operator alone: the seconds at which runs begin and end are kept from everybody by the time grid. The
        // room can add to it, and neither read nor shorten it.
        let journal = File::options().append(true).create_new(true).mode(0o600).open(&path);
        let journal = journal.map_err(file_failure(&path))?;
        let mut command = Self::command(home, room)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal);
        let held = self.lock.try_clone().map_err(file_failure(&path))?;
        rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty())
            .map_err(|error| file_failure(&path)(std::io::Error::from(error)))?;
        let child = command.spawn().map_err(file_failure(&path))?;
        drop(held);
        self.children.push((room, child));
        Ok(())
    }

    fn wait_until_ready(&mut self, home: &Home, room: &'static str) -> Result<(), Failure> {
        let path = home.journal(room);
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            let journal = std::fs::read_to_string(&path).map_err(file_failure(&path))?;
            if journal.contains(r#""event":"ready""#) {
                return Ok(());
            }
            let ended = self.child(room).and_then(|child| child.try_wait().ok().flatten()).is_some();
            if ended || Instant::now() > deadline {
                return Err(did_not_start(home, room, &journal));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn child(&mut self, room: &str) -> Option<&mut Child> {
        self.children.iter_mut().find(|(name, _)| *name == room).map(|(_, child)| child)
    }

    /// The process id of a room.
    pub fn process(&mut self, room: &str) -> Option<u32> {
        self.child(room).map(|child| child.id())
    }

    /// The name of a room that has ended, if one has.
    pub fn ended(&mut self) -> Option<&'static str> {
        let ended = |child: &mut Child| child.try_wait().ok().flatten().is_some();
        self.children.iter_mut().find_map(|(room, child)| ended(child).then_some(*room))
    }

    /// Kills one room at once, as a crash would.
    pub fn kill(&mut self, room: &str) {
        if let Some(child) = self.child(room) {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.children.retain(|(name, _)| *name != room);
    }

    /// Starts a room that was killed.
    pub fn restart(&mut self, home: &Home, room: &'static str) -> Result<(), Failure> {
        self.start_one(home, room)?;
        self.wait_until_ready(home, room)
    }
}

/// Two processes with one signer's or one enclave's state would each undo what the other has promised.
fn lock(home: &Home) -> Result<File, Failure> {
    let path = home.join("run/up.lock");
    File::options().create(true).truncate(false).write(true).open(&path).map_err(file_failure(&path))?;
    // The rooms have it too, and shall not write to it.
    let file = File::open(&path).map_err(file_failure(&path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => {
            Err(Failure::new("ALREADY_UP", format!("the box of {} already runs", home.directory().display()))
                .hint(format!(
                    "end it first: Ctrl-C where `databox up` runs; `fuser {}` names its processes",
                    path.display()
                ))
                .exit(Exit::Conflict))
        }
    }
}

/// What a room said when it could not start, in words, and what to do about it.
fn did_not_start(home: &Home, room: &str, journal: &str) -> Failure {
    // A room that was taken over could write to the operator's terminal.
    let said = last_words(journal).map(|said| crate::review::printable(&said));
    let said = said.unwrap_or_else(|| "it said nothing".to_owned());
    Failure::new("ROOM_DID_NOT_START", format!("the {room} did not start: {said}"))
        .hint(format!("{}; its journal is {}", remedy(home, room, &said), home.journal(room).display()))
        .exit(Exit::Unavailable)
}

/// The errors of a journal from the first of the last ones on: what happened, and because of what.
fn last_words(journal: &str) -> Option<String> {
    let lines: Vec<serde_json::Value> =
        journal.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let is_error = |line: &&serde_json::Value| line["level"] == "error";
    let mut errors: Vec<_> = lines.iter().rev().take_while(is_error).collect();
    errors.reverse();
    if errors.is_empty() {
        // A room that ended without a line of JSON printed words: its configuration was not accepted.
        let words = journal.lines().last().map(str::to_owned)?;
        return Some(match lines.last() {
            Some(line) => line["event"].as_str().unwrap_or_default().to_owned(),
            None => words,
        });
    }
    let words = errors.iter().map(|line| {
        let field = |name: &str| line[name].as_str().unwrap_or_default();
        let about = ["error", "refusal", "why"].map(field).into_iter().find(|text| !text.is_empty());
        match (field("event"), about) {
            ("because", Some(about)) => about.to_owned(),
            (event, Some(about)) => format!("{event}: {about}"),
            (event, None) => event.to_owned(),
        }
    });
    Some(words.collect::<Vec<_>>().join(": "))
}

fn remedy(home: &Home, room: &str, said: &str) -> String {
    let configuration = home.configuration(room).display().to_string();
    let knows = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match () {
        () if knows(&["listened on", "in use"]) => {
            format!("another program has that address (`ss -ltnp` names it): end it, or change `listen` in {configuration}")
        }
        () if knows(&["configuration"]) => format!("correct {configuration}; deploy/{room}.toml has every key"),
        () if knows(&["older", "rollback"]) => {
            "an old copy of the state was put back: bring back the newest one, or ask the people of the root role"
                .to_owned()
        }
        () => format!("{} tells what came before", home.journal(room).display()),
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        for (_, child) in self.children.iter().rev() {
            let process = rustix::process::Pid::from_raw(child.id() as i32);
            if let Some(process) = process {
                let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
            }
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        for (_, child) in &mut self.children {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
