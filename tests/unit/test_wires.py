"""Which wires carry nothing after what happened to them."""

import pytest

from testbed.model.network_fault import Fault, LinkChange, LinkDown, LinkUp, LossOver, Sleep, Wake
from testbed.model.topology import Impairment, Link
from testbed.predict.wires import ASLEEP, mends, past

ALL = ("a", "")  # the wires of a, of whichever interface
WHOLE, DEAD = Impairment(), Impairment(loss=1.0)


@pytest.mark.parametrize(
    ("link", "dead"),
    [
        (Link(DEAD, DEAD), True),
        (Link(DEAD, WHOLE), True),
        (Link(WHOLE, DEAD), True),
        (Link(WHOLE, WHOLE), False),
    ],
)
def test_a_wire_that_swallows_all_of_one_direction_is_dead(link: Link, dead: bool) -> None:
    left = past([(1.0, LinkChange("a", "its own", link))])
    assert (left.dead == {ALL}, left.ever == {ALL}) == (dead, dead)
    assert left.touched == {"a"}
    assert mends(LossOver("a", link)) is not dead


def test_nothing_may_be_carried_until_the_last_wire_comes_back() -> None:
    faults: list[tuple[float, Fault]] = [
        (1.0, LinkDown("a")), (2.0, Sleep("b")), (5.0, Wake("b")), (4.0, LinkUp("a")),
    ]  # fmt: skip
    left = past(faults)
    assert (left.dead, left.until) == (frozenset(), 5.0)
    assert left.ever == {ALL, ("b", ASLEEP)}


def test_a_host_that_sleeps_behind_a_cut_wire_needs_both_back() -> None:
    left = past([(1.0, LinkDown("a")), (2.0, Sleep("a")), (3.0, LinkUp("a"))])
    assert left.dead == {("a", ASLEEP)}


def test_a_wire_that_was_never_dead_is_not_mended() -> None:
    assert past([(3.0, LinkUp("a"))]).until == 0.0
