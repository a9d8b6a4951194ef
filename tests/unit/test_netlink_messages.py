"""Messages to the kernel and their attributes: pyroute2 writes them, `attributes` reads them."""

import socket
import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from testbed.lab import rtnetlink
from testbed.lab.links import netem
from testbed.lab.links.base import frames_held
from testbed.model.topology import Impairment

numbers = st.integers(1, 2**31 - 1)
addresses = st.integers(1, 2**32 - 1).map(IPv4Address)
networks = st.tuples(addresses, st.integers(0, 32)).map(lambda p: IPv4Network(p, strict=False))
chances = st.integers(0, 1000).map(lambda permille: permille / 1000)

OPTIONS, LATENCY = 2, struct.Struct("=6I")  # TCA_OPTIONS; struct tc_netem_qopt
REORDER, RATE = 3, 6  # TCA_NETEM_REORDER, TCA_NETEM_RATE
TCMSG, NETEM = rtnetlink.HEADER.size + 20, 24  # where attributes begin, and within the options


@given(networks, addresses, numbers, st.integers(0, 99), st.integers(1, 255))
def test_a_route_is_read_as_it_was_asked_for(
    to: IPv4Network, gateway: IPv4Address, index: int, metric: int, table: int
) -> None:
    data = rtnetlink.route(to, gateway, index, metric, table).data
    start = rtnetlink.HEADER.size
    family, length, _, _, short, *_ = rtnetlink.ROUTE.unpack_from(data, start)
    assert (family, length, short) == (socket.AF_INET, to.prefixlen, table)
    told = rtnetlink.attributes(data, start + rtnetlink.ROUTE.size)
    assert told.get(rtnetlink.RTA_DST, bytes(4)) == to.network_address.packed
    assert told[rtnetlink.RTA_GATEWAY] == gateway.packed
    assert int.from_bytes(told.get(rtnetlink.RTA_PRIORITY, b"\0"), "little") == metric


@given(addresses, st.integers(1, 255))
def test_a_rule_of_routing_is_read_as_it_was_asked_for(source: IPv4Address, table: int) -> None:
    data = rtnetlink.rule(source, table).data
    told = rtnetlink.attributes(data, rtnetlink.HEADER.size + rtnetlink.RULE.size)
    assert told[rtnetlink.FRA_SRC] == source.packed
    assert int.from_bytes(told[rtnetlink.FRA_TABLE], "little") == table


@given(st.integers(0, 500), chances, chances, st.none() | st.floats(0.1, 1000))
def test_netem_is_asked_for_what_an_impairment_says(
    delay: int, loss: float, reorder: float, rate: float | None
) -> None:
    wanted = Impairment(
        delay_ms=delay, loss=loss, reorder=reorder if delay else 0.0, rate_mbit=rate
    )
    options = rtnetlink.attributes(netem.message(7, wanted), TCMSG)[OPTIONS]
    latency, limit, lost, gap, _, _ = LATENCY.unpack_from(options)
    assert latency == delay * 1_000_000 // 64
    assert limit == frames_held(wanted)
    assert abs(lost - loss * 0xFFFF_FFFF) <= 1
    more = rtnetlink.attributes(options, NETEM)
    assert int.from_bytes(more[RATE][:4], "little") == (
        max(1, round(rate * 1e6 / 8)) if rate else 0
    )
    assert gap == (1 if wanted.reorder else 0)
    if wanted.reorder:
        chance = int.from_bytes(more[REORDER][:4], "little")
        assert abs(chance - wanted.reorder * 0xFFFF_FFFF) <= 1


def test_an_address_of_a_host_is_asked_for_once() -> None:
    own = IPv4Interface("192.168.1.2/24")
    assert rtnetlink.address(5, own) is rtnetlink.address(5, own)


@given(st.lists(st.tuples(st.integers(1, 99), st.binary(max_size=9)), unique_by=lambda p: p[0]))
def test_attributes_are_read_as_they_were_written(some: list[tuple[int, bytes]]) -> None:
    written = b"".join(
        struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
        for kind, value in some
    )
    assert rtnetlink.attributes(b"head" + written, 4) == dict(some)


@given(st.binary(max_size=200), st.integers(0, 20))
def test_attributes_of_whatever_bytes_come_to_an_end(body: bytes, start: int) -> None:
    assert sum(map(len, rtnetlink.attributes(body, start).values())) <= len(body)
