"""The few system calls that Python 3.11 does not offer, through ctypes."""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18

_PR_SET_PDEATHSIG = 1
_MNT_DETACH = 2
_CAPABILITIES_3 = 0x20080522
# The new mount calls have one number on every architecture: include/uapi/asm-generic/unistd.h.
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8

_SMALL = 1 << 16  # bytes

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


def unmount(target: str) -> None:
    """umount(2), as soon as nobody uses it; OSError naming the target."""
    _check(_libc.umount2(target.encode(), _MNT_DETACH), f"umount {target}")


def restrict_mounts(target: str, attributes: int) -> None:
    """Set ``attributes`` (ATTR_*) on the mount at ``target`` and on all below it; OSError.

    Linux 5.12 or later.
    """
    attr = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    number, here, deep = (ctypes.c_long(n) for n in (_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE))
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    result = _libc.syscall(number, here, target.encode(), deep, ctypes.byref(attr), size)
    _check(result, f"mount_setattr {target}")


def change_root(root: str) -> None:
    """Make the mount at ``root`` this mount namespace's root, and let go of all others."""
    os.chdir(root)
    _check(_libc.syscall(ctypes.c_long(_pivot_root()), b".", b"."), f"pivot_root {root}")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount of the old root")
    os.chdir("/")


def _pivot_root() -> int:
    """The C library has no such function."""
    return {"x86_64": 155, "aarch64": 41, "riscv64": 41, "armv7l": 218}[os.uname().machine]


def control(option: int, *words: int) -> None:
    """prctl(2) with up to four integers; OSError."""
    given = (*words, 0, 0, 0, 0)[:4]
    _check(_libc.prctl(option, *map(ctypes.c_ulong, given)), f"prctl({option})")


def set_capabilities(effective: int, inheritable: int) -> None:
    """capset(2) of this thread: bit masks, the permitted ones being as the effective; OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    masks = (effective, effective, inheritable)
    words = (mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in masks)
    data = (ctypes.c_uint32 * 6)(*words)
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(data)), "capset")


def new_session_keyring() -> None:
    """Leave the keys of whoever started this; no effect where the kernel has no keys."""
    number = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "armv7l": 311}[os.uname().machine]
    _libc.syscall(ctypes.c_long(number), ctypes.c_long(1), None)  # KEYCTL_JOIN_SESSION_KEYRING


def erase(start: int, size: int) -> None:
    """Write zeros over this process's memory."""
    ctypes.memset(start, 0, size)


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
                text = read_file(f"/proc/{entry.name}/comm").decode(errors="replace")
                found[int(entry.name)] = text.strip()
    return found


def refused(error: OSError) -> bool:
    """True when the kernel said no for want of permission or room."""
    return error.errno in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EINVAL)


def read_switch(path: str) -> str | None:
    """A one-line kernel switch, or None where this kernel has none."""
    try:
        return read_file(path).decode().strip()
    except OSError:
        return None


def read_file(path: str) -> bytes:
    """What a small file of the kernel's holds; OSError.  A cell asks for hundreds of them."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _SMALL)
    finally:
        os.close(fd)
