//! What a job cannot reach.

use api::v1::Reason;
use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;

use crate::wait;

#[test]
fn no_network_family_opens_but_sockets_within_the_job_do() {
    let tested = TestBox::start();
    let attack = format!(
        r#"
import socket
opened = 0
for family in range(64):
    if family == socket.AF_UNIX:
        continue
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        for protocol in (0, 1, 6, 17, 255):
            try:
                socket.socket(family, kind, protocol).close()
                opened += 1
            except OSError:
                pass
{}"#,
        write_metric("opened")
    );
    let twin = format!(
        r#"
import socket
left, right = socket.socketpair()
left.sendall(b"hello")
answered = 1 if right.recv(5) == b"hello" else 0
{}"#,
        write_metric("answered")
    );
    wait(async {
        assert_eq!(tested.observe("families", &attack).await, 0.0);
        assert_eq!(tested.observe("within", &twin).await, 1.0);
    });
}

#[test]
fn a_job_that_takes_more_than_it_was_given_ends_by_name_and_one_that_does_not_passes() {
    let tested = TestBox::start();
    let evidence =
        sandbox::probe(&sandbox::Launcher::new(harness::programs().join("databox-launch"))).expect("a wall");
    let is_on = |layer| evidence.state(layer) == sandbox::State::On;
    // Where no group counts, only each process is limited, and a job that fails for that is one that failed.
    let named = |layer, reason| if is_on(layer) { reason } else { Reason::ProgramFailed };
    let bomb = "import os, time\nwhile True:\n    if not os.fork(): time.sleep(60)\n";
    let together = r#"
import os, time
children = []
for number in range(4):
    child = os.fork()
    if not child:
        kept = bytearray(700 << 20); kept[::4096] = b'x' * len(kept[::4096])
        time.sleep(5)
        os._exit(0)
    children.append(child)
raise SystemExit(any([os.waitpid(child, 0)[1] for child in children]))
"#;
    wait(async {
        let text = manifest(ONE_METRIC);
        let bundle = tested.bundle("bomb", &[("databox.toml", &text), ("job.py", bomb)]);
        let job = tested.run_job("kim", &bundle).await;
        assert_eq!(state(&job), State::Failed);
        let reason = job.outcome.unwrap_or_default().reason();
        assert_eq!(reason, named(sandbox::LayerName::CgroupProcesses, Reason::ProcessLimit));
        if is_on(sandbox::LayerName::CgroupMemory) {
            let bundle = tested.bundle("together", &[("databox.toml", &text), ("job.py", together)]);
            let job = tested.run_job("kim", &bundle).await;
            assert_eq!(job.outcome.unwrap_or_default().reason(), Reason::MemoryLimit);
        }
        let twin = format!(
            "{}\nheld = 1\n{}",
            together.replace("700", "7").replace("raise SystemExit(", "("),
            write_metric("held")
        );
        assert_eq!(tested.observe("within", &twin).await, 1.0);
    });
}

const LOOK_FOR: &str = r#"
import os
def look_for(marker):
    found = 0
    for top in ("/", "/tmp", "/dev/shm", "/job", "/out", "/data"):
        for directory, _, files in os.walk(top):
            if directory.startswith(("/proc", "/usr", "/lib")):
                continue
            for name in files:
                try:
                    if marker in open(os.path.join(directory, name), "rb").read(1 << 20):
                        found += 1
                except OSError:
                    pass
    return found
"#;

#[test]
fn nothing_of_one_job_is_left_for_another_but_a_job_finds_its_own() {
    let tested = TestBox::start();
    let leave = format!(
        "{LOOK_FOR}
for path in ('/tmp/left', '/dev/shm/left'):
    open(path, 'wb').write(b'left-' + b'by-kim')
found = 1 if look_for(b'left-' + b'by-kim') >= 1 else 0
{}",
        write_metric("found")
    );
    let search = format!("{LOOK_FOR}\nfound = look_for(b'left-' + b'by-kim')\n{}", write_metric("found"));
    wait(async {
        assert_eq!(tested.observe("leaves", &leave).await, 1.0, "a job finds what it wrote itself");
        assert_eq!(tested.observe("searches", &search).await, 0.0);
    });
}

#[test]
fn data_cannot_be_changed_and_the_host_is_not_there_but_data_can_be_read() {
    let tested = TestBox::start();
    let attack = format!(
        r#"
import os
reached = 0
for path in ("/etc/passwd", "/root", "/home", "/var", "/sys", "/proc/1/environ", "/proc/kcore", "/boot", "/run"):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
        reached += 1
    except OSError:
        pass
for attempt in (
    lambda: open("/data/hie/hie.csv", "a").write("x"),
    lambda: os.remove("/data/hie/hie.csv"),
    lambda: open("/job/job.py", "a").write("x"),
    lambda: open("/usr/bin/python3", "r+b"),
    lambda: os.rename("/data/hie/hie.csv", "/data/hie/other.csv"),
    lambda: os.chmod("/data/hie/hie.csv", 0o777),
):
    try:
        attempt()
        reached += 1
    except OSError:
        pass
{}"#,
        write_metric("reached")
    );
    let twin = format!("rows = len(open('/data/hie/hie.csv').readlines()) - 1\n{}", write_metric("rows"));
    wait(async {
        assert_eq!(tested.observe("reaches", &attack).await, 0.0);
        assert_eq!(tested.observe("reads", &twin).await, 600.0);
    });
}
