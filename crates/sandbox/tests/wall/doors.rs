//! The kernel's doors: sockets, system calls, foreign ABIs, executables.

use sandbox::{Calls, Outcome};

use crate::stand::Stand;

#[test]
fn every_socket_family_is_refused_but_local_ones() {
    let said = Stand::new().holds(
        r#"
import socket, errno
opened = []
for family in range(0, 64):
    for kind in (1, 2, 3, 5):
        for protocol in (0, 1, 6, 17):
            try: socket.socket(family, kind, protocol).close(); opened.append(family)
            except OSError as error: assert family == 1 or error.errno == errno.EPERM, (family, kind, error)
print(sorted(set(opened)))
try: socket.socketpair(socket.AF_INET, socket.SOCK_STREAM); print('pair')
except OSError: pass
one, two = socket.socketpair(); one.send(b'x'); assert two.recv(1) == b'x'
server = socket.socket(socket.AF_UNIX); server.bind('/tmp/socket'); server.listen()
client = socket.socket(socket.AF_UNIX); client.connect('/tmp/socket')
"#,
    );
    assert_eq!(said, "[1]\n");
}

#[test]
fn a_hosts_abstract_socket_is_out_of_reach() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    let stand = Stand::new();
    let name = format!("wall-test-{}-{:?}", std::process::id(), std::thread::current().id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let _listener = UnixListener::bind_addr(&address).expect("a listener");
    UnixStream::connect_addr(&address).expect("reachable from outside");
    stand.holds(&format!(
        r#"
import socket
try: socket.socket(socket.AF_UNIX).connect(b'\0' + {name:?}.encode()); raise SystemExit(3)
except ConnectionRefusedError: pass
"#
    ));
}

#[test]
fn a_signal_reaches_own_processes_and_not_the_first_one() {
    let stand = Stand::new();
    stand.holds(
        r#"
import os, signal
child = os.fork()
if not child: signal.pause()
os.kill(child, 0); os.kill(child, 15)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -15
try: os.kill(1, 0); raise SystemExit(3)
except PermissionError: pass
"#,
    );
}

#[test]
fn system_calls_that_lead_out_are_refused() {
    let said = Stand::new().holds(
        r#"
import ctypes, errno, os
library = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = library.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return errno.errorcode[ctypes.get_errno()] if result == -1 else result
assert call(39) == os.getpid()
refused = dict(mount=165, umount2=166, unshare=272, setns=308, ptrace=101, pivot_root=155, chroot=161, bpf=321,
    keyctl=250, add_key=248, request_key=249, perf_event_open=298, userfaultfd=323, io_uring_setup=425,
    process_vm_readv=310, process_vm_writev=311, pidfd_getfd=438, open_by_handle_at=304, name_to_handle_at=303,
    memfd_create=319, memfd_secret=447, vmsplice=278, splice=275, tee=276, fsopen=430, fsconfig=431, fsmount=432,
    open_tree=428, move_mount=429, mount_setattr=442, init_module=175, finit_module=313, kexec_load=246, iopl=172,
    ioperm=173, seccomp=317, swapon=167, acct=163, reboot=169, settimeofday=164, syslog=103, modify_ldt=154,
    mknod=133, quotactl=179, cachestat=451, mincore=27, mlock=149, setpriority=141, sched_setaffinity=203,
    shmget=29, msgget=68, mq_open=240, inotify_init1=294, fanotify_init=300, setxattr=188, sysinfo=99,
    setuid=105, setgid=106, chown=92, landlock_create_ruleset=444, sendfile=40,
    copy_file_range=326, setrlimit=160)
for name, number in refused.items():
    assert call(number, 0, 0, 0, 0, 0, 0) == 'EPERM', (name, call(number, 0, 0, 0, 0, 0, 0))
for name, number in dict(clone3=435, openat2=437, newer=467, newest=600).items():
    assert call(number, 0, 0, 0, 0) == 'ENOSYS', (name, call(number, 0, 0))
for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, 0x2000000):
    assert call(56, flag | 17, 0, 0, 0, 0) == 'EPERM', hex(flag)
assert call(16, 0, 0x5412, b'x') == 'EPERM' and call(16, 0, 0x541c, b'x') == 'EPERM'
assert call(16, 0, 0x5412 | (1 << 32), b'x') == 'EPERM' and call(16, 0, 0x5401, ctypes.create_string_buffer(64)) == 'ENOTTY'
assert call(135, 0x0040000) == 'EPERM' and call(135, 0xffffffff) == 0
assert call(41, 1 << 32 | 2, 1, 0) == 'EPERM' and call(157, 4, 1) == 'EPERM' and call(302, 1, 7, 0, 0) == 'EPERM'
print(len(refused))
"#,
    );
    assert_eq!(said, "63\n");
}

/// Machine code that makes one call by its number in `eax`, by `syscall` or `int 0x80`, and returns.
fn machine_code(instruction: &str, number: u32) -> String {
    format!(
        r#"
import ctypes, mmap
code = b'\xb8' + ({number}).to_bytes(4, 'little') + bytes.fromhex('{instruction}') + b'\xc3'
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print('before', flush=True)
print(function() > 0, flush=True)
"#
    )
}

#[test]
fn a_call_of_a_foreign_abi_is_death() {
    let stand = Stand::new();
    assert_eq!(stand.holds(&machine_code("0f05", 39)), "before\nTrue\n");
    // getpid as 32-bit code calls it, and as x32 calls it.
    for attack in [machine_code("cd80", 20), machine_code("0f05", 0x4000_0000 | 39)] {
        let ended = stand.run(&stand.python(&attack));
        assert_eq!((ended.outcome, ended.code), (Outcome::Failed, None));
        assert_eq!(ended.stdout, b"before\n");
    }
}

#[test]
fn only_the_runtime_can_be_executed() {
    Stand::new().holds(
        r#"
import os, shutil, subprocess
run = lambda path: subprocess.run([path, '-I', '-S', '-c', 'print(1)'], capture_output=True).stdout
assert run('/usr/bin/python3') == b'1\n'
for place in ('/tmp/python', '/out/python', '/dev/shm/python'):
    shutil.copyfile('/usr/bin/python3', place); os.chmod(place, 0o755)
    try: run(place); raise SystemExit(3)
    except PermissionError: pass
import mmap
held = os.open('/out/python', os.O_RDONLY)
try: mmap.mmap(held, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC); raise SystemExit(4)
except PermissionError: pass
"#,
    );
}

#[test]
fn set_user_id_bits_have_no_effect() {
    let stand = Stand::new();
    let program = stand.directory.join("program");
    std::fs::create_dir(&program).expect("a directory");
    let elevated = program.join("python3");
    std::fs::copy(stand.runtime.join("usr/bin/python3"), &elevated).expect("a copy");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o6755);
    std::fs::set_permissions(&elevated, mode).expect("its mode");
    let mut specification = stand.python(
        "import subprocess; print(subprocess.run(['/program/python3', '-I', '-S', '-c', \
         'import os; print(os.getresuid(), os.getresgid())'], capture_output=True, text=True).stdout)",
    );
    specification.mounts.push(sandbox::Mount {
        source: program,
        target: "/program".into(),
        access: sandbox::Access::ReadOnlyExecutable,
    });
    assert_eq!(stand.holds_with(&specification).trim(), "(1000, 1000, 1000) (1000, 1000, 1000)");
}

#[test]
fn no_file_in_the_output_acts_as_its_owner_on_the_host() {
    let stand = Stand::new();
    stand.holds(
        r#"
import os
def refused(what):
    try: what()
    except PermissionError: return
    raise AssertionError(what)
open('/out/file', 'w').close()
for bits in (0o4755, 0o2755, 0o6755):
    refused(lambda: os.chmod('/out/file', bits))
    refused(lambda: os.open('/out/new', os.O_CREAT | os.O_WRONLY, bits))
    refused(lambda: os.open('/out', os.O_TMPFILE | os.O_WRONLY, bits))
    held = os.open('/out/file', os.O_RDWR); refused(lambda: os.fchmod(held, bits))
    refused(lambda: os.chmod('file', bits, dir_fd=os.open('/out', os.O_RDONLY)))
refused(lambda: os.setxattr('/out/file', 'user.x', b'y'))
os.chmod('/out/file', 0o755)
"#,
    );
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(stand.out().join("file")).expect("a file"));
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn no_crash_handler_of_the_host_reads_a_jobs_memory() {
    // With 1 the kernel writes no core file and runs no handler; a job must not be able to make it 0.
    Stand::new().holds(
        r#"
import resource
assert resource.getrlimit(resource.RLIMIT_CORE) == (1, 1)
try: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); raise SystemExit(3)
except (ValueError, OSError): pass
"#,
    );
}

#[test]
fn a_reader_starts_no_process_program_or_socket_and_writes_only_its_output() {
    let stand = Stand::new();
    let mut specification = stand.python(
        r#"
import os, threading, _socket, _posixsubprocess
def refused(what, *numbers):
    try: what()
    except OSError as error: assert error.errno in numbers, error; return
    raise AssertionError('not refused')
assert open('/data/hie/rows.csv').read().startswith('person')
open('/out/canonical', 'w').write('x')
done = []
thread = threading.Thread(target=done.append, args=(1,)); thread.start(); thread.join(); assert done == [1]
for family in (1, 2, 10, 16, 40): refused(lambda: _socket.socket(family, 1, 0), 1)
refused(os.fork, 1)
refused(lambda: os.execv('/usr/bin/python3', ['python3']), 1)
held = os.open('/usr/bin/python3', os.O_RDONLY)
refused(lambda: os.execve(held, ['python3'], {}), 1, 14)
refused(lambda: os.dup2(held, 1000), 1, 9)
refused(lambda: os.kill(os.getpid(), 0), 1)
refused(lambda: os.kill(1, 9), 1)
assert not os.path.exists('/proc') and not os.path.exists('/tmp') and not os.path.exists('/dev/shm')
for path in ('/data/hie/x', '/x', '/dev/x', '/usr/x'): refused(lambda: open(path, 'w'), 1, 13, 30)
print('a reader')
"#,
    );
    specification.calls = Calls::Reader;
    specification.limits.tmp_bytes = 0;
    assert_eq!(stand.holds_with(&specification), "a reader\n");
}
