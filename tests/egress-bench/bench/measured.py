"""Runs a command and says at the end of standard error what it and its children used: exit code, seconds, MiB."""

import json
import os
import sys
import threading
import time

MARK = "egress-bench used "


def main():
    """The first argument is the most seconds that the command may take."""
    begun = time.monotonic()
    limit, command = float(sys.argv[1]), sys.argv[2:]
    child = os.posix_spawnp(command[0], command, os.environ)
    timer = threading.Timer(limit, os.kill, (child, 9))
    timer.daemon = True
    timer.start()
    _, status, usage = os.wait4(child, 0)
    # The largest process that was waited for, not the sum of all that ran at a time.
    used = [os.waitstatus_to_exitcode(status), round(time.monotonic() - begun, 3), usage.ru_maxrss / 1024]
    print("\n" + MARK + json.dumps(used), file=sys.stderr)


if __name__ == "__main__":
    main()
