//! What a box needs of the machine. The demonstration looks at the same before it starts anything.

use std::path::Path;

use sandbox::{Evidence, State};

use super::Check;
use crate::failure::Failure;
use crate::programs;
use crate::walls::{By, WallBuilder, probe};

/// Every program of a box.
const PROGRAMS: [&str; 10] = [
    "databox",
    "gateway",
    "enclave",
    "console",
    "signer",
    "databox-check",
    "databox-launch",
    "databox-query",
    "databox-unbundle",
    "databox-verify",
];

pub(super) fn examine(by: &By<'_>) -> Vec<Check> {
    let told = |name, result: Result<(), Failure>, ok: &str| match result {
        Ok(()) => Check::ok(name, ok),
        Err(failure) => Check::failed(name, &failure),
    };
    let mut checks = vec![
        told("programs", all_programs(), "every program is beside this one"),
        told("python", python(), "/usr/bin/python3 runs"),
        told("loopback", loopback(), "ports of 127.0.0.1 can be listened on"),
        swap(&std::fs::read_to_string("/proc/swaps").unwrap_or_default()),
    ];
    match wall(by) {
        Err(failure) => checks.push(Check::failed("wall", &failure)),
        Ok(evidence) => {
            checks.push(Check::ok("wall", "a program behind it was tried and held"));
            checks.push(layers(&evidence));
        }
    }
    checks
}

/// What lies in memory is gone with a job, unless the kernel wrote it elsewhere.
fn swap(listed: &str) -> Check {
    let places: Vec<&str> =
        listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    if places.is_empty() {
        return Check::ok("swap", "there is none: what lies in memory stays there");
    }
    Check::warn(
        "swap",
        format!(
            "{}: what jobs hold in memory can be written there, and stays when they are gone",
            places.join(", ")
        ),
        "turn it off (`swapoff -a`), or encrypt it with a key that each boot makes anew (crypttab(5): `/dev/urandom swap`)",
    )
}

/// Which layers stand, and which this machine or user cannot have.
fn layers(evidence: &Evidence) -> Check {
    let named = |state: State| -> Vec<&str> {
        evidence.layers.iter().filter(|layer| layer.state == state).map(|layer| layer.name.as_str()).collect()
    };
    let (on, off, absent) = (named(State::On), named(State::Off), named(State::Absent));
    let absent =
        if absent.is_empty() { String::new() } else { format!("; not built: {}", absent.join(", ")) };
    if off.is_empty() {
        return Check::ok("wall-layers", format!("{} layers in force{absent}", on.len()));
    }
    Check::warn(
        "wall-layers",
        format!("{} layers in force, without {}{absent}", on.len(), off.join(", ")),
        "`own-host-user` and `groups-dropped` need the enclave to start as root; `landlock` needs Linux 6.12, \
         `time-namespace` CONFIG_TIME_NS, `no-nested-namespaces` a writable /proc/sys; `cgroup-` layers need a delegated \
         subtree of cgroup version 2 (`Delegate=memory pids cpu` in the unit; one that only the unit has is not seen from \
         here, and the verdicts tell), or root and version 1, which has no `cgroup-end-together`",
    )
}

/// Fails with the name of a program that is missing.
pub fn all_programs() -> Result<(), Failure> {
    PROGRAMS.iter().try_for_each(|program| programs::find(program).map(drop))
}

/// Fails if jobs would find no Python.
pub fn python() -> Result<(), Failure> {
    if !Path::new("/usr/bin/python3").exists() {
        return Err(Failure::new("NO_PYTHON", "this machine has no /usr/bin/python3, which jobs run in")
            .hint("apt-get install python3"));
    }
    let python = std::process::Command::new("/usr/bin/python3").args(["-I", "-S", "-c", ""]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        return Err(Failure::new("NO_PYTHON", "/usr/bin/python3 does not run for this user")
            .hint("see what `/usr/bin/python3 -c ''` says; apt-get install --reinstall python3-minimal"));
    }
    Ok(())
}

/// Really runs a small program behind the wall, as the enclave does when it starts.
pub fn wall(by: &By<'_>) -> Result<Evidence, Failure> {
    probe(&WallBuilder::Native, by)?.map_err(|error| Failure::new("NO_WALL", error.text).hint(error.remedy))
}

/// Fails if no port can be listened on.
pub fn loopback() -> Result<(), Failure> {
    std::net::TcpListener::bind("127.0.0.1:0").map(drop).map_err(|error| {
        Failure::new("NO_LOOPBACK", format!("no port of 127.0.0.1 can be listened on: {error}"))
            .hint("bring the loopback interface up: ip link set lo up")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    #[test]
    fn swap_is_warned_of_by_its_place_and_a_machine_without_is_well() {
        let header = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert_eq!(swap(header).grade, Grade::Ok);
        let found =
            swap(&format!("{header}/dev/dm-1                               partition\t1048572\t\t0\t\t-2\n"));
        assert_eq!(found.grade, Grade::Warn);
        assert!(found.found.starts_with("/dev/dm-1: "), "{}", found.found);
    }
}
