"""The rung that is reported: from what peers say, beside what the wire shows; and sums of many."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from made_results import result

from testbed.evidence.account import WireAccount
from testbed.model.contract import (
    Endpoint,
    Event,
    How,
    PortMapping,
    RungName,
    RungReached,
    Upgraded,
)
from testbed.model.outcome import Outcome, Rung, RungReading
from testbed.model.packet import Endpoint as Captured
from testbed.model.packet import Packet
from testbed.model.presets import libp2p
from testbed.model.result import Result
from testbed.model.window import Window
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.report.rungs import summaries
from testbed.verdict.rung import check_rung, read_rung, rung_reading, sent_unasked

ENDS = ("a", "b")
RELAY, NAT_A, NAT_B = (Endpoint(address=IPv4Address(f"29.0.0.{n}"), port=4001) for n in (9, 2, 3))
START = 5_000_000_000
MS = 1_000_000


def reached(after: int, rung: RungName, remote: Endpoint) -> tuple[str, Event]:
    return "a", RungReached(at=START + after * MS, rung=rung, remote=remote)


def mapped(node: str, outside: Endpoint, trouble: str | None = None) -> tuple[str, Event]:
    return node, PortMapping(at=0, service="pcp", external=outside, trouble=trouble)


def test_the_first_rung_gives_the_first_byte_and_the_last_the_final_path() -> None:
    said = [reached(300, RungName.RELAYED, RELAY), reached(700, RungName.PUNCHED, NAT_B)]
    found = rung_reading(said, ENDS, (Rung.PUNCHED, Rung.PUNCHED), START)
    assert (found.first_byte_ms, found.final_ms, found.mapped) == (300.0, 700.0, None)
    assert check_rung(found, said, "a") == []


def test_a_mapping_counts_if_it_was_dialed_by_either_and_is_of_use() -> None:
    direct = [reached(100, RungName.DIRECT, NAT_B)]
    both = (Rung.DIRECT, Rung.DIRECT)
    assert rung_reading([*direct, mapped("b", NAT_B)], ENDS, both, START).mapped == "pcp"
    assert rung_reading([*direct, mapped("a", NAT_A)], ENDS, both, START).mapped is None
    useless = [*direct, mapped("b", NAT_B, "private")]
    assert rung_reading(useless, ENDS, both, START).mapped is None
    back = Upgraded(at=0, local=NAT_B, remote=NAT_A, how=How.REVERSED, attempts=0)
    reversed_ = [mapped("a", NAT_A), ("b", back)]
    assert rung_reading(reversed_, ENDS, both, START).mapped == "pcp"


def test_what_the_dialer_says_of_an_upgrade_is_no_dial_of_the_listeners() -> None:
    back = Upgraded(at=0, local=NAT_A, remote=NAT_B, how=How.PUNCHED, attempts=1)
    said = [reached(100, RungName.RELAYED, RELAY), mapped("b", NAT_B), ("a", back)]
    assert rung_reading(said, ENDS, (None, None), START).mapped is None


@pytest.mark.parametrize(
    ("predicted", "measured", "claimed", "differs"),
    [
        (Rung.DIRECT, Rung.DIRECT, RungName.DIRECT, 0),
        (Rung.DIRECT, Rung.PUNCHED, RungName.PUNCHED, 1),
        (Rung.PUNCHED, Rung.PUNCHED, RungName.DIRECT, 1),
        (Rung.REVERSED, Rung.PUNCHED, RungName.DIRECT, 2),
        (Rung.RELAYED, None, RungName.RELAYED, 2),
    ],
)
def test_a_rung_is_held_to_the_prediction_and_to_the_claim(
    predicted: Rung, measured: Rung | None, claimed: RungName, differs: int
) -> None:
    said = [reached(1, claimed, NAT_B)]
    found = rung_reading(said, ENDS, (predicted, measured), START)
    assert len(check_rung(found, said, "a")) == differs


def test_nobody_connected_and_nobody_says_so_is_in_order() -> None:
    found = rung_reading([], ENDS, (None, None), None)
    assert found == RungReading(None, None, None, None, None)
    assert check_rung(found, [], "a") == []


def test_without_packets_only_the_relays_part_can_be_told() -> None:
    account = WireAccount(plan(libp2p(), catalogue()), [], start_ns=0, window=Window(1, 2, 3))
    assert read_rung(account, ENDS, Outcome.RELAYED) is Rung.RELAYED
    assert read_rung(replace(account, window=None), ENDS, Outcome.NONE) is None
    assert read_rung(account, ENDS, Outcome.DIRECT) is None


def datagram(source: str, destination: str, *, outgoing: bool) -> Packet:
    """At b, whose address is 10.0.1.2."""
    left, right = (Captured(IPv4Address(ip), 4001) for ip in (source, destination))
    return Packet(
        1, "b:eth0", 0, outgoing, 0x0800, "udp", left, right,
        64, 0, 0, 0, 0, None, None, None, b"", 0, b"",
    )  # fmt: skip


def test_who_answers_one_dial_has_not_helped_another_in() -> None:
    """The dialer tries several addresses at once; the one that it takes may come second."""
    asked = datagram("29.0.0.2", "10.0.1.2", outgoing=False)
    answer = datagram("10.0.1.2", "29.0.0.2", outgoing=True)
    elsewhere = datagram("10.0.1.2", "29.0.0.9", outgoing=True)
    faces = frozenset({IPv4Address("29.0.0.2")})
    assert not sent_unasked([elsewhere, asked, answer, asked], faces)
    assert sent_unasked([elsewhere, answer, asked], faces)
    assert not sent_unasked([], faces)


def row(
    measured: str | None, predicted: str | None, final: float | None, mode: str = "punch"
) -> Result:
    rung = {"measured": measured, "predicted": predicted, "mapped": None}
    times = {"first_byte_ms": final and final / 2, "final_ms": final}
    return result(stack="ladder-tcp", mode=mode, rung=rung | times)


def test_cells_are_summed_by_rung_the_best_first() -> None:
    rows = [
        row("relayed", "relayed", 350.0),
        row("direct", "direct", 100.0),
        row("direct", "punched", 300.0),
        row(None, None, None),
        result("ice/pf--pf"),
        row("relayed", None, 1.0, mode="relay_only"),
    ]
    assert [line.words for line in summaries(rows)] == [
        ("ladder-tcp", "direct", "2", "1", "0", "100 ms", "200 ms"),
        ("ladder-tcp", "relayed", "1", "1", "0", "175 ms", "350 ms"),
        ("ladder-tcp", "none", "1", "1", "0", "", ""),
    ]
