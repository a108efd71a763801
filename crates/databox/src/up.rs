//! `databox up`: the four rooms as children of this process, for one machine and one user.
//!
//! The walls between *rooms* are thinner here than under `deploy/`, where each has a user of its own; the wall around
//! *jobs* is the same.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Exit, Failure, file_failure};
use crate::home::{Home, ROOMS};
use crate::programs;

/// Running rooms. Dropping it stops them.
#[derive(Debug)]
pub struct Rooms {
    children: Vec<(&'static str, Child)>,
}

impl Rooms {
    /// Starts the four rooms of a home and waits until each says that it is ready.
    pub fn start(home: &Home) -> Result<Self, Failure> {
        if let Some(missing) = ROOMS.map(|room| home.configuration(room)).iter().find(|path| !path.is_file())
        {
            return Err(Failure::new("NO_HOME", format!("{} is not there", missing.display()))
                .hint("`databox init` makes a home; --dir names it")
                .exit(Exit::Usage));
        }
        let mut rooms = Self { children: Vec::new() };
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
        let mut command = Command::new(programs::find(room)?);
        command.arg("--config").arg(home.configuration(room)).env_clear();
        Ok(command)
    }

    fn start_one(&mut self, home: &Home, room: &'static str) -> Result<(), Failure> {
        let path = home.journal(room);
        let journal = File::create(&path).map_err(file_failure(&path))?;
        let mut command = Self::command(home, room)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(journal);
        let child = command.spawn().map_err(file_failure(&path))?;
        self.children.push((room, child));
        Ok(())
    }

    fn wait_until_ready(&mut self, home: &Home, room: &'static str) -> Result<(), Failure> {
        let path = home.journal(room);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let journal = std::fs::read_to_string(&path).map_err(file_failure(&path))?;
            if journal.contains(r#""event":"ready""#) {
                return Ok(());
            }
            let ended = self.child(room).and_then(|child| child.try_wait().ok().flatten()).is_some();
            if ended || Instant::now() > deadline {
                let last = journal.lines().last().unwrap_or("it said nothing").to_owned();
                return Err(Failure::new("ROOM_DID_NOT_START", format!("the {room} did not start: {last}"))
                    .hint(format!("its journal is {}", path.display()))
                    .exit(Exit::Unavailable));
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
