"""A command of the testbed's in a fork of this process, which has imported it already.

Half of what a short command costs is the start of an interpreter that imports the same modules
again.  A test whose claim is what a command says, does and ends with needs none of that; where the
claim is about the process itself, its environment of Python's or who may read its code, a test
starts one.
"""

import io
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from testbed.cli import commands, main

for _module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
    import_module(_module.name)  # or each fork does it

_POLL = 0.005  # seconds; a command takes ten times as long at the least
_MARK = "TESTBED_SANDBOX"  # without which a command makes a sandbox of its own, as a user's does


def said(
    *words: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
    apart: bool = True,
    change: Callable[[], None] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """What ``testbed WORDS`` puts out and how it ends, in a sandbox of its own if ``apart``.

    ``change`` is made to the program before it runs, in the fork alone.
    """
    environment = {**os.environ, **(env or {})}
    if apart:
        environment.pop(_MARK, None)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of xdist's threads, which fork
            pid = os.fork()
        if pid == 0:
            _run(words, environment, cwd, (out.fileno(), error.fileno()), change)
        code = _ended(pid, words, timeout)
        told = []
        for stream in (out, error):
            stream.seek(0)
            told.append(stream.read().decode())
    return subprocess.CompletedProcess(words, code, *told)


def _run(
    words: tuple[str, ...],
    env: Mapping[str, str],
    cwd: Path | None,
    streams: tuple[int, int],
    change: Callable[[], None] | None,
) -> NoReturn:
    """In the fork: what an interpreter does before and after `main`; never returns."""
    code = 120
    try:
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
        os.environ.clear()
        os.environ.update(env)
        if cwd is not None:
            os.chdir(cwd)
        sys.argv = ["testbed", *words]
        sys.stdout, sys.stderr = _words(1), _words(2)
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        if change is not None:
            change()
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _words(fd: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(fd, "w", closefd=False), "utf-8", write_through=True)


def _ended(pid: int, words: tuple[str, ...], timeout: float) -> int:
    """The exit code, as `subprocess` tells it."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_POLL)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise subprocess.TimeoutExpired(words, timeout)
