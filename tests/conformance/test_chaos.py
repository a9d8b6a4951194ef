"""Whatever the lab provides dies or stops at any moment: never a wrong verdict, nothing left.

``PYTHONPATH=tests:tests/conformance python tests/conformance/test_chaos.py 300`` makes so many
injections at random moments, and prints how they ended.
"""

import os
import pickle
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from shared import once

from testbed.lab import kernel, sandbox
from testbed.lab.forked import forked
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.run import cell as runner
from testbed.run.cell import run_cell
from testbed.studies.punch.cell import Cell

JOBS, DEADLINE = 6, 80.0
LATEST = 0.9  # seconds after the attempt began: each goes on for longer
CLOSED = Cell("punch-udp", ("symmetric", "symmetric"))
LIBP2P = Cell("traversal-tcp", ("symmetric", "symmetric"), "libp2p")
MAPPED = Cell("punch-udp", ("upnp-home", "symmetric"))


def inside(lab: NamespaceLab, node: str) -> list[int]:
    """But for the harness, which is there while it opens a socket."""
    found = kernel.processes_in(lab.entrance(node)[0])
    return [pid for pid in found if pid != os.getppid()]


def recorder(_lab: NamespaceLab) -> list[int]:
    """The child of the harness that is in its own network."""
    children = Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text("ascii")
    home = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
    return [
        int(pid)
        for pid in children.split()
        if int(pid) != os.getpid() and os.stat(f"/proc/{pid}/ns/net").st_ino == home  # noqa: PTH116
    ]


def delay_line(lab: NamespaceLab) -> list[int]:
    return [pid] if (pid := getattr(lab.links, "pid", None)) else []


Find = Callable[[NamespaceLab], Sequence[int]]
VICTIMS: dict[str, tuple[Cell, Find]] = {
    "coturn": (CLOSED, lambda lab: inside(lab, "server")),
    "relay": (LIBP2P, lambda lab: inside(lab, "server")),
    "observer": (LIBP2P, lambda lab: inside(lab, "observer-1")),
    "gateway": (MAPPED, lambda lab: inside(lab, "nat-a")),
    "delay line": (CLOSED, delay_line),
    "recorder": (CLOSED, recorder),
}
KILL, STOP = (signal.SIGKILL,), (signal.SIGSTOP,)
PAUSE = (signal.SIGSTOP, signal.SIGCONT)
HARMS = {
    **dict.fromkeys(("coturn", "relay", "observer", "gateway"), (KILL, STOP, PAUSE)),
    # Whoever waits for these two is patient, and a pause of them is told by what it cost.
    **dict.fromkeys(("delay line", "recorder"), (KILL,)),
}


@dataclass(frozen=True)
class Injection:
    """``signals`` to a victim, so long after the attempt began."""

    victim: str
    signals: tuple[signal.Signals, ...]
    after_s: float


def injections(count: int, seed: int) -> Iterator[Injection]:
    """Each victim and harm in turn, at random moments."""
    chance = random.Random(seed)
    kinds = [(name, one) for name, harms in HARMS.items() for one in harms]
    for number in range(count):
        yield Injection(*kinds[number % len(kinds)], chance.uniform(0.0, LATEST))


def injecting(one: Injection, find: Find) -> None:
    """The cell of this process is harmed by a child of it."""
    real = runner.attempt

    def attempt(lab: Any, task: Any) -> Any:
        child = os.fork()
        if not child:
            with suppress(BaseException):
                kernel.die_with_parent(signal.SIGKILL)
                time.sleep(one.after_s)
                while not (victims := find(lab)):
                    time.sleep(0.005)
                for number in one.signals:
                    for pid in victims:
                        os.kill(pid, number)
                    time.sleep(0.05)
            os._exit(0)
        try:
            return real(lab, task)
        finally:
            os.waitpid(child, 0)

    runner.attempt = attempt


def task(one: Injection, folder: Path) -> Callable[[int], bytes]:
    def run(slot: int) -> bytes:
        cell, find = VICTIMS[one.victim]
        injecting(one, find)
        ran = run_cell(cell, catalogue(), Namespaces(), folder, number=150 + slot)
        return pickle.dumps((ran.verdict.judgement, str(ran.verdict.because)))

    return run


def injected(count: int, seed: int, folder: Path) -> list[tuple[Injection, Judgement | None, str]]:
    """How each ended; None: not at all."""
    planned = list(injections(count, seed))
    tasks = [task(one, folder / str(number)) for number, one in enumerate(planned)]
    found = []
    for index, output, _ in forked(tasks, JOBS, DEADLINE):
        judgement, why = pickle.loads(output) if output else (None, "")
        found.append((planned[index], judgement, why))
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("chaos")
    kinds = sum(map(len, HARMS.values()))
    return once(tmp_path_factory, "chaos", lambda: injected(kinds, 7, folder))


def test_a_harm_to_what_the_lab_provides_is_a_fault_of_the_harness(found: Any) -> None:
    wrong = [one for one in found if one[1] is not Judgement.INCONCLUSIVE]
    assert wrong == []


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        sandbox.enter(Path(name))
        ended = injected(int(sys.argv[1]), int(time.time()), Path(name))
    table = Counter(
        (one.victim, "+".join(n.name for n in one.signals), str(judgement))
        for one, judgement, _ in ended
    )
    for words, count in sorted(table.items()):
        print(f"{count:4}  {'  '.join(words)}")
    for one, judgement, why in ended:
        if judgement is not Judgement.INCONCLUSIVE:
            print(one, judgement, why)
