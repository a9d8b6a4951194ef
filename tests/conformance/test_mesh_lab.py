"""A mesh of four in one lab: each of its six pairs is judged by its own packets."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from chaos import situations
from patience import repeated, too_busy

from testbed.capture.reader import read
from testbed.cli.cell_words import MeshWords
from testbed.cli.commands.explain import read_cell
from testbed.cli.commands.meshes import MeshRequest
from testbed.lab.namespaces import Namespaces
from testbed.model.breach import FalseClaim
from testbed.model.contract import Connected, Dial, Endpoint, Event
from testbed.model.contract import Path as Way
from testbed.model.explanation import Cause
from testbed.model.lab import Backend
from testbed.model.result import Result
from testbed.model.topology import Order
from testbed.model.verdict import Judgement
from testbed.run.matrix import run_matrix
from testbed.stacks import registry
from testbed.stacks.punch_udp import UdpPuncher
from testbed.stacks.session import now, serve
from testbed.studies.punch.cell import Cell

# Two of the hosts stand behind one symmetric NAT, and so their pairs share what it remembers.
FOUR = situations.FOUR.read_text(encoding="utf-8")


class Liar(UdpPuncher):
    """Says that it is connected before it has sent anything, and sends nothing."""

    async def dial(self, dial: Dial) -> Event:
        here = Endpoint.of((str(self._configure.local_address), self._configure.port))
        return Connected(at=now(), local=here, remote=dial.remote.addresses[0], path=Way.DIRECT)

    async def echo(self, count: int, _nonce: bytes) -> int:
        return count


@pytest.fixture(scope="module")
def liar() -> str:
    honest = registry.adapter("punch-udp")
    if "liar" not in registry.ADAPTERS:
        registry.add(replace(honest, name="liar", entry=lambda: serve(Liar)))
    return "liar"


def met(
    world: Path, peer: str, order: Order, liar: str = "", backend: Backend | None = None
) -> dict[str, Result]:
    """What became of each pair; of ``ben--dan`` with a dialer that lies, if there is one."""
    made_by = backend or Namespaces()
    words = MeshWords(world=str(world), peer=peer, order=order, certify=False, out=world.parent)
    cells, profiles = MeshRequest(words).cells()
    cells = [_lying(cell, liar) for cell in cells]
    out = world.parent / "out"
    rows = run_matrix(cells, profiles, made_by, out, jobs=1, facts={}, progress=lambda *_: None)
    for row in rows:
        if row.late:
            too_busy(row.reason)
        for tried in row.earlier_tries:
            repeated(tried.reason)
    return {"--".join(row.hosts or ()): row for row in rows}


def _lying(cell: Cell, liar: str) -> Cell:
    lies = liar and cell.meeting is not None and cell.meeting.name == "ben--dan"
    return replace(cell, peer=f"{liar}+{cell.peer}") if lies else cell


@pytest.fixture
def world(tmp_path: Path) -> Path:
    file = tmp_path / "four.toml"
    file.write_text(FOUR, encoding="utf-8")
    return file


def told(rows: dict[str, Result]) -> dict[str, tuple[str, str | None]]:
    return {name: (row.judgement.value, row.measured) for name, row in rows.items()}


@pytest.mark.parametrize(
    ("peer", "order"),
    [("punch-udp", Order.AT_ONCE), ("punch-tcp", Order.IN_TURN), ("ice", Order.AT_ONCE)],
)
def test_each_pair_of_a_mesh_is_as_predicted_and_explained_from_its_own_folder(
    peer: str, order: Order, world: Path
) -> None:
    rows = met(world, peer, order)
    assert [row.reason for row in rows.values() if row.judgement is not Judgement.PASS] == []
    assert len(rows) == 6
    assert {row.measured for row in rows.values()} >= {"direct"}
    whole = len(read(world.parent / "out" / "cells" / "four" / "0" / "capture.pcapng"))
    for name, row in rows.items():
        folder = Path(row.folder)
        own = read(folder / "capture.pcapng")
        assert 0 < len(own) < whole
        ends = {packet.node for packet in own} & {"ann", "ben", "cat", "dan"}
        assert ends == set(name.split("--"))
        explanation, _ = read_cell(folder)
        assert row.explanation is not None
        assert explanation.cause is row.explanation.cause is not Cause.UNKNOWN


def test_a_stack_that_lies_in_one_pair_makes_that_pair_red_and_no_other(
    world: Path, liar: str
) -> None:
    rows = met(world, "punch-udp", Order.AT_ONCE, liar)
    assert rows["ben--dan"].judgement is Judgement.FAIL
    assert FalseClaim in [type(one) for one in rows["ben--dan"].finding_values]
    del rows["ben--dan"]
    assert {row.judgement for row in rows.values()} == {Judgement.PASS}, told(rows)


class Crashing(UdpPuncher):
    """Ends without a word when it is to dial."""

    async def dial(self, dial: Dial) -> Event:
        os._exit(9 if dial.start_at else 8)


def test_a_peer_that_crashes_spoils_its_own_pair_alone(world: Path) -> None:
    honest = registry.adapter("punch-udp")
    registry.add(replace(honest, name="crashing", entry=lambda: serve(Crashing)))
    rows = met(world, "punch-udp", Order.AT_ONCE, "crashing")
    broken = rows.pop("ben--dan")
    assert broken.judgement is Judgement.INCONCLUSIVE
    assert broken.explanation is not None
    assert broken.explanation.cause is Cause.PEER_FAILED
    assert {row.judgement for row in rows.values()} == {Judgement.PASS}, told(rows)
