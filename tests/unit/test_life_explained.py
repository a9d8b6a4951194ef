"""The timeline of a life, and the cause that follows from it, without a lab."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.evidence.account import WireAccount
from testbed.model.breach import Breach, LossClaimed
from testbed.model.contract import Failed, FailureClass, Lost
from testbed.model.contract import Path as Way
from testbed.model.details import LifeDetails, LifeSeen, Moment
from testbed.model.explanation import Cause
from testbed.model.life import Fate, MomentKind, Transport
from testbed.model.network_fault import NatReboot
from testbed.model.packet import Endpoint, Packet
from testbed.model.result import Result
from testbed.model.verdict import Judgement
from testbed.plan.planner import plan
from testbed.studies.life.application import SIZE
from testbed.studies.life.case import LifeCase
from testbed.studies.life.explaining import explained
from testbed.studies.life.scenarios import scenario
from testbed.studies.life.seat import Seat, Wire
from testbed.studies.life.timeline import Ends, Heard, timeline

RELAY, OTHER, OURS = (IPv4Address(f"29.0.0.{n}") for n in (1, 2, 3))
CASE = LifeCase(scenario("reboot"), "punch-udp")


def seat_of(address: IPv4Address, home: str) -> Seat:
    wire = Wire(f"nat-{home}:lan", f"lan-{home}", back=True)
    return Seat(frozenset({address}), (wire,), frozenset({(f"nat-{home}:wan", True)}))


ENDS = Ends("a", "b", seat_of(OURS, "a"), seat_of(OTHER, "b"), ("core",))
ACCOUNT = WireAccount(plan(CASE.topology, CASE.routers, 0), None)


def packet(number: int, at: int, vantage: str, *, outgoing: bool, payload: bytes) -> Packet:
    """One between the dialer and the listener, at ``at`` milliseconds."""
    ends = (Endpoint(OTHER, 4001), Endpoint(OURS, 4001))
    source, destination = ends if outgoing and vantage.endswith("lan") else ends[::-1]
    return Packet(
        number, vantage, at * 1_000_000, outgoing, 0x0800, "udp", source, destination, 64, 0, 0,
        0, 0, None, None, None, payload, len(payload), b"",
    )  # fmt: skip


def test_a_timeline_has_the_gap_its_fault_and_how_far_a_packet_got() -> None:
    asked = b"q" * (SIZE + 28)
    packets = [
        packet(1, 900, "nat-a:lan", outgoing=True, payload=b"a" * (SIZE + 28)),
        packet(2, 1100, "nat-a:lan", outgoing=False, payload=asked),
        packet(3, 1101, "nat-a:wan", outgoing=True, payload=asked),
        packet(4, 1120, "nat-b:wan", outgoing=False, payload=asked),
        packet(5, 2000, "nat-a:lan", outgoing=True, payload=b"b" * (SIZE + 28)),
    ]
    lost = Lost(at=0, path=Way.DIRECT, reason="idle")
    found = timeline(
        packets, ENDS, RELAY, Transport.UDP, 1_000_000_000, (1, 5),
        [(1_000_000_000, NatReboot("nat-a"))], [Heard(1_500_000_000, lost)],
    )  # fmt: skip
    assert [(one.kind, one.seconds, one.packets) for one in found] == [
        (MomentKind.LAST_ECHO, -0.1, (1,)),
        (MomentKind.FAULT, 0.0, ()),
        (MomentKind.STOPPED, 0.1, (2, 3, 4)),
        (MomentKind.LOST, 0.5, ()),
        (MomentKind.FIRST_ECHO, 1.0, (5,)),
    ]
    assert found[2].said == "nat-b:wan"


def test_a_peer_that_failed_has_lost_its_connection_if_that_is_what_it_says() -> None:
    classes = {one: Heard(0, Failed(at=0, failure=one, reason="")) for one in FailureClass}
    assert [one for one, heard in classes.items() if heard.lost_direct] == [FailureClass.LOST]
    assert Heard(0, Lost(at=0, path=Way.DIRECT, reason="")).lost_direct
    assert not Heard(0, Lost(at=0, path=Way.RELAYED, reason="")).lost_direct


def result(
    fate: Fate,
    *,
    stopped: tuple[str, ...] = (),
    arrived: bool = False,
    moved: bool = False,
    silent: bool = False,
    judgement: Judgement = Judgement.PASS,
    breaches: tuple[Breach, ...] = (),
) -> Result:
    seen = LifeSeen(fate=fate, gap=1.0, moved=moved, packets=3, echoes=9)
    moments = tuple(
        Moment(seconds=0.1, kind=MomentKind.STOPPED, node="a", said=place) for place in stopped
    )
    if arrived:
        moments += (Moment(seconds=0.2, kind=MomentKind.ARRIVED, node="a", said="b"),)
    return Result(
        study="life", name=CASE.name, group=CASE.group, labels=dict(CASE.labels),
        profiles=CASE.profiles, judgement=judgement, measured=fate.value,
        predicted=fate.value, reason="", finding_values=breaches, folder=str(Path("x")),
        details=LifeDetails(seen=seen, timeline=moments, silent=silent),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "cause", "node"),
    [
        (result(Fate.SURVIVES), Cause.BOTH_OPENED, None),
        (result(Fate.SURVIVES, moved=True), Cause.FILTER_ADMITS, "nat-b"),
        (result(Fate.LOST, stopped=("nat-a:lan", "nat-b:wan")), Cause.FILTER_CLOSED, "nat-b"),
        (result(Fate.LOST, stopped=("nat-a:lan",), arrived=True), Cause.MAPPING_CHANGED, "nat-a"),
        (result(Fate.DIRECT, stopped=("nat-a:lan",)), Cause.LOST_ON_LINK, "nat-a"),
        (result(Fate.RELAYED, moved=True), Cause.MAPPING_CHANGED, "nat-a"),
        (result(Fate.LOST, silent=True, moved=True), Cause.MAPPING_TIMED_OUT, "nat-a"),
        (result(Fate.LOST), Cause.UNKNOWN, None),
        (
            result(Fate.SURVIVES, judgement=Judgement.FAIL, breaches=(LossClaimed("a"),)),
            Cause.FALSE_CLAIM,
            "a",
        ),
        (result(Fate.LOST, judgement=Judgement.INCONCLUSIVE), Cause.HARNESS_FAULT, None),
    ],
)
def test_the_cause_follows_from_where_packets_were_stopped(
    one: Result, cause: Cause, node: str | None
) -> None:
    why = explained(one, ACCOUNT)
    assert (why.cause, why.node) == (cause, node)
