//! Control groups: limits for all processes of a program together, which limits of each process cannot give.
//!
//! Version 2 is used where this process has a subtree of it delegated, version 1 where it is root on a machine that
//! still has it, each controller by itself; where neither gives one, the limits of each process are all there is, and
//! the evidence says so. Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/`.

mod places;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::oci::{OciRuntime, RuntimeName};
use crate::specification::Specification;

pub use places::Places;

/// The subgroup into which a room puts itself, since in version 2 a group with limits for its children holds no process.
const ROOM: &str = "databox-room";

/// How the groups of programs are named, before the helper's process id.
const PREFIX: &str = "databox-program-";

/// Length of the period over which processor time is measured out, in microseconds; the kernel's own default.
const PERIOD: u64 = 100_000;

/// One hierarchy of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hierarchy {
    /// Version 2, with whatever controllers are enabled in it.
    Unified,
    /// Version 1 of one controller.
    Memory,
    Processes,
    Processor,
}

impl Hierarchy {
    /// What gives a group as much processor time as there is.
    fn most_processor_time(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Hierarchy::Unified => &[("cpu.max", "max"), ("cpu.weight", "10000")],
            Hierarchy::Processor => &[("cpu.cfs_quota_us", "-1"), ("cpu.shares", "262144")],
            Hierarchy::Memory | Hierarchy::Processes => &[],
        }
    }
}

/// Which limits of a group stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stood {
    /// Memory of all processes together, with directories in memory.
    pub memory: bool,
    /// When it is used up, all of it ends together (version 2).
    pub end_together: bool,
    /// Processes and threads.
    pub processes: bool,
    /// Processor time.
    pub processor: bool,
    /// The kernel kills all of it in one step (version 2).
    pub kill: bool,
}

/// What a program ran into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RanInto {
    /// The kernel killed for want of memory.
    pub memory: bool,
    /// A process or thread was refused.
    pub processes: bool,
}

/// Makes room for the groups of programs in a delegated subtree of version 2: moves this process into a subgroup and has
/// the subtree's controllers given on. Once, at the start of a room, before it has children. True if the limits of
/// version 2 can be had then; version 1 needs no preparation.
pub fn make_room_for_groups() -> bool {
    let places = Places::find();
    let unified = places.found.iter().find(|(hierarchy, _)| *hierarchy == Hierarchy::Unified);
    unified.is_some_and(|(_, base)| make_room_in(base, std::process::id()).is_ok())
}

fn make_room_in(base: &Path, own: u32) -> io::Result<()> {
    let controllers = fs::read_to_string(base.join("cgroup.controllers"))?;
    let wanted: Vec<String> = ["memory", "pids", "cpu"]
        .iter()
        .filter(|wanted| controllers.split_whitespace().any(|one| one == **wanted))
        .map(|wanted| format!("+{wanted}"))
        .collect();
    if wanted.is_empty() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let room = base.join(ROOM);
    match fs::create_dir(&room) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::write(room.join("cgroup.procs"), own.to_string())?;
    fs::write(base.join("cgroup.subtree_control"), wanted.join(" "))
}

/// The groups of one program.
#[derive(Debug)]
pub struct Group {
    /// Where each can be made.
    places: Vec<(Hierarchy, PathBuf)>,
    most: Most,
    /// Those that are made.
    directories: Vec<(Hierarchy, PathBuf)>,
    stood: Stood,
    /// True once the first process was made in the group of version 2.
    entered: bool,
}

impl Group {
    /// Nothing is made yet. `number` is the helper's process id, by which what a killed helper leaves behind is known. A
    /// runtime will be in them, too, and is given what it needs.
    pub fn new(
        places: &Places,
        number: u32,
        specification: &Specification,
        runtime: Option<&OciRuntime>,
    ) -> Group {
        let name = format!("{PREFIX}{number}");
        let places = places.found.iter().map(|(hierarchy, base)| (*hierarchy, base.join(&name)));
        Group {
            places: places.collect(),
            most: Most::of(specification, runtime),
            directories: Vec::new(),
            stood: Stood::default(),
            entered: false,
        }
    }

    /// Makes that of version 2, in which the first process is made. What cannot be had is left out.
    pub fn make_unified(&mut self) {
        self.make(|hierarchy| hierarchy == Hierarchy::Unified);
    }

    /// Makes the others, and puts this process in where it is not yet, before it starts another.
    pub fn make_others(&mut self, process: u32) {
        self.make(|hierarchy| hierarchy != Hierarchy::Unified);
        self.add(process);
    }

    fn make(&mut self, these: impl Fn(Hierarchy) -> bool) {
        let places: Vec<_> = self.places.iter().filter(|(one, _)| these(*one)).cloned().collect();
        for (hierarchy, directory) in places {
            if self.gives_more(hierarchy) && make_anew(&directory).is_ok() {
                self.limit(hierarchy, &directory);
                self.directories.push((hierarchy, directory));
            }
        }
    }

    /// A controller is in one version or the other; a group that would limit nothing is not made.
    fn gives_more(&self, hierarchy: Hierarchy) -> bool {
        match hierarchy {
            Hierarchy::Unified => true,
            Hierarchy::Memory => !self.stood.memory,
            Hierarchy::Processes => !self.stood.processes,
            Hierarchy::Processor => !self.stood.processor,
        }
    }

    fn limit(&mut self, hierarchy: Hierarchy, directory: &Path) {
        let most = self.most;
        let set = |file: &str, value: String| write(&directory.join(file), &value).is_ok();
        let (memory, processes) = (most.memory.to_string(), most.processes.to_string());
        let time = most.processors.saturating_mul(PERIOD);
        let stood = &mut self.stood;
        match hierarchy {
            Hierarchy::Unified => {
                stood.memory = set("memory.max", memory);
                stood.end_together = stood.memory && set("memory.oom.group", "1".to_owned());
                // Where there is no swap there is no such file.
                set("memory.swap.max", "0".to_owned());
                stood.processes = set("pids.max", processes);
                stood.processor = set("cpu.max", format!("{time} {PERIOD}"));
                stood.kill = directory.join("cgroup.kill").exists();
            }
            Hierarchy::Memory => {
                stood.memory = set("memory.limit_in_bytes", memory.clone());
                // Memory and swap together; only where the kernel counts swap.
                set("memory.memsw.limit_in_bytes", memory);
                // Swap would keep what was in memory beyond the job.
                set("memory.swappiness", "0".to_owned());
            }
            Hierarchy::Processes => stood.processes = set("pids.max", processes),
            Hierarchy::Processor => {
                stood.processor =
                    set("cpu.cfs_period_us", PERIOD.to_string()) && set("cpu.cfs_quota_us", time.to_string());
            }
        }
    }

    /// The group of version 2, opened, in which a process can be made.
    pub fn unified(&self) -> Option<File> {
        let (_, directory) =
            self.directories.iter().find(|(hierarchy, _)| *hierarchy == Hierarchy::Unified)?;
        File::open(directory).ok()
    }

    /// The first process was made in the group of version 2.
    pub fn holds_the_first_process(&mut self) {
        self.entered = true;
    }

    fn add(&mut self, process: u32) {
        for (hierarchy, directory) in &self.directories {
            if self.entered && *hierarchy == Hierarchy::Unified {
                continue;
            }
            if write(&directory.join("cgroup.procs"), &process.to_string()).is_err() {
                match hierarchy {
                    Hierarchy::Unified => self.stood = Stood::default(),
                    Hierarchy::Memory => self.stood.memory = false,
                    Hierarchy::Processes => self.stood.processes = false,
                    Hierarchy::Processor => self.stood.processor = false,
                }
            }
        }
    }

    /// Which limits stand.
    pub fn stood(&self) -> Stood {
        self.stood
    }

    /// Kills every process in it at once, where the kernel can, and lets the dead end first: processes need processor
    /// time to end, and on a busy machine would wait for it for as long as a job's share makes them.
    pub fn kill(&self) {
        let unified = self.directories.iter().find(|(hierarchy, _)| *hierarchy == Hierarchy::Unified);
        // Where it cannot be had, the end of the first process ends all others. Then the share stays as it is, since what
        // is not killed yet could use more of the machine with it.
        if unified.is_none_or(|(_, directory)| write(&directory.join("cgroup.kill"), "1").is_err()) {
            return;
        }
        for (hierarchy, directory) in &self.directories {
            for (file, value) in hierarchy.most_processor_time() {
                let _ = write(&directory.join(file), value);
            }
        }
    }

    /// What the program ran into. Read it when the last process is dead.
    pub fn ran_into(&self) -> RanInto {
        let mut ran_into = RanInto::default();
        for (hierarchy, directory) in &self.directories {
            let counted = |file: &str, name: &str| {
                let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
                let number = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                number.is_some_and(|number| number.trim() != "0")
            };
            match hierarchy {
                Hierarchy::Unified => {
                    ran_into.memory |= counted("memory.events", "oom_kill");
                    ran_into.processes |= counted("pids.events", "max");
                }
                Hierarchy::Memory => ran_into.memory |= counted("memory.oom_control", "oom_kill"),
                Hierarchy::Processes => ran_into.processes |= counted("pids.events", "max"),
                Hierarchy::Processor => {}
            }
        }
        ran_into
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for (_, directory) in &self.directories {
            remove(directory);
        }
    }
}

/// What all processes of a program may hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Most {
    /// Bytes: what its processes may, and what its directories in memory may, which the kernel counts together.
    memory: u64,
    /// Processes and threads. The first process is one more.
    processes: u64,
    processors: u64,
}

impl Most {
    fn of(specification: &Specification, runtime: Option<&OciRuntime>) -> Most {
        let limits = &specification.limits;
        let output = specification.output.as_ref().map_or(0, |output| output.bytes);
        let memory =
            limits.memory_bytes.saturating_add(output).saturating_add(limits.tmp_bytes.saturating_mul(2));
        // What a runtime itself holds while the program runs.
        let (bytes, processes) = match runtime.map(|runtime| runtime.name) {
            None => (0, 1),
            // The launcher in the container, and crun, which waits.
            Some(RuntimeName::Crun) => (16 << 20, 3),
            // Two programs with threads as they like, and one that stands for each of the program's.
            Some(RuntimeName::Runsc) => (256 << 20, limits.processes.saturating_add(256)),
        };
        Most {
            memory: memory.saturating_add(bytes),
            processes: limits.processes.saturating_add(processes),
            processors: limits.processors,
        }
    }
}

/// One with the name may be left of a killed helper that had the same process id.
fn make_anew(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_dir(directory)?;
            fs::create_dir(directory)
        }
        made => made,
    }
}

/// Writes to a file of the kernel's, which has no length to be cut to: asking for that costs it a node.
fn write(file: &Path, value: &str) -> io::Result<()> {
    File::options().write(true).create(true).truncate(false).open(file)?.write_all(value.as_bytes())
}

/// A group is empty a moment after its last process was waited for.
fn remove(directory: &Path) {
    for _ in 0..100 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests;
