"""A libp2p stack that never dials does not pass where it is relayed, whichever it is and wherever.

Unless a row of its own data says so: those are counted here.
"""

from collections.abc import Sequence
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.evidence.account import WireAccount
from testbed.model.breach import TriedLittle
from testbed.model.contract import Event, Offer, Offered
from testbed.model.outcome import Outcome
from testbed.model.presets import find
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.run.judging import _untried
from testbed.stacks.registry import ADAPTERS
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import deviations, prediction

CATALOGUE = catalogue()
WORLDS = ("libp2p", "three-continents", "double-nat-both")
STACKS = [one for one in ADAPTERS.values() if one.mechanism in ("dcutr_tcp", "dcutr_quic")]
KEEPS = {"js", "py"}  # whose rows say that somebody need not dial


def cell(dialer: str, listener: str, world: str) -> Cell:
    options = find(world).world.options
    name = dialer if dialer == listener else f"{dialer}+{listener}"
    return Cell(name, ("symmetric",) * len(options), world)


@cache
def idle(one: Cell) -> frozenset[str]:
    """Who is told where both ends are connected over the relay, and send nothing else."""
    expected = prediction(one, CATALOGUE)
    assert expected.outcome is Outcome.RELAYED
    offered = Offered(at=1, offer=Offer(addresses=(), ice=None, multiaddrs=("/p2p/x",)))
    events: list[tuple[str, Event]] = [("a", offered), ("b", offered)]
    wire = WireAccount(plan(one.build(), CATALOGUE), [], tuple(events), clock_ns=0, start_ns=0)
    account: Any = SimpleNamespace(claims=())
    ended = Outcome.RELAYED, expected
    known = deviations(one, CATALOGUE)
    found: Sequence[Any] = _untried(one, account, wire, ("a", "b"), ended, known)
    assert all(isinstance(breach, TriedLittle) for breach in found)
    return frozenset(breach.node for breach in found)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("stack", STACKS, ids=lambda one: one.name)
def test_each_stack_is_told_at_either_end_when_it_does_not_try(stack: Any, world: str) -> None:
    others = [one.name for one in STACKS if one.mechanism == stack.mechanism]
    assert any("a" in idle(cell(stack.name, other, world)) for other in others)
    assert any("b" in idle(cell(other, stack.name, world)) for other in others)


@pytest.mark.parametrize("world", WORLDS)
def test_nobody_is_let_off_but_beside_a_stack_whose_rows_say_so(world: str) -> None:
    for one, other in product(STACKS, STACKS):
        if one.mechanism != other.mechanism:
            continue
        told, families = idle(cell(one.name, other.name, world)), {one.family, other.family}
        assert told == {"a", "b"} or families & KEEPS, (one.name, other.name)


def test_a_stack_in_another_version_than_a_row_is_of_is_not_let_off() -> None:
    both = cell("js-tcp", "js-tcp", "libp2p")
    assert idle(both) == frozenset()
    newer = {"js-tcp": "js-libp2p 9.9.9"}
    assert deviations(both, CATALOGUE, newer) == ()
