"""What a confined process may do: nothing that takes a privilege, and of all else not too much."""

import contextlib
import os
import resource
from collections.abc import Collection
from pathlib import Path

from testbed.lab import kernel
from testbed.model.lab import Capability

NOBODY = 65534  # its user and group, inside, and outside where this user may be somebody else
PROCESSES = 512  # threads, too
FILES = 4096  # open at a time
FILE_SIZE = 64 << 20  # bytes
DATA = 4 << 30  # bytes of memory that one process may write to
_LIMITS = {
    resource.RLIMIT_NPROC: PROCESSES,
    resource.RLIMIT_NOFILE: FILES,
    resource.RLIMIT_FSIZE: FILE_SIZE,
    resource.RLIMIT_DATA: DATA,
    resource.RLIMIT_CORE: 0,
}
# The options of prctl, and the bits of capabilities(7).
_CAPBSET_DROP, _SET_SECUREBITS, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 24, 28, 38, 47
_AMBIENT_RAISE = 2
_KEEP_OVER_SETUID = 1 << 2  # SECBIT_NO_SETUID_FIXUP
_NO_ROOT, _NO_SETUID_FIXUP, _NO_KEEP_CAPS = 0b11, 0b1100, 0b100000  # set and locked; locked
_NUMBERS = {Capability.NET_ADMIN: 12, Capability.NET_RAW: 13}
_SETPCAP = 8
_SET_DUMPABLE = 4


def give_up(capabilities: Collection[Capability], switches: int) -> None:
    """Become nobody, without any right but ``capabilities`` over the node's network; OSError.

    ``switches`` is a descriptor of /proc/sys.  From the new root on nothing may be imported, not
    even an encoding: the interpreter's own files are there only if it lies in /usr.
    """
    kernel.new_session_keyring()
    Path("/proc/self/oom_score_adj").write_bytes(b"1000")  # it goes first
    _become_nobody()
    kept = sum(1 << _NUMBERS[one] for one in capabilities if one in _NUMBERS)
    if not kept:
        _enter_user_namespace(switches)
    for limit, most in _LIMITS.items():
        hard = resource.getrlimit(limit)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (value, value))
    _drop_all_but(kept)
    kernel.control(_SET_NO_NEW_PRIVS, 1)


def _become_nobody() -> None:
    """Keeping all rights for now.  A sandbox of an ordinary user's has no other users."""
    kernel.control(_SET_SECUREBITS, _KEEP_OVER_SETUID)
    with contextlib.suppress(OSError):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    kernel.control(_SET_DUMPABLE, 1)  # or /proc/self/uid_map would be root's


def _enter_user_namespace(switches: int) -> None:
    """One in which it is the only user there is, and that can have none below it."""
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    kernel.control(_SET_DUMPABLE, 1)
    Path("/proc/self/setgroups").write_bytes(b"deny")
    Path("/proc/self/uid_map").write_bytes(b"%d %d 1" % (NOBODY, uid))
    Path("/proc/self/gid_map").write_bytes(b"%d %d 1" % (NOBODY, gid))
    most = os.open("user/max_user_namespaces", os.O_WRONLY | os.O_CLOEXEC, dir_fd=switches)
    os.write(most, b"0")


def _drop_all_but(kept: int) -> None:
    """From all sets, for this program and for whatever it executes."""
    number = 0
    with contextlib.suppress(OSError):  # there are no more
        while True:
            if not kept >> number & 1:
                kernel.control(_CAPBSET_DROP, number)
            number += 1
    kernel.set_capabilities(kept | 1 << _SETPCAP, kept)
    kernel.control(_SET_SECUREBITS, _NO_ROOT | _NO_SETUID_FIXUP | _NO_KEEP_CAPS)
    for number in range(kept.bit_length()):
        if kept >> number & 1:
            kernel.control(_CAP_AMBIENT, _AMBIENT_RAISE, number)
    kernel.set_capabilities(kept, kept)
