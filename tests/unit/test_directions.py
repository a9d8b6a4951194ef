"""Both directions of dialing are in the ordered matrix: no option is needed for the second."""

from itertools import product

import pytest

from testbed.model.presets import libp2p
from testbed.nat.load import catalogue
from testbed.predict.dcutr import DCUTR_QUIC, DCUTR_TCP
from testbed.predict.model import Model
from testbed.predict.prediction import predict
from testbed.stacks.programs import Program
from testbed.stacks.registry import ADAPTERS
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.selection import DEFAULT_PEERS, NINE, Selection

CATALOGUE = catalogue()


@pytest.mark.parametrize("mechanism", [DCUTR_TCP, DCUTR_QUIC])
def test_b_dialing_is_a_dialing_with_the_profiles_exchanged(mechanism: Model) -> None:
    for x, y in product(NINE, NINE):
        one = {"nat-a": CATALOGUE[x].behaviour, "nat-b": CATALOGUE[y].behaviour}
        other = {"nat-a": CATALOGUE[y].behaviour, "nat-b": CATALOGUE[x].behaviour}
        b_dials = predict(libp2p(x, y), one, mechanism, "b", "a")
        a_dials = predict(libp2p(y, x), other, mechanism, "a", "b")
        assert b_dials.outcome is a_dials.outcome, (x, y)


def test_the_matrix_has_every_ordered_pair_once_in_the_peers_own_topology() -> None:
    cells = Selection(NINE, NINE, ["traversal-tcp", "punch-udp"], controls=False).cells()
    pairs = [(cell.peer, cell.profiles) for cell in cells]
    assert len(pairs) == len(set(pairs)) == 2 * 81
    assert all(cell.topology == cell.mechanism.topology for cell in cells)


def test_a_cell_is_named_by_its_place_only_where_that_is_not_the_peers_own() -> None:
    pair = ("full-cone", "symmetric")
    assert Cell("traversal-tcp", pair, "libp2p").pair == "traversal-tcp/full-cone--symmetric"
    assert Cell("ice", pair, "carrier").pair == "carrier/ice/full-cone--symmetric"


def test_a_stack_that_relays_is_controlled_by_relay_only_the_others_by_plain_dials() -> None:
    for name, adapter in ADAPTERS.items():
        cells = Selection(["full-cone"], ["full-cone"], [name]).cells()
        modes = {cell.mode for cell in cells if cell.control}
        assert modes == (
            {"relay_only"} if adapter.needs & {"turn", "relay"} else {"plain_dial", "silent"}
        )


def test_the_default_matrix_leaves_out_what_takes_long_or_must_be_built() -> None:
    functions = {name for name, one in ADAPTERS.items() if not isinstance(one.entry, Program)}
    long = ("traversal", "ladder", "rented")
    assert set(DEFAULT_PEERS) == {n for n in functions if not n.startswith(long)}
