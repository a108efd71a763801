//! The file tree in which an OCI runtime works: an empty one in memory that holds the bundle, the files of the host that
//! the container will show, the runtime itself and the libraries that it links, and nothing else of the host. It goes
//! with the last process in it, and with it whatever the runtime wrote down.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountPropagationFlags, MoveMountFlags, fsconfig_create, fsmount, fsopen,
    mount_change, move_mount,
};
use sandbox::oci::OciRuntime;
use sandbox::oci::bundle::{ENTRY, ORDER, Order, configuration, source};
use sandbox::{Calls, Refusal, Step};

use crate::program::Start;
use crate::sources::Source;
use crate::supervisor::at;
use crate::tree::{attach, directory, memory, take_root};

/// Where the runtime is.
pub const RUNTIME: &str = "/runtime";

/// Where the launcher is, as it will be shown in the container.
pub const LAUNCH: &str = "/launch";

/// Where programs of the host look for libraries. Those that are links are made anew as links.
pub const LIBRARIES: [&str; 5] = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64"];

/// For the bundle and what the runtime writes down for itself.
const SIZE: &str = "64m";
const INODES: &str = "65536";

/// Builds the tree and makes it this process's root. Returns the output space, if there is one.
pub fn enter(start: &Start, sources: Vec<Source>, runtime: &OciRuntime) -> Result<Option<OwnedFd>, Refusal> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    at(Step::PrivateMounts, mount_change("/", private))?;
    let root = at(Step::Root, memory(SIZE, INODES, "0755"))?;
    at(Step::Root, move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH))?;
    for name in ["dev", "usr", "usr/local", "sources", "state", "tmp", "bundle"] {
        at(Step::Root, directory(&root, name))?;
    }
    let kinds: Vec<(String, bool)> =
        sources.iter().map(|source| (source.target.clone(), source.is_directory)).collect();
    for source in sources {
        let target = source.target.trim_start_matches('/').to_owned();
        let is_directory = source.is_directory;
        let tree = source.tree()?;
        at(Step::Mounts, attach(&root, &tree, &target, is_directory))?;
    }
    for (kind, target) in [("proc", "proc"), ("cgroup2", "sys/fs/cgroup")] {
        let tree = at(Step::Processes, file_system(kind))?;
        at(Step::Processes, attach(&root, &tree, target, true))?;
    }
    let space = output_space(start, &root)?;
    let links: Vec<_> =
        LIBRARIES.iter().filter_map(|place| Some((*place, fs::read_link(place).ok()?))).collect();
    at(Step::Pivot, take_root(&root))?;
    for (place, target) in links {
        at(Step::Mounts, symlink(target, place))?;
    }
    // Runtimes show it unasked. There is no terminal here, so that it is a file without a byte.
    at(Step::Devices, fs::write("/dev/tty", ""))?;
    at(Step::Bundle, lay_out(start, runtime, &kinds))?;
    Ok(space)
}

/// The output space lies behind the mounts of the specification. The descriptor outlives this tree.
fn output_space(start: &Start, root: &OwnedFd) -> Result<Option<OwnedFd>, Refusal> {
    let Some(space) = &start.specification.output else { return Ok(None) };
    let inodes = space.entries.saturating_add(1).to_string();
    let tree = at(Step::OutputSpace, memory(&space.bytes.to_string(), &inodes, "0700"))?;
    let place = source(start.specification.mounts.len());
    at(Step::OutputSpace, attach(root, &tree, place.trim_start_matches('/'), true))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Some(at(Step::OutputSpace, openat(&tree, ".", flags, Mode::empty()))?))
}

/// A file system of the kernel's, with everything in it that these namespaces show: the runtime makes narrower ones of it
/// for the container.
fn file_system(kind: &str) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        rustix::mount::MountAttrFlags::MOUNT_ATTR_NOSUID
            | rustix::mount::MountAttrFlags::MOUNT_ATTR_NODEV
            | rustix::mount::MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
}

/// Writes the bundle: the configuration, what the launcher in the container is to start, and a root with a place for each
/// mount, so that the runtime makes none.
fn lay_out(start: &Start, runtime: &OciRuntime, kinds: &[(String, bool)]) -> io::Result<()> {
    let specification = &start.specification;
    let root = Path::new("/bundle/rootfs");
    let place = |target: &str, is_directory: bool| -> io::Result<()> {
        let path = root.join(target.trim_start_matches('/'));
        if is_directory {
            return fs::create_dir_all(path);
        }
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, "")
    };
    for (number, mount) in specification.mounts.iter().enumerate() {
        let shown = source(number);
        let is_directory = kinds.iter().any(|(target, is_directory)| *target == shown && *is_directory);
        place(&mount.target, is_directory)?;
    }
    for file in [ENTRY[0], ORDER] {
        place(file, false)?;
    }
    let job: &[&str] = if specification.calls == Calls::Job { &["/proc"] } else { &[] };
    let memory: &[&str] = if specification.limits.tmp_bytes > 0 { &["/tmp", "/dev/shm"] } else { &[] };
    let output = specification.output.iter().map(|output| output.target.as_str());
    for target in ["/dev"].iter().chain(job).chain(memory).copied().chain(output) {
        place(target, true)?;
    }
    let order = Order::new(specification, start.counted, runtime.name);
    fs::write("/order", serde_json::to_vec(&order)?)?;
    fs::write("/bundle/config.json", serde_json::to_vec(&configuration(specification, runtime.name))?)
}
