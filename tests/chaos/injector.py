"""A child of the harness that waits for its moment, and then does harm."""

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from chaos.harms import MACHINE, SIGNALS, SPARE_BYTES, SPARE_FILES, Harm, Injection
from chaos.situations import SITUATIONS
from chaos.victims import Whereabouts
from testbed.lab import kernel
from testbed.lab.containers.engine import engine
from testbed.lab.containers.lab import ContainerLab
from testbed.lab.namespaces import NamespaceLab
from testbed.model.lab import Backend, Lab
from testbed.model.plan import Plan

UP = "the lab was up: "
WAIT = 10.0  # seconds for a victim to be there
PAUSE = 0.05  # seconds
STEP = 20  # seconds by which the clock leaps
_CLONE_NEWTIME = 0x80


class Harmed:
    """A backend whose labs suffer ``injection``, so long after they are up.

    Each harm that was done is told as a line at the descriptor ``told``.
    """

    def __init__(self, backend: Backend, injection: Injection, after_s: float, told: int) -> None:
        self.name = backend.name
        self._backend, self._injection = backend, injection
        self._after_s, self._told = after_s, told

    @contextmanager
    def start(self, plan: Plan) -> Iterator[Lab]:
        with self._backend.start(plan) as lab, self._timed():
            assert isinstance(lab, NamespaceLab)
            if self._injection.harm is Harm.CLOCK_STEP:
                with self._leaping():
                    yield lab
                return
            child = self._begun(lab)
            try:
                yield lab
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, 0)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Tell for how long the lab was there."""
        began = time.monotonic()
        yield
        os.write(self._told, f"{UP}{time.monotonic() - began:.3f}\n".encode())

    def _begun(self, lab: NamespaceLab) -> int:
        places = Whereabouts.of(lab)
        container = None
        node = SITUATIONS[self._injection.situation].processes.get(self._injection.victim)
        if isinstance(lab, ContainerLab) and node:
            container = lab.container(node)
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                kernel.die_with_parent(signal.SIGKILL)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.closerange(3, self._told)
                os.closerange(self._told + 1, 1 << 16)
                time.sleep(self._after_s)
                _harm(self._injection, places, container, self._told)
            os._exit(0)
        return child

    @contextmanager
    def _leaping(self) -> Iterator[None]:
        """The monotonic clock of this process, not that of others, leaps at the moment."""
        later = _later_clock()

        def leap(_number: int, _frame: FrameType | None) -> None:
            kernel.setns(later, _CLONE_NEWTIME)
            os.write(self._told, b"the clock\n")

        before = signal.signal(signal.SIGALRM, leap)
        signal.setitimer(signal.ITIMER_REAL, max(self._after_s, 0.001))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            os.close(later)


def _later_clock() -> int:
    """A time namespace whose monotonic clock is `STEP` seconds ahead of ours."""
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            kernel.unshare(_CLONE_NEWTIME)
            Path("/proc/self/timens_offsets").write_text(f"monotonic {STEP} 0\n", "ascii")
            os.write(told, b"r")
            signal.pause()
        os._exit(1)
    os.close(told)
    try:
        if not os.read(ready, 1):
            raise OSError("no time namespace can be made here")
        return os.open(f"/proc/{child}/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)


def _harm(one: Injection, places: Whereabouts, container: str | None, told: int) -> None:
    if one.victim == MACHINE:
        full = {Harm.FULL_TMP: "/tmp", Harm.FULL_DISK: os.environ["CHAOS_FOLDER"]}
        if one.harm in full:  # else it is as it is from the beginning
            _fill(Path(full[one.harm]))
        os.write(told, b"the machine\n")
        return
    if container is not None:
        _in_container(container, SIGNALS[one.harm][0])
        os.write(told, f"container {container}\n".encode())
        return
    end = time.monotonic() + WAIT
    processes = SITUATIONS[one.situation].processes
    while not (found := places.find(one.victim, processes)):
        if time.monotonic() > end:
            return
        time.sleep(0.005)
    pid = random.Random(one.seed).choice(sorted(found))
    name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    os.write(told, f"{name} ({pid})\n".encode())
    if one.harm is Harm.FEW_DESCRIPTORS:
        most = len(os.listdir(f"/proc/{pid}/fd")) + SPARE_FILES  # noqa: PTH208
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
    elif one.harm is Harm.LITTLE_MEMORY:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[0])
        most = pages * resource.getpagesize() + SPARE_BYTES
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
    for number in SIGNALS.get(one.harm, ()):
        os.kill(pid, number)
        time.sleep(PAUSE)


def _fill(folder: Path) -> None:
    """Until no byte more goes in."""
    with contextlib.suppress(OSError), (folder / "-filled").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    with contextlib.suppress(OSError), (folder / "-filled").open("ab", buffering=0) as file:
        while True:
            file.write(b"\0")


def _in_container(name: str, number: signal.Signals) -> None:
    """To all programs of the container but its agent, or to the container where there is none."""
    with engine() as client:
        words = ["sh", "-c", f"kill -{int(number)} -1"]
        if number is signal.SIGKILL:
            client.exec_start(client.exec_create(name, words)["Id"])
        else:
            client.pause(name)
