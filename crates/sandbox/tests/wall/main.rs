//! Real attacks on the real wall, each with an innocent twin, run as whoever runs the tests and, if that is root, once
//! more as a normal user. The attacks are Python inside a runtime copied from the host.

mod devices;
mod doors;
mod endings;
mod groups;
mod limits;
mod sources;
mod space;
mod stand;
mod view;

use std::os::unix::process::CommandExt;
use std::process::Command;

/// The wall of a normal user is another road through the same code, so every test takes it as well.
#[test]
fn every_promise_holds_for_a_normal_user_too() {
    if !stand::is_root() {
        return;
    }
    let stand = stand::Stand::new();
    // The tests' own files may lie where a normal user cannot read.
    let tests = stand.directory.join("tests");
    std::fs::copy(std::env::current_exe().expect("this program"), &tests).expect("a copy");
    let result = Command::new("/usr/bin/setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&tests)
        .args(["--test-threads=4"])
        .env(stand::HELPER, &stand.helper)
        .env(stand::RUNTIME, &stand.runtime)
        .env_remove("TMPDIR")
        .current_dir("/")
        .process_group(0)
        .output()
        .expect("setpriv, of Debian's util-linux");
    let said = String::from_utf8_lossy(&result.stdout);
    assert!(result.status.success(), "as uid 65534:\n{said}");
    assert!(said.contains("test view::"), "no test ran:\n{said}");
}

/// Root's own groups, such as those that may read raw disks, must not reach the job.
#[test]
fn a_job_has_none_of_roots_groups() {
    if !stand::is_root() {
        return;
    }
    let stand = stand::Stand::new();
    let result = Command::new("/usr/bin/setpriv")
        .args(["--groups=6,15"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "view::a_job_sees_nothing_of_the_host"])
        .env(stand::HELPER, &stand.helper)
        .env(stand::RUNTIME, &stand.runtime)
        .output()
        .expect("setpriv, of Debian's util-linux");
    let said = String::from_utf8_lossy(&result.stdout);
    assert!(result.status.success() && said.contains("1 passed"), "{said}");
}
