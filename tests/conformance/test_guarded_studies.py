"""In every study, whoever changes a router while peers are at work spoils the case, and no more."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_mesh_lab import FOUR, met

from testbed.errors import ChangedError
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.lab.network_faults import apply
from testbed.lab.sentry import guarded
from testbed.model.fault import Difference, LabDiffers
from testbed.model.furnishing import furnished
from testbed.model.lab import Command, Confinement, Process
from testbed.model.network_fault import Fault
from testbed.model.plan import AddNode, NodeKind, Plan
from testbed.model.presets import two_homes
from testbed.model.topology import Order
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.run.cell import run_cell
from testbed.studies.autonat.study import STUDY as AUTONAT
from testbed.studies.autonat.study import AutonatCase
from testbed.studies.base import Site, Study
from testbed.studies.life.case import LifeCase
from testbed.studies.life.run import Wait, lead
from testbed.studies.life.scenarios import scenario
from testbed.studies.life.study import STUDY as LIFE
from testbed.studies.odds.cases import cases as odds_cases
from testbed.studies.odds.study import odds
from testbed.studies.punch.cell import Cell
from testbed.studies.relays.populations import population
from testbed.studies.relays.study import STUDY as RELAYS
from testbed.studies.relays.swarm import Swarm

MEDDLES = "nft add table ip cheat; nft delete table ip cheat"
CASES: dict[str, tuple[Study[Any], Any]] = {
    "autonat": (AUTONAT, AutonatCase(catalogue()["port-restricted"])),
    "life": (LIFE, LifeCase(scenario("reboot"), "punch-udp")),
    "odds": (odds(8), odds_cases(8, 1)[0]),
    "relays": (RELAYS, Swarm(population("carriers"), 4, "traversal-tcp", True)),
}


class Meddled(NamespaceLab):
    """One of its routers is changed, and changed back, when the first peer or service begins."""

    meddled = False

    def spawn(self, node: str, command: Command, confinement: Confinement | None = None) -> Process:
        kinds = {step.node: step.kind for step in self.plan.of(AddNode)}
        if kinds[node] is NodeKind.HOST and not self.meddled:
            self.meddled = True
            router = next(name for name, kind in kinds.items() if kind is NodeKind.ROUTER)
            self.run(router, ["sh", "-ec", MEDDLES])
        return super().spawn(node, command, confinement)


class Meddling(Namespaces):
    """Labs that somebody meddles with."""

    @contextmanager
    def start(self, plan: Plan) -> Iterator[NamespaceLab]:
        with Meddled(plan) as lab:
            lab.build()
            yield lab


@pytest.mark.parametrize("name", CASES)
def test_a_case_whose_router_was_changed_for_a_moment_is_inconclusive(
    name: str, tmp_path: Path
) -> None:
    study, case = CASES[name]
    found = study.run(case, Site(Meddling(), 0, tmp_path))
    assert found.judgement is Judgement.INCONCLUSIVE
    assert "in the table cheat" in found.reason


def test_a_cell_whose_router_was_changed_for_a_moment_is_inconclusive(tmp_path: Path) -> None:
    cell = Cell("punch-udp", ("full-cone", "full-cone"))
    ran = run_cell(cell, catalogue(), Meddling(), tmp_path)
    assert ran.verdict.judgement is Judgement.INCONCLUSIVE
    assert not ran.late


def test_the_pairs_of_a_mesh_whose_router_was_changed_are_inconclusive(tmp_path: Path) -> None:
    world = tmp_path / "four.toml"
    world.write_text(FOUR, encoding="utf-8")
    rows = met(world, "punch-udp", Order.AT_ONCE, backend=Meddling())
    assert {row.judgement for row in rows.values()} == {Judgement.INCONCLUSIVE}
    assert all("in the table cheat" in row.reason for row in rows.values())


def test_what_a_world_does_to_a_router_allows_nobody_to_change_another(tmp_path: Path) -> None:
    case = LifeCase(scenario("reboot"), "punch-udp")
    profiles = furnished(case.topology, case.routers)

    def both(lab: NamespaceLab, fault: Fault, wait: Wait) -> None:
        apply(lab, fault, profiles, wait)
        lab.run("nat-b", ["sh", "-ec", MEDDLES])

    with pytest.raises(ChangedError) as caught:
        lead(case, case.expected(), Site(Namespaces(), 0, tmp_path), both)
    assert caught.value.node == "nat-b"


def test_a_change_beside_one_of_ours_in_the_same_router_is_noticed() -> None:
    """Before it, and after it: what is ours is what happens while we do it."""
    steps = plan(two_homes("full-cone", "full-cone"), catalogue())
    changed = LabDiffers(Difference.RULES_CHANGED, "nat-a", "cheat")
    with Namespaces().start(steps) as lab, guarded(lab) as guard:
        with guard.allowing({"nat-a"}):
            lab.run("nat-a", ["nft", "add", "table", "ip", "ours"])
        assert guard.changes() == []
        lab.run("nat-a", ["sh", "-ec", MEDDLES])
        with guard.allowing({"nat-a"}):
            lab.run("nat-a", ["nft", "delete", "table", "ip", "ours"])
        assert guard.changes() == [changed]
