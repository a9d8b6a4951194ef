"""Processes inside nodes: a fork that enters the node and runs a program or function."""

import contextlib
import gc
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from testbed.lab import kernel, waits
from testbed.lab.isolation.confine import Place, confine, root_of
from testbed.model.lab import Confinement


class NodeProcess:
    """A child inside a node; see `testbed.model.lab.Process`.

    It leads a group, which lives no longer than it does.
    """

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._pidfd = os.pidfd_open(pid)
        self._code: int | None = None
        self.killed = False

    def poll(self) -> int | None:
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if self._code is None and os.waitid(os.P_PIDFD, self._pidfd, ended):
            self._kill_group()  # until it is waited for, nobody else has its number
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def halted(self) -> bool:
        if self.poll() is not None:
            return False
        told = os.WSTOPPED | os.WCONTINUED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PIDFD, self._pidfd, told) is not None

    def wait(self, timeout: float) -> int:
        if self.poll() is None:
            select.select([self._pidfd], [], [], timeout)
        code = self.poll()
        if code is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        return code

    def waited_ns(self) -> int | None:
        return None if self.poll() is not None else waits.of_process(self.pid)

    def kill(self) -> None:
        if self.poll() is None:
            self.killed = True
            self._kill_group()
            os.kill(self.pid, signal.SIGKILL)

    def pause(self) -> None:
        """Let it and its group stand still; its clock goes on."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # so young that it leads none yet
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill, reap, close the pipes."""
        self.kill()
        self.wait(5.0)
        for pipe in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        os.close(self._pidfd)


def spawn(
    command: Sequence[str] | Callable[[], int],
    place: Place,
    confinement: Confinement | None = None,
) -> NodeProcess:
    """Fork a child into ``place``.

    Within a ``confinement`` it is the first process of a pid namespace of its own, in which
    nothing outlives it.  The calling process must have one thread.
    """
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = (
        os.pipe(),
        os.pipe(),
        os.pipe(),
    )
    sys.stdout.flush()
    sys.stderr.flush()
    root = None if confinement is None else root_of(confinement)
    pid = os.fork() if confinement is None else _fork_apart()
    if pid == 0:
        _child(command, place, confinement, root, (in_read, out_write, err_write))
    for fd in (in_read, out_write, err_write):
        os.close(fd)
    stdin = os.fdopen(in_write, "wb", 0)
    return NodeProcess(pid, stdin, os.fdopen(out_read, "rb", 0), os.fdopen(err_read, "rb", 0))


def _fork_apart() -> int:
    """As `os.fork`; the child is the first process of a new pid namespace."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    pid = -1
    try:
        kernel.unshare(kernel.CLONE_NEWPID)
        pid = os.fork()
    finally:
        if pid:  # what is started from now on is in our own again
            kernel.setns(own, kernel.CLONE_NEWPID)
        os.close(own)
    return pid


def _child(
    command: Sequence[str] | Callable[[], int],
    place: Place,
    confinement: Confinement | None,
    root: Path | None,
    pipes: tuple[int, int, int],
) -> None:
    """In the fork; never returns."""
    code = 126
    try:
        kernel.die_with_parent(signal.SIGKILL)
        os.setpgid(0, 0)  # no session: each would be scheduled as somebody of its own
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        for target, fd in enumerate(pipes):
            os.dup2(fd, target)
        if confinement is None or root is None:
            enter_node(place.netns, place.files)
        else:
            confine(place, confinement, root)
        if callable(command):
            _close_inherited()
            sys.stdin = os.fdopen(0, "r", closefd=False, encoding="utf-8")
            sys.stdout = os.fdopen(1, "w", 1, closefd=False, encoding="utf-8")
            sys.stderr = os.fdopen(
                2, "w", 1, closefd=False, encoding="utf-8", errors="backslashreplace"
            )
            code = command()
            sys.stdout.flush()
        else:
            os.execvp(command[0], list(command))  # other descriptors are close-on-exec
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except FileNotFoundError as error:
        what = error.filename or command
        os.write(2, f"{what}: {error.strerror}\n".encode())
        code = 127
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        code = 1
    finally:
        os._exit(code)


def _close_inherited() -> None:
    """A function in a fork must not hold the parent's sockets, rings and namespaces.

    The objects behind them are never collected here: they would close the numbers
    again, which by then belong to others.
    """
    gc.freeze()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def enter_node(netns: int, files: Path | None) -> None:
    """Make the calling process one of the node's: its network, its sysfs, its files."""
    kernel.setns(netns, kernel.CLONE_NEWNET)
    kernel.unshare(kernel.CLONE_NEWNS)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("sysfs", "/sys", "sysfs", flags)
    if files is None:
        return
    for name in ("hosts", "resolv.conf"):
        target = Path("/etc", name)
        if target.exists():  # a dangling symlink cannot be mounted on, and resolves nothing
            kernel.mount(str(files / name), str(target), "", kernel.MS_BIND)
