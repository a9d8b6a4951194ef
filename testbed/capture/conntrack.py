"""What a router's conntrack holds, asked of its kernel by netlink.

A socket of the router's namespace is enough: no tool is run, and none needs root.
"""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.backends.base import Lab
from testbed.capture.packet import Endpoint, Protocol
from testbed.errors import BackendError

_NETLINK_NETFILTER = 12
_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_FAMILY = struct.Struct("=BBH")  # nfgenmsg: family, version, resource
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_TYPE = 0x3FFF  # without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER
_ORIGINAL, _REPLY = 1, 2  # CTA_TUPLE_*
_IP, _PROTO = 1, 2  # CTA_TUPLE_IP, CTA_TUPLE_PROTO
_SOURCE, _DESTINATION = 1, 2  # CTA_IP_V4_*
_NUMBER, _FROM_PORT, _TO_PORT = 1, 2, 3  # CTA_PROTO_*
_PROTOCOLS: dict[int, Protocol] = {1: "icmp", 6: "tcp", 17: "udp"}
_RECEIVE = 1 << 18
_DEADLINE = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction of a flow as its packets' headers say; ports are 0 where there are none."""

    source: Endpoint
    destination: Endpoint

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One flow: as its first packet came in, and as its replies come in.

    A source NAT shows in ``reply.destination``, a destination NAT in ``reply.source``.
    """

    protocol: Protocol
    original: Tuple
    reply: Tuple


def conntrack(lab: Lab, node: str) -> list[Entry]:
    """All IPv4 entries of ``node``; BackendError when the kernel refuses to tell."""
    with lab.socket(node, socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as asking:
        asking.settimeout(_DEADLINE)
        family = _FAMILY.pack(socket.AF_INET, 0, 0)
        asking.send(_HEADER.pack(_HEADER.size + len(family), _GET, _REQUEST | _DUMP, 1, 0) + family)
        try:
            return [parse(body) for body in _answers(asking)]
        except OSError as error:
            raise BackendError(f"conntrack: {error.strerror or error}", node=node) from error


def _answers(asking: socket.socket) -> Iterator[bytes]:
    while True:
        data, offset = asking.recv(_RECEIVE), 0
        while offset < len(data):
            length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
            body = data[offset + _HEADER.size : offset + length]
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -struct.unpack_from("=i", body)[0]
                raise OSError(code, os.strerror(code))
            yield body
            offset += (length + 3) & ~3


def parse(body: bytes) -> Entry:
    """The entry in the body of one IPCTNL_MSG_CT_NEW message."""
    attributes = _attributes(body[_FAMILY.size :])
    number, original = _tuple(attributes[_ORIGINAL])
    _, reply = _tuple(attributes[_REPLY])
    return Entry(_PROTOCOLS.get(number, "other"), original, reply)


def _tuple(data: bytes) -> tuple[int, Tuple]:
    parts = _attributes(data)
    ip, proto = _attributes(parts[_IP]), _attributes(parts[_PROTO])
    ends = (
        Endpoint(IPv4Address(ip[address]), int.from_bytes(proto.get(port, b""), "big"))
        for address, port in ((_SOURCE, _FROM_PORT), (_DESTINATION, _TO_PORT))
    )
    return proto[_NUMBER][0], Tuple(*ends)


def _attributes(data: bytes) -> dict[int, bytes]:
    found, offset = {}, 0
    while offset < len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        found[kind & _TYPE] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found
