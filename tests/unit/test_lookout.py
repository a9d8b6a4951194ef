"""The harness measures by itself whether this machine lets a peer run."""

import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.lab import waits
from testbed.lab.process import NodeProcess
from testbed.stacks import lookout
from testbed.stacks.lookout import Lookout

MS = 1_000_000


def spinning(until: float) -> int:
    """A child that wants one processor, the same as its sisters, until an instant."""
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        while time.monotonic() < until:
            pass
        os._exit(0)
    return pid


@pytest.fixture
def sisters() -> Iterator[list[int]]:
    until = time.monotonic() + 0.3
    pids = [spinning(until) for _ in range(2)]
    yield pids
    for pid in pids:
        os.waitpid(pid, 0)


def test_who_shares_a_processor_with_its_like_waits_for_half_of_the_time(
    sisters: list[int],
) -> None:
    before = [waits.of_process(pid) or 0 for pid in sisters]
    machine = waits.of_machine()
    time.sleep(0.2)
    waited = [(waits.of_process(pid) or 0) - was for pid, was in zip(sisters, before, strict=True)]
    assert sum(waited) > 100 * MS
    if machine is not None:
        assert (waits.of_machine() or 0) - machine > 100 * MS


def test_of_a_process_that_has_ended_nothing_is_known() -> None:
    pid = spinning(0.0)
    os.waitpid(pid, 0)
    assert waits.of_process(pid) is None


def test_a_process_in_a_node_is_asked_for_its_own_waits(sisters: list[int]) -> None:
    asked = SimpleNamespace(pid=sisters[0], poll=lambda: None)
    assert NodeProcess.waited_ns(asked) is not None  # type: ignore[arg-type]


class Clock:
    """The times of `lookout`, which pass as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        fake = SimpleNamespace(monotonic=lambda: self.now, time_ns=lambda: round(self.now * 1e9))
        monkeypatch.setattr(lookout, "time", fake)


def process(ns: int | None) -> Any:
    return SimpleNamespace(waited_ns=lambda: ns)


def test_looks_begin_before_the_start_and_their_pauses_double_until_somebody_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, found = Clock(monkeypatch), Lookout({"a": process(7), "b": process(None)})
    found.awake(stirred=True)  # nobody is expected yet
    found.expect(1.0)
    for milliseconds, stirred in ((990, True), (998, False), (1009, False), (1027, True)):
        clock.now = milliseconds / 1000
        found.awake(stirred)
    clock.now = 1.028
    found.awake(stirred=True)  # so soon after the last one it is not worth a look
    looks = found.punctuality.looks
    assert [(look.at_ns // MS, round(look.late_ns / MS)) for look in looks] == [
        (998, 0),
        (1009, 1),
        (1027, 0),
    ]
    assert {tuple(look.waited_ns.items()) for look in looks} == {(("a", 7),)}
    assert found.due is not None
    assert round(found.due * 1000) == 1032


def test_a_harness_that_comes_late_to_its_first_look_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, found = Clock(monkeypatch), Lookout({"a": process(0)})
    found.expect(1.0)
    clock.now = 1.048
    found.awake(stirred=False)
    assert found.punctuality.held_up_ms("a", 1000 * MS, 1040 * MS) == pytest.approx(50.0)
