"""PCP, the Port Control Protocol (RFC 6887); its ports are NAT-PMP's."""

import struct
from ipaddress import IPv6Address

from testbed.model.journey import Label, PortLease

VERSION = 2
MAX_OPTIONS = 16  # read of one message

_REQUEST = struct.Struct("!xB2xI16s")
_RESPONSE = struct.Struct("!xBxBII12x")
_MAP = struct.Struct("!12sB3xHH16s")
_PEER = struct.Struct("!H2x16s")
_OPTION = struct.Struct("!BxH")
_HEADER_LENGTH = 24
_OPCODES = {0: "ANNOUNCE", 1: "MAP", 2: "PEER"}  # section 19.2
_OPTIONS = {1: "THIRD_PARTY", 2: "PREFER_FAILURE", 3: "FILTER"}  # section 19.4
_PROTOCOLS = {0: "all", 6: "TCP", 17: "UDP"}
_RESULTS = (  # section 7.4
    "SUCCESS",
    "UNSUPP_VERSION",
    "NOT_AUTHORIZED",
    "MALFORMED_REQUEST",
    "UNSUPP_OPCODE",
    "UNSUPP_OPTION",
    "MALFORMED_OPTION",
    "NETWORK_FAILURE",
    "NO_RESOURCES",
    "UNSUPP_PROTOCOL",
    "USER_EX_QUOTA",
    "CANNOT_PROVIDE_EXTERNAL",
    "ADDRESS_MISMATCH",
    "EXCESSIVE_REMOTE_PEERS",
)

_Fields = tuple[tuple[str, str], ...]


def read(data: bytes) -> Label | None:
    """A request (section 7.1) or a response (7.2); None if it is neither, or cut short."""
    if len(data) < _HEADER_LENGTH or data[0] != VERSION:
        return None
    name = _OPCODES.get(data[1] & 0x7F, f"opcode {data[1] & 0x7F}")
    body, summary = _body(data)
    result = 0
    if data[1] & 0x80:
        _opcode, result, lifetime, epoch = _RESPONSE.unpack_from(data)
        outcome = _RESULTS[result] if result < len(_RESULTS) else f"result {result}"
        fields: _Fields = (
            ("opcode", name),
            ("result", f"{result} {outcome}"),
            ("lifetime", f"{lifetime} s"),
            ("epoch", f"{epoch} s"),
        )
        text = f"{name} response: {outcome}" if result else f"{name} response{summary}"
    else:
        _opcode, lifetime, client = _REQUEST.unpack_from(data)
        fields = (
            ("opcode", name),
            ("lifetime", f"{lifetime} s"),
            ("client", _address(client)),
        )
        text = f"{name} request{summary}"
    lease = None
    external = _external_port(data) if data[1] & 0x80 and not result else None
    if external is not None:
        lease = PortLease(external, lifetime, given=True)
    return Label("pcp", f"{text}, {lifetime} s" if body else text, fields + body, lease)


def _external_port(data: bytes) -> int | None:
    """Of MAP and PEER."""
    if data[1] & 0x7F not in (1, 2) or len(data) < _HEADER_LENGTH + _MAP.size:
        return None
    _nonce, _protocol, _internal, external, _address = _MAP.unpack_from(data, _HEADER_LENGTH)
    return int(external)


def _body(data: bytes) -> tuple[_Fields, str]:
    """MAP (section 11.1) and PEER (12.1), which request and response have alike; options."""
    opcode = data[1] & 0x7F
    if opcode not in (1, 2) or len(data) < _HEADER_LENGTH + _MAP.size:
        return (), ""
    nonce, protocol, internal, external, address = _MAP.unpack_from(data, _HEADER_LENGTH)
    transport = _PROTOCOLS.get(protocol, f"protocol {protocol}")
    outside = f"{_address(address)}:{external}"
    fields: _Fields = (
        ("nonce", nonce.hex()),
        ("protocol", transport),
        ("internal port", str(internal)),
        ("external", outside),
    )
    summary = f": {transport} port {internal} as {outside}"
    at = _HEADER_LENGTH + _MAP.size
    if opcode == 2 and len(data) >= at + _PEER.size:
        port, peer = _PEER.unpack_from(data, at)
        at += _PEER.size
        remote = f"{_address(peer)}:{port}"
        fields += (("remote peer", remote),)
        summary += f" towards {remote}"
    return fields + _options(data, at), summary


def _options(data: bytes, at: int) -> _Fields:
    """Section 7.3: code, length, and data padded to 4 bytes."""
    found: list[tuple[str, str]] = []
    while at + _OPTION.size <= len(data) and len(found) < MAX_OPTIONS:
        code, size = _OPTION.unpack_from(data, at)
        value = data[at + _OPTION.size : at + _OPTION.size + size]
        found.append((_OPTIONS.get(code, f"option {code}"), value[:32].hex()))
        at += _OPTION.size + size + -size % 4
    return tuple(found)


def _address(packed: bytes) -> str:
    """Section 5: IPv4 addresses are written as IPv4-mapped IPv6 ones."""
    address = IPv6Address(packed)
    return str(address.ipv4_mapped) if address.ipv4_mapped else f"[{address}]"
