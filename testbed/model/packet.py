"""A captured packet as a typed value, decoded from its three fixed headers."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any, NamedTuple, cast, overload

from testbed.model.address import Endpoint as Endpoint
from testbed.model.address import Protocol as Protocol
from testbed.model.address import Sight

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10  # TCP flags, RFC 9293 section 3.1
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})  # those that quote a packet, RFC 1122 section 3.2.2

_ETHERNET, _ETHERTYPE_IPV4 = 14, 0x0800
_MAC = 6  # bytes
_WORTHWHILE = 128  # bytes of payload from which on a frame is kept in parts
_IPV4 = struct.Struct("!B x H H H B B 2x 4s 4s")
_USUAL = struct.Struct("!12xHBxHHHBB2x4s4sHH")  # Ethernet, IPv4 without options, and the ports
_TCP_HEADER = struct.Struct("!HHIIBB")
_SEGMENT = struct.Struct("!IIBB")  # the same after the ports
_PORTS = struct.Struct("!HH")
_NO_OPTIONS, _OFFSET, _TCP, _UDP = 0x45, 0x1FFF, 6, 17
_TRANSPORT, _PORTS_END = 34, 38  # bytes of a frame before the transport header, and the ports
_PROTOCOLS: dict[int, Protocol] = {1: "icmp", 6: "tcp", 17: "udp"}


NOWHERE = Endpoint(IPv4Address(0), 0)


@dataclass(frozen=True, slots=True)
class Quoted:
    """The packet that an ICMP error complains about, as its sender's header says."""

    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    ip_id: int


class Split:
    """A frame in parts: the bytes of ``payload`` are those that other sights of it have, too."""

    __slots__ = ("head", "payload", "tail")

    def __init__(self, head: bytes, payload: bytes, tail: bytes) -> None:
        self.head, self.payload, self.tail = head, payload, tail

    def __bytes__(self) -> bytes:
        return b"".join((self.head, self.payload, self.tail))

    def __len__(self) -> int:
        return len(self.head) + len(self.payload) + len(self.tail)

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: int | slice) -> int | bytes:
        return bytes(self)[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Split | bytes) and bytes(self) == bytes(other)

    def __hash__(self) -> int:
        return hash(bytes(self))


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
    frame: bytes | Split  # from the Ethernet header on

    @property
    def mac(self) -> bytes:
        """Whom the frame is for on its segment; shorter where it was cut."""
        frame = self.frame
        return frame[:_MAC] if isinstance(frame, bytes) else frame.head[:_MAC]

    @property
    def node(self) -> str:
        return self.vantage.partition(":")[0]

    @property
    def interface(self) -> str:
        return self.vantage.partition(":")[2]

    @property
    def length(self) -> int:
        """Bytes of the IP packet."""
        return self.original_length - _ETHERNET

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


def decode(
    number: int,
    vantage: str,
    time_ns: int,
    outgoing: bool,
    frame: bytes,
    original_length: int,
    shared: dict[bytes, bytes] | None = None,
) -> Packet:
    """The packet in an Ethernet frame.  Total: any bytes give a packet, never an error.

    ``shared`` has the payloads of a capture so far: a datagram is seen at each interface on its
    way, and its payload need be kept, and hashed, only once.
    """
    start, end, told = _usual(frame) or _any(frame)
    payload = frame[start:end]
    kept: bytes | Split = frame
    if shared is not None:
        payload = shared.setdefault(payload, payload)
        if len(payload) >= _WORTHWHILE:
            kept = Split(frame[:start], payload, frame[end:])
    made = _Unfrozen(number, vantage, time_ns, outgoing, *told, payload, original_length, kept)
    made.__class__ = Packet
    return cast(Packet, made)


# A frozen dataclass has each of its fields set by a call, which takes longer than all the rest.
# A class that is like it in all but that may become it.
_Unfrozen: type[Any] = make_dataclass(
    "_Unfrozen", [(one.name, Any) for one in fields(Packet)], slots=True
)

# From ``ethertype`` to ``quoted``.
_Fields = tuple[
    int, Protocol, Endpoint, Endpoint, int, int, int, int, int, int | None, int | None,
    Quoted | None,
]  # fmt: skip
_Read = tuple[int, int, _Fields]  # the payload's bounds in the frame, and what the headers say


def _usual(frame: bytes) -> _Read | None:
    """A whole datagram or segment in IPv4 without options, as nearly all are; None of others."""
    if len(frame) < _PORTS_END:
        return None
    ethertype, first, total, ip_id, fragment, ttl, proto, source, destination, sport, dport = (
        _USUAL.unpack_from(frame)
    )
    if ethertype != _ETHERTYPE_IPV4 or first != _NO_OPTIONS or fragment & _OFFSET or not total:
        return None
    end = min(_ETHERNET + total, len(frame))
    if proto == _UDP and end >= _TRANSPORT + 8:
        read = _endpoint(source, sport), _endpoint(destination, dport), ttl, ip_id
        return _TRANSPORT + 8, end, (ethertype, "udp", *read, 0, 0, 0, None, None, None)
    if proto == _TCP and end >= _TRANSPORT + 20:
        seq, ack, offset, flags = _SEGMENT.unpack_from(frame, _PORTS_END)
        read = _endpoint(source, sport), _endpoint(destination, dport), ttl, ip_id
        start = _TRANSPORT + (offset >> 4) * 4
        return start, end, (ethertype, "tcp", *read, flags, seq, ack, None, None, None)
    return None


def _any(frame: bytes) -> _Read:
    """What there is of a frame, whatever it is."""
    ethertype = int.from_bytes(frame[12:14], "big")
    header = _ipv4_header(frame, ethertype)
    if header is None:
        numbers = 0, 0, 0, 0, 0, None, None, None
        return _ETHERNET, len(frame), (ethertype, "other", NOWHERE, NOWHERE, *numbers)
    start, end, ip_id, fragment, ttl, proto, source, destination = header
    protocol: Protocol = "other" if fragment else _PROTOCOLS.get(proto, "other")
    transport = _DECODERS[protocol](frame[start:end])
    if transport is None:
        protocol, transport = "other", _Transport()
    ports, flags, seq, ack, (kind, code), quoted, length = transport
    read = _endpoint(source, ports[0]), _endpoint(destination, ports[1]), ttl, ip_id
    return start + length, end, (ethertype, protocol, *read, flags, seq, ack, kind, code, quoted)


class _Transport(NamedTuple):
    """What the header after IPv4's says, and how long it is."""

    ports: tuple[int, int] = (0, 0)
    flags: int = 0
    seq: int = 0
    ack: int = 0
    icmp: tuple[int, int] | tuple[None, None] = (None, None)
    quoted: Quoted | None = None
    length: int = 0


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
    return start, end, ip_id, fragment & _OFFSET, ttl, proto, source, destination


def _udp(data: bytes) -> _Transport | None:
    if len(data) < 8:
        return None
    return _Transport(_PORTS.unpack_from(data), length=8)


def _tcp(data: bytes) -> _Transport | None:
    if len(data) < 20:
        return None
    from_port, to_port, seq, ack, offset, flags = _TCP_HEADER.unpack_from(data)
    return _Transport((from_port, to_port), flags, seq, ack, length=(offset >> 4) * 4)


def _icmp(data: bytes) -> _Transport | None:
    if len(data) < 8:
        return None
    quoted = _quoted(data[8:]) if data[0] in ICMP_ERRORS else None
    return _Transport(icmp=(data[0], data[1]), quoted=quoted, length=8)


def _other(_data: bytes) -> _Transport | None:
    return _Transport()


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
