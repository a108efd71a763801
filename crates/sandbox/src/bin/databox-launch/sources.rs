//! Every file of the host that the program will see, held as a descriptor before the program's first process exists,
//! so that nobody who can write to the host's paths can exchange one for another.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, makedev, openat, openat2, statat,
};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use sandbox::oci::OciRuntime;
use sandbox::oci::bundle::source;
use sandbox::{Access, Calls, Refusal, Specification};

use crate::system;
use crate::workshop::{LAUNCH, LIBRARIES, RUNTIME};

const NOSUID_NODEV: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
pub const NO_EXECUTE: MountAttrFlags = NOSUID_NODEV.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
pub const READ_ONLY: MountAttrFlags = NO_EXECUTE.union(MountAttrFlags::MOUNT_ATTR_RDONLY);

/// The device files of the job's `/dev`, with their numbers: a host's `/dev/null` that is something else is refused
/// (CVE-2025-31133).
const DEVICES: [(&str, u32, u32); 5] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];

/// The processor's own virtualisation, for a machine alone: whoever has it reaches much more of the host's kernel.
const KVM: (&str, u32, u32) = ("kvm", 10, 232);

/// One file or directory of the host on its way into the job's file tree.
pub struct Source {
    path: PathBuf,
    pub target: String,
    pub is_directory: bool,
    attributes: MountAttrFlags,
    opened: OwnedFd,
    /// Made by root before any namespace exists. A normal user may make it only in namespaces of its own, see `tree`.
    detached: Option<OwnedFd>,
}

/// Opens the mounts of a specification and the devices; for an OCI runtime also itself, what it links, and this program.
/// A runtime finds the mounts by their numbers.
pub fn open_all(
    specification: &Specification,
    runtime: Option<&OciRuntime>,
    privileged: bool,
) -> Result<Vec<Source>, Refusal> {
    let mut sources = Vec::new();
    for (number, mount) in specification.mounts.iter().enumerate() {
        let attributes = match mount.access {
            Access::ReadOnly => READ_ONLY,
            Access::ReadOnlyExecutable => NOSUID_NODEV.union(MountAttrFlags::MOUNT_ATTR_RDONLY),
            Access::Writable => NO_EXECUTE,
        };
        let target = if runtime.is_some() { &source(number) } else { &mount.target };
        sources.push(Source::open(&mount.source, target, attributes, None, privileged)?);
    }
    let kvm = (specification.calls == Calls::Machine).then_some(KVM);
    for (name, major, minor) in DEVICES.into_iter().chain(kvm) {
        let path = Path::new("/dev").join(name);
        // A read-only mount does not hinder writing to a device. `nodev` would.
        let attributes = READ_ONLY.difference(MountAttrFlags::MOUNT_ATTR_NODEV);
        let device = Some(makedev(major, minor));
        sources.push(Source::open(&path, &format!("/dev/{name}"), attributes, device, privileged)?);
    }
    for device in &specification.devices {
        let attributes = READ_ONLY.difference(MountAttrFlags::MOUNT_ATTR_NODEV);
        let (major, minor) = device.numbers;
        let number = Some(makedev(major, minor));
        sources.push(Source::open(&device.source, &device.target, attributes, number, privileged)?);
    }
    if let Some(runtime) = runtime {
        sources.extend(open_tools(runtime, privileged)?);
    }
    Ok(sources)
}

/// What a runtime needs to run at all. A place for libraries that this machine has not, or has as a link to another, is
/// none to be opened.
fn open_tools(runtime: &OciRuntime, privileged: bool) -> Result<Vec<Source>, Refusal> {
    let own = std::fs::read_link("/proc/self/exe")
        .map_err(|error| not_opened(Path::new("/proc/self/exe"), error))?;
    let tools = [(runtime.path.as_path(), RUNTIME), (own.as_path(), LAUNCH)];
    let is_directory = |place: &str| std::fs::symlink_metadata(place).is_ok_and(|found| found.is_dir());
    let libraries = LIBRARIES.into_iter().filter(|place| is_directory(place));
    let libraries = libraries.map(|place| (Path::new(place), place));
    let attributes = NOSUID_NODEV.union(MountAttrFlags::MOUNT_ATTR_RDONLY);
    let tools = tools.into_iter().chain(libraries);
    tools.map(|(path, target)| Source::open(path, target, attributes, None, privileged)).collect()
}

impl Source {
    fn open(
        path: &Path,
        target: &str,
        attributes: MountAttrFlags,
        device: Option<u64>,
        privileged: bool,
    ) -> Result<Source, Refusal> {
        let opened = open(path)?;
        let found = fstat(&opened).map_err(|errno| not_opened(path, errno.into()))?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let fits = match device {
            Some(device) => kind == FileType::CharacterDevice && found.st_rdev == device,
            None => matches!(kind, FileType::Directory | FileType::RegularFile),
        };
        if !fits {
            return Err(Refusal::SourceOfWrongKind(path.to_owned()));
        }
        // A runtime is executed, has thousands of files, and was looked through when it was registered.
        if kind == FileType::Directory && attributes.contains(MountAttrFlags::MOUNT_ATTR_NOEXEC) {
            look_through(&opened, path, 0)?;
        }
        let detached = if privileged { Some(detach(&opened, path, attributes)?) } else { None };
        Ok(Source {
            path: path.to_owned(),
            target: target.to_owned(),
            is_directory: kind == FileType::Directory,
            attributes,
            opened,
            detached,
        })
    }

    /// The mount, not yet attached anywhere. Call it inside the new mount namespace.
    ///
    /// A descriptor from outside cannot be cloned by a normal user, so its path is opened once more in the copy of the
    /// mount table, under the same rules, and must lead to the very same file.
    pub fn tree(self) -> Result<OwnedFd, Refusal> {
        if let Some(detached) = self.detached {
            return Ok(detached);
        }
        let again = open(&self.path)?;
        let same = fstat(&again)
            .and_then(|found| fstat(&self.opened).map(|held| (found, held)))
            .is_ok_and(|(found, held)| (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino));
        if !same {
            return Err(Refusal::SourceReplaced(self.path));
        }
        detach(&again, &self.path, self.attributes)
    }
}

fn open(path: &Path) -> Result<OwnedFd, Refusal> {
    let rules = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), rules).map_err(|errno| match errno {
        Errno::LOOP => Refusal::SourceIsLink(path.to_owned()),
        errno => not_opened(path, errno.into()),
    })
}

/// Directories within one another that are looked through. Data has few, and each holds a descriptor open.
const DEPTH: usize = 64;

/// Refuses a directory that holds a socket, a pipe or a device: a read-only mount hinders nobody from connecting to the
/// one or writing to the other, and at its other end is the host.
fn look_through(directory: &OwnedFd, path: &Path, depth: usize) -> Result<(), Refusal> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |errno: Errno| not_opened(&path, errno.into())
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let listed = openat(directory, ".", flags, Mode::empty()).map_err(failed(path))?;
    for entry in Dir::read_from(&listed).map_err(failed(path))? {
        let entry = entry.map_err(failed(path))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let below = path.join(OsStr::from_bytes(name.to_bytes()));
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let found = statat(&listed, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed(&below))?;
                FileType::from_raw_mode(found.st_mode)
            }
            kind => kind,
        };
        match kind {
            FileType::RegularFile | FileType::Symlink => {}
            FileType::Directory if depth < DEPTH => {
                let opened = openat(&listed, name, flags, Mode::empty()).map_err(failed(&below))?;
                look_through(&opened, &below, depth + 1)?;
            }
            _ => return Err(Refusal::SourceHoldsOtherKind(below)),
        }
    }
    Ok(())
}

/// Not recursive: what is mounted below a source was not asked for.
fn detach(opened: &OwnedFd, path: &Path, attributes: MountAttrFlags) -> Result<OwnedFd, Refusal> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(opened, "", flags).map_err(|errno| not_opened(path, errno.into()))?;
    system::restrict_mount(&tree, attributes).map_err(|error| not_opened(path, error))?;
    Ok(tree)
}

fn not_opened(path: &Path, error: io::Error) -> Refusal {
    Refusal::SourceNotOpened { path: path.to_owned(), errno: error.raw_os_error().unwrap_or_default() }
}
