"""Turns at computing: as many at a time as processors, and none is lost with who held it."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.lab import turns
from testbed.lab.forked import forked
from testbed.lab.turns import shared, turn


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(turns, "_shared", [])
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with shared():
        yield
    assert not turns._shared


def held(_: int) -> bytes:
    with turn():
        began = time.monotonic()
        time.sleep(0.1)
        return b"%f %f" % (began, time.monotonic())


def at_once(count: int) -> int:
    """How many of ``count`` processes computed at one moment, at the most."""
    spans = [tuple(map(float, told.split())) for _, told, _ in forked([held] * count, count, 9.0)]
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


@pytest.mark.usefixtures("two")
def test_no_more_compute_at_once_than_there_are_processors() -> None:
    assert at_once(5) == 2


def test_where_nothing_is_shared_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_shared", [])
    all_five = multiprocessing.get_context("fork").Barrier(5)

    def meet(_: int) -> bytes:
        with turn():
            all_five.wait(9.0)
            return b"met"

    assert [told for _, told, _ in forked([meet] * 5, 5, 20.0)] == [b"met"] * 5


@pytest.mark.usefixtures("two")
def test_a_turn_ends_with_the_process_that_holds_it() -> None:
    def die(_: int) -> bytes:
        with turn():
            os._exit(1)

    tasks = [die] * 4 + [held]
    assert [told for _, told, _ in forked(tasks, 1, 9.0)][:4] == [b""] * 4
    assert at_once(3) == 2


@pytest.mark.usefixtures("two")
def test_who_shares_again_takes_turns_with_all_the_others() -> None:
    with shared():
        pass
    assert at_once(5) == 2


def test_who_shares_beside_others_does_not_meet_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the workers of a test run do, in one sandbox: one ends while the other goes on."""
    monkeypatch.setattr(turns, "_shared", [])

    def beside(index: int) -> bytes:
        with shared():
            time.sleep(0.1 * index)
            return held(index)

    assert all(told for _, told, _ in forked([beside] * 3, 3, 9.0))


@pytest.mark.usefixtures("two")
def test_no_file_is_left_of_who_is_killed() -> None:
    """None has a name: it is gone with its last process."""
    places = [Path(f"/proc/self/fd/{number}").readlink() for number in turns._shared]
    assert all("memfd" in str(place) for place in places)
