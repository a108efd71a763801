//! What a job sees: what it was given, and nothing of the host.

use std::fs::File;
use std::io::Write;

use rustix::io::{FdFlags, fcntl_setfd};
use sandbox::{Launcher, LayerName, State, probe};

use crate::stand::{Stand, is_root};

#[test]
fn honest_python_finds_what_it_needs() {
    let said = Stand::new().holds(
        r#"
import json, csv, math, struct, random, zlib, hashlib, sqlite3, tempfile, threading, subprocess, sys, shutil, os
import multiprocessing as mp
def square(n): return n * n
assert zlib.decompress(zlib.compress(b'rows')) == b'rows'
assert len(hashlib.sha256(b'').hexdigest()) == 64
assert [row['visits'] for row in csv.DictReader(open('/data/hie/rows.csv'))] == ['2']
with mp.get_context('fork').Pool(2) as pool: assert pool.map(square, [1, 2, 3]) == [1, 4, 9]
with mp.Manager() as manager:
    shared = manager.list([1]); shared.append(2); assert list(shared) == [1, 2]
queue = mp.Queue(); queue.put(1); assert queue.get() == 1
thread = threading.Thread(target=queue.put, args=(2,)); thread.start(); thread.join(); assert queue.get() == 2
assert subprocess.run([sys.executable, '-I', '-S', '-c', 'print(6*7)'], capture_output=True).stdout == b'42\n'
with tempfile.NamedTemporaryFile() as file: file.write(b'x')
json.dump({'log_loss': 0.5}, open('/out/metrics.json', 'w'))
shutil.copy2('/out/metrics.json', '/out/copy.json')
database = sqlite3.connect('/out/x.db'); database.execute('create table t(a)'); database.commit()
assert os.cpu_count() and random.random() < 1 and struct.pack('<f', math.pi)
print('all of it')
"#,
    );
    assert_eq!(said, "all of it\n");
}

#[test]
fn a_job_has_three_descriptors_whatever_the_caller_has_open() {
    let stand = Stand::new();
    let secret = File::open("/proc/self/environ").expect("a file");
    // A caller's mistake: this descriptor would be inherited by whatever it executes.
    fcntl_setfd(&secret, FdFlags::empty()).expect("an inheritable descriptor");
    let said = stand.holds(
        r#"
import os
# The fourth is the listing itself.
assert sorted(map(int, os.listdir('/proc/self/fd'))) == [0, 1, 2, 3], os.listdir('/proc/self/fd')
try: os.fstat(3); raise SystemExit(3)
except OSError: pass
assert os.readlink('/proc/self/fd/2') == '/dev/null'
assert os.readlink('/proc/self/fd/0') == '/dev/null'
assert os.read(0, 1) == b''
print(os.write(2, b'nobody reads this'))
"#,
    );
    assert_eq!(said, "17\n");
}

#[test]
fn a_job_sees_nothing_of_the_host() {
    let stand = Stand::new();
    let said = stand.holds(
        r#"
import os, socket
assert dict(os.environ) == {'PATH': '/usr/bin', 'LANG': 'C.UTF-8'}, os.environ
assert sorted(os.listdir('/')) == ['data', 'dev', 'lib', 'lib64', 'out', 'proc', 'tmp', 'usr'], os.listdir('/')
assert os.listdir('/data') == ['hie'] and os.listdir('/tmp') == [] and os.listdir('/dev/shm') == []
assert sorted(os.listdir('/dev')) == ['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero']
assert socket.gethostname() == 'box'
assert (os.getuid(), os.geteuid(), os.getgid(), os.getgroups()) == (1000, 1000, 1000, [])
pids = [name for name in os.listdir('/proc') if name.isdigit()]
assert pids == [str(os.getpid())], pids
for name in ['version', 'cpuinfo', 'meminfo', 'kallsyms', 'kcore', 'keys', 'config.gz', 'sys', 'sysrq-trigger',
             'timer_list', 'loadavg', 'uptime', 'stat', '1/environ', '1/cmdline', '1/maps', '1/root', '1/cwd', '1/exe']:
    assert not os.path.lexists('/proc/' + name), name
for name in ['/etc', '/root', '/home', '/var', '/sys', '/boot', '/run', '/bin/sh', '/usr/lib/ssl', '/dev/tty', '/dev/kmsg', '/dev/ptmx']:
    assert not os.path.lexists(name), name
assert open('/proc/self/cgroup').read().strip().split(':')[-1] == '/'
assert open('/proc/self/uid_map').read().split()[0::2] == ['1000', '1']
for path in ['/../etc', '/data/../../etc', '/proc/self/root/etc', '/proc/self/cwd/../etc']:
    assert not os.path.exists(path), path
print('nothing')
"#,
    );
    assert_eq!(said, "nothing\n");
}

#[test]
fn another_studys_files_are_absent_by_every_road() {
    let stand = Stand::new();
    let other = stand.directory.join("other");
    std::fs::create_dir(&other).expect("a directory");
    File::create(other.join("rows.csv")).expect("a file").write_all(b"secret").expect("its content");
    std::os::unix::fs::symlink(&other, stand.directory.join("data/link")).expect("a link");
    stand.holds(&format!(
        r#"
import os
assert 'rows.csv' in os.listdir('/data/hie')
assert not os.path.exists({other:?})
assert os.path.islink('/data/hie/link') and not os.path.exists('/data/hie/link')
for path in ['/data/hie/../other', '/data/hie/../../other', '/out/../other', '/proc/self/cwd/../other']:
    assert not os.path.exists(path), path
held = os.open('/data/hie', os.O_RDONLY)
assert not os.path.exists(f'/proc/self/fd/{{held}}/../other')
try: os.open('../other', os.O_RDONLY, dir_fd=held); raise SystemExit(3)
except FileNotFoundError: pass
"#
    ));
}

#[test]
fn read_only_data_cannot_be_changed_and_output_can() {
    let stand = Stand::new();
    // The strongest case: the file belongs to the job's own user, and only the mount protects it.
    let rows = stand.directory.join("data/rows.csv");
    std::os::unix::fs::chown(&rows, stand.host_uid, None).expect("an owner");
    let before = std::fs::read(&rows).expect("data");
    stand.holds(
        r#"
import os, mmap
rows = '/data/hie/rows.csv'
def refused(what):
    try: what()
    except OSError as error: assert error.errno in (1, 13, 30), error; return
    raise AssertionError(what)
reader = os.open(rows, os.O_RDONLY)
for flags in (os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_TRUNC):
    refused(lambda: os.open(rows, flags)); refused(lambda: os.open(f'/proc/self/fd/{reader}', flags))
refused(lambda: os.unlink(rows)); refused(lambda: os.rename(rows, '/data/hie/x')); refused(lambda: os.chmod(rows, 0o666))
refused(lambda: os.truncate(rows, 0)); refused(lambda: os.utime(rows)); refused(lambda: open('/data/hie/new', 'w'))
refused(lambda: mmap.mmap(reader, 0, mmap.MAP_SHARED, mmap.PROT_WRITE)); refused(lambda: os.mkdir('/new'))
refused(lambda: open('/usr/bin/python3', 'r+b')); refused(lambda: open('/dev/new', 'w')); refused(lambda: open('/proc/self/mem', 'r+b'))
writer = os.open('/out/rows.csv', os.O_RDWR | os.O_CREAT); os.write(writer, b'mine')
mmap.mmap(writer, 0, mmap.MAP_SHARED)[0:1] = b'M'
"#,
    );
    assert_eq!(std::fs::read(&rows).expect("data"), before);
    assert_eq!(std::fs::read(stand.out().join("rows.csv")).expect("output"), b"Mine");
}

#[test]
fn nothing_is_left_of_the_job_before() {
    let stand = Stand::new();
    stand.holds("open('/tmp/left', 'w').write('x'); open('/dev/shm/left', 'w').write('x')");
    stand.holds("import os; assert os.listdir('/tmp') == [] and os.listdir('/dev/shm') == []");
}

#[test]
fn a_jobs_clocks_begin_with_it_and_run() {
    let stand = Stand::new();
    stand.holds(
        r#"
import time
for clock in (time.CLOCK_MONOTONIC, time.CLOCK_MONOTONIC_RAW, time.CLOCK_BOOTTIME):
    assert 0 <= time.clock_gettime(clock) < 60, clock
assert 0 <= int(open('/proc/self/stat').read().rsplit(')', 1)[1].split()[19]) < 6000
assert time.time() > 1.7e9
begun = time.monotonic(); time.sleep(0.2)
import threading
assert not threading.Event().wait(0.2)
assert 0.3 < time.monotonic() - begun < 30
"#,
    );
}

#[test]
fn the_evidence_names_each_layer_and_what_is_off() {
    let evidence = probe(&Launcher::new(&Stand::new().helper)).expect("a wall");
    assert_eq!(evidence.privileged, is_root());
    let names: Vec<_> = evidence.layers.iter().map(|layer| layer.name).collect();
    assert_eq!(names, LayerName::ALL);
    for layer in &evidence.layers {
        let expected = match layer.name {
            // What a machine gives of control groups is found out where they are tested.
            LayerName::CgroupMemory
            | LayerName::CgroupEndTogether
            | LayerName::CgroupProcesses
            | LayerName::CgroupProcessor
            | LayerName::CgroupKill => {
                assert_ne!(layer.state, State::Absent);
                continue;
            }
            LayerName::OwnHostUser if !is_root() => State::Off,
            _ => State::On,
        };
        assert_eq!(layer.state, expected, "{}", layer.name.as_str());
    }
    let text = serde_json::to_string(&evidence).expect("JSON");
    assert!(text.contains(r#"{"name":"seccomp","state":"on"}"#), "{text}");
}
