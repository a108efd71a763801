"""System calls that lead out, or widen what a later flaw can reach: each by its number, past the C library."""

from prelude import *


@twin("a-permitted-call")
def permitted():
    assert LIBRARY.syscall(ctypes.c_long(39)) == os.getpid()
    assert call(39) == "reached"
    return "works"


@twin("threads-and-processes")
def workers():
    import subprocess
    import threading

    done = []
    thread = threading.Thread(target=done.append, args=(1,))
    thread.start()
    thread.join()
    assert done == [1]
    said = subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", "print(6*7)"], capture_output=True)
    assert said.stdout == b"42\n", said
    return "works"


NOTHING = ctypes.c_char_p(b"none")
BUFFER = ctypes.create_string_buffer(4096)

for name, technique, number, arguments in [
    ("unshare-user", "a user namespace to attack the kernel from; most local roots since 2020", 272, (0x10000000,)),
    ("unshare-network", "a network namespace with netfilter; CVE-2024-1086", 272, (0x40000000,)),
    ("unshare-mounts", "a mount table of its own", 272, (0x20000,)),
    ("setns", "into a namespace of another process", 308, (0, 0)),
    ("ptrace-traceme", "PTRACE_TRACEME; CVE-2019-13272", 101, (0, 0, 0, 0)),
    ("ptrace-attach", "another process's registers and memory", 101, (16, 1, 0, 0)),
    ("process-vm-read", "another process's memory", 310, (1, BUFFER, 1, BUFFER, 1, 0)),
    ("process-vm-write", "writes into another process", 311, (1, BUFFER, 1, BUFFER, 1, 0)),
    ("pidfd-getfd", "another process's descriptors", 438, (0, 0, 0)),
    ("process-madvise", "another process's pages", 440, (0, BUFFER, 1, 4, 0)),
    ("kcmp", "compares kernel objects of processes", 312, (1, 1, 0, 0, 0)),
    ("mount", "a mount over what is shown", 165, (NOTHING, b"/tmp", b"tmpfs", 0, 0)),
    ("remount-data-writable", "MS_REMOUNT of read-only data", 165, (NOTHING, b"/data/hie", NOTHING, 0x1020, 0)),
    ("umount", "uncovers what a mount hides", 166, (b"/data/hie", 2)),
    ("pivot-root", "another root", 155, (b"/", b"/tmp")),
    ("chroot", "the classic way out of a changed root", 161, (b"/tmp",)),
    ("fsopen", "the newer mount calls; CVE-2022-0185", 430, (b"tmpfs", 0)),
    ("fsconfig", "fs_context overflow; CVE-2022-0185", 431, (0, 1, b"a", b"b", 0)),
    ("fsmount", "a detached mount", 432, (0, 0, 0)),
    ("open-tree", "a clone of a mount", 428, (-100, b"/", 1)),
    ("move-mount", "moves a mount", 429, (-100, b"/tmp", -100, b"/data", 0)),
    ("mount-setattr", "clears read-only", 442, (-100, b"/data/hie", 0, BUFFER, 32)),
    ("overlayfs", "set-user-id through overlayfs; CVE-2023-0386", 165, (NOTHING, b"/tmp", b"overlay", 0, b"lowerdir=/data")),
    ("open-by-handle", "Shocker: any file of the file system by its number", 304, (0, BUFFER, 0)),
    ("name-to-handle", "the number of a file for open_by_handle_at", 303, (-100, b"/data/hie/rows.csv", BUFFER, BUFFER, 0)),
    ("keyctl", "keys of the user; CVE-2016-0728", 250, (0, -3, 0)),
    ("add-key", "memory and keys that outlive the job", 248, (b"user", b"k", b"v", 1, -3)),
    ("request-key", "starts a helper of the host", 249, (b"user", b"k", b"v", -3)),
    ("bpf", "programs in the kernel; CVE-2021-3490", 321, (0, BUFFER, 64)),
    ("perf-event", "counters of the machine; CVE-2023-6931", 298, (BUFFER, 0, -1, -1, 0)),
    ("userfaultfd", "stops the kernel in the middle of a copy", 323, (1,)),
    ("memfd-create", "memory that no limit counts, and a file to execute from", 319, (b"x", 0)),
    ("memfd-secret", "memory that nothing else can read", 447, (0,)),
    ("vmsplice", "Dirty Pipe: writes into a read-only file; CVE-2022-0847", 278, (1, BUFFER, 1, 0)),
    ("splice", "Dirty Pipe, Copy Fail; CVE-2022-0847, CVE-2026-31431", 275, (0, 0, 1, 0, 1, 0)),
    ("tee", "pipe pages without copying", 276, (0, 1, 1, 0)),
    ("sendfile", "file pages into a pipe", 40, (1, 0, 0, 1)),
    ("copy-file-range", "file to file inside the kernel; CVE-2024-26805 class", 326, (0, 0, 1, 0, 1, 0)),
    ("mincore", "which pages of a shared file other jobs read; CVE-2019-5489", 27, (0, 4096, BUFFER)),
    ("cachestat", "the same, by its newer call", 451, (0, BUFFER, BUFFER, 0)),
    ("move-pages", "where pages of a process lie", 279, (1, 1, BUFFER, BUFFER, BUFFER, 0)),
    ("init-module", "a kernel module", 175, (BUFFER, 1, b"")),
    ("finit-module", "a kernel module from a file", 313, (0, b"", 0)),
    ("delete-module", "takes a module away", 176, (b"x", 0)),
    ("kexec", "another kernel", 246, (0, 0, BUFFER, 0)),
    ("iopl", "input and output ports", 172, (3,)),
    ("ioperm", "input and output ports", 173, (0x70, 1, 1)),
    ("modify-ldt", "16-bit segments; CVE-2015-5157, CVE-2017-17053", 154, (0, BUFFER, 64)),
    ("swapon", "swaps onto a file", 167, (b"/tmp/x", 0)),
    ("accounting", "process accounting to a file", 163, (b"/out/acct",)),
    ("quota", "quotas of a file system", 179, (0, NOTHING, 0, BUFFER)),
    ("reboot", "restarts the machine", 169, (0xfee1dead, 672274793, 0x1234567)),
    ("set-time", "the host's clock", 164, (BUFFER, 0)),
    ("clock-adjust", "the host's clock, slowly", 305, (0, BUFFER)),
    ("syslog", "the kernel's messages: addresses, other jobs", 103, (3, BUFFER, 4096)),
    ("set-host-name", "the host's name", 170, (b"x", 1)),
    ("fanotify", "watches every file of the host", 300, (0, 0)),
    ("inotify", "watches that no limit of the wall counts", 294, (0,)),
    ("lookup-dcookie", "paths by a cookie", 212, (1, BUFFER, 4096)),
    ("sysfs-call", "which file systems the kernel knows", 139, (3,)),
    ("sysinfo", "load, memory and uptime of the host", 99, (BUFFER,)),
    ("seccomp-listener", "a filter with a listener; user notification", 317, (1, 8, BUFFER)),
    ("landlock-of-its-own", "a kernel surface that no job needs", 444, (0, 0, 1)),
    ("sysv-memory", "memory that outlives processes; CVE-2022-0185 class", 29, (0, 4096, 0o1600)),
    ("sysv-messages", "messages that outlive processes; heap spraying", 68, (0, 0o1600)),
    ("sysv-semaphores", "semaphores that outlive processes", 64, (0, 1, 0o1600)),
    ("posix-messages", "message queues of the kernel; CVE-2022-0185 class", 240, (b"q", 0o102, 0o600, 0)),
    ("lock-memory", "memory that is never swapped", 149, (BUFFER, 4096)),
    ("lock-all-memory", "memory that is never swapped", 151, (1,)),
    ("nice", "a larger share of the machine", 141, (0, 0, -5)),
    ("real-time", "before every other process", 144, (0, 1, BUFFER)),
    ("affinity", "next to another job's processor", 203, (0, 8, BUFFER)),
    ("io-priority", "before other jobs at the disk", 251, (1, 0, 1 << 13)),
    ("numa-placement", "where memory lies", 238, (0, BUFFER, 64)),
    ("other-limits", "its own limits, or another process's", 160, (4, BUFFER)),
    ("limits-of-a-process", "prlimit with a new limit", 302, (0, 7, BUFFER, 0)),
    ("set-user", "user 0", 105, (0,)),
    ("set-group", "group 0", 106, (0,)),
    ("set-groups", "groups of the host", 116, (1, BUFFER)),
    ("change-owner", "a file given to another user", 92, (b"/out", 0, 0)),
    ("extended-attribute", "capabilities and access lists on files", 188, (b"/out", b"user.x", b"y", 1, 0)),
    ("dumpable", "another process may look in", 157, (4, 1)),
    ("no-randomisation", "personality ADDR_NO_RANDOMIZE", 135, (0x40000,)),
    ("executable-data", "personality READ_IMPLIES_EXEC", 135, (0x400000,)),
    ("push-terminal-input", "TIOCSTI types for whoever started the job; CVE-2017-5226", 16, (0, 0x5412, b"x")),
    ("console-selection", "TIOCLINUX pastes for whoever started the job; CVE-2023-28100", 16, (0, 0x541C, b"x")),
    ("terminal-input-high-bits", "TIOCSTI behind upper bits that a filter may not trip over", 16, (0, 0x5412 | 1 << 32, b"x")),
    ("controlling-terminal", "TIOCSCTTY takes a terminal", 16, (0, 0x540E, 1)),
    ("make-device", "a node of the first disk", 133, (b"/out/disk", 0o60600, 8 << 8)),
    ("make-pipe-node", "a named pipe in the output", 133, (b"/out/pipe", 0o10600, 0)),
]:
    attempt(name, technique, "EPERM", "a-permitted-call")(lambda number=number, arguments=arguments: call(number, *arguments))

for name, technique, number in [
    ("clone3", "namespace flags in memory, where no filter sees them", 435),
    ("openat2", "flags in memory, where no filter sees them", 437),
    ("the-next-call", "a call that this list was not reviewed against", 467),
    ("a-later-call", "a call of a kernel to come", 600),
]:
    attempt(name, technique, "ENOSYS", "threads-and-processes")(lambda number=number: call(number, BUFFER, 88, 0, 0))

for name, flag in [
    ("user", 0x10000000),
    ("mounts", 0x20000),
    ("processes", 0x20000000),
    ("network", 0x40000000),
    ("ipc", 0x8000000),
    ("host-name", 0x4000000),
    ("cgroups", 0x2000000),
]:
    technique = "a new namespace by clone: " + name
    attempt("clone-" + name, technique, "EPERM", "threads-and-processes")(lambda flag=flag: call(56, flag | 17, 0, 0, 0, 0))


run()
