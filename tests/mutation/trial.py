"""One mutant against the tests that concern it, in a process of its own.

The process is forked from one that has loaded the libraries, but nothing of the testbed: the
child imports that anew, with the mutant in the place of one module.  No file is changed.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import CodeType

LIBRARIES = (
    "pytest", "xdist", "hypothesis", "hypothesis.strategies", "_hypothesis_pytestplugin",
    "pydantic", "cryptography.x509", "aioice", "aioquic.quic.connection", "jinja2", "typer",
    "rich.table", "scapy.all", "pyroute2", "jsonschema", "docker",
)  # fmt: skip


PATIENCE = 120.0  # seconds; no test waits so long for anything

# pytest's exit codes: a test failed; a module, or all that was asked for, could not be imported.
NOTICED = (1, 2, 4)


class Fate(StrEnum):
    KILLED = "killed"  # a test failed
    ENDLESS = "endless"  # a test used many times its processor time, or waited: noticed as well
    SURVIVED = "survived"
    UNTESTED = "untested"  # no test runs the line


@dataclass(frozen=True)
class Trial:
    """What a child is to do: ``source`` in the place of ``file``, then ``tests``.

    These are in groups: those of the next one are loaded only where all before them passed.
    """

    file: str
    source: bytes
    tests: Sequence[Sequence[str]]
    cpu_seconds: int


def prepare(libraries: Sequence[str] = LIBRARIES) -> None:
    """Load what every child needs, so that it is loaded once."""
    for name in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import hypothesis

    hypothesis.settings.register_profile(
        "mutation",
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )


def start(trial: Trial) -> int:
    """Fork a child for ``trial``; its process id."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            code = _run(trial)
        finally:
            os._exit(code)
    return child


def fate(status: int) -> Fate:
    """What the status of an ended child says of its mutant."""
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return Fate.ENDLESS
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return Fate.SURVIVED
    if code in NOTICED or code < 0:
        return Fate.KILLED
    raise RuntimeError(f"a trial did not take place: pytest's exit code is {code}")


class Watch:
    """How long a child has slept without using the processor.

    A busy machine does not make it look so: who waits for a processor does not sleep.
    """

    def __init__(self, child: int) -> None:
        self.child = child
        self.used = -1
        self.since = time.monotonic()

    def slept(self) -> float:
        """Seconds of sleep until now."""
        text = Path(f"/proc/{self.child}/stat").read_text(encoding="utf-8")
        state, *rest = text.rpartition(")")[2].split()
        used = int(rest[10]) + int(rest[11])  # proc(5): utime, stime
        if state == "R" or used != self.used:
            self.used, self.since = used, time.monotonic()
        return time.monotonic() - self.since


def wait(children: dict[int, Watch], patience: float = PATIENCE) -> tuple[int, int]:
    """The first child to end, and its status; one that sleeps for ``patience`` is ended."""
    while True:
        for child, watch in children.items():
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return child, status
            if watch.slept() > patience:
                os.kill(child, signal.SIGKILL)
        descriptors = [os.pidfd_open(child) for child in children]
        select.select(descriptors, [], [], 5.0)
        for descriptor in descriptors:
            os.close(descriptor)


def _run(trial: Trial) -> int:
    import pytest

    limit = trial.cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    sys.stdout = sys.stderr = io.TextIOWrapper(io.BytesIO(), write_through=True)
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, _Instead(trial))
    # pytest would load the testbed, which is a plugin of its, past the finder, to rewrite asserts.
    options = ("-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist")
    options += ("--timeout=0", "--hypothesis-profile=mutation")
    codes = (int(pytest.main([*options, *tests])) for tests in trial.tests)
    return next((code for code in codes if code), 0)


class _Instead(importlib.abc.MetaPathFinder):
    """Finds the mutant where its module is asked for."""

    def __init__(self, trial: Trial) -> None:
        self.name = trial.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self.trial = trial

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:  # type: ignore[override]
        if fullname != self.name:
            return None
        file = str(Path(self.trial.file).absolute())
        return importlib.util.spec_from_file_location(
            fullname, file, loader=_Loader(fullname, file, self.trial.source)
        )


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, source: bytes) -> None:
        super().__init__(fullname, path)
        self.source = source

    def get_code(self, _: str) -> CodeType:
        code: CodeType = compile(self.source, self.path, "exec", dont_inherit=True)
        return code
