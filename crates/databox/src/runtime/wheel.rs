//! One wheel: an archive of files that are copied to where packages lie (PyPA, "Binary distribution format"). Nothing of
//! it is run, and its names are never followed on this machine's disk: see [`Tree`].

use std::fs::File;
use std::io::Read;
use std::path::Path;

use blobs::Digest;
use object::elf;
use object::read::elf::{FileHeader as _, SectionHeader as _};
use zip::ZipArchive;

use super::RuntimeFailure as E;
use super::requirements::normalised;
use super::tree::Tree;

/// Largest shared object whose needs are looked at, in bytes.
const OBJECT_BYTES: u64 = 1 << 30;

/// Set-user-id and set-group-id bits.
const ACTS_AS_OWNER: u32 = 0o6000;

/// A wheel's file name, read: `NAME-VERSION(-BUILD)?-PYTHON-ABI-PLATFORM.whl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WheelName {
    /// Normalised.
    pub(super) package: String,
    pub(super) version: String,
    tags: [String; 3],
}

impl WheelName {
    pub(super) fn parse(name: &str) -> Result<Self, E> {
        let parts: Vec<&str> = name.strip_suffix(".whl").unwrap_or_default().split('-').collect();
        let ([package, version, python, abi, platform] | [package, version, _, python, abi, platform]) =
            parts[..]
        else {
            return Err(E::Wheel(name.to_owned()));
        };
        let tags = [python, abi, platform].map(str::to_owned);
        Ok(Self { package: normalised(package), version: version.to_owned(), tags })
    }

    /// True if an interpreter of this version on this machine can load it (PyPA, "Platform compatibility tags"). Whether
    /// the C library is new enough is not looked at: it is this machine's, as pip would have.
    pub(super) fn fits(&self, python: (u32, u32)) -> bool {
        let [interpreters, abis, platforms] = &self.tags;
        let own = format!("cp{}{}", python.0, python.1);
        // Made for this version of Python 3 or an older one.
        let since = |prefix: &str, tag: &str| {
            let minor = tag.strip_prefix(prefix).and_then(|minor| minor.parse::<u32>().ok());
            python.0 == 3 && minor.is_some_and(|minor| minor <= python.1)
        };
        let any = |tags: &str, fits: &dyn Fn(&str) -> bool| tags.split('.').any(fits);
        let platform = any(platforms, &|tag| {
            tag == "any" || (tag.contains("linux") && !tag.contains("musl") && tag.ends_with("_x86_64"))
        });
        let code = any(abis, &|tag| tag == own) && any(interpreters, &|tag| tag == own)
            || any(abis, &|tag| tag == "abi3") && any(interpreters, &|tag| since("cp3", tag))
            || any(abis, &|tag| tag == "none")
                && any(interpreters, &|tag| tag == "py3" || tag == own || since("py3", tag));
        platform && code
    }
}

/// The digest of a wheel.
pub(super) fn digest(path: &Path) -> Result<Digest, E> {
    let file = File::open(path).map_err(E::NotRead)?;
    Digest::of_reader(file).map(|(digest, _)| digest).map_err(E::NotRead)
}

/// Copies a wheel's files to below `packages`, and adds the names of libraries that its shared objects need.
pub(super) fn install(
    path: &Path,
    packages: &str,
    tree: &mut Tree,
    needed: &mut Vec<String>,
) -> Result<(), E> {
    let form = || E::Wheel(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let file = File::open(path).map_err(E::NotRead)?;
    let mut archive = ZipArchive::new(file).map_err(|_| form())?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|_| form())?;
        let name = entry.name().map_err(|_| form())?.into_owned();
        // The library's own word leaves set-user-id bits out.
        let mode = entry.external_attributes() >> 16;
        if entry.is_symlink() {
            return Err(E::Kind(name));
        }
        if mode & ACTS_AS_OWNER != 0 {
            return Err(E::SetUserId(name));
        }
        if entry.is_dir() {
            continue;
        }
        let Some(place) = place(&name, packages)? else { continue };
        // The whole tree is somebody's signed choice, but nobody who reads a list of packages expects another interpreter.
        if tree.holds_file(&place) && !place.starts_with(&format!("{packages}/")) {
            return Err(E::WheelReplaces(name));
        }
        if !is_shared_object(&name) {
            tree.file(&place, mode & 0o111 != 0, &mut entry)?;
            continue;
        }
        let mut bytes = Vec::new();
        let read = entry.take(OBJECT_BYTES + 1).read_to_end(&mut bytes).map_err(E::NotRead)?;
        if read as u64 > OBJECT_BYTES {
            return Err(E::TooLarge);
        }
        needed.extend(needs(&bytes).ok_or(E::Wheel(name))?);
        tree.file(&place, true, &mut bytes.as_slice())?;
    }
    Ok(())
}

/// Where a file of a wheel goes; None for what only an installation would use: scripts and headers.
fn place(name: &str, packages: &str) -> Result<Option<String>, E> {
    if name.starts_with('/') || name.contains('\\') {
        return Err(E::Path(name.to_owned()));
    }
    let Some((directory, rest)) = name.split_once('/') else { return Ok(Some(format!("{packages}/{name}"))) };
    if !directory.ends_with(".data") {
        return Ok(Some(format!("{packages}/{name}")));
    }
    Ok(match rest.split_once('/') {
        Some(("purelib" | "platlib", rest)) => Some(format!("{packages}/{rest}")),
        Some(("data", rest)) => data(name, rest)?,
        _ => None,
    })
}

/// Where a file goes that is placed relative to the interpreter's prefix: libraries, and what programs read. Programs are
/// left out. A place where the interpreter would find it before its own, or as its own, is none.
fn data(name: &str, rest: &str) -> Result<Option<String>, E> {
    let mut parts = rest.split('/');
    match (parts.next(), parts.next()) {
        (Some("bin" | "include"), Some(_)) => Ok(None),
        (Some("share" | "etc"), Some(_)) => Ok(Some(format!("usr/{rest}"))),
        (Some("lib"), Some(below)) if !below.starts_with("python") => Ok(Some(format!("usr/{rest}"))),
        _ => Err(E::WheelReplaces(name.to_owned())),
    }
}

fn is_shared_object(name: &str) -> bool {
    let file = name.rsplit_once('/').map_or(name, |(_, file)| file);
    let version = file.split_once(".so.").map(|(_, version)| version);
    file.ends_with(".so") || version.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// The libraries that a shared object names (ELF, `DT_NEEDED`). It is read here, not loaded: `ldd` would run the loader on
/// a stranger's file. None if it is no shared object, or needs something by a path.
pub(super) fn needs(bytes: &[u8]) -> Option<Vec<String>> {
    let header = elf::FileHeader64::<object::LittleEndian>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let mut needed = Vec::new();
    for section in sections.iter() {
        let Some(table) = section.dynamic_table(endian, bytes, &sections).ok()? else { continue };
        for entry in table.iter().filter(|entry| entry.tag == elf::DT_NEEDED) {
            let name = std::str::from_utf8(table.string(entry).ok()?).ok()?;
            // A name with a slash is a path to the loader, and would be one to us: whoever made the wheel would choose which
            // file of this machine every job gets to read.
            if name.is_empty() || name.contains('/') {
                return None;
            }
            needed.push(name.to_owned());
        }
    }
    Some(needed)
}
