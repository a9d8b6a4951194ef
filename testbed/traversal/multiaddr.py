"""Multiaddrs: self-describing addresses, in text and in binary.

Only what a traversal stack meets: IP and DNS, TCP and UDP with QUIC, peer ids and
circuits; the names of other transports are known so that a peer's list parses.
"""

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from . import multibase, varint
from .errors import AddressError, ProtocolError
from .ip_scope import IpAddress, is_destination, is_public, party
from .peer_id import PeerId

MAX_BYTES = 1024


def _port(text: str) -> bytes:
    if not text.isdecimal() or not 0 <= int(text) <= 0xFFFF:
        raise AddressError(f"not a port: {text!r}")
    return struct.pack("!H", int(text))


def _name(text: str) -> bytes:
    if not text:
        raise AddressError("empty name")
    return text.encode()


def _multihash_text(data: bytes) -> str:
    return str(PeerId(data))


@dataclass(frozen=True)
class _Protocol:
    code: int
    name: str
    size: int  # bits of the value; 0 none, -1 length-prefixed
    pack: Callable[[str], bytes] = _name
    unpack: Callable[[bytes], str] = lambda data: data.decode()


# What follows a code that is not in the table: its length is not known, so it is all one part.
_UNKNOWN = _Protocol(-1, "unknown", -1, multibase.decode, multibase.encode_base64url)
_TABLE = (
    _Protocol(4, "ip4", 32, lambda t: ipaddress.IPv4Address(t).packed,
              lambda d: str(ipaddress.IPv4Address(d))),
    _Protocol(41, "ip6", 128, lambda t: ipaddress.IPv6Address(t).packed,
              lambda d: str(ipaddress.IPv6Address(d))),
    _Protocol(6, "tcp", 16, _port, lambda d: str(struct.unpack("!H", d)[0])),
    _Protocol(273, "udp", 16, _port, lambda d: str(struct.unpack("!H", d)[0])),
    _Protocol(421, "p2p", -1, lambda t: PeerId.parse(t).multihash, _multihash_text),
    _Protocol(290, "p2p-circuit", 0),
    _Protocol(461, "quic-v1", 0),
    _Protocol(460, "quic", 0),
    _Protocol(42, "ip6zone", -1),
    _Protocol(53, "dns", -1),
    _Protocol(54, "dns4", -1),
    _Protocol(55, "dns6", -1),
    _Protocol(56, "dnsaddr", -1),
    _Protocol(448, "tls", 0),
    _Protocol(449, "sni", -1),
    _Protocol(454, "noise", 0),
    _Protocol(465, "webtransport", 0),
    _Protocol(466, "certhash", -1, multibase.decode, multibase.encode_base64url),
    _Protocol(280, "webrtc-direct", 0),
    _Protocol(281, "webrtc", 0),
    _Protocol(477, "ws", 0),
    _Protocol(478, "wss", 0),
    _Protocol(480, "http", 0),
    _Protocol(443, "https", 0),
    _Protocol(132, "sctp", 16, _port, lambda d: str(struct.unpack("!H", d)[0])),
    _Protocol(33, "dccp", 16, _port, lambda d: str(struct.unpack("!H", d)[0])),
    _Protocol(302, "utp", 0),
    _Protocol(275, "p2p-webrtc-star", 0),
    _Protocol(276, "p2p-webrtc-direct", 0),
    _Protocol(479, "p2p-websocket-star", 0),
    _UNKNOWN,
)  # fmt: skip
_BY_CODE = {p.code: p for p in _TABLE if p is not _UNKNOWN}
_BY_NAME = {p.name: p for p in _TABLE} | {"ipfs": _BY_CODE[421]}
_LAYERS = {
    "tcp": ("tcp",),
    "quic-v1": ("udp", "quic-v1"),
    "ws": ("tcp", "ws"),
    "wss": ("tcp", "tls", "ws"),
}
_TRANSPORTS = {layers: name for name, layers in _LAYERS.items()} | {
    ("tcp", "wss"): "wss",
    ("tcp", "tls", "sni", "ws"): "wss",
}
_VALUE_ERRORS = (ValueError, ProtocolError, varint.IncompleteError)


@dataclass(frozen=True)
class Multiaddr:
    """An immutable sequence of (protocol name, value) parts; the value is None for a bare name."""

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> "Multiaddr":
        """Read the text form.  Raises AddressError."""
        if not text.startswith("/"):
            raise AddressError(f"multiaddr must start with '/': {text[:80]!r}")
        words = iter(text.strip("/").split("/"))
        parts: list[tuple[str, str | None]] = []
        for word in words:
            if word not in _BY_NAME:
                raise AddressError(f"unknown protocol {word[:40]!r} in a multiaddr")
            protocol = _BY_NAME[word]
            value = None if protocol.size == 0 else next(words, None)
            if protocol.size != 0 and value is None:
                raise AddressError(f"/{word} lacks its value")
            parts.append((protocol.name, None if value is None else _canonical(protocol, value)))
        address = cls(tuple(parts))
        if "/unknown/" in text and cls.decode(address.encode()) != address:
            raise AddressError("/unknown/ holds something known, or is not the last part")
        return address

    @classmethod
    def decode(cls, data: bytes) -> "Multiaddr":
        """Read the binary form.  Raises AddressError where it is malformed.

        From a protocol on that is not known here, the rest is one part, `unknown`: such an address
        cannot be dialed, and says all the same what stands before, and is passed on unaltered.
        """
        if len(data) > MAX_BYTES:
            raise AddressError(f"multiaddr of {len(data)} bytes")
        parts: list[tuple[str, str | None]] = []
        offset = 0
        while offset < len(data):
            try:
                start = offset
                code, offset = varint.decode(data, start)
                if code not in _BY_CODE:
                    tail = ("unknown", multibase.encode_base64url(data[start:]))
                    return cls((*parts, tail))
                protocol = _BY_CODE[code]
                length = protocol.size // 8
                if protocol.size < 0:
                    length, offset = varint.decode(data, offset)
                if length > len(data) - offset:
                    raise AddressError("multiaddr value is cut off")
                raw = data[offset : offset + length]
                value = protocol.unpack(raw) if protocol.size else None
                if value is not None and "/" in value:
                    raise AddressError("multiaddr value holds a slash")
                if value is not None and protocol.pack(value) != raw:
                    raise AddressError("multiaddr value has no text form of its own")
            except _VALUE_ERRORS as error:
                raise AddressError(f"multiaddr: {error}") from error
            parts.append((protocol.name, value))
            offset += length
        return cls(tuple(parts))

    @classmethod
    def from_socket(cls, ip: str, port: int, transport: str) -> "Multiaddr":
        """`transport` as the property names it; an IPv4-mapped IPv6 address becomes IPv4."""
        address: IpAddress = ipaddress.ip_address(ip.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        family = f"ip{address.version}"
        carrier, *above = _LAYERS[transport]
        layers = tuple((name, None) for name in above)
        return cls(((family, str(address)), (carrier, str(port)), *layers))

    def encode(self) -> bytes:
        """The binary form."""
        out = bytearray()
        for name, value in self.parts:
            protocol = _BY_NAME[name]
            if protocol is _UNKNOWN:
                out += protocol.pack(value or "")
                continue
            out += varint.encode(protocol.code)
            if value is not None:
                raw = protocol.pack(value)
                out += varint.frame(raw) if protocol.size < 0 else raw
        return bytes(out)

    @cached_property
    def is_relayed(self) -> bool:
        """Whether the address goes through a circuit."""
        return ("p2p-circuit", None) in self.parts

    @cached_property
    def transport(self) -> str | None:
        """`tcp`, `quic-v1`, `ws`, `wss`, `circuit`; None for what this library does not speak."""
        if self.is_relayed:
            return "circuit"
        names = tuple(name for name, _ in self.parts if name != "p2p")
        if names[:1] not in (("ip4",), ("ip6",)):
            return None
        return _TRANSPORTS.get(names[1:])

    @cached_property
    def server_name(self) -> str | None:
        """What TLS of the web is to prove: the name of an `/sni` part."""
        return next((value for name, value in self.parts if name == "sni"), None)

    @cached_property
    def ip(self) -> IpAddress | None:
        """The first part's IP address, if it is one."""
        name, value = self.parts[0] if self.parts else ("", None)
        return ipaddress.ip_address(value) if name in ("ip4", "ip6") and value else None

    @cached_property
    def party(self) -> str:
        """Who it counts with under limits: its IP address, or an IPv6 prefix; "" without one."""
        return party(self.ip) if self.ip is not None else ""

    @cached_property
    def port(self) -> int | None:
        """The TCP or UDP port of the first hop."""
        for name, value in self.parts[:2]:
            if name in ("tcp", "udp") and value is not None:
                return int(value)
        return None

    @property
    def socket_address(self) -> tuple[str, int]:
        """(ip, port).  Raises AddressError when the address has none."""
        if self.ip is None or self.port is None:
            raise AddressError(f"{self} has no IP address and port")
        return str(self.ip), self.port

    @cached_property
    def peer_id(self) -> PeerId | None:
        """The final `/p2p/` part: the peer that the address leads to."""
        name, value = self.parts[-1] if self.parts else ("", None)
        return PeerId.parse(value) if name == "p2p" and value else None

    @cached_property
    def is_dialable(self) -> bool:
        """Whether it can be a destination at all: a unicast IP, or a name, and a port.

        Of a circuit the address of the relay counts.
        """
        if ("unknown" in (name for name, _ in self.parts)) or not self.parts:
            return False
        if self.ip is None:
            return self.parts[0][0] in ("dns", "dns4", "dns6", "dnsaddr")
        return is_destination(self.ip) and self.port != 0

    @cached_property
    def is_public(self) -> bool:
        """A direct address on a global unicast IP."""
        return self.ip is not None and is_public(self.ip) and not self.is_relayed

    def relay(self) -> "Multiaddr":
        """What stands before `/p2p-circuit`: the relay's own address."""
        if not self.is_relayed:
            raise AddressError(f"{self} is not a circuit address")
        return Multiaddr(self.parts[: self.parts.index(("p2p-circuit", None))])

    def with_peer(self, peer: PeerId) -> "Multiaddr":
        """The address ending in `/p2p/<peer>`, once."""
        return Multiaddr((*self.without_peer().parts, ("p2p", str(peer))))

    def without_peer(self) -> "Multiaddr":
        """The address without a final `/p2p/` part."""
        return Multiaddr(self.parts[:-1]) if self.peer_id else self

    def circuit(self) -> "Multiaddr":
        """The address followed by `/p2p-circuit`."""
        return Multiaddr((*self.parts, ("p2p-circuit", None)))

    def __str__(self) -> str:
        return "".join(f"/{n}" if v is None else f"/{n}/{v}" for n, v in self.parts)


def _canonical(protocol: _Protocol, value: str) -> str:
    try:
        return protocol.unpack(protocol.pack(value))
    except _VALUE_ERRORS as error:
        raise AddressError(f"/{protocol.name}/{value[:80]}: {error}") from error


def decode_all(blobs: tuple[bytes, ...], limit: int = 64) -> tuple[Multiaddr, ...]:
    """The addresses among `blobs` that parse: a peer may list transports that we lack."""
    found: list[Multiaddr] = []
    for data in blobs[:limit]:
        try:
            found.append(Multiaddr.decode(data))
        except AddressError:
            continue
    return tuple(found)
