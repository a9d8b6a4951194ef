"""``python -m testbed.bench.metered FILE COMMAND ...``: run it, and write what it used.

FILE gets a JSON object: ``cpu``, in seconds (user and system), and ``memory``, the largest
resident set in MB, both of the command and of those children that it waited for.
"""

import json
import os
import signal
import sys
from pathlib import Path

from testbed.lab import kernel


def main() -> int:
    """The command's exit code."""
    file, *command = sys.argv[1:]
    pid = os.fork()
    if pid == 0:
        kernel.die_with_parent(signal.SIGKILL)
        os.execvp(command[0], command)
    _, status, used = os.wait4(pid, 0)
    figures = {"cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss / 1024}
    Path(file).write_text(json.dumps(figures), encoding="utf-8")
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
