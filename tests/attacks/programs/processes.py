"""Other processes, privileges, limits, and what of the machine cannot be hidden by a wall on its own kernel."""

import resource
import subprocess
import threading

from prelude import *


@twin("own-processes-can-be-ended")
def ends():
    child = os.fork()
    if not child:
        signal.pause()
    os.kill(child, 0)
    os.kill(child, 15)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -15
    return "works"


@twin("use-within-the-limits")
def within():
    kept = bytearray(32 << 20)
    kept[::4096] = b"x" * len(kept[::4096])
    files = [open("/dev/null") for _ in range(50)]
    threads = [threading.Thread(target=time.sleep, args=(0.05,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    open("/out/within", "wb").write(bytes(1 << 20))
    os.unlink("/out/within")
    assert len(files) == 50
    return "works"


def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name + ":"):
            return line.split()[1]
    return "unknown"


@attempt("signal-the-first-process", "ends or stops the wall's own process", "EPERM", "own-processes-can-be-ended")
def first():
    os.kill(1, 0)


@attempt("signal-everything", "every process number there can be", "own", "own-processes-can-be-ended")
def everything():
    reached = set()
    for pid in range(1, 1 << 16):
        try:
            os.kill(pid, 0)
            reached.add(pid)
        except OSError:
            pass
    return "own" if reached <= {os.getpid(), os.getppid()} else f"seen {sorted(reached)[:9]}"


@attempt("capabilities", "any capability, or the means to gain one", "none", "own-processes-can-be-ended")
def capabilities():
    held = {name: status(name) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    return "none" if set(held.values()) == {"0" * 16} else f"seen {held}"


@attempt("privileges-by-executing", "no_new_privs is off", "off", "own-processes-can-be-ended")
def gains():
    return "off" if status("NoNewPrivs") == "1" else "gains"


@attempt("user-zero", "is root inside", "no", "own-processes-can-be-ended")
def zero():
    return "no" if 0 not in os.getresuid() + os.getresgid() else "root"


@attempt("core-file", "a crash whose memory the host's crash handler keeps", "1", "own-processes-can-be-ended")
def core():
    # 1 and not 0: for 0 a handler (`|` in core_pattern) would be run.
    return str(resource.getrlimit(resource.RLIMIT_CORE)[1])


@attempt("raise-limits", "more than it was given", "refused", "use-within-the-limits")
def raise_limits():
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))
    except (ValueError, OSError):
        return "refused"


@attempt("descriptors", "every descriptor of the machine", "EMFILE", "use-within-the-limits")
def descriptors():
    held = []
    while len(held) < 1 << 20:
        held.append(os.open("/dev/null", os.O_RDONLY))


@attempt("locked-memory", "memory that is never swapped", "EPERM EAGAIN ENOMEM", "use-within-the-limits")
def locked():
    mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x2000)


@attempt("address-space", "terabytes of memory", "MemoryError: ENOMEM", "use-within-the-limits")
def addresses():
    try:
        return "reached" if mmap.mmap(-1, 1 << 40) else "nothing"
    except OSError:
        return "ENOMEM"
    except MemoryError:
        return "ENOMEM"


@attempt("fork-bomb", "every process of the machine", "EAGAIN", "use-within-the-limits")
def bomb():
    children = []
    try:
        # Not for ever: where the limit fails, this must not take the machine along.
        while len(children) < 400:
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)


@attempt("thread-bomb", "every thread of the machine", "refused", "use-within-the-limits")
def threads():
    stop = threading.Event()
    started = []
    try:
        while len(started) < 400:
            thread = threading.Thread(target=stop.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return "refused"
    finally:
        stop.set()
        for thread in started:
            thread.join()


@attempt("large-file", "the whole disk in one file", "EFBIG ENOSPC", "use-within-the-limits")
def large():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with open("/out/large", "wb") as file:
            while file.tell() < 2 << 30:
                file.write(bytes(1 << 20))
    finally:
        os.unlink("/out/large")


@attempt("sparse-file", "an exabyte of holes", "EFBIG", "use-within-the-limits")
def sparse():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    descriptor = os.open("/out/sparse", os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        os.ftruncate(descriptor, 1 << 60)
    finally:
        os.unlink("/out/sparse")


@attempt("temporary-space", "the machine's memory as files", "ENOSPC", "use-within-the-limits")
def temporary():
    names = []
    try:
        for number in range(200):
            names.append(f"/dev/shm/{number}")
            open(names[-1], "wb").write(bytes(1 << 20))
    finally:
        for name in names:
            os.unlink(name)


@attempt("output-space", "the box's disk or memory as outputs", "ENOSPC", "use-within-the-limits")
def output():
    names = []
    try:
        for number in range(200):
            names.append(f"/out/fill-{number}")
            open(names[-1], "wb").write(bytes(1 << 20))
    finally:
        for name in names:
            os.unlink(name)


@attempt("many-files", "every inode of a file system", "ENOSPC", "use-within-the-limits")
def many():
    made = 0
    try:
        while made < 20_000:
            os.close(os.open(f"/tmp/{made}", os.O_CREAT | os.O_WRONLY, 0o644))
            made += 1
    finally:
        for number in range(made):
            os.unlink(f"/tmp/{number}")


@attempt("deep-directories", "ten thousand levels, which a careless reader recurses into", "ENOSPC ENAMETOOLONG", "use-within-the-limits")
def deep():
    os.chdir("/tmp")
    for _ in range(10_000):
        os.mkdir("d")
        os.chdir("d")


@attempt("queued-signals", "memory of the kernel as pending signals", "EAGAIN EPERM", "use-within-the-limits")
def queued():
    signal.pthread_sigmask(signal.SIG_BLOCK, [40])
    information = ctypes.create_string_buffer(128)
    ctypes.c_int.from_buffer(information, 0).value = 40
    ctypes.c_int.from_buffer(information, 8).value = -1
    for _ in range(100_000):
        saw = call(129, os.getpid(), 40, information)
        if saw != "reached":
            return saw


@attempt("timers", "memory of the kernel as timers", "EAGAIN", "use-within-the-limits")
def timers():
    identity = ctypes.c_int()
    for _ in range(100_000):
        saw = call(222, 1, None, ctypes.byref(identity))
        if saw != "reached":
            return saw


@attempt("binary-formats", "an interpreter of the job's choice for a format", "absent", "own-processes-can-be-ended")
def formats():
    return absent("/proc/sys/fs/binfmt_misc", "/proc/sys")


@attempt("script-with-an-interpreter", "#! leads from the output to a program", "EACCES EPERM", "own-processes-can-be-ended")
def script():
    descriptor = os.open("/out/script", os.O_CREAT | os.O_WRONLY, 0o755)
    os.write(descriptor, b"#!/usr/bin/python3\n")
    os.close(descriptor)
    try:
        return subprocess.run(["/out/script"]) and "reached"
    finally:
        os.unlink("/out/script")


# What a wall on the host's own kernel cannot hide. Named, never counted as contained.


@attempt("processor-identity", "CPUID tells the model, and that two jobs share a machine", "residual", "own-processes-can-be-ended")
def identity():
    # cpuid needs rbx kept: push rbx; xor eax, eax; cpuid; mov eax, ebx; pop rbx; ret.
    return "residual" if machine_code("53" "31c0" "0fa2" "89d8" "5b" "c3") else "nothing"


@attempt("time-stamp-counter", "RDTSC times caches and other jobs' load", "residual", "own-processes-can-be-ended")
def counter():
    return "residual" if machine_code("0f31" "c3") else "nothing"


@attempt("kernel-release", "uname tells the kernel's release", "residual", "own-processes-can-be-ended")
def release():
    return "residual" if os.uname().release else "nothing"


@attempt("free-space-of-the-host", "statfs of a shown directory tells how full the host's disk is, and its file system's number", "residual", "own-processes-can-be-ended")
def free_space():
    return "residual" if os.statvfs("/data/hie").f_blocks else "nothing"


@attempt("paths-of-mounts", "mountinfo tells where on the host shown directories lie, and how much memory it has", "residual", "own-processes-can-be-ended")
def paths():
    return "residual" if HOST["data"] in open("/proc/self/mountinfo").read() else "nothing"


run()
