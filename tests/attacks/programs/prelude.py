"""What every hostile program stands on: attempts and their innocent twins, each run in a process of its own, and what
each saw, told as one JSON object a line on standard output. The judgement is made outside, by who started it."""

import ctypes
import errno
import json
import mmap
import os
import select
import signal
import sys
import time

LIBRARY = ctypes.CDLL(None, use_errno=True)

# What this program had open when it began, before it opened anything itself.
OPEN_AT_START = sorted(int(name) for name in os.listdir("/proc/self/fd"))

# What the host is like, told by who started this: things to look for, never things that help.
HOST = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}

ATTEMPTS = []
TWINS = []
SECONDS = 20


def attempt(name, technique, contained, twin):
    """An attempt: `contained` lists what it may see, `twin` names the innocent program that must work."""

    def add(function):
        ATTEMPTS.append((name, technique, contained.split(), twin, function))
        return function

    return add


def twin(name):
    """An innocent program that uses the same road, and must work."""

    def add(function):
        TWINS.append((name, function))
        return function

    return add


def call(number, *arguments):
    """Makes a system call by its number: "reached", or the name of the error."""
    ctypes.set_errno(0)
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = LIBRARY.syscall(ctypes.c_long(number), *words)
    if result == -1 and ctypes.get_errno():
        return errno.errorcode.get(ctypes.get_errno(), str(ctypes.get_errno()))
    return "reached"


def machine_code(code):
    """Runs machine code, given in hexadecimal, that returns."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex(code))
    return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def absent(*paths):
    """ "absent" if no such name can be seen, whatever it is."""
    seen = [path for path in paths if os.path.lexists(path)]
    return "seen " + " ".join(seen) if seen else "absent"


def how(function):
    """What a function answered, or the name of the error that refused it."""
    try:
        return str(function() or "reached")
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def observe(function):
    """What a function saw: its answer, or how it was refused, or how it died."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # However it ends, nothing of it comes back to the list of attempts: a clone that succeeds makes two of it.
        try:
            os.close(reader)
            os.write(writer, how(function).encode()[:2000])
        finally:
            os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], SECONDS)
    said = os.read(reader, 2000).decode() if ready else ""
    os.close(reader)
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        said = "slow" if not ready else signal.Signals(os.WTERMSIG(status)).name
    return said or "nothing"


def run():
    for name, function in TWINS:
        print(json.dumps({"twin": name, "saw": observe(function)}), flush=True)
    for name, technique, contained, its_twin, function in ATTEMPTS:
        # What would end the whole program behind some wall is made in a launch of its own.
        if name in HOST.get("alone", []):
            continue
        told = {"attempt": name, "technique": technique, "contained": contained, "by": its_twin}
        print(json.dumps(told | {"saw": observe(function)}), flush=True)
