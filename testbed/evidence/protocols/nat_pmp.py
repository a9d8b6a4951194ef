"""NAT-PMP (RFC 6886).  Its messages are told by their ports alone: `is_port_mapping`."""

import struct
from ipaddress import IPv4Address

from testbed.model.journey import Label, PortLease

SERVER_PORT = 5351  # section 3.1; PCP's too (RFC 6887 section 19.1)
CLIENT_PORT = 5350  # announcements, to 224.0.0.1
VERSION = 0

_REQUEST = struct.Struct("!2x2xHHI")
_RESPONSE = struct.Struct("!xBHI")
_MAPPED = struct.Struct("!HHI")
_OPERATIONS = {0: "external address", 1: "map UDP", 2: "map TCP"}  # sections 3.2, 3.3
_RESULTS = (  # section 3.5
    "success",
    "unsupported version",
    "not authorized",
    "network failure",
    "out of resources",
    "unsupported opcode",
)


def is_port_mapping(source: int, destination: int) -> bool:
    """Whether a datagram between these ports is NAT-PMP's or PCP's."""
    return destination in (SERVER_PORT, CLIENT_PORT) or source == SERVER_PORT


def read(data: bytes) -> Label | None:
    """A request or a response; None if it is neither, or cut short."""
    if len(data) < 2 or data[0] != VERSION:
        return None
    return _response(data) if data[1] & 0x80 else _request(data)


def _request(data: bytes) -> Label | None:
    """Sections 3.2 and 3.3."""
    name = _OPERATIONS.get(data[1])
    if name is None:
        return None
    fields = (("opcode", str(data[1])),)
    if data[1] == 0:
        return Label("nat-pmp", f"{name} request", fields)
    if len(data) < _REQUEST.size:
        return None
    internal, external, lifetime = _REQUEST.unpack_from(data)
    verb = f"{name} request" if lifetime else f"un{name} request"  # section 3.4
    text = f"{verb}: port {internal} as {external or 'any'}, {lifetime} s"
    return Label("nat-pmp", text, fields + _mapping(internal, external, lifetime))


def _response(data: bytes) -> Label | None:
    """As above; section 3.5 for the results, of which only success carries the rest."""
    if len(data) < _RESPONSE.size:
        return None
    opcode, result, epoch = _RESPONSE.unpack_from(data)
    name = _OPERATIONS.get(opcode & 0x7F, f"opcode {opcode & 0x7F}")
    outcome = _RESULTS[result] if result < len(_RESULTS) else f"result {result}"
    fields = (
        ("opcode", str(opcode)),
        ("result", f"{result} {outcome}"),
        ("epoch", f"{epoch} s"),
    )
    rest = data[_RESPONSE.size :]
    if result:
        return Label("nat-pmp", f"{name} response: {outcome}", fields)
    if opcode == 0x80 and len(rest) >= 4:
        address = str(IPv4Address(rest[:4]))
        return Label("nat-pmp", f"{name} response: {address}", (*fields, ("address", address)))
    if opcode in (0x81, 0x82) and len(rest) >= _MAPPED.size:
        internal, external, lifetime = _MAPPED.unpack_from(rest)
        text = f"{name} response: port {internal} as {external}, {lifetime} s"
        lease = PortLease(external, lifetime, given=True)
        return Label("nat-pmp", text, fields + _mapping(internal, external, lifetime), lease)
    return None


def _mapping(internal: int, external: int, lifetime: int) -> tuple[tuple[str, str], ...]:
    return (
        ("internal port", str(internal)),
        ("external port", str(external)),
        ("lifetime", f"{lifetime} s"),
    )
