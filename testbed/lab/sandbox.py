"""The sandbox: one set of namespaces that holds all a run ever makes.

`enter` moves the program into new user (for ordinary users), mount, pid, ipc,
uts and network namespaces.  What is inside is held by processes and file
descriptors alone, and the sandbox's first process dies with the one outside, so
that nothing can outlive a run, not even one that was ended by SIGKILL.  The
sandbox's own network has no interface but loopback: there is no way out of it.
"""

import contextlib
import os
import resource
import select
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from testbed.errors import UnfitError
from testbed.lab import kernel

_MARK = "TESTBED_SANDBOX"
_SCRATCH_MARK = "TESTBED_SCRATCH"
_SHARED_MARK = "TESTBED_SHARED_SCRATCH"
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_NAMESPACES = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)
# Directories that are empty on most machines: one of them carries the sandbox's
# private tmpfs, invisible outside.  The first has no use in a new ipc namespace.
_SCRATCH = ("/dev/mqueue", "/usr/local/games", "/srv", "/opt", "/media", "/mnt")


def inside() -> bool:
    """True in the sandbox and in every process it has started."""
    return os.environ.get(_MARK) == _identity()


def _identity() -> str:
    return str(Path("/proc/self/ns/ipc").readlink())


def scratch() -> Path:
    """The sandbox's private directory in memory, or the one of a worker of it."""
    return Path(os.environ[_SCRATCH_MARK])


def shared_scratch() -> Path:
    """The sandbox's private directory in memory, which all its processes share."""
    return Path(os.environ[_SHARED_MARK])


def inner_scratch() -> Path:
    """A new directory in `scratch`, for a process that may be ended before it has cleaned up."""
    return Path(tempfile.mkdtemp(dir=scratch()))


def use_scratch(place: Path) -> None:
    """Let ``place`` be the `scratch` of this process."""
    os.environ[_SCRATCH_MARK] = str(place)


def enter(*results: Path) -> None:
    """Return inside a sandbox, from which the folders ``results`` are still written to.

    The calling process (which must have one thread) stays outside, waits for the
    inner one, passes signals on and ends with its exit code; the call returns in
    the inner process.  No effect inside a sandbox.  UnfitError, with the remedy,
    where this machine does not allow it.
    """
    if inside():
        return
    os.environ["PATH"] = search_path()
    _raise_file_limit()
    _unshare()
    lifeline, held = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, (*_FORWARDED, signal.SIGCHLD))
    child = os.fork()
    if child:
        os.close(lifeline)
        _attend(child)
    os.close(held)
    kernel.die_with_parent(signal.SIGKILL)
    if select.select([lifeline], [], [], 0)[0]:  # the parent died before prctl
        os._exit(1)
    _furnish([path.absolute() for path in results])
    _catch_signals()


def search_path() -> str:
    """PATH and, at its end, where Debian keeps nft and iptables, which ordinary users lack."""
    places = os.environ.get("PATH", os.defpath).split(":")
    return ":".join([*places, *(p for p in ("/usr/sbin", "/sbin") if p not in places)])


def _raise_file_limit() -> None:
    """Namespaces are file descriptors: large labs need thousands."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _unshare() -> None:
    if os.geteuid() == 0:
        try:
            return kernel.unshare(_NAMESPACES)
        except OSError as error:
            if not kernel.refused(error):
                raise
    uid, gid = os.geteuid(), os.getegid()
    try:
        kernel.unshare(_NAMESPACES | kernel.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="utf-8")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="utf-8")
    except OSError as error:
        raise UnfitError(f"no user namespace: {error}", remedy=diagnose()) from error


def diagnose() -> str:
    """The most likely reason why namespaces are refused here, and what to do."""
    apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
    if kernel.read_switch(apparmor) == "1":
        return "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu's AppArmor)"
    if kernel.read_switch("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "sudo sysctl kernel.unprivileged_userns_clone=1 (Debian's switch)"
    if kernel.read_switch("/proc/sys/user/max_user_namespaces") == "0":
        return "sudo sysctl user.max_user_namespaces=10000"
    return (
        "run as root, or allow user namespaces; in a container, start it with "
        "--cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    )


def _furnish(results: Sequence[Path]) -> None:
    try:
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        place = _empty_directory(results)
        kernel.mount("testbed", place, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755")
    except OSError as error:
        raise UnfitError(f"no private mounts: {error}", remedy=diagnose()) from error
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    # Refused where parts of /proc are masked (in containers).  The outer /proc
    # serves then: /proc/self is right in it, only `ps` would show more.
    with contextlib.suppress(OSError):
        kernel.mount("proc", "/proc", "proc", flags)
    os.environ[_MARK] = _identity()
    os.environ[_SCRATCH_MARK] = os.environ[_SHARED_MARK] = place


def _empty_directory(results: Sequence[Path]) -> str:
    """One whose covering hides nothing, not even what is yet to be written."""
    for place in _SCRATCH:
        empty = Path(place).is_dir() and not any(Path(place).iterdir())
        if empty and not any(path.is_relative_to(place) for path in results):
            return place
    raise UnfitError(
        f"none of {', '.join(_SCRATCH)} is an empty directory to mount a private tmpfs on",
        remedy="sudo mkdir -p /mnt",
    )


def _catch_signals() -> None:
    """The sandbox's first process must ask for signals: as pid 1 it has no defaults."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise_for(number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, stop)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_FORWARDED, signal.SIGCHLD))


@contextlib.contextmanager
def signals() -> Iterator[int]:
    """A pipe that tells the numbers of the signals that this process gets, a byte each.

    A handler's exception is lost where it comes up in a finalizer; the byte stays.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def raise_for(number: int) -> NoReturn:
    """What the handler of a signal raises: KeyboardInterrupt, or SystemExit with its code."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _attend(child: int) -> NoReturn:
    """Outside: pass signals on, end as the child ends.

    A Ctrl-C reaches the whole foreground group, the child too, and is told by
    its origin, the kernel; only what another process sent is passed on.
    """
    while True:
        info = signal.sigwaitinfo((*_FORWARDED, signal.SIGCHLD))
        if info.si_signo != signal.SIGCHLD:
            if info.si_code <= 0:
                os.kill(child, info.si_signo)
            continue
        done, status = os.waitpid(child, os.WNOHANG)
        if done == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
