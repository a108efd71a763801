"""What of the host, of other jobs and of other datasets can be seen, changed or executed by files."""

import shutil
import socket
import subprocess

from prelude import *

ROWS = "/data/hie/rows.csv"


@twin("data-can-be-read")
def reads():
    assert open(ROWS).read().startswith("person")
    return "works"


@twin("output-can-be-written")
def writes():
    descriptor = os.open("/out/rows", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(descriptor, b"mine")
    mmap.mmap(descriptor, 0, mmap.MAP_SHARED)[0:1] = b"M"
    os.rename("/out/rows", "/out/other")
    os.chmod("/out/other", 0o755)
    os.unlink("/out/other")
    for place in ("/tmp/x", "/dev/shm/x"):
        open(place, "w").write("x")
        os.unlink(place)
    return "works"


@twin("the-runtime-can-be-executed")
def executes():
    said = subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", "print(1)"], capture_output=True)
    assert said.stdout == b"1\n", said
    return "works"


@twin("own-processes-can-be-looked-at")
def own():
    assert f"/proc/{os.getpid()}" and os.path.isdir(f"/proc/{os.getpid()}")
    assert open("/proc/self/cmdline").read()
    assert socket.gethostname() and time.monotonic() >= 0
    return "works"


def sees(name, technique, *paths, its_twin="data-can-be-read"):
    attempt(name, technique, "absent", its_twin)(lambda: absent(*paths))


sees("host-passwords", "users of the host", "/etc/passwd", "/etc/shadow", "/etc")
sees("host-homes", "ssh keys, tokens, histories", "/root", "/home", HOST["home"])
sees("host-state", "databases, mail, logs of the host", "/var", "/run", "/srv", "/mnt", "/opt")
sees("host-kernel-image", "symbols and configuration of the kernel", "/boot", "/proc/config.gz", "/lib/modules")
sees("host-shell", "programs that the runtime has not", "/bin/sh", "/usr/bin/env", "/usr/bin/perl")
sees("machine-identity", "which machine this is", "/etc/machine-id", "/sys/class/dmi/id/product_serial", "/proc/sys/kernel/random/boot_id")
sees("firmware", "microcode, tables, variables", "/sys/firmware", "/sys/devices", "/sys")
sees("control-group-files", "release_agent runs a program as root; CVE-2022-0492", "/sys/fs/cgroup")
sees("debug-file-systems", "kernel memory by debugfs and tracefs", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security")
sees("disks-and-terminals", "raw disks, memory, terminals", "/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/ptmx", "/dev/console")
sees("virtual-machine-device", "the hypervisor's door; CVE-2021-22543", "/dev/kvm", "/dev/vhost-net", "/dev/vsock")
sees("fuse", "a file system that hangs whoever looks", "/dev/fuse")
sees("kernel-memory", "addresses and memory of the kernel", "/proc/kcore", "/proc/kallsyms", "/proc/kmsg", "/proc/iomem", its_twin="own-processes-can-be-looked-at")
sees("keys-of-the-kernel", "keyrings of the host", "/proc/keys", "/proc/key-users", its_twin="own-processes-can-be-looked-at")
sees("scheduler-and-timers", "every task of the host by name", "/proc/timer_list", "/proc/sched_debug", "/proc/locks", its_twin="own-processes-can-be-looked-at")
sees("load-of-the-host", "a channel between jobs, and news of the machine", "/proc/loadavg", "/proc/stat", "/proc/pressure", "/proc/meminfo", "/proc/vmstat", "/proc/uptime", "/proc/interrupts", its_twin="own-processes-can-be-looked-at")
sees("magic-keys", "sysrq-trigger crashes the machine", "/proc/sysrq-trigger", its_twin="own-processes-can-be-looked-at")
sees("kernel-settings", "core_pattern runs a program as root; binfmt_misc", "/proc/sys", "/proc/sys/kernel/core_pattern", "/proc/sys/fs/binfmt_misc/register", its_twin="own-processes-can-be-looked-at")
sees("first-process", "environment, arguments, root and memory of the wall's own process", "/proc/1/environ", "/proc/1/cmdline", "/proc/1/root", "/proc/1/cwd", "/proc/1/mem", its_twin="own-processes-can-be-looked-at")
sees("another-dataset", "the data of another study", HOST["other"], "/data/hie/../other", "/data/hie/../../other", "/out/../other")
sees("root-through-proc", "the host's root by /proc/self/root and cwd", "/proc/self/root/etc", "/proc/self/cwd/../etc", "/proc/self/task/1/root/etc")


@attempt("link-out-of-the-data", "a link in the data that leads to the host", "link", "data-can-be-read")
def link():
    assert os.path.islink("/data/hie/link")
    return "reached" if os.path.exists("/data/hie/link") else "link"


@attempt("link-out-of-the-output", "a link made in the output, followed from outside the mounts", "ENOENT", "output-can-be-written")
def link_out():
    os.symlink("../../../../../../.." + HOST["secret"], "/out/link")
    try:
        open("/out/link").read()
    finally:
        os.unlink("/out/link")


@attempt("shared-memory-of-others", "names in /dev/shm of other jobs and of the host", "empty", "output-can-be-written")
def shared():
    return "empty" if not os.listdir("/dev/shm") else f"seen {os.listdir('/dev/shm')}"


@attempt("temporary-files-of-others", "what the last job left in /tmp", "empty", "output-can-be-written")
def temporary():
    return "empty" if not os.listdir("/tmp") else f"seen {os.listdir('/tmp')}"


@attempt("processes-of-others", "processes of the host and of other jobs", "own", "own-processes-can-be-looked-at")
def processes():
    pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    return "own" if pids <= {os.getpid(), os.getppid()} else f"seen {sorted(pids)[:9]}"


@attempt("host-name", "which machine this is", "box", "own-processes-can-be-looked-at")
def host_name():
    return socket.gethostname()


@attempt("time-since-boot", "which machine this is, and that two jobs share it", "own", "own-processes-can-be-looked-at")
def since_boot():
    clocks = [time.clock_gettime(clock) for clock in (time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME)]
    started = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]) / 100
    return "own" if max(*clocks, started) < 120 else f"seen {max(clocks)}"


@attempt("boot-time", "since when the host runs, from the offsets of the own clocks: which machine it is, and that two jobs share it", "residual", "own-processes-can-be-looked-at")
def boot_time():
    lines = (line.split() for line in open("/proc/self/timens_offsets").read().splitlines())
    offset = {words[0]: int(words[1]) for words in lines}["boottime"]
    booted = time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - offset)
    return "residual" if abs(booted - HOST["booted"]) < 5 else "own"


@attempt("control-group-path", "where the job stands on the host", "none", "own-processes-can-be-looked-at")
def control_group():
    paths = {line.split(":", 2)[2] for line in open("/proc/self/cgroup").read().splitlines()}
    return "none" if paths <= {"/"} else f"seen {sorted(paths)}"


for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"]:

    @attempt("shared-namespace-" + name, "a namespace that the host is in, too", "own", "own-processes-can-be-looked-at")
    def shares(name=name):
        return "own" if os.readlink(f"/proc/self/ns/{name}") != HOST["namespaces"][name] else "shared"


@attempt("mapped-users", "users of the host that a file or a process can be given to", "one", "own-processes-can-be-looked-at")
def mapped():
    lines = open("/proc/self/uid_map").read().split("\n")[:-1]
    return "one" if len(lines) == 1 and lines[0].split()[2] == "1" else f"seen {lines}"


def writing(name, technique, function, contained="EROFS EACCES EPERM"):
    attempt(name, technique, contained, "output-can-be-written")(function)


def open_for(path, flags):
    return lambda: os.close(os.open(path, flags))


writing("write-data", "changes rows for the next job", open_for(ROWS, os.O_WRONLY))
writing("append-data", "adds rows", open_for(ROWS, os.O_WRONLY | os.O_APPEND))
writing("truncate-data", "empties a dataset", lambda: os.truncate(ROWS, 0))
writing("remove-data", "takes a dataset away", lambda: os.unlink(ROWS))
writing("rename-data", "exchanges a dataset", lambda: os.rename(ROWS, "/data/hie/other"))
writing("open-data-to-all", "rights of a data file", lambda: os.chmod(ROWS, 0o777))
writing("touch-data", "times of a data file, as a message to the next job", lambda: os.utime(ROWS))
writing("link-data-into-output", "a second name of a data file in the output", lambda: os.link(ROWS, "/out/rows.csv"), "EXDEV EPERM EACCES")
writing("new-file-beside-data", "a file for the next job", open_for("/data/hie/new", os.O_CREAT | os.O_WRONLY))
writing("map-data-for-writing", "shared pages of a data file", lambda: mmap.mmap(os.open(ROWS, os.O_RDONLY), 0, mmap.MAP_SHARED, mmap.PROT_WRITE))
writing("change-bundle", "the reviewed code", open_for("/job/prelude.py", os.O_RDWR))
writing("change-runtime", "the interpreter of every later job; CVE-2019-5736", open_for("/usr/bin/python3", os.O_RDWR))
writing("change-own-program", "/proc/self/exe for writing; CVE-2019-5736", open_for("/proc/self/exe", os.O_RDWR))
writing("new-name-at-the-top", "something where a later mount is looked for", lambda: os.mkdir("/new"))
writing("touch-the-root", "the top directory itself", lambda: os.utime("/"))
writing("new-device-node", "beside the devices", open_for("/dev/new", os.O_CREAT | os.O_WRONLY))
writing("exchange-a-device", "/dev/null replaced; CVE-2025-31133", lambda: os.rename("/dev/null", "/dev/old"), "EROFS EACCES EPERM EBUSY EXDEV")
writing("own-memory-by-proc", "/proc/self/mem writes into read-only pages; CVE-2016-5195", open_for("/proc/self/mem", os.O_RDWR))
writing("out-of-memory-score", "whom the kernel kills instead", open_for("/proc/self/oom_score_adj", os.O_WRONLY))
writing("user-map", "more users of the host", open_for("/proc/self/uid_map", os.O_WRONLY))
writing("core-dump-filter", "what a crash handler of the host is given", open_for("/proc/self/coredump_filter", os.O_WRONLY))


@attempt("data-through-a-descriptor", "opens a read-only descriptor again for writing", "EROFS EACCES", "output-can-be-written")
def descriptor():
    reader = os.open(ROWS, os.O_RDONLY)
    os.close(os.open(f"/proc/self/fd/{reader}", os.O_RDWR))


@attempt("input-through-a-descriptor", "opens standard input again for writing", "EROFS EACCES ENXIO EPERM", "output-can-be-written")
def standard_input():
    descriptor = os.open("/proc/self/fd/0", os.O_RDWR | os.O_APPEND)
    if os.readlink("/proc/self/fd/0") != "/dev/null":
        os.write(descriptor, b"x")
    return "EACCES" if os.readlink("/proc/self/fd/0") == "/dev/null" else "reached"


for name, place in [("output", "/out"), ("temporary", "/tmp"), ("shared-memory", "/dev/shm")]:

    @attempt("execute-from-" + name, "a program that nobody reviewed, from where it was written", "EACCES EPERM", "the-runtime-can-be-executed")
    def execute(place=place):
        path = place + "/python"
        shutil.copyfile("/usr/bin/python3", path)
        os.chmod(path, 0o755)
        try:
            return subprocess.run([path, "-I", "-S", "-c", ""]) and "reached"
        finally:
            os.unlink(path)


@attempt("map-output-executable", "a library that nobody reviewed", "EACCES EPERM", "the-runtime-can-be-executed")
def map_executable():
    shutil.copyfile("/usr/bin/python3", "/out/library")
    held = os.open("/out/library", os.O_RDONLY)
    os.unlink("/out/library")
    mmap.mmap(held, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)


@attempt("execute-data", "a program in the data", "EACCES EPERM", "the-runtime-can-be-executed")
def execute_data():
    return subprocess.run(["/data/hie/program", "-I", "-S", "-c", ""]) and "reached"


@attempt("set-user-id-program", "a program of the runtime that acts as its owner", "unchanged", "the-runtime-can-be-executed")
def set_user_id():
    code = "import os; print(*os.getresuid(), *os.getresgid())"
    said = subprocess.run(["/elevated/python3", "-I", "-S", "-c", code], capture_output=True, text=True)
    expected = " ".join(map(str, [os.getuid()] * 3 + [os.getgid()] * 3))
    return "unchanged" if said.stdout.strip() == expected else f"became {said.stdout.strip()}"


@attempt("set-user-id-output", "a file in the output that acts as its owner on the host", "EPERM", "output-can-be-written")
def set_user_id_output():
    os.close(os.open("/out/elevated", os.O_CREAT | os.O_WRONLY, 0o4755))


@attempt("set-user-id-later", "the same, by changing the mode", "EPERM", "output-can-be-written")
def set_user_id_later():
    open("/out/later", "w").close()
    try:
        os.chmod("/out/later", 0o4755)
    finally:
        os.unlink("/out/later")


if HOST["privileged"]:
    # A normal user lends its own identity: nothing but the mounts tells the job and the caller apart.

    @attempt("closed-file-of-the-caller", "a file in the data that only the caller's user may read", "EACCES", "data-can-be-read")
    def closed():
        open("/data/hie/closed").read()

    @attempt("file-of-the-callers-group", "a file in the data that only a group of the caller may read", "EACCES", "data-can-be-read")
    def of_group():
        open("/data/hie/of-group").read()


@attempt("groups-of-the-caller", "groups that may read disks or logs", "none", "own-processes-can-be-looked-at")
def groups():
    # Outside of the one mapped group every group is shown as 65534, which a normal user cannot put away.
    return "none" if set(os.getgroups()) <= set(HOST["groups"]) else f"seen {os.getgroups()}"


run()
