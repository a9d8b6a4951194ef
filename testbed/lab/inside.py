"""A command in a node of a lab that is up, on the terminal of whoever asked for it.

Three processes: the one that was asked, a guard, and the command.  The guard is the command's
parent and hears of signals by a pipe from the first, whose end it notices, too, even that by
SIGKILL: what was started by a process that was told to end does not go on in the lab.  The guard
stays outside of the lab's pid namespace, so that it sees all of the command's descendants; it knows
them by the mount namespace, which each command has for itself.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from testbed.errors import Exit
from testbed.lab import kernel
from testbed.lab.attach import Entrance, Running, enter, way_in
from testbed.lab.process import enter_node
from testbed.lab.sandbox import search_path

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_FINAL = (signal.SIGTERM, signal.SIGHUP)  # who does not obey them in time is killed
_GRACE = 5.0  # seconds
_KILLING = 5.0  # seconds until all are gone that were killed
_PACKAGES = {  # Debian's, of what people look for in a lab
    **{"ping": "iputils-ping", "traceroute": "traceroute", "tracepath": "iputils-tracepath"},
    **{"dig": "bind9-dnsutils", "nslookup": "bind9-dnsutils", "conntrack": "conntrack"},
    **{"curl": "curl", "nc": "netcat-openbsd", "ip": "iproute2", "ss": "iproute2"},
    **{"nft": "nftables", "iptables": "iptables", "tshark": "tshark", "tcpdump": "tcpdump"},
    **{"iperf3": "iperf3", "socat": "socat", "upnpc": "miniupnpc", "natpmpc": "natpmpc"},
}


def run_in(lab: Running, node: str, command: Sequence[str]) -> int:
    """Run ``command`` in ``node``; gives its exit code, 128 and the number for a signal.

    A Ctrl-C is the command's: this process waits.  What other processes send is passed on.
    UsageError without such a node, BackendError without an answer of the lab.
    """
    answer = way_in(lab, node)
    heard = [n for n in _PASSED_ON if signal.getsignal(n) is not signal.SIG_IGN]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*heard, signal.SIGCHLD))
    orders, held = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    guard = os.fork()
    if guard == 0:
        os.close(held)
        _guard(lab, answer, node, command, orders, before)
    os.close(orders)
    try:
        return _attend(guard, held, heard)
    finally:
        os.close(held)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def missing(program: str) -> str:
    """What to install for a program that is not there; empty if that is not known."""
    package = _PACKAGES.get(program)
    return f"apt-get install {package}" if package else ""


def _attend(guard: int, held: int, heard: Collection[int]) -> int:
    """Until the guard ends, which does so as the command did.

    What a terminal sends reaches the whole foreground group, and so the command, too.
    """
    while True:
        info = signal.sigwaitinfo((*heard, signal.SIGCHLD))
        if info.si_signo != signal.SIGCHLD:
            if info.si_signo in _FINAL or info.si_code <= 0:
                with contextlib.suppress(BrokenPipeError):
                    os.write(held, bytes([info.si_signo]))
            continue
        done, status = os.waitpid(guard, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _guard(
    lab: Running,
    answer: Entrance,
    node: str,
    command: Sequence[str],
    orders: int,
    before: Collection[int],
) -> NoReturn:
    """In the fork; ``before`` are the signals that were blocked when all began."""
    code = int(Exit.INCONCLUSIVE)
    try:
        processes = _Processes()  # of here: the lab's /proc has other numbers
        enter(lab, answer)
        files = answer.words.get("files")
        enter_node(answer.fds[-1], Path(str(files)) if files else None)
        child = os.fork()
        if child == 0:
            _execute(node, command, before)
        code = _watch(child, orders, processes)
    except OSError as error:
        text = f"testbed: lab: the lab of process {lab.pid} cannot be entered: {error}\n"
        os.write(2, text.encode())
    finally:
        os._exit(code)


def _watch(child: int, orders: int, processes: "_Processes") -> int:
    """Pass signals on until the command ends; then its exit code."""
    pidfd = os.pidfd_open(child)
    told, deadline = False, None
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([orders, pidfd], [], [], left)
        if pidfd in ready:
            break
        numbers = os.read(orders, 64) if ready else b""
        told = True
        if not numbers:  # who asked for it has gone, or it had its time
            _send(pidfd, signal.SIGKILL)
            processes.kill()
            break
        for number in numbers:
            _send(pidfd, number)
            if number in _FINAL and deadline is None:
                deadline = time.monotonic() + _GRACE
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if told:
        processes.kill()
    return code if code >= 0 else 128 - code


def _send(pidfd: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


class _Processes:
    """Those in the mount namespace of this process, which is one of them."""

    def __init__(self) -> None:
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Where /proc is that of an outer pid namespace, numbers in it are not ours.
        self._level = len(self._numbers("self"))

    def kill(self) -> None:
        """End all others, however many they start meanwhile."""
        deadline = time.monotonic() + _KILLING
        while (found := list(self._others())) and time.monotonic() < deadline:
            for pid in found:
                with contextlib.suppress(OSError):
                    pidfd = os.pidfd_open(pid)
                    _send(pidfd, signal.SIGKILL)
                    select.select([pidfd], [], [], _KILLING)
                    os.close(pidfd)

    def _others(self) -> Iterator[int]:
        own = self._mounts("self")
        for name in os.listdir(self._proc):  # noqa: PTH208 (a descriptor)
            if name.isdigit() and self._mounts(name) == own:
                pid = self._numbers(name)[self._level - 1 :][:1]
                if pid and pid[0] != os.getpid():
                    yield pid[0]

    def _mounts(self, name: str) -> str | None:
        """None of a process that has ended, or is another user's."""
        try:
            return os.readlink(f"{name}/ns/mnt", dir_fd=self._proc)
        except OSError:
            return None

    def _numbers(self, name: str) -> list[int]:
        """A process's numbers, from the namespace of this /proc inwards."""
        try:
            fd = os.open(f"{name}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
            with os.fdopen(fd, encoding="utf-8", errors="replace") as lines:
                line = next(line for line in lines if line.startswith("NSpid:"))
        except (OSError, StopIteration):
            return []
        return [int(number) for number in line.split()[1:]]


def _execute(node: str, command: Sequence[str], before: Collection[int]) -> NoReturn:
    """In the fork of the guard: become the command."""
    try:
        kernel.die_with_parent(signal.SIGKILL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, programs do not
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.environ["PS1"] = f"[{node}] \\w \\$ "
        os.environ["PATH"] = search_path()
        os.execvp(command[0], list(command))
    except OSError as error:
        remedy = missing(command[0]) if isinstance(error, FileNotFoundError) else ""
        tail = f"\n  remedy: {remedy}" if remedy else ""
        os.write(2, f"testbed: {command[0]}: {error.strerror}{tail}\n".encode())
    finally:
        os._exit(127)
