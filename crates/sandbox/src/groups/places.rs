//! Where control groups can be made on this machine, and what killed helpers left there.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Hierarchy, PREFIX, ROOM};

/// Where groups can be made: the directory of this process's own group in each hierarchy.
#[derive(Debug, Default)]
pub struct Places {
    pub(super) found: Vec<(Hierarchy, PathBuf)>,
}

impl Places {
    /// Looks at what this machine has, and where in it this process stands.
    pub fn find() -> Places {
        // With room for it: without, the kernel writes its list of mounts anew for every few bytes that are read.
        let read = |name: &str| {
            let mut text = String::with_capacity(1 << 14);
            let read = File::open(name).and_then(|mut file| file.read_to_string(&mut text));
            if read.is_ok() { text } else { String::new() }
        };
        Places::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    pub(super) fn parse(mounts: &str, own: &str) -> Places {
        let mut found = Vec::new();
        for line in mounts.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
            let (Some(root), Some(point), Some(kind)) = (before.next(), before.next(), after.next()) else {
                continue;
            };
            let options = after.nth(1).unwrap_or_default();
            let (hierarchy, controller) = match kind {
                "cgroup2" => (Hierarchy::Unified, ""),
                "cgroup" if has(options, "memory") => (Hierarchy::Memory, "memory"),
                "cgroup" if has(options, "pids") => (Hierarchy::Processes, "pids"),
                "cgroup" if has(options, "cpu") => (Hierarchy::Processor, "cpu"),
                _ => continue,
            };
            let Some(path) = own_path(own, controller) else { continue };
            // A container may show a part of a hierarchy only, at whose top its own group is.
            let Ok(below) = Path::new(path).strip_prefix(root) else { continue };
            let directory = Path::new(point).join(below);
            let directory = match directory.file_name() {
                Some(name) if name == ROOM => directory.parent().unwrap_or(&directory).to_owned(),
                _ => directory,
            };
            if !found.iter().any(|(known, _)| *known == hierarchy) {
                found.push((hierarchy, directory));
            }
        }
        found.sort();
        Places { found }
    }

    /// Removes what helpers left behind that were killed. A group that has a process cannot be removed.
    pub fn sweep(&self) {
        self.found.iter().for_each(|(_, base)| sweep(base));
    }
}

fn has(options: &str, controller: &str) -> bool {
    options.split(',').any(|option| option == controller)
}

/// The path of this process's group in one hierarchy; `""` is version 2.
fn own_path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let is_it = match controller {
            "" => controllers.is_empty(),
            _ => has(controllers, controller),
        };
        is_it.then_some(path)
    })
}

pub(super) fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if number.is_some_and(|number| !Path::new("/proc").join(number).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}
