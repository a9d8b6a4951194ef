"""A captured packet as a typed value, decoded from its three fixed headers."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address
from typing import NamedTuple

from testbed.model.address import Endpoint as Endpoint
from testbed.model.address import Protocol as Protocol
from testbed.model.address import Sight

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10  # TCP flags, RFC 9293 section 3.1
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})  # those that quote a packet, RFC 1122 section 3.2.2

_ETHERNET, _ETHERTYPE_IPV4 = 14, 0x0800
_IPV4 = struct.Struct("!B x H H H B B 2x 4s 4s")
_TCP = struct.Struct("!HHIIBB")
_PORTS = struct.Struct("!HH")
_PROTOCOLS: dict[int, Protocol] = {1: "icmp", 6: "tcp", 17: "udp"}


NOWHERE = Endpoint(IPv4Address(0), 0)


@dataclass(frozen=True, slots=True)
class Quoted:
    """The packet that an ICMP error complains about, as its sender's header says."""

    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    ip_id: int


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame at one vantage point.

    A frame without a whole IPv4 header (ARP, IPv6) has protocol "other" and
    `NOWHERE` at both ends; a later fragment is "other" too, since the transport
    header is not in it.
    """

    number: int  # in the file, from 1, as Wireshark counts
    vantage: str  # "node:interface"
    time_ns: int  # CLOCK_REALTIME
    outgoing: bool  # leaving the vantage's node
    ethertype: int
    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    ttl: int
    ip_id: int
    tcp_flags: int  # 0 for all but TCP, like the next two
    tcp_seq: int
    tcp_ack: int
    icmp_type: int | None
    icmp_code: int | None
    quoted: Quoted | None  # in an ICMP error
    payload: bytes  # after the transport header, or what follows the last header known
    original_length: int  # bytes on the wire; more than ``frame`` has if it was cut
    frame: bytes

    @property
    def node(self) -> str:
        return self.vantage.partition(":")[0]

    @property
    def interface(self) -> str:
        return self.vantage.partition(":")[2]

    @property
    def cut(self) -> bool:
        """True when the end of the payload is missing."""
        return self.original_length > len(self.frame)

    @property
    def is_syn(self) -> bool:
        """A TCP SYN without ACK."""
        return self.tcp_flags & (SYN | ACK) == SYN

    @property
    def sight(self) -> Sight:
        """How facts cite it."""
        return Sight(
            self.number,
            self.vantage,
            self.outgoing,
            self.protocol,
            self.source,
            self.destination,
            len(self.payload),
        )

    def __str__(self) -> str:
        return str(self.sight)


class _Transport(NamedTuple):
    """What the header after IPv4's says."""

    ports: tuple[int, int] = (0, 0)
    flags: int = 0
    seq: int = 0
    ack: int = 0
    icmp: tuple[int, int] | tuple[None, None] = (None, None)
    quoted: Quoted | None = None
    payload: bytes = b""


def decode(
    number: int, vantage: str, time_ns: int, outgoing: bool, frame: bytes, original_length: int
) -> Packet:
    """The packet in an Ethernet frame.  Total: any bytes give a packet, never an error."""
    ethertype = int.from_bytes(frame[12:14], "big")
    header = _ipv4_header(frame, ethertype)
    if header is None:
        return Packet(
            number, vantage, time_ns, outgoing, ethertype, "other", NOWHERE, NOWHERE,
            0, 0, 0, 0, 0, None, None, None, frame[_ETHERNET:], original_length, frame,
        )  # fmt: skip
    start, end, ip_id, fragment, ttl, proto, source, destination = header
    protocol: Protocol = "other" if fragment else _PROTOCOLS.get(proto, "other")
    transport = _DECODERS[protocol](frame[start:end])
    if transport is None:
        protocol, transport = "other", _Transport(payload=frame[start:end])
    from_port, to_port = transport.ports
    kind, code = transport.icmp
    return Packet(
        number, vantage, time_ns, outgoing, ethertype, protocol,
        _endpoint(source, from_port), _endpoint(destination, to_port), ttl, ip_id,
        transport.flags, transport.seq, transport.ack, kind, code, transport.quoted,
        transport.payload, original_length, frame,
    )  # fmt: skip


_Header = tuple[int, int, int, int, int, int, bytes, bytes]


def _ipv4_header(frame: bytes, ethertype: int) -> _Header | None:
    """Bounds of the IP payload in ``frame``, then id, fragment offset, TTL, protocol, addresses."""
    if ethertype != _ETHERTYPE_IPV4 or len(frame) < _ETHERNET + 20:
        return None
    first, total, ip_id, fragment, ttl, proto, source, destination = _IPV4.unpack_from(
        frame, _ETHERNET
    )
    if first >> 4 != 4 or first & 15 < 5:
        return None
    start = _ETHERNET + (first & 15) * 4
    end = _ETHERNET + total if total else len(frame)  # 0: segmentation left to the device
    return start, end, ip_id, fragment & 0x1FFF, ttl, proto, source, destination


def _udp(data: bytes) -> _Transport | None:
    if len(data) < 8:
        return None
    return _Transport(_PORTS.unpack_from(data), payload=data[8:])


def _tcp(data: bytes) -> _Transport | None:
    if len(data) < 20:
        return None
    from_port, to_port, seq, ack, offset, flags = _TCP.unpack_from(data)
    return _Transport((from_port, to_port), flags, seq, ack, payload=data[(offset >> 4) * 4 :])


def _icmp(data: bytes) -> _Transport | None:
    if len(data) < 8:
        return None
    quoted = _quoted(data[8:]) if data[0] in ICMP_ERRORS else None
    return _Transport(icmp=(data[0], data[1]), quoted=quoted, payload=data[8:])


def _other(data: bytes) -> _Transport | None:
    return _Transport(payload=data)


_DECODERS: dict[Protocol, Callable[[bytes], _Transport | None]] = {
    "udp": _udp,
    "tcp": _tcp,
    "icmp": _icmp,
    "other": _other,
}


def _quoted(data: bytes) -> Quoted | None:
    """RFC 792: the header and at least 8 bytes of the packet that could not go on."""
    header = _ipv4_header(bytes(_ETHERNET) + data, _ETHERTYPE_IPV4)
    if header is None:
        return None
    start, _end, ip_id, fragment, _ttl, proto, source, destination = header
    start -= _ETHERNET
    protocol: Protocol = "other" if fragment else _PROTOCOLS.get(proto, "other")
    has_ports = protocol in ("udp", "tcp") and len(data) >= start + 4
    from_port, to_port = _PORTS.unpack_from(data, start) if has_ports else (0, 0)
    return Quoted(protocol, _endpoint(source, from_port), _endpoint(destination, to_port), ip_id)


@lru_cache(maxsize=4096)
def _endpoint(address: bytes, port: int) -> Endpoint:
    return Endpoint(_address(address), port)


@lru_cache(maxsize=1024)
def _address(packed: bytes) -> IPv4Address:
    return IPv4Address(packed)
