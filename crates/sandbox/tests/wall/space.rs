//! The output space: what a job writes lies in memory, is bounded by the kernel, and outlives the job.

use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, Mode, OFlags, openat};
use sandbox::{Ended, Outcome, OutputSpace, Specification};

use crate::stand::Stand;

fn with_space(stand: &Stand, code: &str) -> Specification {
    let mut specification = stand.python(code);
    specification.mounts.retain(|mount| mount.target != "/out");
    specification.output = Some(OutputSpace { target: "/out".into(), bytes: 4 << 20, entries: 50 });
    specification
}

fn space(ended: &Ended) -> &OwnedFd {
    ended.output.as_ref().expect("the output space")
}

fn names(space: &OwnedFd) -> Vec<String> {
    let entries = Dir::read_from(space).expect("a directory").map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into()).collect();
    names.retain(|name| name != "." && name != "..");
    names.sort();
    names
}

#[test]
fn what_a_job_wrote_is_there_when_its_last_process_is_dead() {
    let stand = Stand::new();
    let code = "open('/out/metrics.json', 'w').write('{}'); open('/out/b', 'wb').write(b'x' * (1 << 20))\n\
        import os\n\
        if os.fork() == 0:\n  import time; time.sleep(1000)\n";
    let ended = stand.run(&with_space(&stand, code));
    assert_eq!(ended.outcome, Outcome::Succeeded);
    assert_eq!(names(space(&ended)), ["b", "metrics.json"]);
    let file = openat(space(&ended), "metrics.json", OFlags::RDONLY, Mode::empty()).expect("the file");
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).expect("its text");
    assert_eq!(text, "{}");
    assert_eq!(std::fs::read_dir(stand.out()).expect("the directory").count(), 0, "nothing on the disk");
}

#[test]
fn a_job_that_fills_its_space_in_bytes_or_names_fills_nothing_else_and_says_so() {
    let stand = Stand::new();
    let cases = [
        ("open('/out/big', 'wb').write(bytes(64 << 20))", Outcome::SpaceLimit),
        ("for number in range(1000): open(f'/out/{number}', 'w').close()", Outcome::SpaceLimit),
        (
            "open('/out/one', 'w').close()\nimport os\nfor number in range(1000): os.link('/out/one', f'/out/{number}')",
            Outcome::SpaceLimit,
        ),
        ("open('/tmp/big', 'wb').write(bytes(64 << 20))", Outcome::SpaceLimit),
        ("open('/out/big', 'wb').write(bytes(3 << 20))", Outcome::Succeeded),
        ("raise SystemExit(1)", Outcome::Failed),
    ];
    for (code, expected) in cases {
        let ended = stand.run(&with_space(&stand, code));
        assert_eq!(ended.outcome, expected, "{code}");
        assert!(names(space(&ended)).len() <= 50, "{code}");
    }
}

#[test]
fn nothing_in_the_space_can_be_executed() {
    let stand = Stand::new();
    let code = "import os, shutil\nshutil.copy('/usr/bin/python3', '/out/program')\nos.chmod('/out/program', 0o755)\n\
        try: os.execv('/out/program', ['program', '-c', 'pass'])\n\
        except PermissionError: print('refused')\n";
    let mut specification = with_space(&stand, code);
    specification.output.as_mut().expect("a space").bytes = 64 << 20;
    assert_eq!(stand.holds_with(&specification), "refused\n");
}

#[test]
fn a_space_within_a_mount_or_without_bound_is_refused() {
    let stand = Stand::new();
    let good = with_space(&stand, "pass");
    assert!(good.check(stand.host_uid.is_some()).is_ok());
    let spoil =
        [("/data/hie/out", 1 << 20, 10), ("/tmp/out", 1 << 20, 10), ("/out", 0, 10), ("/out", 1 << 20, 0)];
    for (target, bytes, entries) in spoil {
        let mut bad = good.clone();
        bad.output = Some(OutputSpace { target: target.into(), bytes, entries });
        assert!(bad.check(stand.host_uid.is_some()).is_err(), "{target} {bytes} {entries}");
    }
}
