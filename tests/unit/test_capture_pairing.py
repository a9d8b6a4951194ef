"""Like packets are paired in order of time, and nothing is paired twice."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.evidence.pairing import identity, pair
from testbed.model.packet import ACK, Endpoint, Packet, Quoted

MS = 1_000_000
LAN = Endpoint(IPv4Address("10.0.0.2"), 5000)
NAT = Endpoint(IPv4Address("5.5.5.5"), 6000)
REMOTE = Endpoint(IPv4Address("9.9.9.9"), 7000)


def seen(time_ms: float, **more: Any) -> Packet:
    packet = Packet(
        number=0,
        vantage="nat-a:lan",
        time_ns=int(time_ms * MS),
        outgoing=False,
        ethertype=0x0800,
        protocol="udp",
        source=LAN,
        destination=REMOTE,
        ttl=64,
        ip_id=0,
        tcp_flags=0,
        tcp_seq=0,
        tcp_ack=0,
        icmp_type=None,
        icmp_code=None,
        quoted=None,
        payload=b"punch",
        original_length=0,
        frame=b"",
    )
    return replace(packet, **more)


def paired(befores: list[Packet], afters: list[Packet], **more: int) -> list[tuple[int, int]]:
    """Which was paired with which, by position."""
    early = {id(packet): index for index, packet in enumerate(befores)}
    late = {id(packet): index for index, packet in enumerate(afters)}
    found = pair(befores, afters, identity, identity, **more)
    return sorted((early[id(before)], late[id(after)]) for before, after in found)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": b"other"},
        {"ip_id": 4},
        {"protocol": "tcp"},
        {"tcp_seq": 1},
        {"tcp_flags": ACK},
        {"original_length": 9000},
    ],
)
def test_a_difference_that_no_nat_makes_forbids_the_pair(change: dict[str, Any]) -> None:
    assert paired([seen(0)], [seen(1)]) == [(0, 0)]
    assert paired([seen(0)], [seen(1, **change)]) == []


def test_addresses_ports_and_ttl_may_differ() -> None:
    assert paired([seen(0)], [seen(1, source=NAT, ttl=63)]) == [(0, 0)]


def test_a_quotation_may_be_translated() -> None:
    def error(time_ms: float, to: Endpoint) -> Packet:
        quoted = Quoted("udp", to, REMOTE, 7)
        payload = str(to)[:8].encode()
        return seen(time_ms, protocol="icmp", icmp_type=3, quoted=quoted, payload=payload)

    assert paired([error(0, NAT)], [error(1, LAN)]) == [(0, 0)]


def test_nothing_comes_out_before_it_went_in_or_long_after() -> None:
    assert paired([seen(1)], [seen(0)]) == []
    assert paired([seen(0)], [seen(2000)]) == []
    assert paired([seen(0)], [seen(2000)], window_ns=3000 * MS) == [(0, 0)]


def test_like_packets_behind_a_delay_keep_their_order() -> None:
    before = [seen(at) for at in (0, 10, 20, 30)]
    after = [seen(at) for at in (25, 35, 45, 55)]
    assert paired(before, after) == [(n, n) for n in range(4)]


def test_the_one_that_got_through_is_told_from_the_like_one_that_was_dropped() -> None:
    before = [seen(at) for at in (0, 50, 100)]
    assert paired(before, [seen(50.02), seen(100.02)]) == [(1, 0), (2, 1)]


def test_a_loss_behind_a_delay_is_found_by_the_usual_delay() -> None:
    before = [seen(at) for at in (10, 20, 30)]
    after = [seen(35), seen(55)]  # the second one was lost
    assert paired(before, after, usual_ns=25 * MS) == [(0, 0), (2, 1)]


def test_the_usual_delay_is_learned_from_what_has_no_double() -> None:
    before = [seen(at) for at in (10, 20, 30)]
    after = [seen(35), seen(55)]
    sure = [seen(at, ip_id=at + 1) for at in (0, 40, 80)]
    came = [seen(at + 25, ip_id=at + 1) for at in (0, 40, 80)]
    assert paired([*sure, *before], [*came, *after])[3:] == [(3, 3), (5, 4)]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1000), st.sampled_from([b"a", b"b"]), st.booleans(), st.integers(0, 5)
        ),
        max_size=30,
    )
)
def test_each_packet_is_in_one_pair_and_like_ones_never_cross(
    flights: list[tuple[int, bytes, bool, int]],
) -> None:
    flights = sorted(flights, key=lambda flight: flight[0])
    before = [seen(at, payload=payload) for at, payload, _, _ in flights]
    after = sorted(
        (seen(at + delay, payload=payload) for at, payload, passes, delay in flights if passes),
        key=lambda packet: packet.time_ns,
    )
    found = pair(before, after, identity, identity, usual_ns=2 * MS)
    for side in (0, 1):
        used = [id(couple[side]) for couple in found]
        assert len(set(used)) == len(used)
    for payload in (b"a", b"b"):
        alike = sorted(
            (early.time_ns, late.time_ns) for early, late in found if early.payload == payload
        )
        assert [late for _, late in alike] == sorted(late for _, late in alike)
        assert all(early <= late for early, late in alike)
    if all(passes for _, _, passes, _ in flights):
        assert len(found) == len(flights)
