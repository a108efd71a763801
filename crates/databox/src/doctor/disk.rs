//! Room on the disks and in memory. The enclave refuses work by the name DISK before it would fail in the middle.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::statvfs;

use super::Check;
use super::configurations::Configurations;

const GIB: u64 = 1 << 30;

pub fn examine(configurations: &Configurations) -> Vec<Check> {
    let run = configurations.slots * configurations.run_disk_bytes + configurations.disk_reserve_bytes;
    let needs = [
        ("enclave", configurations.state("enclave"), run, "runs and the reserve beside them"),
        ("gateway", configurations.state("gateway"), configurations.spool_bytes, "uploads"),
        ("console", configurations.state("console"), GIB / 4, "sealed packets"),
        ("signer", configurations.state("signer"), GIB / 16, "the log"),
    ];
    let mut checks: Vec<Check> =
        needs.iter().map(|(room, path, needed, for_what)| space(room, path, *needed, for_what)).collect();
    checks.extend(shared(&needs));
    checks.push(memory(configurations));
    checks
}

/// Rooms that share a file system, if it has not enough for all of them.
fn shared(needs: &[(&str, &Path, u64, &str)]) -> Vec<Check> {
    let mut disks: BTreeMap<u64, (u64, u64, Vec<&str>)> = BTreeMap::new();
    for (room, path, needed, _) in needs {
        // What cannot be looked at has its own check.
        let (Ok(found), Ok(space)) = (fs::metadata(path), statvfs(*path)) else { continue };
        let disk = disks.entry(found.dev()).or_insert((space.f_bavail * space.f_frsize, 0, Vec::new()));
        disk.1 += needed;
        disk.2.push(room);
    }
    let lacks = |(free, needed, rooms): (u64, u64, Vec<&str>)| {
        (rooms.len() > 1 && free < needed).then(|| {
            Check::warn(
                "disk",
                format!(
                    "{} share a disk: {} free, {} needed together",
                    rooms.join(", "),
                    size(free),
                    size(needed)
                ),
                "give rooms a file system of their own, free space, or lower spool_bytes in gateway.toml and \
                 run_disk_bytes or slots in enclave.toml",
            )
        })
    };
    disks.into_values().filter_map(lacks).collect()
}

fn space(room: &str, path: &Path, needed: u64, for_what: &str) -> Check {
    let free = match statvfs(path) {
        Ok(found) => found.f_bavail * found.f_frsize,
        Err(error) => {
            let remedy = "bring the directory back; `databox init` made it";
            return Check::fail("disk", format!("{} cannot be looked at: {error}", path.display()), remedy);
        }
    };
    let text = format!("{room}: {} free, {} needed for {for_what}", size(free), size(needed));
    let remedy = format!("free space on the disk of {}, or ask for less in {room}.toml", path.display());
    match free {
        free if free < needed => Check::fail("disk", text, remedy),
        free if free < 2 * needed => Check::warn("disk", text, remedy),
        _ => Check::ok("disk", text),
    }
}

/// Outputs and temporary files of jobs lie in memory: `/out`, `/tmp` and `/dev/shm` of each slot.
fn memory(configurations: &Configurations) -> Check {
    let Some(total) = total_memory() else {
        return Check::warn("memory", "/proc/meminfo cannot be read", "mount /proc");
    };
    let needed = configurations.slots * (configurations.output_bytes + 2 * configurations.temporary_bytes);
    let text = format!(
        "{} of memory; {} slots may fill {} with outputs and temporary files",
        size(total),
        configurations.slots,
        size(needed)
    );
    let remedy =
        "lower slots, output_bytes or temporary_bytes in enclave.toml, or give the machine more memory";
    match needed {
        needed if needed > total => Check::fail("memory", text, remedy),
        needed if needed > total / 2 => Check::warn("memory", text, remedy),
        _ => Check::ok("memory", text),
    }
}

fn total_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 10 * GIB => format!("{} GiB", bytes / GIB),
        bytes => format!("{} MiB", bytes >> 20),
    }
}
