//! What every test stands on: the helper and the runtime where any user can read them, and a program to run.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sandbox::{
    Access, Calls, Cancel, Ended, LaunchError, Launcher, Limits, Mount, Outcome, Specification,
    StandardError, Stdin, host_python,
};

/// Where the helper and the runtime lie, for the run as a normal user.
pub const HELPER: &str = "WALL_TEST_HELPER";
pub const RUNTIME: &str = "WALL_TEST_RUNTIME";

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A fresh directory of one test, and the shared helper and runtime.
pub struct Stand {
    pub directory: PathBuf,
    pub helper: PathBuf,
    pub runtime: PathBuf,
    /// As whom the program runs, if this is root.
    pub host_uid: Option<u32>,
    _directory: tempfile::TempDir,
    _shared: Arc<Shared>,
}

/// Made by the first test that needs it and gone with the last that uses it.
struct Shared {
    helper: PathBuf,
    runtime: PathBuf,
    _directory: Option<tempfile::TempDir>,
}

fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("its mode");
    directory
}

fn shared() -> Arc<Shared> {
    static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shared) = shared.upgrade() {
        return shared;
    }
    let made = Arc::new(make_shared());
    *shared = Arc::downgrade(&made);
    made
}

fn make_shared() -> Shared {
    if let (Some(helper), Some(runtime)) = (std::env::var_os(HELPER), std::env::var_os(RUNTIME)) {
        return Shared { helper: helper.into(), runtime: runtime.into(), _directory: None };
    }
    let python = Path::new("/usr/bin/python3");
    assert!(python.exists(), "these tests need {python:?}: apt install python3");
    let directory = open_directory();
    let (helper, runtime) = (directory.path().join("databox-launch"), directory.path().join("runtime"));
    fs::copy(env!("CARGO_BIN_EXE_databox-launch"), &helper).expect("a copy of the helper");
    host_python(python, &runtime).expect("a runtime");
    Shared { helper, runtime, _directory: Some(directory) }
}

impl Stand {
    pub fn new() -> Stand {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let directory = open_directory();
        // Each run needs an id that no other run has at the same time.
        let uid = 40_000 + NEXT.fetch_add(1, Ordering::Relaxed);
        let shared = shared();
        let stand = Stand {
            directory: directory.path().to_owned(),
            helper: shared.helper.clone(),
            runtime: shared.runtime.clone(),
            host_uid: is_root().then_some(uid),
            _directory: directory,
            _shared: shared,
        };
        for name in ["data", "out"] {
            fs::create_dir(stand.directory.join(name)).expect("a directory");
        }
        chown(stand.out(), stand.host_uid, stand.host_uid).expect("the job's own directory");
        fs::write(stand.directory.join("data/rows.csv"), "person,visits\n1,2\n").expect("data");
        stand
    }

    pub fn out(&self) -> PathBuf {
        self.directory.join("out")
    }

    /// A Python program as a job: data at `/data/hie`, output at `/out`.
    pub fn python(&self, code: &str) -> Specification {
        let mount = |source: PathBuf, target: &str, access| Mount { source, target: target.into(), access };
        let mut mounts = vec![
            mount(self.directory.join("data"), "/data/hie", Access::ReadOnly),
            mount(self.out(), "/out", Access::Writable),
        ];
        for name in ["lib", "lib64", "usr"] {
            mounts.push(mount(self.runtime.join(name), &format!("/{name}"), Access::ReadOnlyExecutable));
        }
        // Standard error goes nowhere, so a failing assertion is told on standard output.
        let tell = "import sys, traceback\n\
            try: exec(compile(sys.argv[1], 'test', 'exec'), globals())\n\
            except Exception: traceback.print_exc(file=sys.stdout); sys.exit(1)\n";
        Specification {
            mounts,
            output: None,
            program: "python3".into(),
            arguments: ["-I", "-S", "-B", "-c", tell, code].map(str::to_owned).to_vec(),
            environment: vec![("PATH".into(), "/usr/bin".into()), ("LANG".into(), "C.UTF-8".into())],
            working_directory: "/out".into(),
            limits: Limits {
                memory_bytes: 1 << 30,
                processes: 64,
                processors: 64,
                open_files: 256,
                file_bytes: 64 << 20,
                cpu_seconds: 30,
                wall: Duration::from_secs(40),
                tmp_bytes: 16 << 20,
                tmp_inodes: 1000,
                stdout_bytes: 64 << 10,
            },
            calls: Calls::Job,
            standard_error: StandardError::Nowhere,
            host_uid: self.host_uid,
            devices: Vec::new(),
        }
    }

    pub fn launch(&self, specification: &Specification) -> Result<Ended, LaunchError> {
        Launcher::new(&self.helper).run(specification, Stdin::Empty, &Cancel::new().expect("a cancel"))
    }

    /// Runs a specification that the wall must accept.
    pub fn run(&self, specification: &Specification) -> Ended {
        match self.launch(specification) {
            Ok(ended) => ended,
            Err(error) => panic!(
                "{error}: {}",
                std::error::Error::source(&error).map_or(String::new(), |e| e.to_string())
            ),
        }
    }

    /// Runs Python whose assertions must all hold; returns what it printed.
    pub fn holds(&self, code: &str) -> String {
        self.holds_with(&self.python(code))
    }

    pub fn holds_with(&self, specification: &Specification) -> String {
        let ended = self.run(specification);
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!(ended.outcome, Outcome::Succeeded, "{:?} {said}", ended.code);
        said
    }
}

/// The test program once more, running one ignored test on the same helper and runtime.
pub fn again(stand: &Stand, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    // What it leaves when it is killed goes with this test.
    command.env("TMPDIR", &stand.directory);
    command.env(HELPER, &stand.helper).env(RUNTIME, &stand.runtime);
    command
}
