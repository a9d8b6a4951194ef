"""How long processes were ready to run and had no processor, as the kernel counts it."""

import os
import time
from pathlib import Path

from testbed.lab import kernel
from testbed.model.lab import Process

_NS_PER_US = 1000


def of_process(pid: int) -> int | None:
    """In all threads of a process, in ns since they began; None: the kernel does not tell.

    The second figure of schedstat, Documentation/scheduler/sched-stats.rst.
    """
    tasks = f"/proc/{pid}/task"
    try:
        stats = [kernel.read_file(f"{tasks}/{thread}/schedstat") for thread in os.listdir(tasks)]  # noqa: PTH208
        return sum(int(stat.split()[1]) for stat in stats)
    except (OSError, ValueError, IndexError):  # it has ended, or the kernel has no such file
        return None


def of_machine() -> int | None:
    """In which some process of this machine waited, in ns since it booted; None: unknown.

    No process waited longer.  Documentation/accounting/psi.rst.
    """
    try:
        some = Path("/proc/pressure/cpu").read_text(encoding="ascii").splitlines()[0]
        return int(some.rpartition("total=")[2]) * _NS_PER_US
    except (OSError, ValueError, IndexError):
        return None


class ProcessorTime:
    """Of a process, from now on: is it the machine that keeps it from being in time?"""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._since, self._waited = time.monotonic_ns(), process.waited_ns()

    def starved_s(self) -> float | None:
        """The seconds that it had no processor, if that is most of the time; else None.

        None, too, where nobody knows, or where it has ended.
        """
        waited = self._process.waited_ns()
        if waited is None or self._waited is None:
            return None
        starved = waited - self._waited
        return starved / 1e9 if 2 * starved >= time.monotonic_ns() - self._since else None
