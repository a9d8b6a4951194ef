"""NAT-PMP (RFC 6886): a datagram to the gateway's port 5351, and the answer."""

import struct
from ipaddress import IPv4Address

from .settings import Settings
from .table import TCP, UDP, Entry, Table

VERSION = 0
ADDRESS, MAP_UDP, MAP_TCP = 0, 1, 2
SUCCESS, UNSUPPORTED_VERSION, NOT_AUTHORIZED, NETWORK_FAILURE = 0, 1, 2, 3
OUT_OF_RESOURCES, UNSUPPORTED_OPCODE = 4, 5
_RESPONSE = 128


def answer(
    settings: Settings, table: Table, data: bytes, client: IPv4Address, now: float, epoch: int
) -> bytes | None:
    """To a request of at least two bytes; None where none is due."""
    opcode = data[1]
    if opcode >= _RESPONSE:
        return None
    if data[0] != VERSION:
        return refusal(opcode, UNSUPPORTED_VERSION, epoch)
    if opcode == ADDRESS:
        return told_address(settings, epoch)
    if opcode not in (MAP_UDP, MAP_TCP) or len(data) < 12:
        return refusal(opcode, UNSUPPORTED_OPCODE, epoch)
    internal, wanted, lifetime = struct.unpack_from("!HHI", data, 4)
    protocol = UDP if opcode == MAP_UDP else TCP
    if lifetime == 0:
        result, external = _end(table, protocol, client, internal), 0
    elif not settings.grants:
        result, external, lifetime = NETWORK_FAILURE, 0, 0
    else:
        lifetime = min(lifetime, settings.max_lease)  # never more than asked (section 3.3)
        entry = _made(settings, table, protocol, client, internal, wanted)
        result, external = OUT_OF_RESOURCES, 0
        if entry is not None:
            result, external = SUCCESS, entry.external_port
            if entry.until is not None:
                entry.until = now + lifetime
    head = struct.pack("!BBHI", VERSION, _RESPONSE | opcode, result, epoch)
    return head + struct.pack("!HHI", internal, external, lifetime if external else 0)


def told_address(settings: Settings, epoch: int) -> bytes:
    """The answer to an address request, which is the announcement as well (section 3.2)."""
    result = SUCCESS if settings.grants else NETWORK_FAILURE
    address = settings.told if settings.grants else IPv4Address(0)
    return struct.pack("!BBHI", VERSION, _RESPONSE | ADDRESS, result, epoch) + address.packed


def refusal(opcode: int, result: int, epoch: int) -> bytes:
    """Eight bytes (section 3.5)."""
    return struct.pack("!BBHI", VERSION, _RESPONSE | opcode, result, epoch)


def _made(
    settings: Settings,
    table: Table,
    protocol: int,
    client: IPv4Address,
    internal: int,
    wanted: int,
) -> Entry | None:
    """The mapping that the internal port has already, else a new one (section 3.3)."""
    entry = table.of(protocol, client, internal)
    same = table.at(protocol, wanted)
    if not settings.first_mapping_kept and (entry is None or entry.external_port != wanted):
        entry = same if same and (same.address, same.internal_port) == (client, internal) else None
    if entry is not None:
        return entry
    external = table.free(protocol, wanted or internal, client)
    if external is None:
        return None
    return table.put(Entry(protocol, external, client, internal, 0.0, description="NAT-PMP"))


def _end(table: Table, protocol: int, client: IPv4Address, internal: int) -> int:
    """Of one internal port, or of all with port 0; what is not there is ended (section 3.4)."""
    found = [
        entry
        for entry in table
        if (entry.protocol, entry.address) == (protocol, client)
        and internal in (0, entry.internal_port)
    ]
    static = [entry for entry in found if entry.until is None]
    for entry in found:
        if entry not in static:
            table.remove(entry)
    return NOT_AUTHORIZED if internal and static else SUCCESS
