"""The kernel's words on a flow, parsed from their bytes."""

import struct
from ipaddress import IPv4Address

import pytest

from testbed.capture.conntrack import Entry, Tuple, entry
from testbed.lab.netfilter import attributes
from testbed.model.packet import Endpoint

INSIDE = Endpoint(IPv4Address("10.0.0.2"), 4001)
OUTSIDE = Endpoint(IPv4Address("29.0.0.2"), 31939)
SERVER = Endpoint(IPv4Address("29.0.0.18"), 443)
NESTED = 0x8000


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def headers(kind: int, number: int, source: Endpoint, destination: Endpoint) -> bytes:
    ip = attribute(1, source.address.packed) + attribute(2, destination.address.packed)
    ports = attribute(2, struct.pack("!H", source.port))
    ports += attribute(3, struct.pack("!H", destination.port))
    proto = attribute(1, bytes([number])) + (ports if number != 1 else b"")
    return attribute(kind | NESTED, attribute(1 | NESTED, ip) + attribute(2 | NESTED, proto))


@pytest.mark.parametrize(("number", "protocol"), [(17, "udp"), (6, "tcp"), (132, "other")])
def test_an_entry_shows_the_flow_before_and_after_translation(number: int, protocol: str) -> None:
    body = headers(1, number, INSIDE, SERVER) + headers(2, number, SERVER, OUTSIDE)
    body += attribute(3, b"\x00\x00\x01\x88")  # a status, which nobody asked for
    assert entry(attributes(body)) == Entry(
        protocol,  # type: ignore[arg-type]
        Tuple(INSIDE, SERVER),
        Tuple(SERVER, OUTSIDE),
    )


def test_a_protocol_without_ports_has_port_0() -> None:
    body = headers(1, 1, INSIDE, SERVER) + headers(2, 1, SERVER, OUTSIDE)
    assert entry(attributes(body)).original.source == Endpoint(INSIDE.address, 0)
