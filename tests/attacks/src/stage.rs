//! What the attempts are made on: data with traps in it, things of the host that must stay out of reach, and the helper
//! and the runtime where any user can read them.

use std::fs::{self, Permissions};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::job::Job;
use sandbox::machine::Machine;
use sandbox::oci::OciRuntime;
use sandbox::{
    Access, Cancel, Ended, LaunchError, Launcher, Limits, Mount, Specification, StandardError, Stdin, Wall,
};
use serde_json::json;

use crate::{PRELUDE, PROGRAMS, differences};

/// The host's user that jobs of a stage run as, if root makes it.
pub const JOB_USER: u32 = 40_000;

/// A group that root's launcher has when the matrix is run, and that no job may have.
pub const GROUP: u32 = 4242;

/// The namespaces of a process.
const NAMESPACES: [&str; 8] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];

/// The things that the attempts are made on.
pub struct Stage {
    directory: tempfile::TempDir,
    runtime: PathBuf,
    launcher: Launcher,
    abstract_name: String,
    _listeners: [UnixListener; 3],
}

impl Stage {
    /// Makes them, as whoever runs this, with a runtime that was made before.
    pub fn new(helper: &Path, runtime: &Path) -> io::Result<Self> {
        Self::new_below(&std::env::temp_dir(), helper, runtime)
    }

    /// The same below a directory.
    pub fn new_below(below: &Path, helper: &Path, runtime: &Path) -> io::Result<Self> {
        let directory = open_directory_below(below)?;
        let at = |name: &str| directory.path().join(name);
        for name in ["data", "other", "elevated", "job", "with-socket", "with-pipe", "with-pipe/below"] {
            fs::create_dir(at(name))?;
            fs::set_permissions(at(name), Permissions::from_mode(0o755))?;
        }
        for (name, text) in PROGRAMS.iter().chain([&PRELUDE]) {
            fs::write(at("job").join(name), text)?;
        }
        fs::write(at("data/rows.csv"), "person,visits\n1,2\n")?;
        fs::write(at("other/rows.csv"), "person,visits\n3,4\n")?;
        fs::write(at("secret"), "of the host")?;
        symlink(at("secret"), at("data/link"))?;
        let python = runtime.join("usr/bin/python3");
        fs::copy(&python, at("data/program"))?;
        fs::copy(&python, at("elevated/python3"))?;
        fs::set_permissions(at("elevated/python3"), Permissions::from_mode(0o6755))?;
        fs::write(at("data/closed"), "for the caller")?;
        fs::set_permissions(at("data/closed"), Permissions::from_mode(0o600))?;
        fs::write(at("data/of-group"), "for a group")?;
        if is_root() {
            chown(at("data/of-group"), None, Some(GROUP))?;
        }
        fs::set_permissions(at("data/of-group"), Permissions::from_mode(0o640))?;
        let abstract_name = format!("hostile-suite-{}-{}", std::process::id(), directory.path().display());
        let listeners = [
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name)?)?,
            UnixListener::bind(at("socket"))?,
            UnixListener::bind(at("with-socket/socket"))?,
        ];
        rustix::fs::mkfifoat(rustix::fs::CWD, at("with-pipe/below/pipe"), rustix::fs::Mode::RWXU)?;
        fs::set_permissions(at("socket"), Permissions::from_mode(0o777))?;
        Ok(Self {
            directory,
            runtime: runtime.to_owned(),
            launcher: Launcher::new(helper),
            abstract_name,
            _listeners: listeners,
        })
    }

    /// The same stage, with the wall that an OCI runtime builds.
    pub fn behind(mut self, runtime: OciRuntime) -> Self {
        self.launcher = Launcher::behind(self.launcher.helper(), runtime);
        self
    }

    /// The same stage, with a machine for each job. What the job's user cannot read comes on no disk, and nothing would
    /// start.
    pub fn in_machine(mut self, machine: Machine) -> io::Result<Self> {
        for name in ["data/closed", "data/of-group"] {
            fs::remove_file(self.path(name))?;
        }
        self.launcher = Launcher::in_machine(self.launcher.helper(), machine);
        Ok(self)
    }

    /// The kind of wall.
    pub fn wall(&self) -> Wall {
        self.launcher.wall()
    }

    /// The launcher's program.
    pub fn helper(&self) -> &Path {
        self.launcher.helper()
    }

    /// The runtime's tree.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// A path of the stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a hostile program is told of the host: what to look for.
    fn host(&self) -> String {
        let link = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
        let namespaces: serde_json::Map<String, serde_json::Value> =
            NAMESPACES.iter().map(|name| ((*name).to_owned(), json!(link(name)))).collect();
        json!({
            "abstract": self.abstract_name,
            "socket": self.path("socket"),
            "home": std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from),
            "other": self.path("other"),
            "secret": self.path("secret"),
            "data": self.path("data"),
            "namespaces": namespaces,
            "booted": booted(),
            // What is outside of the one mapped group is shown so.
            "groups": if is_root() { vec![] } else { vec![1000, 65_534] },
            "privileged": is_root(),
            "alone": differences::alone(self.launcher.wall()),
        })
        .to_string()
    }

    /// A Python program of the stage as a job.
    pub fn python(&self, program: PathBuf) -> Specification {
        self.job(&["python3", "-E", "-S", "-B", &program.to_string_lossy(), &self.host()])
    }

    /// Python text as a job.
    pub fn text(&self, text: &str) -> Specification {
        self.job(&["python3", "-I", "-S", "-B", "-c", text])
    }

    /// A command as a job, with the wall that the box puts around jobs.
    pub fn job(&self, command: &[&str]) -> Specification {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let data = [("hie".to_owned(), self.path("data"))];
        let job = Job {
            runtime: &self.runtime,
            bundle: &self.path("job"),
            data: &data,
            command: &command,
            cpus: 1,
            output_bytes: 64 << 20,
            output_entries: 1000,
            limits: Limits {
                memory_bytes: 1 << 30,
                processes: 64,
                processors: 1,
                open_files: 256,
                file_bytes: 32 << 20,
                cpu_seconds: 120,
                wall: Duration::from_secs(240),
                tmp_bytes: 16 << 20,
                tmp_inodes: 1000,
                stdout_bytes: 1 << 20,
            },
            standard_error: StandardError::AsOutput,
            host_uid: is_root().then_some(JOB_USER),
            devices: Vec::new(),
        };
        let mut specification = job.specification().expect("a runtime that can be listed");
        specification.environment =
            vec![("PATH".into(), "/usr/bin".into()), ("LANG".into(), "C.UTF-8".into())];
        specification.mounts.push(Mount {
            source: self.path("elevated"),
            target: "/elevated".into(),
            access: Access::ReadOnlyExecutable,
        });
        specification
    }

    /// Runs it.
    pub fn launch(&self, specification: &Specification) -> Result<Ended, LaunchError> {
        self.launch_with(specification, Stdin::Empty)
    }

    /// Runs it until it ends or this is raised.
    pub fn launch_until(&self, specification: &Specification, cancel: &Cancel) -> Result<Ended, LaunchError> {
        self.launcher.run(specification, Stdin::Empty, cancel)
    }

    /// Runs it with something to read.
    pub fn launch_with(&self, specification: &Specification, stdin: Stdin) -> Result<Ended, LaunchError> {
        let cancel = Cancel::new().map_err(LaunchError::NoResources)?;
        self.launcher.run(specification, stdin, &cancel)
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A temporary directory that every user can enter.
pub fn open_directory() -> io::Result<tempfile::TempDir> {
    open_directory_below(&std::env::temp_dir())
}

fn open_directory_below(below: &Path) -> io::Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new().prefix("hostile-suite-").tempdir_in(below)?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// Since when the host runs, in seconds of the usual clock.
fn booted() -> f64 {
    let seconds = |clock| {
        let now = rustix::time::clock_gettime(clock);
        now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
    };
    seconds(rustix::time::ClockId::Realtime) - seconds(rustix::time::ClockId::Boottime)
}
