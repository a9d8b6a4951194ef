"""What a forked task does to its parent's objects: nothing."""

import gc
import os
import weakref
from pathlib import Path

from testbed.lab import sandbox
from testbed.lab.forked import forked


class Kept:
    """One of a circle, which only the collector of cycles can take away."""

    def __init__(self) -> None:
        self.itself = self


def test_a_forked_task_visits_no_object_of_its_parent() -> None:
    """Each one that is visited is written to, and so its page is copied."""
    ours = [[number] for number in range(10_000)]
    assert len(gc.get_objects()) > len(ours)
    ((_, output, _),) = forked([lambda _: str(len(gc.get_objects())).encode()], 1, 10.0)
    assert int(output) < 1000


def test_what_the_parent_left_as_garbage_is_not_collected_in_the_fork() -> None:
    """It may hold a file descriptor by a number that has been given anew."""
    gc.disable()
    try:
        garbage = weakref.ref(Kept())

        def collects(_: int) -> bytes:
            gc.collect()
            return b"there" if garbage() is not None else b"gone"

        ((_, output, _),) = forked([collects], 1, 10.0)
    finally:
        gc.enable()
    assert output == b"there"


def test_a_process_runs_as_many_tasks_as_it_may_and_no_more() -> None:
    tasks = [lambda _, n=n: b"%d %d" % (n, os.getpid()) for n in range(5)]
    found = [output.split() for _, output, _ in forked(tasks, 1, 10.0, each=2)]
    assert [int(number) for number, _ in found] == list(range(5))
    pids = [pid for _, pid in found]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


def test_who_runs_several_tasks_and_dies_or_hangs_is_followed_by_another() -> None:
    def hang(_: int) -> bytes:
        os.read(os.pipe()[0], 1)
        return b"never"

    tasks = [lambda _: b"one", lambda _: os._exit(3), hang, lambda _: b"two"]
    found = {index: output for index, output, _ in forked(tasks, 1, 0.3, each=9)}
    assert found == {0: b"one", 1: b"", 2: b"", 3: b"two"}


def test_a_long_output_is_whole_and_one_that_is_cut_short_is_not_taken_for_it() -> None:
    long = bytes(range(256)) * 4096

    def torn(_: int) -> bytes:
        raise SystemExit

    found = {index: output for index, output, _ in forked([lambda _: long, torn], 1, 9.0, each=2)}
    assert found == {0: long, 1: b""}


def test_each_task_has_a_scratch_of_its_own_that_ends_with_it() -> None:
    def make(_: int) -> bytes:
        (sandbox.scratch() / "left").touch(exist_ok=False)
        return bytes(sandbox.scratch())

    places = [Path(os.fsdecode(place)) for _, place, _ in forked([make, make], 1, 9.0, each=2)]
    assert len(set(places)) == 2
    assert not any(place.exists() for place in places)
