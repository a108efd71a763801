//! The first file system of a machine: the launcher, which is its init, the kernel's modules that it loads, and the order
//! what to run. Nothing of the program's, and nothing that a program can change, is in it.
//!
//! It is a cpio archive in the "new ASCII" form (the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`).
//! All lies below [`SYSTEM`], which the init makes its root: the first file system itself can be no root of a wall.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::specification::Specification;

/// The directory that becomes the root.
pub const SYSTEM: &str = "/system";

/// In it: the launcher, and the argument by which it knows that it is a machine's init.
pub const INIT: [&str; 2] = ["/launch", "guest"];

/// In it: what it is to run.
pub const ORDER: &str = "/order";

/// In it: modules, in the order in which they are loaded.
pub const MODULES: &str = "/modules";

/// The modules for a machine's devices and disks. A kernel that has one built in has no file of it.
const WANTED: [&str; 3] = ["virtio_mmio", "virtio_blk", "erofs"];

/// What the init is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The specification, with the sources as they are in the machine.
    pub specification: Specification,
    /// The disks to be shown, by their serial names; the one that takes the result has another.
    pub disks: Vec<String>,
}

/// Makes the archive.
///
/// # Errors
/// The launcher or a module cannot be read.
pub fn archive(launcher: &Path, modules: &[PathBuf], order: &Order) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    let below = |name: &str| format!("{SYSTEM}{name}")[1..].to_owned();
    archive.directory(&SYSTEM[1..]);
    archive.file(&below(INIT[0]), 0o755, &fs::read(launcher)?);
    archive.file(&below(ORDER), 0o600, &serde_json::to_vec(order)?);
    archive.directory(&below(MODULES));
    for (number, module) in modules.iter().enumerate() {
        archive.file(&below(&format!("{MODULES}/{number:02}")), 0o600, &fs::read(module)?);
    }
    Ok(archive.end())
}

/// The files of the wanted modules and of those that they need, each behind what it needs.
///
/// # Errors
/// The directory cannot be read, or a module needs one that is not there.
pub fn modules(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    list(&directory.join("kernel"), &mut files)?;
    let (mut ordered, mut seen) = (Vec::new(), BTreeSet::new());
    for name in WANTED {
        let file = files.iter().find(|file| is_module(file, name));
        if let Some(file) = file {
            add(file, &files, &mut ordered, &mut seen)?;
        }
    }
    Ok(ordered)
}

fn add(
    file: &Path,
    files: &[PathBuf],
    ordered: &mut Vec<PathBuf>,
    seen: &mut BTreeSet<PathBuf>,
) -> io::Result<()> {
    if !seen.insert(file.to_owned()) {
        return Ok(());
    }
    for needed in depends(&fs::read(file)?) {
        let found = files.iter().find(|file| is_module(file, &needed));
        let found = found.ok_or_else(|| io::Error::other(format!("the module {needed} is not there")))?;
        add(found, files, ordered, seen)?;
    }
    ordered.push(file.to_owned());
    Ok(())
}

/// The kernel writes `-` and `_` in names of modules alike.
fn is_module(file: &Path, name: &str) -> bool {
    let stem = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".ko"));
    stem.is_some_and(|stem| stem.replace('-', "_") == name)
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// What a module says that it needs: `depends=` in its section `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let rest = &module[at + KEY.len()..];
    let text = &rest[..rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len())];
    let text = String::from_utf8_lossy(text).replace('-', "_");
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | mode, content);
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // Magic; inode, mode, user, group, links, time, size, four device numbers, length of the name, no sum.
        let (size, length) = (content.len() as u32, name.len() as u32 + 1);
        let numbers = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_behind_what_they_need_and_one_that_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = directory.path().join("kernel");
        fs::create_dir_all(kernel.join("drivers")).unwrap();
        let module = |name: &str, depends: &str| {
            let text = format!("ELF\0license=GPL\0depends={depends}\0name=x\0");
            fs::write(kernel.join(name), text).unwrap();
        };
        module("drivers/virtio_blk.ko", "virtio,virtio-ring");
        module("virtio.ko", "virtio_ring");
        module("virtio-ring.ko", "");
        module("unwanted.ko", "");
        let found = modules(directory.path()).unwrap();
        let names: Vec<_> = found.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["virtio-ring.ko", "virtio.ko", "virtio_blk.ko"], "erofs is built in");
        module("erofs.ko", "libcrc32c");
        let missing = modules(directory.path()).unwrap_err().to_string();
        assert!(missing.contains("libcrc32c"), "{missing}");
    }
}
