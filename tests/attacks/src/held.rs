//! What runs could leave behind on a machine.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::stage::JOB_USER;

/// What the machine holds that a run could leave behind.
#[derive(PartialEq, Eq, Debug)]
pub struct Held {
    /// Mounts that this process sees.
    pub mounts: usize,
    /// Control groups of programs whose launcher is gone.
    pub groups: usize,
    /// Namespaces of this process and its children.
    pub namespaces: usize,
    /// What this process has open.
    pub descriptors: usize,
    /// Directories of runs in machines, in the temporary directory.
    pub files: usize,
    /// Processes of the user that jobs of a stage have, where that is one of its own.
    pub processes: usize,
}

impl Held {
    /// Looks.
    pub fn now() -> Self {
        let entries = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
        let groups =
            Command::new("/usr/bin/find").args(["/sys/fs/cgroup", "-name", "databox-program-*"]).output();
        let groups = groups.map_or(0, |output| {
            // Other launchers on this machine have groups while they run.
            let own = |line: &str| {
                let helper = line.rsplit('-').next().unwrap_or_default();
                !Path::new("/proc").join(helper).exists()
            };
            String::from_utf8_lossy(&output.stdout).lines().filter(|line| own(line)).count()
        });
        let mut namespaces = BTreeSet::new();
        let mut processes = 0;
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let owner = process.metadata().map_or(0, |found| found.uid());
            processes += usize::from(owner == JOB_USER);
            // This process and what it started; others of the machine come and go.
            let parent = |path: &Path| {
                let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
                stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1).map(str::to_owned))
            };
            let own = std::process::id().to_string();
            let is_own = process.file_name().to_string_lossy() == own || parent(&process.path()) == Some(own);
            for link in
                fs::read_dir(process.path().join("ns")).into_iter().flatten().flatten().filter(|_| is_own)
            {
                namespaces.extend(fs::read_link(link.path()));
            }
        }
        let left = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains("databox-machine-");
        Self {
            mounts: fs::read_to_string("/proc/self/mountinfo").map_or(0, |text| text.lines().count()),
            groups,
            namespaces: namespaces.len(),
            descriptors: entries("/proc/self/fd"),
            processes,
            files: fs::read_dir(std::env::temp_dir()).map_or(0, |all| all.flatten().filter(left).count()),
        }
    }
}
