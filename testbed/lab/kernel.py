"""The few system calls that Python 3.11 does not offer, through ctypes."""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Give this (single-threaded) process new namespaces; OSError."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, flags: int) -> None:
    """Enter the namespace that ``fd`` refers to; OSError."""
    _check(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2); OSError naming the target."""
    _check(
        _libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()),
        f"mount {target}",
    )


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send ``signal_number`` to this process when its parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def current_netns() -> int:
    """A file descriptor of the calling thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside_netns(fd: int, home: int) -> Iterator[None]:
    """Run the block in the network namespace ``fd``, then return to ``home``."""
    setns(fd, CLONE_NEWNET)
    try:
        yield
    finally:
        setns(home, CLONE_NEWNET)


def write_sysctl(key: str, value: str) -> None:
    """Write a sysctl of the current network namespace; OSError naming the key."""
    try:
        fd = os.open("/proc/sys/" + key.replace(".", "/"), os.O_WRONLY)
    except OSError as error:
        raise OSError(error.errno, f"sysctl {key}: {error.strerror}") from error
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, f"sysctl {key} = {value}: {error.strerror}") from error
    finally:
        os.close(fd)


def read_sysctl(key: str) -> str | None:
    """A sysctl of the current network namespace; None where this kernel has no such."""
    return read_switch("/proc/sys/" + key.replace(".", "/"))


def processes_in(*netns: int) -> dict[int, str]:
    """The names of all processes in these networks, by number, as far as /proc shows them.

    ``netns`` are descriptors of the namespaces.
    """
    wanted, found = {os.fstat(one).st_ino for one in netns}, {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if os.stat(f"/proc/{entry.name}/ns/net").st_ino in wanted:  # noqa: PTH116
                text = Path(f"/proc/{entry.name}/comm").read_text("utf-8", "replace")
                found[int(entry.name)] = text.strip()
    return found


def refused(error: OSError) -> bool:
    """True when the kernel said no for want of permission or room."""
    return error.errno in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EINVAL)


def read_switch(path: str) -> str | None:
    """A one-line kernel switch, or None where this kernel has none."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None
