"""What a router's conntrack holds, asked of its kernel by netlink."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.lab.netfilter import CONNTRACK, ask, attributes
from testbed.model.lab import Lab
from testbed.model.packet import Endpoint, Protocol

_STATISTICS = CONNTRACK | 5  # IPCTNL_MSG_CT_GET_STATS
_ENTRIES = 1  # CTA_STATS_GLOBAL_ENTRIES
_ORIGINAL, _REPLY = 1, 2  # CTA_TUPLE_*
_IP, _PROTO = 1, 2  # CTA_TUPLE_IP, CTA_TUPLE_PROTO
_SOURCE, _DESTINATION = 1, 2  # CTA_IP_V4_*
_NUMBER, _FROM_PORT, _TO_PORT = 1, 2, 3  # CTA_PROTO_*
_PROTOCOLS: dict[int, Protocol] = {1: "icmp", 6: "tcp", 17: "udp"}


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


def flow_count(lab: Lab, node: str) -> int:
    """How many entries ``node`` has, which costs nothing.

    BackendError when the kernel refuses to tell.
    """
    (body,) = ask(lab, node, _STATISTICS)
    return int.from_bytes(attributes(body)[_ENTRIES], "big")


def entry(parts: Mapping[int, bytes]) -> Entry:
    """The entry that a message's attributes (CTA_*) tell of."""
    number, original = _tuple(parts[_ORIGINAL])
    _, reply = _tuple(parts[_REPLY])
    return Entry(_PROTOCOLS.get(number, "other"), original, reply)


def _tuple(data: bytes) -> tuple[int, Tuple]:
    parts = attributes(data)
    ip, proto = attributes(parts[_IP]), attributes(parts[_PROTO])
    ends = (
        Endpoint(IPv4Address(ip[address]), int.from_bytes(proto.get(port, b""), "big"))
        for address, port in ((_SOURCE, _FROM_PORT), (_DESTINATION, _TO_PORT))
    )
    return proto[_NUMBER][0], Tuple(*ends)
