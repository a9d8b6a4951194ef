"""Whatever a lab consists of dies, stops or has no room: never a wrong verdict, nothing left.

A short sample, of each harm and each victim; `make chaos` makes the table of hundreds.
"""

import json
import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chaos import leftovers, table
from chaos.harms import Harm, Injection, injections
from chaos.leftovers import Holdings, descendants
from chaos.situations import DEADLINE, SITUATIONS
from chaos.trial import Ended, Machine, Row, told, trial
from shared import once

from testbed.lab import kernel, sandbox
from testbed.lab.forked import forked

pytestmark = pytest.mark.timeout(900)

JOBS, SEED = 8, 7
NAMES = ("punch-udp closed", "libp2p over TCP, closed", "mapped", "mesh of four", "autonat")
SPANS = dict.fromkeys(SITUATIONS, 2.5)  # seconds in which all of them are at work


def sampled() -> list[Injection]:
    """One of each harm, and the end of each victim."""
    every = injections(4, SEED, [SITUATIONS[name] for name in NAMES])
    found: dict[object, Injection] = {}
    for one in every:
        found.setdefault(one.harm, one)
        if one.harm is Harm.KILL:
            found.setdefault(one.victim, one)
    return list(dict.fromkeys(found.values()))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    machine = Machine(tmp_path_factory.mktemp("chaos"))

    def run() -> list[dict[str, Any]]:
        def work(one: Injection, _slot: int) -> bytes:
            return told(trial(one, one.moment * SPANS[one.situation], machine))

        tasks = [partial(work, one) for one in sampled()]
        return [json.loads(output) for _, output, _ in forked(tasks, JOBS, DEADLINE + 30)]

    return [Ended.from_json(one) for one in once(tmp_path_factory, "chaos", run)]


def test_a_harm_gives_no_verdict_that_is_wrong(ended: Sequence[Ended]) -> None:
    assert len(ended) == len(sampled())
    failed = [one for one in ended if any(row.judgement == "fail" for row in one.rows)]
    assert failed == []
    assert [one for one in ended if any(row.contradicted for row in one.rows)] == []


def test_most_harms_are_noticed(ended: Sequence[Ended]) -> None:
    spoiled = [one for one in ended if any(row.judgement == "inconclusive" for row in one.rows)]
    assert len(spoiled) > len(ended) / 2


def test_a_harm_leaves_nothing_behind_and_breaks_nothing(ended: Sequence[Ended]) -> None:
    assert [one for one in ended if one.left] == []
    assert [one for one in ended if one.error or one.spoke_python or not one.rows] == []


# -- the table tells what is wrong


def row(judgement: str, measured: str | None = "none", contradicted: bool = False) -> Row:
    return Row("x", judgement, measured, "", contradicted)


@pytest.mark.parametrize(
    ("rows", "changes", "word"),
    [
        ([row("inconclusive", None)], {}, "inconclusive"),
        ([row("pass")], {}, "right"),
        ([row("pass", "direct")], {}, "wrong"),
        ([row("fail")], {}, "wrong"),
        ([row("inconclusive", None, contradicted=True)], {}, "wrong"),
        ([row("pass")], {"harmed": None}, "too late"),
    ],
)
def test_a_wrong_verdict_is_counted_as_one(
    rows: list[Row], changes: dict[str, Any], word: str
) -> None:
    values = {"harmed": "coturn (7)", "error": "", "left": (), "said": ""} | changes
    one = Ended(0, "s", "v", "h", after_s=1.0, seconds=2.0, rows=tuple(rows), **values)
    assert table.fate(one, {"s": ["none"]}).word == word


def test_what_is_left_and_what_crashed_are_counted(tmp_path: Path) -> None:
    bad = Ended(0, "s", "v", "h", "x (1)", 1.0, 2.0, (), ("process x",), "", "it hangs")
    run = table.as_run([bad], {"s": ["none"]}, 7, "6.1")
    assert (run["total"]["left"], run["total"]["crashed"]) == (1, 1)
    table.write(tmp_path, "as root", run)
    assert "| v | h | 1 |" in (tmp_path / "FIGURES.md").read_text()


# -- what is left is told from what the sandbox keeps

VIEW = "0123456789abcdef"
LEFT = {
    "a view": (f"views/{VIEW}", False),
    "what is in a view": (f"views/{VIEW}/usr", False),
    "no view, but beside them": ("views/mine", True),
    "a folder called alike": (f"views-{VIEW}", True),
    "anything else": ("mine", True),
}


@pytest.mark.parametrize("name", LEFT)
def test_a_mount_that_is_left_is_counted_and_a_view_of_files_is_not(name: str) -> None:
    place, counted = LEFT[name]

    def leave(_slot: int) -> bytes:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        scratch = sandbox.shared_scratch()
        kernel.mount("test", str(scratch), "tmpfs", kernel.MS_NOSUID)
        before = Holdings.now((str(scratch),))
        target = scratch / place
        target.mkdir(parents=True)
        kernel.mount("test", str(target), "tmpfs", kernel.MS_NOSUID)
        (target / "file").touch()
        return "\n".join(Holdings.now((str(scratch),)).since(before)).encode()

    ((_, output, _),) = forked([leave], 1, 30.0)
    left = output.decode().splitlines()
    assert bool(left) is counted, left
    if counted:
        assert any(one.startswith("mount ") for one in left)
        assert any(one.startswith("file ") and one.endswith("/file") for one in left)


def test_a_descriptor_and_a_process_that_are_left_are_counted() -> None:
    def leave(_slot: int) -> bytes:
        before = Holdings.now(())
        os.open("/dev/null", os.O_RDONLY)
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        leftovers.PATIENCE = 0.1
        found = [*Holdings.now(()).since(before), *descendants()]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "\n".join(found).encode()

    ((_, output, _),) = forked([leave], 1, 30.0)
    kinds = sorted({one.partition(" ")[0] for one in output.decode().splitlines()})
    assert kinds == ["descriptor", "process"]
