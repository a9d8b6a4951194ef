"""Stitching, on recorded captures whose packets are taken away or altered by the tests."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from counting import lines, require_linear
from hypothesis import given
from hypothesis import strategies as st

from testbed.capture.reader import read
from testbed.evidence.stitch import stitch
from testbed.model.journey import Fate, Journey
from testbed.model.packet import NOWHERE, Packet
from testbed.model.plan import Plan
from testbed.model.presets import carrier, home_and_public, same_lan
from testbed.model.topology import Link
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

MS = 1_000_000
CAPTURES = Path(__file__).parent / "captures"
TOPOLOGIES = {  # see `tests/conformance/test_stitched_labs.py` for what was done in them
    "rejecting": home_and_public("rejecting"),
    "carrier": carrier("port-restricted", "symmetric"),
}


@cache
def recorded(name: str) -> tuple[list[Packet], Plan, tuple[Journey, ...]]:
    """A whole capture, its plan and its journeys."""
    packets = read(CAPTURES / f"{name}.pcapng")
    steps = plan(TOPOLOGIES[name], catalogue())
    return packets, steps, stitch(packets, steps)


def one(journeys: Sequence[Journey], payload: bytes) -> Journey:
    [found] = [journey for journey in journeys if journey.first.payload == payload]
    return found


def way(journey: Journey) -> list[tuple[str, str]]:
    return [(hop.node, str(hop.fate)) for hop in journey.hops]


def without(packets: list[Packet], payload: bytes, *vantages: str) -> list[Packet]:
    return [p for p in packets if not (p.payload == payload and p.vantage in vantages)]


def test_a_datagram_is_followed_across_its_nat() -> None:
    _, _, journeys = recorded("rejecting")
    greeting = one(journeys, b"greeting 0")
    assert way(greeting) == [
        ("a", "sent"),
        ("nat-a", "translated"),
        ("core", "forwarded"),
        ("server", "arrived"),
    ]
    before, after = greeting.hops[1].inward, greeting.hops[1].outward
    assert before is not None
    assert after is not None
    assert (str(before.source.address), str(after.source.address)) == ("10.0.0.6", "29.0.0.2")
    assert len(greeting.packets) == 6


def test_a_refused_packet_has_the_answer_and_the_rule() -> None:
    _, _, journeys = recorded("rejecting")
    refused = one(journeys, b"b 0").end
    assert (refused.node, refused.fate, refused.rules) == (
        "nat-a",
        Fate.REJECTED,
        ("unsolicited",),
    )
    assert refused.inward is not None
    assert refused.answer is not None
    assert refused.answer.quoted is not None
    assert refused.answer.quoted.ip_id == refused.inward.ip_id
    [reset] = {j.end.answer for j in journeys if j.first.is_syn and j.end.fate is Fate.REJECTED}
    assert reset is not None
    assert reset.tcp_flags & 0x04


def test_counters_take_a_rule_out_of_question() -> None:
    packets, steps, _ = recorded("carrier")
    drops = {"nat-b": {"unsolicited": 0, "leak": 2}}
    hops = [j.end for j in stitch(packets, steps, drops) if j.end.node == "nat-b"]
    taken = [hop for hop in hops if hop.fate is Fate.TAKEN]
    assert len(taken) == 2  # to the router itself, and no rule met it
    assert not any(hop.rules for hop in taken)


def test_a_hairpin_that_no_rule_met_was_not_taken_by_the_router() -> None:
    packets, steps, journeys = recorded("carrier")
    around = next(j for j in journeys if j.first.payload == b"hairpin" and j.sender == "a")
    hop = around.at("cgn")
    assert hop is not None
    assert hop.inward is not None
    cut = [p for p in packets if p.number <= hop.inward.number or p.payload != b"hairpin"]
    quiet = {"cgn": {"quota": 0, "collision": 0, "exhausted": 0, "hairpin": 0}}
    [end] = [j.end for j in stitch(cut, steps, quiet) if j.first is around.first]
    assert (end.node, end.fate, end.rules) == ("cgn", Fate.DROPPED, ())
    [end] = [j.end for j in stitch(cut, steps) if j.first is around.first]
    assert end.rules == ("hairpin", "quota", "collision", "exhausted")


# What the capture does not show


@pytest.mark.parametrize("name", TOPOLOGIES)
@given(data=st.data())
def test_deleting_packets_neither_joins_nor_splits_nor_invents(
    name: str, data: st.DataObject
) -> None:
    packets, steps, whole = recorded(name)
    share = data.draw(st.floats(0, 1))
    chance = data.draw(st.randoms(use_true_random=False))
    kept = [p for p in packets if chance.random() < share]
    left = {p.number for p in kept}
    found = stitch(kept, steps)
    expected = Counter(
        tuple(n for n in j.packets if n in left) for j in whole if left & set(j.packets)
    )
    assert Counter(j.packets for j in found) == expected
    arrivals = {j.end.inward.number for j in whole if j.arrived and j.end.inward}
    assert {j.end.inward and j.end.inward.number for j in found if j.arrived} <= arrivals


@pytest.mark.parametrize("name", TOPOLOGIES)
@given(data=st.data())
def test_a_missing_vantage_is_bridged(name: str, data: st.DataObject) -> None:
    packets, steps, whole = recorded(name)
    vantage = data.draw(st.sampled_from(sorted({p.vantage for p in packets})))
    found = stitch([p for p in packets if p.vantage != vantage], steps)
    ends = Counter((j.end.node, j.end.fate) for j in whole if j.end.node not in vantage)
    assert not ends - Counter((j.end.node, j.end.fate) for j in found)


def test_a_packet_seen_further_on_was_not_dropped_before() -> None:
    packets, steps, _ = recorded("rejecting")
    cut = without(packets, b"greeting 0", "nat-a:wan", "core:nat-a")
    assert way(one(stitch(cut, steps), b"greeting 0")) == [
        ("a", "sent"),
        ("nat-a", "translated"),
        ("core", "forwarded"),
        ("server", "arrived"),
    ]
    cut = without(packets, b"greeting 0", "nat-a:wan", "core:nat-a", "core:server", "server:eth0")
    assert one(stitch(cut, steps), b"greeting 0").end.fate is Fate.DROPPED


def test_what_was_on_a_wire_at_the_end_is_not_lost() -> None:
    packets, steps, _ = recorded("rejecting")
    sent = next(p for p in packets if p.payload == b"greeting 0" and p.vantage == "nat-a:wan")
    cut = [p for p in packets if p.time_ns <= sent.time_ns]
    assert way(one(stitch(cut, steps), b"greeting 0"))[-1] == ("nat-a", "translated")
    cut += [p for p in packets if p.time_ns > sent.time_ns + 40 * MS and p.payload != sent.payload]
    assert way(one(stitch(cut, steps), b"greeting 0"))[-1] == ("core", "lost")


def test_what_netem_lost_went_into_a_node_and_never_left_it() -> None:
    packets, steps, _ = recorded("rejecting")
    lossy = plan(home_and_public("rejecting", link=Link.both(delay_ms=10.0, loss=0.5)), catalogue())
    quiet = {"nat-a": {"unsolicited": 0}}
    further = ("nat-a:wan", "core:nat-a", "core:server", "server:eth0")
    cut = without(packets, b"greeting 0", *further)
    assert way(one(stitch(cut, lossy, quiet), b"greeting 0"))[-1] == ("core", "lost")
    assert way(one(stitch(cut, steps, quiet), b"greeting 0"))[-1] == ("nat-a", "dropped")
    cut = without(packets, b"greeting 0", "core:server", "server:eth0")
    assert way(one(stitch(cut, steps), b"greeting 0"))[-1] == ("server", "lost")


def test_other_ethertypes_and_broken_headers_are_no_journeys() -> None:
    packets, steps, whole = recorded("carrier")
    arp = replace(packets[0], ethertype=0x0806, destination=NOWHERE)
    stub = replace(packets[0], destination=NOWHERE, ttl=0)
    assert len(stitch([arp, stub, *packets], steps)) == len(whole)
    assert stitch([], steps) == ()


def test_packets_of_another_lab_do_no_harm() -> None:
    packets, _, whole = recorded("carrier")
    steps = plan(same_lan("linux-home"), catalogue())
    found = stitch(packets, steps)
    assert sum(len(j.packets) for j in found) == sum(len(j.packets) for j in whole)


def test_an_expired_packet_is_dropped_and_not_rejected() -> None:
    packets, steps, _ = recorded("rejecting")
    sent = next(p for p in packets if p.payload == b"b 0")
    into_core = next(p for p in packets if p.payload == b"b 0" and p.vantage == "core:b")
    dying = [replace(sent, ttl=1), replace(into_core, ttl=1)]
    [journey] = stitch(dying, steps)
    assert way(journey) == [("b", "sent"), ("core", "dropped")]


def test_the_cost_grows_with_the_number_of_packets_alone() -> None:
    packets, steps, _ = recorded("rejecting")
    span = packets[-1].time_ns - packets[0].time_ns + MS

    def cost(turns: int) -> int:
        many = [
            replace(p, number=p.number + turn * len(packets), time_ns=p.time_ns + turn * span)
            for turn in range(turns)
            for p in packets
        ]
        assert sum(len(j.packets) for j in stitch(many, steps)) == len(many)
        return lines(lambda: stitch(many, steps))

    require_linear(cost, 500 // len(packets) + 1)
