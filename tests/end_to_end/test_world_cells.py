"""Cells in worlds that are not two homes: who plays what, and what links do, is in the file."""

from pathlib import Path

import pytest
from built import lack
from trying import ran, sure

from testbed.model.explanation import Cause
from testbed.model.outcome import Outcome
from testbed.model.presets import find
from testbed.model.reason import ByChance
from testbed.model.verdict import AsPredicted, Judgement
from testbed.studies.punch.cell import Cell


@pytest.mark.parametrize(
    ("world", "outcome"),
    [
        ("guest-and-house", Outcome.NONE),
        ("three-deep", Outcome.DIRECT),
        ("public-to-hard", Outcome.DIRECT),
        ("mtu-black-hole", Outcome.DIRECT),
    ],
)
def test_a_cell_in_a_world_of_another_shape_ends_as_predicted(
    world: str, outcome: Outcome, tmp_path: Path
) -> None:
    result = ran(Cell("punch-udp", find(world).chosen(), world), tmp_path)
    assert result.verdict.judgement is Judgement.PASS, result.verdict
    assert result.verdict.measured is outcome


@pytest.mark.parametrize(
    ("peer", "world", "outcome"),
    [
        ("traversal-quic", "dual-homed-phone", Outcome.RELAYED),  # Wi-Fi, and its NAT
        ("ice", "dual-homed-phone", Outcome.DIRECT),  # around it, by cellular
        ("punch-udp", "vpn-on", Outcome.NONE),  # the server's NAT
        ("ice", "vpn-on", Outcome.DIRECT),  # beside the tunnel
    ],
)
def test_a_host_of_several_interfaces_is_what_its_stack_uses_of_it(
    peer: str, world: str, outcome: Outcome, tmp_path: Path
) -> None:
    result = ran(Cell(peer, ("symmetric", "port-restricted"), world), tmp_path)
    assert result.verdict.judgement is Judgement.PASS, result.verdict
    assert result.verdict.measured is outcome


@pytest.mark.parametrize(
    ("peer", "world", "outcome"),
    [
        ("ice", "relay-behind-forward", Outcome.RELAYED),
        ("traversal-quic", "relay-behind-forward", Outcome.RELAYED),
        ("traversal-tcp", "relay-behind-cgn", Outcome.NONE),
        ("ice", "three-continents", Outcome.RELAYED),
    ],
)
def test_a_relay_is_of_use_where_it_can_be_reached(
    peer: str, world: str, outcome: Outcome, tmp_path: Path
) -> None:
    result = sure(ran(Cell(peer, ("symmetric", "symmetric"), world), tmp_path))
    assert result.verdict.judgement is Judgement.PASS, result.verdict
    assert result.verdict.measured is outcome
    if outcome is Outcome.NONE:
        assert result.explanation is not None
        assert (result.explanation.cause, result.explanation.node) == (
            Cause.FILTER_CLOSED,
            "carrier",
        )


@pytest.mark.parametrize(
    ("peer", "nats", "outcome", "cause"),
    [
        ("ice", ("symmetric", "carrier-grade"), Outcome.DIRECT, None),
        ("ice", ("symmetric", "full-cone"), Outcome.NONE, Cause.HAIRPIN_MISSING),
        ("ice", ("symmetric", "hairpin-internal"), Outcome.NONE, Cause.HAIRPIN_MISSING),
        ("traversal-quic", ("symmetric", "hairpin-internal"), Outcome.NONE, Cause.HAIRPIN_MISSING),
        ("rust-quic", ("carrier-grade", "hairpin-internal"), Outcome.NONE, None),
        (
            "go-quic",
            ("carrier-grade", "hairpin-internal"),
            Outcome.RELAYED,
            Cause.SIGNALLED_PRIVATE,
        ),
    ],
)
def test_who_is_at_home_with_the_relay_is_told_from_it(
    peer: str, nats: tuple[str, str], outcome: Outcome, cause: Cause | None, tmp_path: Path
) -> None:
    """Both have one address outside; a NAT that hairpins as it should not keeps answers away.

    From who compares addresses, that is: quic-go does not.
    """
    if missing := lack(peer):
        pytest.skip(missing)
    result = sure(ran(Cell(peer, nats, "relay-at-home"), tmp_path))
    assert result.verdict.judgement is Judgement.PASS, result.verdict
    assert result.verdict.measured is outcome
    assert result.explanation is not None
    assert cause is None or result.explanation.cause is cause


@pytest.mark.parametrize("nat", ["linux-home", "symmetric"])
def test_an_echo_that_stays_in_a_black_hole_is_foreseen(nat: str, tmp_path: Path) -> None:
    """Both are connected, directly or by the relay, and say so: nobody lies."""
    result = ran(Cell("traversal-tcp", (nat, nat), "mtu-black-hole"), tmp_path)
    assert result.verdict.judgement is Judgement.PASS, result.verdict
    assert result.verdict.measured is Outcome.NONE
    assert result.explanation is not None
    assert (result.explanation.cause, result.explanation.node) == (Cause.TOO_LONG, "nat-a")


@pytest.mark.parametrize(
    ("peer", "outcome"),
    [("go-quic", Outcome.NONE), ("rust-quic+go-quic", Outcome.RELAYED)],
)
def test_a_narrow_link_that_says_so_is_of_no_use_to_who_forbids_fragments(
    peer: str, outcome: Outcome, tmp_path: Path
) -> None:
    if missing := lack(peer):
        pytest.skip(missing)
    result = sure(ran(Cell(peer, ("linux-home", "linux-home"), "mtu-1280-tunnel"), tmp_path))
    assert result.verdict.judgement is Judgement.PASS, result.verdict
    assert result.verdict.measured is outcome
    assert result.explanation is not None
    assert outcome is not Outcome.NONE or result.explanation.cause is Cause.TOO_LONG


def test_a_cell_on_lossy_links_is_held_to_its_chances(tmp_path: Path) -> None:
    world = find("bad-wifi")
    result = sure(ran(Cell("punch-udp", world.chosen(), "bad-wifi"), tmp_path))
    assert result.verdict.judgement is Judgement.PASS, result.verdict
    assert isinstance(result.verdict.because, AsPredicted)
    assert isinstance(result.verdict.because.reason, ByChance)
    assert result.chances is not None
    assert result.chances.rate(Outcome.DIRECT) > 0.95
