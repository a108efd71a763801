//! The wall around a researcher's job: the same in the box and at a researcher's desk, so that what ran at the desk
//! runs in the box.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::specification::{Access, Calls, Device, Limits, Mount, OutputSpace, Specification, StandardError};

/// Names at the top of a runtime that the wall or a job's own mounts have.
pub const RESERVED: [&str; 10] =
    ["dev", "proc", "tmp", "job", "data", "out", "sys", "failure", "databox", "weights"];

/// Where an evaluation of weights sees them.
pub const WEIGHTS_TARGET: &str = "/weights";

/// What a job sees of the host, and what it may use.
#[derive(Debug)]
pub struct Job<'a> {
    /// The runtime's tree: each directory at its top is shown at the same place.
    pub runtime: &'a Path,
    /// The unpacked bundle, seen as `/job`.
    pub bundle: &'a Path,
    /// Each dataset's name and directory, seen as `/data/<name>`.
    pub data: &'a [(String, PathBuf)],
    /// The program and its arguments.
    pub command: &'a [String],
    /// Processors that it is told of, and that it may use.
    pub cpus: u64,
    /// Bytes that `/out` holds.
    pub output_bytes: u64,
    /// Files, directories and links that `/out` holds.
    pub output_entries: u64,
    /// What it may use.
    pub limits: Limits,
    /// Where its standard error goes. In the box nowhere: each word would be an egress channel.
    pub standard_error: StandardError,
    /// As in [`Specification`].
    pub host_uid: Option<u32>,
    /// As in [`Specification`].
    pub devices: Vec<Device>,
}

impl Job<'_> {
    /// The specification of the wall. It fails if the runtime's tree cannot be listed.
    pub fn specification(self) -> io::Result<Specification> {
        let mut mounts = runtime_mounts(self.runtime)?;
        mounts.push(mount(self.bundle, "/job", Access::ReadOnly));
        mounts.extend(data_mounts(self.data));
        let (program, arguments) = self
            .command
            .split_first()
            .map_or((String::new(), Vec::new()), |(first, rest)| (first.clone(), rest.to_vec()));
        let cpus = self.cpus.to_string();
        let fixed = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/tmp"),
            ("TMPDIR", "/tmp"),
            ("LANG", "C.UTF-8"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("OMP_NUM_THREADS", &cpus),
            ("OPENBLAS_NUM_THREADS", &cpus),
            ("MKL_NUM_THREADS", &cpus),
        ];
        Ok(Specification {
            mounts,
            // In memory, so that a job that fills it fills nothing else.
            output: Some(OutputSpace {
                target: "/out".to_owned(),
                bytes: self.output_bytes,
                entries: self.output_entries,
            }),
            program,
            arguments,
            environment: fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            working_directory: "/job".to_owned(),
            limits: Limits { processors: self.cpus.max(1), ..self.limits },
            calls: Calls::Job,
            standard_error: self.standard_error,
            host_uid: self.host_uid,
            devices: self.devices,
        })
    }
}

fn runtime_mounts(tree: &Path) -> io::Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for entry in fs::read_dir(tree)? {
        // Names are checked when a runtime is registered; anything else is not shown.
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if let Some(directory) = top_directory(tree, &name)? {
            mounts.push(mount(&directory, &format!("/{name}"), Access::ReadOnlyExecutable));
        }
    }
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(mounts)
}

/// What a job sees at the top of a runtime under this name: the directory there, or the one of the tree that a link leads
/// to, such as `usr/lib` for `lib`. None for anything else, and for a name that the wall or a job has itself.
///
/// # Errors
/// The tree is not there.
pub fn top_directory(tree: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let path = tree.join(name);
    if RESERVED.contains(&name) {
        return Ok(None);
    }
    if !fs::symlink_metadata(&path)?.is_symlink() {
        return Ok(path.is_dir().then_some(path));
    }
    let (top, place) = (fs::canonicalize(tree)?, fs::canonicalize(&path));
    Ok(place.ok().filter(|place| place.is_dir() && place.starts_with(&top) && *place != top))
}

/// Each dataset's directory, seen as `/data/<name>`.
pub fn data_mounts(data: &[(String, PathBuf)]) -> impl Iterator<Item = Mount> {
    data.iter().map(|(name, path)| mount(path, &format!("/data/{name}"), Access::ReadOnly))
}

fn mount(source: &Path, target: &str, access: Access) -> Mount {
    Mount { source: source.to_owned(), target: target.to_owned(), access }
}
