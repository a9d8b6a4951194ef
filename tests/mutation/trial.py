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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import CodeType
from typing import Any

LIBRARIES = (
    "pytest", "xdist", "hypothesis", "hypothesis.strategies", "_hypothesis_pytestplugin",
    "pydantic", "cryptography.x509", "aioice", "aioquic.quic.connection", "jinja2", "typer",
    "rich.table", "scapy.all", "pyroute2", "jsonschema", "docker",
)  # fmt: skip


PATIENCE = 120.0  # seconds; no test waits so long for anything
IDLE = 5.0  # seconds between two looks at who sleeps

# pytest's exit codes: a test failed; a module, or all that was asked for, could not be imported.
NOTICED = (1, 2, 4)


class Fate(StrEnum):
    KILLED = "killed"  # a test failed, and failed again
    ENDLESS = "endless"  # a test used many times its processor time, or waited: noticed as well
    SURVIVED = "survived"
    UNTESTED = "untested"  # no test runs the line


ALIVE = (Fate.SURVIVED, Fate.UNTESTED)


@dataclass(frozen=True)
class Trial:
    """What a child is to do: ``source`` in the place of ``file``, then ``tests``.

    These are in groups: those of the next one are loaded only where all before them passed.
    """

    file: str
    source: bytes
    tests: Sequence[Sequence[str]]
    cpu_seconds: int


def prepare(libraries: Sequence[str]) -> None:
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


class Child:
    """A process that tries a mutant, and how long it and all it started have slept.

    No wall clock decides: who waits for a processor, as on a busy machine, does not sleep.
    """

    def __init__(self, pid: int, notes: int) -> None:
        self.pid = pid
        self.notes = notes  # a file without a name, with the last test that was started
        self.used = -1
        self.since = time.monotonic()
        self.status = 0

    def slept(self) -> float:
        """Seconds of sleep until now."""
        ours = [rest for rest in _processes() if int(rest[3]) == self.pid]  # proc(5): session
        used = sum(int(rest[11]) + int(rest[12]) for rest in ours)  # utime, stime
        if used != self.used or any(rest[0] == "R" for rest in ours):
            self.used, self.since = used, time.monotonic()
        return time.monotonic() - self.since

    def end(self) -> None:
        """Kill it, and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_test(self) -> str:
        """The test that ran last: where the mutant was noticed, the one that noticed it."""
        return os.pread(self.notes, 4096, 0).decode()

    def close(self) -> None:
        os.close(self.notes)


def _processes() -> Iterator[list[str]]:
    """Of each process what follows its name in proc(5)'s stat."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
                yield text.rpartition(")")[2].split()


def start(trial: Trial) -> Child:
    """Fork a child for ``trial``, with a session of its own."""
    notes = os.memfd_create("last-test")
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            os.setsid()
            code = _run(trial, notes)
        finally:
            os._exit(code)
    return Child(pid, notes)


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


def wait(children: Sequence[Child], patience: float = PATIENCE) -> Child:
    """The first child to end, with its status; one that sleeps for ``patience`` is ended."""
    while True:
        for child in children:
            ended, child.status = os.waitpid(child.pid, os.WNOHANG)
            if ended:
                child.end()  # what it left behind
                return child
            if child.slept() > patience:
                child.end()
        descriptors = [os.pidfd_open(child.pid) for child in children]
        select.select(descriptors, [], [], min(IDLE, patience + 0.1))
        for descriptor in descriptors:
            os.close(descriptor)


def _run(trial: Trial, notes: int) -> int:
    limit = trial.cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    sys.stdout = sys.stderr = io.TextIOWrapper(io.BytesIO(), write_through=True)
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, _Instead(trial))
    return next((code for code in (_tested(some, notes) for some in trial.tests) if code), 0)


def _tested(tests: Sequence[str], notes: int) -> int:
    """pytest's exit code for ``tests``; one that fails once only has proven nothing."""
    left = list(tests)
    while left:
        witness = _Witness(notes)
        code = _pytest(left, witness)
        if code != 1 or witness.failed not in left or _pytest([witness.failed], witness) == 1:
            return code
        left.remove(witness.failed)
    return 0


def _pytest(tests: Sequence[str], witness: "_Witness") -> int:
    import pytest

    # pytest would load the testbed, which is a plugin of its, past the finder, to rewrite asserts.
    options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["--timeout=0", "--hypothesis-profile=mutation"]
    return int(pytest.main([*options, *tests], plugins=[witness]))


class _Witness:
    """A plugin for pytest: notes each test before it runs, and which one failed."""

    def __init__(self, notes: int) -> None:
        self.notes = notes
        self.failed = ""

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        os.ftruncate(self.notes, 0)
        os.pwrite(self.notes, nodeid.encode()[:4096], 0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = report.nodeid


class _Instead(importlib.abc.MetaPathFinder):
    """Finds the mutant where its module is asked for."""

    def __init__(self, trial: Trial) -> None:
        self.name = trial.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self.trial = trial

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
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
