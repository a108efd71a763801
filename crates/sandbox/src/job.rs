//! The wall around a researcher's job: the same in the box and at a researcher's desk, so that what ran at the desk
//! runs in the box.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::specification::{Access, Calls, Limits, Mount, OutputSpace, Specification, StandardError};

/// Names at the top of a runtime that the wall or a job's own mounts have.
pub const RESERVED: [&str; 8] = ["dev", "proc", "tmp", "job", "data", "out", "sys", "failure"];

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
        })
    }
}

fn runtime_mounts(tree: &Path) -> io::Result<Vec<Mount>> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(tree)? {
        // Names are checked when a runtime is registered; anything else is not shown.
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    names.retain(|name| !RESERVED.contains(&name.as_str()));
    Ok(names
        .iter()
        .map(|name| mount(&tree.join(name), &format!("/{name}"), Access::ReadOnlyExecutable))
        .collect())
}

/// Each dataset's directory, seen as `/data/<name>`.
pub fn data_mounts(data: &[(String, PathBuf)]) -> impl Iterator<Item = Mount> {
    data.iter().map(|(name, path)| mount(path, &format!("/data/{name}"), Access::ReadOnly))
}

fn mount(source: &Path, target: &str, access: Access) -> Mount {
    Mount { source: source.to_owned(), target: target.to_owned(), access }
}
