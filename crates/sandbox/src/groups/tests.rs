use super::places::sweep;
use super::*;
use crate::specification::{Calls, Limits, OutputSpace, StandardError};

const HYBRID_MOUNTS: &str = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 30 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

fn specification() -> Specification {
    Specification {
        mounts: Vec::new(),
        output: Some(OutputSpace { target: "/out".into(), bytes: 1000, entries: 1 }),
        program: "/program".into(),
        arguments: Vec::new(),
        environment: Vec::new(),
        working_directory: "/".into(),
        limits: Limits {
            memory_bytes: 1 << 20,
            processes: 7,
            processors: 2,
            open_files: 8,
            file_bytes: 0,
            cpu_seconds: 5,
            wall: Duration::from_secs(20),
            tmp_bytes: 100,
            tmp_inodes: 8,
            stdout_bytes: 0,
        },
        calls: Calls::Job,
        standard_error: StandardError::Nowhere,
        host_uid: None,
        devices: Vec::new(),
    }
}

/// The groups of a helper of this number, with a first process.
fn made(places: &Places, number: u32) -> Group {
    let mut group = Group::new(places, number, &specification(), None);
    group.make_unified();
    group.make_others(43);
    group
}

#[test]
fn each_hierarchy_is_found_where_this_process_stands_in_it() {
    let own =
        "4:memory:/outer/box\n8:pids:/\n1:cpu,cpuacct:/box\n0::/system.slice/enclave.service/databox-room\n";
    let places = Places::parse(HYBRID_MOUNTS, own);
    let expected = [
        (Hierarchy::Unified, "/sys/fs/cgroup/unified/system.slice/enclave.service"),
        (Hierarchy::Memory, "/sys/fs/cgroup/memory/outer/box"),
        (Hierarchy::Processes, "/sys/fs/cgroup/pids"),
        (Hierarchy::Processor, "/sys/fs/cgroup/cpu/box"),
    ];
    assert_eq!(places.found, expected.map(|(hierarchy, path)| (hierarchy, PathBuf::from(path))));
    // A container that shows a part of the hierarchy, in and outside of which this process stands.
    let part = "36 1 0:31 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    let places = Places::parse(part, "0::/docker/abc/inner\n");
    assert_eq!(places.found, [(Hierarchy::Unified, PathBuf::from("/sys/fs/cgroup/inner"))]);
    assert!(Places::parse(part, "0::/elsewhere\n").found.is_empty());
    assert!(Places::parse("", "").found.is_empty());
}

/// A directory in the place of version 2, of which this machine need not have the controllers: what is written where.
#[test]
fn a_delegated_subtree_is_made_ready_and_limits_are_written_to_a_group_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    fs::write(base.join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
    fs::create_dir(base.join(ROOM)).unwrap();
    make_room_in(base, 42).unwrap();
    let read = |name: &str| fs::read_to_string(base.join(name)).unwrap();
    assert_eq!(read("databox-room/cgroup.procs"), "42");
    assert_eq!(read("cgroup.subtree_control"), "+memory +pids +cpu");

    let places = Places { found: vec![(Hierarchy::Unified, base.to_owned())] };
    let mut group = Group::new(&places, std::process::id(), &specification(), None);
    let own = format!("{PREFIX}{}", std::process::id());
    group.make_unified();
    group.make_others(43);
    let stood = group.stood();
    assert!(stood.memory && stood.end_together && stood.processes && stood.processor);
    assert_eq!(read(&format!("{own}/memory.max")), ((1 << 20) + 1000 + 200).to_string());
    assert_eq!(read(&format!("{own}/memory.oom.group")), "1");
    assert_eq!(read(&format!("{own}/memory.swap.max")), "0");
    assert_eq!(read(&format!("{own}/pids.max")), "8");
    assert_eq!(read(&format!("{own}/cpu.max")), "200000 100000");
    assert_eq!(read(&format!("{own}/cgroup.procs")), "43");
    assert_eq!(group.ran_into(), RanInto::default());
    fs::write(base.join(&own).join("memory.events"), "low 0\noom 1\noom_kill 1\noom_group_kill 1\n").unwrap();
    fs::write(base.join(&own).join("pids.events"), "max 3\n").unwrap();
    assert_eq!(group.ran_into(), RanInto { memory: true, processes: true });
    group.kill();
    assert_eq!(read(&format!("{own}/cgroup.kill")), "1");
    assert_eq!(read(&format!("{own}/cpu.weight")), "10000", "the dead end first");
}

#[test]
fn without_controllers_or_rights_no_limit_is_claimed() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("cgroup.controllers"), "hugetlb\n").unwrap();
    assert!(make_room_in(directory.path(), 42).is_err());
    let nowhere = Places { found: vec![(Hierarchy::Unified, "/proc/nowhere".into())] };
    assert_eq!(made(&nowhere, 1).stood(), Stood::default());
}

#[test]
fn only_groups_of_dead_helpers_are_swept_away() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let living = format!("{PREFIX}{}", std::process::id());
    let dead = format!("{PREFIX}4194305"); // above the kernel's highest process id
    for name in [&living, &dead, "other"] {
        fs::create_dir(at(name)).unwrap();
    }
    sweep(directory.path());
    assert!(at(&living).exists() && at("other").exists() && !at(&dead).exists());
}

/// A helper is killed, and a later one gets its process id.
#[test]
fn a_group_that_was_left_under_the_same_number_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let left = directory.path().join(format!("{PREFIX}7"));
    fs::create_dir(&left).unwrap();
    let places = Places { found: vec![(Hierarchy::Processes, directory.path().to_owned())] };
    assert!(made(&places, 7).stood().processes);
    assert_eq!(fs::read_to_string(left.join("pids.max")).unwrap(), "8");
}

/// Nobody is dead where nothing was killed: what lives on must not get more of the machine.
#[test]
fn the_share_of_a_group_that_could_not_be_killed_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let places = Places { found: vec![(Hierarchy::Processor, directory.path().to_owned())] };
    let group = made(&places, 7);
    group.kill();
    let own = directory.path().join(format!("{PREFIX}7"));
    assert_eq!(fs::read_to_string(own.join("cpu.cfs_quota_us")).unwrap(), "200000");
    assert!(!own.join("cpu.shares").exists());
}
