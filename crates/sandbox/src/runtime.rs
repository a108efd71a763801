//! A runtime tree made from the host's Python: the interpreter, its standard library and the libraries that they link,
//! each at its own path. The tree holds regular files and directories only, so that its digest has nothing to follow.
//!
//! Modules that the host has compiled are copied compiled, too: see [`compiled`].
//!
//! The host's files are trusted here, as its administrator chose them; they are copied once, and the digest of the copy
//! is what the catalogue signs.

mod compiled;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// A copied runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeTree {
    /// Where it lies.
    pub root: PathBuf,
    /// The interpreter's absolute path inside, such as `/usr/bin/python3`.
    pub interpreter: String,
    /// The interpreter's version, such as `3.11.2`.
    pub version: String,
    /// The names in `root`, each a directory to be mounted at the same name inside, read-only and executable.
    pub top_level: Vec<String>,
    /// Where packages of others lie inside, such as `/usr/local/lib/python3.11/dist-packages`. The copy has none.
    pub packages: String,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why no runtime tree was made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RuntimeError {
    #[error("there is no interpreter at {0:?}; on Debian, `apt install python3` brings /usr/bin/python3")]
    InterpreterMissing(PathBuf),
    #[error("{0:?} does not answer like a Python interpreter")]
    NotPython(PathBuf),
    #[error("the destination {0:?} is not an empty directory")]
    DestinationNotEmpty(PathBuf),
    #[error("`ldd` cannot tell which libraries the interpreter links; it comes with the C library")]
    LibrariesUnknown,
    #[error(
        "{name:?}, which the interpreter or one of its modules or packages links, is not on this machine"
    )]
    LibraryMissing { name: String },
    #[error("the link {0:?} leads out of the standard library")]
    LinkLeavesTree(PathBuf),
    #[error("{0:?} is neither a file nor a directory")]
    OfWrongKind(PathBuf),
    #[error("{path:?} cannot be copied")]
    NotCopied { path: PathBuf, source: io::Error },
}

/// What is left out of the standard library: other packages, caches (what is compiled is taken with its source), tests,
/// things with windows, and what builds or installs.
const LEFT_OUT: &[&str] = &[
    "__pycache__",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "pydoc_data",
    "distutils",
    "venv",
    "sitecustomize.py",
    "usercustomize.py",
    "EXTERNALLY-MANAGED",
];

/// The same, by how the name begins.
const LEFT_OUT_PREFIXES: &[&str] =
    &["config-", "_tkinter", "_test", "_ctypes_test", "xxlimited", "xxsubtype"];

/// Copies an interpreter of the host, its standard library and the libraries they link into `destination`, which is
/// made, or is an empty directory.
///
/// # Errors
/// What is missing or has no place in a runtime is named by its path.
pub fn host_python(interpreter: &Path, destination: &Path) -> Result<RuntimeTree, RuntimeError> {
    if !interpreter.is_absolute() || !interpreter.is_file() {
        return Err(RuntimeError::InterpreterMissing(interpreter.to_owned()));
    }
    let about = ask(interpreter)?;
    prepare(destination)?;
    let linked = vec![interpreter.to_owned()];
    let mut copy = Copy { root: destination, compiled: about.compiled, files: 0, bytes: 0, linked };
    copy.file(interpreter, interpreter, 0o755)?;
    for library in BTreeSet::from([&about.stdlib, &about.platstdlib]) {
        let inside = fs::canonicalize(library).map_err(|source| not_copied(library, source))?;
        copy.directory(library, &inside)?;
    }
    for library in linked_libraries(&copy.linked)? {
        copy.file(&library, &library, 0o755)?;
    }
    open_directories(destination).map_err(|source| not_copied(destination, source))?;
    let mut top_level = Vec::new();
    for entry in fs::read_dir(destination).map_err(|source| not_copied(destination, source))? {
        let entry = entry.map_err(|source| not_copied(destination, source))?;
        top_level.push(entry.file_name().to_string_lossy().into_owned());
    }
    top_level.sort();
    Ok(RuntimeTree {
        root: destination.to_owned(),
        interpreter: interpreter.to_string_lossy().into_owned(),
        version: about.version,
        packages: about.packages.to_string_lossy().into_owned(),
        top_level,
        files: copy.files,
        bytes: copy.bytes,
    })
}

/// What the interpreter says of itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    version: String,
    stdlib: PathBuf,
    platstdlib: PathBuf,
    packages: PathBuf,
    compiled: compiled::Form,
}

fn ask(interpreter: &Path) -> Result<About, RuntimeError> {
    const QUESTION: &str = "import importlib.util as u, json, platform, sys, sysconfig as s; print(json.dumps({\
        'version': platform.python_version(), 'stdlib': s.get_path('stdlib'), 'platstdlib': s.get_path('platstdlib'), \
        'packages': s.get_path('purelib'), 'compiled': {'tag': sys.implementation.cache_tag, \
        'magic': int.from_bytes(u.MAGIC_NUMBER, 'little')}}))";
    let not_python = || RuntimeError::NotPython(interpreter.to_owned());
    let answer = Command::new(interpreter).env_clear().args(["-I", "-S", "-B", "-c", QUESTION]).output();
    let answer = answer.map_err(|_| not_python())?;
    let about: About = serde_json::from_slice(&answer.stdout).map_err(|_| not_python())?;
    let plain =
        |path: &Path| path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    let paths = [&about.stdlib, &about.platstdlib, &about.packages];
    if paths.iter().all(|path| plain(path)) { Ok(about) } else { Err(not_python()) }
}

fn prepare(destination: &Path) -> Result<(), RuntimeError> {
    let made = fs::create_dir(destination);
    let empty = || fs::read_dir(destination).is_ok_and(|mut entries| entries.next().is_none());
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(not_copied(destination, error)),
        Err(_) if !empty() => Err(RuntimeError::DestinationNotEmpty(destination.to_owned())),
        _ => Ok(()),
    }
}

/// Lets any user of the host look into the copied directories, whatever the caller's umask: a job runs as a user of its
/// own.
fn open_directories(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_directories(&entry.path())?;
        }
    }
    Ok(())
}

struct Copy<'a> {
    root: &'a Path,
    compiled: compiled::Form,
    files: u64,
    bytes: u64,
    /// Files that link libraries.
    linked: Vec<PathBuf>,
}

impl Copy<'_> {
    /// Copies a directory of the standard library, `inside` being the standard library's real place.
    fn directory(&mut self, from: &Path, inside: &Path) -> Result<(), RuntimeError> {
        for entry in fs::read_dir(from).map_err(|source| not_copied(from, source))? {
            let entry = entry.map_err(|source| not_copied(from, source))?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if LEFT_OUT.contains(&&*name) || LEFT_OUT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let kind = entry.file_type().map_err(|source| not_copied(&path, source))?;
            let real = fs::canonicalize(&path).map_err(|source| not_copied(&path, source))?;
            if kind.is_symlink() && !(real.starts_with(inside) && real.is_file()) {
                return Err(RuntimeError::LinkLeavesTree(path));
            }
            if kind.is_dir() {
                self.directory(&path, inside)?;
            } else if real.is_file() {
                self.file(&real, &path, 0o644)?;
                self.compiled(&real, &path)?;
                if name.ends_with(".so") {
                    self.linked.push(path);
                }
            } else {
                return Err(RuntimeError::OfWrongKind(path));
            }
        }
        Ok(())
    }

    /// Lays the compiled form of a module, if the host has one, beside its copy.
    fn compiled(&mut self, from: &Path, path: &Path) -> Result<(), RuntimeError> {
        let compiled = self.compiled.of(from).map_err(|source| not_copied(from, source))?;
        let (Some(bytes), Some(place)) = (compiled, self.compiled.place(path)) else { return Ok(()) };
        let to = self.place(&place);
        if to.exists() {
            return Ok(());
        }
        let write = || {
            fs::create_dir_all(to.parent().unwrap_or(self.root))?;
            fs::write(&to, &bytes)?;
            fs::set_permissions(&to, Permissions::from_mode(0o644))
        };
        write().map_err(|source| not_copied(from, source))?;
        self.bytes += bytes.len() as u64;
        self.files += 1;
        Ok(())
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Copies a file's bytes, and nothing else of it, to the same path below the root.
    fn file(&mut self, from: &Path, path: &Path, mode: u32) -> Result<(), RuntimeError> {
        let to = self.place(path);
        if to.exists() {
            return Ok(());
        }
        let copy = || {
            let parent = to.parent().unwrap_or(self.root);
            fs::create_dir_all(parent)?;
            let bytes = io::copy(&mut fs::File::open(from)?, &mut fs::File::create_new(&to)?)?;
            fs::set_permissions(&to, Permissions::from_mode(mode))?;
            Ok(bytes)
        };
        self.bytes += copy().map_err(|source| not_copied(from, source))?;
        self.files += 1;
        Ok(())
    }
}

/// What the loader would load for these files, by the path it would load it from. `ldd` runs the loader on them, so that
/// they must be files that the host trusts.
///
/// # Errors
/// A library that is not on this machine is named.
pub fn linked_libraries(files: &[PathBuf]) -> Result<BTreeSet<PathBuf>, RuntimeError> {
    let answer = Command::new("/usr/bin/ldd").env_clear().args(files).output();
    let answer = answer.map_err(|_| RuntimeError::LibrariesUnknown)?;
    let mut libraries = BTreeSet::new();
    for line in String::from_utf8_lossy(&answer.stdout).lines().filter(|line| line.starts_with('\t')) {
        let line = line.trim();
        let (name, place) = line.split_once(" => ").unwrap_or((line, line));
        if place == "not found" {
            return Err(RuntimeError::LibraryMissing { name: name.to_owned() });
        }
        let place = place.split(" (").next().unwrap_or_default();
        if place.starts_with('/') {
            libraries.insert(without_parents(Path::new(place)));
        }
    }
    if libraries.is_empty() { Err(RuntimeError::LibrariesUnknown) } else { Ok(libraries) }
}

/// A library found through `$ORIGIN/../lib` has a path with `..`, which the loader inside resolves to the plain one.
fn without_parents(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

fn not_copied(path: &Path, source: io::Error) -> RuntimeError {
    RuntimeError::NotCopied { path: path.to_owned(), source }
}
