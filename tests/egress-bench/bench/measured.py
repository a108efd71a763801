"""Runs a command and says at the end of standard error what it and its children used: exit code, seconds, MiB."""

import json
import os
import sys
import threading
import time

MARK = "egress-bench used "
TIME_LIMIT_SECONDS = 1800


def main():
    begun = time.monotonic()
    child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
    timer = threading.Timer(TIME_LIMIT_SECONDS, os.kill, (child, 9))
    timer.daemon = True
    timer.start()
    _, status, usage = os.wait4(child, 0)
    # The largest process that was waited for, not the sum of all that ran at a time.
    used = [os.waitstatus_to_exitcode(status), round(time.monotonic() - begun, 3), usage.ru_maxrss / 1024]
    print("\n" + MARK + json.dumps(used), file=sys.stderr)


if __name__ == "__main__":
    main()
