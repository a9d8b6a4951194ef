"""The ladder matrix: each pair of NATs with and without port-mapping services, rung by rung."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from testbed.lab.namespaces import Namespaces
from testbed.model.behaviour import PortMapping
from testbed.model.profile import Profile
from testbed.model.result import Result
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.report.rungs import summaries
from testbed.run.matrix import run_matrix
from testbed.studies.punch.cell import Cell

pytestmark = pytest.mark.timeout(400)
PLAIN = ("linux-home", "restricted-cone", "symmetric")
SERVICES = {
    "": PortMapping(),
    "-upnp": PortMapping(upnp_igd=1),
    "-upnp2": PortMapping(upnp_igd=2),
    "-natpmp": PortMapping(nat_pmp=True),
    "-pcp": PortMapping(pcp=True),
}
PEERS = ("ladder-tcp", "ladder-quic")
# Which services the dialer's and the listener's router have: none, one of them, both.
SERVED = (("", ""), ("-upnp", ""), ("", "-natpmp"), ("-upnp2", "-pcp"))


def profiles() -> dict[str, Profile]:
    """The plain NATs, and each of them with each service."""
    found = catalogue()
    for name, (suffix, services) in product(PLAIN, SERVICES.items()):
        behaviour = replace(found[name].behaviour, port_mapping=services)
        named = f"{name}{suffix}"
        found[named] = replace(found[name], name=named, behaviour=behaviour, path=None)
    return found


def ran(cells: list[Cell], out: Path) -> list[Result]:
    rows = run_matrix(
        cells, profiles(), Namespaces(), out, jobs=2, facts={}, progress=lambda *_: None
    )
    told = [(r.group, r.reason, r.findings) for r in rows]
    wrong = [
        line for line, row in zip(told, rows, strict=True) if row.judgement is not Judgement.PASS
    ]
    assert not wrong, json.dumps(wrong, indent=2)
    return rows


@pytest.mark.parametrize("peer", PEERS)
def test_every_pair_is_carried_by_the_predicted_rung_with_services_and_without(
    peer: str, tmp_path: Path
) -> None:
    cells = [
        Cell(peer, (a + of_a, b + of_b), "libp2p")
        for (a, b), (of_a, of_b) in zip(product(PLAIN, PLAIN), SERVED * 3, strict=False)
    ]
    cells += [Cell(peer, ("symmetric" + a, "symmetric" + b), "libp2p") for a, b in SERVED]
    rows = ran(list(dict.fromkeys(cells)), tmp_path)
    for row in rows:
        rung = row.rung
        assert rung is not None
        assert rung.measured is not None
        assert rung.first_byte_ms is not None
        assert rung.final_ms is not None
        assert rung.measured is rung.predicted
        assert 0 < rung.first_byte_ms <= rung.final_ms
        dialed = {"direct": row.profiles[1], "reversed": row.profiles[0]}
        mapped = dialed.get(rung.measured, "").partition("-")[2]
        assert (rung.mapped is not None) == mapped.endswith(("upnp", "upnp2", "natpmp", "pcp"))
    carried = {row.group.split("/")[1]: row.rung and row.rung.measured for row in rows}
    assert [carried[f"symmetric{a}--symmetric{b}"] for a, b in SERVED] == [
        "relayed", "reversed", "direct", "direct",
    ]  # fmt: skip
    lines = list(summaries(rows))
    assert [line.cells for line in lines] == [line.predicted for line in lines]
    assert sum(line.cells for line in lines) == len(rows)
