//! What a specification may name, and what is refused by name.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use sandbox::{
    Access, LaunchError, Mount, Outcome, Refusal, RuntimeError, Specification, SpecificationError as E,
    host_python,
};

use crate::stand::{Stand, is_root};

fn with_mount(stand: &Stand, source: PathBuf, target: &str) -> Specification {
    let mut specification = stand.python("import os; print(sorted(os.listdir('/extra')))");
    specification.mounts.push(Mount { source, target: target.into(), access: Access::ReadOnly });
    specification
}

fn refusal(stand: &Stand, specification: &Specification) -> Refusal {
    match stand.launch(specification) {
        Err(LaunchError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mount_source_that_is_or_leads_through_a_link_is_refused() {
    let stand = Stand::new();
    let real = stand.directory.join("real");
    fs::create_dir_all(real.join("inner")).expect("directories");
    fs::write(real.join("inner/file"), "x").expect("a file");
    symlink(&real, stand.directory.join("link")).expect("a link");
    symlink("file", real.join("inner/file-link")).expect("a link");

    let direct = with_mount(&stand, real.join("inner"), "/extra");
    assert_eq!(stand.holds_with(&direct), "['file', 'file-link']\n");
    for through in ["link", "link/inner", "real/inner/file-link"] {
        let source = stand.directory.join(through);
        let specification = with_mount(&stand, source.clone(), "/extra");
        assert_eq!(refusal(&stand, &specification), Refusal::SourceIsLink(source));
    }
    let magic = PathBuf::from("/proc/self/root");
    assert_eq!(refusal(&stand, &with_mount(&stand, magic.clone(), "/extra")), Refusal::SourceIsLink(magic));
}

#[test]
fn a_mount_source_is_a_file_or_a_directory() {
    let stand = Stand::new();
    let socket = stand.directory.join("socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    assert_eq!(
        refusal(&stand, &with_mount(&stand, socket.clone(), "/extra")),
        Refusal::SourceOfWrongKind(socket)
    );
    let device = PathBuf::from("/dev/null");
    assert_eq!(
        refusal(&stand, &with_mount(&stand, device.clone(), "/extra")),
        Refusal::SourceOfWrongKind(device)
    );
    let missing = stand.directory.join("missing");
    assert_eq!(
        refusal(&stand, &with_mount(&stand, missing.clone(), "/extra")),
        Refusal::SourceNotOpened { path: missing, errno: 2 }
    );
    let file = stand.directory.join("data/rows.csv");
    let mut specification = with_mount(&stand, file, "/deep/down/rows.csv");
    specification.arguments.pop();
    specification.arguments.push("print(open('/deep/down/rows.csv').readline())".into());
    assert_eq!(stand.holds_with(&specification).trim(), "person,visits");
}

#[test]
fn what_is_mounted_below_a_source_is_not_shown() {
    // A host that has something mounted below a directory: every Linux has /proc below /.
    let stand = Stand::new();
    let specification = with_mount(&stand, PathBuf::from("/proc"), "/extra");
    // For root a clone of one mount; a normal user's kernel refuses to uncover what lies below. Neither shows more.
    match stand.launch(&specification) {
        Ok(ended) => {
            assert!(!String::from_utf8_lossy(&ended.stdout).contains("sysrq"), "{:?}", ended.outcome)
        }
        Err(error) => assert!(matches!(error, LaunchError::Refused(_)), "{error:?}"),
    }
}

#[test]
fn a_specification_that_bends_paths_or_the_loader_is_refused() {
    let stand = Stand::new();
    let target = |target: &str| with_mount(&stand, stand.directory.join("data"), target);
    let changed = |change: &dyn Fn(&mut Specification)| {
        let mut specification = stand.python("");
        change(&mut specification);
        specification
    };
    let plain = |target: &str| E::TargetNotPlain(target.into());
    let mut cases = vec![
        (target("/extra/../usr"), plain("/extra/../usr")),
        (target("extra"), plain("extra")),
        (target("/"), plain("/")),
        (target("/extra/"), plain("/extra/")),
        (target("/./extra"), plain("/./extra")),
        (target("/ex\0tra"), plain("/ex\0tra")),
        (target("/dev/extra"), E::TargetReserved("/dev/extra".into())),
        (target("/proc"), E::TargetReserved("/proc".into())),
        (target("/tmp/x"), E::TargetReserved("/tmp/x".into())),
        (target("/usr/extra"), E::TargetsOverlap("/usr".into(), "/usr/extra".into())),
        (target("/data"), E::TargetsOverlap("/data/hie".into(), "/data".into())),
        (target("/out"), E::TargetsOverlap("/out".into(), "/out".into())),
        (with_mount(&stand, "relative".into(), "/extra"), E::SourceNotPlain("relative".into())),
        (with_mount(&stand, "/tmp/../etc".into(), "/extra"), E::SourceNotPlain("/tmp/../etc".into())),
        (changed(&|s| s.program = "../python3".into()), E::ProgramNotPlain("../python3".into())),
        (changed(&|s| s.working_directory = "out".into()), E::WorkingDirectoryNotPlain("out".into())),
        (changed(&|s| s.arguments.push("a\0b".into())), E::ArgumentHoldsZero),
        (changed(&|s| s.limits.open_files = 1001), E::LimitOutOfRange("open_files".into())),
        (changed(&|s| s.limits.processes = 0), E::LimitOutOfRange("processes".into())),
        (changed(&|s| s.limits.memory_bytes = u64::MAX), E::LimitOutOfRange("memory_bytes".into())),
        (changed(&|s| s.limits.wall = std::time::Duration::ZERO), E::LimitOutOfRange("wall".into())),
    ];
    for name in ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GLIBC_TUNABLES", "GCONV_PATH"] {
        let specification = changed(&|s| s.environment.push((name.into(), "x".into())));
        cases.push((specification, E::VariableSteersLoader(name.into())));
    }
    if is_root() {
        cases.push((changed(&|s| s.host_uid = None), E::HostUserMissing));
        cases.push((changed(&|s| s.host_uid = Some(0)), E::HostUserReserved(0)));
    } else {
        cases.push((changed(&|s| s.host_uid = Some(40_000)), E::HostUserNeedsRoot));
    }
    for (specification, expected) in cases {
        match stand.launch(&specification) {
            Err(LaunchError::Specification(found)) => assert_eq!(found, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    assert_eq!(stand.run(&stand.python("")).outcome, Outcome::Succeeded);
}

#[test]
fn a_runtime_holds_files_and_directories_only() {
    let stand = Stand::new();
    let mut seen = 0;
    let mut left = vec![stand.runtime.clone()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry")) {
            let kind = entry.file_type().expect("a kind");
            assert!(kind.is_file() || kind.is_dir(), "{:?}", entry.path());
            assert_ne!(entry.file_name(), "dist-packages");
            seen += 1;
            if kind.is_dir() {
                left.push(entry.path());
            }
        }
    }
    assert!(seen > 300, "{seen} files");
}

#[test]
fn a_runtime_is_not_made_from_what_is_no_python_or_over_another() {
    let stand = Stand::new();
    let make =
        |interpreter: &str, name: &str| host_python(Path::new(interpreter), &stand.directory.join(name));
    assert!(matches!(make("/usr/bin/no-python", "a"), Err(RuntimeError::InterpreterMissing(_))));
    assert!(matches!(make("python3", "a"), Err(RuntimeError::InterpreterMissing(_))));
    assert!(matches!(make("/usr/bin/true", "a"), Err(RuntimeError::NotPython(_))));
    assert!(matches!(make("/usr/bin/python3", "data"), Err(RuntimeError::DestinationNotEmpty(_))));
}

/// Compiling what it imports would be most of a small job's time. Debian compiles the modules of its Python.
#[test]
fn a_job_in_a_copy_of_the_hosts_python_compiles_no_module_of_it() {
    let stand = Stand::new();
    std::fs::write(stand.directory.join("data/own.py"), "x = 1\n").unwrap();
    let code = "
import importlib.machinery
def refuse(*_, **__): raise SystemError('compiled')
importlib.machinery.SourceFileLoader.source_to_code = refuse
import argparse, csv, json, random
print('imported')
sys.path.append('/data/hie')
try:
    import own
except SystemError:
    print('its own is')
";
    let ended = stand.run(&stand.python(code));
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "imported\nits own is\n");
}
