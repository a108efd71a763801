//! Where a Python program failed. A file of ours, which the interpreter imports before the program, leaves one number in
//! the output space; it is the job's word, like everything there.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use api::{Failure, Use};
use rustix::fs::{FileType, Mode, OFlags};

use crate::files;

/// Where a job sees the directory with the file of ours. First on PYTHONPATH.
pub const TARGET: &str = "/failure";

/// What the interpreter imports.
const HOOK: &str = include_str!("sitecustomize.py");

/// The name of the report in the output space. No declared output has such a name.
pub const REPORT: &str = ".failure";

/// Lays the file of ours down anew, so that it is always this version's.
pub fn lay_down(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    files::remove_tree(directory)?;
    files::new_directory(directory, 0o700)?;
    let path = directory.join("sitecustomize.py");
    std::fs::write(&path, HOOK)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444))?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o555))
}

/// The report that a job left. Its last process is dead, so nothing changes any more. Whatever has not the form of one
/// tells nothing: no length, no kind and no error of the file goes further than this.
pub fn of(space: &OwnedFd) -> Option<Failure> {
    // Without NOFOLLOW a link would name a file of the enclave's; without NONBLOCK a pipe would hold it up for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::openat(space, REPORT, flags, Mode::empty()).ok()?);
    let found = rustix::fs::fstat(&file).ok()?;
    let mut bytes = [0; 4];
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_size != bytes.len() as i64
    {
        return None;
    }
    (&file).read_exact(&mut bytes).ok()?;
    Failure::from_bits(u32::from_le_bytes(bytes)).ok()
}

/// What a run used: the memory of its largest process, of what it asked for, and the share of the output space that is
/// filled.
pub fn used(peak_bytes: Option<u64>, memory_bytes: u64, space: Option<&OwnedFd>) -> Use {
    let memory = peak_bytes.map_or(0, |peak| Use::eighths(peak, memory_bytes));
    let filled = space.and_then(|space| rustix::fs::fstatvfs(space).ok());
    let output =
        filled.map_or(0, |found| Use::eighths(found.f_blocks.saturating_sub(found.f_bfree), found.f_blocks));
    Use::new(memory, output).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use api::v1::FailureClass;

    use super::*;

    fn space(directory: &Path) -> OwnedFd {
        File::open(directory).unwrap().into()
    }

    #[test]
    fn the_hook_numbers_its_classes_as_the_list_does() {
        let list: String = api::CLASSES.iter().map(|name| format!("    {name},\n")).collect();
        assert!(HOOK.contains(&format!("CLASSES = (\n{list})\n")));
    }

    #[test]
    fn only_four_bytes_of_a_plain_file_are_a_report() {
        let directory = tempfile::tempdir().unwrap();
        let report = directory.path().join(REPORT);
        let read = || of(&space(directory.path()));
        assert_eq!(read(), None, "absent");
        let good = Failure::new(FailureClass::KeyError, 3, 41).unwrap();
        let bytes = good.to_bits().to_le_bytes();
        std::fs::write(&report, bytes).unwrap();
        assert_eq!(read(), Some(good));
        for bad in [&bytes[..3], &[bytes, bytes].concat(), b"row!", &[0; 4], b""] {
            std::fs::write(&report, bad).unwrap();
            assert_eq!(read(), None, "{bad:?}");
        }
        std::fs::remove_file(&report).unwrap();
        std::fs::write(directory.path().join("other"), bytes).unwrap();
        std::os::unix::fs::symlink("other", &report).unwrap();
        assert_eq!(read(), None, "a link");
        std::fs::remove_file(&report).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &report, Mode::from_raw_mode(0o600)).unwrap();
        assert_eq!(read(), None, "a pipe without a writer");
        std::fs::remove_file(&report).unwrap();
        std::fs::create_dir(&report).unwrap();
        assert_eq!(read(), None, "a directory");
    }

    /// Runs a program of these files with the hook, its places moved into a directory, and reads its report.
    fn told(
        files: &[(&str, &str)],
        arguments: &[&str],
        own: Option<&str>,
    ) -> Option<(FailureClass, u32, u32)> {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["job", "out", "hook", "own"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        for (name, text) in files {
            let path = at("job").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let moved = |place: &str| at(place).display().to_string();
        let hook = HOOK
            .replace("\"/out/", &format!("\"{}/", moved("out")))
            .replace("\"/job/", &format!("\"{}/", moved("job")));
        std::fs::write(at("hook").join("sitecustomize.py"), hook).unwrap();
        if let Some(text) = own {
            std::fs::write(at("own").join("sitecustomize.py"), text).unwrap();
        }
        let status = Command::new("python3")
            .args(arguments.iter().map(|argument| argument.replace("/job/", &format!("{}/", moved("job")))))
            .env("PYTHONPATH", format!("{}:{}", moved("hook"), moved("own")))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(at("job"))
            .stderr(std::process::Stdio::null())
            .status();
        status.unwrap();
        let failure = internal_of(of(&space(&at("out")))?);
        Some((FailureClass::try_from(failure.class).unwrap(), failure.file, failure.line))
    }

    fn internal_of(failure: Failure) -> api::v1::Failure {
        failure.into()
    }

    #[test]
    fn a_program_that_fails_tells_its_class_and_the_deepest_line_of_its_own() {
        let manifest = ("databox.toml", "");
        let helper = ("lib/helper.py", "import json\n\ndef read(text):\n    return json.loads(text)\n");
        let main = ("train.py", "from lib.helper import read\nread('{')\n");
        let files = [manifest, helper, main];
        // JSONDecodeError is a ValueError; the frames below helper.py are the runtime's.
        let expected = Some((FailureClass::ValueError, 2, 4));
        assert_eq!(told(&files, &["train.py"], None), expected, "as a script, by a relative name");
        assert_eq!(told(&files, &["/job/train.py"], None), expected, "by its whole name");
        assert_eq!(told(&files, &["-m", "train"], None), expected, "as a module");
        let syntax = ("broken.py", "x = 1\ny = (\n");
        assert_eq!(
            told(&[manifest, syntax], &["broken.py"], None),
            Some((FailureClass::SyntaxError, 1, 2)),
            "what cannot be parsed"
        );
        assert_eq!(
            told(&[("a.py", "import nothing_such")], &["a.py"], None),
            Some((FailureClass::ModuleNotFoundError, 1, 1))
        );
    }

    #[test]
    fn a_class_with_a_chosen_name_and_a_forged_file_are_told_as_other_and_nowhere() {
        let row = "patient_000_7";
        let named = format!("raise type('{row}', (Exception,), {{}})('{row}')");
        assert_eq!(told(&[("a.py", &named)], &["a.py"], None), Some((FailureClass::Other, 1, 1)));
        let dressed = "raise type('KeyError', (Exception,), {})()";
        assert_eq!(told(&[("a.py", dressed)], &["a.py"], None), Some((FailureClass::Other, 1, 1)));
        let forged = format!("exec(compile('1/0', '/job/{row}', 'exec'))");
        assert_eq!(
            told(&[("a.py", &forged)], &["a.py"], None),
            Some((FailureClass::ZeroDivisionError, 1, 1)),
            "a file that is not in the bundle is passed over"
        );
    }

    #[test]
    fn a_program_that_ends_well_or_exits_or_turns_the_hook_off_tells_nothing() {
        for code in ["pass", "raise SystemExit('row')", "import sys; sys.exit(7)", "import os; os.abort()"] {
            assert_eq!(told(&[("a.py", code)], &["a.py"], None), None, "{code}");
        }
        assert_eq!(told(&[("a.py", "1/0")], &["-I", "a.py"], None), None, "without the environment");
        let child = "import os\nif os.fork() == 0:\n    1/0\nos.wait()\n";
        assert_eq!(told(&[("a.py", child)], &["a.py"], None), None, "a child's failure is not the program's");
        assert!(told(&[("a.py", "1/0")], &["a.py"], None).is_some(), "an honest failure is told");
    }

    #[test]
    fn the_runtimes_own_customization_runs_and_the_program_sees_no_trace_of_the_hook() {
        let own = "import builtins\nbuiltins.mark = 5\n";
        let seen = "import os, sys\nassert mark == 5\nassert not any('hook' in place for place in sys.path)\n\
                    assert 'PYTHONPATH' not in os.environ\nNone.x\n";
        assert_eq!(told(&[("a.py", seen)], &["a.py"], Some(own)), Some((FailureClass::AttributeError, 1, 5)));
    }

    #[test]
    fn use_is_told_of_what_was_asked_for_and_never_past_the_highest_step() {
        let used = used(Some(900), 800, None);
        assert_eq!(used, Use::new(7, 0).unwrap());
        assert_eq!(super::used(None, 800, None), Use::default());
    }
}
