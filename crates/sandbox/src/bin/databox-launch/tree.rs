//! The job's file tree: an empty root in memory, the mounts of the specification, a `/dev`, and for a job `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};
use sandbox::{Calls, LayerName, Refusal, Specification, Step};

use crate::layers::are_built;
use crate::sources::{NO_EXECUTE, READ_ONLY, Source};
use crate::supervisor::at;
use crate::system;

const DIRECTORY: Mode = Mode::from_raw_mode(0o755);

/// Builds the tree and makes it this process's root; nothing of the host's tree stays reachable. Returns the output
/// space, if there is one.
pub fn enter(specification: &Specification, sources: Vec<Source>) -> Result<Option<OwnedFd>, Refusal> {
    // Otherwise each of the following mounts could spread to the host, and the host's to the job.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    at(Step::PrivateMounts, mount_change("/", private))?;
    let root = at(Step::Root, memory("1m", "4096", "0755"))?;
    // It lies above the host's root but is reached by its descriptor only, until it takes the root's place.
    at(Step::Root, move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH))?;

    let mut expected = BTreeSet::from(["dev".to_owned()]);
    at(Step::Devices, directory(&root, "dev"))?;
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        at(Step::Devices, symlinkat(format!("/proc/self/{target}"), &root, format!("dev/{name}")))?;
    }
    for source in sources {
        let target = source.target.trim_start_matches('/').to_owned();
        let step = if target.starts_with("dev/") { Step::Devices } else { Step::Mounts };
        expected.extend(target.split('/').next().map(str::to_owned));
        let is_directory = source.is_directory;
        let tree = source.tree()?;
        at(step, attach(&root, &tree, &target, is_directory))?;
    }
    if specification.limits.tmp_bytes > 0 {
        let (size, inodes) = (specification.limits.tmp_bytes, specification.limits.tmp_inodes);
        for target in ["tmp", "dev/shm"] {
            let tree =
                at(Step::Mounts, memory(&size.to_string(), &inodes.saturating_add(1).to_string(), "0700"))?;
            at(Step::Mounts, attach(&root, &tree, target, true))?;
        }
        expected.insert("tmp".to_owned());
    }
    let mut output = None;
    if let Some(space) = &specification.output {
        let target = space.target.trim_start_matches('/');
        let inodes = space.entries.saturating_add(1).to_string();
        let tree = at(Step::OutputSpace, memory(&space.bytes.to_string(), &inodes, "0700"))?;
        at(Step::OutputSpace, attach(&root, &tree, target, true))?;
        expected.extend(target.split('/').next().map(str::to_owned));
        // Opened for listing: what `fsmount` gives is a path only.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        output = Some(at(Step::OutputSpace, openat(&tree, ".", flags, Mode::empty()))?);
    }
    if specification.calls == Calls::Job {
        let tree = at(Step::Processes, processes())?;
        at(Step::Processes, attach(&root, &tree, "proc", true))?;
        expected.insert("proc".to_owned());
    }
    if are_built(LayerName::EmptyRoot) {
        at(Step::Pivot, take_root(&root))?;
    }
    if are_built(LayerName::ReadOnlyRoot) {
        at(Step::ReadOnlyRoot, system::restrict_mount(&root, READ_ONLY))?;
    }
    drop(root);
    at(Step::Pivot, holds_only(&expected, &[]))?;
    Ok(output)
}

/// A file system in memory of bounded size.
pub fn memory(size: &str, inodes: &str, mode: &str) -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("size", size), ("nr_inodes", inodes), ("mode", mode)] {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, NO_EXECUTE)
}

/// `/proc` without anything but processes, and of those only what this user could trace: the first process, whose
/// memory names host paths, is not among them. Read-only, so that no process is changed through it.
fn processes() -> Result<OwnedFd, Errno> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "subset", "pid")?;
    fsconfig_set_string(context.as_fd(), "hidepid", "ptraceable")?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, READ_ONLY)
}

pub fn directory(root: &OwnedFd, path: &str) -> Result<(), Errno> {
    match mkdirat(root, path, DIRECTORY) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// Attaches a mount at a path below the root. All of the path is made here: targets never lie within one another, so
/// no part of it can belong to a mounted tree.
pub fn attach(root: &OwnedFd, tree: &OwnedFd, target: &str, is_directory: bool) -> Result<(), Errno> {
    let place = || {
        if is_directory {
            return directory(root, target);
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(root, target, flags, Mode::from_raw_mode(0o444)).map(drop)
    };
    match place() {
        Err(Errno::NOENT) => {
            for (end, _) in target.match_indices('/') {
                directory(root, &target[..end])?;
            }
            place()?;
        }
        made => made?,
    }
    move_mount(tree, "", root, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Makes `root` the root and lets go of the old one. The descriptor of the old root makes sure that it is the old one
/// which is detached.
pub fn take_root(root: &OwnedFd) -> Result<(), Errno> {
    let old = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    fchdir(root)?;
    pivot_root(".", ".")?;
    fchdir(&old)?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")
}

/// The tree is what was asked for, seen from inside: a root that still were the host's would hold more. What comes
/// unasked may be there.
pub fn holds_only(expected: &BTreeSet<String>, unasked: &[String]) -> std::io::Result<()> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if expected.contains(&name) || !unasked.contains(&name) {
            found.insert(name);
        }
    }
    if found == *expected { Ok(()) } else { Err(Errno::NOTEMPTY.into()) }
}
