"""Three ICE stacks against one another: as predicted, also where they deviate from RFC 8445."""

import json
import subprocess
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from built import built, lack
from trying import CATALOGUE, ran

from testbed.lab.namespaces import Namespaces
from testbed.model.breach import Disowned
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.run.matrix import run_matrix
from testbed.stacks.programs import VARIABLE
from testbed.stacks.registry import adapter
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.studies.punch.folder import load_cell
from testbed.words import sentence

ICE = ("ice", "libnice", "pion")
PROGRAMS = ("libnice", "pion")
PAIRS = [a if a == b else f"{a}+{b}" for a, b in product(ICE, ICE)]
# topology, the dialer's NAT, the listener's, mode, and what comes of it
SITUATIONS = (
    ("two-homes", "port-restricted", "port-restricted", "punch", "direct"),
    ("two-homes", "symmetric", "restricted-cone", "punch", "direct"),
    ("two-homes", "symmetric", "port-restricted", "punch", "relayed"),
    ("two-homes", "apdm-adf", "adm-apdf", "punch", "relayed"),  # a NAT rewrites the relay's port
    ("two-homes", "udp-blocked", "udp-blocked", "punch", "relayed"),
    ("two-homes", "full-cone", "full-cone", "relay_only", "relayed"),
    ("carrier", "port-restricted", "full-cone", "punch", "direct"),
    ("carrier", "symmetric", "symmetric", "punch", "relayed"),
)
# Checks of both homes that cross within their carrier's NAT leave two mappings of each: answers
# then come from other ports than were asked, and aioice gives up.  It was seen once in some
# hundred simultaneous starts.
SKEW_MS = 5.0


@pytest.mark.parametrize("pair", built(PAIRS))
def test_every_pair_of_stacks_connects_as_predicted(pair: str, tmp_path: Path) -> None:
    expected = {
        Cell(pair, (a, b), topology, mode, skew_ms=SKEW_MS if topology == "carrier" else 0): outcome
        for topology, a, b, mode, outcome in SITUATIONS
    }
    rows = run_matrix(
        list(expected),
        CATALOGUE,
        Namespaces(),
        tmp_path,
        jobs=4,
        facts=None,
        progress=lambda *_: None,
    )
    measured = {row.group: (row.judgement, row.measured) for row in rows}
    assert measured == {cell.pair: ("pass", outcome) for cell, outcome in expected.items()}


DEVIATIONS = {
    # pion gives a pair up after 1.4 s, and as the dialer never checks it again
    Cell("pion+ice", ("port-restricted", "port-restricted"), skew_ms=2600.0): Outcome.NONE,
    # aioice nominates whatever answers first, and its checks of the direct pair are rare by then
    Cell("ice+pion", ("port-restricted", "port-restricted"), skew_ms=1100.0): Outcome.RELAYED,
}


# Homes under one carrier have no way between them.  libnice's check that comes before the hole
# is open is sent again after 0.5 s, when two relayed pairs have answered: who is first decides.
FIRST = {
    Cell("libnice", ("restricted-cone", "symmetric"), "carrier", skew_ms=20.0): Outcome.DIRECT,
    Cell("libnice", ("symmetric", "restricted-cone"), "carrier", skew_ms=20.0): Outcome.RELAYED,
}
RACE = Cell("libnice", ("restricted-cone", "symmetric"), "carrier")


@pytest.mark.skipif(bool(lack("libnice")), reason=lack("libnice"))
@pytest.mark.parametrize("cell", FIRST, ids=lambda cell: cell.pair)
def test_under_one_carrier_who_begins_first_decides_how_libnice_ends(
    cell: Cell, tmp_path: Path
) -> None:
    assert not prediction(cell, CATALOGUE).race
    verdict = ran(cell, tmp_path).verdict
    assert verdict.measured is verdict.predicted is FIRST[cell], verdict


@pytest.mark.skipif(bool(lack("libnice")), reason=lack("libnice"))
def test_who_begin_at_once_there_are_in_a_race_and_that_is_what_is_predicted(
    tmp_path: Path,
) -> None:
    told = prediction(RACE, CATALOGUE)
    assert {told.outcome, *told.race} == {Outcome.DIRECT, Outcome.RELAYED}
    verdict = ran(RACE, tmp_path).verdict
    assert verdict.judgement is Judgement.PASS, verdict
    assert "A race: " in sentence(verdict.because)


@pytest.mark.skipif(bool(lack("pion")), reason=lack("pion"))
@pytest.mark.parametrize("cell", DEVIATIONS, ids=lambda cell: cell.pair)
def test_a_stack_that_deviates_is_predicted_by_its_data(cell: Cell, tmp_path: Path) -> None:
    verdict = ran(cell, tmp_path).verdict
    assert verdict.measured is verdict.predicted is DEVIATIONS[cell], verdict
    # pion answers the late checks, and says that there is no connection
    assert all(isinstance(finding, Disowned) for finding in verdict.findings), verdict


@pytest.mark.skipif(bool(lack("pion")), reason=lack("pion"))
def test_each_end_runs_the_stack_that_the_cell_names(tmp_path: Path) -> None:
    """aioice and pion tell themselves apart by their candidates; so they do after a replay."""
    cell = Cell("ice+pion", ("full-cone", "full-cone"))
    ran(cell, tmp_path)
    again = load_cell(tmp_path)[0]
    assert again == cell
    for one in (cell, again):
        ran(one, tmp_path)
        offers = _offers(tmp_path)
        assert not any("generation" in line for line in offers["a"])
        assert all("generation" in line for line in offers["b"])


def _offers(folder: Path) -> dict[str, list[str]]:
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return {e["peer"]: e["offer"]["ice"]["candidates"] for e in events if e["event"] == "offer"}


# -- what must not be believed ------------------------------------------------


@pytest.mark.parametrize(
    ("script", "words"),
    [("exit 9", "ended with 9"), ("echo hello; sleep 1", "not a valid event")],
)
def test_a_program_that_breaks_the_contract_makes_the_cell_inconclusive_and_is_named(
    script: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "peers" / "pion" / "pion"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "peers"))
    verdict = ran(Cell("ice+pion", ("full-cone", "full-cone")), tmp_path / "cell").verdict
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert "[b]" in sentence(verdict.because)
    assert words in sentence(verdict.because)


# -- the programs alone: nothing is sent before the first command ---------------

CONFIGURE: Mapping[str, Any] = {
    "command": "configure",
    "version": 2,
    "role": "dialer",
    "transport": "udp",
    "local_address": "127.0.0.1",
    "port": 4001,
    "stun": None,
    "turn": None,
    "relays": [],
    "observers": [],
    "session": "00" * 16,
    "seed": 1,
    "options": {"mode": "punch", "relay_only": False},
}
CLOSE = {"command": "close"}


def said(name: str, *lines: object) -> subprocess.CompletedProcess[str]:
    """What the program says to ``lines``, and to the end of its input."""
    command = adapter(name).command()
    assert isinstance(command, tuple)
    text = "".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines)
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=10, check=False
    )


@pytest.mark.parametrize("name", built(PROGRAMS))
@pytest.mark.parametrize(
    "lines",
    [
        (),  # the harness went away
        ("hello",),
        ("[1]",),
        (CLOSE,),
        ({"command": "dance"},),
        ({"command": "echo", "bytes": 1},),
        (dict(CONFIGURE) | {"version": 3},),
        (dict(CONFIGURE) | {"session": "xyz"},),
        (dict(CONFIGURE) | {"role": 7},),
        (dict(CONFIGURE) | {"role": "king"},),
        ("x" * 70_000,),
    ],
)
def test_a_program_that_is_spoken_to_wrongly_ends_with_a_word(
    name: str, lines: tuple[object, ...]
) -> None:
    done = said(name, *lines)
    assert done.returncode == 1
    assert done.stderr.strip()
    assert "closed" not in done.stdout


@pytest.mark.parametrize("name", built(PROGRAMS))
@pytest.mark.parametrize(
    "unable",
    [{"transport": "tcp"}, {"options": {"mode": "plain_dial", "relay_only": False}}],
)
def test_a_program_says_what_it_cannot_do(name: str, unable: dict[str, object]) -> None:
    command = adapter(name).command()
    assert isinstance(command, tuple)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        events = []
        for line in (dict(CONFIGURE) | unable, CLOSE):
            program.stdin.write(json.dumps(line) + "\n")
            program.stdin.flush()
            events.append(json.loads(program.stdout.readline()))
        assert program.wait(10) == 0
    assert [event["event"] for event in events] == ["failed", "closed"]
    assert events[0]["failure"] == "unsupported"


@pytest.mark.parametrize("name", built(PROGRAMS))
def test_a_program_gives_its_version(name: str) -> None:
    command = adapter(name).command()
    assert isinstance(command, tuple)
    out = subprocess.run([*command, "--version"], capture_output=True, timeout=10, check=True)
    assert out.stdout.decode().count("\n") == 1
    assert any(digit in out.stdout.decode() for digit in "123456789")
