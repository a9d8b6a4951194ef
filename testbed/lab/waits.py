"""How long processes were ready to run and had no processor, as the kernel counts it."""

from pathlib import Path

_NS_PER_US = 1000


def of_process(pid: int) -> int | None:
    """In all threads of a process, in ns since they began; None: the kernel does not tell.

    The second figure of schedstat, Documentation/scheduler/sched-stats.rst.
    """
    try:
        threads = [*Path(f"/proc/{pid}/task").iterdir()]
        return sum(
            int((thread / "schedstat").read_text(encoding="ascii").split()[1]) for thread in threads
        )
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
